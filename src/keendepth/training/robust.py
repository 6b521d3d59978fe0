"""The recipe of robust fine-tuning: a network learns to say of a picture's perturbed twin what it said of the clean picture."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from keendepth.data import corruptions
from keendepth.export import export_onnx
from keendepth.losses.affine import gradient_matching
from keendepth.losses.graph import GraphDistillation, GraphOptions
from keendepth.nn.exposure import EvenExposure, layers_before
from keendepth.nn.quiet import QuietNoise
from keendepth.nn.retinex import OPERATIONS, ROBUST, Perturbation, perturb
from keendepth.nn.teachers import Teacher, load_teacher
from keendepth.predictors import WEIGHTS
from keendepth.predictors.card import ModelCard
from keendepth.training import register
from keendepth.training.config import FitOptions
from keendepth.training.precision import DTYPES
from keendepth.training.recipe import Batch, Plan, StepContext
from keendepth.training.students import FilmDepth, MobileDepth, load_student
from keendepth.training.twins import TwinOptions, Twins, find, held_out

NAME = "robust"
Network = TypeVar("Network", MobileDepth, FilmDepth)
FLOOR = 0.1  # metres added before the logarithm: the network may say 0
CHANCE = 11  # seed of the twins that validation sees
LEVELS = 255


@dataclass(frozen=True)
class RobustTraining:
    """Options of the recipe; all defaults are ours."""

    model: str = "indoor-small"
    """What is made robust: the name of a shipped network of FastDepth's family, its .onnx file with the card beside it, or the model.onnx
    of a run of `train scent`."""
    even: bool = False
    """Whether the student first evens exposure and contrast (`nn.exposure`); the teacher never does."""
    quiet: bool = False
    """Whether what ships then takes out fine noise that is stronger than photographs have (`nn.quiet`). The student learns without it:
    behind it there is less to bear, and it bears less (docs/decisions.md)."""
    mix: float = 1.0
    """Share of the fine-tuned weights in what ships, beside the weights that training began with (WiSE-FT: 0.5); between the two
    lies less harm to clean pictures."""
    operations: tuple[str, ...] = OPERATIONS
    """Perturbations in use, of `nn.retinex`; none of them is a corruption that tests."""
    clean_share: float = 0.25
    """Share of pictures that the student sees as they are, so that it keeps what it knows."""
    consistency: float = 1.0
    """Weight of |log depth of the twin - log depth that the teacher saw in the clean picture|."""
    clean: float = 1.0
    """Weight of the same for the pictures that stay as they are."""
    matching: float = 0.5
    """Weight of multi-scale gradient matching of both, which keeps edges sharp."""
    graph: float = 0.05
    """Weight of graph distillation from the teacher's features of the clean picture; 0 leaves it out."""
    distil: Literal["feature", "graph", "shuffled"] = "graph"
    """What is learned from them: each place by itself, the graph of their relations, or that of another picture (control)."""
    teacher: str = ""
    """Whose features: see `nn.teachers`; empty: those of the network itself before training."""
    block: int = -1
    """Encoder block that learns from the teacher (FastDepth: 0 to 12, of which 4 to 10 are at 1/16 of the size; a network of film: 0 to 3);
    -1: 10, or 2."""
    truth: float = 0.0
    """Weight of the same error against exact depth, for rendered pictures; 0: the teacher alone says what is right."""
    adversarial: float = 0.0
    """Step of an adversarial perturbation along the gradient's sign, in levels of 255, for `adversarial_share`; 0: none."""
    adversarial_share: float = 0.25
    """Share of pictures that get it, on top of the others."""
    photo_share: float = 0.5
    """Share of pictures that are photos, where there are rendered ones too."""
    least: float = 0.6
    """A crop has between this share and all of the largest window of the network's shape."""
    size: tuple[int, int] = (0, 0)
    """(height, width) that the network sees, multiples of its stride; (0, 0): its own."""
    validation: int = 32
    """Held-out rendered pictures that are validated on."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"{NAME}.operations: expected some of {', '.join(OPERATIONS)}, found {', '.join(unknown)}")
        if not 0 <= self.mix <= 1:
            raise ValueError(f"{NAME}.mix must be within 0 and 1, found {self.mix:g}")


@register(
    NAME,
    summary="fine-tunes a small depth network to bear night, fog, noise and blur: teacher sees clean pictures, student their twins",
    license="Apache-2.0",
    paper="after Scent-Depth, Chen et al., ACCV 2024 (arXiv 2410.06982); losses and perturbations are ours",
)
class RobustMethod:
    """How the recipe is made from options."""

    options = RobustTraining

    def recipe(self, options: RobustTraining) -> RobustRecipe:
        """The student as the model that it begins from, without data."""
        return RobustRecipe(options)

    def plan(self, options: RobustTraining, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """From folders of photos and caches of rendered scenes; ValueError where there is nothing to learn from."""
        recipe = RobustRecipe(options, fit.amp)
        rule = recipe.source.input
        made = TwinOptions(recipe.size, rule.pixel_aspect, rule.focal, options.least, options.photo_share)
        learned, judged = find(data, made)
        facts = {
            "photos": len(learned.photos), "rendered scenes": len(learned.scenes), "held-out scenes": len(judged.scenes),
            "training operations": list(options.operations), "overlap with test corruptions": overlap(options.operations),
        }  # fmt: skip
        batches = Twins(learned, made, fit.batch_size, fit.seed)
        return Plan(recipe, batches, held_out(judged, made, options.validation, fit.batch_size), facts)


class Answer(NamedTuple):
    """What a network makes of pictures."""

    depth: Float[Tensor, "b 1 h w"]
    features: Float[Tensor, "b c h2 w2"]


class Student(nn.Module):
    """The network, which ships, and the heads of distillation, which do not."""

    def __init__(self, network: MobileDepth | FilmDepth, block: int, graph: GraphDistillation | None) -> None:
        super().__init__()
        self.network, self.block, self.graph = network, block, graph

    def forward(self, rgb: Float[Tensor, "b 3 h w"]) -> Answer:
        return Answer(*self.network.with_features(rgb, self.block))


class RobustRecipe:
    """What robust fine-tuning minimises."""

    def __init__(self, options: RobustTraining, amp: str = "no") -> None:
        self.options, self.amp = options, amp
        path = model_file(options.model)
        self.source = ModelCard.read(path.with_suffix(".json"))
        network = load_student(path)
        self.size = size_for(options.size, self.source)
        self.block = network.usual if options.block < 0 else options.block
        self.expert: Teacher | None = None
        self.student = Student(network, self.block, self._heads(network))
        self.teacher = Student(copy.deepcopy(network), self.block, None).eval().requires_grad_(False)
        there = {type(layer) for layer in network.before}
        self.even, self.quiet = options.even or EvenExposure in there, options.quiet or QuietNoise in there
        network.before = layers_before(self.even, False)
        self.chances = chances(options.operations)

    def _heads(self, network: MobileDepth | FilmDepth) -> GraphDistillation | None:
        """The learned heads, for maps as large as the network's are for training pictures."""
        options = self.options
        if options.graph <= 0:
            return None
        with torch.no_grad():
            _, c, h, w = network.with_features(torch.zeros(1, 3, *self.size), self.block)[1].shape
        if options.teacher:
            self.expert = load_teacher(options.teacher)
        heads = GraphOptions(feature=options.distil == "feature", shuffled=options.distil == "shuffled")
        return GraphDistillation(c, self.expert.channels if self.expert else c, (h, w), heads)

    def start(self, context: StepContext) -> None:
        """The teachers go where the student is."""
        self.teacher.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.expert:
            self.expert.to(context.device)

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Weighted errors of log depth against the teacher's answer to the clean picture, on twins and on pictures left as they are."""
        options, rgb = self.options, batch["rgb"]
        rng = context.rng
        stays = torch.rand(len(rgb), generator=rng).to(rgb.device) < options.clean_share
        with torch.no_grad():
            answer = self._asked(rgb, context.device)
            target = logarithm(self._thinned(answer.depth.float()))
            twin = torch.where(stays[:, None, None, None], rgb, perturb(rgb, rng, self.chances))
        if options.adversarial > 0:
            twin = self._adversarial(twin, target, stays, rng)
        seen = self.student(twin)
        found = logarithm(self._thinned(seen.depth))
        losses: dict[str, Tensor] = {}
        error = (found - target).abs().flatten(1).mean(1)
        losses["consistency"] = options.consistency * _mean_of(error, ~stays)
        losses["clean"] = options.clean * _mean_of(error, stays)
        if options.matching > 0:
            everywhere = torch.ones_like(found, dtype=torch.bool)
            losses["matching"] = options.matching * gradient_matching(found, target, everywhere)
        if options.truth > 0:
            exact = self._thinned(batch["truth"])
            known = torch.isfinite(exact)
            wrong = torch.where(known, (found - logarithm(exact)).abs(), 0.0)
            losses["truth"] = options.truth * wrong.sum() / known.sum().clamp(min=1)
        if self.student.graph is not None:
            known_by = self.expert.features(rgb) if self.expert else answer.features
            losses["graph"] = options.graph * self.student.graph(seen.features, known_by)[0]
        return losses

    def _thinned(self, depth: Float[Tensor, "b 1 _h _w"]) -> Float[Tensor, "b 1 _h2 _w2"]:
        """One value for each that the network gives: FastDepth repeats its own on 2 x 2 pixels."""
        every = self.source.output.repeat
        return depth[..., ::every, ::every]

    def _asked(self, rgb: Tensor, device: torch.device) -> Answer:
        """What the teacher makes of clean pictures."""
        with torch.autocast(device.type, DTYPES.get(self.amp), enabled=self.amp != "no"):
            return self.teacher(rgb)

    def _adversarial(self, twin: Tensor, target: Tensor, stays: Tensor, rng: torch.Generator) -> Tensor:
        """A step that makes the error larger, from a random point, for a share of the pictures that do not stay."""
        options = self.options
        drawn = torch.rand(len(twin), generator=rng).to(twin.device) < options.adversarial_share / max(
            1 - options.clean_share, 1e-6
        )
        where = (drawn & ~stays).nonzero()[:, 0]
        if not len(where):
            return twin
        step = options.adversarial / LEVELS * torch.rand((len(where), 1, 1, 1), generator=rng).to(twin.device)
        given = twin[where].requires_grad_(True)
        error = (logarithm(self._thinned(self.student(given).depth)) - target[where]).abs().mean()
        (slope,) = torch.autograd.grad(error, given)
        return twin.index_put((where,), (given + step * slope.sign()).clamp(0, 1).detach())

    def validate(self, batch: Batch) -> dict[str, float]:
        """AbsRel of twins against the truth of rendered scenes, of clean pictures, and how far clean answers moved from the teacher's."""
        rgb = batch["rgb"]
        twin = perturb(rgb, torch.Generator().manual_seed(CHANCE), self.chances)
        shipped = self.shipped()
        clean, spoilt = (self._thinned(shipped(x)) for x in (rgb, twin))
        before = self._thinned(self.teacher(rgb).depth)
        truth = self._thinned(batch["truth"])
        return {
            "twin_abs_rel": _abs_rel(spoilt, truth), "twin_before": _abs_rel(self._thinned(self.teacher(twin).depth), truth),
            "clean_abs_rel": _abs_rel(clean, truth), "clean_before": _abs_rel(before, truth),
            "moved": float((clean - before).abs().div(before + FLOOR).mean()),
        }  # fmt: skip

    def shipped(self) -> MobileDepth | FilmDepth:
        """A copy of the student as it would ship now."""
        made = copy.deepcopy(mixed(self.teacher.network, self.student.network, self.options.mix))
        made.before = layers_before(self.even, self.quiet)
        return made

    def export(self, path: Path) -> dict[str, Any]:
        """ONNX of the plain network with any batch and size, and its card: that of the model it began from, and what changed."""
        worst = export_onnx(self.shipped().plain(), path, self.size)
        content = self.source.to_dict() | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        content |= card_changes(self.source, self.options)
        path.with_suffix(".json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return {"parameters": self.source.card.parameters, "difference": f"{worst:.2g}"}


def card_changes(source: ModelCard, options: RobustTraining) -> dict[str, Any]:
    """What the card of a robust model says besides its source's."""
    overlapping = overlap(options.operations)
    return {
        "summary": f"{source.card.summary}; fine-tuned to bear night, fog, noise and blur",
        "trained_on": f"{source.card.trained_on}; then photos without depth and rendered scenes, perturbed, with its own clean answers as labels",
        "notes": f"Robust fine-tuning of {source.card.name}: {', '.join(options.operations)}; operations shared with the "
        f"corruptions that test: {', '.join(overlapping) or 'none'}.{_parts(options)} Before it: {source.notes}",
    }


def _parts(options: RobustTraining) -> str:
    """What else was done, in words."""
    even = (
        " It first evens exposure and contrast of pictures that are darker, brighter or flatter than most."
        if options.even
        else ""
    )
    quiet = " It takes out fine noise that is stronger than nine photographs of ten have." if options.quiet else ""
    mix = (
        "" if options.mix == 1 else f" Its weights are {options.mix:g} of the trained ones, the rest of the first ones."
    )
    truth = f" Exact depth of rendered pictures taught it too (weight {options.truth:g})." if options.truth > 0 else ""
    return even + quiet + mix + truth


def mixed(before: Network, after: Network, share: float) -> Network:
    """`after` with each weight the mean of both, `share` of its own (WiSE-FT, Wortsman et al., CVPR 2022); itself for a share of 1."""
    if share == 1:
        return after
    found = copy.deepcopy(after)
    with torch.no_grad():
        for own, other in zip(found.parameters(), before.parameters(), strict=True):
            own.lerp_(other.to(own.device), 1 - share)
    return found


def overlap(operations: Sequence[str]) -> list[str]:
    """Training operations that are test corruptions too, by name. What each does is stated in `nn.retinex`, and is none of them either."""
    return sorted(set(operations) & (set(corruptions.CORRUPTIONS) | set(corruptions.ALIASES)))


def model_file(name: str) -> Path:
    """The .onnx file of a shipped model, or the path itself. ValueError for what is neither."""
    path = Path(name) if name.endswith(".onnx") else WEIGHTS / f"{name}.onnx"
    if not path.is_file() or not path.with_suffix(".json").is_file():
        raise ValueError(
            f"{NAME}.model: expected a shipped network such as indoor-small, or an .onnx file with its card, found {name!r}"
        )
    return path


def chances(operations: Sequence[str]) -> Perturbation:
    """`nn.retinex.ROBUST` with every other operation left out."""
    off = {field.name: 0.0 for field in fields(Perturbation) if field.name not in operations}
    return replace(ROBUST, **off)


def size_for(asked: tuple[int, int], source: ModelCard) -> tuple[int, int]:
    """The size of training pictures. ValueError where the network has no such size."""
    native, stride = source.card.native_size, max(source.input.stride, 1)
    size = asked if any(asked) or native is None else native
    if min(size) < 1 or size[0] % stride or size[1] % stride:
        raise ValueError(
            f"{NAME}.size: expected multiples of {stride}, as {source.card.name} takes, found {size[0]} x {size[1]}"
        )
    return size


def logarithm(depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """log(depth + 0.1 m); NaN stays."""
    return torch.log(depth + FLOOR)


def _mean_of(values: Float[Tensor, " b"], chosen: Tensor) -> Float[Tensor, ""]:
    """Sum over the chosen, over all: a batch weighs each picture alike, whatever the draw."""
    return (values * chosen).sum() / len(values)


def _abs_rel(depth: Tensor, truth: Tensor) -> float:
    known = torch.isfinite(truth)
    return float(((depth - truth).abs() / truth)[known].mean()) if known.any() else float("nan")
