#!/usr/bin/env bash
# The whole SharpDepth experiment, with small networks of our own. `runs/sharp.sh smoke OUT` shows in minutes that everything works; `depth` trains what
# ships, the variant that starts from depth and learns from a refiner, in 20 minutes of one core; `ablations` is the paper's Table 3 with tiny networks (a
# generative model, sharpeners distilled from it and a metric model, three seeds; half an hour of one core); `full` is the same at size. Lines keep what is there.
# SCENES, HELD_OUT, TEST: caches of rendered scenes (runs/render.py scenes) to learn from, to validate and calibrate on, and to score; PHOTOS: a store of a
# metric model over unlabelled photos, if there is one; DATA: the real pictures, if they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke, depth, ablations or full}
OUT=${2:?folder for everything that is made}
SCENES=${SCENES:-$OUT/scenes}
HELD_OUT=${HELD_OUT:-$OUT/held-out}
TEST=${TEST:-$OUT/test}
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
  "$PYTHON" -m keendepth train "$recipe" -o "$OUT/$name" --resume "${data[@]}" "$@" ${THREADS:+--set threads="$THREADS"}
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

# judged NAME OPTIONS...: the tables of some runs
judged() {
  local name=$1
  shift
  "$PYTHON" benchmarks/sharp.py --scenes "$TEST" ${DATA:+--data "$DATA"} --out "$OUT/$name.json" "$@" | tee "$OUT/$name.md"
}

if [ "$MODE" = depth ]; then
  WEIGHTS=()
  for seed in ${SEEDS:-0 1 2}; do
    run sharp "depth-$seed" --preset "$PRESET" --preset sharp-depth --set seed="$seed" ${STEPS:+--set steps="$STEPS"}
    WEIGHTS+=("sharp=$OUT/depth-$seed")
  done
  judged depth --weights "${WEIGHTS[@]}"
  judged reliability --weights "${WEIGHTS[0]}" --reliability
  exit 0
fi

if [ "$MODE" = ablations ]; then
  NET=(--set "channels=[32, 48, 72, 96]" --set "size=[96, 128]" --set longest=160 --set validation=16 --set validate_every=0)
  # Half of what it learns starts from coarse depth: from noise alone so small a network learns to leave its latent out, and then no gate matters.
  GENERATOR=(--set condition=0.5 --set noised=0.5 --set lr=1e-3 --set warmup=50) STUDENT=(--set lr=3e-4 --set warmup=15)
  BASE_STEPS=${BASE_STEPS:-2000} STEPS=${STEPS:-150}
else
  NET=() GENERATOR=() STUDENT=()
  BASE_STEPS=${BASE_STEPS:-20000} STEPS=${STEPS:-4000}
  "$PYTHON" runs/render.py scenes "$SCENES" --count 6000 --kinds room=0.5 thin=0.2 furnished=0.3
  "$PYTHON" runs/render.py scenes "$HELD_OUT" --held-out --count 64 --kinds room=0.5 thin=0.2 furnished=0.3
  "$PYTHON" runs/render.py scenes "$TEST" --held-out --first 2000 --count 48 --kinds room=0.6 furnished=0.4
fi
run onestep onestep --preset "$PRESET" --preset onestep-tiny "${NET[@]}" "${GENERATOR[@]}" --set steps="$BASE_STEPS"
run onestep other-onestep --preset "$PRESET" --preset onestep-tiny "${NET[@]}" "${GENERATOR[@]}" --set steps=$((BASE_STEPS / 2)) --set seed=1
WEIGHTS=("untrained student=$OUT/onestep")
# ablation NAME OPTIONS...: three seeds of one setting
ablation() {
  local name=$1
  shift
  for seed in ${SEEDS:-0 1 2}; do
    run sharp "$name-$seed" --preset "$PRESET" --preset sharp-tiny "${NET[@]}" "${STUDENT[@]}" --set generator="$OUT/onestep" --set steps="$STEPS" --set seed="$seed" "$@"
    WEIGHTS+=("$name=$OUT/$name-$seed")
  done
}
# The paper's Table 3, in its order. F is Marigold as the teacher there, here another generative model, trained half as long.
ablation A-noise-only --set pure=1.0
ablation B-clean-latent --set gate=clean --set pure=0.0
ablation C-without-sds --set sds=0.0
ablation D-without-reconstruction --set reconstruction=0.0
ablation E-full
ablation F-other-teacher --set teacher="$OUT/other-onestep"
ablation G-frozen-instead-of-ema --set first=teacher
ablation gate-of-the-paper --set gate=paper
judged ablations --generator "$OUT/onestep" --weights "${WEIGHTS[@]}" --only-networks
