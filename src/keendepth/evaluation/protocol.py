"""The rules under which a score was made: hashed, printed beside it, and the only ground on which two scores may be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from keendepth.core.types import DepthKind, DepthMap
from keendepth.data.sample import CROPS, crop_region
from keendepth.evaluation import boundary, metrics
from keendepth.evaluation.scoring import METRICS, NATURAL, align_to, figures

VERSION = "1"  # raised when a figure comes to mean something else, so that old scores no longer compare
FAMILIES = ("accuracy", "sharpness", "robustness")
RESIZE = "prediction to reference, linear"
VALID = "reference known and finite"
METRES = "metres"
NOMINAL = "1/disparity of unknown scale and offset"  # see `nominal`
IN_INVERSE = ("disparity", "in 1/z")
CROP_ALIASES = {"garg": "kitti-garg", "eigen": "kitti-eigen", "nyu": "nyu-eigen"}


class ProtocolMismatch(ValueError):  # noqa: N818  (it is what happened; users read it)
    """Two scores made under different rules. The message names what differs."""


@dataclass(frozen=True)
class Protocol:
    """Every rule that changes a number; `facts` are the data set's own (encoding, baseline, seed of a scene, ...)."""

    dataset: str
    split: str = "all"
    pictures: str = "each"  # which ones: their number and the hash of their names; "each" for the score of one picture
    family: Literal["accuracy", "sharpness", "robustness"] = "accuracy"
    alignment: str = "none"
    crop: str = "none"
    cap: tuple[float, float] | None = None  # metres, of the reference
    clip: bool = False  # whether the prediction is clipped to the cap too
    resize: str = RESIZE
    valid: str = VALID
    reference: str = METRES
    corruption: str = "none"
    seed: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    version: str = VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "crop", CROP_ALIASES.get(self.crop, self.crop))
        if self.crop not in CROPS:
            raise ValueError(f"crop: expected one of {', '.join([*CROPS, *CROP_ALIASES])}, found {self.crop!r}")
        if self.cap is not None and not 0 <= self.cap[0] < self.cap[1]:
            raise ValueError(f"cap: expected near below far in metres, found {self.cap[0]:g} and {self.cap[1]:g}")
        if self.clip and self.cap is None:
            raise ValueError("clip: predictions are clipped to the cap, so give a cap")

    @property
    def hash(self) -> str:
        """Ten hex digits of the SHA-256 of the canonical JSON; the same on every machine."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]

    @property
    def each(self) -> Protocol:
        """The rules for one picture, whichever others are scored with it."""
        return replace(self, pictures="each")

    @property
    def text(self) -> str:
        """One line to print beside the scores."""
        cap = "none" if self.cap is None else f"{self.cap[0]:g} to {self.cap[1]:g} m{', clipped' if self.clip else ''}"
        parts = {
            "data": f"{self.dataset}, {self.split}, {self.pictures}",
            "alignment": self.alignment,
            "crop": self.crop,
            "cap": cap,
            "resize": self.resize,
            "scored": self.valid,
            "reference": self.reference,
            "corruption": self.corruption,
            "seed": str(self.seed),
            **dict(self.facts),
            "rules": f"version {self.version}",
        }
        return f"protocol {self.hash}: " + "; ".join(f"{name} {value}" for name, value in parts.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the hash included."""
        return {**asdict(self), "facts": dict(self.facts), "hash": self.hash}


