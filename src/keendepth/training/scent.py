"""The recipe of Scent-Depth: depth from film without truth, made robust by a texture-perturbed twin and by a semantic teacher's graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from keendepth.core.types import DepthKind
from keendepth.export import export_onnx
from keendepth.losses import photometric
from keendepth.nn import checkpoint, warp
from keendepth.nn.depth_net import DepthNet, DepthOnly
from keendepth.training import register, scent_judging
from keendepth.training.alignment import aligned
from keendepth.training.config import FitOptions
from keendepth.training.footage import find
from keendepth.training.frames import FrameOptions, Frames, held_out
from keendepth.training.onestep import check_size, size_of
from keendepth.training.recipe import Batch, Plan, StepContext
from keendepth.training.reprojection import Rules, Target
from keendepth.training.scent_teaching import Teaching, graph_of
from keendepth.training.trainee import Seen, Trainee

NAME = "scent"
WEIGHTS = "depth.safetensors"  # the plain network, beside the ONNX file
EXAMPLE = 4  # size at which the network is traced for ONNX, in its strides


@dataclass(frozen=True)
class ScentOptions:
    """Options of the recipe. "monodepth2" is its paper and code; of Scent-Depth's own weights nothing is published, so they are ours."""

    size: tuple[int, int] = (64, 128)
    """(height, width) of training pictures (monodepth2: 192, 640)."""
    channels: tuple[int, ...] = (16, 32, 64, 96)
    """Of the encoder, each map half the size of the one before (monodepth2: ResNet18, 64 to 512)."""
    d_min: float = 1.0
    """Nearest depth in metres (monodepth2: 0.1); a tight one leaves the sigmoid its range."""
    d_max: float = 80.0
    """Farthest depth in metres (monodepth2: 100)."""
    scales: int = 3
    """Sizes that depth is learned at (monodepth2: 4)."""
    even: bool = False
    """Whether the network first evens exposure and contrast of unusual pictures (`nn.exposure`; ours)."""
    quiet: bool = False
    """Whether it then takes out fine noise that is stronger than photographs have (`nn.quiet`; ours)."""
    poses: Literal["known", "net", "warmup"] = "known"
    """Where motion comes from: the data; a network (monodepth2); or the data first, while the network learns it, then the network."""
    warmup_share: float = 0.3
    """Of the run, for poses = warmup."""
    velocity: float = 0.0
    """Weight of | |t| - |t of the data| | where a network gives the motion: metres from a speedometer (md4all: 0.02)."""
    align_from: float = 1.0
    """Share of the run after which a network's motion is made exact by direct alignment with the present depth (DDVO, Wang et al., CVPR 2018);
    1: never. With `velocity` its length is then the data's."""
    geometry: float = 0.0
    """Weight of the frames' depths agreeing with each other (SC-SfMLearner: 0.5); doubles the work of the depth network."""
    smooth: float = 1e-3
    """Weight of smoothness, halved at each smaller scale (monodepth2: 1e-3)."""
    auto_mask: bool = True
    """Whether pixels that a source explains as it is teach nothing (monodepth2)."""
    inside: bool = True
    """Whether what leaves a source's view is left out there (monodepth2 repeats the border instead)."""
    jitter: float = 0.2
    """Strength of colour jitter on what the networks see (monodepth2: 0.2); 0 leaves it out."""
    flip: float = 0.5
    """Chance that a triplet is mirrored (monodepth2)."""
    twin: float = 0.0
    """Weight of the losses of the texture-perturbed twin, whose supervision stays clean; 0 leaves it out."""
    twin_from: float = 0.0
    """Share of the run after which the twin joins."""
    twin_share: float = 0.0
    """Share of pictures that depth sees as their twin alone, at no cost in time; the frames it must explain stay clean (ours)."""
    twin_operations: tuple[str, ...] = ("illumination", "suppression", "foreign", "missing")
    """What perturbs twins: see `nn.retinex.Perturbation`; each happens to half the pictures."""
    consistency: float = 0.1
    """Weight of the twin's log-depth against the clean one's, where there is a twin."""
    distil: Literal["none", "feature", "graph", "shuffled"] = "none"
    """What is learned from the semantic teacher: nothing; its features; the graph of their relations; that of another picture (control)."""
    distil_weight: float = 0.05
    """Weight of what is learned from the teacher."""
    node: float = 0.0
    """Weight, within that, of the node loss of the graph beside its edge loss."""
    bias: bool = True
    """Whether both graphs share a learned topology."""
    teacher: str = ""
    """The semantic teacher: see `nn.teachers`."""
    teacher_channels: int = 64
    """Channels of the teacher's map, for distil = feature."""
    stage: int = 2
    """Number, from 0, of the encoder's map that learns from the teacher: 2 is at 1/8 of the size."""
    ramp: float = 0.1
    """Share of the run in which the weights of consistency and teacher grow from 0."""
    gap: int = 1
    """Frames from the middle one to its neighbours, of film that is not rendered: 3 for 30 pictures a second (monodepth2: KITTI's 10, 1)."""
    listing: str = ""
    """Text file of the frames to learn from, for KITTI's raw layout (monodepth2: splits/eigen_zhou/train_files.txt)."""
    validation: int = 64
    """Held-out triplets that are validated on."""


