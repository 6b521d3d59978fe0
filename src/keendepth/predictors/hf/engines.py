"""What runs a network of transformers: torch, torch.compile, or its copy in ONNX Runtime or OpenVINO; one call for all."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.predictors.hf.files import ModelError, first_line
from keendepth.predictors.hf.loading import quiet
from keendepth.predictors.hub import MissingExtraError

RUNTIMES = ("auto", "torch", "compile", "onnx", "openvino")
THREADS = 0  # of a copy; 0: as many as the machine has cores
Answer = tuple[
    np.ndarray, list[float] | None
]  # (depth [b h w] in float32, fields of view in degrees where the network gives them)


@runtime_checkable
class Engine(Protocol):
    """A network with its normalisation inside."""

    def __call__(
        self, pixels: UInt8[np.ndarray, "b h w 3"], prompts: Float32[np.ndarray, "b 1 h2 w2"] | None
    ) -> Answer:
        """What the network says of pictures of the size that it takes."""
        ...


class TorchEngine:
    """The network itself: a `WholeDepth` in evaluation mode on its device."""

    def __init__(self, whole: Any, device: Any, compiles: bool = False) -> None:
        self._device = device
        self._whole = whole
        if compiles:
            import torch

            with quiet():
                self._whole = torch.compile(whole, dynamic=False)  # one size: every new one is compiled anew

    def __call__(
        self, pixels: UInt8[np.ndarray, "b h w 3"], prompts: Float32[np.ndarray, "b 1 h2 w2"] | None
    ) -> Answer:
        import torch

        given = [torch.from_numpy(each).to(self._device) for each in (pixels, prompts) if each is not None]
        with torch.inference_mode(), quiet():
            out = self._whole(*given)
        depth, *rest = out if isinstance(out, tuple) else (out,)
        return depth.float().cpu().numpy(), rest[0].float().cpu().tolist() if rest else None


class OnnxEngine:
    """The copy in ONNX Runtime on the CPU, picture by picture: so one alone gives what it gives in a batch."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [given.name for given in self._session.get_inputs()]

    def __call__(
        self, pixels: UInt8[np.ndarray, "b h w 3"], prompts: Float32[np.ndarray, "b 1 h2 w2"] | None
    ) -> Answer:
        return _one_by_one(
            lambda *given: self._session.run(None, dict(zip(self._names, given, strict=True))), pixels, prompts
        )


class OpenVinoEngine:
    """The copy in OpenVINO on the CPU, in 32 bits (what it takes by itself on some processors is bfloat16, which is another answer).

    The first size that comes is compiled for itself, which is 5 % faster, and most folders hold photos of one size; all others share
    a network of any size, made when one comes.
    """

    def __init__(self, path: Path) -> None:
        import openvino

        self._core, self._path = openvino.Core(), str(path)
        self._names = [given.any_name for given in self._core.read_model(self._path).inputs]
        self._first: tuple[list[tuple[int, ...]], Any] | None = None

    def __call__(
        self, pixels: UInt8[np.ndarray, "b h w 3"], prompts: Float32[np.ndarray, "b 1 h2 w2"] | None
    ) -> Answer:
        shapes = [(1, *each.shape[1:]) for each in (pixels, prompts) if each is not None]
        if self._first is None:
            self._first = shapes, self._compiled(shapes)
        network = self._first[1] if shapes == self._first[0] else self._any
        return _one_by_one(lambda *given: list(network(list(given)).values()), pixels, prompts)

    @cached_property
    def _any(self) -> Any:
        return self._compiled(None)

    def _compiled(self, shapes: list[tuple[int, ...]] | None) -> Any:
        model = self._core.read_model(self._path)
        if shapes:
            model.reshape(dict(zip(self._names, shapes, strict=True)))
        hints = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": THREADS} if THREADS else {})
        return self._core.compile_model(model, "CPU", hints)


def _one_by_one(run: Any, pixels: np.ndarray, prompts: np.ndarray | None) -> Answer:
    pairs = [(pixels[i : i + 1], *(() if prompts is None else (prompts[i : i + 1],))) for i in range(len(pixels))]
    outs = [run(*given) for given in pairs]
    depth = np.concatenate([np.asarray(out[0], np.float32) for out in outs])
    return depth, [float(np.asarray(out[1]).ravel()[0]) for out in outs] if len(outs[0]) > 1 else None


def open_copy(runtime: str, path: Path, source: str) -> Engine:
    """The engine "onnx" or "openvino" on a copy; ModelError where it cannot be opened, or OpenVINO is not installed."""
    try:
        return OpenVinoEngine(path) if runtime == "openvino" else OnnxEngine(path)
    except ImportError as error:
        raise MissingExtraError(
            f"{source}: the runtime openvino needs openvino, which is not installed: pip install openvino"
        ) from error
    except Exception as error:  # each runtime has a dozen classes of its own
        raise ModelError(f"{source}: its copy {path.name} cannot be opened ({first_line(error)}): delete it") from error


def apart(one: Engine, other: Engine, pixels: UInt8[np.ndarray, "b h w 3"], prompts: np.ndarray | None) -> float:
    """How far two engines are from each other, in parts of the largest depth; infinite where their shapes differ."""
    first, second = one(pixels, prompts)[0], other(pixels, prompts)[0]
    if first.shape != second.shape:
        return float("inf")
    return float(np.abs(first - second).max() / max(float(np.abs(first).max()), 1e-12))
