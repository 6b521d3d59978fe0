"""The parts of `scent` that make depth robust: the perturbed twin, and the semantic teacher with the heads that listen to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

CHANCE = 0.5  # of each operation of the twin, for each picture (scent_depth.md 3.2.2)

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

    def load(self) -> None:
        """Load the teacher, where there is one. ValueError where its map has other channels than `teacher_channels`."""
        options = self.options
        if options.distil == "none":
            return
        from keendepth.nn.teachers import load_teacher

        self.teacher = load_teacher(options.teacher)
        if self.teacher.channels != options.teacher_channels:
            raise ValueError(
                f"scent.teacher_channels is {options.teacher_channels}, the map of {options.teacher} has {self.teacher.channels}: "
                f"give --set teacher_channels={self.teacher.channels}"
            )

    def to(self, device: torch.device) -> None:
        if self.teacher is not None:
            self.teacher.to(device)

    def perturbed(self, rgb: Tensor, rng: torch.Generator) -> Tensor:
        """The twin of a picture: other texture and light, the same geometry."""
        from keendepth.nn.retinex import OPERATIONS, Perturbation, perturb

        unknown = set(self.options.twin_operations) - set(OPERATIONS)
        if unknown:
            raise ValueError(f"scent.twin_operations: {', '.join(sorted(unknown))}: known are {', '.join(OPERATIONS)}")
        chances = {name: CHANCE * (name in self.options.twin_operations) for name in OPERATIONS}
        return perturb(rgb, rng, Perturbation(**chances))

    def loss(self, graph: nn.Module, feature: Tensor, rgb: Tensor) -> Tensor:
        """What the student's map lacks of the teacher's on the clean picture."""
        with torch.no_grad():
            wanted = self.teacher.features(rgb)
        return graph(feature, wanted)[0]

    def monitors(self, graph: nn.Module, feature: Tensor, rgb: Tensor) -> dict[str, float]:
        """Signs of a collapse: entropies of the graphs' rows, their correlation, and how far the student's nodes spread."""
        return dict(graph(feature, self.teacher.features(rgb))[1])

    def facts(self) -> dict[str, Any]:
        """Of the teacher and the operations, for the report and the card."""
        return {} if self.teacher is None else {"teacher": self.teacher.describe()}
