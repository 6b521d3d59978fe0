"""The recipe of a small generative depth model: noise to depth in one step, on rendered scenes; the sharp teacher of `training.sharp`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keendepth.export import export_onnx
from keendepth.losses.affine import gradient_matching
from keendepth.losses.edge import edge_weighted_l1
from keendepth.nn import checkpoint
from keendepth.nn.diffusion import OneStep, noise_latent
from keendepth.nn.sharpen import ONCE, Generator, Sharpener, SharpenOptions, chosen, difference_map, gated, shrunk
from keendepth.refiners.restore import Space
from keendepth.refiners.sharp_network import GENERATOR as NAME
from keendepth.refiners.sharp_network import SharpFacts, described, small_model
from keendepth.training import register, sharp_judging
from keendepth.training.coarse import CoarseOptions, CoarsePictures
from keendepth.training.config import FitOptions
from keendepth.training.pictures import PictureOptions, Pictures, find, held_out
from keendepth.training.recipe import Batch, Batches, Plan, StepContext
from keendepth.training.runs import CONFIG, STUDENT

EXAMPLE = 2  # size at which the network is traced for ONNX, in its own multiples
CHANCE = 7  # seed of the noise that validation starts from


@dataclass(frozen=True)
class OneStepTraining:
    """Options of the recipe; "Lotus" is its U-Net of Stable Diffusion, the rest is ours."""

    stride: int = 4
    """Side of the blocks of pixels that are a latent (Lotus: 8, by an autoencoder)."""
    channels: tuple[int, ...] = (64, 96, 144, 192)
    """Of the levels of the network, each half the size of the one before: 2.4 million parameters."""
    blocks: int = 1
    """Residual blocks of a level, on the way down and on the way up."""
    fine: int = 0
    """Channels of a level at the full size of the pictures, which sees photo and start pixel by pixel; 0 for none."""
    longest: int = 320
    """The longer side that the network is made for, in pixels (Lotus: 768)."""
    space: Space = "inverse"
    """What becomes -1..1: depth (Lotus v1) or inverse, which leaves room for what is near."""
    tails: float = 0.02
    """Share of the exact depth cut off at each end (Lotus: 0.02)."""
    size: tuple[int, int] = (192, 256)
    """(height, width) of training pictures, multiples of what the network takes (Lotus: 576 and 375 high)."""
    least: float = 0.5
    """A crop has between this share and all of its picture's longer side."""
    condition: float = 0.0
    """Share of the pictures that start from coarse depth instead of noise, and learn to give it the truth's edges (Lotus: 0; ours):
    worn exact depth, and what `metric` says. Such a model is validated as a sharpener, from depth."""
    noised: float = 0.3
    """Chance of those that noise takes the latent's place where start and goal differ, as the gate of `train sharp` has it."""
    metric: str = "indoor-small"
    """Metric model that such pictures start from."""
    asked: float = 0.4
    """Share of those that start from its answer; the others start from worn exact depth."""
    latent: float = 1.0
    """Weight of the squared error of the latent (Lotus: 1; it also makes the picture again, which is left out)."""
    edges: float = 1.0
    """Weight of L1 on the decoded depth, weighted at edges; 0 leaves it out (Lotus has none)."""
    edge_weight: float = 10.0
    """Weight of pixels within 3 of an occlusion there; others weigh 1."""
    matching: float = 0.5
    """Weight of multi-scale gradient matching on the decoded depth; 0 leaves it out (Lotus has none)."""
    validation: int = 48
    """Held-out pictures that are validated on."""