def facts_of(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What a data set says of itself, in canonical order, without what `Protocol` says in its own words, and what is empty."""
    own = {field.name for field in fields(Protocol)} | {"images", "nearest", "unknown"}
    return tuple(sorted((name, _plain(value)) for name, value in facts.items() if name not in own and value != ""))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def pictures_of(ids: Sequence[str]) -> str:
    """Which pictures: how many, and a hash of their names in any order."""
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:8]
    return f"{len(ids)} picture{'' if len(ids) == 1 else 's'} {digest}"


def differences(first: Protocol, second: Protocol) -> dict[str, tuple[Any, Any]]:
    """The fields in which two protocols differ, with both values; a data set's facts one by one."""
    found = {
        field.name: (getattr(first, field.name), getattr(second, field.name))
        for field in fields(Protocol)
        if field.name != "facts"
    }
    ours, theirs = dict(first.facts), dict(second.facts)
    found |= {name: (ours.get(name), theirs.get(name)) for name in sorted(ours | theirs)}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def compare(first: Protocol, second: Protocol) -> None:
    """Raise ProtocolMismatch, naming each field that differs, unless the two are the same."""
    unlike = differences(first, second)
    if unlike:
        listed = "; ".join(f"{name}: {a!r} and {b!r}" for name, (a, b) in unlike.items())
        raise ProtocolMismatch(
            f"scores under protocols {first.hash} and {second.hash} do not compare, they differ in {listed}: "
            "score both again under one protocol"
        )


@dataclass(frozen=True)
class Score:
    """The figures of one picture by one model, and the hash of the rules (for one picture) under which they were made."""

    model: str
    picture: str
    protocol: str
    figures: Mapping[str, float]


def effective_alignment(kind: DepthKind, alignment: str) -> str:
    """What `alignment` comes to for a prediction of this kind, so that a METRIC and a DISPARITY map never share a protocol by name alone.

    "natural" becomes what the kind needs, "affine" is "scale_shift", and a fit of DISPARITY is in 1/z. Raises as `scoring.align_to`.
    """
    name = {"natural": NATURAL[kind], "affine": "scale_shift"}.get(alignment, alignment)
    values = np.array([[1.0, 2.0]], np.float32)
    align_to(DepthMap(values, kind), DepthMap(values, DepthKind.METRIC), name)  # refuses what this kind does not allow
    if kind is DepthKind.DISPARITY:
        return {"scale_shift": "disparity", "trimmed": "trimmed in 1/z"}.get(name, name)
    return name


def evaluate(prediction: DepthMap, reference: DepthMap, protocol: Protocol) -> dict[str, float]:
    """Every figure of the protocol's family for one pair: METRIC reference, prediction of any kind and size.

    Accuracy sees the crop and the cap; sharpness sees the crop alone, since a cap would cut the far side off every edge.
    Raises KindError where the kind forbids the alignment, ValueError for "robustness", which needs pictures (`benchmark`), and for a nominal
    reference under another alignment than in 1/z.
    """
    if protocol.family not in _SCORERS:
        raise ValueError(f"one pair of maps has accuracy and sharpness, not {protocol.family}")
    if protocol.reference != METRES and not protocol.alignment.endswith(IN_INVERSE):
        raise ValueError(
            f"a reference of {protocol.reference} can only be scored with alignment disparity, found {protocol.alignment}"
        )
    inside = reference.with_values(
        np.where(crop_region(protocol.crop, *reference.size), reference.values, np.float32(np.nan))
    )
    found = _SCORERS[protocol.family](prediction, inside, protocol)
    if protocol.reference != METRES:
        found |= {name: float("nan") for name, figure in figures().items() if name in found and figure.unit == "m"}
    return found


def nominal(disparity: DepthMap) -> DepthMap:
    """Stereo disparity whose scale and offset nobody wrote down, as depth that can be scored: z = median / disparity, in no unit.

    Order and place of edges are right; relative errors depend on the unknown offset, so they compare within one data set only, and
    `evaluate` gives NaN for figures in metres. Values at or below zero become unknown. Raises KindError for other kinds.
    """
    disparity.require(DepthKind.DISPARITY, "reading a reference as nominal depth")
    known = disparity.valid & (disparity.values > 0)
    middle = np.median(disparity.values[known]) if known.any() else 1.0
    z = np.where(known, middle / np.where(known, disparity.values, 1), np.where(disparity.sky, np.inf, np.nan))
    return DepthMap(z.astype(np.float32), DepthKind.METRIC)


def _accuracy(prediction: DepthMap, reference: DepthMap, protocol: Protocol) -> dict[str, float]:
    alignment = _scoring_name(protocol)
    found = metrics.accuracy(prediction, reference, alignment=alignment, cap=protocol.cap, clip=protocol.clip)
    near, far = protocol.cap or (0.0, np.inf)
    with np.errstate(invalid="ignore"):
        capped = (reference.values >= near) & (reference.values <= far)
    kept = reference.with_values(np.where(capped, reference.values, np.float32(np.nan)))
    aligned = align_to(prediction, kept, alignment).depth
    for name in METRICS:
        metric = METRICS.build(name)
        if metric.sort == "accuracy" and name != "accuracy":
            found |= metric.score(aligned, kept)
    return found


def _sharpness(prediction: DepthMap, reference: DepthMap, protocol: Protocol) -> dict[str, float]:
    return boundary.sharpness(prediction, reference, alignment=_scoring_name(protocol))


def _scoring_name(protocol: Protocol) -> str:
    return "trimmed" if protocol.alignment == "trimmed in 1/z" else protocol.alignment


_SCORERS: Mapping[str, Callable[[DepthMap, DepthMap, Protocol], dict[str, float]]] = MappingProxyType(
    {"accuracy": _accuracy, "sharpness": _sharpness}
)
