"""Cost of the refiner network: parameters, multiply-adds at 1024 x 1024, and seconds in torch and ONNX Runtime at three sizes."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import nn

from keendepth.export import export_onnx
from keendepth.nn.blocks import CrossAttention
from keendepth.nn.refine_net import HEADS, SIZES, DepthOnly, RefineNet, RefineNetOptions

SIDES = (256, 512, 1024)


def multiply_adds(module: nn.Module, given: Sequence[torch.Tensor]) -> int:
    """Of convolutions, linear layers and attention in one pass, counted by forward hooks; elementwise work is left out."""
    total = 0

    def convolution(layer: nn.Conv2d, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * layer.weight[0].numel()

    def linear(layer: nn.Linear, _: object, out: torch.Tensor) -> None:
        nonlocal total
        total += out.numel() * layer.in_features

    def attention(layer: CrossAttention, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        nonlocal total
        tokens = 2 * inputs[0].shape[2] * inputs[0].shape[3]
        total += len(layer.layers) * 2 * tokens * tokens * inputs[0].shape[1]

    kinds = ((nn.Conv2d, convolution), (nn.Linear, linear), (CrossAttention, attention))
    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        for kind, count in kinds
        if isinstance(layer, kind)
    ]
    with torch.inference_mode():
        module(*given)
    for hook in hooks:
        hook.remove()
    return total


def seconds(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median and least time, and the least time of this process on all its cores, which other jobs disturb less."""
    work()
    walls, cores = [], []
    for _ in range(rounds):
        wall, core = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return {"median": statistics.median(walls), "least": min(walls), "core_seconds": min(cores)}


def measure(options: RefineNetOptions, sides: Sequence[int], threads: int, rounds: int) -> dict:
    torch.manual_seed(0)
    module = DepthOnly(RefineNet(options)).eval()
    given = {side: [torch.rand(1, channels, side, side) for channels in module.inputs.values()] for side in sides}
    row = {"size": options.size, "head": options.head, "rgb": options.rgb, "fine": options.fine}
    row["parameters"] = sum(parameter.numel() for parameter in module.parameters())
    large = [torch.rand(1, channels, 1024, 1024) for channels in module.inputs.values()]
    row["gmac_1024"] = multiply_adds(module, large) / 1e9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "refiner.onnx"
        row["difference"] = export_onnx(module, path, (128, 128), module.inputs)
        row["megabytes"] = path.stat().st_size / 1e6
        wanted = onnxruntime.SessionOptions()
        wanted.intra_op_num_threads = threads
        wanted.log_severity_level = 3
        wanted.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting would count as work
        session = onnxruntime.InferenceSession(path, wanted, providers=["CPUExecutionProvider"])
    for side, tensors in given.items():
        feed = {name: x.numpy() for name, x in zip(module.inputs, tensors, strict=True)}
        row[f"onnx_{side}"] = seconds(lambda feed=feed: session.run(None, feed), rounds)
        with torch.inference_mode():
            row[f"torch_{side}"] = seconds(lambda tensors=tensors: module(*tensors), rounds)
    return row


def print_table(rows: list[dict], sides: Sequence[int], threads: int) -> None:
    columns = [f"{way} {side}" for way in ("onnx", "torch") for side in sides]
    print(f"Seconds: least of the rounds on {threads} threads; GFLOPs are twice the multiply-adds, at 1024 x 1024.\n")
    print(f"| network | M parameters | GFLOPs | {' | '.join(columns)} | core seconds, onnx {sides[-1]} |")
    print("|---|" + "---|" * (len(columns) + 3))
    for row in rows:
        times = [f"{row[column.replace(' ', '_')]['least']:.3f}" for column in columns]
        name = (
            f"{row['size']}, {row['head']}"
            + ("" if row["rgb"] else ", no photo")
            + (", full-size level" if row["fine"] else "")
        )
        print(
            f"| {name} | {row['parameters'] / 1e6:.2f} | {2 * row['gmac_1024']:.1f} | {' | '.join(times)} "
            f"| {row[f'onnx_{sides[-1]}']['core_seconds']:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--side", nargs="+", type=int, default=list(SIDES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = [RefineNetOptions(size, rgb, head) for size in options.size for head in HEADS for rgb in (True, False)]
    cases += [RefineNetOptions(size, fine=16) for size in options.size if size == "small"]  # what ships
    rows = [measure(case, options.side, options.threads, options.rounds) for case in cases]
    print_table(rows, options.side, options.threads)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
