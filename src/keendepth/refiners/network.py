"""A refinement network as a function of arrays: an ONNX file, or the folder of a training run; and its joint normalisation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from keendepth.core import align

STRIDE = (
    64  # sides are padded to multiples of it by replication; enough for every size of RefineNet's option but "paper"
)
SESSIONS = 4  # networks that stay open
PERCENTILES = (2, 98)  # of the low map, which become 0 and 1 (sddr.md 9.1: min-max is outlier sensitive)
SAMPLE, FIT_SAMPLE = 50_000, 10_000  # values that a percentile and that a fit looks at


# What refines: normalised low and high [h w] and a photo [h w 3] (uint8) of their size in, normalised depth [h w] out.
Network = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Normalised:
    """Two maps brought to where the network works, and the way back: value = unit * span + bottom."""

    low: Float32[np.ndarray, "h w"]
    high: Float32[np.ndarray, "h w"]
    bottom: float
    span: float


def normalised(
    low: Float32[np.ndarray, "h w"], high: Float32[np.ndarray, "h w"] | None, least_span: float = 0.0
) -> Normalised | None:
    """`low` mapped to 0..1 by its percentiles; `high` fitted to `low` (trimmed least squares) and sent the same way.

    All values finite. `high` None: there is no second map, so it is `low` again. A span below `least_span` is taken for that. None for a
    constant map. The numbers are those of `nn.refine_net.normalise` up to the sample they are taken from.
    """
    bottom, top = (float(value) for value in np.percentile(_sample(low), PERCENTILES))
    if not _differ(bottom, top):  # a few outliers on a constant map
        bottom, top = float(low.min()), float(low.max())
    span = max(top - bottom, least_span)
    if not _differ(bottom, bottom + span):
        return None
    unit = (low - np.float32(bottom)) / np.float32(span)
    second = unit if high is None else (fitted(high, low) - np.float32(bottom)) / np.float32(span)
    return Normalised(unit, second, bottom, span)


def _differ(bottom: float, top: float) -> bool:
    """Whether two values are two, beyond rounding."""
    return top - bottom > 1e-6 * max(abs(top), abs(bottom))


def refine_normalised(
    network: Network,
    low: Float32[np.ndarray, "h w"],
    high: Float32[np.ndarray, "h w"] | None,
    rgb: UInt8[np.ndarray, "h w 3"],
    least_span: float = 0.0,
) -> Float32[np.ndarray, "h w"]:
    """`network`'s answer in the units of `low`; see `normalised`. A constant map is returned as it is, having no edge to refine."""
    given = normalised(low, high, least_span)
    if given is None:
        return low
    return network(given.low, given.high, rgb) * np.float32(given.span) + np.float32(given.bottom)


def fitted(high: Float32[np.ndarray, "h w"], low: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """`high` under the scale and shift that bring it closest to `low`; `low` itself where that scale is not above 0."""
    scale, shift = fit(high, low)
    return np.float32(scale) * high + np.float32(shift) if scale > 0 else low


def fit(values: Float32[np.ndarray, "h w"], target: Float32[np.ndarray, "h w"]) -> tuple[float, float]:
    """(scale, shift) of the trimmed least squares fit of two maps of one size, from a sample of their pixels."""
    a, b = (_sample(x, FIT_SAMPLE).astype(np.float64) for x in (values, target))
    return align.fit_trimmed(a, b)


def _sample(values: np.ndarray, most: int = SAMPLE) -> np.ndarray:
    """About `most` evenly spread values; an odd step does not follow the columns of an even width."""
    step = values.size // most
    return values.ravel()[:: max(1, step + (step % 2 == 0))] if step > 1 else values.ravel()


class OnnxNetwork:
    """The ONNX file at `path`, with inputs low, high [1 1 h w] and, where it has it, rgb [1 3 h w] in 0..1; opened at the first call."""

    def __init__(self, path: str | Path, sha256: str = "", threads: int = 0) -> None:
        self.path, self.sha256, self.threads = Path(path), sha256, threads

    def __call__(
        self, low: Float32[np.ndarray, "h w"], high: Float32[np.ndarray, "h w"], rgb: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w"]:
        planes = {"low": _padded(low)[None, None], "high": _padded(high)[None, None]}
        wanted = [given.name for given in self._session.get_inputs()]
        if "rgb" in wanted:
            planes["rgb"] = _padded(rgb).transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
        out = self._session.run(["depth"], {name: np.ascontiguousarray(planes[name]) for name in wanted})[0]
        return np.asarray(out, np.float32)[0, 0, : low.shape[0], : low.shape[1]]

    @cached_property
    def _session(self) -> Any:
        session = opened(self.path, self.sha256, self.threads)
        inputs = {given.name for given in session.get_inputs()}
        if not {"low"} <= inputs <= {"low", "high", "rgb"} or "depth" not in {o.name for o in session.get_outputs()}:
            raise ValueError(
                f"{self.path.name}: expected inputs low, high, rgb and the output depth, found {', '.join(sorted(inputs))}"
            )
        return session


def opened(path: Path, sha256: str = "", threads: int = 0) -> Any:
    """ONNX Runtime's session of a refiner's file; FileNotFoundError, or ValueError where it cannot be loaded or is not what its card says.

    The same session for the same file: opening one takes 0.12 s, and a server or a folder of photos builds its refiner for each.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no refiner at {path}: expected an .onnx file or the folder of a training run")
    state = path.stat()
    return _session(path, sha256, threads, (state.st_mtime_ns, state.st_size))


@lru_cache(SESSIONS)
def _session(path: Path, sha256: str, threads: int, written: tuple[int, int]) -> Any:
    """`written` tells a file from what stood there before."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # from 1.31 on it would report to its makers
    _check_sum(path, sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for each of a dozen failures, and no common one but this
        raise ValueError(f"{path.name}: ONNX Runtime cannot load this model: {error}") from error


def _check_sum(path: Path, sha256: str) -> None:
    if not sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ValueError(f"{path.name} is not the file its card describes: expected sha256 {sha256}, found {found}")


def _padded(values: np.ndarray) -> np.ndarray:
    """Replicated to the right and below up to multiples of the stride."""
    h, w = values.shape[:2]
    missing = ((0, -h % STRIDE), (0, -w % STRIDE)) + ((0, 0),) * (values.ndim - 2)
    return np.pad(values, missing, mode="edge") if -h % STRIDE or -w % STRIDE else values
