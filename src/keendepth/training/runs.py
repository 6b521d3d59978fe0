"""Run folders: what is in one, whether a run may start or go on there, checkpoints, and the log."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from keendepth.io.atomic import atomic
from keendepth.training.config import FIT, FREE, FitOptions, plain, read_toml, to_toml

CONFIG, LOG, LAST, STUDENT, MODEL, REPORT, DIAGNOSIS = (
    "config.toml", "log.jsonl", "last.pt", "student.safetensors", "model.onnx", "report.md", "diagnosis.pt",
)  # fmt: skip
FORMAT = 1  # of checkpoints


class RunError(ValueError):
    """A folder where a run cannot start or go on. The message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """Where a run is kept, and what beside the loop's options makes it what it is."""

    folder: Path
    recipe: str = "custom"  # its name in the registry
    data: tuple[str, ...] = ()  # folders that it learns from
    settings: Mapping[str, Any] = field(default_factory=dict)  # the recipe's options, plain TOML values
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the data and the recipe, for the report
    resume: bool = False  # go on with what is in the folder, if there is something
    accept_changes: bool = False  # even where the configuration differs

    def config(self, options: FitOptions, processes: int = 1) -> dict[str, Any]:
        """All that decides what is learned (and a little more), as config.toml has it."""
        top = {"recipe": self.recipe, "data": list(self.data), "processes": processes}
        return {**top, FIT: plain(options), self.recipe: dict(self.settings)}


def prepare(run: Run, config: Mapping[str, Any]) -> None:
    """Make the folder and its config.toml. RunError where another run is there, or the same run with another configuration."""
    folder = run.folder
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder for the run")
    there = folder.is_dir() and any(folder.iterdir())
    if there and not (folder / CONFIG).is_file():
        raise RunError(f"{folder} holds other files and no {CONFIG}: choose an empty folder, or one of a run to resume")
    if there and not run.resume:
        raise RunError(f"{folder} holds a run already: --resume goes on with it; or choose another folder")
    if there and not run.accept_changes:
        _check_same(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / CONFIG) as temporary:
        temporary.write_text(to_toml(config), encoding="utf-8")


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys that differ and matter, as "fit.lr (0.1 there, 0.2 now)"."""
    old, new = dict(_flat(there)), dict(_flat(now))
    free = {f"{FIT}.{name}" for name in FREE}
    keys = [key for key in dict.fromkeys((*old, *new)) if key not in free and old.get(key) != new.get(key)]
    return [f"{key} ({_said(old, key)} there, {_said(new, key)} now)" for key in keys]


def _said(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "unset"


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _check_same(folder: Path, config: Mapping[str, Any]) -> None:
    found = differences(read_toml(folder / CONFIG), config)
    if found:
        raise RunError(
            f"{folder} was started with another configuration: {'; '.join(found)}. Choose another folder, "
            "give the old values, or --accept-changes to go on with the new ones"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """config.toml of a run; RunError where there is none."""
    if not (folder / CONFIG).is_file():
        raise RunError(f"{folder}: no {CONFIG} in it, so this is no run folder (`keendepth train` makes one)")
    return read_toml(folder / CONFIG)


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """last.pt, whole or not at all: whoever is killed meanwhile leaves the one before."""
    save_tensors(folder / LAST, {"format": FORMAT, **state})


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """A torch file, on the disk before it takes the place of the one that was there."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What last.pt holds, on the CPU; None where there is none. RunError for a damaged one. Pickled code is never run."""
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise RunError(f"{path} cannot be read ({type(error).__name__}: {error}): delete it to start again") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{path}: expected a checkpoint of format {FORMAT}: made by another version; start again")
    return state


def append(folder: Path, line: Mapping[str, Any]) -> None:
    """One line of log.jsonl; what is no finite number becomes null."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(_finite(line), allow_nan=False) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of log.jsonl; one torn by a crash is left out."""
    if not (folder / LOG).is_file():
        return []
    lines = []
    for text in (folder / LOG).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def cut_log(folder: Path, step: int) -> None:
    """Keep what was logged up to `step`: what came after is made again. A negative step empties it."""
    kept = [line for line in read_log(folder) if line.get("step", 0) <= step]
    with atomic(folder / LOG) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
