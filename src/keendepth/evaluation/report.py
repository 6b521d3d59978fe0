"""What a benchmark found, for people (Markdown), for scripts (JSON) and for spreadsheets (CSV)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from keendepth.evaluation import published, spoiling
from keendepth.evaluation.resampling import LEAST_PICTURES, Resampling, Summary, paired, summarise
from keendepth.evaluation.scoring import Figure, figures
from keendepth.evaluation.tables import Results, Spoilt, Table, wanted_figures
from keendepth.io.atomic import atomic

# Shown under the figures though neither way is better: they say how to read them.
READ_ALONG = ("coverage", "clamped", "sky", "boundary_f1_ceiling")


@dataclass(frozen=True)
class Cell:
    """One figure of one model: its summary, that of its paired difference to the first model, and what the difference means."""

    own: Summary
    difference: Summary | None  # None for the first model itself
    verdict: str  # "better", "worse", or "" where the interval includes 0 or pictures are too few


def cells(table: Table, how: Resampling) -> dict[str, dict[str, Cell]]:
    """Per figure and model; the first model of the table is what the others are compared with."""
    known = figures()
    wanted = wanted_figures(table.protocol.family)
    names = [name for name in known if name in wanted] + [n for n in READ_ALONG if _present(table, n)]
    return {name: _row(table, name, known.get(name), how) for name in names}


def _present(table: Table, figure: str) -> bool:
    return any(figure in score.figures for scores in table.scores.values() for score in scores)


def _row(table: Table, name: str, figure: Figure | None, how: Resampling) -> dict[str, Cell]:
    first = next(iter(table.scores))
    base = table.values(first, name)
    row = {}
    for model in table.scores:
        values = table.values(model, name)
        difference = None if model == first else paired(values, base, how)
        row[model] = Cell(summarise(values, how), difference, _verdict(difference, figure))
    return row


def _verdict(difference: Summary | None, figure: Figure | None) -> str:
    if difference is None or figure is None or not difference.beyond_zero:
        return ""
    return "better" if (difference.mean < 0) == (figure.better == "lower") else "worse"


def number(value: float, sign: bool = False) -> str:
    """Four significant digits or so; a dash for what is not known."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value)
    size = abs(value)
    digits = 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    return f"{value:{'+' if sign else ''}.{digits}f}"


def _range(summary: Summary, sign: bool = False) -> str:
    return "" if math.isnan(summary.low) else f" [{number(summary.low, sign)}, {number(summary.high, sign)}]"


def _mean_cell(summary: Summary) -> str:
    spread = "" if math.isnan(summary.spread) else f" ± {number(summary.spread)}"
    return f"{number(summary.mean)}{spread}{_range(summary)}"


def _difference_cell(cell: Cell) -> str:
    if cell.difference is None or cell.difference.count == 0:
        return "–"
    verdict = f" **{cell.verdict}**" if cell.verdict else ""
    return f"{number(cell.difference.mean, sign=True)}{_range(cell.difference, sign=True)}{verdict}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


# Markdown


def markdown(results: Results, drawn: Mapping[tuple[str, str], Sequence[Path]], folder: Path) -> str:
    """The whole report; pictures are linked relative to `folder`."""
    plan = results.plan
    how = Resampling(plan.resamples, seed=plan.seed)
    lines = [f"# Benchmark {plan.name}", "", *([plan.about, ""] if plan.about else []), _how_to_read(results, how), ""]
    for title in dict.fromkeys(table.title for table in results.tables):
        lines += [f"## {title}", ""]
        for table in (table for table in results.tables if table.title == title):
            lines += _section(table, how)
        lines += _pictures(title, drawn, folder)
    for spoilt in results.robustness:
        lines += _robustness(spoilt, how)
    lines += _left_out(results) + _published(results)
    return "\n".join(lines).rstrip() + "\n"


