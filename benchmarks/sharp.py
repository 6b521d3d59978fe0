"""SharpDepth's must-show tables for any runs: metric teacher, generative one aligned to it, students; and what one picture costs.

    python benchmarks/sharp.py --scenes runs/test-scenes --generator runs/onestep --weights sharp=runs/a sharp=runs/b [--data ../shared/data] [--quick]
    python benchmarks/sharp.py --scenes runs/test-scenes --weights sharp=shipped --reliability       # expected errors against real ones
    python benchmarks/sharp.py --full-size [--side 768]      # Lotus' and Stable Diffusion 2's real configuration with random weights

Means over pictures with a 95 % bootstrap interval; rows of one name are averaged over their runs, whose deviation follows (±). Nothing is aligned to
the truth: metres as they come. `shipped` as PATH takes what ships. Only scenes of `--kinds` count: rooms, which is what the metric teacher knows. They
must not be those that a run was validated on: its expected errors were calibrated there.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sddr import Row, photographed
from sddr import table as tabulated

from keendepth import DepthKind, DepthMap, Image, predictors, refiners
from keendepth.evaluation.boundary import boundary_f1
from keendepth.evaluation.contours import pdbe
from keendepth.evaluation.metrics import accuracy
from keendepth.refiners.restore import Far, Span, brought_back
from keendepth.refiners.sharp import Sharp, SharpOptions
from keendepth.training.scenes import SceneCache

FARTHEST = (0.001, 10.0)  # metres that are scored: rooms, not what lies behind their windows
FIGURES = ("abs_rel", "delta1", "pdbe_acc", "pdbe_comp", "boundary_f1", "seconds")
PARTS = {
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
}
Way = Callable[[Image, DepthMap], DepthMap]
Picture = tuple[str, Image, DepthMap]


def rendered(folder: Path, count: int, kinds: Sequence[str]) -> Iterator[tuple[str, Image, DepthMap]]:
    """Evenly spread scenes of a cache, of some kinds."""
    cache = SceneCache(folder)
    numbers = [number for number in range(len(cache)) if cache.read(number).kind in kinds]
    for number in numbers[:: max(1, len(numbers) // count)][:count]:
        near = cache.read(number).near
        with np.errstate(divide="ignore"):
            yield f"scene {number}", cache.image(number), DepthMap(1 / near, DepthKind.METRIC)


def aligned(generator: Path) -> Way:
    """The generative model alone, put into metres by least squares over all pixels of the metric map."""
    import torch

    from keendepth.nn.sharpen import Generator
    from keendepth.training.onestep import trained_model

    model, space = trained_model(generator)
    network = Generator(model).eval()
    whole = Sharp(generator, SharpOptions(most=0, longest=model.longest))

    def way(image: Image, depth: DepthMap) -> DepthMap:
        size = tuple(
            max(model.multiple, round(n / model.multiple) * model.multiple) for n in whole.processing_size(image.size)
        )
        rgb = torch.from_numpy(image.resized(*size).rgb.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        with torch.inference_mode():
            made = network(rgb, torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0)))[0, 0].numpy()
        far = Far.of(depth.resized(*size), space)
        span = Span.of(far.values)
        values = far.values if span is None else brought_back(made, far.values, np.zeros_like(made), span, "lstsq")
        return depth.with_values(far.back(values)).resized(*image.size)

    return way


def refined(refiner: refiners.Refiner) -> Way:
    return lambda image, depth: refiner.refine(image, depth)


def scored(found: DepthMap, truth: DepthMap) -> dict[str, float]:
    figures = accuracy(found, truth, cap=FARTHEST) | pdbe(found, truth) | boundary_f1(found, truth)
    return {name: figures[name] for name in FIGURES if name in figures}


def scores(case: str, ways: dict[str, list[Way]], pictures: Sequence[Picture], metric: str) -> list[Row]:
    """A row for each picture, way and run."""
    predictor, rows = predictors.registry.build(metric), []
    for id, image, truth in pictures:
        given = predictor.predict(image)
        for name, runs in ways.items():
            for number, way in enumerate(runs):
                start = time.perf_counter()
                answer = way(image, given)
                seconds = time.perf_counter() - start
                row: Row = {"case": case, "picture": id, "way": name, "run": number}
                rows.append(row | scored(answer, truth) | {"seconds": seconds})
    return rows


def over_the_first(rows: list[Row]) -> str:
    """Each way's means over those of the metric teacher, which is the first one."""
    means = {
        way: {key: float(np.nanmean([row[key] for row in rows if row["way"] == way])) for key in FIGURES[:-1]}
        for way in dict.fromkeys(row["way"] for row in rows)
    }
    first = next(iter(means.values()))
    lines = []
    for way, figures in means.items():
        parts = [f"{key} {figures[key] / first[key] - 1:+.1%}" for key in FIGURES[:-1] if first[key]]
        lines.append(f"{way}: {', '.join(parts)}")
    return "\n".join(lines)


