"""Figures of a validation of `scent`: errors against the truth where there is one, and how well frames are explained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from keendepth.losses.photometric import minimum_reprojection
from keendepth.training.reprojection import Target

NEAREST = 1e-3  # metres; predictions are clamped to this and to the farthest that is scored (monodepth2)


def truth_figures(depth: Float[Tensor, "b 1 h w"], near: Float[Tensor, "b 1 h w"], farthest: float) -> dict[str, float]:
    """abs_rel and delta1 after a median ratio for each picture, abs_rel as it comes, and how far the ratios spread (scent_depth.md 2.13)."""
    rows, ratios = [], []
    for found, truth in zip(depth, near, strict=True):
        known = truth.isfinite() & (truth > 1 / farthest)
        if not known.any():
            continue
        z, real = found[known], 1 / truth[known]
        ratio = real.median() / z.median()
        scaled = (z * ratio).clamp(NEAREST, farthest)
        worse = torch.maximum(scaled / real, real / scaled)
        rows.append(
            torch.stack([((scaled - real).abs() / real).mean(), (worse < 1.25).float().mean(), ((z - real).abs() / real).mean()])
        )  # fmt: skip
        ratios.append(ratio)
    if not rows:
        return {}
    means, all_ratios = torch.stack(rows).mean(0).tolist(), torch.stack(ratios)
    spread = float((all_ratios / all_ratios.median()).std(correction=0))
    return {"abs_rel": means[0], "delta1": means[1], "abs_rel_metres": means[2], "scale_spread": spread}


def film_figures(target: Target, depth: Float[Tensor, "b 1 h w"]) -> dict[str, float]:
    """The error of re-projection beside that of the frames as they are, and the share of pixels that teach (scent_depth.md 12.5)."""
    errors, _ = target.errors(depth)
    still = target.identity()
    _, used = minimum_reprojection(errors, still)
    figures: Mapping[str, Tensor] = {
        "reprojection": errors.amin(0).mean(), "identity": still.amin(0).mean(), "teaching": used
    }  # fmt: skip
    return {name: float(value) for name, value in figures.items()}
