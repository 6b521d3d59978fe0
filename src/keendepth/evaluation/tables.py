"""Scores of single pictures: the CSV in which they outlive a stopped run, and the table that only takes scores of one protocol."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from keendepth.evaluation.plan import Plan, slug
from keendepth.evaluation.protocol import Protocol, ProtocolMismatch, Score, compare
from keendepth.evaluation.scoring import METRICS
from keendepth.io.atomic import atomic

ROBUSTNESS_FIGURES = ("dee", "abs_rel", "delta1")
HEAD = ("protocol", "model", "prediction", "picture")


@dataclass(frozen=True)
class Table:
    """Scores of some models on the same pictures under one protocol; refuses scores that were made under another."""

    title: str
    protocol: Protocol
    ids: tuple[str, ...]
    scores: Mapping[str, tuple[Score, ...]]  # per model, in the order of `ids`

    def __post_init__(self) -> None:
        for model, scores in self.scores.items():
            unlike = {score.protocol for score in scores} - {self.protocol.each.hash}
            if unlike:
                raise ProtocolMismatch(
                    f"{self.title}: {model} was scored under protocol {', '.join(sorted(unlike))}, the table is for "
                    f"{self.protocol.each.hash}: score it again under that"
                )
            if tuple(score.picture for score in scores) != self.ids:
                raise ProtocolMismatch(f"{self.title}: {model} was not scored on the pictures of this table")

    def joined(self, other: Table) -> Table:
        """One table with the models of both; raises ProtocolMismatch, naming the fields, where the protocols differ."""
        compare(self.protocol, other.protocol)
        return replace(self, scores={**self.scores, **other.scores})

    def values(self, model: str, figure: str) -> Float64[np.ndarray, " n"]:
        """One figure of one model, picture by picture; NaN where it has none."""
        return np.array([score.figures.get(figure, np.nan) for score in self.scores[model]], np.float64)


@dataclass(frozen=True)
class Spoilt:
    """Robustness on one data set: tables of DEE per corruption ("" for the clean pictures), and the model whose mCE is 100."""

    title: str
    baseline: str
    tables: Mapping[str, Table]

    @property
    def protocol(self) -> Protocol:
        """The rules of all its tables, with the corruptions listed."""
        types = [name for name in self.tables if name]
        severities = next(table.protocol.corruption for name, table in self.tables.items() if name).split(" at ")[1]
        return replace(self.tables[""].protocol, corruption=f"{', '.join(types)} at {severities}")


@dataclass(frozen=True)
class Results:
    """What a benchmark found; `left_out` gives the reason for each data set that could not be read, and each model that could not be scored."""

    plan: Plan
    tables: tuple[Table, ...]
    robustness: tuple[Spoilt, ...]
    left_out: Mapping[str, str]


def wanted_figures(family: str) -> set[str]:
    """The figures that a whole score of this family has, those of a user's own metrics too."""
    if family == "robustness":
        return set(ROBUSTNESS_FIGURES)
    built = [METRICS.build(name) for name in METRICS]
    return {figure for metric in built if metric.sort == family for figure in metric.figures}


class ScoreFile:
    """The CSV of one protocol, a row per model and picture, that grows as pictures are scored.

    A row that a stopped run left unfinished is dropped. `prediction` is the model's fingerprint: a model that changed is scored again.
    """

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path, self.protocol = path, protocol
        self._rows: dict[tuple[str, str, str], Score] = {}
        self._columns: tuple[str, ...] = ()
        if path.exists():
            self._read()

    @classmethod
    def of(cls, out: Path, title: str, protocol: Protocol) -> ScoreFile:
        """The file of a data set and a protocol below a run's folder."""
        each = protocol.each
        folder = out / "scores" / slug(title)
        folder.mkdir(parents=True, exist_ok=True)
        spoilt = "" if each.corruption == "none" else f".{each.corruption.split(' ')[0]}"
        return cls(folder / f"{each.family}{spoilt}.{slug(each.alignment)}.{each.hash}.csv", each)

    def has(self, key: tuple[str, str, str]) -> bool:
        """Whether (model, fingerprint, picture) has a row with every figure of the family."""
        return key in self._rows and wanted_figures(self.protocol.family) <= self._rows[key].figures.keys()

    def get(self, key: tuple[str, str, str]) -> Score:
        return self._rows[key]

    def add(self, prediction: str, score: Score) -> None:
        """Write one row at once; the whole file again only where the figures have changed."""
        self._rows[score.model, prediction, score.picture] = score
        if set(score.figures) <= set(self._columns):
            with self.path.open("a", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerow(self._row(prediction, score))
        else:
            self._columns = tuple(dict.fromkeys([*self._columns, *score.figures]))
            self._write()

    def _row(self, prediction: str, score: Score) -> list[str]:
        figures = [_text(score.figures[name]) if name in score.figures else "" for name in self._columns]
        return [score.protocol, score.model, prediction, score.picture, *figures]

    def _write(self) -> None:
        with atomic(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            out = csv.writer(stream)
            out.writerow([*HEAD, *self._columns])
            out.writerows(self._row(key[1], score) for key, score in self._rows.items())

    def _read(self) -> None:
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        whole = lines if text.endswith("\n") else lines[:-1]
        rows = list(csv.reader(whole))
        if not rows or tuple(rows[0][: len(HEAD)]) != HEAD:
            return
        self._columns = tuple(rows[0][len(HEAD) :])
        for row in rows[1:]:
            if len(row) == len(rows[0]) and row[0] == self.protocol.hash:
                figures = {n: float(cell) for n, cell in zip(self._columns, row[len(HEAD) :], strict=True) if cell}
                self._rows[row[1], row[2], row[3]] = Score(row[1], row[3], row[0], figures)
        if whole != lines:
            self._write()


def _text(value: float) -> str:
    """A number that reads back as itself."""
    return "nan" if math.isnan(value) else repr(float(value))
