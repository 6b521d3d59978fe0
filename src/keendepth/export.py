"""Torch to ONNX with any batch, height and width: our own networks, and those of other people that can be exported."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from keendepth.io.atomic import atomic
from keendepth.nn.tracing import ParityError, parity, write
from keendepth.predictors.onnx import OnnxPredictor

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


def export_predictor(predictor: Any, path: Path) -> dict[str, Any]:
    """Write a predictor's network to `path` (.onnx) and its card beside it (.json); returns what is worth saying.

    Networks of transformers are traced and compared with torch, with colours and metres inside the graph; one that is ONNX already
    is copied. ValueError for what has no graph of its own; ParityError where the two differ.
    """
    name = getattr(getattr(predictor, "card", None), "name", type(predictor).__name__)
    if isinstance(predictor, OnnxPredictor):
        model, facts = predictor.model, {"copied": predictor.file().name}
        with atomic(path) as part:
            shutil.copyfile(predictor.file(), part)
    elif hasattr(predictor, "export"):
        worst, model = predictor.export(path)
        facts = {"parity": float(f"{worst:.3g}"), "kind": str(model.card.kind)}
    else:
        raise ValueError(
            f"{name}: cannot be exported: only networks of transformers, ONNX files and runs of your own can"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model = replace(model, card=replace(model.card, sha256=digest))
    card = path.with_suffix(".json")
    with atomic(card) as part:
        part.write_text(json.dumps(model.to_dict(), indent=2) + "\n", encoding="utf-8")
    return {"file": str(path), "card": str(card), **facts}


def _examples(inputs: Mapping[str, int], shape: tuple[int, int, int]) -> list[Tensor]:
    """Random tensors in 0..1, the same ones each time; `shape` is (batch, height, width)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand((shape[0], channels, *shape[1:]), generator=generator) for channels in inputs.values()]
