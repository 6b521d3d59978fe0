"""Boundary metrics written straight from their definitions, pixel by pixel, to check and to time the fast ones; imports nothing of the package."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from scipy import ndimage

STEPS = {
    "left": (0, -1),
    "top": (-1, 0),
    "right": (0, 1),
    "bottom": (1, 0),
}  # where the nearer pixel lies, seen from the farther


def thresholds(first: float, last: float) -> list[float]:
    """Ten thresholds as numpy.linspace rounds them."""
    return [float(t) for t in np.linspace(first, last, 10)]


def ratio(a: float, b: float) -> float:
    """a / b with 0 for what is not a number, so that it exceeds no threshold."""
    if math.isnan(a) or math.isnan(b) or (a == 0 and b == 0) or (math.isinf(a) and math.isinf(b)):
        return 0.0
    return math.inf if b == 0 else a / b


def inverse(depth: np.ndarray) -> list[list[float]]:
    """1 / max(z, 1e-6); sky 0, unknown NaN."""
    return [[z if math.isnan(z) else 1.0 / max(z, 1e-6) for z in row] for row in depth.astype(float).tolist()]


def depth_pro_counts(p: np.ndarray, g: np.ndarray) -> np.ndarray:
    """[4 3 10] hits, predicted, in the reference: a pair is an edge when the first inverse depth exceeds t times the second."""
    h, w = p.shape
    dp, dg = inverse(p), inverse(g)
    limits = thresholds(1.05, 1.25)
    counts = np.zeros((4, 3, 10))
    for k, name in enumerate(("left", "top", "right", "bottom")):
        dy, dx = STEPS[name]
        tally = [[0] * 10 for _ in range(3)]
        for y in range(max(0, dy), h + min(0, dy)):
            for x in range(max(0, dx), w + min(0, dx)):
                if math.isnan(dg[y][x]) or math.isnan(dg[y - dy][x - dx]):
                    continue
                _tally(tally, ratio(dp[y][x], dp[y - dy][x - dx]), ratio(dg[y][x], dg[y - dy][x - dx]), limits)
        counts[k] = tally
    return counts


def _tally(tally: list[list[int]], ours: float, theirs: float, limits: list[float]) -> None:
    if ours <= limits[0] and theirs <= limits[0]:
        return
    for i, t in enumerate(limits):
        tally[0][i] += ours > t and theirs > t
        tally[1][i] += ours > t
        tally[2][i] += theirs > t


def depth_pro_f1(p: np.ndarray, g: np.ndarray) -> float:
    """Weighted F1 over the thresholds."""
    counts = depth_pro_counts(p, g)
    total, weight = 0.0, 0.0
    for i, t in enumerate(thresholds(1.05, 1.25)):
        precision = sum(counts[k, 0, i] / max(counts[k, 1, i], 1) for k in range(4)) / 4
        recall = sum(counts[k, 0, i] / max(counts[k, 2, i], 1) for k in range(4)) / 4
        total += t * (2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        weight += t
    return total / weight


def moge_counts(p: np.ndarray, g: np.ndarray, radius: int) -> np.ndarray:
    """[3 10] hits, predicted, in the reference: a neighbour within the disk is deeper than the centre by more than 1 + t."""
    h, w = p.shape
    zp, zg = p.astype(float).tolist(), g.astype(float).tolist()
    limits = [1 + t for t in thresholds(0.05, 0.25)]
    tally = [[0] * 10 for _ in range(3)]
    reach = range(-radius, radius + 1)
    offsets = [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= radius * radius and (dy or dx)]
    for y in range(radius, h - radius):
        for x in range(radius, w - radius):
            if math.isfinite(zg[y][x]):
                for dy, dx in offsets:
                    if math.isfinite(zg[y + dy][x + dx]):
                        beside_p, beside_g = zp[y + dy][x + dx], zg[y + dy][x + dx]
                        _tally(tally, ratio(beside_p, zp[y][x]), ratio(beside_g, zg[y][x]), limits)
    return np.array(tally, float)


def moge_f1(p: np.ndarray, g: np.ndarray, radius: int) -> float:
    """Weighted F1 over the thresholds."""
    hits, predicted, present = moge_counts(p, g, radius)
    scores = []
    for i in range(10):
        precision = hits[i] / predicted[i] if predicted[i] else 0.0
        recall = hits[i] / present[i] if present[i] else 0.0
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    weights = thresholds(0.05, 0.25)
    return sum(t * s for t, s in zip(weights, scores, strict=True)) / sum(weights)


def matte_recall(p: np.ndarray, inside: np.ndarray) -> float:
    """Depth Pro's recall against a matte: runs of edges thinned to the steepest, then compared with the outline."""
    dp, h, w = inverse(p), *p.shape
    total, weight = 0.0, 0.0
    for t in thresholds(1.05, 1.25):
        recall = 0.0
        for dy, dx in STEPS.values():
            lines = (
                [[(y, x) for x in range(w)] for y in range(h)] if dx else [[(y, x) for y in range(h)] for x in range(w)]
            )
            kept = {pixel for line in lines for pixel in _steepest(dp, line, (dy, dx), t)}
            outline = set()
            for y in range(max(0, dy), h + min(0, dy)):
                for x in range(max(0, dx), w + min(0, dx)):
                    if inside[y, x] and not inside[y - dy, x - dx]:
                        outline.add((y, x))
            recall += len(kept & outline) / max(len(outline), 1) / 4
        total, weight = total + t * recall, weight + t
    return total / weight


