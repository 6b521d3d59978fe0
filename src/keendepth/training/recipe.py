"""What a recipe, its data and its registry entry look like to the one loop of `fit.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from keendepth.training.config import FitOptions

Batch = Mapping[str, Tensor]  # name -> tensor whose first axis is the picture in the batch


@dataclass(frozen=True)
class StepContext:
    """Where the run is. All of it is a function of the options and of the step, so a resumed run sees the same."""

    step: int  # the optimiser's step about to be taken, from 0
    total: int  # steps of the whole run
    ema: nn.Module  # the averaged student: eval mode, float32, needs no gradient
    rng: torch.Generator  # on the CPU, seeded by (seed, number of the batch): the only source of chance for a recipe
    device: torch.device
    folder: Path  # the run folder, for what a recipe wants to keep there
    process: int = 0  # of `processes`; only process 0 should write files
    processes: int = 1

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 at the first step and below 1 at the last."""
        return self.step / max(self.total, 1)


@runtime_checkable
class Recipe(Protocol):
    """What to minimise. The loop moves `student` to the device, and computes it in the precision that is asked for, with
    float32 outputs; losses are computed in float32."""

    student: nn.Module

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Named scalars, weighted already; the loop minimises their sum. `student` is in train mode. The names may change with the step."""
        ...

    def validate(self, batch: Batch) -> dict[str, float]:
        """Named figures of one batch, averaged over its pictures; the FIRST name decides which weights are best, and lower is better.

        `student` holds the averaged weights here, in eval mode, without gradients. NaN: a figure that this batch cannot give.
        """
        ...


@runtime_checkable
class Starts(Protocol):
    """A recipe that prepares something before the first step of a run, fresh or resumed (after `load_state_dict`)."""

    def start(self, context: StepContext) -> None: ...


@runtime_checkable
class Refreshes(Protocol):
    """A recipe that does something before steps, e.g. renews pseudo-labels with `context.ema` every K steps."""

    def between(self, context: StepContext) -> bool | None:
        """Called before each step. True: batches would come out differently now, so those fetched in advance are dropped.

        The thread that prepares batches may be at work meanwhile: what it reads must not crash it; what it made is dropped.
        """
        ...


@runtime_checkable
class Remembers(Protocol):
    """A recipe with a state of its own that a resumed run needs: tensors, numbers, strings, and lists and dicts of them.

    What is too large for a checkpoint (labels of a whole store) goes into files of `context.folder`, named by the round in
    which they were made, and only the round's number into the state.
    """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Exports(Protocol):
    """A recipe whose student can be shipped."""

    def export(self, path: Path) -> dict[str, Any]:
        """Write `student` (averaged weights, eval mode) as ONNX to `path`, with its card beside it; facts for the report.

        `keendepth.export.export_onnx` writes and checks parity.
        """
        ...


@runtime_checkable
class Shipped(Recipe, Exports, Protocol):
    """A recipe that is trained and can be shipped."""


@runtime_checkable
class Batches(Protocol):
    """Training data without an end. Called from another thread, so it must not touch the student or any global generator."""

    def batch(self, number: int) -> Batch:
        """Batch `number` (from 0) on the CPU: a pure function of the number and of the seed that the object was made with."""
        ...


@runtime_checkable
class Validation(Protocol):
    """A fixed list of batches; a plain list will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Batch: ...


@dataclass(frozen=True)
class Plan:
    """All that a run of one recipe needs."""

    recipe: Recipe
    batches: Batches
    validation: Validation | Sequence[Batch] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the data, for the report and the card; plain JSON types


@runtime_checkable
class Method(Protocol):
    """What `training.recipes` holds under a name: how to make a recipe and its data from options.

    ```
    @recipes.register("sddr", summary=..., license="Apache-2.0", paper=...)
    class Sddr:
        options = SddrOptions                 # frozen dataclass; fields are the keys of [sddr] in presets and of --set sddr.key=
        def recipe(self, options): ...        # the student freshly initialised; no data needed (export, inference)
        def plan(self, options, fit, data): ...
    ```
    The loop seeds torch with `fit.seed` before `recipe` and `plan` are called, so that initial weights are a function of the seed.
    """

    options: type

    def recipe(self, options: Any) -> Recipe:
        """The recipe without data."""
        ...

    def plan(self, options: Any, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """Recipe, batches of `fit.batch_size` drawn with `fit.seed`, and validation, from the stores (or folders) `data`."""
        ...
