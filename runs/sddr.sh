#!/usr/bin/env bash
# The whole SDDR experiment. `runs/sddr.sh smoke OUT PHOTOS` shows in minutes on two cores that everything works; `more` trains the shipped refiner
# on with all losses, three seeds; `ablations` is the paper's Table 4 with tiny networks (an hour of one core); `full` is the real thing:
# a day on two cores, hours with a GPU. Each line keeps what is there, so the script can be stopped and started again.
# AMP=bf16 where the processor has it (AVX512-BF16, AMX): a third less time. PHOTOS: a folder of unlabelled photos (never pictures that are scored on). DATA: where benchmarks find their pictures.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke, more, ablations or full}
OUT=${2:?folder for everything that is made}
PHOTOS=${3:?folder of unlabelled photos}
DATA=${DATA:-../shared/data}
PYTHON=${PYTHON:-python}
KINDS=${KINDS:-room=0.35 street=0.2 thin=0.2 furnished=0.25}
PROCESSES=${PROCESSES:-2}
PRESET=${PRESET:-cpu}
MORE=(--set amp="${AMP:-no}" --set threads="${THREADS:-2}" --set prefetch=1 --set validate_every=0)
export OMP_WAIT_POLICY=PASSIVE
mkdir -p "$OUT"

# run NAME OPTIONS...: train a run once; go on with it where it was stopped
run() {
  local name=$1
  shift
  [ -f "$OUT/$name/model.onnx" ] && return 0
  "$PYTHON" -m keendepth train sddr -o "$OUT/$name" --resume --data "$OUT/scenes" --data "$OUT/held-out" --data "$OUT/photos" "$@"
}

# new_scenes: small ones that the shipped refiner has not seen; with RENDERED=1 the caches are taken as far as they are
new_scenes() {
  [ -z "${RENDERED:-}" ] || return 0
  # shellcheck disable=SC2086
  "$PYTHON" runs/render.py scenes "$OUT/scenes" --first 3600 --count "${COUNT:-1500}" --size 256 320 --kinds $KINDS --processes "$PROCESSES"
  # shellcheck disable=SC2086
  "$PYTHON" runs/render.py scenes "$OUT/held-out" --held-out --count 64 --size 256 320 --kinds $KINDS --processes "$PROCESSES"
}

case $MODE in
smoke)
  "$PYTHON" runs/render.py scenes "$OUT/scenes" --count 24 --size 192 256 --kinds room=0.5 thin=0.5 --processes 1
  "$PYTHON" runs/render.py scenes "$OUT/held-out" --held-out --count 4 --size 192 256 --kinds room=0.5 thin=0.5 --processes 1
  "$PYTHON" -m keendepth store "$PHOTOS" -o "$OUT/photos" --longest 320
  run smoke --preset smoke --set sddr.size=tiny --set "crop=[128, 160]" --set validation=6 --set sddr.windows=1
  "$PYTHON" benchmarks/sddr.py --weights smoke="$OUT/smoke" --quick --table any harm --data "$DATA" --out "$OUT/smoke.json"
  ;;
more)
  new_scenes
  "$PYTHON" -m keendepth store "$PHOTOS" -o "$OUT/photos" --model indoor-small --sizes native 2x --longest 384
  "$PYTHON" -m keendepth store synthetic:room:700000-700039 -o "$OUT/rooms" --model indoor-small --sizes native 2x --longest 384
  WEIGHTS=()
  for seed in ${SEEDS:-0 1 2}; do
    GIVEN=()
    [ "$seed" = 0 ] || GIVEN=(--set given_labels="$OUT/more-0") # they all begin with the same weights, so their first labels are the same
    run "more-$seed" --data "$OUT/rooms" --preset sddr-small "${MORE[@]}" --set start=shipped --set supervised_share=0 --set refresh=0 --set seed="$seed" \
      --set steps="${STEPS:-300}" --set lr=4e-4 --set warmup=30 --set "crop=[128, 192]" --set batch_size=8 --set ema_decay=0.98 "${GIVEN[@]}"
    WEIGHTS+=("sddr=$OUT/more-$seed")
  done
  "$PYTHON" benchmarks/sddr.py --weights "${WEIGHTS[@]}" --table fusion any harm --data "$DATA" --out "$OUT/more.json" | tee "$OUT/more.md"
  ;;
