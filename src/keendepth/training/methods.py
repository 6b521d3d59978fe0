"""From a recipe's name to a run, and from a run's folder back to its trained recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from keendepth.nn import checkpoint
from keendepth.training import recipes, runs
from keendepth.training.config import FIT, FitOptions, build, plain, resolve
from keendepth.training.fit import Outcome, Watch, fit
from keendepth.training.recipe import Shipped


def train(run: runs.Run, presets: Sequence[str] = (), sets: Sequence[str] = (), watch: Watch | None = None) -> Outcome:
    """Train the registered recipe `run.recipe` on `run.data`; its options are defaults, then presets, then sets.

    Raises UnknownNameError for the recipe, ValueError for options, and what `fit` raises.
    """
    method = recipes.build(run.recipe)
    options = resolve({FIT: FitOptions, run.recipe: method.options}, presets, sets)
    loop, own = options[FIT], options[run.recipe]
    torch.manual_seed(loop.seed)
    plan = method.plan(own, loop, [Path(folder) for folder in run.data])
    card = recipes.card(run.recipe)
    facts = {"summary": card.summary, "paper": card.paper, "licence": card.license, **plan.facts}
    run = replace(run, settings=plain(own), facts={key: value for key, value in facts.items() if value})
    return fit(plan.recipe, plan.batches, loop, run, plan.validation, watch)


def trained(folder: Path) -> tuple[Shipped, int]:
    """The recipe of a run with its averaged weights in `student`, in eval mode; and the step they are of.

    RunError where the folder is no run or has no weights yet, ValueError where its recipe cannot be exported.
    """
    config = runs.read_config(folder)
    name = config["recipe"]
    method = recipes.build(name)
    if not (folder / runs.STUDENT).is_file():
        raise runs.RunError(f"{folder}: no {runs.STUDENT} yet; it comes with the first checkpoint")
    recipe = method.recipe(build(method.options, config.get(name, {}), name))
    if not isinstance(recipe, Shipped):
        raise ValueError(f"recipe {name!r} cannot be exported: it has no `export`")
    state, metadata = checkpoint.load(folder / runs.STUDENT)
    checkpoint.fill(recipe.student, state, str(folder / runs.STUDENT))
    recipe.student.eval()
    return recipe, int(metadata.get("step", 0))
