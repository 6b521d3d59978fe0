"""The corrupted half of a benchmark: DEE of every model on spoilt copies of the pictures, and mCE and mRR with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from keendepth.core.types import DepthMap, Image
from keendepth.data import corruptions
from keendepth.data.sample import crop_region
from keendepth.evaluation import metrics
from keendepth.evaluation.plan import CorruptionPlan
from keendepth.evaluation.protocol import Protocol, Score
from keendepth.evaluation.resampling import Resampling, Summary, interval
from keendepth.evaluation.robustness import PublishedRow, dee, robustness
from keendepth.evaluation.subjects import (
    Step,
    Work,
    chosen,
    fingerprint,
    mapped,
    models_of,
    protocol_of,
    sample_of,
    tables_of,
)
from keendepth.evaluation.tables import ScoreFile, Spoilt


@dataclass(frozen=True)
class Task:
    """One picture and one corruption ("" for none), for the models that lack its score."""

    work: Work
    plan: CorruptionPlan
    picture: str
    type: str
    due: tuple[tuple[str, Protocol], ...]


def spoil(work: Work, plan: CorruptionPlan, step: Step) -> list[Spoilt]:
    """Score what is missing; one result per protocol. Corrupted predictions are not stored (there are 91 per picture), their scores are."""
    data = replace(work.data, longest=plan.longest, ids=plan.ids or work.data.ids, limit=plan.limit or work.data.limit)
    work = replace(work, data=data)
    ids = chosen(data, work.place.data)
    prints = {spec: fingerprint(spec, work.place.plugins) for spec in work.specs}
    types = ("", *(corruptions.find(name).name for name in plan.types))
    rules = {name: _rules(work, plan, name) for name in types}
    files = {p: ScoreFile.of(work.place.out, data.title, p) for own in rules.values() for p in own.values()}
    tasks = []
    for picture in ids:
        for name in types:
            due = tuple((s, p) for s, p in rules[name].items() if not files[p].has((s, prints[s], picture)))
            if due:
                tasks.append(Task(work, plan, picture, name, due))
    for number, found in enumerate(mapped(_score_one, tasks, work.place)):
        for protocol, one in found:
            files[protocol].add(prints[one.model], one)
        step(f"{data.title}: corrupting", number + 1, len(tasks))
    return _grouped(data.title, plan.baseline or work.specs[0], {
        name: tables_of(data.title, ids, {s: [p] for s, p in own.items()}, files, prints) for name, own in rules.items()
    })  # fmt: skip


def _rules(work: Work, plan: CorruptionPlan, name: str) -> dict[str, Protocol]:
    made = models_of(work.specs)
    kinds = {spec: made[spec].kind for spec in work.specs}
    what = f"{name} at {', '.join(map(str, plan.severities))}" if name else "none"
    return {
        spec: replace(protocol_of(work.data, work.place.data, kind, "robustness", plan.alignment), corruption=what)
        for spec, kind in kinds.items()
    }


def _grouped(title: str, baseline: str, tables: Mapping[str, list]) -> list[Spoilt]:
    """Tables of one alignment belong together: those at the same place of each list, since the models are in one order."""
    return [
        Spoilt(title, baseline, {name: found[number] for name, found in tables.items()})
        for number in range(len(tables[""]))
    ]


def _score_one(task: Task) -> list[tuple[Protocol, Score]]:
    """Mean over the severities; models outermost within a picture share their predictor's answer."""
    image, reference = sample_of(task.work.data, task.work.place.data, task.picture)
    made = models_of(task.work.specs)
    found: dict[str, list[dict[str, float]]] = {spec: [] for spec, _ in task.due}
    for picture in _spoilt(image, reference, task):
        for spec, protocol in task.due:
            found[spec].append(_accuracy(made[spec](picture), reference, protocol))
    steps = task.plan.severities if task.type else ()
    return [
        (protocol, Score(spec, task.picture, protocol.hash, _mean(found[spec]) | _steps(found[spec], steps)))
        for spec, protocol in task.due
    ]


def _spoilt(image: Image, reference: DepthMap, task: Task) -> list[Image]:
    if not task.type:
        return [image]
    return [corruptions.corrupt(image, task.type, severity, 0, reference) for severity in task.plan.severities]


