"""The benchmark runner: predictions go to a store, then scores to tables; either phase goes on where it was stopped."""

from __future__ import annotations

import contextlib
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keendepth.core.registry import UnknownNameError
from keendepth.core.types import Image, KindError
from keendepth.data.store import Recipe, Store
from keendepth.evaluation import spoiling, worst
from keendepth.evaluation.plan import DataPlan, Plan
from keendepth.evaluation.protocol import Protocol, Score, evaluate
from keendepth.evaluation.subjects import (
    Place,
    Step,
    Work,
    chosen,
    families_of,
    fingerprint,
    mapped,
    models_of,
    opened,
    protocol_of,
    sample_of,
    tables_of,
)
from keendepth.evaluation.tables import Results, ScoreFile, Table

PICTURE = "picture_crc32"  # the array beside a stored prediction that tells which pixels it was made from

# Phase 1


def export(work: Work, ids: Sequence[str], step: Step) -> None:
    """Every prediction that the stores lack; pictures outermost, so that models share their predictor's answer."""
    stores = {spec: _store(work, spec) for spec in work.specs}
    missing = {spec: set(store.missing(ids)) for spec, store in stores.items()}
    made = models_of(work.specs)
    for number, identity in enumerate(ids):
        wanted = [spec for spec in work.specs if identity in missing[spec]]
        if wanted:
            image = sample_of(work.data, work.place.data, identity)[0]
        for spec in wanted:
            stores[spec].put(identity, made[spec](image), {PICTURE: _digest(image)})
        step(f"{work.data.title}: predicting", number + 1, len(ids))


def _store(work: Work, spec: str) -> Store:
    data = work.data
    settings = {
        "root": data.root,
        "options": dict(data.options),
        "longest": data.longest,
        "model": fingerprint(spec, work.place.plugins),
    }
    facts = dict(opened(data, work.place.data).protocol_facts())
    return Store.create(work.store(spec), Recipe(data.name, spec, settings=settings, facts=facts))


# Phase 2


def score(work: Work, ids: Sequence[str], step: Step) -> list[Table]:
    """The tables of one data set, one for each family and effective alignment; pictures with a row already are not scored again."""
    rules = {spec: _rules(work, spec) for spec in work.specs}
    prints = {spec: fingerprint(spec, work.place.plugins) for spec in work.specs}
    files = {p: ScoreFile.of(work.place.out, work.data.title, p) for own in rules.values() for p in own}
    tasks = []
    for identity in ids:
        due = {
            spec: tuple(p for p in own if not files[p].has((spec, prints[spec], identity)))
            for spec, own in rules.items()
        }
        if any(due.values()):
            tasks.append((work, identity, due))
    for number, found in enumerate(mapped(_score_one, tasks, work.place)):
        for spec, protocol, one in found:
            files[protocol].add(prints[spec], one)
        step(f"{work.data.title}: scoring", number + 1, len(tasks))
    return tables_of(work.data.title, ids, rules, files, prints)


def _rules(work: Work, spec: str) -> list[Protocol]:
    """Without repeats ("natural" and "none" are the same for a metric model), and without alignments that the model's kind forbids."""
    data, folder = work.data, work.place.data
    kind, families = models_of(work.specs)[spec].kind, families_of(data, folder)
    wanted = [("accuracy", a) for a in data.alignment] + [("sharpness", data.alignment[0])]
    made: dict[Protocol, None] = {}
    for family, alignment in wanted:
        if family in families:
            with contextlib.suppress(KindError):
                made[protocol_of(data, folder, kind, family, alignment)] = None
    return list(made)


def unscorable(work: Work) -> dict[str, str]:
    """The models whose kind allows none of the alignments of this data set, with the reason."""
    kinds = {spec: made.kind for spec, made in models_of(work.specs).items()}
    return {
        f"{spec} on {work.data.title}": f"{kinds[spec]} depth allows none of the alignments {', '.join(work.data.alignment)}"
        for spec in work.specs
        if not _rules(work, spec)
    }


