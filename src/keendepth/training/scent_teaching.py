"""The parts of `scent` that make depth robust: the perturbed twin, and the semantic teacher with the heads that listen to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from keendepth.training.scent import ScentOptions


def graph_of(options: ScentOptions) -> nn.Module | None:
    """The learned heads of distillation; None where there is no teacher."""
    if options.distil == "none":
        return None
    from keendepth.losses.graph import GraphDistillation, GraphOptions

    stride = 2 ** (options.stage + 1)
    grid = (options.size[0] // stride, options.size[1] // stride)
    made = GraphOptions(
        feature=options.distil == "feature", node=options.node, bias=options.bias, shuffled=options.distil == "shuffled"
    )
    return GraphDistillation(options.channels[options.stage], options.teacher_channels, grid, made)


class Teaching:
    """What is used while training and never shipped."""

    def __init__(self, options: ScentOptions) -> None:
        self.options = options
        self.teacher: Any = None

    def load(self, device: torch.device | None = None) -> None:
        """Load the teacher, where there is one. ValueError where its map has other channels than `teacher_channels`."""
        if self.options.distil == "none":
            return
        from keendepth.nn.teachers import load_teacher

        self.teacher = load_teacher(self.options.teacher)

    def to(self, device: torch.device) -> None:
        if self.teacher is not None:
            self.teacher.to(device)

    def perturbed(self, rgb: Tensor, rng: torch.Generator) -> Tensor:
        """The twin of a picture: other texture and light, the same geometry."""
        from keendepth.nn.retinex import perturb

        return perturb(rgb, rng)

    def loss(self, graph: nn.Module, feature: Tensor, rgb: Tensor) -> Tensor:
        """What the student's map lacks of the teacher's on the clean picture."""
        with torch.no_grad():
            wanted = self.teacher.features(rgb)
        return graph(feature, wanted)[0]

    def facts(self) -> dict[str, Any]:
        """Of the teacher and the operations, for the report and the card."""
        return {} if self.teacher is None else {"teacher": self.teacher.describe()}
