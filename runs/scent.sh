#!/usr/bin/env bash
# The whole Scent-Depth experiment on rendered streets: triplets, a semantic teacher, the ablation grid with several seeds, and the tables.
# `runs/scent.sh smoke OUT` shows in minutes that everything works; `full` is the real thing. Each line keeps what is there, so it goes on after a stop.
# SEEDS, STEPS, ARMS, COUNT: what to make fewer or more of. TEACHER: another teacher than the segmenter that is trained here.
# evened-*: light and noise of unusual pictures are brought to the usual first; *-robust: the arm of that name, made robust afterwards (ROBUST steps).
set -euo pipefail
cd "$(dirname "$0")/.."
MODE=${1:?smoke or full}
OUT=${2:?folder for everything that is made}
PYTHON=${PYTHON:-python}
FILM=${FILM:-$OUT/triplets}
HELD_OUT=${HELD_OUT:-$OUT/held-out}
export OMP_WAIT_POLICY=PASSIVE
if [ "$MODE" = smoke ]; then
  SEEDS=${SEEDS:-0} STEPS=${STEPS:-20} ROBUST=${ROBUST:-5} COUNT=${COUNT:-12} SCENES=4
  QUICK=(--quick)
  EXTRA=(--set validate_every=0 --set log_every=5 --set validation=4)
  TEACHER_EXTRA=(--set steps=20 --set validate_every=0)
else
  SEEDS=${SEEDS:-0 1 2} STEPS=${STEPS:-3000} COUNT=${COUNT:-1000} SCENES=96
  QUICK=()
  EXTRA=()
  TEACHER_EXTRA=()
fi
ROBUST=${ROBUST:-300}
EVENED="evened evened-graph evened-feature evened-shuffled"
ARMS=${ARMS:-base base-long twin feature graph twin-feature twin-graph shown shown-graph shuffled net net-aligned warmup $EVENED ${EVENED// /-robust }-robust}
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
    evened) echo "--set even=true --set quiet=true" ;;
    evened-*) echo "--set even=true --set quiet=true --set distil=${1#evened-} --set teacher=$TEACHER" ;;
    net) echo "--set poses=net --set velocity=0.02" ;;
    net-aligned) echo "--set poses=net --set velocity=0.1 --set align_from=0.3" ;;
    warmup) echo "--set poses=warmup --set velocity=0.02" ;;
    *) echo "no arm is called $1" >&2 && return 1 ;;
  esac
}

# film ARM SEED: train a run on film once; go on with it where it was stopped
film() {
  [ -f "$OUT/$1-$2/model.onnx" ] && return 0
  # shellcheck disable=SC2046  # options are words
  "$PYTHON" -m keendepth train scent -o "$OUT/$1-$2" --resume --data "$FILM" --data "$HELD_OUT" --preset scent-tiny \
    --set steps="$STEPS" --set seed="$2" "${EXTRA[@]}" $(options "$1")
}

# robust ARM SEED: the run of that arm, made robust on the frames of the same film; what it listened to, it listens to again
robust() {
  [ -f "$OUT/$1-robust-$2/model.onnx" ] && return 0
  local heard=(--set graph=0.0)
  [ "$1" = evened ] || heard=(--set distil="${1#evened-}" --set teacher="$TEACHER")
  "$PYTHON" -m keendepth train robust -o "$OUT/$1-robust-$2" --resume --data "$FILM" --preset robust-small --set model="$OUT/$1-$2/model.onnx" \
    --set steps="$ROBUST" --set clean=2.0 --set validate_every=0 --set threads=1 --set seed="$2" "${heard[@]}"
}

RUNS=()
for seed in $SEEDS; do
  for arm in $ARMS; do
    film "${arm%-robust}" "$seed"
    [ "$arm" = "${arm%-robust}" ] || robust "${arm%-robust}" "$seed"
    RUNS+=("$arm=$OUT/$arm-$seed")
  done
done
"$PYTHON" benchmarks/scent.py --scenes "$HELD_OUT" --runs "${RUNS[@]}" --jobs "${JOBS:-2}" --out "$OUT/bench" "${QUICK[@]}" | tee "$OUT/tables.md"
