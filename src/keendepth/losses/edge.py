"""SDDR's losses at edges: gradients per region against the pseudo-label, the soft mask against its ranks; and L1 weighted at edges."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from keendepth.core.edges import top_share
from keendepth.losses.affine import over_pictures

LEAST_SLOPE, LARGEST_SLOPE = 0.1, 10.0  # b1 of Eq. 6 stays between them (sddr.md 9.2 names the 10; the 0.1 is ours)
TAIL, TAILS = 0.02, 4  # a and N_w of Eq. 9 (SDDR, section B.2): the lowest and highest 2, 4, 6 and 8 %
MARGIN = 0.4  # ours: edges want Omega >= 0.9, flats <= 0.1
ROUNDS = 10  # of k-means: on one picture's edges it settles sooner


def gradient_magnitude(depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """|Sobel_x| + |Sobel_y| over 8, replicated borders: `core.edges.gradient_magnitude`, and the scalar label of SDDR's code."""
    padded = torch.nn.functional.pad(depth, (1, 1, 1, 1), mode="replicate")
    sides = padded[..., 2:] - padded[..., :-2]
    across = sides[..., :-2, :] + 2 * sides[..., 1:-1, :] + sides[..., 2:, :]
    ends = padded[..., 2:, :] - padded[..., :-2, :]
    down = ends[..., :-2] + 2 * ends[..., 1:-1] + ends[..., 2:]
    return (across.abs() + down.abs()) / 8


def edge_regions(
    label: Float32[np.ndarray, "h w"], share: float = 0.05, clusters: int = 4, seed: int = 0, least: int = 32
) -> Int[np.ndarray, "h w"]:
    """Region of each pixel, 1 up to `clusters`, 0 outside: k-means of the places of the `share` steepest pixels (SDDR, section A.2).

    `label` is G_S; NaN and 0 are never steep. 4 as in the paper's Fig. 10. Clusters of fewer than `least` pixels become 0.
    """
    rows, columns = np.nonzero(top_share(label, share) & (label > 0))
    regions = np.zeros(label.shape, np.int64)
    if len(rows) >= least:
        nearest = _clusters(np.stack([rows, columns], 1).astype(np.float64), clusters, np.random.default_rng(seed))
        counts = np.bincount(nearest, minlength=clusters)
        regions[rows, columns] = np.where(counts >= least, np.arange(1, clusters + 1), 0)[nearest]
    return regions


