"""Depth-Anything-V2-Small (its real architecture, random weights) through our interface, next to the bare network and to transformers' own pipeline.

    python benchmarks/predictors.py            # photos of 518 x 518 and of 1 megapixel, 2 threads; some minutes, as torch.compile takes them
    python benchmarks/predictors.py --quick    # a tiny network, to see that it runs

Everything runs in one process, the ways taking turns picture by picture, so that a busy machine is as unfair to each; medians count.
"Overhead" is what a way takes over the bare network on the same runtime, on a ready tensor of the size that the photo gets: reading from
memory, resizing, normalising, the network, resizing back, our types. Core seconds (of all threads) hardly feel other programs; the
last lines are those of the steps before and after the network. OpenVINO takes part where it is installed.
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

from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.predictors.hf import engines
from keendepth.predictors.hub import installed
from keendepth.predictors.huggingface import HuggingFacePredictor

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


def export(model: Any, size: tuple[int, int], path: Path) -> None:
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
        torch.onnx.export(Depth(), (torch.zeros(1, 3, *size),), path, dynamo=False, opset_version=17, **names)


def save(model: Any, side: int, folder: Path) -> None:
    """In the hub's layout, so that every way loads it as it would load the real one."""
    from transformers import DPTImageProcessor

    model.save_pretrained(folder)
    size = {"height": side, "width": side}
    DPTImageProcessor(
        size=size, keep_aspect_ratio=True, ensure_multiple_of=14, image_mean=MEAN, image_std=STD, resample=3
    ).save_pretrained(folder)


def bare_ways(
    model: Any, size: tuple[int, int], path: Path, threads: int, compiled: bool
) -> dict[str, Callable[[], Any]]:
    """The network alone on a ready tensor, by runtime."""
    import onnxruntime
    import torch

    tensor = torch.rand(1, 3, *size)
    array = tensor.numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def asked(network: Any) -> Any:
        with torch.inference_mode():
            return network(tensor).predicted_depth

    ways = {"torch, bare": lambda: asked(model), "onnx, bare": lambda: session.run(None, {"pixel_values": array})}
    if compiled:
        faster = torch.compile(model, dynamic=False)
        ways["compile, bare"] = lambda: asked(faster)
    if installed("openvino"):
        import openvino

        for name, hint in (
            ("openvino, bare", {"INFERENCE_PRECISION_HINT": "f32"}),
            ("openvino of its own precision", {}),
        ):
            ready = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads, **hint})
            ways[name] = lambda ready=ready: ready(array)
    return ways


def whole_ways(model: Any, rgb: np.ndarray, folder: Path, compiled: bool) -> dict[str, Callable[[], Any]]:
    """From a picture in memory to depth at its size."""
    from PIL import Image as Pillow

    image = Image(rgb)
    runtimes = ["torch", "onnx", *(["compile"] if compiled else []), *(["openvino"] if installed("openvino") else [])]
    ways: dict[str, Callable[[], Any]] = {}
    for runtime in [*runtimes, "auto"]:
        ours = HuggingFacePredictor(folder, device="cpu", runtime=runtime)
        ways[f"{runtime}, keendepth"] = lambda ours=ours: ours.predict(image)
    try:
        from transformers import DPTImageProcessor, pipeline

        theirs = pipeline("depth-estimation", model=model, image_processor=DPTImageProcessor.from_pretrained(folder))
        photo = Pillow.fromarray(rgb)
        ways["torch, transformers"] = lambda: theirs(photo)
    except (
        ImportError,
        ValueError,
        OSError,
    ) as error:  # its pipeline wants packages that a CPU has no working build of
        print(f"torch, transformers: left out: {str(error).strip().splitlines()[0]}")
    return ways


Times = dict[str, tuple[float, float]]  # (seconds, core seconds)


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> Times:
    """Medians of each way, after one warm-up; the ways take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            wall, core = time.perf_counter(), time.process_time()
            way()
            if turn:
                taken[name].append((time.perf_counter() - wall, time.process_time() - core))
    return {
        name: (statistics.median(w for w, _ in each), statistics.median(c for _, c in each))
        for name, each in taken.items()
    }


def show(found: Times) -> None:
    """A line for each way, with what it takes over the bare network on the same runtime."""
    fastest = min((name for name in found if name.endswith(", bare")), key=lambda name: found[name][0])
    for name, (wall, core) in sorted(found.items(), key=lambda item: item[1]):
        runtime, comma, how = name.partition(", ")
        bare = found.get(f"{runtime}, bare") or (found[fastest] if runtime == "auto" else None)
        over = ""
        if bare and comma and how != "bare":
            over = f"  over the bare network {100 * (wall / bare[0] - 1):+6.1f} %, of core seconds {100 * (core / bare[1] - 1):+6.1f} %"
        print(f"{name:32}{1000 * wall:9.1f} ms{1000 * core:9.1f} ms of cores{over}")


def profile(rgb: np.ndarray, folder: Path, rounds: int = 30) -> None:
    """Core milliseconds of the steps around the network."""
    feeding = HuggingFacePredictor(folder).feeding
    size = feeding.processing_size(rgb.shape[:2])
    plane = np.random.default_rng(0).random(size, dtype=np.float32) + 1
    full = feeding.back(plane, rgb.shape[:2])
    steps: dict[str, Callable[[], Any]] = {
        "resize to bytes (Pillow)": lambda: feeding.pixels(rgb, size),
        "back to the photo's size": lambda: feeding.back(plane, rgb.shape[:2]),
        "DepthMap": lambda: DepthMap(full, DepthKind.DISPARITY),
    }
    for name, step in steps.items():
        step()
        start = time.process_time()
        for _ in range(rounds):
            step()
        print(f"  {name:30}{1000 * (time.process_time() - start) / rounds:7.2f} ms of cores")


def main() -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny network, three rounds, no torch.compile")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out, which compiles for a minute or more"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(options.threads)
    engines.THREADS = options.threads
    side, shape, rounds = (70, TINY, 3) if options.quick else (518, SMALL, options.rounds)
    model = network(shape, side)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{count / 1e6:.2f} M parameters, {options.threads} threads, medians of {rounds}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KEENDEPTH_CACHE"] = str(Path(folder) / "copies")
        save(model, side, Path(folder) / "hub")
        for number, photo in enumerate(((side, side), (90, 120) if options.quick else (866, 1155))):
            rgb = np.random.default_rng(0).integers(0, 256, (*photo, 3), dtype=np.uint8)
            size = HuggingFacePredictor(Path(folder) / "hub").processing_size(photo)
            print(f"\nphoto {photo[1]} x {photo[0]}, network {size[1]} x {size[0]}")
            path = Path(folder) / f"network{number}.onnx"
            compiled = not (options.quick or options.no_compile or number)
            export(model, size, path)
            ways = bare_ways(model, size, path, options.threads, compiled)
            show(measure(ways | whole_ways(model, rgb, Path(folder) / "hub", compiled), rounds))
            profile(rgb, Path(folder) / "hub")


if __name__ == "__main__":
    main()
