"""SharpDepth's must-show tables for any runs: metric teacher, generative one aligned to it, students; and what one picture costs.

    python benchmarks/sharp.py --scenes runs/held-out --generator runs/onestep --weights sharp=runs/a sharp=runs/b [--data ../shared/data] [--quick]
    python benchmarks/sharp.py --full-size [--side 768]      # Lotus' and Stable Diffusion 2's real configuration with random weights

Rows of one name are averaged over their runs. Nothing is aligned to the truth: metres as they come. `shipped` as PATH takes what ships.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from sddr import photographed

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


def rendered(folder: Path, count: int) -> Iterator[tuple[str, Image, DepthMap]]:
    """Evenly spread scenes of a cache."""
    cache = SceneCache(folder)
    for number in range(0, len(cache), max(1, len(cache) // count)):
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


def table(ways: dict[str, list[Way]], pictures: list[tuple[str, Image, DepthMap]], metric: str) -> list[dict]:
    predictor = predictors.registry.build(metric)
    given = [predictor.predict(image) for _, image, _ in pictures]
    rows = []
    for name, runs in ways.items():
        found = []
        for way in runs:
            for (_, image, truth), depth in zip(pictures, given, strict=True):
                start = time.perf_counter()
                answer = way(image, depth)
                found.append(scored(answer, truth) | {"seconds": time.perf_counter() - start})
        rows.append({"name": name, **{key: float(np.nanmean([row[key] for row in found])) for key in FIGURES}})
    return rows


def shown(title: str, rows: list[dict]) -> str:
    """A table, with each figure over that of the metric teacher, which is the first row."""
    lines = [f"\n### {title}", "| | " + " | ".join(FIGURES) + " |", "|---" * (len(FIGURES) + 1) + "|"]
    first = rows[0]
    for row in rows:
        cells = [
            f"{row[key]:.4g} ({row[key] / first[key] - 1:+.0%})" if first[key] else f"{row[key]:.4g}" for key in FIGURES
        ]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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


def ways_of(given: argparse.Namespace) -> dict[str, list[Way]]:
    found: dict[str, list[Way]] = {given.metric: [lambda image, depth: depth]}
    if given.generator:
        found["generative, aligned"] = [aligned(given.generator)]
    for text in given.weights:
        name, _, path = text.partition("=")
        made = refiners.build("sharp") if path == "shipped" else refiners.build(f"sharp:{path}")
        found.setdefault(name, []).append(refined(made))
    for name in ("median", "sddr"):
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
    parser.add_argument("--quick", action="store_true", help="two pictures of each set")
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.full_size:
        print(json.dumps(full_size(given.side)))
        return
    ways, tables = ways_of(given), {}
    sets: dict[str, Callable[[], Iterator[tuple[str, Image, DepthMap]]]] = {}
    if given.scenes:
        sets["held-out rendered scenes"] = partial(rendered, given.scenes, 2 if given.quick else given.count)
    if given.data:
        sets["real pictures"] = partial(photographed, given.data, given.quick)
    for title, pictures in sets.items():
        tables[title] = table(ways, list(pictures()), given.metric)
        print(shown(title, tables[title]), flush=True)
    if given.out:
        given.out.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
