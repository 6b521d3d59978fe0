"""How depth models bear the 18 corruptions of KITTI-C indoors: mCE and mRR with the first as 100, clean error, sharpness.

    python benchmarks/robust.py --model indoor-small runs/robust/run/model.onnx [--quick] [--out FOLDER] [--pictures]

A model is a name or an .onnx file with its card. Pictures: NYUv2 (4), PrimeSense, TUM, SUN (one each) of `--data`, and rendered rooms that no
training sees; spoilt at 320 pixels across, scored with metres as they are ("natural"). mCE is taken per set, and over all pictures together.
Writes robust.json and robust.md; `--pictures` also what the models say of spoilt pictures, `--refined` how sharp they are with refiners behind them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keendepth import DepthMap, Image, data, predictors, refiners
from keendepth.core.geometry import fit_inside
from keendepth.data import corruptions, synthetic
from keendepth.evaluation.boundary import sharpness
from keendepth.evaluation.metrics import accuracy
from keendepth.evaluation.rendered import FARTHEST
from keendepth.evaluation.robustness import PublishedRow, Robustness, dee, robustness
from keendepth.nn.retinex import OPERATIONS
from keendepth.predictors.onnx import OnnxPredictor

LONGEST = 320  # as bench-robust has it
FIRST_HELD_OUT = 2_000_000  # training sees scenes below 1,000,000, validation those from there on
REAL = {"NYUv2": ("real-nyu", None), "PrimeSense, TUM, SUN": ("real-rgbd", ("primesense/00000", "tum", "sun"))}
FIRST_REFINED = 2_000_100
SHARP = ("boundary_f1", "pdbe_acc", "pdbe_comp", "edge_comp")
SHOWN = (("night", 3), ("fog_depth", 4), ("dark", 4), ("gaussian", 2), ("iso", 2), ("motion", 3))
Predict = Callable[[Image], DepthMap]


@dataclass(frozen=True)
class Case:
    """A picture at the size at which it is spoilt, with its reference."""

    set: str
    id: str
    image: Image
    truth: DepthMap
    cap: tuple[float, float] | None = None


@dataclass
class Rows:
    """(DEE, AbsRel) of one model by (set, corruption or "", severity or 0), one entry per picture; and sharpness."""

    scores: dict[tuple[str, str, int], list[tuple[float, float]]]
    sharp: dict[str, list[dict[str, float]]]

    def dee(self, name: str, sets: Sequence[str], severity: int = 0) -> float:
        """Mean over pictures of the sets, and over severities unless one is asked for."""
        found = [
            value
            for (where, what, step), values in self.scores.items()
            if what == name and where in sets and (not severity or step == severity)
            for value in values
        ]
        return float(np.mean([value[0] for value in found]))

    def abs_rel(self, sets: Sequence[str]) -> float:
        return float(np.mean([v[1] for s in sets for v in self.scores.get((s, "", 0), [])]))


def cases(root: Path, rooms: int, quick: bool) -> Iterator[Case]:
    """Real pictures with sensors' depth, then rendered rooms."""
    for title, (name, wanted) in REAL.items():
        files = data.registry.build(name, root=root)
        for id in (wanted or files.ids)[: 1 if quick else None]:
            sample = files.load(id)
            yield Case(title, id, sample.image.resized(*fit_inside(sample.image.size, LONGEST)), sample.depth)
    for seed in range(FIRST_HELD_OUT, FIRST_HELD_OUT + rooms):
        (frame,) = synthetic.render(seed, (240, LONGEST), "room")
        yield Case("rendered rooms", f"room {seed}", frame.image, frame.depth, (0.01, FARTHEST["room"]))


def model(spec: str) -> Predict:
    """A predictor by its name, or of an .onnx file with its card beside it; without refiners, which would repair what is measured."""
    made = OnnxPredictor(Path(spec)) if spec.endswith(".onnx") else predictors.registry.build(spec)
    return made.predict


def measured(models: dict[str, Predict], found: Sequence[Case], severities: Sequence[int]) -> dict[str, Rows]:
    """Every model on every spoilt copy of every picture; each copy is made once."""
    rows = {name: Rows({}, {}) for name in models}
    for case in found:
        for name in ("", *corruptions.KITTI_C):
            for severity in severities if name else (0,):
                image = corruptions.corrupt(case.image, name, severity, 0, case.truth) if name else case.image
                for spec, predict in models.items():
                    depth = predict(image)
                    score = accuracy(depth, case.truth, cap=case.cap)
                    pair = dee(score["abs_rel"], score["delta1"]), score["abs_rel"]
                    rows[spec].scores.setdefault((case.set, name, severity), []).append(pair)
                    if not name:
                        sharp = sharpness(depth, case.truth, alignment="scale_shift")
                        rows[spec].sharp.setdefault(case.set, []).append(sharp)
        print(f"{case.set}: {case.id}", flush=True)
    return rows


def compared(own: Rows, base: Rows, sets: Sequence[str]) -> Robustness:
    """mCE and mRR over pictures of `sets`, the base as 100."""
    row = PublishedRow(base.dee("", sets), {c: base.dee(c, sets) for c in corruptions.KITTI_C}, 100.0, 0.0)
    return robustness(own.dee("", sets), {c: own.dee(c, sets) for c in corruptions.KITTI_C}, row)


