"""A refiner straight from the folder of a training run that has no ONNX file yet: torch runs it."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

if TYPE_CHECKING:
    from keendepth.nn.refine_net import RefineNet


class TorchNetwork:
    """`student.safetensors` in `folder`, built as `config.toml` there says; read at the first call."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __call__(
        self, low: Float32[np.ndarray, "h w"], high: Float32[np.ndarray, "h w"], rgb: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w"]:
        return run(self._student, low, high, rgb)

    @cached_property
    def _student(self) -> RefineNet:
        from keendepth.nn import checkpoint
        from keendepth.nn.refine_net import RefineNet, RefineNetOptions

        weights, config = self.folder / "student.safetensors", self.folder / "config.toml"
        if not (weights.is_file() and config.is_file()):
            raise FileNotFoundError(
                f"{self.folder}: expected model.onnx, or student.safetensors and config.toml, as a training run leaves them"
            )
        table = tomllib.loads(config.read_text(encoding="utf-8")).get("sddr", {})
        known = {entry.name for entry in fields(RefineNetOptions)}
        student = RefineNet(RefineNetOptions(**{key: value for key, value in table.items() if key in known}))
        checkpoint.fill(student, checkpoint.load(weights)[0], str(weights))
        return student.eval()


def run(
    student: RefineNet,
    low: Float32[np.ndarray, "h w"],
    high: Float32[np.ndarray, "h w"],
    rgb: UInt8[np.ndarray, "h w 3"],
) -> Float32[np.ndarray, "h w"]:
    """One picture through a torch refiner, on the device where it is, in its own precision."""
    import torch

    like = next(student.parameters())
    planes = [torch.from_numpy(np.ascontiguousarray(x))[None, None].to(like) for x in (low, high)]
    if student.options.rgb:
        planes.append(torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)).to(like))
    with torch.inference_mode():
        return student(*planes).depth[0, 0].float().cpu().numpy()