@register(
    NAME,
    summary="self-supervised depth from film, robust by texture-perturbed twins and a semantic teacher's graph",
    license="Apache-2.0",
    paper="after Scent-Depth, Chen et al., ACCV 2024 (arXiv 2410.06982), whose body is not public: see docs/scent.md for what is ours",
)
class ScentMethod:
    """How the recipe is made from options."""

    options = ScentOptions

    def recipe(self, options: ScentOptions) -> ScentRecipe:
        """The student freshly initialised, without data and without a teacher."""
        return ScentRecipe(options)

    def plan(self, options: ScentOptions, fit: FitOptions, data: Sequence[Path]) -> Plan:
        """From caches of rendered triplets, sequence folders and KITTI's raw layout; ValueError for other folders."""
        check_size(options.size, 2 ** len(options.channels), NAME)
        learned, judged = find(data, options.size, options.gap, options.listing)
        if not learned.posed and (options.poses != "net" or options.velocity > 0):
            raise ValueError(
                "scent: some of the data have no motion: give --set poses=net and --set velocity=0, or poses with the frames"
            )
        recipe = ScentRecipe(options)
        recipe.teaching.load()
        batches = Frames(learned, FrameOptions(options.jitter, flip=options.flip), fit.batch_size, fit.seed)
        facts = {"triplets": len(learned), "held-out triplets": len(judged), **recipe.teaching.facts()}
        return Plan(recipe, batches, held_out(judged, options.validation, fit.batch_size), facts)


