"""How a training run looks while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from keendepth.training.fit import Moment


@contextmanager
def watching(quiet: bool = False, terminal: bool | None = None) -> Iterator[Callable[[Moment], None]]:
    """A function that shows each moment; on standard error, so that results can be piped."""
    if terminal is None:
        terminal = sys.stderr.isatty()
    console = Console(stderr=True, highlight=False, soft_wrap=True, force_terminal=terminal)
    if quiet:
        yield lambda moment: None
        return
    if not terminal:
        yield lambda moment: _lines(console, moment)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(moment: Moment) -> None:
            _lines(progress.console, moment)
            progress.update(task, completed=moment.step, total=moment.total)
            if moment.losses:
                progress.update(task, description=f"{pace(moment)}  {figures(moment.losses)}")

        yield show


@contextmanager
def counting() -> Iterator[Callable[[int, int, str], None]]:
    """A function of (done, of how many, what) that moves a bar on a terminal; elsewhere it is silent."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(task, completed=done, total=total, description=what)


def _lines(console: Console, moment: Moment) -> None:
    at = f"step {moment.step}/{moment.total}"
    if moment.note:
        console.print(f"{at}  {moment.note}", markup=False)
    elif moment.figures:
        console.print(f"{at}  validation: {figures(moment.figures)}", markup=False)
    elif moment.logged:
        console.print(f"{at}  {figures(moment.losses)}  {pace(moment)}", markup=False)


def figures(values: Mapping[str, float]) -> str:
    """Names and numbers on one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def pace(moment: Moment) -> str:
    """Seconds per step, and the time that is left."""
    left = round(moment.seconds * (moment.total - moment.step))
    return f"{moment.seconds:.3g} s/step, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