def _digest(image: Image) -> np.ndarray:
    return np.array([zlib.crc32(image.rgb.tobytes())], np.uint32)


def _check_picture(store: Store, identity: str, image: Image) -> None:
    """A prediction belongs to the pixels that it was made from: a data set that has changed since must not be scored with it."""
    if not np.array_equal(store.arrays(identity)[PICTURE], _digest(image)):
        raise ValueError(
            f"picture {identity} is not the one that {store.folder} was predicted from: the data has changed; use --fresh"
        )


def _score_one(task: tuple[Work, str, dict[str, tuple[Protocol, ...]]]) -> list[tuple[str, Protocol, Score]]:
    work, identity, due = task
    image, reference = sample_of(work.data, work.place.data, identity)
    found = []
    for spec, protocols in due.items():
        if not protocols:
            continue
        store = Store.open(work.store(spec))
        _check_picture(store, identity, image)
        prediction = store.get(identity)
        for protocol in protocols:
            figures = evaluate(prediction, reference, protocol)
            found.append((spec, protocol, Score(spec, identity, protocol.hash, figures)))
    return found


# The whole


def run(plan: Plan, place: Place, step: Step) -> Results:
    """Both phases for every data set, then the corrupted copies; the same call goes on after a stop.

    A data set that cannot be read stops the run with its name, unless the plan calls it optional: then its reason is in `left_out`.
    """
    models_of(plan.models)  # a name that is wrong is found before any work
    tables: list[Table] = []
    left_out: dict[str, str] = {}
    for data in plan.datasets:
        try:
            ids = chosen(data, place.data)
        except (ValueError, OSError, ImportError, UnknownNameError) as error:
            if not data.optional:
                raise ValueError(f"{data.title}: {error}") from error
            left_out[data.title] = str(error)
            continue
        work = Work(data, plan.models, place)
        export(work, ids, step)
        tables += score(work, ids, step)
        left_out |= unscorable(work)
    robustness = [
        found
        for spoilt in plan.corruptions
        if spoilt.dataset not in left_out
        for found in spoiling.spoil(Work(_data(plan, spoilt.dataset), plan.models, place), spoilt, step)
    ]
    return Results(plan, tuple(tables), tuple(robustness), left_out)


def forget(place: Place) -> None:
    """Remove the predictions and scores of earlier runs in this folder; other files stay."""
    for name in ("predictions", "scores"):
        if (place.out / name).is_dir():
            shutil.rmtree(place.out / name)


def _data(plan: Plan, title: str) -> DataPlan:
    return next(data for data in plan.datasets if data.title == title)


def draw_worst(results: Results, place: Place) -> dict[tuple[str, str], list[Path]]:
    """PNGs of the worst cases of each data set and model, below `out/worst`; drawn anew, so that none is stale."""
    folder = place.out / "worst"
    for old in folder.glob("*.png"):
        old.unlink()
    drawn: dict[tuple[str, str], list[Path]] = {}
    for table in results.tables:
        data = _data(results.plan, table.title)
        for model in table.scores:
            if results.plan.worst and (table.title, model) not in drawn:
                work = Work(data, results.plan.models, place)
                drawn[table.title, model] = [
                    _draw(work, model, table, (number, *found), folder)
                    for number, found in enumerate(worst.worst(table, model, results.plan.worst), 1)
                ]
    return drawn


def _draw(work: Work, model: str, table: Table, case: tuple[int, str, str, float], folder: Path) -> Path:
    number, identity, figure, value = case
    image, reference = sample_of(work.data, work.place.data, identity)
    prediction = Store.open(work.store(model)).get(identity)
    strip = worst.strip(image, prediction, reference, table.protocol.alignment)
    return worst.write_strip(folder, (table.title, model, f"{number}-{figure}-{value:.3f}", identity), strip)
