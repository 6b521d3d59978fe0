"""The averaged student: how it follows the student, and how it takes its place for validation and export."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn


def averaged_copy(student: nn.Module) -> nn.Module:
    """A copy in eval mode that needs no gradient."""
    return copy.deepcopy(student).eval().requires_grad_(False)


def decay_at(decay: float, step: int) -> float:
    """Memory of the average at step `step` (from 0): short at first, so that initial weights are soon forgotten."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(ema: nn.Module, student: nn.Module, decay: float) -> None:
    """ema <- decay * ema + (1 - decay) * student, for parameters; buffers (running statistics, counts) are copied."""
    torch._foreach_lerp_(list(ema.parameters()), list(student.parameters()), 1 - decay)
    for mine, theirs in zip(ema.buffers(), student.buffers(), strict=True):
        mine.copy_(theirs)


@contextmanager
def in_place_of(student: nn.Module, ema: nn.Module) -> Iterator[None]:
    """Within, `student` holds the averaged weights, in eval mode and without gradients; what held them holds the student's."""
    modes = {module: module.training for module in student.modules()}
    _exchange(student, ema)
    student.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        _exchange(student, ema)
        for module, mode in modes.items():
            module.training = mode


def _exchange(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(chain(one.parameters(), one.buffers()), chain(other.parameters(), other.buffers()), strict=True):
        a.data, b.data = b.data, a.data
