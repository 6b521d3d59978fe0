"""The recipe of SharpDepth: a generative model learns to sharpen a metric one's depth, from pictures without any truth."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from keendepth.core.monotone import Curve
from keendepth.export import export_onnx
from keendepth.losses.affine import gradient_matching
from keendepth.losses.score import noise_aware_reconstruction, score_distillation
from keendepth.nn import checkpoint
from keendepth.nn.diffusion import OneStep
from keendepth.nn.sharpen import Gate, Sharpener, SharpenOptions, chosen
from keendepth.predictors import one_step
from keendepth.refiners.restore import KEEP, Space
from keendepth.refiners.sharp_network import INPUTS, OUTPUTS, SECTION, SharpFacts, facts_of, small_model
from keendepth.training import register, sharp_judging
from keendepth.training.config import FitOptions
from keendepth.training.onestep import CHANCE, EXAMPLE, check_size, size_of, trained_model
from keendepth.training.pictures import PictureOptions, Pictures, find, held_out
from keendepth.training.precision import DTYPES
from keendepth.training.recipe import Batch, Plan, StepContext


@dataclass(frozen=True)
class SharpTraining:
    """Options of the recipe; "paper" and "code" are SharpDepth's (sharpdepth.md 5), which differ, the rest is ours."""

    generator: str = ""
    """Run of `train onestep` that student and teacher begin as; empty begins afresh, which only tests want."""
    checkpoint: str = ""
    """Instead: hub id or folder of Lotus G (paper, code: jingheya/lotus-depth-g-v1-0) or Marigold."""
    teacher: str = ""
    """Another frozen generative teacher, as a run or a checkpoint of the same latents; empty: what the student begins as (paper, code)."""
    metric: str = "indoor-small"
    """Frozen metric teacher that is asked about rendered scenes (paper, code: UniDepth v1); stores hold its answers already."""
    kinds: tuple[str, ...] = ()
    """Kinds of rendered scenes that are learned from, judged by and calibrated on: those that the metric teacher knows; empty: all (ours)."""
    space: Space = "inverse"
    """What becomes -1..1, as the generator has it: depth (paper, code) or inverse."""
    align: Literal["none", "minmax", "lstsq", "quantile"] = "none"
    """What brings the generated map to the metric one before they are compared (paper: to its range; code: none)."""
    peak: float = 1.0
    """Quantile of their difference that becomes 1 (paper, code: 1, the largest)."""
    down: Literal["nearest", "area", "max"] = "nearest"
    """How the difference gets to the latents' size (code: nearest)."""
    gate: Literal["code", "paper", "clean"] = "code"
    """What noise takes the latent's place: the noised first answer (code), noise alone (paper), or nothing (ablation)."""
    start: Literal["noise", "depth"] = "noise"
    """What the first answer starts from: noise (paper, code), or the metric depth (ours; the generator must know it, by `condition`)."""
    along: bool = False
    """Whether the metric depth is put along the photo by a weighted median before it is sharpened (ours, for `start = "depth"`); the
    difference is then that to the metric depth itself."""
    bounds: tuple[float, float] = KEEP
    """Where the metric depth is kept in use: differences up to the first leave it alone, from the second the answer is taken whole (ours)."""
    whole: float = 0.0
    """The difference that becomes 1 (ours), of 2 between nearest and farthest; 0: the largest of the picture (paper, code)."""
    answer: Literal["student", "depth", "refiner"] = "student"
    """What the teacher of the score is shown: the student's latent, noised (paper, code), or the metric depth's as it is (ours);
    or `refiner` answers in its place (ours)."""
    refiner: str = "sddr"
    """What sharpens the metric depth for `answer = "refiner"`; it needs no generative model, and its answer can be learned to the edge."""
    matching: float = 0.0
    """Weight of multi-scale gradient matching with the teacher's answer (ours), which a small network needs for thin edges; 0 leaves it out."""
    answers: int = 1
    """How many times over the teacher sharpens `depth`, each time its own answer (ours): the student learns to do it at once."""
    first: Literal["ema", "student", "teacher"] = "ema"
    """Who gives the first answer: the averaged student (paper, code), the student itself, or the frozen teacher (ablation)."""
    pure: float = 0.2
    """Chance of a picture that the student sees pure noise instead (code: 0.2; not in the paper); 1 is the ablation "noise only"."""
    sds: float = 1.0
    """Weight of score distillation (paper, code: 1); 0 leaves it out."""
    reconstruction: float = 0.3
    """Weight of the noise-aware reconstruction (paper: 0.3; train.sh: 0.4; the code's default: 0.2); 0 leaves it out."""
    size: tuple[int, int] = (192, 256)
    """(height, width) of training pictures, multiples of what the network takes (neither says)."""
    least: float = 0.5
    """A crop has between this share and all of its picture's longer side (code: whole pictures)."""
    stride: int = 4
    """Of our own network, as the generator has it: side of the blocks that are a latent (paper, code: 8, by an autoencoder)."""
    channels: tuple[int, ...] = (64, 96, 144, 192)
    """Of our own network, as the generator has it."""
    blocks: int = 1
    """Of our own network, as the generator has it."""
    fine: int = 0
    """Of our own network, as the generator has it."""
    longest: int = 320
    """Of our own network, as the generator has it (code: 768 in the demo, 1024 in the benchmark)."""
    validation: int = 48
    """Held-out pictures that are validated on."""


