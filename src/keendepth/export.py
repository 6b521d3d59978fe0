"""Torch to ONNX with any batch, height and width: our own networks, and those of other people that can be exported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from keendepth.nn.tracing import ParityError, parity, write

TOLERANCE = 1e-4  # the largest absolute difference between torch and ONNX Runtime that passes
RGB = {"rgb": 3}


def export_onnx(
    module: nn.Module,
    path: str | Path,
    example_size: tuple[int, int] = (224, 224),
    inputs: Mapping[str, int] = RGB,
    outputs: Sequence[str] = ("depth",),
    opset: int = 17,
) -> float:
    """Write `module` as ONNX and return the largest difference found between the two.

    `inputs`: name -> channels of each input [b c h w], in the order of `forward`, all of one size; the network must take
    `example_size` and twice it. ParityError above `TOLERANCE`: then nothing is written. The module is left as it was; the
    same module gives the same bytes.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        axes = {name: {0: "batch", 2: "height", 3: "width"} for name in inputs}
        axes |= {name: {0: "batch", 2: f"{name}_height", 3: f"{name}_width"} for name in outputs}
        write(module, part, _examples(inputs, (1, *example_size)), (tuple(inputs), tuple(outputs)), axes, opset)
        worst = max(
            parity(module, part, _examples(inputs, (batch, example_size[0] * tall, example_size[1] * wide)))
            for batch, tall, wide in ((1, 1, 1), (2, 1, 2), (1, 2, 1))
        )
        if not worst <= TOLERANCE:
            raise ParityError(
                f"{path.name}: ONNX Runtime and torch differ by {worst:.3g}, at most {TOLERANCE:g} is allowed"
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
        for child, mode in modes.items():
            child.training = mode
    return worst


def _examples(inputs: Mapping[str, int], shape: tuple[int, int, int]) -> list[Tensor]:
    """Random tensors in 0..1, the same ones each time; `shape` is (batch, height, width)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand((shape[0], channels, *shape[1:]), generator=generator) for channels in inputs.values()]
