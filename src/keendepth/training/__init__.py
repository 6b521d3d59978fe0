"""Training: one loop (`fit`), options from presets, run folders, and the registry of recipes."""

from __future__ import annotations

from keendepth.core.registry import Registry
from keendepth.training.recipe import Batches, Method, Plan, Recipe, StepContext

__all__ = ["Batches", "Method", "Plan", "Recipe", "StepContext", "recipes", "register"]

recipes: Registry[Method] = Registry("recipe")
register = recipes.register

from keendepth.training import onestep, robust, scent, sddr, segmenter, sharp  # noqa: E402, F401  (registers the recipes)
