"""Copies of transformers' networks for ONNX Runtime: made at first use, checked against the original, kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from keendepth.predictors.hf.feeding import Feeding
from keendepth.predictors.hf.files import CONFIG, INDEX, WEIGHTS, Files, ModelError, first_line
from keendepth.predictors.hub import HubError
from keendepth.predictors.memory import is_out_of_memory

_log = logging.getLogger("keendepth")

FORMAT = 1  # of the copies; another number makes them anew
TOLERANCE = 1e-4  # the largest difference from torch that passes, in parts of the largest depth
LARGEST = 450_000_000  # parameters: an ONNX file holds 2 GB, and a ViT-L (335 M) takes 1.3
SPARE = 3  # times its size must be free on the disk


def folder() -> Path:
    """Where copies are kept: `KEENDEPTH_CACHE`, else the user's cache folder as the system has it."""
    own = os.environ.get("KEENDEPTH_CACHE")
    if own:
        return Path(own).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "keendepth"
    local = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(local or Path.home() / ".cache") / "keendepth"


def possible() -> bool:
    """Whether this installation can make copies: torch writes them with the package onnx."""
    return util.find_spec("onnx") is not None


class NoRoomError(ValueError):
    """A disk that is too full for a copy, today."""


@dataclass(frozen=True)
class Copy:
    """A file, and what is known of it."""

    path: Path
    parameters: int
    parity: float


@dataclass(frozen=True)
class Copies:
    """The copy of one model; `network` loads the original, in 32 bits on the CPU."""

    files: Files
    rule: Feeding
    network: Callable[[], Any]

    def get(self, insists: bool = False) -> Copy | None:
        """The copy, made now if need be; None where that fails, which is said once and remembered. `insists`: ModelError instead."""
        path = self._path()
        known = _note(path)
        if known and path.is_file():
            return Copy(path, int(known["parameters"]), float(known["parity"]))
        if known and not insists:
            return None  # it failed before, with these versions
        try:
            return self._made(path)
        except (MemoryError, HubError):  # no fault of the copy's
            raise
        except Exception as error:  # torch's exporter raises what it likes
            why = first_line(error)
            if insists:
                raise ModelError(f"{self.files.source}: no copy for ONNX Runtime: {why}") from error
            _log.warning("%s: runs on torch, as no copy for ONNX Runtime could be made (%s)", self.files.source, why)
            if not isinstance(error, (OSError, NoRoomError)) and not is_out_of_memory(error):
                _remember(path, {"failed": why})
            return None

    def agrees(self, runtime: str, check: Callable[[], float]) -> bool:
        """Whether `runtime`, at its installed version, gives the numbers of ONNX Runtime: `check` (the largest relative difference) is made once."""
        path, version = self._path(), metadata.version(runtime)
        note = _note(path) or {}
        if note.get(runtime, {}).get("version") != version:
            note[runtime] = {"version": version, "parity": check()}
            _remember(path, note)
        return bool(note[runtime]["parity"] <= TOLERANCE)

    def forget(self) -> None:
        """Delete the copy, as when it turns out to be damaged."""
        for path in (self._path(), self._path().with_suffix(".json")):
            path.unlink(missing_ok=True)

    def _made(self, path: Path) -> Copy:
        network = self.network()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        _check_room(path.parent, parameters)
        name = path.stem.rpartition("-")[0]
        _log.warning(
            "%s: making a copy for ONNX Runtime, which is faster (this once; --runtime torch does without)",
            self.files.source,
        )
        start = time.perf_counter()
        worst = write(network, self.rule, path)
        for other in path.parent.glob(f"{name}-*"):  # of other versions
            if other.stem != path.stem:
                other.unlink(missing_ok=True)
        _remember(path, {"parameters": parameters, "parity": worst, "seconds": round(time.perf_counter() - start, 1)})
        return Copy(path, parameters, worst)

    def _path(self) -> Path:
        """One name for each model, its files, and what makes and runs the copy."""
        self.files.weights()
        slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.files.source.strip("/").rpartition("/")[2])
        versions = [FORMAT, repr(self.rule), *(metadata.version(name) for name in ("torch", "transformers"))]
        return folder() / f"{slug[:60] or 'model'}-{_digest(list(self._identity()))}-{_digest(versions)}.onnx"

    def _identity(self) -> Iterator[Any]:
        """What tells these weights from others without reading a gigabyte: names on the disk (the hub's have their checksum), sizes, times."""
        names = [*WEIGHTS, CONFIG]
        index = self.files.json(INDEX) if self.files.path(INDEX) else None
        names += sorted(set((index or {}).get("weight_map", {}).values()))
        for path in filter(None, (_on_disk(self.files, name) for name in names)):
            real = path.resolve()
            yield [str(real), real.stat().st_size, real.stat().st_mtime_ns]


