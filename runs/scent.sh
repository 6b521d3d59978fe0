#!/usr/bin/env bash
# The whole Scent-Depth experiment on rendered streets: triplets, a semantic teacher, the ablation grid with several seeds, and the tables.
# `runs/scent.sh smoke OUT` shows in minutes that everything works; `full` is the real thing. Each line keeps what is there, so it goes on after a stop.
# SEEDS, STEPS, ARMS, COUNT: what to make fewer or more of. TEACHER: another teacher than the segmenter that is trained here.
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke or full}
OUT=${2:?folder for everything that is made}
PYTHON=${PYTHON:-python}
FILM=${FILM:-$OUT/triplets}
HELD_OUT=${HELD_OUT:-$OUT/held-out}
export OMP_WAIT_POLICY=PASSIVE
if [ "$MODE" = smoke ]; then
  SEEDS=${SEEDS:-0} STEPS=${STEPS:-20} COUNT=${COUNT:-12} SCENES=4
  QUICK=(--quick)
  EXTRA=(--set validate_every=0 --set log_every=5 --set validation=4)
  TEACHER_EXTRA=(--set steps=20 --set validate_every=0)
else
  SEEDS=${SEEDS:-0 1 2} STEPS=${STEPS:-3000} COUNT=${COUNT:-1000} SCENES=96
  QUICK=()
  EXTRA=()
  TEACHER_EXTRA=()
fi
ARMS=${ARMS:-base base-long twin feature graph twin-feature twin-graph shown shown-graph shuffled net warmup}
SHOWN='--set twin_share=0.3 --set twin_operations=["illumination","suppression","foreign","missing","grain","spectrum","convolution"]'
mkdir -p "$OUT"
"$PYTHON" runs/render.py triplets "$FILM" --count "$COUNT"
"$PYTHON" runs/render.py triplets "$HELD_OUT" --held-out --count "$SCENES"

if [ -z "${TEACHER:-}" ] && [[ "$ARMS" =~ feature|graph|shuffled ]]; then
  TEACHER=segmenter:$OUT/segmenter
  [ -f "$OUT/segmenter/report.md" ] || "$PYTHON" -m keendepth train segmenter -o "$OUT/segmenter" --resume --data "$FILM" --data "$HELD_OUT" \
    --preset segmenter-tiny "${TEACHER_EXTRA[@]}"
fi

# options ARM: what is set for it; all else is the preset's
options() {
  case $1 in
    base) ;;
    base-long) echo "--set steps=$((2 * STEPS))" ;; # as much time as an arm with a twin takes
    twin) echo "--set twin=0.5" ;;
    feature | graph | shuffled) echo "--set distil=$1 --set teacher=$TEACHER" ;;
    shown) echo "$SHOWN" ;; # three pictures of ten are seen as their twin, at no cost in time
    shown-graph) echo "$SHOWN --set distil=graph --set teacher=$TEACHER" ;;
    twin-feature | twin-graph) echo "--set twin=0.5 --set distil=${1#twin-} --set teacher=$TEACHER" ;;
    net) echo "--set poses=net --set velocity=0.02" ;;
    warmup) echo "--set poses=warmup --set velocity=0.02" ;;
    *) echo "no arm is called $1" >&2 && return 1 ;;
  esac
}

RUNS=()
for seed in $SEEDS; do
  for arm in $ARMS; do
    run=$OUT/$arm-$seed
    if [ ! -f "$run/model.onnx" ]; then
      # shellcheck disable=SC2046  # options are words
      "$PYTHON" -m keendepth train scent -o "$run" --resume --data "$FILM" --data "$HELD_OUT" --preset scent-tiny \
        --set steps="$STEPS" --set seed="$seed" "${EXTRA[@]}" $(options "$arm")
    fi
    RUNS+=("$arm=$run")
  done
done
"$PYTHON" benchmarks/scent.py --scenes "$HELD_OUT" --runs "${RUNS[@]}" --jobs "${JOBS:-2}" --out "$OUT/bench" "${QUICK[@]}" | tee "$OUT/tables.md"
