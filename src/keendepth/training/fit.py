"""The one training loop: batches in, losses of a recipe down, a run folder out; for one process or many, and resumable to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object

from keendepth.nn import checkpoint
from keendepth.training import runs, setting
from keendepth.training.average import averaged_copy, decay_at, follow, in_place_of
from keendepth.training.config import FitOptions, learning_rate, to_toml
from keendepth.training.precision import lowered
from keendepth.training.prefetch import Prefetcher, prefetching
from keendepth.training.recipe import (
    Batch,
    Batches,
    Exports,
    Recipe,
    Refreshes,
    Remembers,
    Starts,
    StepContext,
    Validation,
)  # fmt: skip
from keendepth.training.report import Outcome, write_report
from keendepth.training.runs import Run
from keendepth.training.setting import chance
from keendepth.training.stopping import Wish, listening

LOSSES, BETWEEN = 0, 1  # streams of chance
RESERVED = {"step", "lr", "loss", "gradient_norm", "seconds"}  # keys of a line of the log that no loss may have


class DivergedError(ValueError):
    """A loss or a gradient that is no number. The message names it and the step."""


@dataclass(frozen=True)
class Moment:
    """What a watcher is told, after each step and whenever there is something to say."""

    step: int  # steps done
    total: int
    losses: Mapping[str, float] = field(default_factory=dict)  # of this step; averages where `logged`
    figures: Mapping[str, float] = field(default_factory=dict)  # of a validation
    seconds: float = 0.0  # per step, recently
    logged: bool = False
    note: str = ""


Watch = Callable[[Moment], None]


def fit(
    recipe: Recipe,
    batches: Batches,
    options: FitOptions,
    run: Run,
    validation: Validation | Sequence[Batch] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Minimise the recipe's losses and keep the run in `run.folder`.

    Batch N goes to process N % processes; chance is seeded by (seed, N), so a resumed run equals an unbroken one, and two
    processes equal one that accumulates over two batches. RunError where the folder does not fit, DivergedError for a loss
    that is no number. Not finite figures of `validate` are left out of its averages.
    """
    watch = watch if watch is not None else _silent
    with setting.threads_of_torch(options.threads), setting.own_chance():
        loop = _Loop(recipe, options, run, watch)
        with (
            prefetching(batches, loop.processes, options.prefetch) as source,
            lowered(recipe.student, options.amp, loop.device),
            listening() as wish,
        ):
            loop.run_all(source, validation, wish)
        return loop.finish()


def _silent(moment: Moment) -> None:
    """Nobody watches."""


