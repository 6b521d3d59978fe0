#!/usr/bin/env bash
# Make `indoor-small` robust and say what it gained; with ABLATIONS=1 also what each part of the recipe is worth, at equal steps. `runs/robust.sh smoke OUT`
# shows in a minute that everything works. PHOTOS: a folder of photos; SCENES, HELD_OUT: caches of rendered scenes (runs/render.py scenes). Lines keep what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke or full}
OUT=${2:?folder for everything that is made}
SCENES=${SCENES:-$OUT/scenes}
HELD_OUT=${HELD_OUT:-$OUT/held-out}
PHOTOS=${PHOTOS:-../shared/data/photos_unlabelled}
DATA=${DATA:-../shared/data}
PYTHON=${PYTHON:-python}
STEPS=${STEPS:-800}
export OMP_WAIT_POLICY=PASSIVE
mkdir -p "$OUT"
MODELS=()

# run NAME OPTIONS...: train a run once; go on with it where it was stopped
run() {
  local name=$1
  shift
  MODELS+=("$OUT/$name/model.onnx")
  [ -f "$OUT/$name/model.onnx" ] && return 0
  "$PYTHON" -m keendepth train robust -o "$OUT/$name" --resume --preset robust-small --data "$SCENES" --data "$HELD_OUT" --data "$PHOTOS" "$@"
}

if [ "$MODE" = smoke ]; then
  "$PYTHON" runs/render.py scenes "$SCENES" --count 4 --size 96 128 --kinds room=1 --processes 1
  "$PYTHON" runs/render.py scenes "$HELD_OUT" --held-out --count 2 --size 96 128 --kinds room=1 --processes 1
  run robust --set steps=3 --set batch_size=2 --set warmup=1 --set "size=[64, 96]" --set validation=2
  "$PYTHON" benchmarks/robust.py --model indoor-small "${MODELS[@]}" --data "$DATA" --quick --pictures --out "$OUT/bench"
  exit 0
fi

"$PYTHON" runs/render.py scenes "$SCENES" --count 6000 --size 256 320
"$PYTHON" runs/render.py scenes "$HELD_OUT" --held-out --count 64 --size 256 320
run robust --set steps="$STEPS"
if [ -n "${ABLATIONS:-}" ]; then
  run no-graph --set steps="$STEPS" --set graph=0.0
  run adversarial --set steps="$STEPS" --set adversarial=4.0
  run no-exposure --set steps="$STEPS" --set even=false
  run no-quiet --set steps="$STEPS" --set quiet=false
  run retinex-only --set steps="$STEPS" --set 'operations=["illumination", "suppression", "foreign", "missing"]'
  run no-photos --set steps="$STEPS" --set photo_share=0.0
fi
"$PYTHON" benchmarks/robust.py --model indoor-small "${MODELS[@]}" --data "$DATA" --pictures --out "$OUT/bench"
