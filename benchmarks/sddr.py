"""SDDR's must-show tables for any weights: the paper's fusion task, any depth with its photo, harm done to good depth, and cost.

    python benchmarks/sddr.py --weights sddr=runs/a sddr=runs/b other=runs/c [--table fusion any harm cost] [--quick] [--only-networks]

Each of `--weights` is NAME=PATH of an .onnx file or a run's folder; rows of one name (NAME given twice: its seeds) are averaged over their runs.
Without it, the shipped refiner is taken, where there is one. Figures are means over pictures with a 95 % bootstrap interval, and where a row has
several runs also the deviation of their means (± over runs). `--only-networks`, for ablations: no classical refiners, blends, second looks and fast ways.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from refine import scenes as middlebury
from refine import score

from keendepth import DepthKind, DepthMap, Image, data, pipeline, predictors, refiners
from keendepth.core import align, geometry, poisson
from keendepth.data import synthetic
from keendepth.evaluation.boundary import boundary_f1
from keendepth.evaluation.metrics import accuracy
from keendepth.evaluation.ordinal import ordinal
from keendepth.evaluation.scoring import align_to
from keendepth.predictors import Predictor
from keendepth.refiners import Refiner
from keendepth.refiners.joint import filled
from keendepth.refiners.sddr import SHIPPED, VARIANTS, Sddr, SddrOptions, look, native_side

CLASSIC = ("median", "bilateral", "guided", "poisson")
FIRST_HELD_OUT = 1_000_000  # training never sees scenes from this number on
FARTHEST = 10.0  # metres: rooms are scored, not what lies behind their windows
TABLES = ("fusion", "any", "harm", "cost")
Row = dict[str, float | str]
Named = dict[str, list[Sddr]]  # a row of a table -> the runs that it averages


# ---- fusion: the paper's task


def rendered(count: int) -> Iterator[tuple[str, Image, DepthMap]]:
    """Held-out rooms of the ray caster."""
    for seed in range(FIRST_HELD_OUT, FIRST_HELD_OUT + count):
        (frame,) = synthetic.render(seed, (480, 640), "room")
        yield f"room {seed}", frame.image, frame.depth


def photographed(root: Path, quick: bool) -> Iterator[tuple[str, Image, DepthMap]]:
    """NYU, TUM and PrimeSense pictures with their sensors' depth."""
    for name in ("real-nyu", "real-rgbd"):
        pictures = data.registry.build(name, root=root)
        for id in pictures.ids[:1] if quick else pictures.ids:
            sample = pictures.load(id)
            yield f"{name} {id}", sample.image, sample.depth.resized(*sample.image.size, method="nearest")


def fused(image: Image, low: DepthMap, predictor: Predictor, way: str) -> DepthMap:
    """The low and the high map put together without learning."""
    high = look(predictor, image, 2 * native_side(low, predictor))
    if way == "base high":
        return high
    a, b = (np.log(filled(x.values)) for x in (low, high))
    scale, shift = align.fit_trimmed(b.ravel()[::7].astype(np.float64), a.ravel()[::7].astype(np.float64))
    b = (scale * b + shift).astype(np.float32)
    return low.with_values(np.exp((a + b) / 2 if way == "average" else poisson.fuse(a, b, 0.03)))


def fusion_ways(
    networks: Named, options: argparse.Namespace
) -> dict[str, list[Callable[[Image, DepthMap, Predictor], DepthMap]]]:
    found: dict[str, list] = {"base low": [lambda image, low, predictor: low]}
    if not options.only_networks:
        for way in ("base high", "average", "crossover Poisson"):
            found[way] = [partial(fused, way=way)]
        for name in (*CLASSIC, "tiles"):
            found[name] = [refiners.registry.build(name).refine]
    for name, runs in networks.items():
        found[name] = [one.refine for one in runs]
        if not options.only_networks:
            for variant, (changed, _) in VARIANTS.items():
                found[variant.replace("sddr", name)] = [Sddr(one.network, changed).refine for one in runs]
    return found


def judge(depth: DepthMap, truth: DepthMap) -> dict[str, float]:
    """Figures after a least-squares fit of scale and shift (sddr.md 7.2)."""
    found = accuracy(depth, truth, alignment="scale_shift", cap=(0.1, FARTHEST))
    fitted = align_to(depth, truth, "scale_shift").depth
    sharp = boundary_f1(fitted, truth) | ordinal(fitted, truth)
    return {name: found[name] for name in ("abs_rel", "delta1", "rmse")} | {
        name: sharp[name] for name in ("boundary_f1", "d3r", "ord")
    }