def reliability(runs: Sequence[refiners.Refiner], pictures: Sequence[Picture], metric: str, bins: int = 10) -> str:
    """A table of pixels by the error that was expected of them: tenths of all pixels, what was expected, and what it was."""
    predictor = predictors.registry.build(metric)
    expected, found = [], []
    for refiner in runs:
        for _, image, truth in pictures:
            answer = refiner.refine(image, predictor.predict(image))
            if answer.expected_error is None:
                raise SystemExit("--reliability: this sharpener's card has no expected errors")
            seen = answer.valid & truth.valid & (truth.values < FARTHEST[1])
            expected.append(answer.expected_error[seen][::7])
            found.append((np.abs(answer.values - truth.values)[seen] / truth.values[seen])[::7])
    x, y = np.concatenate(expected).astype(np.float64), np.concatenate(found).astype(np.float64)
    parts = np.array_split(np.argsort(x, kind="stable"), bins)
    lines = ["| pixels | expected error | error found |", "|---|---|---|"]
    lines += [
        f"| {100 * k // bins} to {100 * (k + 1) // bins} % | {x[part].mean():.3f} | {y[part].mean():.3f} |"
        for k, part in enumerate(parts)
    ]
    gap = sum(len(part) * abs(x[part].mean() - y[part].mean()) for part in parts) / len(x)
    return "\n".join([*lines, "", f"mean distance of the two: {gap:.4f}; mean error {y.mean():.4f}"])


def full_size(side: int) -> dict[str, float]:
    """Seconds and memory of one picture through networks of the size of Lotus G, random weights: two evaluations, two encodings, two decodings."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from keendepth.nn.diffusion import OneStep, Schedule, UnetDenoiser, VaeCodec
    from keendepth.refiners.sharp_network import of_model

    torch.manual_seed(0)
    with torch.device("cpu"):
        unet = UNet2DConditionModel(
            sample_size=96, in_channels=8, use_linear_projection=True, class_embed_type="projection",
            projection_class_embeddings_input_dim=4, **PARTS,
        )  # fmt: skip
        down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
        vae = AutoencoderKL(
            down_block_types=down, up_block_types=up, block_out_channels=(128, 256, 512, 512), layers_per_block=2
        )
    model = OneStep(
        VaeCodec(vae),
        UnetDenoiser(unet.eval().requires_grad_(False), torch.zeros(1, 2, 1024), Schedule(), False),
        Schedule(),
        side,
    )
    rgb = np.random.default_rng(0).integers(0, 255, (side * 3 // 4, side, 3), np.uint8)
    depth = DepthMap(np.linspace(1, 5, rgb[..., 0].size, dtype=np.float32).reshape(rgb.shape[:2]), DepthKind.METRIC)
    network = of_model(model)
    network.dtype = "bfloat16"
    start = time.perf_counter()
    found = Sharp(network, SharpOptions(most=0)).refine(Image(rgb), depth)
    seconds = time.perf_counter() - start
    parameters = sum(p.numel() for part in (unet, vae) for p in part.parameters())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"parameters": parameters, "seconds": seconds, "peak_gb": peak, "known": float(found.valid.mean())}


def sharpeners(given: argparse.Namespace) -> dict[str, list[refiners.Refiner]]:
    """Those of `--weights`, by name."""
    found: dict[str, list[refiners.Refiner]] = {}
    for text in given.weights:
        name, _, path = text.partition("=")
        made = refiners.build("sharp") if path == "shipped" else refiners.build(f"sharp:{path}")
        found.setdefault(name, []).append(made)
    return found


def ways_of(given: argparse.Namespace) -> dict[str, list[Way]]:
    found: dict[str, list[Way]] = {given.metric: [lambda image, depth: depth]}
    if given.generator:
        found["generative, aligned"] = [aligned(given.generator)]
    found |= {name: [refined(one) for one in runs] for name, runs in sharpeners(given).items()}
    for name in () if given.only_networks else ("median", "sddr"):
        if name in refiners.registry:
            found[f"+{name}"] = [refined(refiners.build(name))]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, help="cache of held-out rendered scenes")
    parser.add_argument("--data", type=Path, help="folder with the real pictures")
    parser.add_argument("--generator", type=Path, help="run of `train onestep`")
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--metric", default="indoor-small")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--kinds", nargs="+", default=["room", "furnished"], help="of rendered scenes")
    parser.add_argument("--only-networks", action="store_true", help="leave out the other refiners")
    parser.add_argument("--quick", action="store_true", help="two pictures of each set")
    parser.add_argument("--reliability", action="store_true", help="expected errors instead of the tables, on --scenes")
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--out", type=Path, help="write the single figures here as JSON")
    given = parser.parse_args()
    if given.full_size:
        print(json.dumps(full_size(given.side)))
        return
    sets: dict[str, Callable[[], Iterator[Picture]]] = {}
    if given.scenes:
        sets["held-out rendered rooms"] = partial(
            rendered, given.scenes, 2 if given.quick else given.count, given.kinds
        )
    if given.reliability:
        for name, runs in sharpeners(given).items():
            print(f"\n## {name}\n\n{reliability(runs, list(sets['held-out rendered rooms']()), given.metric)}")
        return
    if given.data:
        sets["real pictures"] = partial(photographed, given.data, given.quick)
    ways, rows = ways_of(given), []
    for title, pictures in sets.items():
        own = scores(title, ways, list(pictures()), given.metric)
        rows += own
        print(f"\n## {title}\n\n{tabulated(own)}\n\n{over_the_first(own)}", flush=True)
        if given.out:
            given.out.write_text(json.dumps(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
