"""What a student's features learn from a teacher's: the relations between places, as two graphs over the same nodes (scent_depth.md 3.3, a reconstruction)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

MOST_NODES = 512  # N^2 numbers per picture and graph (3.3.1)
Monitors = dict[str, float]


@dataclass(frozen=True)
class GraphOptions:
    """Which terms there are; the start values are those of scent_depth.md 3.3.3 and 13.5."""

    relation: float = 1.0
    """Weight of the edges' loss: mean over nodes of KL(A_t || A_s)."""
    node: float = 0.0
    """Weight of the nodes' loss: 1 - cosine of what the teacher's edges gather from both."""
    attention: float = 0.0
    """Weight of edges that are learned from the student's nodes to the teacher's (an ablation: free edges tend to the mean)."""
    feature: bool = False
    """No graph: 1 - cosine per place after a learned 1 x 1 map. A graph must beat this."""
    shuffled: bool = False
    """The teacher looks at the next picture of the batch (a control: what remains is not knowledge of this picture)."""
    bias: bool = False
    """A learned topology by relative offset, the same in both graphs."""
    tau: float = 0.1
    """Temperature of the edges."""
    dimension: int = 64
    """Length of the student's projected nodes."""


class GraphDistillation(nn.Module):
    """The learned heads and the loss; none of it ships. `grid`: (rows, columns) of the student's map, or fewer where the map is larger.

    A place of the student's map and the same place of the teacher's, resized to it, are one node. Nodes are centred over the picture before
    they are compared: uncentred deep features all point one way. The teacher's side has nothing to learn and gets no gradient, else both could
    collapse to a constant. ValueError for a grid of more than 512 nodes.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        grid: tuple[int, int],
        options: GraphOptions = GraphOptions(),
    ) -> None:
        super().__init__()
        if not 1 < math.prod(grid) <= MOST_NODES:
            raise ValueError(
                f"graph: expected a grid of 2 to {MOST_NODES} nodes, found {grid[0]} x {grid[1]}; choose a coarser map"
            )
        self.grid, self.options = grid, options
        d = options.dimension
        self.project = nn.Linear(student_channels, teacher_channels if options.feature else d, bias=False)
        nn.init.orthogonal_(self.project.weight)
        self.temperature = nn.Parameter(torch.zeros(()))  # k of tau e^k
        self.aggregate = nn.Linear(d, teacher_channels, bias=False) if options.node or options.attention else None
        self.query = nn.Linear(d, d, bias=False) if options.attention else None
        self.key = nn.Linear(teacher_channels, d, bias=False) if options.attention else None
        offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1)
        self.topology = nn.Parameter(torch.zeros(offsets)) if options.bias else None
        self.register_buffer("offset", _offsets(*grid), persistent=False)

    def forward(
        self, student: Float[Tensor, "b c h w"], teacher: Float[Tensor, "b d h2 w2"]
    ) -> tuple[Float[Tensor, ""], Monitors]:
        """(weighted loss, monitors). The student's map is of the twin, the teacher's of the clean picture. NaN spreads."""
        options = self.options
        with torch.no_grad():
            wanted = nodes(teacher.detach().float(), self.grid)
            if options.shuffled:
                wanted = wanted.roll(1, 0) if len(wanted) > 1 else wanted.flip(1)
            U_t = functional.normalize(centred(wanted), dim=2)
        X_s = centred(nodes(student.float(), self.grid))
        U_s = functional.normalize(self.project(X_s), dim=2)
        if options.feature:
            return (1 - (U_s * U_t).sum(2)).mean(), {"spread": _spread(U_s)}
        S_t, S_s = self._edges(U_t, U_s)
        return self._loss(U_t, U_s, S_t, S_s), monitors(S_t, S_s, U_s)

    def _edges(self, U_t: Tensor, U_s: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both graphs; a learned topology is added to both."""
        tau = self.options.tau
        S_t = U_t @ U_t.transpose(1, 2) / tau
        S_s = U_s @ U_s.transpose(1, 2) / (tau * self.temperature.exp())
        if self.topology is None:
            return S_t, S_s
        shared = self.topology[self.offset]
        return S_t + shared, S_s + shared

    def _loss(self, U_t: Tensor, U_s: Tensor, S_t: Tensor, S_s: Tensor) -> Tensor:
        options = self.options
        loss = options.relation * relation_loss(S_t, S_s)
        if options.node and self.aggregate is not None:
            A = S_t.detach().softmax(2)  # a free A would become uniform, and every node the mean
            loss = loss + options.node * _apart(self.aggregate(A @ U_s), A @ U_t)
        if options.attention and self.aggregate is not None and self.query is not None and self.key is not None:
            E = (self.query(U_s) @ self.key(U_t).transpose(1, 2) / math.sqrt(options.dimension)).softmax(2)
            loss = loss + options.attention * _apart(self.aggregate(U_s), E @ U_t)
        return loss


def relation_loss(teacher: Float[Tensor, "b n n"], student: Float[Tensor, "b n n"]) -> Float[Tensor, ""]:
    """Mean over nodes of KL(softmax(teacher) || softmax(student)), rows by rows (scent_depth.md 3.3.4); 0 where they agree."""
    ours, theirs = student.log_softmax(2), teacher.log_softmax(2)
    return (theirs.exp() * (theirs - ours)).sum(2).mean()


def nodes(features: Float[Tensor, "b c h w"], grid: tuple[int, int]) -> Float[Tensor, "b n c"]:
    """A map as nodes of `grid`, row by row: averaged where it is larger, interpolated where it is smaller."""
    h, w = features.shape[2:]
    if (h, w) != grid:
        larger = h >= grid[0] and w >= grid[1]
        features = (
            functional.adaptive_avg_pool2d(features, grid)
            if larger
            else functional.interpolate(features, grid, mode="bilinear", align_corners=False)
        )
    return features.flatten(2).transpose(1, 2)


def centred(X: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
    """Nodes less their mean over the picture."""
    return X - X.mean(1, keepdim=True)


@torch.no_grad()
def monitors(S_t: Float[Tensor, "b n n"], S_s: Float[Tensor, "b n n"], U_s: Float[Tensor, "b n d"]) -> Monitors:
    """What tells a collapse (3.3.6): entropy of rows as a share of log N (healthy: well below 1, not 0), correlation of edges, spread of nodes."""
    top = math.log(S_t.shape[1])
    A_t, A_s = S_t.softmax(2), S_s.softmax(2)
    return {
        "entropy_teacher": float(-(A_t * A_t.clamp(min=1e-12).log()).sum(2).mean()) / top,
        "entropy_student": float(-(A_s * A_s.clamp(min=1e-12).log()).sum(2).mean()) / top,
        "edge_correlation": _correlation(S_t, S_s),
        "spread": _spread(U_s),
    }


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    return float(functional.cosine_similarity(a, b, dim=1).mean())


def _spread(U: Tensor) -> float:
    """Deviation over nodes, 0 where all are the same; 1 over the root of the dimension is the most."""
    return float(U.detach().std(1).mean())


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    return (1 - functional.cosine_similarity(ours, theirs, dim=2)).mean()


def _offsets(rows: int, columns: int) -> Tensor:
    """[n n]: number of the relative offset between two nodes of the grid."""
    y, x = (v.flatten() for v in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    down, across = y[:, None] - y + rows - 1, x[:, None] - x + columns - 1
    return down * (2 * columns - 1) + across