def _clusters(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Lloyd's k-means from k-means++ seeds: the cluster 0 .. count - 1 of each point [n 2]; scipy's own warns of empty clusters."""
    centres = points[rng.integers(len(points))][None]
    while len(centres) < count:
        away = _squares(points, centres).min(1)
        chance = away / away.sum() if away.any() else None
        centres = np.vstack([centres, points[rng.choice(len(points), p=chance)]])
    for _ in range(ROUNDS):
        nearest = _squares(points, centres).argmin(1)
        for k in np.unique(nearest):
            centres[k] = points[nearest == k].mean(0)
    return _squares(points, centres).argmin(1)


def _squares(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((points[:, None] - centres) ** 2).sum(2)


def edge_gradient_loss(
    prediction: Float[Tensor, "b 1 h w"], label: Float[Tensor, "b 1 h w"], regions: Int[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """L_grad (SDDR, Eq. 7): mean over regions of the mean |b1 |grad prediction| + b0 - label|, (b1, b0) by least squares per region.

    `regions`: 0 outside, else the number of the region (`edge_regions`). Pixels where the label is NaN do not count; pictures
    without a region are left out. b1 is kept in 0.1 .. 10 and is 1 where the gradient does not vary; the fit is
    differentiated through, which the paper leaves open.
    """
    regions = torch.where(label.isnan(), 0, regions)
    inside = (regions > 0).flatten()
    count = int(regions.max()) + 1
    picture = torch.arange(len(regions), device=regions.device)[:, None, None, None]
    index = (picture * count + regions).flatten()[inside]
    steep, wanted = gradient_magnitude(prediction).flatten()[inside], label.flatten()[inside]
    slope, offset, size = _region_fits(steep, wanted, index, len(regions) * count)
    error = _sums((slope[index] * steep + offset[index] - wanted).abs(), index, len(size)) / size.clamp(min=1)
    number = (size > 0).view(-1, count).sum(1)
    return over_pictures(error.view(-1, count).sum(1) / number.clamp(min=1), number > 0)


def _region_fits(
    x: Float[Tensor, " n"], target: Float[Tensor, " n"], index: Int[Tensor, " n"], count: int
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"], Float[Tensor, " r"]]:
    """(b1, b0, pixels) of each region (SDDR, Eq. 6)."""
    size = _sums(torch.ones_like(x), index, count)
    mean_x, mean_t = (_sums(values, index, count) / size.clamp(min=1) for values in (x, target))
    spread = x - mean_x[index]
    variance = _sums(spread * spread, index, count)
    varies = variance > 1e-10 * size * (mean_x * mean_x + 1e-10)
    slope = _sums(spread * (target - mean_t[index]), index, count) / torch.where(varies, variance, 1.0)
    slope = torch.where(varies, slope, 1.0).clamp(LEAST_SLOPE, LARGEST_SLOPE)
    return slope, mean_t - slope * mean_x, size


def _sums(values: Tensor, index: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, index, values)


def fusion_loss_paper(
    omega: Float[Tensor, "b 1 h w"], label: Float[Tensor, "b 1 h2 w2"], valid: Bool[Tensor, "b 1 h2 w2"] | None = None
) -> Float[Tensor, ""]:
    """L_fusion to the letter (SDDR, Eq. 9): flats are held below Omega's own low quantiles, edges above its high ones.

    Kept to be compared with. Any constant Omega has zero loss, because its quantiles are that constant: `fusion_loss` is what
    is trained with. Which pixels count is decided by rank, as equal labels leave a strict "<" with nothing; quantiles carry
    no gradient.
    """
    label, valid = label_at(omega, label, valid)
    rank, count = _ranks(label, valid)
    values = omega.flatten(1)
    ordered = torch.where(valid.flatten(1), values.detach(), torch.inf).sort(1).values
    total = torch.zeros_like(values)
    for n in range(1, TAILS + 1):
        low, high = (_at(ordered, share * (count - 1)) for share in (n * TAIL, 1 - n * TAIL))
        flat, edge = _tails(rank, count, n * TAIL)
        total = total + flat * (values - low).clamp(min=0) + edge * (high - values).clamp(min=0)
    return over_pictures(total.sum(1) / (TAILS * count[:, 0].clamp(min=1)), count[:, 0] > 0)


def fusion_loss(
    omega: Float[Tensor, "b 1 h w"], label: Float[Tensor, "b 1 h2 w2"], valid: Bool[Tensor, "b 1 h2 w2"] | None = None
) -> Float[Tensor, ""]:
    """L_fusion as trained with (**ours**, after SDDR's Eq. 9): edges want Omega >= 0.9, flats <= 0.1, by fixed hinges.

    The same pixels as in Eq. 9, the lowest and highest 2, 4, 6 and 8 % of the label G_S by rank; each tail is averaged over
    its own pixels, so the value does not depend on how few they are. Omega weights HIGH. A label of another size is brought
    to Omega's by taking the largest value; pixels not `valid` do not count.
    """
    label, valid = label_at(omega, label, valid)
    rank, count = _ranks(label, valid)
    values = omega.flatten(1)
    above, below = (values - (0.5 - MARGIN)).clamp(min=0), (0.5 + MARGIN - values).clamp(min=0)
    total = torch.zeros_like(values[:, 0])
    for n in range(1, TAILS + 1):
        for chosen, excess in zip(_tails(rank, count, n * TAIL), (above, below), strict=True):
            total = total + (chosen * excess).sum(1) / chosen.sum(1).clamp(min=1)
    return over_pictures(total / (2 * TAILS), count[:, 0] > 0)


def label_at(
    omega: Float[Tensor, "b 1 h w"], label: Float[Tensor, "b 1 h2 w2"], valid: Bool[Tensor, "b 1 h2 w2"] | None
) -> tuple[Float[Tensor, "b 1 h w"], Bool[Tensor, "b 1 h w"]]:
    """The label and its valid pixels at the size of a mask: the largest value of each cell, so that thin edges survive; NaN is not valid."""
    known = ~label.isnan() if valid is None else valid & ~label.isnan()
    least = torch.where(known, label, -torch.inf)
    if label.shape[2:] != omega.shape[2:]:
        least = torch.nn.functional.adaptive_max_pool2d(least, omega.shape[2:])
    known = ~least.isinf()
    return torch.where(known, least, 0.0), known


def _ranks(label: Tensor, valid: Tensor) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b 1"]]:
    """(place of each valid pixel in the order of labels, ties by position, the rest at the end; how many are valid)."""
    flat = torch.where(valid, label.detach(), torch.inf).flatten(1)
    rank = flat.argsort(dim=1, stable=True).argsort(dim=1)
    return rank, valid.flatten(1).sum(1, keepdim=True)


def _tails(rank: Tensor, count: Tensor, share: float) -> tuple[Bool[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """The `share` of valid pixels with the lowest ranks, and that with the highest; at least one pixel where there are two."""
    size = torch.minimum((share * count).round().long().clamp(min=1), count // 2)
    return rank < size, (rank >= count - size) & (rank < count)


def _at(ordered: Tensor, place: Tensor) -> Tensor:
    """Values of sorted rows [b n] at fractional places [b 1]."""
    place = place.clamp(min=0)
    below = place.floor().long()
    above = (below + 1).clamp(max=ordered.shape[1] - 1)
    here, there = ordered.gather(1, below), ordered.gather(1, above)
    share = place - below
    found = torch.where(
        share > 0, here + share * (there - here), here
    )  # the next one may be beyond the valid ones: inf
    return torch.where(found.isinf(), 0.0, found)  # none is valid


def edge_weighted_l1(
    prediction: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b 1 h w"],
    valid: Bool[Tensor, "b 1 h w"],
    edge_weight: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """Weighted mean |prediction - target| over the valid pixels (**ours**), for rendered scenes; weights from `edge_weights`.

    With equal weights a refiner stays at the identity, as edges are 2 % of the pixels. Pictures without a valid pixel are left out.
    """
    weight = torch.where(valid, edge_weight, 0.0).flatten(1)
    error = torch.where(valid, prediction - torch.where(valid, target, 0.0), 0.0).abs().flatten(1)
    total = weight.sum(1)
    return over_pictures((weight * error).sum(1) / torch.where(total > 0, total, 1.0), total > 0)


def edge_weights(
    target: Float[Tensor, "b 1 h w"],
    valid: Bool[Tensor, "b 1 h w"],
    jump: float = 0.02,
    reach: int = 3,
    weight: float = 20.0,
) -> Float[Tensor, "b 1 h w"]:
    """`weight` within `reach` pixels of a step larger than `jump` between valid neighbours of the target (in its units), else 1."""
    across = ((target[..., 1:] - target[..., :-1]).abs() > jump) & valid[..., 1:] & valid[..., :-1]
    down = ((target[..., 1:, :] - target[..., :-1, :]).abs() > jump) & valid[..., 1:, :] & valid[..., :-1, :]
    pad = torch.nn.functional.pad
    edge = pad(across, (0, 1)) | pad(across, (1, 0)) | pad(down, (0, 0, 0, 1)) | pad(down, (0, 0, 1, 0))
    near = torch.nn.functional.max_pool2d(edge.to(target.dtype), 2 * reach + 1, 1, reach)
    return 1 + (weight - 1) * near