def _accuracy(prediction: DepthMap, reference: DepthMap, protocol: Protocol) -> dict[str, float]:
    found = metrics.accuracy(
        prediction, reference, alignment=protocol.alignment.removesuffix(" in 1/z"), cap=protocol.cap,
        region=crop_region(protocol.crop, *reference.size), clip=protocol.clip,
    )  # fmt: skip
    return {"dee": dee(found["abs_rel"], found["delta1"]), "abs_rel": found["abs_rel"], "delta1": found["delta1"]}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _steps(rows: Sequence[Mapping[str, float]], severities: Sequence[int]) -> dict[str, float]:
    """DEE of each severity by itself, for the report's table of how the error moves."""
    return {f"dee_{severity}": row["dee"] for severity, row in zip(severities, rows, strict=False)}


def rises(spoilt: Spoilt, model: str) -> dict[str, list[float]]:
    """Per corruption, the model's DEE on clean pictures and at each severity, mean over the pictures that have it."""
    clean = _known_mean(spoilt.tables[""].values(model, "dee"))
    severities = range(1, 6)
    return {
        name: [clean, *(_known_mean(table.values(model, f"dee_{severity}")) for severity in severities)]
        for name, table in spoilt.tables.items()
        if name
    }


def _known_mean(values: Float64[np.ndarray, " n"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True)
class Robust:
    """mCE and mRR of one model with intervals over pictures, and its DEE per corruption ("" = clean)."""

    mce: Summary
    mrr: Summary
    dee: Mapping[str, float]


def robust(spoilt: Spoilt, how: Resampling) -> dict[str, Robust]:
    """Every model against the baseline, over the pictures that all models have a DEE for; model and baseline are resampled together."""
    models = list(spoilt.tables[""].scores)
    if spoilt.baseline not in models:
        raise ValueError(
            f"{spoilt.title}: mCE is relative to {spoilt.baseline!r}, which is not among the models of this protocol ({', '.join(models)}): "
            "run it too, under the same alignment"
        )
    matrices = {m: np.stack([t.values(m, "dee") for t in spoilt.tables.values()], axis=1) for m in models}
    whole = np.isfinite(np.concatenate(list(matrices.values()), axis=1)).all(axis=1)
    known = {model: matrix[whole] for model, matrix in matrices.items()}
    types = list(spoilt.tables)
    return {model: _robust(known[model], known[spoilt.baseline], types, how) for model in models}


def _robust(
    own: Float64[np.ndarray, "n k"], base: Float64[np.ndarray, "n k"], types: list[str], how: Resampling
) -> Robust:
    count = len(own)
    means = own.mean(axis=0) if count else np.full(len(types), np.nan)
    dees = dict(zip(types, means.tolist(), strict=True))
    worst = dict(zip(types, (base.mean(axis=0) if count else means).tolist(), strict=True))
    if not count or means[0] >= 1 or min(worst.values()) <= 0:  # nothing to divide by
        nothing = Summary(np.nan, np.nan, np.nan, np.nan, count)
        return Robust(nothing, nothing, dees)
    spoilt = {name: value for name, value in dees.items() if name}
    row = PublishedRow(worst.pop(""), worst, 100.0, 0.0)
    found = robustness(dees[""], spoilt, row)
    if count == 1:
        return Robust(_single(found.mCE), _single(found.mRR), dees)

    def mce(chosen: np.ndarray) -> np.ndarray:
        return 100 * (_means(own, chosen)[:, 1:] / _means(base, chosen)[:, 1:]).mean(1)

    def mrr(chosen: np.ndarray) -> np.ndarray:
        mean = _means(own, chosen)
        return 100 * ((1 - mean[:, 1:]) / (1 - mean[:, :1])).mean(1)

    return Robust(
        Summary(found.mCE, np.nan, *interval(count, mce, how), count),
        Summary(found.mRR, np.nan, *interval(count, mrr, how), count),
        dees,
    )


def _single(value: float) -> Summary:
    """Of one picture: no interval."""
    return Summary(value, np.nan, np.nan, np.nan, 1)


def _means(matrix: Float64[np.ndarray, "n k"], chosen: np.ndarray) -> Float64[np.ndarray, "r k"]:
    """Column means over the rows chosen by each row of indices [r n], by how often each is chosen."""
    r, n = chosen.shape
    weights = np.bincount((chosen + n * np.arange(r)[:, None]).ravel(), minlength=r * n).reshape(r, n)
    return weights @ matrix / n