class ScentRecipe:
    """What Scent-Depth minimises: section 3 of the specification."""

    def __init__(self, options: ScentOptions) -> None:
        self.options = options
        self.rules = Rules(options.smooth, options.auto_mask, options.inside)
        depth = DepthNet(options.channels, options.d_min, options.d_max, options.scales, options.even, options.quiet)
        self.student = Trainee(depth, options.poses != "known", graph_of(options))
        self.teaching = Teaching(options)

    def start(self, context: StepContext) -> None:
        """The teacher goes where the student is."""
        self.teaching.to(context.device)

    # ---- losses

    def losses(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Re-projection and smoothness; with them the twin's and its consistency, and what the teacher asks for."""
        options, depth = self.options, self.student.depth
        seen: Seen = self.student(self._shown(batch["seen"][:, 1], context), options.stage, batch["seen"])
        motion, losses = self._motion(seen, batch, context)
        target = Target.of(batch["frames"], motion, batch["K"], self.rules)
        losses |= target.losses(seen.sigmas, depth, context.rng)
        if options.geometry > 0:
            losses["geometry"] = options.geometry * self._geometry(seen, target, batch)
        if options.twin > 0 and context.progress >= options.twin_from:
            seen, found = self._twin(seen, target, batch, context)
            losses |= found
        if options.distil != "none":  # the teacher sees the clean picture, the student its twin where there is one
            loss = self.teaching.loss(self.student.graph, seen.feature, batch["frames"][:, 1])
            losses["distil"] = options.distil_weight * self._ramp(context) * loss
        return losses

    def _shown(self, rgb: Tensor, context: StepContext) -> Tensor:
        """What depth sees: the picture, or for a share of them its twin instead."""
        if self.options.twin_share <= 0:
            return rgb
        instead = torch.rand(len(rgb), generator=context.rng).to(rgb.device) < self.options.twin_share
        return torch.where(instead[:, None, None, None], self.teaching.perturbed(rgb, context.rng), rgb)

    def _motion(self, seen: Seen, batch: Batch, context: StepContext) -> tuple[Tensor, dict[str, Tensor]]:
        """(motion from the middle frame to the others [2 b 4 4], losses on it)."""
        options, known = self.options, batch["motion"].transpose(0, 1)
        if seen.moves is None:
            return known, {}
        found = between(seen.moves)
        if options.poses == "warmup" and context.progress < options.warmup_share:
            return known, {"pose": (found - known).abs().mean()}
        losses = {}
        if options.velocity > 0:
            lengths = [m[:, :, :3, 3].norm(dim=2) for m in (found, known)]
            losses["velocity"] = options.velocity * (lengths[0] - lengths[1]).abs().mean()
        if context.progress < options.align_from:
            return found, losses
        exact = self._aligned(found.detach(), seen, batch)
        return exact, losses | {"pose": (found - exact).abs().mean()}

    def _aligned(self, motion: Tensor, seen: Seen, batch: Batch) -> Tensor:
        """The motion that best explains the frames with the present depth."""
        frames, depth = batch["frames"], self.student.depth.depth(seen.sigmas[0].detach())
        exact = [
            aligned(frames[:, 1], frames[:, number], depth, one, batch["K"])
            for number, one in zip((0, 2), motion, strict=True)
        ]
        found = torch.stack(exact)
        if self.options.velocity > 0:
            known = batch["motion"].transpose(0, 1)[:, :, :3, 3].norm(dim=2)
            steps = found[:, :, :3, 3:]
            found[:, :, :3, 3:] = steps * (known / steps.norm(dim=(2, 3)).clamp(min=1e-6))[..., None, None]
        return found

    def _twin(self, seen: Seen, target: Target, batch: Batch, context: StepContext) -> tuple[Seen, dict[str, Tensor]]:
        """The texture-perturbed twin: its depth explains the clean frames, along a motion that does not learn from it."""
        options, depth = self.options, self.student.depth
        twin: Seen = self.student(self.teaching.perturbed(batch["seen"][:, 1], context.rng), options.stage)
        again = target.detached().losses(twin.sigmas, depth, context.rng)
        losses = {f"twin_{name}": options.twin * value for name, value in again.items()}
        pairs = zip(twin.sigmas, seen.sigmas, strict=True)
        apart = [(depth.depth(a).log() - depth.depth(b.detach()).log()).abs().mean() for a, b in pairs]
        losses["consistency"] = options.consistency * self._ramp(context) * torch.stack(apart).mean()
        return twin, losses

    def _geometry(self, seen: Seen, target: Target, batch: Batch) -> Tensor:
        """The middle frame's depth carried into its neighbours against their own."""
        depth = self.student.depth
        parts = []
        for k, number in enumerate((0, 2)):
            own = depth.depth(self.student(batch["seen"][:, number], self.options.stage).sigmas[0])
            carried = warp.warp(own, depth.depth(seen.sigmas[0]), target.motion[k], target.K)
            parts.append(photometric.geometry_difference(carried.depth, carried.picture, carried.inside))
        return torch.stack(parts).mean()

    def _ramp(self, context: StepContext) -> float:
        return min(1.0, context.progress / self.options.ramp) if self.options.ramp > 0 else 1.0

    def validate(self, batch: Batch) -> dict[str, float]:
        """Errors against the truth first, where there is one; then re-projection beside identity (see `scent_judging`)."""
        seen: Seen = self.student(batch["frames"][:, 1], self.options.stage, batch["frames"])
        depth = self.student.depth.depth(seen.sigmas[0])
        motion = batch["motion"].transpose(0, 1) if seen.moves is None else between(seen.moves)
        target = Target.of(batch["frames"], motion, batch["K"], self.rules)
        truth = scent_judging.truth_figures(depth, batch["near"], self.options.d_max)
        figures = truth | scent_judging.film_figures(target, depth)
        if self.student.graph is not None and self.teaching.teacher is not None:
            figures |= self.teaching.monitors(self.student.graph, seen.feature, batch["frames"][:, 1])
        return figures

    # ---- shipping

    def export(self, path: Path) -> dict[str, Any]:
        """The depth network alone: ONNX from rgb in 0..1 to depth, its card, and its weights as `depth.safetensors`."""
        network = self.student.depth
        side = EXAMPLE * network.stride
        worst = export_onnx(DepthOnly(network), path, (side, side))
        checkpoint.save(path.with_name(WEIGHTS), network.state_dict(), {"recipe": NAME})
        facts = size_of(network, path)
        card = _card(self.options, network.stride, facts["parameters"], path)
        path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        return {**facts, "difference": f"{worst:.2g}"}


def between(moves: Tensor) -> Tensor:
    """[2 b 4 4] from the middle frame to the others, from [2 b 6] in the order of time: the first pair is turned back."""
    before, after = (warp.rigid(pair[:, :3], pair[:, 3:]) for pair in moves)
    return torch.stack([warp.inverse(before), after])


def _card(options: ScentOptions, stride: int, parameters: int, path: Path) -> dict[str, Any]:
    metric = options.poses != "net" or options.velocity > 0
    return {
        "name": NAME,
        "role": "predictor",
        "summary": "small depth network that learned from film without truth",
        "license": "Apache-2.0",
        "paper": "after Scent-Depth, Chen et al., ACCV 2024, and monodepth2, Godard et al., ICCV 2019; the network is ours",
        "kind": str(DepthKind.METRIC if metric else DepthKind.SCALE_INVARIANT),
        "trained_on": "frames of film and their motion" if metric else "frames of film; the scale is arbitrary",
        "fails_on": "scenes and cameras unlike those of its film; what moves along with the camera; plain surfaces",
        "parameters": parameters,
        "native_size": list(options.size),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input": {"stride": stride, "rule": "keep"},
        "output": {"scale": options.d_max},
        "notes": f"distilled: {options.distil}; twin {options.twin:g}; poses {options.poses}; light evened: {options.even}; noise taken out: {options.quiet}",
    }