def _how_to_read(results: Results, how: Resampling) -> str:
    return (
        f"Models: {', '.join(f'`{model}`' for model in results.plan.models)}. Cells are mean ± standard deviation over pictures and, in brackets, the "
        f"{how.coverage:.0%} percentile bootstrap interval of the mean ({how.resamples:,} resamples of pictures, seed {how.seed}). Differences are paired, "
        "picture by picture, with the first model; **better** and **worse** mark those whose interval leaves out 0, with "
        f"{LEAST_PICTURES} pictures or more. n counts the pictures that have the figure (the others have nothing to measure, say no depth edge). "
        f"An interval from fewer than {LEAST_PICTURES} is little more than their range. "
        "Pictures of one scene or video are not independent, and many figures are tested at once, so marks are hints, not proofs. Scores compare only "
        "under the same protocol hash; an alignment that a model's kind forbids is not made for it. Figures are defined in docs/metrics.md."
    )


def _section(table: Table, how: Resampling) -> list[str]:
    found, known = cells(table, how), figures()
    models = list(table.scores)
    head = ["figure", "better", "n", *(f"`{model}`" for model in models)]
    rows = [
        [f"`{name}`", _better(known.get(name)), _counts(row), *(_mean_cell(row[model].own) for model in models)]
        for name, row in found.items()
    ]
    lines = [
        f"### {table.protocol.family.capitalize()}, alignment {table.protocol.alignment}",
        "",
        *_grid(head, rows),
    ]
    if len(models) > 1:
        kept = [(name, row) for name, row in found.items() if name in known]
        differences = [
            [f"`{n}`", _better(known[n]), *(_difference_cell(row[m]) for m in models[1:])] for n, row in kept
        ]
        lines += [f"Difference to `{models[0]}`:", ""]
        lines += _grid(["figure", "better", *(f"`{model}`" for model in models[1:])], differences)
    return [*lines, f"{table.protocol.text}.", ""]


def _better(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.better}{'' if figure.unit == '1' else f', {figure.unit}'}"


def _counts(row: Mapping[str, Cell]) -> str:
    counts = sorted({cell.own.count for cell in row.values()})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _robustness(spoilt: Spoilt, how: Resampling) -> list[str]:
    found = spoiling.robust(spoilt, how)
    rows = [
        [f"`{model}`", number(own.dee[""]), _mean_cell(own.mce), _mean_cell(own.mrr)] for model, own in found.items()
    ]
    each = [
        [name or "(clean)", *(number(own.dee[name]) for own in found.values())]
        for name in next(iter(found.values())).dee
    ]
    clean = spoilt.tables[""]
    return [
        f"## {spoilt.title}: robustness", "",
        f"DEE = (AbsRel - delta1 + 1) / 2, lower is better. mCE in percent of `{spoilt.baseline}` (= 100), lower is better; mRR in percent, higher is "
        f"better, never to be read without mCE. {len(clean.ids)} pictures; model and baseline are resampled together.", "",
        *_grid(["model", "DEE on clean pictures", "mCE", "mRR"], rows),
        "DEE per corruption, mean over the severities:", "",
        *_grid(["corruption", *(f"`{model}`" for model in found)], each),
        *_severities(spoilt),
        f"{spoilt.protocol.text}.", "",
    ]  # fmt: skip


def _severities(spoilt: Spoilt) -> list[str]:
    """How the baseline's error moves with severity; a fall from one step to the next is marked."""
    rows = []
    for name, values in spoiling.rises(spoilt, spoilt.baseline).items():
        marked = [number(value) + (" ↓" if value < before else "") for before, value in pairwise(values)]
        rows.append([name, number(values[0]), *marked])
    return [
        f"DEE of `{spoilt.baseline}` per severity (↓ marks a step on which the error falls):",
        "",
        *_grid(["corruption", "clean", "1", "2", "3", "4", "5"], rows),
    ]


