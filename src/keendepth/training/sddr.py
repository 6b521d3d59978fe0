"""The recipe of SDDR: exact depth of rendered scenes, then gradients at edges and the soft mask, with labels the student makes itself."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from keendepth import predictors
from keendepth.export import export_onnx
from keendepth.losses.affine import gradient_matching, supervised_loss
from keendepth.losses.edge import edge_gradient_loss, edge_weighted_l1, fusion_loss
from keendepth.nn import checkpoint
from keendepth.nn.recovery import recovered
from keendepth.nn.refine_net import DepthOnly, RefineNet, RefineNetOptions, RefineOutput
from keendepth.predictors import Predictor
from keendepth.refiners.sddr import SHIPPED
from keendepth.refiners.torch_network import run
from keendepth.training import judging, register
from keendepth.training.config import FitOptions
from keendepth.training.degrade import Degrade, Mixture
from keendepth.training.labels import LabelOptions, LabelSet, make_labels
from keendepth.training.pairs import PairSet, is_pairs
from keendepth.training.recipe import Batch, Plan, StepContext
from keendepth.training.runs import STUDENT
from keendepth.training.scenes import SceneCache, is_cache
from keendepth.training.views import ViewOptions, Views

EXAMPLE = (128, 192)  # size at which the network is traced for ONNX
UNSHIPPED = ("half_head.", "quarter_head.")  # deep supervision: no file for users has it


@dataclass(frozen=True)
class SddrTraining:
    """Options of the recipe; "paper" is SDDR, the rest is ours."""

    size: str = "small"
    """Of the network: tiny, small or paper."""
    rgb: bool = True
    """Whether the network sees the photo (paper: no)."""
    head: str = "mix"
    """mix: a convex mixture of nearby depth; residual: low + f."""
    samples: int = 8
    """Displaced samples of the mix head."""
    reach: float = 18.0
    """How far these may lie, in pixels."""
    fine: int = 0
    """Channels of a level of the network at full size (mix head only); 0 leaves it out."""
    supervision: Literal["edge_l1", "affine"] = "edge_l1"
    """L_gt: L1 weighted at edges in the low map's units, which keeps them; or the affine-invariant loss (paper)."""
    matching: float = 0.5
    """Weight of multi-scale gradient matching beside edge_l1; the affine loss has its own (paper: 0.5)."""
    gradient: float = 0.5
    """Weight of the edge-guided gradient loss (paper: 0.5); 0 leaves it out."""
    fusion: float = 0.1
    """Weight of the edge-based fusion loss (paper: 0.1); 0 leaves it out."""
    supervised_share: float = 1 / 3
    """Share of the steps with L_gt alone (paper: 1 of 3 epochs)."""
    labels: Literal["both", "exact", "self"] = "both"
    """G_S: exact = grad D* of rendered scenes, the control; self = the student's own, of pairs (paper); both = each where it is at hand."""
    label_form: Literal["gradient", "depth"] = "gradient"
    """What a pseudo-label says: gradients (paper), or depth, the ablation."""
    windows: int = 2
    """S: rounds of coarse-to-fine windows of a pseudo-label (paper: 3)."""
    refresh: int = 2000
    """Steps between two rounds of pseudo-labels with the averaged weights; 0 makes them once."""
    given_labels: str = ""
    """A run whose last pseudo-labels are taken instead of making own ones: seeds and ablations then learn from the same."""
    noise: bool = True
    """Local inconsistency and edge deformation (paper section 3.1) in inputs made from exact depth."""
    guide: float = 0.75
    """Chance that the second map is the weighted median along the photo, as in use; else it is the low one (ours)."""
    crop: tuple[int, int] = (256, 320)
    """(height, width) of training crops."""
    pair_share: float = 0.25
    """Share of the views that are a predictor's own maps, where the data has any."""
    retexture: float = 0.4
    """Share of rendered views whose surfaces are dressed in the photos of the data, where it has any (ours)."""
    start: str = ""
    """Weights to begin with, of the same shape (another head or fine level begins afresh): a run's folder, its student.safetensors, an .onnx
    file of such a run, or "shipped", the refiner that keendepth brings; empty begins afresh."""
    clean: float = 0.08
    """Share of rendered views whose input is perfect."""
    near_clean: float = 0.12
    """Share with an input that is hardly worse."""
    sensor: float = 0.45
    """Share with a small, noisy, holed input, and no second map."""
    predicted: float = 0.35
    """Share with inputs of the paper's noise model."""
    alone: float = 0.35
    """Chance that a predicted input comes without its high map."""
    edge_weight: float = 20.0
    """Weight of pixels within 3 of an occlusion in edge_l1; others weigh 1."""
    validation: int = 48
    """Views that are validated on, from held-out scenes where the data has any, else from scenes set apart."""