def fusion(networks: Named, options: argparse.Namespace) -> list[Row]:
    predictor = predictors.registry.build(options.model)
    ways, rows = fusion_ways(networks, options), []
    sets = {
        "rendered rooms": rendered(2 if options.quick else options.rooms),
        "NYU, TUM, PrimeSense": photographed(options.data, options.quick),
    }
    for domain, pictures in sets.items():
        for id, image, truth in pictures:
            low = predictor.predict(image)
            for way, runs in ways.items():
                for number, run in enumerate(runs):
                    figures = judge(run(image, low, predictor), truth)
                    rows.append({"case": domain, "picture": id, "way": way, "run": number, **figures})
    return rows


# ---- any depth, with its photo


def reduced(truth: DepthMap, factor: int, worn: bool) -> DepthMap:
    """Ground truth averaged over `factor` pixels; worn: noise of 0.5 % of the span of 1/z (z^2 in depth), and a tenth of the pixels unknown."""
    whole = truth.filled()
    small = geometry.resize(whole.values, tuple(-(-side // factor) for side in truth.size), "area")
    if not worn:
        return whole.with_values(small)
    rng = np.random.default_rng(0)
    near = 1 / small
    near = np.maximum(near + rng.normal(0, 0.005 * np.ptp(near), near.shape), near.min() / 2)
    holes = rng.random(near.shape) < 0.1
    return whole.with_values(np.where(holes, np.nan, 1 / near).astype(np.float32))


CASES = {"4x": (4, False), "8x": (8, False), "16x": (16, False), "8x + noise + holes": (8, True)}


def classic(options: argparse.Namespace) -> dict[str, list[Refiner]]:
    """The refiners without weights, unless networks alone were asked for."""
    return {} if options.only_networks else {name: [refiners.registry.build(name)] for name in CLASSIC}


def any_ways(networks: Named, options: argparse.Namespace) -> dict[str, list[Callable[[Image, DepthMap], np.ndarray]]]:
    found: dict[str, list] = {"bicubic": [lambda image, depth: depth.filled().resized(*image.size, "cubic").values]}
    for name, runs in (classic(options) | networks).items():
        found[name] = [partial(_refined, one) for one in runs]
    return found


def _refined(refiner: Refiner, image: Image, depth: DepthMap) -> np.ndarray:
    return refiner.refine(image, depth.filled()).values


def any_depth(networks: Named, options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    pictures = middlebury(options.data)
    for case, (factor, worn) in CASES.items():
        if case not in (["8x"] if options.quick else options.cases):
            continue
        for id, (image, truth) in pictures.items():
            small = reduced(truth, factor, worn)
            plain: float | None = None
            for way, runs in any_ways(networks, options).items():
                for number, run in enumerate(runs):
                    figures = score(run(image, small), truth)
                    plain = plain or figures["rmse"]  # bicubic comes first
                    ratio = figures["rmse"] / plain
                    rows.append(
                        {"case": case, "picture": id, "way": way, "run": number, "rmse_over_bicubic": ratio, **figures}
                    )
    return rows


# ---- harm done to good depth


def lidar(truth: DepthMap, size: tuple[int, int]) -> DepthMap:
    """What a phone would give: small, in whole millimetres."""
    values = geometry.resize(truth.filled().values, size, "area")
    return DepthMap(np.maximum(np.rint(values * 1000), 1) / 1000, DepthKind.METRIC)


def harm(networks: Named, options: argparse.Namespace) -> list[Row]:
    """Perfect depth (log error at edges), clean lidar (scale), and whether strength 0 is exact."""
    rows: list[Row] = []
    named = classic(options) | networks
    for id, (image, truth) in middlebury(options.data).items():
        whole = truth.filled()
        for way, runs in named.items():
            for number, one in enumerate(runs):
                perfect = score(one.refine(image, whole).values, truth)
                row: Row = {
                    "case": "Middlebury",
                    "picture": id,
                    "way": way,
                    "run": number,
                    "edge_log": perfect["edge_log"],
                }
                for size in ((192, 256), (24, 32)):
                    given = lidar(truth, size)
                    refined = one.refine(image, given)
                    ratio = refined.values[truth.valid] / truth.values[truth.valid]
                    row[f"scale_error_{size[0]}x{size[1]}"] = abs(float(np.median(ratio)) - 1)
                    row[f"drift_{size[0]}x{size[1]}"] = abs(pipeline.drift(given, refined.values)[0] - 1)
                rows.append(row)
    return rows


# ---- cost


def cost(networks: Named, options: argparse.Namespace) -> list[Row]:
    """Seconds for a photo of 1 MP, after a warm-up: the predictor, then each refiner on its depth, all in this process."""
    predictor = predictors.registry.build(options.model)
    name = "photos_free/coffee.png"
    from keendepth import read_image

    image = read_image(options.data / name).resized(866, 1155)
    low = predictor.predict(image)
    work: dict[str, Callable[[], object]] = {options.model: lambda: predictor.predict(image)}
    for way in (*CLASSIC, "tiles"):
        work[way] = partial(refiners.registry.build(way).refine, image, low, predictor)
    for way, runs in networks.items():
        work[f"{way}, one pass of N_r"] = partial(runs[0].refine, image, low)
        for variant, (changed, _) in VARIANTS.items():
            work[variant.replace("sddr", way)] = partial(Sddr(runs[0].network, changed).refine, image, low, predictor)
        for s in () if options.quick else (1, 3):
            staged = Sddr(runs[0].network, SddrOptions(windows=s))
            work[f"{way}, S = {s}"] = partial(staged.refine, image, low, predictor)
    return [{"case": "1 MP", "picture": name, "way": way, "run": 0, **timed(run)} for way, run in work.items()]


def timed(run: Callable[[], object], rounds: int = 3) -> dict[str, float]:
    run()
    walls, cores = [], []
    for _ in range(rounds):
        wall, core = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return {"seconds": min(walls), "core_seconds": min(cores)}


# ---- tables


def table(rows: list[Row]) -> str:
    """Mean and 95 % interval over pictures, of the mean over runs; and the deviation of the runs' means, where there are several."""
    keys = [key for key in rows[0] if key not in ("case", "picture", "way", "run")]
    lines = [f"| case | way | n | {' | '.join(keys)} |", "|---|---|---|" + "---|" * len(keys)]
    for case, way in dict.fromkeys((row["case"], row["way"]) for row in rows):
        own = [row for row in rows if (row["case"], row["way"]) == (case, way)]
        pictures = list(dict.fromkeys(row["picture"] for row in own))
        cells = [
            interval([np.mean([row[key] for row in own if row["picture"] == picture]) for picture in pictures])
            + spread(
                [np.nanmean([row[key] for row in own if row["run"] == run]) for run in {row["run"] for row in own}]
            )
            for key in keys
        ]
        lines.append(f"| {case} | {way} | {len(pictures)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(means: list[float]) -> str:
    """Deviation over runs."""
    return f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""


def interval(values: Iterable[float]) -> str:
    known = np.array([value for value in values if np.isfinite(value)], float)
    if known.size == 0:
        return "-"
    if known.size == 1:
        return f"{known[0]:.4f}"
    draws = np.random.default_rng(0).choice(known, (2000, known.size)).mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{known.mean():.4f} ({low:.4f}-{high:.4f})"


def named_networks(given: list[str]) -> Named:
    found: Named = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (equals and Path(path).exists()):
            raise SystemExit(
                f"--weights wants NAME=PATH of an .onnx file or a run's folder that is there, found {text!r}"
            )
        found.setdefault(name, []).append(Sddr(path))
    if not given and SHIPPED.is_file():
        found["sddr"] = [Sddr(SHIPPED)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="indoor-small")
    parser.add_argument("--quick", action="store_true", help="two rooms, two photos, 8x alone")
    parser.add_argument("--rooms", type=int, default=24, help="rendered rooms of the paper's task")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="of the table any")
    parser.add_argument(
        "--only-networks", action="store_true", help="leave out what needs no training, and second looks"
    )
    parser.add_argument("--out", type=Path, help="write the single figures here as JSON")
    options = parser.parse_args()
    networks = named_networks(options.weights)
    found: dict[str, list[Row]] = {}
    for name, make in zip(TABLES, (fusion, any_depth, harm, cost), strict=True):
        if name in options.table:
            found[name] = make(networks, options)
            print(f"\n## {name}\n\n{table(found[name])}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
