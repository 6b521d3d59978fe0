#!/usr/bin/env bash
# The whole SDDR experiment. `runs/sddr.sh smoke OUT PHOTOS` shows in minutes on two cores that everything works; `full` is the real thing:
# a day on two cores, hours with a GPU. Each line keeps what is there, so the script can be stopped and started again.
# PHOTOS: a folder of unlabelled photos (never pictures that are scored on). DATA: where benchmarks find their pictures.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke or full}
OUT=${2:?folder for everything that is made}
PHOTOS=${3:?folder of unlabelled photos}
DATA=${DATA:-../shared/data}
PYTHON=${PYTHON:-python}
KINDS=${KINDS:-room=0.35 street=0.2 thin=0.2 furnished=0.25}
PROCESSES=${PROCESSES:-2}
PRESET=${PRESET:-cpu}
export OMP_WAIT_POLICY=PASSIVE
mkdir -p "$OUT"

# run NAME OPTIONS...: train a run once; go on with it where it was stopped
run() {
  local name=$1
  shift
  [ -f "$OUT/$name/model.onnx" ] && return 0
  "$PYTHON" -m keendepth train sddr -o "$OUT/$name" --resume --data "$OUT/scenes" --data "$OUT/held-out" --data "$OUT/photos" "$@"
}

case $MODE in
smoke)
  "$PYTHON" runs/render.py scenes "$OUT/scenes" --count 24 --size 192 256 --kinds room=0.5 thin=0.5 --processes 1
  "$PYTHON" runs/render.py scenes "$OUT/held-out" --held-out --count 4 --size 192 256 --kinds room=0.5 thin=0.5 --processes 1
  "$PYTHON" -m keendepth store "$PHOTOS" -o "$OUT/photos" --longest 320
  run smoke --preset smoke --set sddr.size=tiny --set "crop=[128, 160]" --set validation=6 --set sddr.windows=1
  "$PYTHON" benchmarks/sddr.py --weights smoke="$OUT/smoke" --quick --table any harm --data "$DATA" --out "$OUT/smoke.json"
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
  echo "expected smoke or full, found $MODE" >&2
  exit 2
  ;;
esac