@register(
    "sddr",
    summary="refiner of any depth map along its photo: SDDR's losses and pseudo-labels on rendered scenes and unlabelled photos",
    license="Apache-2.0",
    paper="Self-Distilled Depth Refinement with Noisy Poisson Fusion, Li et al., NeurIPS 2024 (arXiv 2409.17880)",
)
class SddrMethod:
    """How the recipe is made from options."""

    options = SddrTraining

    def recipe(self, options: SddrTraining) -> SddrRecipe:
        """The student freshly initialised, without data."""
        return SddrRecipe(options)

    def plan(self, options: SddrTraining, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """From scene caches (`training.scenes`) and stores of low and high maps (`keendepth store`); ValueError for other folders."""
        scenes, held_out, pairs = _sources(data)
        if not held_out and scenes:
            held_out = [scenes[0].set_apart(max(1, len(scenes[0]) // 20))]
        views = Views(scenes, pairs, _view_options(options, fit), fit.batch_size, fit.seed)
        recipe = SddrRecipe(options, views)
        if options.start:
            _begin_with(recipe.student, options.start)
        facts = {
            "rendered scenes": sum(map(len, scenes)), "held-out scenes": sum(map(len, held_out)),
            "pairs with truth": sum(len(p) for p in pairs if p.exact), "photos": sum(len(p) for p in pairs if not p.exact),
        }  # fmt: skip
        judged = ViewOptions(size=options.crop, edge_weight=options.edge_weight)
        return Plan(
            recipe, views, judging.validation_batches(held_out, judged, options.validation, fit.batch_size), facts
        )


def _begin_with(student: RefineNet, start: str) -> None:
    """Weights of a run, of a file, or of the shipped refiner; heads that only training uses begin afresh where the file has none."""
    path = SHIPPED if start == "shipped" else Path(start)
    path = path / STUDENT if path.is_dir() else path
    own = student.state_dict()
    if path.suffix == ".onnx":
        state = {key: own[key] for key in own if key.startswith(UNSHIPPED)} | recovered(student, path, _write)
    else:
        state = checkpoint.load(path)[0]
    for part in ("head.", "fine."):  # another head, or a level more, begins afresh as a whole
        fresh = {key: value for key, value in own.items() if key.startswith(part)}
        found = {key: value.shape for key, value in state.items() if key.startswith(part)}
        if found != {key: value.shape for key, value in fresh.items()}:
            state = {key: value for key, value in state.items() if key not in found} | fresh
    checkpoint.fill(student, state, str(path))


def _sources(data: Sequence[Path]) -> tuple[list[SceneCache], list[SceneCache], list[PairSet]]:
    """(scenes to learn from, held-out scenes, pairs)."""
    caches, pairs = [], []
    for folder in map(Path, data):
        if is_cache(folder):
            caches.append(SceneCache(folder))
        elif is_pairs(folder):
            pairs.append(PairSet(folder))
        else:
            raise ValueError(
                f"--data {folder}: expected a cache of rendered scenes (runs/render.py scenes) or a store with low and high "
                "maps (keendepth store), found neither"
            )
    scenes = [cache for cache in caches if not cache.held_out]
    if not scenes and not pairs:
        raise ValueError("sddr learns from data: give --data with rendered scenes (runs/render.py scenes) or a store")
    return scenes, [cache for cache in caches if cache.held_out], pairs


def _view_options(options: SddrTraining, fit: FitOptions) -> ViewOptions:
    late = round(fit.steps * options.supervised_share) * fit.accumulation
    wanted = options.gradient > 0 or options.fusion > 0
    mixture = Mixture(options.clean, options.near_clean, options.sensor, options.predicted, 0.0)
    return ViewOptions(
        size=options.crop,
        pair_share=options.pair_share,
        retexture=options.retexture,
        degrade=Degrade(mixture, noise=options.noise, alone=options.alone),
        guide=options.guide,
        edge_weight=options.edge_weight,
        labels_from=late if wanted else 2**62,
        scene_labels=options.labels != "self",
        depth_labels=options.label_form == "depth",
    )


class SddrRecipe:
    """What SDDR minimises. Without `views` it can be exported, not trained with pseudo-labels."""

    def __init__(self, options: SddrTraining, views: Views | None = None) -> None:
        self.options, self.views = options, views
        self.student = RefineNet(
            RefineNetOptions(options.size, options.rgb, options.head, options.samples, options.reach, options.fine)
        )
        self.round = 0  # of pseudo-labels; 0: none yet

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """L = L_gt + 0.5 L_grad + 0.1 L_fusion (SDDR Eq. 10), the latter two after the first third of the steps."""
        out = self._run(batch)
        losses = self._supervised(out, batch)
        if context.progress < self.options.supervised_share:
            return losses
        if self.options.gradient > 0 and self.options.label_form == "gradient":
            losses["edges"] = self.options.gradient * edge_gradient_loss(out.depth, batch["label"], batch["regions"])
        if self.options.fusion > 0:
            terms = [
                fusion_loss(omega, batch["label"]) for omega in out.omega[-2:]
            ]  # 1/4 and 1/2, as the released code
            losses["fusion"] = self.options.fusion * torch.stack(terms).mean()
        return losses

    def _run(self, batch: Batch) -> RefineOutput:
        return self.student(batch["low"], batch["high"], batch["rgb"] if self.options.rgb else None)

    def _supervised(self, out: RefineOutput, batch: Batch) -> dict[str, Tensor]:
        """L_gt at full, half and quarter size (deep supervision)."""
        target, valid, maps = batch["target"], batch["valid"], (out.depth, out.half, out.quarter)
        if self.options.supervision == "affine":
            return {"gt": supervised_loss(maps, target, valid)}
        terms = []
        for k, found in enumerate(maps):
            thin = (..., slice(None, None, 2**k), slice(None, None, 2**k))
            terms.append(edge_weighted_l1(found, target[thin], valid[thin], batch["edge_weight"][thin]))
        losses = {"gt": torch.stack(terms).mean()}
        if self.options.matching > 0:
            losses["matching"] = self.options.matching * gradient_matching(out.depth, target, valid)
        return losses

    def validate(self, batch: Batch) -> dict[str, float]:
        """RMSE of nearness over that of the input, AbsRel, boundary F1, and the harm done to perfect depth: see `judging.figures`."""
        return judging.figures(batch, self._run(batch).depth)

    # ---- pseudo-labels

    def start(self, context: StepContext) -> None:
        """A resumed run reads the labels of its last round."""
        if self.round:
            self._read_labels(context.folder)

    def between(self, context: StepContext) -> bool:
        """A new round of labels at the end of the first third, and every `refresh` steps from then on."""
        late = round(context.total * self.options.supervised_share)
        if not self._labelled() or context.step < late:
            return False
        every = self.options.refresh
        due = 1 + ((context.step - late) // every if every else 0)
        if due <= self.round:
            return False
        self.round = due
        self._make_labels(context)
        self._read_labels(context.folder)
        return True

    def _labelled(self) -> bool:
        wanted = self.options.gradient > 0 or self.options.fusion > 0 or self.options.label_form == "depth"
        return wanted and self.options.labels != "exact" and self.views is not None and bool(self._targets())

    def _targets(self) -> list[PairSet]:
        """The pairs that get labels of the student's: photos, and rendered ones too where nothing else labels them."""
        pairs = self.views.pairs if self.views else []
        return [one for one in pairs if self.options.labels == "self" or not one.exact]

    def _make_labels(self, context: StepContext) -> None:
        if self.options.given_labels:
            return
        network = partial(run, context.ema)
        for number, pairs in enumerate(self._targets()):
            make_labels(
                self._folder(context.folder, number), pairs, network, _predictor(pairs.model),
                LabelOptions(self.options.windows), (context.process, context.processes),
            )  # fmt: skip
            while len(LabelSet(self._folder(context.folder, number))) < len(pairs):
                time.sleep(1)  # other processes are at theirs

    def _read_labels(self, folder: Path) -> None:
        if self.views:
            self.views.labels = {
                pairs: LabelSet(self._folder(folder, number)) for number, pairs in enumerate(self._targets())
            }

    def _folder(self, folder: Path, number: int) -> Path:
        """Where the labels of a set of pairs lie; FileNotFoundError for `given_labels` without any."""
        if not self.options.given_labels:
            return folder / "labels" / f"round-{self.round:03d}-{number}"
        rounds = sorted((Path(self.options.given_labels) / "labels").glob(f"round-*-{number}"))
        if not rounds:
            raise FileNotFoundError(
                f"sddr.given_labels: no pseudo-labels of set {number} in {self.options.given_labels}"
            )
        return rounds[-1]

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.round = int(state["round"])

    # ---- shipping

    def export(self, path: Path) -> dict[str, Any]:
        """ONNX with inputs low, high (and rgb) and output depth, any size, and its card (role refiner) beside it."""
        worst = _write(self.student, path)
        parameters = sum(value.numel() for value in self.student.parameters())
        card = _card(self.options, parameters, hashlib.sha256(path.read_bytes()).hexdigest())
        path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        return {
            "parameters": parameters,
            "difference": f"{worst:.2g}",
            "megabytes": round(path.stat().st_size / 1e6, 2),
        }


def _write(student: RefineNet, path: Path) -> float:
    """The student as ONNX; the largest difference from torch."""
    network = DepthOnly(student)
    return export_onnx(network, path, EXAMPLE, network.inputs, ("depth",))


def _predictor(name: str) -> Predictor | None:
    """The predictor of a store where it is at hand, else none: then the photo alone refines the windows of its labels."""
    return predictors.registry.build(name) if name in predictors.registry else None


def _card(options: SddrTraining, parameters: int, sha256: str) -> dict[str, Any]:
    return {
        "name": "sddr",
        "role": "refiner",
        "summary": "small network that sharpens any depth map along its photo; keeps scale and kind",
        "license": "Apache-2.0",
        "paper": "after Self-Distilled Depth Refinement, Li et al., NeurIPS 2024; network and head are ours",
        "trained_on": "rendered rooms, streets and thin things, with predictors' and sensors' errors made up; unlabelled photos where given",
        "fails_on": "edges without contrast in the photo; inputs smaller than a sixteenth of the photo, whose thin things are lost",
        "parameters": parameters,
        "sha256": sha256,
        "notes": f"size {options.size}, head {options.head}, {'with' if options.rgb else 'without'} the photo",
    }