def report(rows: dict[str, Rows], severities: Sequence[int]) -> tuple[dict, str]:
    """Figures as JSON and as Markdown tables."""
    base = next(iter(rows.values()))
    sets = list(dict.fromkeys(where for where, _, _ in base.scores))
    groups = {**{name: [name] for name in sets}, "all pictures": sets}
    shared = sorted(set(OPERATIONS) & set(corruptions.CORRUPTIONS))
    lines = [
        f"Training operations: {', '.join(OPERATIONS)}. Test: {', '.join(corruptions.KITTI_C)}. In both: {', '.join(shared) or 'none'}.",
        "",
        "| pictures | model | mCE | mRR | clean AbsRel | Depth Pro F1 | PDBE acc | EdgeComp |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found: dict = {"overlap": shared, "sets": {}}
    for title, members in groups.items():
        for name, own in rows.items():
            result = compared(own, base, members)
            sharp = [entry for s in members for entry in own.sharp[s]]
            edges = {k: _mean([e[k] for e in sharp]) for k in ("boundary_f1", "pdbe_acc", "edge_comp")}
            clean = own.abs_rel(members)
            lines.append(
                f"| {title} | {name} | {result.mCE:.1f} | {result.mRR:.1f} | {clean:.4f} | "
                + " | ".join(f"{value:.3f}" for value in edges.values()) + " |"
            )  # fmt: skip
            found["sets"].setdefault(title, {})[name] = {
                "mCE": result.mCE, "mRR": result.mRR, "abs_rel": clean, **edges, "CE": dict(result.CE), "DEE": dict(result.dee),
            }  # fmt: skip
    lines += ["", *_per_corruption(rows, base, sets, severities)]
    return found, "\n".join(lines) + "\n"


def _per_corruption(rows: dict[str, Rows], base: Rows, sets: list[str], severities: Sequence[int]) -> list[str]:
    """DEE by severity over all pictures, and CE."""
    lines = [
        "DEE over all pictures by severity (CE, the first model as 100):",
        "",
        "| corruption | " + " | ".join(rows) + " |",
        "|---|" + "---|" * len(rows),
    ]
    for c in corruptions.KITTI_C:
        cells = []
        for own in rows.values():
            steps = " ".join(f"{own.dee(c, sets, s):.2f}" for s in severities)
            cells.append(f"{steps} ({100 * own.dee(c, sets) / base.dee(c, sets):.0f})")
        lines.append(f"| {c} | {' | '.join(cells)} |")
    return lines


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def sheet(models: dict[str, Predict], found: Sequence[Case], path: Path) -> None:
    """Spoilt pictures; below each, what the first model says of the clean one, then what every model says of the spoilt one."""
    from PIL import Image as PillowImage

    from keendepth import viz

    columns = []
    for case, (name, severity) in zip(_cycled(found, len(SHOWN)), SHOWN, strict=True):
        image = corruptions.corrupt(case.image, name, severity, 0, case.truth)
        clean = next(iter(models.values()))(case.image)
        answers = [clean, *(predict(image) for predict in models.values())]
        column = [image.rgb, *(viz.colourise(answer.resized(*image.size)) for answer in answers)]
        columns.append(np.concatenate([np.asarray(PillowImage.fromarray(x).resize((320, 240))) for x in column]))
    PillowImage.fromarray(np.concatenate(columns, axis=1)).save(path)


def refined(models: dict[str, Predict], scenes: int) -> str:
    """Sharpness on clean rendered scenes, half of them furnished, by each model alone and with the refiners behind it."""
    made = {"": None} | {name: refiners.registry.build(name) for name in ("median", "sddr")}
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number in range(scenes):
        (frame,) = synthetic.render(FIRST_REFINED + number // 2, (480, 640), ("room", "furnished")[number % 2])
        for name, predict in models.items():
            plain = predict(frame.image)
            for way, refiner in made.items():
                depth = refiner.refine(frame.image, plain) if refiner else plain
                sharp = sharpness(depth, frame.depth, alignment="scale_shift")
                error = accuracy(depth, frame.depth, cap=(0.1, FARTHEST["room"]))["abs_rel"]
                rows.setdefault((name, way), []).append((error, *(sharp[key] for key in SHARP)))
    lines = [f"| model | refiner | AbsRel | {' | '.join(SHARP)} |", "|---" * (3 + len(SHARP)) + "|"]
    for (name, way), found in rows.items():
        cells = " | ".join(f"{value:.3f}" for value in np.nanmean(found, axis=0))
        lines.append(f"| {name} | {way or 'none'} | {cells} |")
    return "\n".join(lines)


def _cycled(found: Sequence[Case], count: int) -> list[Case]:
    return [found[k * max(1, len(found) // count) % len(found)] for k in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["indoor-small"], help="the first is 100")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rooms", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="one picture of each set, two severities")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-robust"))
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--refined", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    severities = (2, 4) if options.quick else corruptions.SEVERITIES
    models = {spec: model(spec) for spec in options.model}
    found = list(cases(options.data, 1 if options.quick else options.rooms, options.quick))
    content, text = report(measured(models, found, severities), severities)
    (options.out / "robust.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (options.out / "robust.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{time.perf_counter() - began:.0f} s -> {options.out}")
    if options.refined:
        print(refined(models, 2 if options.quick else 16))
    if options.pictures:
        sheet(models, found, options.out / "robust.png")


if __name__ == "__main__":
    main()
