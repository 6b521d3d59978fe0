"""What a run computes with: processes and device, threads, seeds, the optimiser, and the losses as one module."""

from __future__ import annotations

import atexit
import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs, DistributedDataParallelKwargs
from torch import Tensor, nn

from keendepth.training.config import FitOptions
from keendepth.training.recipe import Batch, Recipe, StepContext

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**30


def chance(seed: int, number: int, stream: int) -> int:
    """A seed for one batch or step, unrelated to those of its neighbours."""
    return int(np.random.SeedSequence((seed, stream, number)).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def own_chance() -> Iterator[None]:
    """Torch's global generators are put back after the block."""
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        yield


@contextmanager
def threads_of_torch(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> None:
    """Freed blocks of up to a gigabyte stay with the process: training makes and drops the same large maps in each step, and glibc would ask the
    system for them anew each time, which takes a tenth to a quarter of the time. Other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(option, KEPT)


def make_accelerator(options: FitOptions) -> Accelerator:
    """Processes, device and the scaling of fp16 gradients. Its own autocast would lower the losses too, so it is off (see `precision`)."""
    AcceleratorState._reset_state()  # it outlives a run, and refuses another precision in the same process
    handlers = [AutocastKwargs(enabled=False), DistributedDataParallelKwargs(find_unused_parameters=True)]
    accelerator = Accelerator(
        cpu=options.device == "cpu",
        mixed_precision=options.amp,
        kwargs_handlers=handlers,
        step_scheduler_with_optimizer=False,
    )
    if options.amp == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("fit.amp = fp16 needs a GPU; bf16 works on a CPU and is faster there than float32")
    if accelerator.num_processes > 1:
        atexit.unregister(_part)
        atexit.register(_part)
    return accelerator


def _part() -> None:
    """Leave the group of processes before Python ends: its threads, still alive then, abort a process now and then."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def make_optimiser(student: nn.Module, options: FitOptions, device: torch.device) -> torch.optim.AdamW:
    learned = [parameter for parameter in student.parameters() if parameter.requires_grad]
    if not learned:
        raise ValueError("the recipe's student has no parameter to learn")
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, fused=device.type in ("cpu", "cuda"))


class LossesOf(nn.Module):
    """The recipe's losses as a module, so that what several processes wrap is called once a batch, however often the student is."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.student = recipe.student
        self._losses = recipe.losses

    def forward(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        return self._losses(batch, context)