def _steepest(
    dp: list[list[float]], line: list[tuple[int, int]], step: tuple[int, int], t: float
) -> list[tuple[int, int]]:
    """The pixels on the near side of the largest ratio of each run above t along one line."""
    found, best, best_ratio = [], None, 0.0
    for y, x in line:
        other = (y - step[0], x - step[1])
        inside = 0 <= other[0] < len(dp) and 0 <= other[1] < len(dp[0])
        here = ratio(dp[y][x], dp[other[0]][other[1]]) if inside else 0.0
        if here > t:
            if here > best_ratio:
                best, best_ratio = (y, x), here
        elif best:
            found.append(best)
            best, best_ratio = None, 0.0
    return [*found, best] if best else found


def canny(values: np.ndarray, sigma: float, low: float, high: float, known: np.ndarray) -> np.ndarray:
    """Canny edges: smoothed, Sobel, ridge test by interpolation, hysteresis by flooding."""
    h, w = values.shape
    support = known.astype(float)
    smooth = ndimage.gaussian_filter(np.where(known, values, 0), sigma, mode="constant")
    smooth = smooth / (ndimage.gaussian_filter(support, sigma, mode="constant") + np.finfo(float).eps)
    gy, gx = ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)
    size = np.sqrt(gy * gy + gx * gx)
    ridge = np.zeros((h, w), bool)
    for y in range(1, h - 1):
        for x in range(1, w - 1):
            if known[y - 1 : y + 2, x - 1 : x + 2].all() and size[y, x] >= low:
                ridge[y, x] = _is_ridge(size, y, x, gy[y, x], gx[y, x])
    return _flood(ridge, ridge & (size >= high))


def _is_ridge(size: np.ndarray, y: int, x: int, gy: float, gx: float) -> bool:
    """Whether neither of the two points one step along the gradient is larger."""
    sy, sx = (1 if gy >= 0 else -1), (1 if gx >= 0 else -1)
    for way in (1, -1):
        corner = size[y + way * sy, x + way * sx]
        if abs(gy) >= abs(gx):
            share, side = abs(gx) / abs(gy), size[y + way * sy, x]
        else:
            share, side = abs(gy) / abs(gx), size[y, x + way * sx]
        if corner * share + side * (1 - share) > size[y, x]:
            return False
    return True


