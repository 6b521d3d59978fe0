"""The commands that judge depth: `bench` on data sets, `score` on two files; `register` adds them, and those of `spoil`, to the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keendepth.cli.batch import Report, friendly_errors, load_all, say

if TYPE_CHECKING:
    from keendepth.evaluation.protocol import Protocol
    from keendepth.evaluation.tables import Results

AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON, for scripts.")]
Load = Annotated[
    list[Path] | None,
    typer.Option("--load", help="Python file of yours that adds models, refiners, data sets or metrics."),
]

# What the short table at the end of a benchmark shows; the report has everything.
HEADLINES = ("abs_rel", "delta1", "silog", "boundary_f1", "pdbe_acc", "pdbe_comp", "flying")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    from keendepth.cli.spoil import corrupt, stability  # which takes its options from here

    for command in (bench, score, corrupt, stability):
        app.command()(command)


@friendly_errors
def bench(
    benchmark: Annotated[
        str, typer.Argument(help="bench-smoke, bench-rendered, bench-real, bench-robust, or a TOML file.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for predictions, scores and the report.")
    ] = Path("runs/bench"),
    data: Annotated[Path | None, typer.Option(help="Folder that holds the data sets.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Judge this one instead (several times for several); the first is compared with."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many pictures of each data set; 0 is all.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Score on so many processor cores at once.")] = 1,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget earlier predictions and scores in the folder.")
    ] = False,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Judge depth models on pictures with known depth; stopped, the same command goes on where it was."""
    from keendepth.evaluation import benchmark as runner
    from keendepth.evaluation import plan as plans
    from keendepth.evaluation import report
    from keendepth.evaluation.subjects import Place

    load_all(load)
    plan = plans.load(benchmark).limited(limit)
    if model:
        plan = plans.with_models(plan, model)
    place = Place(output, data, tuple(load or ()), jobs)
    if output.exists() and not output.is_dir():
        raise ValueError(f"-o: {output} is a file; give a folder for the results")
    output.mkdir(parents=True, exist_ok=True)
    if fresh:
        runner.forget(place)
    with steps(quiet=as_json) as step:
        try:
            results = runner.run(plan, place, step)
            paths = report.write(results, runner.draw_worst(results, place), output)
        except KeyboardInterrupt:
            say("stopped; what is done is kept, and the same command goes on from here")
            raise typer.Exit(130) from None
    if as_json:
        Report.print_json(report.to_dict(results))
    else:
        _show_results(results, paths["report.md"])