@register(
    SECTION,
    summary="generative sharpener of metric depth: distilled from a metric and a generative model on unlabelled pictures",
    license="Apache-2.0",
    paper="SharpDepth, Pham et al., CVPR 2025 (arXiv 2411.18229)",
)
class SharpMethod:
    """How the recipe is made from options."""

    options = SharpTraining

    def recipe(self, options: SharpTraining) -> SharpRecipe:
        """The student freshly initialised, or of the checkpoint; without data and without a teacher."""
        return SharpRecipe(options)

    def plan(self, options: SharpTraining, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """From scene caches and stores of a metric model (`keendepth store`); ValueError for other folders."""
        asked = options.refiner if options.answer == "refiner" else ""
        learned, judged = find(data, options.metric, SECTION, options.along, asked, options.kinds)
        made = PictureOptions(options.size, options.least, options.space)
        recipe = SharpRecipe(options, fit.amp)
        check_size(options.size, recipe.model.multiple, SECTION)
        recipe.begin()
        recipe.judged = held_out(judged, made, options.validation, fit.batch_size)
        facts = {"pictures": len(learned), "held-out scenes": len(judged), "metric teacher": options.metric}
        return Plan(recipe, Pictures(learned, made, fit.batch_size, fit.seed), recipe.judged, facts)


class SharpRecipe:
    """What SharpDepth minimises. Before `begin` it can be exported, not trained."""

    def __init__(self, options: SharpTraining, amp: str = "no") -> None:
        if options.generator and options.checkpoint:
            raise ValueError("sharp: give generator (a run of yours) or checkpoint (of the hub), not both")
        self.options, self.amp = options, amp
        self.model = own_model(options)
        self.student = self.model.denoiser.requires_grad_(True)
        self.teacher: nn.Module = self.student
        self.judged: list[dict[str, Tensor]] = []
        self._gate = Gate(self.model.codec, self.model.schedule, sharpen_options(options))

    def begin(self) -> None:
        """Fill the student from the generator and freeze a teacher. ValueError where these do not fit each other."""
        if self.options.generator:
            source, space = trained_model(Path(self.options.generator))
            if space != self.options.space:
                raise ValueError(
                    f"sharp.space is {self.options.space}, the generator was trained on {space}: set space={space}"
                )
            checkpoint.fill(self.student, source.denoiser.state_dict(), f"sharp.generator {self.options.generator}")
        own = other_model(self.options.teacher).denoiser if self.options.teacher else copy.deepcopy(self.student)
        self.teacher = own.eval().requires_grad_(False)

    def start(self, context: StepContext) -> None:
        """The frozen networks go where the student is."""
        self.teacher.to(context.device)
        self.model.codec.to(context.device)

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """lambda_SDS L_SDS + lambda_rec L_rec (SharpDepth Eq. 5, 6), the student's input gated by the difference map (Eq. 4)."""
        options, codec, depth = self.options, self.model.codec, batch["depth"]
        with torch.no_grad(), self._lowered(context.device):
            picture = codec.picture(2 * batch["rgb"] - 1)
            x, difference = self._input(picture, depth, context)
        latent = self.student(picture.float(), x)
        losses = {}
        if options.matching > 0 or options.reconstruction > 0:
            found = codec.decode(latent)
        if options.sds > 0 or options.matching > 0:
            answer = self._answer(picture, latent.detach(), batch, context)
        if options.sds > 0:
            losses["sds"] = options.sds * score_distillation(latent, answer, self.model.schedule.alpha_bar)
        if options.matching > 0:
            everywhere = torch.ones_like(found, dtype=torch.bool)
            losses["matching"] = options.matching * gradient_matching(found, codec.decode(answer), everywhere)
        if options.reconstruction > 0:
            losses["reconstruction"] = options.reconstruction * noise_aware_reconstruction(found, depth, difference)
        return losses

    def _input(self, picture: Tensor, depth: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
        """(what the student sees in place of the depth latent, difference map)."""
        like = self.model.codec.depth(depth)
        first = {"ema": context.ema, "student": self.student, "teacher": self.teacher}[self.options.first]
        start, fresh, pure = (_noise(like, context) for _ in range(3))
        begun = like if self.options.start == "depth" else start
        x, difference = self._gate(first(picture, begun).float(), depth, fresh)
        which = torch.rand(len(depth), generator=context.rng).to(depth.device) < self.options.pure
        return chosen(which, pure, x.float()), difference.float()

    def _answer(self, picture: Tensor, latent: Tensor, batch: Batch, context: StepContext) -> Tensor:
        """x0 of the frozen teacher for the student's latent, noised; or for the metric depth's; or what a refiner said."""
        if self.options.answer == "refiner":
            return self.model.codec.depth(batch["refined"])
        with torch.no_grad(), self._lowered(context.device):
            if self.options.answer == "depth":
                found = self.model.codec.depth(batch["depth"])
                for _ in range(self.options.answers):
                    found = self.teacher(picture, found)
                return found.float()
            return self.teacher(picture, self.model.schedule.noised(latent, _noise(latent, context))).float()

    def _lowered(self, device: torch.device) -> AbstractContextManager[Any]:
        """The frozen networks run in the student's precision: nothing is learned from their last digits."""
        return torch.autocast(device.type, DTYPES.get(self.amp), enabled=self.amp != "no")

    def validate(self, batch: Batch) -> dict[str, float]:
        """Errors at edges over the metric teacher's, AbsRel, boundary F1: see `sharp_judging.sharpened_figures`."""
        return sharp_judging.sharpened_figures(batch, *self._sharpened(batch), self._use)

    @property
    def _use(self) -> SharpFacts:
        return facts_of(asdict(self.options), self.model.multiple)

    def _sharpened(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(depth in -1..1, difference) of a batch, from noise that is the same at every call."""
        rgb, depth = batch["rgb"], batch["depth"]
        noise = torch.randn((len(rgb), 2, *rgb.shape[2:]), generator=torch.Generator().manual_seed(CHANCE)).to(rgb)
        return self._network()(rgb, depth, noise)

    def _network(self) -> Sharpener:
        return Sharpener(self.model, self._gate.options)

    # ---- shipping

    def export(self, path: Path) -> dict[str, Any]:
        """ONNX with inputs rgb, depth, noise and outputs sharp and difference, and its card with the curve of expected errors.

        A network of the hub's size and quantiles are not exported: the run's folder is run by torch then, and the facts say so.
        """
        if self.options.checkpoint or self.options.align == "quantile" or self.options.peak < 1:
            return {"no ONNX": "networks of the hub and quantiles stay in torch; sharp:RUN uses the folder itself"}
        side = EXAMPLE * self.model.multiple
        inputs = {name: n for name, n in INPUTS.items() if name != "noise" or not self._gate.options.once}
        worst = export_onnx(self._network(), path, (side, side), inputs, OUTPUTS)
        facts = size_of(self.student, path)
        device = next(self.student.parameters()).device
        with torch.no_grad():
            here = [{name: value.to(device) for name, value in batch.items()} for batch in self.judged]
            curve = sharp_judging.error_curve(((one, *self._sharpened(one)) for one in here), self._use)
        card = _card(self.options, self.model.multiple, curve, facts["parameters"], path)
        path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        return {**facts, "difference": f"{worst:.2g}"}


def sharpen_options(options: SharpTraining) -> SharpenOptions:
    """The part of the options that is needed to run the network."""
    return SharpenOptions(**{entry.name: getattr(options, entry.name) for entry in fields(SharpenOptions)})


def own_model(options: SharpTraining) -> OneStep:
    """What the student is: of the checkpoint, with its weights; or our own network, fresh."""
    if options.checkpoint:
        return one_step.load(options.checkpoint)
    return small_model(options.stride, options.channels, options.blocks, options.longest, options.fine)


def other_model(place: str) -> OneStep:
    """A run of `train onestep`, or a checkpoint of the hub."""
    return trained_model(Path(place))[0] if (Path(place) / "config.toml").is_file() else one_step.load(place)


def _noise(like: Tensor, context: StepContext) -> Tensor:
    return torch.randn(like.shape, generator=context.rng).to(device=like.device, dtype=torch.float32)


def _card(options: SharpTraining, multiple: int, curve: Curve | None, parameters: int, path: Path) -> dict[str, Any]:
    if options.answer == "refiner":
        summary, teacher = (
            "sharpens metric depth in one step, and says how far off it expects to be",
            f"the refiner {options.refiner}",
        )
    else:
        summary, teacher = (
            "one-step generative sharpener of metric depth; leaves alone what both models agree on",
            "a generative model of rendered scenes",
        )
    return {
        "name": "sharp",
        "role": "refiner",
        "summary": summary,
        "license": "Apache-2.0",
        "paper": "after SharpDepth, Pham et al., CVPR 2025; network, codec and residual restoring are ours",
        "trained_on": f"pictures without depth, distilled from {options.metric} and {teacher}",
        "fails_on": "what the metric model gets wrong as a whole; scenes unlike the rendered ones",
        "parameters": parameters,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        SECTION: facts_of(asdict(options), multiple, curve).to_dict() | asdict(sharpen_options(options)),
    }