def _pictures(title: str, drawn: Mapping[tuple[str, str], Sequence[Path]], folder: Path) -> list[str]:
    found = [(model, path) for (name, model), paths in drawn.items() if name == title for path in paths]
    if not found:
        return []
    links = [f"- `{model}`: [{path.stem}]({path.relative_to(folder).as_posix()})" for model, path in found]
    return [
        "Worst cases (photo, prediction, ground truth, relative error from black to white at 50 %):",
        "",
        *links,
        "",
    ]


def _left_out(results: Results) -> list[str]:
    if not results.left_out:
        return []
    return ["## Left out", "", *(f"- {title}: {reason}" for title, reason in results.left_out.items()), ""]


def _published(results: Results) -> list[str]:
    names = dict.fromkeys(name for data in results.plan.datasets for name in data.published)
    values = [value for name in names for value in published.find(dataset=name)]
    if not values:
        return []
    rows = [
        [v.dataset, v.method, f"`{v.figure}`", f"{v.value:g}", v.paper, v.table, v.row, v.protocol, v.read]
        for v in values
    ]
    return [
        "## Published values (other protocols)", "",
        "As printed by their authors, for orientation: other pictures, other rules. They do not compare with the tables above.", "",
        *_grid(["data set", "method", "figure", "value", "paper", "table", "row", "protocol", "read in"], rows),
    ]  # fmt: skip


# Files


def to_dict(results: Results) -> dict[str, Any]:
    """The report as plain JSON types; what is not known is null."""
    how = Resampling(results.plan.resamples, seed=results.plan.seed)
    found = {
        "plan": asdict(results.plan),
        "tables": [_table_dict(table, how) for table in results.tables],
        "robustness": [_spoilt_dict(spoilt, how) for spoilt in results.robustness],
        "left_out": dict(results.left_out),
    }
    return _no_nan(found)


def _table_dict(table: Table, how: Resampling) -> dict[str, Any]:
    models: dict[str, dict[str, Any]] = {model: {} for model in table.scores}
    for figure, row in cells(table, how).items():
        for model, cell in row.items():
            models[model][figure] = asdict(cell)
    return {"title": table.title, "protocol": table.protocol.to_dict(), "pictures": list(table.ids), "models": models}


def _spoilt_dict(spoilt: Spoilt, how: Resampling) -> dict[str, Any]:
    found = spoiling.robust(spoilt, how)
    models = {
        model: {"mCE": asdict(own.mce), "mRR": asdict(own.mrr), "dee": dict(own.dee)} for model, own in found.items()
    }
    return {"title": spoilt.title, "protocol": spoilt.protocol.to_dict(), "baseline": spoilt.baseline, "models": models}


def _no_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _no_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_no_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(results: Results) -> Iterator[tuple[str, ...]]:
    tables = [*results.tables, *(table for spoilt in results.robustness for table in spoilt.tables.values())]
    for table in tables:
        for model, scores in table.scores.items():
            for score in scores:
                for figure, value in score.figures.items():
                    text = "" if math.isnan(value) else repr(float(value))
                    p = table.protocol
                    yield (table.title, p.family, p.corruption, p.hash, model, score.picture, figure, text)


def write(results: Results, drawn: Mapping[tuple[str, str], Sequence[Path]], out: Path) -> dict[str, Path]:
    """`report.md`, `results.json` and `pictures.csv` (one line per picture, model and figure; empty = not known) in `out`."""
    paths = {name: out / name for name in ("report.md", "results.json", "pictures.csv")}
    with atomic(paths["report.md"]) as temporary:
        temporary.write_text(markdown(results, drawn, out), encoding="utf-8")
    with atomic(paths["results.json"]) as temporary:
        temporary.write_text(json.dumps(to_dict(results), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with atomic(paths["pictures.csv"]) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        out_csv = csv.writer(stream)
        out_csv.writerow(("data set", "family", "corruption", "protocol", "model", "picture", "figure", "value"))
        out_csv.writerows(_lines(results))
    return paths
