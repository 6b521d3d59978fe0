"""Why training on a film would fail, before it is tried: camera, motion, exposure, texture, and whether poses explain the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from keendepth.core.geometry import fit_inside
from keendepth.data.clip import Clip
from keendepth.losses.photometric import photometric_error
from keendepth.nn import warp
from keendepth.training.footage import triplet_of
from keendepth.training.frames import LUMA, collate
from keendepth.training.geometry_test import five_numbers

LONGEST = 256  # pixels that a frame is looked at with
MOST = 12  # triplets that are looked at
PLANES = 20  # inverse depths that are tried
WIDEST = 0.15  # share of the width that the nearest of them moves by
PATCH = 7  # pixels over which a plane's error is averaged
STILL, FLAT, DARK, CLIPPED = 1.5 / 255, 2.0 / 255, 0.16, (0.02, 0.98)  # change, contrast, mean luma, black and white


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    verdict: str  # "ok", "warn" or "fail"
    advice: str = ""


def examine(clip: Clip, gap: int = 1) -> list[Finding]:
    """All findings; those that need a camera or poses say so where there are none."""
    numbers = _spread(clip.triplets(gap))
    found = [_frames(clip, gap), *_camera(clip)]
    if not numbers:
        return found
    grey = [np.stack([_grey(clip, number + k * gap) for k in (-1, 0, 1)]) for number in numbers]
    found += [_still(grey), _exposure(grey), _dark(grey), _texture(grey)]
    found += _geometry(clip, numbers, gap)
    return found


def worst(findings: Sequence[Finding]) -> str:
    """The verdict on the whole: "fail", "warn" or "ok"."""
    verdicts = {one.verdict for one in findings}
    return next((name for name in ("fail", "warn") if name in verdicts), "ok")


def _spread(numbers: Sequence[int]) -> list[int]:
    step = max(1, len(numbers) // MOST)
    return list(numbers[::step])[:MOST]


def _grey(clip: Clip, number: int) -> Float32[np.ndarray, "h w"]:
    image = clip.read(number)
    return (image.resized(*fit_inside(image.size, LONGEST)).rgb.astype(np.float32) / np.float32(255)) @ LUMA


def _frames(clip: Clip, gap: int) -> Finding:
    count = len(clip.triplets(gap))
    few = "self-supervised depth wants thousands of triplets; hundreds will overfit" if count < 1000 else ""
    return Finding(
        "triplets", f"{count} of {len(clip.frames)} frames", "fail" if not count else "warn" if few else "ok", few
    )


def _camera(clip: Clip) -> list[Finding]:
    camera = clip.camera
    if camera is None:
        return [
            Finding(
                "camera",
                "none",
                "fail",
                "write camera.json with fx, fy, cx, cy (pixels), width, height beside the frames",
            )
        ]
    found = []
    oblong = camera.fx / camera.fy
    found.append(
        Finding(
            "camera", f"{camera.fov_degrees:.0f} degrees across, fx / fy {oblong:.2f}",
            "ok" if 25 <= camera.fov_degrees <= 130 and 0.8 <= oblong <= 1.25 else "fail",
            "" if 25 <= camera.fov_degrees <= 130 and 0.8 <= oblong <= 1.25
            else "is K for another size of the picture? K / size must stay; wrong K gives constant depth",
        )
    )  # fmt: skip
    off = max(abs(camera.cx / camera.width - 0.5), abs(camera.cy / camera.height - 0.5))
    found.append(
        Finding("principal point", f"{off:.0%} of a side from the middle", "ok" if off < 0.15 else "warn",
                "" if off < 0.15 else "a crop? then its corner must be taken off cx and cy")
    )  # fmt: skip
    return found


def _still(grey: Sequence[np.ndarray]) -> Finding:
    change = np.array([np.abs(np.diff(three, axis=0)).mean((1, 2)).min() for three in grey])
    share = float((change < STILL).mean())
    advice = "drop frames where the camera stands, or take a larger gap (--gap 3): what does not move teaches nothing"
    return Finding(
        "still triplets",
        f"{share:.0%}",
        "ok" if share < 0.2 else "warn" if share < 0.8 else "fail",
        advice if share >= 0.2 else "",
    )


def _exposure(grey: Sequence[np.ndarray]) -> Finding:
    jumps = [np.abs(np.diff(np.log(three.mean((1, 2)) + 1e-3))).max() for three in grey]
    share = float((np.array(jumps) > 0.1).mean())
    advice = "lock the exposure: losses compare neighbours as they are" if share >= 0.1 else ""
    return Finding(
        "exposure jumps", f"{share:.0%} of triplets by more than 10 %", "ok" if share < 0.1 else "warn", advice
    )


def _dark(grey: Sequence[np.ndarray]) -> Finding:
    dark = float(np.mean([three.mean() < DARK for three in grey]))
    lost = float(np.mean([((three < CLIPPED[0]) | (three > CLIPPED[1])).mean() for three in grey]))
    advice = "train on day film and let the twin carry it to the night (--set twin=0.5): noise and moving lights mislead the losses"
    bad = dark > 0.3 or lost > 0.3
    return Finding(
        "darkness",
        f"{dark:.0%} of triplets dark, {lost:.0%} of pixels black or white",
        "warn" if bad else "ok",
        advice if bad else "",
    )


def _texture(grey: Sequence[np.ndarray]) -> Finding:
    """Share of cells of 8 x 8 pixels that hold some contrast."""
    shares = []
    for three in grey:
        h, w = (n // 8 * 8 for n in three.shape[1:])
        cells = three[1, :h, :w].reshape(h // 8, 8, w // 8, 8)
        shares.append(float((cells.std((1, 3)) > FLAT).mean()))
    share = float(np.mean(shares))
    advice = "plain surfaces give no signal: expect holes there" if share < 0.6 else ""
    return Finding(
        "texture", f"{share:.0%} of cells", "ok" if share >= 0.6 else "warn" if share > 0.2 else "fail", advice
    )


# ---- what needs camera and poses


def _geometry(clip: Clip, numbers: Sequence[int], gap: int) -> list[Finding]:
    if clip.camera is None or clip.poses is None:
        missing = "camera" if clip.camera is None else "poses"
        return [
            Finding(
                "poses", f"no {missing}", "warn", "without poses train with --set poses=net; scale is arbitrary then"
            )
        ]
    size = fit_inside((clip.camera.height, clip.camera.width), LONGEST)
    moving = [n for n in numbers if np.linalg.norm(clip.poses[n + gap][:3, 3] - clip.poses[n - gap][:3, 3]) > 1e-4]
    if not moving:
        return [Finding("parallax", "0", "fail", "the poses do not move: depth cannot be learned from turning alone")]
    batch = collate([triplet_of(clip, number, size, gap) for number in moving])
    frames, K, motion = batch["frames"], batch["K"], batch["motion"].transpose(0, 1)
    depth, error = swept(frames, motion, K)
    turned = swept(frames, torch.stack([warp.inverse(m) for m in motion]), K)[1]
    return [
        _parallax(depth, motion, K, size),
        *_explained(frames, depth, motion, K),
        _direction(float(error), float(turned)),
    ]


def swept(
    frames: Float[Tensor, "b 3 3 h w"], motion: Float[Tensor, "2 b 4 4"], K: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, ""]]:
    """(depth, mean of its error): for each pixel the plane, of `PLANES` evenly spread inverse depths, by which both sources explain it best."""
    width = frames.shape[4]
    steps = motion[:, :, :3, 3].norm(dim=2).amax(0).clamp(min=1e-6)
    nearest = K[:, 0, 0] * steps / (WIDEST * width)  # metres: there a sideways step moves a pixel by WIDEST
    errors, depths = [], []
    for share in torch.linspace(1e-3, 1, PLANES).tolist():
        depth = (nearest / share)[:, None, None, None].expand(-1, 1, *frames.shape[3:])
        views = [warp.warp(frames[:, k], depth, m, K).picture for k, m in zip((0, 2), motion, strict=True)]
        error = torch.stack([photometric_error(view, frames[:, 1]) for view in views]).amin(0)
        errors.append(torch.nn.functional.avg_pool2d(error, PATCH, 1, PATCH // 2, count_include_pad=False))
        depths.append(depth)
    least, index = torch.stack(errors).min(0)
    return torch.stack(depths).gather(0, index[None])[0], least.mean()


def _parallax(depth: Tensor, motion: Tensor, K: Tensor, size: tuple[int, int]) -> Finding:
    step = motion[:, :, :3, 3].norm(dim=2).mean(0)
    share = float((K[:, 0, 0] * step / depth.flatten(1).median(1).values).median()) / size[1]
    verdict = "ok" if 0.005 <= share <= 0.1 else "warn"
    advice = (
        ""
        if verdict == "ok"
        else "take a larger gap between frames"
        if share < 0.005
        else "take frames that lie nearer in time"
    )
    return Finding("parallax", f"{share:.1%} of the width at the median depth", verdict, advice)


def _explained(frames: Tensor, depth: Tensor, motion: Tensor, K: Tensor) -> list[Finding]:
    """The five numbers with the swept depth, and re-projection beside identity."""
    numbers = five_numbers(frames, depth, motion, K)
    ratio = numbers["exact"] / max(numbers["identity"], 1e-9)
    verdict = "ok" if ratio < 0.75 else "warn" if ratio < 0.95 else "fail"
    advice = (
        "" if verdict == "ok" else "poses, camera or frame order do not explain the pictures, or much moves by itself"
    )
    text = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
    return [
        Finding("re-projection", f"{ratio:.2f} of the frames as they are", verdict, advice),
        Finding("five numbers", text, "ok" if numbers["exact"] <= min(numbers.values()) * 1.001 else "warn"),
    ]


def _direction(error: float, turned: float) -> Finding:
    """Poses the wrong way round explain pictures better turned back."""
    inverted = turned < error
    advice = (
        "they look inverted: world from camera is expected (a camera's place is its last column)" if inverted else ""
    )
    return Finding(
        "direction of poses", f"{error:.4f} as given, {turned:.4f} turned back", "fail" if inverted else "ok", advice
    )


def report(folder: Path, findings: Sequence[Finding]) -> list[str]:
    """Lines for people."""
    lines = [f"{folder}: {worst(findings)}"]
    for one in findings:
        lines.append(f"  {one.verdict:5} {one.name:18} {one.value}" + (f": {one.advice}" if one.advice else ""))
    return lines
