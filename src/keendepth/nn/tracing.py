"""Torch to an ONNX file, and a check that both give the same numbers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Axes = Mapping[str, Mapping[int, str]]  # name -> {dimension that may change: what it is called}


class ParityError(RuntimeError):
    """An exported network that does not give what the original gives. The message has the figures."""


def write(
    module: nn.Module,
    path: Path,
    examples: Sequence[Tensor],
    names: tuple[Sequence[str], Sequence[str]],
    axes: Axes,
    opset: int = 17,
) -> None:
    """Trace `module`, which must be in evaluation mode, over `examples` into the file; `names` are those of inputs and outputs.

    By the TorchScript exporter: it takes any size without hints, and ONNX Runtime runs its graphs faster than the other's
    (0.332 s against 0.506 s on Depth Anything V2 Small at 518 x 518).
    """
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with warnings.catch_warnings(), _sizes_traced(module):
        # torch announces that this exporter gets no new features; it is the one wanted here.
        warnings.filterwarnings(
            "ignore", "(You are using the legacy TorchScript|The feature will be removed)", DeprecationWarning
        )
        # Where shape annotations are checked (in tests), their check compares sizes that tracing has made tensors; other people's
        # networks compare and convert sizes too: what that fixes wrongly, parity at other sizes finds.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.onnx.export(
            module,
            tuple(example.to(device) for example in examples),
            path,
            input_names=list(names[0]),
            output_names=list(names[1]),
            dynamic_axes={name: dict(changing) for name, changing in axes.items()},
            opset_version=opset,
            dynamo=False,
        )


@contextmanager
def _sizes_traced(module: nn.Module) -> Iterator[None]:
    """While it lasts, `int(...)` in the files of transformers' networks keeps a traced size a tensor, as their own `torch_int` does.

    Depth Anything ends in `int(patch_height * patch_size)`, which would write one size into the graph.
    """
    homes = {type(child).__module__ for child in module.modules()}
    foreign = [sys.modules[home] for home in homes if home.startswith("transformers.models.")]
    for home in foreign:
        vars(home).setdefault("int", _TracedInt)
    try:
        yield
    finally:
        for home in foreign:
            if vars(home).get("int") is _TracedInt:
                del vars(home)["int"]


class _Whole(type):
    """Calls of the class convert, and whole numbers are its instances: so that it can stand for `int`."""

    def __call__(cls, value: Any = 0) -> Any:
        return value.to(torch.int64) if isinstance(value, Tensor) and torch.jit.is_tracing() else int(value)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, int)


class _TracedInt(metaclass=_Whole):
    """`int`, but what is a tensor while a network is traced stays one."""


def parity(module: nn.Module, path: str | Path, *examples: Sequence[Tensor], relative: bool = False) -> float:
    """Largest absolute difference between `module` and the ONNX file over all examples and outputs; inf if NaN in one stands on a number.

    `relative`: in parts of each output's largest number.
    """
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    session = _opened(path)
    names, worst = [given.name for given in session.get_inputs()], 0.0
    for each in examples:
        with torch.inference_mode():
            expected = module(*(example.to(device) for example in each))
        expected = (expected,) if isinstance(expected, Tensor) else expected
        found = session.run(None, {name: example.numpy() for name, example in zip(names, each, strict=True)})
        worst = max(worst, *(difference(e.cpu().numpy(), f, relative) for e, f in zip(expected, found, strict=True)))
    return worst


def _opened(path: str | Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def difference(expected: np.ndarray, found: np.ndarray, relative: bool = False) -> float:
    """Largest absolute difference; inf where shapes or unknown numbers differ."""
    if expected.shape != found.shape or not np.array_equal(np.isnan(expected), np.isnan(found)):
        return float("inf")
    unit = float(np.nanmax(np.abs(expected), initial=1e-12)) if relative else 1.0
    return float(np.nanmax(np.abs(expected - found), initial=0.0)) / unit
