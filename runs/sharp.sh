#!/usr/bin/env bash
# The whole SharpDepth experiment, with small networks of our own: a generative model, the sharpener distilled from it and a metric model, and the
# paper's ablations. `runs/sharp.sh smoke OUT` shows in minutes that everything works; `depth` trains our variant that starts from depth, in half an hour; `full` is the real thing. Each line keeps what is there.
# SCENES and HELD_OUT: caches of rendered scenes (runs/render.py scenes); PHOTOS: a store of a metric model over unlabelled photos, if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke, depth or full}
OUT=${2:?folder for everything that is made}
SCENES=${SCENES:-$OUT/scenes}
HELD_OUT=${HELD_OUT:-$OUT/held-out}
PHOTOS=${PHOTOS:-}
PYTHON=${PYTHON:-python}
PRESET=${PRESET:-cpu}
export OMP_WAIT_POLICY=PASSIVE
mkdir -p "$OUT"

# run RECIPE NAME OPTIONS...: train a run once; go on with it where it was stopped
run() {
  local recipe=$1 name=$2
  shift 2
  [ -f "$OUT/$name/model.onnx" ] && return 0
  local data=(--data "$SCENES" --data "$HELD_OUT")
  if [ "$recipe" = sharp ] && [ -n "$PHOTOS" ]; then data+=(--data "$PHOTOS"); fi
  "$PYTHON" -m keendepth train "$recipe" -o "$OUT/$name" --resume "${data[@]}" "$@"
}

if [ "$MODE" = smoke ]; then
  "$PYTHON" runs/render.py scenes "$SCENES" --count 12 --size 192 256 --kinds room=1 --processes 1
  "$PYTHON" runs/render.py scenes "$HELD_OUT" --held-out --count 2 --size 192 256 --kinds room=1 --processes 1
  NET=(--set "channels=[16, 24]" --set "size=[96, 128]" --set longest=128 --set validation=2)
  run onestep onestep --preset smoke "${NET[@]}"
  run sharp sharp --preset smoke "${NET[@]}" --set generator="$OUT/onestep"
  "$PYTHON" benchmarks/sharp.py --scenes "$HELD_OUT" --generator "$OUT/onestep" --weights sharp="$OUT/sharp" --quick --out "$OUT/tables.json"
  exit 0
fi

if [ "$MODE" = depth ]; then
  run onestep depth-onestep --preset "$PRESET" --preset onestep-depth --set steps="${BASE_STEPS:-1800}"
  run sharp depth-sharp --preset "$PRESET" --preset sharp-depth --set generator="$OUT/depth-onestep" --set steps="${STEPS:-600}"
  "$PYTHON" benchmarks/sharp.py --scenes "$HELD_OUT" ${DATA:+--data "$DATA"} --count "${COUNT:-32}" --weights "generator=$OUT/depth-onestep" "student=$OUT/depth-sharp" --out "$OUT/depth.json" | tee "$OUT/depth.md"
  exit 0
fi

"$PYTHON" runs/render.py scenes "$SCENES" --count 6000 --kinds room=0.5 thin=0.2 furnished=0.3
"$PYTHON" runs/render.py scenes "$HELD_OUT" --held-out --count 64 --kinds room=0.5 thin=0.2 furnished=0.3
run onestep onestep --preset "$PRESET" --preset onestep-tiny --set steps="${BASE_STEPS:-20000}"
WEIGHTS=()
# ablation NAME OPTIONS...: three seeds of one setting
ablation() {
  local name=$1
  shift
  for seed in 0 1 2; do
    run sharp "$name-$seed" --preset "$PRESET" --preset sharp-tiny --set generator="$OUT/onestep" --set steps="${STEPS:-4000}" --set seed="$seed" "$@"
    WEIGHTS+=("$name=$OUT/$name-$seed")
  done
}
ablation full
# The paper's Table 3, in its order (F, Marigold as the teacher, needs latents of its own: --set checkpoint and --set teacher).
ablation A-noise-only --set pure=1.0
ablation B-clean-latent --set gate=clean --set pure=0.0
ablation C-without-sds --set sds=0.0
ablation D-without-reconstruction --set reconstruction=0.0
ablation G-frozen-instead-of-ema --set first=teacher
ablation gate-of-the-paper --set gate=paper
WEIGHTS+=("untrained student=$OUT/onestep")
"$PYTHON" benchmarks/sharp.py --scenes "$HELD_OUT" ${DATA:+--data "$DATA"} --generator "$OUT/onestep" --weights "${WEIGHTS[@]}" --out "$OUT/tables.json" | tee "$OUT/tables.md"
