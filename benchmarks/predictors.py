"""Depth-Anything-V2-Small (its real architecture, random weights) through our interface, next to the bare network and to transformers' own pipeline.

    python benchmarks/predictors.py            # 518 x 518, 2 threads; minutes, as torch.compile takes one
    python benchmarks/predictors.py --quick    # a tiny network, to see that it runs

Everything runs in one process, the ways taking turns picture by picture, so that a busy machine is as unfair to each; the median counts.
"Overhead" is what a way takes over the bare network on the same runtime: pre-processing, resizing back, our types.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keendepth.core.types import Image
from keendepth.predictors.card import ModelCard
from keendepth.predictors.hub import installed
from keendepth.predictors.onnx import OnnxPredictor

# Depth-Anything-V2-Small: Dinov2 small with a DPT head; 24.79 M parameters (the config of its page on the hub).
SMALL = {
    "hidden": 384,
    "layers": 12,
    "heads": 6,
    "out": [3, 6, 9, 12],
    "neck": [48, 96, 192, 384],
    "fusion": 64,
    "head": 32,
}
TINY = {"hidden": 32, "layers": 4, "heads": 2, "out": [1, 2, 3, 4], "neck": [8, 8, 16, 16], "fusion": 8, "head": 8}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def network(shape: dict[str, Any], side: int) -> Any:
    """The network with seeded random weights."""
    import torch
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        image_size=side,
        patch_size=14,
        out_indices=shape["out"],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=shape["hidden"],
        neck_hidden_sizes=shape["neck"],
        fusion_hidden_size=shape["fusion"],
        head_hidden_size=shape["head"],
    )
    return DepthAnythingForDepthEstimation(config).eval()


def export(model: Any, side: int, path: Path) -> None:
    """By the TorchScript exporter, whose graph ONNX Runtime runs a third faster than the newer one's."""
    import torch

    class Depth(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.inner(pixel_values).predicted_depth

    names = {"input_names": ["pixel_values"], "output_names": ["predicted_depth"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Depth(), (torch.zeros(1, 3, side, side),), path, dynamo=False, opset_version=17, **names)


def save(model: Any, side: int, folder: Path) -> None:
    """In the hub's layout, so that every way loads it as it would load the real one."""
    from transformers import DPTImageProcessor

    model.save_pretrained(folder)
    size = {"height": side, "width": side}
    DPTImageProcessor(
        size=size, keep_aspect_ratio=True, ensure_multiple_of=14, image_mean=MEAN, image_std=STD, resample=3
    ).save_pretrained(folder)


def card(side: int) -> ModelCard:
    content = {"name": "bench", "summary": "random weights", "license": "Apache-2.0", "kind": "disparity"}
    rule = {"mean": MEAN, "std": STD}
    return ModelCard.from_dict({**content, "native_size": [side, side], "input": rule})


def bare_ways(model: Any, side: int, path: Path, threads: int, compiled: bool) -> dict[str, Callable[[], Any]]:
    """The network alone on a ready tensor, by runtime."""
    import onnxruntime
    import torch

    tensor = torch.rand(1, 3, side, side)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    array = tensor.numpy()

    def eager() -> Any:
        with torch.inference_mode():
            return model(tensor).predicted_depth

    ways = {"torch, bare": eager, "onnxruntime, bare": lambda: session.run(None, {"pixel_values": array})}
    if compiled:
        faster = torch.compile(model)

        def fast() -> Any:
            with torch.inference_mode():
                return faster(tensor).predicted_depth

        ways["torch.compile, bare"] = fast
    if installed("openvino"):
        import openvino

        core = openvino.Core()
        for name, precision in (("openvino f32, bare", "f32"), ("openvino, bare", "")):
            hints = {"INFERENCE_NUM_THREADS": threads} | ({"INFERENCE_PRECISION_HINT": precision} if precision else {})
            ready = core.compile_model(str(path), "CPU", hints)
            ways[name] = lambda ready=ready: ready(array)
    return ways


def whole_ways(model: Any, side: int, folder: Path, path: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """From a picture in memory to depth at its size."""
    from PIL import Image as PillowImage

    rgb = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image = Image(rgb)
    ours = OnnxPredictor(path, card(side), threads=threads)
    ways: dict[str, Callable[[], Any]] = {"onnxruntime, keendepth": lambda: ours.predict(image)}
    try:
        import keendepth

        through = keendepth.load(str(folder)).predictor
        ways["torch, keendepth"] = lambda: through.predict(image)
    except ValueError as error:
        print(f"torch, keendepth: left out: {error}")
    try:
        from transformers import DPTImageProcessor, pipeline

        processor = DPTImageProcessor.from_pretrained(folder)
        theirs = pipeline("depth-estimation", model=model, image_processor=processor)
        photo = PillowImage.fromarray(rgb)
        ways["torch, transformers"] = lambda: theirs(photo)
    except (
        ImportError,
        ValueError,
        OSError,
    ) as error:  # its pipeline wants packages that a CPU has no working build of
        print(f"torch, transformers: left out: {str(error).strip().splitlines()[0]}")
    return ways


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, after one warm-up; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def show(seconds: dict[str, float]) -> None:
    """A line for each way, with what it takes over the bare network on the same runtime."""
    for name, each in sorted(seconds.items(), key=lambda item: item[1]):
        runtime = name.partition(",")[0]
        bare = seconds.get(f"{runtime}, bare", 0.0)
        over = f"  {100 * (each / bare - 1):+6.1f} % over the bare network" if bare and "bare" not in name else ""
        print(f"{name:26}{1000 * each:9.1f} ms{over}")


def main() -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny network, three rounds, no torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(options.threads)
    side, shape, rounds = (70, TINY, 3) if options.quick else (518, SMALL, options.rounds)
    model = network(shape, side)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count / 1e6:.2f} M parameters, {side} x {side}, {options.threads} threads, median of {rounds}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        save(model, side, Path(folder) / "hub")
        export(model, side, path)
        ways = bare_ways(model, side, path, options.threads, not options.quick)
        ways |= whole_ways(model, side, Path(folder) / "hub", path, options.threads)
        show(measure(ways, rounds))


if __name__ == "__main__":
    main()
