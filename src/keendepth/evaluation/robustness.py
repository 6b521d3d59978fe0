"""Robustness of a depth model: DEE, mCE and mRR as RoboDepth defines them, and stability on pictures without ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from keendepth.core import align
from keendepth.core.types import DepthKind, DepthMap, Image, KindError
from keendepth.data import corruptions
from keendepth.evaluation import metrics

WITHIN = 1.1  # stability counts a pixel as kept when its depth changed by at most 10 %


@dataclass(frozen=True)
class PublishedRow:
    """A model's published DEE on clean pictures and per corruption of KITTI-C (mean of 5 severities), and the mCE and mRR printed with it."""

    clean: float
    dee: Mapping[str, float]
    mce: float
    mrr: float


def _row(clean: float, dees: str, mce: float, mrr: float) -> PublishedRow:
    values = map(float, dees.split())
    return PublishedRow(clean, MappingProxyType(dict(zip(corruptions.KITTI_C, values, strict=True))), mce, mrr)


# RoboDepth's result tables for KITTI-C (Kong et al., NeurIPS 2023, arXiv 2310.15171, and its repository); columns in the order of
# corruptions.KITTI_C. Self-supervised, single-camera training, 640 x 192. The first is the baseline of mCE.
PUBLISHED: Mapping[str, PublishedRow] = MappingProxyType(
    {
        "MonoDepth2-R18": _row(
            0.119,
            ".130 .280 .155 .277 .511 .187 .244 .242 .216 .201 .129 .193 .384 .389 .340 .388 .145 .196",
            100.0,
            84.46,
        ),
        "MonoDepth2-R18-scratch": _row(
            0.144,
            ".183 .343 .311 .312 .399 .416 .254 .232 .199 .207 .148 .212 .441 .452 .402 .453 .153 .171",
            119.75,
            82.50,
        ),
        "DIFFNet": _row(
            0.102,
            ".111 .222 .131 .199 .352 .161 .513 .330 .280 .197 .114 .165 .292 .266 .255 .270 .135 .202",
            94.96,
            85.41,
        ),
        "FSRE-Depth": _row(
            0.109,
            ".128 .261 .139 .237 .393 .170 .291 .273 .214 .185 .119 .179 .400 .414 .370 .407 .147 .224",
            99.05,
            83.86,
        ),
        "Lite-Mono-tiny": _row(
            0.115,
            ".127 .257 .157 .225 .354 .191 .257 .248 .198 .186 .127 .159 .358 .342 .336 .360 .147 .161",
            92.92,
            86.69,
        ),
        "Lite-Mono-8m": _row(
            0.102,
            ".110 .227 .126 .255 .433 .149 .222 .225 .220 .192 .121 .148 .363 .348 .329 .362 .160 .184",
            90.75,
            85.54,
        ),
        "MonoViT": _row(
            0.099,
            ".106 .243 .116 .213 .275 .119 .180 .204 .163 .179 .118 .146 .310 .293 .271 .290 .162 .154",
            79.33,
            89.15,
        ),
    }
)
BASELINE = PUBLISHED["MonoDepth2-R18"]


def dee(abs_rel: float, delta1: float) -> float:
    """Depth estimation error, (AbsRel - delta1 + 1) / 2 with delta1 as a share: RoboDepth's DEE_2, the figure in every cell of its tables."""
    return (abs_rel - delta1 + 1) / 2


@dataclass(frozen=True)
class Robustness:
    """CE and RR per corruption, and their means, all in percent. mCE: lower is better, 100 = the baseline. mRR: higher is better, it may pass 100."""

    clean: float
    dee: Mapping[str, float]
    CE: Mapping[str, float]
    RR: Mapping[str, float]

    @property
    def mCE(self) -> float:
        return float(np.mean(list(self.CE.values())))

    @property
    def mRR(self) -> float:
        """Of the model against itself: a model that is worse on clean pictures gets a higher one, so never read it without mCE."""
        return float(np.mean(list(self.RR.values())))


def robustness(clean: float, dees: Mapping[str, float], baseline: PublishedRow = BASELINE) -> Robustness:
    """From a model's DEE on clean pictures and per corruption (mean of 5 severities): CE_c = DEE_c / baseline's DEE_c, RR_c = (1 - DEE_c) / (1 - clean).

    RoboDepth, arXiv 2310.15171. Raises ValueError unless `dees` has exactly the baseline's corruptions: a mean over others compares with nothing.
    NaN in gives NaN out.
    """
    named = {corruptions.find(name).name: value for name, value in dees.items()}
    if named.keys() != baseline.dee.keys():
        missing, extra = baseline.dee.keys() - named.keys(), named.keys() - baseline.dee.keys()
        raise ValueError(
            f"mCE needs the baseline's {len(baseline.dee)} corruptions; missing: {', '.join(sorted(missing)) or 'none'}; "
            f"not in the baseline: {', '.join(sorted(extra)) or 'none'}"
        )
    if clean >= 1:
        raise ValueError(f"mRR divides by 1 - DEE on clean pictures, which must be below 1, found {clean}")
    CE = {name: 100 * named[name] / worst for name, worst in baseline.dee.items()}
    RR = {name: 100 * (1 - named[name]) / (1 - clean) for name in baseline.dee}
    return Robustness(clean, named, CE, RR)


@dataclass(frozen=True)
class Plan:
    """Which corruptions, at which severities, with which seed."""

    types: tuple[str, ...] = corruptions.KITTI_C
    severities: tuple[int, ...] = corruptions.SEVERITIES
    seed: int = 0


Predict = Callable[[Image], DepthMap]