def _on_disk(files: Files, name: str) -> Path | None:
    path = Path(files.folder or "") / name
    return path if path.is_file() else None


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _note(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and ("failed" in found or {"parameters", "parity"} <= set(found)) else None


def _remember(path: Path, note: dict[str, Any]) -> None:
    from keendepth.io.atomic import atomic

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path.with_suffix(".json")) as part:
            part.write_text(json.dumps(note), encoding="utf-8")
    except (OSError, ValueError):
        _log.info("%s cannot be written to", path.parent)


def _check_room(place: Path, parameters: int) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if parameters > LARGEST:
        raise ValueError(f"{parameters / 1e6:.0f} M parameters are too many for one ONNX file")
    free = shutil.disk_usage(place).free
    if free < 4 * parameters * SPARE:
        raise NoRoomError(
            f"{free / 2**30:.1f} GiB are free in {place}, {4 * parameters * SPARE / 2**30:.1f} are needed"
        )


def write(network: Any, rule: Feeding, path: Path, for_cards: bool = False) -> float:
    """Write `network`, in bytes to depth, for one picture of any size that it takes; returns the largest relative difference from torch.

    `for_cards`: pictures as [1 3 h w] floats in 0..255 and, for Depth Pro, metres: what `OnnxPredictor` feeds. ParityError where
    the two differ by more than `TOLERANCE` at any of three sizes: then nothing is written.
    """
    from keendepth.io.atomic import atomic
    from keendepth.nn.tracing import ParityError, parity
    from keendepth.nn.tracing import write as trace
    from keendepth.nn.whole import MetresByFov, WholeDepth

    module = WholeDepth(network, (rule.mean, rule.std, rule.top), sees_fov(network), for_cards).eval()
    outputs = ["predicted_depth", *(["field_of_view"] if sees_fov(network) else [])]
    if for_cards and rule.focal:
        module, outputs = MetresByFov(module).eval(), ["predicted_depth", "focallength_px"]
    inputs = ["pixels", *(["prompt"] if rule.prompted else [])]
    tall = 2 if for_cards else 1
    axes = {"pixels": {tall: "height", tall + 1: "width"}, "prompt": {2: "prompt_height", 3: "prompt_width"}}
    axes = {name: axes[name] for name in inputs} | {"predicted_depth": {1: "depth_height", 2: "depth_width"}}
    first, *more = sizes(rule)
    with atomic(path) as part:
        trace(module, part, examples(rule, first, for_cards), (inputs, outputs), axes if more else {})
        worst = parity(module, part, *(examples(rule, size, for_cards) for size in (first, *more)), relative=True)
        if not worst <= TOLERANCE:
            raise ParityError(
                f"{path.name}: ONNX Runtime and torch differ by {worst:.3g} of the largest depth, at most {TOLERANCE:g} is allowed"
            )
    return worst


def sees_fov(network: Any) -> bool:
    """Whether the network gives a field of view (Depth Pro with that head)."""
    return bool(getattr(network.config, "use_fov_model", False))


def sizes(rule: Feeding) -> list[tuple[int, int]]:
    """(height, width) to trace at, and others to compare at; odd numbers of patches first, as even ones skip a branch of DPT's fusion."""
    step = rule.multiple
    if not step:
        return [rule.native]
    if rule.square:
        return [(5 * step, 5 * step), (4 * step, 4 * step), (max(rule.native),) * 2]
    return [(5 * step, 7 * step), (6 * step, 4 * step), rule.native]


def examples(rule: Feeding, size: tuple[int, int], channels_first: bool) -> list[Any]:
    """A seeded picture of this size, and a prompt for those that take one."""
    import torch

    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, *size, 3), generator=generator, dtype=torch.uint8)
    pictures = pixels.permute(0, 3, 1, 2).float() if channels_first else pixels
    prompt = 1 + 2 * torch.rand(1, 1, 12, 16, generator=generator)
    return [pictures, prompt] if rule.prompted else [pictures]
