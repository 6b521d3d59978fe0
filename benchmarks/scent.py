"""Scent-Depth's must-show tables: the ablation grid with seeds, mCE and mRR per corruption and severity on held-out rendered streets.

    python benchmarks/scent.py --scenes runs/held-out --runs base=runs/base-0 base=runs/base-1 graph=runs/graph-0 [--out DIR] [--quick]
    python benchmarks/scent.py --scenes runs/held-out --geometry      # the five numbers of re-projection with exact depth and motion

Runs of one name are its seeds. mCE is relative to the mean of the first name's runs. Depth is brought to the truth by the ratio of medians for
each picture, and scored up to 50 m; what metres come out by themselves is a column of its own. Scores are kept in --out: the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keendepth import Camera, DepthKind, DepthMap, Image
from keendepth.data import corruptions, register
from keendepth.data.sample import Facts, Sample, describe
from keendepth.evaluation import spoiling
from keendepth.evaluation.metrics import accuracy
from keendepth.evaluation.plan import CorruptionPlan, DataPlan
from keendepth.evaluation.robustness import PublishedRow, Robustness, robustness
from keendepth.evaluation.subjects import Place, Work, models_of
from keendepth.evaluation.tables import Spoilt
from keendepth.training.runs import read_config, read_log
from keendepth.training.triplets import RenderedTriplets

CAP = (1e-3, 50.0)  # metres that are scored (scent_depth.md 10.5.1)
GROUPS = {"KITTI-C's 18": corruptions.KITTI_C, "5 that know depth": corruptions.DEPTH_AWARE}


@dataclass(frozen=True)
class Middles:
    """The middle frames of a cache of triplets, as a data set of benchmarks."""

    cache: RenderedTriplets
    name: str = "rendered-triplets"

    @property
    def ids(self) -> list[str]:
        return [f"{number:04d}" for number in range(len(self.cache))]

    def __len__(self) -> int:
        return len(self.cache)

    def load(self, id: str) -> Sample:
        triplet = self.cache.read(int(id))
        h, w = triplet.frames.shape[1:3]
        K = triplet.K
        camera = Camera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], w, h, "rendered")
        with np.errstate(divide="ignore"):
            depth = DepthMap(1 / triplet.near, DepthKind.METRIC, camera)
        return Sample(Image(triplet.frames[1], camera, id), depth, id, domain="street")

    def protocol_facts(self) -> dict[str, Any]:
        return describe(self.name, len(self), Facts("rendered", "none", cap=CAP[1]))


@register(
    "rendered-triplets", summary="middle frames of rendered triplets", license="Apache-2.0", kind=DepthKind.METRIC
)
def middles(root: Path) -> Middles:
    return Middles(RenderedTriplets(root))


@dataclass(frozen=True)
class Arm:
    """One setting and its runs (seeds)."""

    name: str
    runs: tuple[Path, ...]

    @property
    def models(self) -> list[str]:
        return [str(run / "model.onnx") for run in self.runs]

    def cost(self) -> tuple[float, float]:
        """(steps, seconds of training), means over the runs; those of a run that this one went on from count, too."""
        totals = []
        for run in self.runs:
            ends = [[line for line in read_log(part) if "seconds" in line][-1] for part in parts(run)]
            totals.append([sum(end[key] for end in ends) for key in ("step", "seconds")])
        steps, seconds = np.mean(totals, axis=0).tolist()
        return steps, seconds


def arms_of(texts: Sequence[str]) -> list[Arm]:
    found: dict[str, list[Path]] = {}
    for text in texts:
        name, _, path = text.partition("=")
        found.setdefault(name, []).append(Path(path))
    return [Arm(name, tuple(runs)) for name, runs in found.items()]


def parts(run: Path) -> list[Path]:
    """The run, and before it the one on film that it was made robust from."""
    config = read_config(run)
    return [*parts(Path(config["robust"]["model"]).parent), run] if config["recipe"] == "robust" else [run]


def overlap(run: Path) -> tuple[list[str], list[str]]:
    """(operations of training, those of them that are a corruption of the test)."""
    used: list[str] = []
    same: list[str] = []
    for part in parts(run):
        config = read_config(part)
        options = config[config["recipe"]]
        if config["recipe"] == "robust":
            used += ["mirroring", "cutting", *options["operations"]]
        else:
            used += ["mirroring"] if options["flip"] else []
            if options["jitter"]:  # its brightness and contrast are mild kin of two corruptions
                used += ["brightness", "contrast", "saturation", "hue"]
                same += ["brightness", "contrast"]
            if options["twin"] or options.get("twin_share"):
                used += options["twin_operations"]
    same += [name for name in used if name in corruptions.CORRUPTIONS and name not in same]
    return list(dict.fromkeys(used)), same


def clean(spec: str, data: Middles, ids: Sequence[str]) -> dict[str, float]:
    """abs_rel and delta1 after median ratios, abs_rel in the metres that come, and the spread of the ratios."""
    model = models_of((spec,))[spec]
    rows, ratios = [], []
    for id in ids:
        sample = data.load(id)
        found, truth = model(sample.image), sample.depth
        scaled, plain = (accuracy(found, truth, alignment=how, cap=CAP) for how in ("median", "none"))
        known = truth.valid & (truth.values <= CAP[1])
        ratios.append(np.median(truth.values[known]) / np.median(found.values[known]))
        rows.append((scaled["abs_rel"], scaled["delta1"], plain["abs_rel"]))
    abs_rel, delta1, metres = np.mean(rows, axis=0).tolist()
    return {"abs_rel": abs_rel, "delta1": delta1, "metres": metres, "spread": float(np.std(ratios / np.median(ratios)))}


def spoilt(given: argparse.Namespace, models: Sequence[str]) -> Spoilt:
    """DEE of every model on every corruption, through the evaluation suite."""
    scenes, limit = given.scenes.resolve(), 4 if given.quick else given.pictures
    data = DataPlan("rendered-triplets", "held-out streets", root=scenes.name, cap=CAP, limit=limit)
    severities = (3,) if given.quick else corruptions.SEVERITIES
    types = tuple(name for group in GROUPS.values() for name in group)
    plan = CorruptionPlan("held-out streets", models[0], types, severities, "median", longest=0)
    work = Work(data, tuple(models), Place(given.out, scenes.parent, jobs=given.jobs))

    def tell(what: str, done: int, of: int) -> None:
        if done % 100 == 0 or done == of:
            print(f"{what}: {done} of {of}", file=sys.stderr, flush=True)

    (found,) = spoiling.spoil(work, plan, tell)
    return found


def judged(found: Spoilt, arms: Sequence[Arm], types: Sequence[str]) -> dict[str, list[Robustness]]:
    """mCE and mRR of every run over these corruptions; 100 is the mean of the first arm's runs."""
    models = [model for arm in arms for model in arm.models]
    dees = {
        m: {name: float(np.nanmean(table.values(m, "dee"))) for name, table in found.tables.items()} for m in models
    }
    base = {name: float(np.mean([dees[m][name] for m in arms[0].models])) for name in ("", *types)}
    row = PublishedRow(base[""], {name: base[name] for name in types}, 100.0, 0.0)
    return {
        arm.name: [robustness(dees[m][""], {name: dees[m][name] for name in types}, row) for m in arm.models]
        for arm in arms
    }


