"""The recipe of a small semantic expert: classes of rendered scenes, so that `scent` has a teacher without anybody's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from keendepth.data.scenes.labels import Label
from keendepth.nn.retinex import perturb
from keendepth.nn.segmenter import CHANNELS, Segmenter, cells
from keendepth.training import register
from keendepth.training.config import FitOptions
from keendepth.training.recipe import Batch, Plan, StepContext
from keendepth.training.triplets import CACHE, RenderedTriplets

NAME = "segmenter"
CLASSES = len(Label)


@dataclass(frozen=True)
class SegmenterTraining:
    """Options of the recipe; the values are those of scent_depth.md 10.4."""

    channels: tuple[int, ...] = CHANNELS
    """Of the encoder at 1/2, 1/4 ... of the size; the last map is what students learn from."""
    perturbed: float = 0.5
    """Share of batches whose texture and light are perturbed, as `scent` does to twins."""
    validation: int = 64
    """Held-out pictures that are validated on."""


@register(
    NAME,
    summary="small semantic expert on labels of rendered scenes, a teacher for scent",
    license="Apache-2.0",
    paper="ours; the expert of the prototype behind our notes on Scent-Depth",
)
class SegmenterMethod:
    """How the recipe is made from options."""

    options = SegmenterTraining

    def recipe(self, options: SegmenterTraining) -> SegmenterRecipe:
        """Freshly initialised, without data."""
        return SegmenterRecipe(options)

    def plan(self, options: SegmenterTraining, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """From caches of rendered triplets (`runs/render.py triplets`), whose middle frames have labels; ValueError for other folders."""
        learned, judged = _find(data)
        facts = {"pictures": sum(map(len, learned)), "held-out pictures": sum(map(len, judged)), "classes": CLASSES}
        numbers = [(k, n) for k, cache in enumerate(judged) for n in range(len(cache))][: options.validation]
        size = fit.batch_size
        validation = [_collate([_read(judged[k], n) for k, n in numbers[i : i + size]]) for i in range(0, len(numbers), size)]  # fmt: skip
        return Plan(SegmenterRecipe(options), Labelled(learned, size, fit.seed), validation, facts)


class Labelled:
    """Batches of pictures and their labels, mirrored or not; a pure function of (seed, number)."""

    def __init__(self, caches: Sequence[RenderedTriplets], batch_size: int, seed: int) -> None:
        self.caches, self.batch_size, self.seed = list(caches), batch_size, seed
        self.places = [(k, n) for k, cache in enumerate(self.caches) for n in range(len(cache))]

    def batch(self, number: int) -> dict[str, Tensor]:
        """rgb [b 3 h w] in 0..1 and labels [b h w]."""
        rng = np.random.default_rng([self.seed, number])
        drawn = [self.places[int(k)] for k in rng.integers(len(self.places), size=self.batch_size)]
        pairs = [_read(self.caches[k], n) for k, n in drawn]
        turned = rng.random(len(pairs)) < 0.5
        return _collate([(a[:, ::-1], b[:, ::-1]) if t else (a, b) for (a, b), t in zip(pairs, turned, strict=True)])


class SegmenterRecipe:
    """Cross-entropy of cells of 8 x 8 pixels."""

    def __init__(self, options: SegmenterTraining) -> None:
        self.options = options
        self.student = Segmenter(CLASSES, options.channels)

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Half of the batches are perturbed: an expert must not go by texture either."""
        rgb = batch["rgb"]
        if float(torch.rand((), generator=context.rng)) < self.options.perturbed:
            rgb = perturb(rgb, context.rng)
        wanted = cells(batch["labels"], self.student.stride, CLASSES)
        return {"classes": torch.nn.functional.cross_entropy(self.student(rgb), wanted)}

    def validate(self, batch: Batch) -> dict[str, float]:
        """Share of cells that are wrong, and of those among cells of one class alone."""
        found = self.student(batch["rgb"]).argmax(1)
        wrong = found != cells(batch["labels"], self.student.stride, CLASSES)
        stride = self.student.stride
        same = (
            torch.nn.functional.max_pool2d(batch["labels"][:, None].float(), stride)[:, 0]
            == -(torch.nn.functional.max_pool2d(-batch["labels"][:, None].float(), stride)[:, 0])
        )
        return {"wrong": float(wrong.float().mean()), "wrong_inside": float(wrong[same].float().mean())}


def _find(data: Sequence[Path]) -> tuple[list[RenderedTriplets], list[RenderedTriplets]]:
    learned: list[RenderedTriplets] = []
    judged: list[RenderedTriplets] = []
    for folder in map(Path, data):
        if not CACHE.there(folder):
            raise ValueError(f"--data {folder}: expected a cache of rendered triplets (runs/render.py), found none")
        cache = RenderedTriplets(folder)
        (judged if cache.held_out else learned).append(cache)
    if learned and not judged:
        judged.append(learned[0].set_apart(min(64, max(1, len(learned[0]) // 10))))
    if not sum(map(len, learned)):
        raise ValueError("segmenter learns from data: give --data with rendered triplets (runs/render.py triplets)")
    return learned, judged


def _read(cache: RenderedTriplets, number: int) -> tuple[np.ndarray, np.ndarray]:
    triplet = cache.read(number)
    if triplet.labels is None:
        raise ValueError("segmenter: these triplets have no labels")
    return triplet.frames[1], triplet.labels


def _collate(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
    rgb = np.stack([rgb for rgb, _ in pairs]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return {"rgb": torch.from_numpy(np.ascontiguousarray(rgb)), "labels": torch.from_numpy(np.stack([x for _, x in pairs]).astype(np.int64))}  # fmt: skip