def _flood(weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """Weak pixels that an 8-connected path of weak pixels joins to a strong one."""
    reached = strong.copy()
    queue = deque(zip(*np.nonzero(strong), strict=True))
    while queue:
        y, x = queue.popleft()
        for ny in range(max(0, y - 1), min(weak.shape[0], y + 2)):
            for nx in range(max(0, x - 1), min(weak.shape[1], x + 2)):
                if weak[ny, nx] and not reached[ny, nx]:
                    reached[ny, nx] = True
                    queue.append((ny, nx))
    return reached


def pdbe_edges(depth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Union of the Canny edges of min-max depth and min-max inverse depth; depth finite where known."""
    edges = np.zeros(depth.shape, bool)
    for channel in (depth, 1 / np.maximum(np.where(known, depth, 1.0), 1e-6)):
        low, high = channel[known].min(), channel[known].max()
        if high > low:
            edges |= canny(np.where(known, (channel - low) / (high - low), 0), math.sqrt(2), 0.1, 0.2, known)
    return edges


def pdbe(p: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """SharpDepth's accuracy and completeness by distance transforms, with its fallback of 10 and 10."""
    ours, theirs = pdbe_edges(p, ~np.isnan(g) & ~np.isnan(p)), pdbe_edges(g, ~np.isnan(g))
    if not theirs.any():
        return math.nan, math.nan
    to_theirs = ndimage.distance_transform_edt(~theirs)
    near = ours & (to_theirs < 10)
    if not near.any():
        return 10.0, 10.0
    to_ours = ndimage.distance_transform_edt(~ours)
    return float(to_theirs[near].mean()), float(to_ours[theirs].mean())


def soft_edge_error(p: np.ndarray, g: np.ndarray, jump: float) -> float:
    """Mean over edge pixels of the smallest |p - g| in 3 x 3."""
    h, w = g.shape
    errors = []
    for y in range(h):
        for x in range(w):
            if not (math.isfinite(g[y, x]) and math.isfinite(p[y, x])):
                continue
            beside = [(y + dy, x + dx) for dy, dx in STEPS.values() if 0 <= y + dy < h and 0 <= x + dx < w]
            if any(max(g[y, x], g[q]) > jump * min(g[y, x], g[q]) for q in beside if not math.isnan(g[q])):
                around = g[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                errors.append(min(abs(p[y, x] - z) for z in around.ravel() if math.isfinite(z)))
    return sum(errors) / len(errors) if errors else math.nan


def depth_pro_f1_by_threshold(p: np.ndarray, g: np.ndarray) -> float:
    """`depth_pro_f1` as whole-array numpy, one threshold and one direction after the other: the usual way of writing it."""
    dp, dg = 1 / np.maximum(p.astype(float), 1e-6), 1 / np.maximum(g.astype(float), 1e-6)
    limits = np.linspace(1.05, 1.25, 10)
    scores = []
    for t in limits:
        precision, recall = 0.0, 0.0
        for a, b in (
            (np.s_[:, :-1], np.s_[:, 1:]),
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[:-1], np.s_[1:]),
            (np.s_[1:], np.s_[:-1]),
        ):
            edge_p, edge_g = dp[a] / dp[b] > t, dg[a] / dg[b] > t
            hits = np.count_nonzero(edge_p & edge_g)
            precision += hits / max(np.count_nonzero(edge_p), 1) / 4
            recall += hits / max(np.count_nonzero(edge_g), 1) / 4
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.sum(np.array(scores) * limits) / limits.sum())


def moge_f1_by_threshold(p: np.ndarray, g: np.ndarray, radius: int) -> float:
    """`moge_f1` for dense maps as whole-array numpy, one threshold after the other."""
    p, g = p.astype(float), g.astype(float)
    h, w = p.shape
    reach = range(-radius, radius + 1)
    offsets = [(dy, dx) for dy in reach for dx in reach if 0 < dy * dy + dx * dx <= radius * radius]
    inner = np.s_[radius : h - radius, radius : w - radius]
    scores = []
    limits = np.linspace(0.05, 0.25, 10)
    for t in limits:
        hits = predicted = present = 0
        for dy, dx in offsets:
            beside = np.s_[radius + dy : h - radius + dy, radius + dx : w - radius + dx]
            edge_p, edge_g = p[beside] / p[inner] > 1 + t, g[beside] / g[inner] > 1 + t
            hits += np.count_nonzero(edge_p & edge_g)
            predicted += np.count_nonzero(edge_p)
            present += np.count_nonzero(edge_g)
        scores.append(2 * hits / (predicted + present) if hits else 0.0)
    return float(np.sum(np.array(scores) * limits) / limits.sum())