ablations)
  new_scenes
  "$PYTHON" -m keendepth store "$PHOTOS" -o "$OUT/photos" --model indoor-small --sizes native 2x --longest 320
  "$PYTHON" -m keendepth store synthetic:room:700100-700139 -o "$OUT/rooms" --model indoor-small --sizes native 2x --longest 320
  TINY=(--preset sddr-small "${MORE[@]}" --set size=tiny --set fine=0 --set batch_size=8 --set "crop=[128, 160]" --set validation=24)
  BEGIN=("${TINY[@]}" --set steps="${BEGIN_STEPS:-400}" --set lr=1.5e-3 --set warmup=40 --set gradient=0 --set fusion=0 --set pair_share=0)
  NO_RGB=(--set rgb=false --set retexture=0 --set guide=0) # without the photo nothing of it may come in by another way
  run begin "${BEGIN[@]}"
  run begin-no-noise "${BEGIN[@]}" --set noise=false
  run begin-no-rgb "${BEGIN[@]}" "${NO_RGB[@]}"
  WEIGHTS=()
  # ablation NAME SEED BEGINNING LABELS OPTIONS...: 150 steps of all losses, but for what the options leave out; seeds learn from the labels of LABELS-0
  ablation() {
    local name=$1 seed=$2 beginning=$3 labels=$4
    shift 4
    local given=()
    [ "$name-$seed" = "$labels-0" ] || given=(--set given_labels="$OUT/$labels-0")
    run "$name-$seed" --data "$OUT/rooms" "${TINY[@]}" --set start="$OUT/$beginning" --set steps="${STEPS:-150}" --set lr=5e-4 --set warmup=15 --set ema_decay=0.97 \
      --set supervised_share=0 --set refresh=0 --set pair_share=0.5 --set labels=self --set windows=2 --set seed="$seed" "${given[@]}" "$@"
    WEIGHTS+=("$name=$OUT/$name-$seed")
  }
  for seed in ${SEEDS:-0 1 2}; do
    ablation both "$seed" begin both
    ablation gt "$seed" begin both --set gradient=0 --set fusion=0
    ablation gradient "$seed" begin both --set fusion=0
    ablation fusion "$seed" begin both --set gradient=0
    for s in 0 1 3; do ablation "S$s" "$seed" begin "S$s" --set windows="$s"; done
    ablation depth-labels "$seed" begin both --set label_form=depth
    ablation control "$seed" begin both --set labels=exact
    ablation no-noise "$seed" begin-no-noise no-noise --set noise=false
    ablation no-rgb "$seed" begin-no-rgb no-rgb "${NO_RGB[@]}"
  done
  "$PYTHON" benchmarks/sddr.py --weights begin="$OUT/begin" "${WEIGHTS[@]}" --table fusion any --cases 8x --only-networks --rooms 12 --data "$DATA" --out "$OUT/ablations.json" |
    tee "$OUT/ablations.md"
  ;;
full)
  # shellcheck disable=SC2086
  "$PYTHON" runs/render.py scenes "$OUT/scenes" --count 6000 --kinds $KINDS --processes "$PROCESSES"
  # shellcheck disable=SC2086
  "$PYTHON" runs/render.py scenes "$OUT/held-out" --held-out --count 64 --kinds $KINDS --processes "$PROCESSES"
  "$PYTHON" -m keendepth store "$PHOTOS" -o "$OUT/photos" --longest 640
  # First exact depth alone, on small crops, where steps are cheap; then all losses, on larger ones.
  STEPS=${STEPS:-20000}
  for seed in 0 1 2; do
    run "begin-$seed" --preset sddr-small --preset "$PRESET" --set steps="$STEPS" --set seed="$seed" --set "crop=[128, 192]" \
      --set gradient=0 --set fusion=0 --set pair_share=0
    run "small-$seed" --preset sddr-small --preset "$PRESET" --set steps=$((STEPS / 4)) --set seed="$seed" --set lr=3e-4 \
      --set start="$OUT/begin-$seed" --set supervised_share=0
  done
  # Ablations, in the order of the paper's Table 4; shorter, and all of one length.
  SHORT=(--preset sddr-small --preset "$PRESET" --set steps="${SHORT_STEPS:-4000}" --set labels=self --set refresh=1000)
  run ab-gt "${SHORT[@]}" --set gradient=0 --set fusion=0
  run ab-gradient "${SHORT[@]}" --set fusion=0
  run ab-fusion "${SHORT[@]}" --set gradient=0
  run ab-both "${SHORT[@]}"
  for s in 0 1 3; do run "ab-S$s" "${SHORT[@]}" --set windows="$s"; done
  run ab-depth-labels "${SHORT[@]}" --set label_form=depth
  run ab-control "${SHORT[@]}" --set labels=exact
  run ab-no-noise "${SHORT[@]}" --set noise=false
  run ab-no-rgb "${SHORT[@]}" --set rgb=false
  run ab-half-size "${SHORT[@]}" --set fine=0
  run ab-residual "${SHORT[@]}" --set head=residual --set fine=0
  WEIGHTS=()
  for seed in 0 1 2; do WEIGHTS+=("sddr=$OUT/small-$seed"); done
  "$PYTHON" benchmarks/sddr.py --weights "${WEIGHTS[@]}" --data "$DATA" --out "$OUT/tables.json" | tee "$OUT/tables.md"
  WEIGHTS=()
  for folder in "$OUT"/ab-*; do WEIGHTS+=("$(basename "$folder")=$folder"); done
  "$PYTHON" benchmarks/sddr.py --weights "${WEIGHTS[@]}" --table fusion any harm --data "$DATA" --out "$OUT/ablations.json" |
    tee "$OUT/ablations.md"
  ;;
*)
  echo "expected smoke, more, ablations or full, found $MODE" >&2
  exit 2
  ;;
esac