@contextmanager
def steps(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar per step (what, done, total), on standard error."""
    from keendepth.cli.batch import _progress

    with _progress(quiet=quiet) as progress:
        tasks: dict[str, Any] = {}

        def step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield step


def _show_results(results: Results, path: Path) -> None:
    """The headlines of each table, and where the rest is."""
    from rich.table import Table as Grid

    from keendepth.evaluation import report, spoiling
    from keendepth.evaluation.resampling import Resampling, summarise

    how = Resampling(results.plan.resamples, seed=results.plan.seed)
    for table in results.tables:
        names = [n for n in HEADLINES if any(n in s.figures for scores in table.scores.values() for s in scores)]
        grid = Grid("model", *names, title=f"{table.title}: {table.protocol.family}, {table.protocol.pictures}")
        for spec in table.scores:
            grid.add_row(spec, *(report.number(summarise(table.values(spec, name), how).mean) for name in names))
        say(grid, output=True)
        say(table.protocol.text, output=True)
    for spoilt in results.robustness:
        grid = Grid("model", "mCE", "mRR", title=f"{spoilt.title}: robustness, {spoilt.baseline} = 100")
        for spec, own in spoiling.robust(spoilt, how).items():
            grid.add_row(spec, report.number(own.mce.mean), report.number(own.mrr.mean))
        say(grid, output=True)
        say(spoilt.protocol.text, output=True)
    for title, reason in results.left_out.items():
        say(f"left out: {title}: {reason}", output=True)
    say(f"with intervals, differences and every figure: {path}", output=True)


@friendly_errors
def score(
    prediction: Annotated[Path, typer.Argument(help="The depth file to judge.")],
    truth: Annotated[Path, typer.Argument(help="The depth file that is right, in metres.")],
    align: Annotated[
        str,
        typer.Option(
            help="What to forgive: natural (as the file's kind needs), none, scale, median, affine, trimmed, disparity, cascade."
        ),
    ] = "natural",
    pred_units: Annotated[
        str | None, typer.Option(help="What the first file's numbers mean: m, mm, disparity, relative, ...")
    ] = None,
    gt_units: Annotated[
        str | None, typer.Option(help="What the second file's numbers mean: m, mm, cm, 1/m, ...")
    ] = None,
    pred_convention: Annotated[
        str | None, typer.Option(help="Whose 16-bit PNG the first is: kitti, tum, scannet, ...")
    ] = None,
    gt_convention: Annotated[
        str | None, typer.Option(help="Whose 16-bit PNG the second is: kitti, tum, scannet, ...")
    ] = None,
    cap: Annotated[
        str | None, typer.Option(help="Only where the truth lies within these metres: 80, or 0.001..80.")
    ] = None,
    crop: Annotated[str, typer.Option(help="Only inside this crop: garg, eigen (KITTI), nyu, or none.")] = "none",
    clip: Annotated[
        bool, typer.Option("--clip", help="Also clip the first file's depths to the cap (KITTI's way).")
    ] = False,
    sharpness: Annotated[bool, typer.Option("--sharpness", help="Judge edges, order and surfaces too.")] = False,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """How good a depth file is, judged by another one: errors, and with --sharpness its edges."""
    from keendepth import io
    from keendepth.evaluation.metrics import CASCADE
    from keendepth.evaluation.protocol import Protocol, effective_alignment, evaluate

    load_all(load)
    ours = io.read(prediction, units=pred_units, convention=pred_convention)
    theirs = io.read(truth, units=gt_units, convention=gt_convention)
    names = CASCADE[ours.kind] if align == "cascade" else (effective_alignment(ours.kind, align),)
    limits = _range(cap) if cap else None
    base = Protocol("two files", pictures="1 picture", crop=crop, cap=limits, clip=clip)
    rules = [replace(base, alignment=name) for name in names]
    if sharpness:
        rules += [replace(base, family="sharpness", alignment=names[0], cap=None, clip=False)]
    scored = [(rule, evaluate(ours, theirs, rule)) for rule in rules]
    if as_json:
        Report.print_json([_score_dict(prediction, truth, rule, found) for rule, found in scored])
    else:
        _show_scores(scored)


def _range(text: str) -> tuple[float, float]:
    """ "80" is 0 to 80 metres, "0.001..80" both limits."""
    try:
        parts = [float(part) for part in text.split("..")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2):
        raise ValueError(f"--cap: expected metres as 80 or 0.001..80, found {text!r}")
    return (0.0, parts[0]) if len(parts) == 1 else (parts[0], parts[1])


def _score_dict(prediction: Path, truth: Path, rule: Protocol, found: dict[str, float]) -> dict[str, Any]:
    figures = {name: value if math.isfinite(value) else None for name, value in found.items()}
    return {"prediction": str(prediction), "truth": str(truth), "protocol": rule.to_dict(), "figures": figures}


def _show_scores(scored: Sequence[tuple[Protocol, dict[str, float]]]) -> None:
    """One table per family: figures down, alignments across."""
    from rich.table import Table as Grid

    from keendepth.evaluation.report import number
    from keendepth.evaluation.scoring import figures

    known = figures()
    for family in dict.fromkeys(rule.family for rule, _ in scored):
        own = [(rule, found) for rule, found in scored if rule.family == family]
        grid = Grid(family, "better", *(f"alignment {rule.alignment}" for rule, _ in own), "what it is")
        for name in own[0][1]:
            figure = known.get(name)
            about = (figure.better, figure.summary) if figure else ("", "")
            grid.add_row(name, about[0], *(number(found[name]) for _, found in own), about[1])
        say(grid, output=True)
        for rule, _ in own:
            say(rule.text, output=True)