class _Loop:
    """One run: all that changes from step to step, and what each step does."""

    def __init__(self, recipe: Recipe, options: FitOptions, run: Run, watch: Watch) -> None:
        self.recipe, self.options, self.run = recipe, options, run
        self.accelerator = setting.make_accelerator(options)
        self.device, self.processes = self.accelerator.device, self.accelerator.num_processes
        self.rank, self.main = self.accelerator.process_index, self.accelerator.is_main_process
        self.watch = watch if self.main else _silent
        self.config = run.config(options, self.processes)
        if self.main:
            runs.prepare(run, self.config)
        self.accelerator.wait_for_everyone()
        self.student = recipe.student.to(self.device).train()
        if options.channels_last:
            self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = averaged_copy(self.student)
        self.optimiser = self.accelerator.prepare(setting.make_optimiser(self.student, options, self.device))
        self.module = self.accelerator.prepare(setting.LossesOf(recipe))
        self.step, self.seconds, self.rate = 0, 0.0, 0.0
        self.window: dict[str, tuple[float, int]] = {}  # name -> (sum, count) since the last line of the log
        self.best: dict[str, Any] = {}
        self._restore()

    # ---- the run

    def run_all(self, source: Prefetcher, validation: Validation | Sequence[Batch] | None, wish: Wish) -> None:
        options = self.options
        if isinstance(self.recipe, Starts):
            self.recipe.start(self._context(self.step, BETWEEN))
        if self.step == 0:
            self._validate(validation)
        stop = False
        while self.step < options.steps and not stop:
            began = time.perf_counter()
            self._one_step(source)
            done = self.step == options.steps
            if done or self.step % options.log_every == 0:
                self._log()
            if done or (options.validate_every and self.step % options.validate_every == 0):
                self._validate(validation)
            self._clock(time.perf_counter() - began)
            if wish.note:
                self.tell(wish.note)
                wish.note = ""
            stop = self._agreed(wish.stop)
            if done or stop or self.step % options.save_every == 0:
                self._save()

    def _one_step(self, source: Prefetcher) -> None:
        options = self.options
        if isinstance(self.recipe, Refreshes) and self.recipe.between(self._context(self.step, BETWEEN)):
            source.drop()
        sums: dict[str, float] = {}
        bad: tuple[int, Batch, dict[str, float]] | None = None
        for micro in range(options.accumulation):
            number = (self.step * options.accumulation + micro) * self.processes + self.rank
            batch = self._here(source.take(number, options.steps * options.accumulation * self.processes - 1))
            found = self._backward(batch, number, last=micro == options.accumulation - 1)
            if bad is None and not all(map(math.isfinite, found.values())):
                bad = (number, batch, found)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value / options.accumulation
        norm = self._gradient_norm()
        if bad or (not math.isfinite(norm) and options.amp != "fp16"):  # fp16 skips such a step and lowers its scale
            self._diverged(bad or (number, batch, found), norm)
        self._learn()
        self._note(sums, norm)

    def _backward(self, batch: Batch, number: int, last: bool) -> dict[str, float]:
        """Add a batch's share to the gradient; processes exchange theirs with the last one only."""
        torch.manual_seed(chance(self.options.seed, number, LOSSES))  # for dropout and the like
        with nullcontext() if last else self.accelerator.no_sync(self.module):
            losses = self.module(batch, self._context(number, LOSSES))
            if not losses or RESERVED & losses.keys():
                raise ValueError(
                    f"expected a dict of losses with other names than {', '.join(sorted(RESERVED))}, found {list(losses)}"
                )
            total = torch.stack([value.float().reshape(()) for value in losses.values()])
            self.accelerator.backward(total.sum() / self.options.accumulation)
        return dict(zip(losses, total.tolist(), strict=True))

    def _gradient_norm(self) -> float:
        """Norm of the whole gradient before it is clipped; one that is no number is left as it is, to be looked at."""
        self.accelerator.unscale_gradients(self.optimiser)
        learned = [p for p in self.student.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in learned if p.grad is not None])
        if self.options.grad_clip and torch.isfinite(norm):
            torch.nn.utils.clip_grads_with_norm_(learned, self.options.grad_clip, norm)
        return float(norm)

    def _learn(self) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.options, self.step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        follow(self.ema, self.student, decay_at(self.options.ema_decay, self.step))
        self.step += 1

    def _diverged(self, bad: tuple[int, Batch, dict[str, float]], norm: float) -> None:
        number, batch, losses = bad
        names = [name for name, value in losses.items() if not math.isfinite(value)]
        gradients = {n: float(p.grad.norm()) for n, p in self.student.named_parameters() if p.grad is not None}
        path = self.run.folder / (runs.DIAGNOSIS if self.main else f"diagnosis-{self.rank}.pt")
        runs.save_tensors(path, {
            "step": self.step, "number": number, "losses": losses, "gradients": gradients, "norm": norm,
            "batch": {name: tensor.cpu() for name, tensor in batch.items()}, "student": self.student.state_dict(),
        })  # fmt: skip
        broken = [name for name, value in gradients.items() if not math.isfinite(value)]
        what = (
            "; ".join(f"the loss {name!r} is {losses[name]}" for name in names)
            or f"all losses are finite, but the gradient of {', '.join(broken[:3]) or 'another process'} is not"
        )
        raise DivergedError(
            f"step {self.step}: {what}. Batch {number}, losses, gradients and the weights before the step are in {path}. "
            "Look at the batch first; else lower lr or grad_clip and go on from the last checkpoint (--resume --accept-changes)"
        )

    # ---- what it looks like from outside

    def tell(self, text: str) -> None:
        self.watch(Moment(self.step, self.options.steps, note=text))

    def _context(self, number: int, stream: int) -> StepContext:
        rng = torch.Generator().manual_seed(chance(self.options.seed, number, stream + 2))
        return StepContext(
            self.step, self.options.steps, self.ema, rng, self.device, self.run.folder, self.rank, self.processes
        )

    def _here(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def _agreed(self, stop: bool) -> bool:
        """Whether any process wants to stop: they must leave the loop at the same step."""
        if self.processes == 1:
            return stop
        return bool(self.accelerator.reduce(torch.tensor(float(stop), device=self.device), "sum") > 0)

    def _clock(self, seconds: float) -> None:
        self.seconds += seconds
        self.rate = seconds if not self.rate else 0.9 * self.rate + 0.1 * seconds

    def _note(self, losses: Mapping[str, float], norm: float) -> None:
        values = {**losses, "loss": sum(losses.values()), "gradient_norm": norm}
        for name, value in values.items():
            total, count = self.window.get(name, (0.0, 0))
            self.window[name] = (total + value, count + 1)
        self.watch(Moment(self.step, self.options.steps, losses, seconds=self.rate))

    def _log(self) -> None:
        means = _means(gather_object([self.window]))
        self.window = {}
        if self.main:
            line = {"step": self.step, "lr": learning_rate(self.options, self.step - 1), **means}
            runs.append(self.run.folder, {**line, "seconds": round(self.seconds, 3)})
        self.watch(Moment(self.step, self.options.steps, means, seconds=self.rate, logged=True))

    def _validate(self, validation: Validation | Sequence[Batch] | None) -> None:
        if validation is None or not len(validation):
            return
        sums: dict[str, tuple[float, int]] = {}
        with in_place_of(self.student, self.ema):
            for number in range(self.rank, len(validation), self.processes):
                batch = self._here(validation[number])
                pictures = len(next(iter(batch.values())))
                for name, value in self.recipe.validate(batch).items():
                    total, count = sums.get(name, (0.0, 0))
                    known = math.isfinite(value)
                    sums[name] = (total + value * pictures, count + pictures) if known else (total, count)
        figures = _means(gather_object([sums]))
        self._judge(figures)
        if self.main:
            runs.append(self.run.folder, {"step": self.step, "validation": figures})
        self.watch(Moment(self.step, self.options.steps, figures=figures, seconds=self.rate, logged=True))

    def _judge(self, figures: Mapping[str, float]) -> None:
        """Remember the best validation, and its weights where those are to be shipped."""
        first = next(iter(figures.values()), math.nan)
        least = next(iter(self.best["figures"].values())) if self.best else math.inf
        if first < least:
            self.best = {"step": self.step, "figures": dict(figures)}
            if self.options.keep == "best":
                self._ship()

    # ---- what is kept

    def _save(self) -> None:
        windows = gather_object([self.window])
        if not self.main:
            return
        state = {
            "step": self.step, "seconds": self.seconds, "best": self.best, "windows": windows,
            "student": self.student.state_dict(), "ema": self.ema.state_dict(), "optimiser": self.optimiser.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            "recipe": self.recipe.state_dict() if isinstance(self.recipe, Remembers) else {},
        }  # fmt: skip
        runs.save_checkpoint(self.run.folder, state)
        if self.options.keep == "last":
            self._ship()

    def _ship(self) -> None:
        if self.main:
            text = {"recipe": self.run.recipe, "step": str(self.step), "config": to_toml(self.config)}
            checkpoint.save(self.run.folder / runs.STUDENT, self.ema.state_dict(), text)

    def _restore(self) -> None:
        state = runs.load_checkpoint(self.run.folder)
        if self.main:
            runs.cut_log(self.run.folder, state["step"] if state else -1)
        if state is None:
            return
        checkpoint.fill(self.student, state["student"], runs.LAST)
        checkpoint.fill(self.ema, state["ema"], runs.LAST)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if isinstance(self.recipe, Remembers):
            self.recipe.load_state_dict(state["recipe"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        if len(state["windows"]) == self.processes:
            self.window = {name: tuple(pair) for name, pair in state["windows"][self.rank].items()}

    def finish(self) -> Outcome:
        """Ship, export and report; a run that a signal stopped is reported, not exported."""
        finished = self.step >= self.options.steps
        outcome = Outcome(self.step, finished, self.best, self.seconds)
        if self.main:
            if finished and (self.options.keep == "last" or not self.best):
                self._ship()
            exported = self._export() if finished else {}
            write_report(self.run, self.config, outcome, self.student, exported)
        self.accelerator.wait_for_everyone()
        return outcome

    def _export(self) -> dict[str, Any]:
        if not isinstance(self.recipe, Exports):
            return {}
        checkpoint.fill(self.ema, checkpoint.load(self.run.folder / runs.STUDENT)[0], runs.STUDENT)
        with in_place_of(self.student, self.ema):
            return dict(self.recipe.export(self.run.folder / runs.MODEL))


def _means(sums: Sequence[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    """Averages over processes, in the order of the names; NaN where nothing was known."""
    names = list(dict.fromkeys(name for part in sums for name in part))
    out = {}
    for name in names:
        pairs = [part[name] for part in sums if name in part]
        count = sum(count for _, count in pairs)
        out[name] = sum(total for total, _ in pairs) / count if count else math.nan
    return out