def measure(
    predict: Predict, samples: Iterable[tuple[Image, DepthMap]], plan: Plan = Plan(), alignment: str = "natural"
) -> tuple[float, dict[str, float]]:
    """(DEE on clean pictures, DEE per corruption) over (picture, METRIC reference) pairs; what `robustness` takes.

    AbsRel and delta1 are averaged over pictures, then over severities, as RoboDepth does; `alignment` is that of `metrics.accuracy`
    (RoboDepth: "median"). Pictures are corrupted at their own size: KITTI-C's are resized to 640 x 192 first, and the numbers compare with
    published ones only then. Depth-aware types see the reference. Raises ValueError when there is no picture.
    """
    rows = [
        {name: _mean_dee(predict, image, reference, (name, plan, alignment)) for name in ("", *plan.types)}
        for image, reference in samples
    ]
    if not rows:
        raise ValueError("robustness: there is no picture to measure on")
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means.pop(""), means


def _mean_dee(predict: Predict, image: Image, reference: DepthMap, how: tuple[str, Plan, str]) -> float:
    """DEE is linear, so its mean over pictures and severities is the DEE of the means. No name: the clean picture."""
    name, plan, alignment = how
    spoilt = (corruptions.corrupt(image, name, s, plan.seed, reference) for s in plan.severities) if name else (image,)
    scores = [metrics.accuracy(predict(picture), reference, alignment=alignment) for picture in spoilt]
    return float(np.mean([dee(score["abs_rel"], score["delta1"]) for score in scores]))


@dataclass(frozen=True)
class Change:
    """How one prediction changed when its picture was spoilt. `drift` is NaN unless the depth is METRIC."""

    image: str
    type: str
    severity: int
    error: float  # mean relative change after scale and shift were fitted; of affine kinds, relative to the clean map's 5-95 % range
    kept: float  # share of the clean map's known pixels that are still known and within 10 % (same measure)
    drift: float  # median of spoilt / clean depth, minus 1: the change of metric scale that the fit hides


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over pictures (and severities) of the three figures of `Change`."""

    error: tuple[float, float]
    kept: tuple[float, float]
    drift: tuple[float, float]
    count: int


@dataclass(frozen=True)
class Stability:
    """Every `Change`, and summaries of them."""

    changes: tuple[Change, ...]

    def by(self, *fields: str) -> dict[tuple, Summary]:
        """Summaries grouped by any of "type", "severity", "image", in the order met; no field: one summary of all, under ()."""
        groups: dict[tuple, list[Change]] = {}
        for change in self.changes:
            groups.setdefault(tuple(getattr(change, field) for field in fields), []).append(change)
        return {key: _summary(group) for key, group in groups.items()}


def _summary(group: list[Change]) -> Summary:
    return Summary(
        _mean_and_spread([c.error for c in group]),
        _mean_and_spread([c.kept for c in group]),
        _mean_and_spread([c.drift for c in group]),
        len(group),
    )


def _mean_and_spread(values: list[float]) -> tuple[float, float]:
    known = [v for v in values if np.isfinite(v)]
    return (float(np.mean(known)), float(np.std(known))) if known else (float("nan"), float("nan"))


def stability(predict: Predict, images: Iterable[Image], plan: Plan = Plan()) -> Stability:
    """How stable a model is on *these* pictures, without ground truth: predictions on spoilt pictures against that on the clean one.

    It measures constancy, not accuracy: a model that always answers the same is perfectly stable. elastic and zoom move pixels a little, so not
    even a perfect model scores 0 there. Depth-aware types see the model's own clean prediction, which must then be METRIC (KindError).
    """
    return Stability(tuple(change for image in images for change in _changes(predict, image, plan)))


def _changes(predict: Predict, image: Image, plan: Plan) -> Iterable[Change]:
    clean = predict(image)
    for name in plan.types:
        for severity in plan.severities:
            spoilt = corruptions.corrupt(image, name, severity, plan.seed, clean)
            yield Change(image.name, corruptions.find(name).name, severity, *compare(clean, predict(spoilt)))


def compare(clean: DepthMap, spoilt: DepthMap) -> tuple[float, float, float]:
    """(error, kept, drift) of `Change` between two predictions of one kind; raises KindError where the kinds differ.

    Scale and shift are fitted by least squares in the map's own space (z, or 1/z for DISPARITY). A fitted depth <= 0 counts as it is in the
    error and is never kept. NaN and sky in the clean map do not count; in the spoilt map they are lost. No shared pixel: (NaN, 0, NaN).
    """
    if clean.kind is not spoilt.kind:
        raise KindError(f"stability compares maps of one kind, found {clean.kind} and {spoilt.kind}")
    spoilt = spoilt.resized(*clean.size)
    shared = clean.valid & spoilt.valid
    if not shared.any():
        return float("nan"), 0.0, float("nan")
    was, now = clean.values[shared].astype(np.float64), spoilt.values[shared].astype(np.float64)
    scale, shift = align.fit(now, was, "scale_shift")
    fitted = scale * now + shift
    change, inside = _relative(was, fitted, clean.kind)
    drift = float(np.median(now / was)) - 1 if clean.kind is DepthKind.METRIC else float("nan")
    return float(change.mean()), float(inside.sum() / clean.valid.sum()), drift


def _relative(was: np.ndarray, fitted: np.ndarray, kind: DepthKind) -> tuple[np.ndarray, np.ndarray]:
    """(relative change, whether within 10 %). Affine kinds have no zero, so theirs is relative to the range of the map."""
    if kind.positive:
        return np.abs(fitted - was) / was, (fitted > was / WITHIN) & (fitted < was * WITHIN)
    low, high = np.quantile(was, [0.05, 0.95])
    change = np.abs(fitted - was) / max(float(high - low), 1e-9 * max(1.0, float(np.abs(was).max())))
    return change, change <= WITHIN - 1
