"""report.md of a run: what it learned from, how the losses fell, what validation said, how long it took, and what a card needs."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from keendepth import __version__
from keendepth.training import runs
from keendepth.training.config import FIT, to_toml

ROWS = 12  # most rows of a table over steps


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    step: int
    finished: bool  # False: stopped by a signal; resuming goes on
    best: Mapping[str, Any]  # step and figures of the best validation
    seconds: float  # in the loop, over all sittings


def write_report(
    run: runs.Run, config: Mapping[str, Any], outcome: Outcome, student: nn.Module, exported: Mapping[str, Any]
) -> None:
    """Write report.md into the run's folder."""
    log = runs.read_log(run.folder)
    parts = [
        _head(run, config, outcome),
        _table("Losses (averages between the steps)", [_losses(line) for line in log if "loss" in line]),
        _table("Validation (averaged weights)", [_figures(line) for line in log if "validation" in line]),
        _best(outcome),
        _listed("Facts for a card", _facts(run, config, outcome, student, exported)),
        f"## Configuration\n\n```toml\n{to_toml(config)}```",
    ]
    (run.folder / runs.REPORT).write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(run: runs.Run, config: Mapping[str, Any], outcome: Outcome) -> str:
    total = config[FIT]["steps"]
    state = "finished" if outcome.finished else f"stopped at step {outcome.step} of {total}; `--resume` goes on"
    return f"# {run.recipe}: {total} steps, {state}"


def _losses(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "seconds"}


def _figures(line: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": line["step"], **line["validation"]}


def _table(title: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """At most `ROWS` lines, the first and the last among them; names that come later leave earlier cells empty."""
    if not lines:
        return ""
    every = max(1, -(-(len(lines) - 1) // (ROWS - 1)))
    chosen = [*lines[:-1][::every], lines[-1]]
    names = list(dict.fromkeys(name for line in chosen for name in line))
    rows = [[_cell(line.get(name, "")) for name in names] for line in chosen]
    text = [names, ["---"] * len(names), *rows]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in text)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def _best(outcome: Outcome) -> str:
    if not outcome.best:
        return ""
    figures = ", ".join(f"{name} {_cell(value)}" for name, value in outcome.best["figures"].items())
    return f"Best at step {outcome.best['step']}: {figures}"


def _listed(title: str, facts: Mapping[str, Any]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {name}: {_cell(value)}" for name, value in facts.items())


def _facts(
    run: runs.Run, config: Mapping[str, Any], outcome: Outcome, student: nn.Module, exported: Mapping[str, Any]
) -> dict[str, Any]:
    fit = config[FIT]
    pictures = outcome.step * fit["batch_size"] * fit["accumulation"] * config["processes"]
    return {
        "recipe": run.recipe,
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "trained on": ", ".join(run.data) or "see below",
        **run.facts,
        "pictures seen": pictures,
        "seconds": round(outcome.seconds, 1),
        "seconds per step": outcome.seconds / max(outcome.step, 1),
        "machine": machine(),
        "versions": f"keendepth {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        **{f"sha256 of {name}": sha256(run.folder / name) for name in _files(run.folder)},
        **{f"export, {name}": value for name, value in exported.items()},
    }


def _files(folder: Path) -> list[str]:
    return [name for name in (runs.STUDENT, runs.MODEL) if (folder / name).is_file()]


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def machine() -> str:
    """Processor, cores and threads, and the GPU if there is one."""
    cpu = f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux only; elsewhere Python knows
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