def shown(values: Sequence[float], digits: int = 1) -> str:
    """Mean and, of several, their deviation."""
    spread = f" +- {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def grid(arms: Sequence[Arm], found: Spoilt, data: Middles) -> list[str]:
    """The ablation: one line per arm."""
    by_group = {title: judged(found, arms, types) for title, types in GROUPS.items()}
    ids = found.tables[""].ids
    heads = ["arm", "seeds", "clean AbsRel", "d1", "AbsRel in metres", "scale spread"]
    heads += [f"{figure}, {title}" for title in GROUPS for figure in ("mCE", "mRR")] + ["steps", "seconds"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for arm in arms:
        figures = [clean(model, data, ids) for model in arm.models]
        cells = [arm.name, str(len(arm.runs)), *(shown([f[key] for f in figures], 3) for key in figures[0])]
        for results in by_group.values():
            cells += [shown([r.mCE for r in results[arm.name]]), shown([r.mRR for r in results[arm.name]])]
        steps, seconds = arm.cost()
        lines.append("| " + " | ".join([*cells, f"{steps:.0f}", f"{seconds:.0f}"]) + " |")
    return lines


def per_corruption(arms: Sequence[Arm], found: Spoilt) -> list[str]:
    """CE of every corruption, means over the runs."""
    results = {name: {} for name in found.tables if name}
    for types in GROUPS.values():
        for arm, rows in judged(found, arms, types).items():
            for name in types:
                results[name][arm] = float(np.mean([row.CE[name] for row in rows]))
    lines = ["| corruption | " + " | ".join(arm.name for arm in arms) + " |", "|---" * (len(arms) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{cells[arm.name]:.1f}" for arm in arms) + " |" for name, cells in results.items()
    ]
    return lines


def per_severity(arms: Sequence[Arm], found: Spoilt) -> list[str]:
    """mCE over all corruptions at each severity; then the corruptions that do not cost the first arm more the heavier they are."""
    rises = {arm.name: [spoiling.rises(found, model) for model in arm.models] for arm in arms}
    base = {name: np.mean([one[name] for one in rises[arms[0].name]], axis=0) for name in rises[arms[0].name][0]}
    lines = ["| arm | " + " | ".join(f"severity {s}" for s in corruptions.SEVERITIES) + " |", "|---" * 6 + "|"]
    for arm in arms:
        ratios = np.mean(
            [[np.divide(one[name], base[name])[1:] for name in base] for one in rises[arm.name]], axis=(0, 1)
        )
        lines.append(f"| {arm.name} | " + " | ".join(f"{100 * ratio:.1f}" for ratio in ratios) + " |")
    helps = [name for name, values in base.items() if np.nanmin(np.diff(values)) < 0]
    return [
        *lines,
        "",
        f"Not monotone for {arms[0].name} (a heavier one costs less somewhere): {', '.join(helps) or 'none'}.",
    ]


def operations(arms: Sequence[Arm]) -> list[str]:
    """What training did to pictures, and how much of that is in the test."""
    lines = []
    for arm in arms:
        used, same = overlap(arm.runs[0])
        lines.append(f"- {arm.name}: {', '.join(used) or 'nothing'}; in the test too: {', '.join(same) or 'none'}")
    return lines


def geometry(scenes: Path, count: int) -> list[str]:
    """The five numbers (scent_depth.md 9.1) over scenes of a cache."""
    from keendepth.training.frames import held_out
    from keendepth.training.geometry_test import five_numbers

    (batch,) = held_out(RenderedTriplets(scenes), count, count)
    depth = 1 / batch["near"].clamp(min=1e-3)
    found = five_numbers(batch["frames"], depth, batch["motion"].transpose(0, 1), batch["K"])
    return [
        "| " + " | ".join(found) + " |",
        "|---" * len(found) + "|",
        "| " + " | ".join(f"{x:.4f}" for x in found.values()) + " |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True, help="cache of held-out triplets")
    parser.add_argument("--runs", nargs="*", default=[], metavar="ARM=RUN")
    parser.add_argument("--out", type=Path, default=Path("bench-scent"))
    parser.add_argument("--quick", action="store_true", help="four pictures, one severity")
    parser.add_argument("--pictures", type=int, default=0, help="so many alone, spread over all")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--geometry", action="store_true")
    given = parser.parse_args()
    tables: dict[str, list[str]] = {}
    if given.geometry or not given.runs:
        tables["Re-projection with exact depth and motion"] = geometry(given.scenes, 24)
    if given.runs:
        arms = arms_of(given.runs)
        models = [model for arm in arms for model in arm.models]
        found = spoilt(given, models)
        tables["Operations of training"] = operations(arms)
        tables["Ablation"] = grid(arms, found, Middles(RenderedTriplets(given.scenes)))
        tables["CE per corruption"] = per_corruption(arms, found)
        if not given.quick:
            tables["mCE per severity"] = per_severity(arms, found)
    for title, lines in tables.items():
        print(f"\n### {title}\n\n" + "\n".join(lines), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "tables.json").write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