@register(
    NAME,
    summary="small generative depth model that answers in one step, on rendered scenes",
    license="Apache-2.0",
    paper="after Lotus, He et al., ICLR 2025 (arXiv 2409.18124): x0 prediction in one step; network and codec are ours",
)
class OneStepMethod:
    """How the recipe is made from options."""

    options = OneStepTraining

    def recipe(self, options: OneStepTraining) -> OneStepRecipe:
        """The student freshly initialised, without data."""
        return OneStepRecipe(options)

    def plan(self, options: OneStepTraining, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """From scene caches and stores with truth; ValueError for other folders."""
        learned, judged = find(data, options.metric if options.condition > 0 else "", NAME)
        made = PictureOptions(options.size, options.least, options.space, options.tails)
        recipe = OneStepRecipe(options)
        check_size(options.size, recipe.model.multiple, NAME)
        facts = {"pictures": len(learned), "held-out scenes": len(judged)}
        batches: Batches = Pictures(learned, made, fit.batch_size, fit.seed)
        if options.condition > 0:
            batches = CoarsePictures(
                Pictures(learned, made, fit.batch_size, fit.seed), CoarseOptions(options.condition, options.asked)
            )
        return Plan(recipe, batches, held_out(judged, made, options.validation, fit.batch_size), facts)


class OneStepRecipe:
    """Noise and a picture to depth: squared error in the latent, and sharpness asked of the decoded depth."""

    def __init__(self, options: OneStepTraining) -> None:
        self.options = options
        self.model = small_model(options.stride, options.channels, options.blocks, options.longest, options.fine)
        self.student = self.model.denoiser

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Lotus' x0 loss at the last time step, from pure noise; and two losses of ours on the decoded depth."""
        codec, depth, options = self.model.codec, batch["depth"], self.options
        if "coarse" in batch:
            depth = chosen(batch["coarse"], batch["goal"], depth)
        target = codec.depth(depth)
        x = torch.randn(target.shape, generator=context.rng).to(target)
        if "coarse" in batch:
            gate = torch.rand(len(depth), generator=context.rng).to(depth.device) < options.noised
            x = chosen(batch["coarse"], started(batch, codec, x, gate), x)
        latent = self.student(codec.picture(2 * batch["rgb"] - 1), x)
        losses = {"latent": self.options.latent * (latent - target).square().mean()}
        found, everywhere = codec.decode(latent), torch.ones_like(depth, dtype=torch.bool)
        if self.options.edges > 0:
            weight = 1 + (self.options.edge_weight - 1) * batch["edge"].float()
            losses["edges"] = self.options.edges * edge_weighted_l1(found, depth, everywhere, weight)
        if self.options.matching > 0:
            losses["matching"] = self.options.matching * gradient_matching(found, depth, everywhere)
        return losses

    def validate(self, batch: Batch) -> dict[str, float]:
        """AbsRel and boundary F1 after alignment: see `sharp_judging.generated_figures`; with `condition`, as a sharpener from depth."""
        if self.options.condition > 0:
            made = Sharpener(self.model, ONCE)(batch["rgb"], batch["depth"])
            return sharp_judging.sharpened_figures(batch, *made, SharpFacts(self.options.space))
        return sharp_judging.generated_figures(batch, generated(self.model, batch), self.options.space)

    def export(self, path: Path) -> dict[str, Any]:
        """ONNX with inputs rgb and noise [b 1 h w] and output depth in -1..1, of any size in multiples of the network's."""
        side = EXAMPLE * self.model.multiple
        worst = export_onnx(Generator(self.model), path, (side, side), {"rgb": 3, "noise": 1}, ("depth",))
        return {**size_of(self.student, path), "difference": f"{worst:.2g}"}


def generated(model: OneStep, batch: Batch) -> Tensor:
    """One sample for each picture, from noise that is the same at every call."""
    rgb = batch["rgb"]
    noise = torch.randn(batch["depth"].shape, generator=torch.Generator().manual_seed(CHANCE)).to(rgb)
    latent = model.denoiser(model.codec.picture(2 * rgb - 1), noise_latent(noise, model.codec))
    return model.codec.decode(latent)


def started(batch: Batch, codec: Any, noise: Tensor, gate: Tensor) -> Tensor:
    """Latents of coarse depth; for the pictures of `gate`, noised where start and goal differ (SharpDepth Eq. 4)."""
    clean, difference = codec.depth(batch["start"]), difference_map(batch["goal"], batch["start"], SharpenOptions())
    return chosen(gate, gated(clean, noise, shrunk(difference, codec.stride, "area")), clean)


def check_size(size: tuple[int, int], multiple: int, name: str) -> None:
    """ValueError unless the sides of training pictures are what the network takes."""
    if size[0] % multiple or size[1] % multiple:
        raise ValueError(f"{name}.size must be multiples of {multiple}, found {size[0]} x {size[1]}")


def size_of(student: torch.nn.Module, path: Path) -> dict[str, Any]:
    """Facts of an exported network for the report."""
    parameters = sum(value.numel() for value in student.parameters())
    return {"parameters": parameters, "megabytes": round(path.stat().st_size / 1e6, 2)}


def trained_model(folder: Path) -> tuple[OneStep, Space]:
    """The model of a run of this recipe with its averaged weights, and its space; ValueError for another folder."""
    config = folder / CONFIG
    table = tomllib.loads(config.read_text(encoding="utf-8")).get(NAME) if config.is_file() else None
    if table is None or not (folder / STUDENT).is_file():
        raise ValueError(f"{folder}: expected the folder of a run of `keendepth train {NAME}`, with its weights")
    model = described(table)
    checkpoint.fill(model.denoiser, checkpoint.load(folder / STUDENT)[0], str(folder / STUDENT))
    return model, table["space"]
