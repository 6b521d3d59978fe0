"""Accuracy of depth: the usual errors, a cascade over alignments, and an F-score of point clouds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from scipy.spatial import cKDTree

from keendepth.core import geometry
from keendepth.core.types import DepthKind, DepthMap
from keendepth.evaluation.scoring import METRICS, Figure, Metric, align_to, arrays, mean

# From strict to weak: what each kind of prediction can be scored under (the cascade of MoGe, arXiv 2410.19115, with median added).
CASCADE = {
    DepthKind.METRIC: ("none", "scale", "median", "scale_shift", "disparity"),
    DepthKind.SCALE_INVARIANT: ("scale", "median", "scale_shift", "disparity"),
    DepthKind.AFFINE_INVARIANT: ("scale_shift",),
    DepthKind.DISPARITY: ("disparity",),
}
ACCURACY = {
    "abs_rel": Figure("lower", "1", "mean |p - g| / g"),
    "sq_rel": Figure("lower", "m", "mean (p - g)^2 / g"),
    "rmse": Figure("lower", "m", "root of mean (p - g)^2"),
    "rmse_log": Figure("lower", "1", "root of mean (ln p - ln g)^2"),
    "log10": Figure("lower", "1", "mean |log10 p - log10 g|"),
    "silog": Figure("lower", "100 ln", "100 x standard deviation of ln p - ln g"),
    "delta1": Figure("higher", "1", "share with max(p/g, g/p) < 1.25"),
    "delta2": Figure("higher", "1", "share with max(p/g, g/p) < 1.25^2"),
    "delta3": Figure("higher", "1", "share with max(p/g, g/p) < 1.25^3"),
}
CLOUD_METRES = (0.05, 0.10, 0.30)  # 0.1 m is the threshold of SYNS-Patches (MDEC); the others bracket it
CLOUD = {
    f"fscore_{round(100 * t):02d}cm": Figure("higher", "1", f"harmonic mean of cloud precision and recall at {t} m")
    for t in CLOUD_METRES
}


def accuracy(
    prediction: DepthMap,
    reference: DepthMap,
    *,
    alignment: str = "natural",
    cap: tuple[float, float] | None = None,
    region: Bool[np.ndarray, "h w"] | None = None,
    clip: bool = False,
) -> dict[str, float]:
    """AbsRel, SqRel, RMSE, RMSElog, log10, SILog, delta1-3 (Eigen et al. 2014, arXiv 1406.2283; SILog as KITTI has it: x 100, lambda 1).

    `alignment`: see `scoring.align_to`; the fit sees the same pixels as the score. `cap` (near, far) in metres limits the *reference* pixels,
    `region` too; `clip` also clips the prediction to `cap` (the KITTI and Monodepth2 protocol; SharpDepth's does not).
    Counts. `pixels`: scored. `coverage`: share of the reference's pixels that the prediction knows; unknown ones are not scored, so compare at
    equal coverage. `clamped`: aligned values at or near zero or below; kept, raised to where they cost, never inliers (released evaluators
    count a negative depth as an inlier, since its ratio is < 1.25, or mask it out). `sky`: predicted on finite reference, scored as twice the
    farthest reference depth. Reference sky is not scored, and reference depth stays float (SDDR's evaluator casts it to uint8).
    Nothing to score: every figure NaN, pixels 0.
    """
    scored = reference.valid & (True if region is None else region)
    if cap is not None:
        scored &= (reference.values >= cap[0]) & (reference.values <= cap[1])
    aligned = align_to(prediction, reference, alignment, scored)
    p, g = arrays(aligned.depth, reference)
    sky = np.isposinf(p) & scored
    known = scored & ~np.isnan(p)
    values, target = p[known], g[known]
    if sky.any():
        values = np.where(np.isposinf(values), 2 * g[reference.valid].max(), values)
    if clip and cap is not None:
        values = np.clip(values, *cap)
    failed = (aligned.failed | sky)[known]
    counts = {
        "pixels": float(known.sum()),
        "coverage": mean(known[scored]),
        "clamped": float((aligned.failed & scored).sum()),
        "sky": float(sky.sum()),
    }
    return errors(values, target, failed) | counts


def errors(
    p: Float64[np.ndarray, " n"], g: Float64[np.ndarray, " n"], failed: Bool[np.ndarray, " n"] | None = None
) -> dict[str, float]:
    """The figures of `accuracy` for positive depths in metres; `failed` pixels are never inliers. NaN for none."""
    if p.size == 0:
        return dict.fromkeys(ACCURACY, float("nan"))
    difference = p - g
    logs = np.log(p / g)
    ratio = np.where(False if failed is None else failed, np.inf, np.maximum(p / g, g / p))
    return {
        "abs_rel": float((np.abs(difference) / g).mean()),
        "sq_rel": float((difference**2 / g).mean()),
        "rmse": float(np.sqrt((difference**2).mean())),
        "rmse_log": float(np.sqrt((logs**2).mean())),
        "log10": float(np.abs(logs).mean() / np.log(10)),
        "silog": float(100 * logs.std()),
        "delta1": float((ratio < 1.25).mean()),
        "delta2": float((ratio < 1.25**2).mean()),
        "delta3": float((ratio < 1.25**3).mean()),
    }


def cascade(
    prediction: DepthMap,
    reference: DepthMap,
    *,
    cap: tuple[float, float] | None = None,
    region: Bool[np.ndarray, "h w"] | None = None,
) -> dict[str, dict[str, float]]:
    """`accuracy` under the alignment the prediction's kind needs and under every weaker one, strict first (MoGe, arXiv 2410.19115).

    Weaker is not always better in every figure: each fit is least squares in its own space, so far pixels lead in z and near ones in 1/z.
    """
    return {
        name: accuracy(prediction, reference, alignment=name, cap=cap, region=region)
        for name in CASCADE[prediction.kind]
    }


def cloud_fscore(
    prediction: DepthMap,
    reference: DepthMap,
    *,
    metres: tuple[float, ...] = CLOUD_METRES,
    samples: int = 20_000,
    seed: int = 0,
) -> dict[str, float]:
    """F-score of the two point clouds at each distance in `metres` (Tanks and Temples, Knapitsch et al. 2017; in depth: Spencer et al., MDEC).

    Protocol (ours): both clouds use the *reference's* camera, so only depth is judged; the prediction counts at pixels the reference knows; up to
    `samples` seeded points of each cloud are queried against the *whole* other cloud, so distances are not inflated by thinning.
    Precision and recall both 0 gives 0. No camera, or an empty cloud: NaN, and `cloud_points` 0. Raises KindError unless both are METRIC.
    """
    p, g = arrays(prediction, reference)
    names = [f"fscore_{round(100 * t):02d}cm" for t in metres]
    known = np.isfinite(g)
    if reference.camera is None or not (known & np.isfinite(p)).any():
        return dict.fromkeys(names, float("nan")) | {"cloud_points": 0.0}
    rays = geometry.pixel_rays(*reference.size, reference.camera.K)
    ours = geometry.unproject(p, rays)[known & np.isfinite(p)]
    theirs = geometry.unproject(g, rays)[known]
    rng = np.random.default_rng(seed)
    forth, back = _nearest(ours, theirs, samples, max(metres), rng), _nearest(theirs, ours, samples, max(metres), rng)
    scores = {
        name: _harmonic(mean(forth <= limit), mean(back <= limit)) for name, limit in zip(names, metres, strict=True)
    }
    return scores | {"cloud_points": float(min(len(ours), len(theirs)))}


def _nearest(
    queries: np.ndarray, cloud: np.ndarray, samples: int, limit: float, rng: np.random.Generator
) -> np.ndarray:
    """Distances of up to `samples` queries to their nearest point of the cloud; inf beyond the limit."""
    if len(queries) > samples:
        queries = queries[rng.choice(len(queries), samples, replace=False)]
    tree = cKDTree(cloud, balanced_tree=False, compact_nodes=False)  # twice as quick to build, same answers
    return tree.query(queries, distance_upper_bound=np.nextafter(limit, np.inf))[0]


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


@METRICS.register(
    "accuracy",
    summary="AbsRel, SqRel, RMSE, RMSElog, log10, SILog, delta1-3",
    license="Apache-2.0",
    paper="arXiv 1406.2283",
)
def _accuracy_metric() -> Metric:
    return Metric(accuracy, ACCURACY, "accuracy")


@METRICS.register(
    "cloud",
    summary="F-score of the point clouds at 5, 10 and 30 cm",
    license="Apache-2.0",
    paper="Knapitsch et al., Tanks and Temples, 2017",
)
def _cloud_metric() -> Metric:
    return Metric(cloud_fscore, CLOUD, "accuracy")
