"""The commands that spoil photos: `corrupt` writes the copies, `stability` asks what a model makes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keendepth.cli.batch import Batch, Report, friendly_errors, load_all, photos_in, say
from keendepth.cli.bench import AsJson, Load, steps

if TYPE_CHECKING:
    from keendepth.core.types import DepthMap, Image
    from keendepth.evaluation.robustness import Stability, Summary

Types = Annotated[
    list[str],
    typer.Option("--type", help="fog, dark, rain, jpeg, ... (several times for several), kitti-c (18 of them) or all."),
]
Severity = Annotated[str, typer.Option(help="From 1 (light) to 5 (heavy); several as 1,3,5 or 1..5.")]
Seed = Annotated[int, typer.Option(help="Another number gives other fog, other drops, other noise.")]
Longest = Annotated[
    int, typer.Option(min=0, help="Shrink photos to this longer side first; 0 leaves them as they are.")
]


@friendly_errors
def corrupt(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the spoilt copies (PNG).")] = Path("out"),
    type: Types = ["fog"],  # noqa: B006
    severity: Severity = "3",
    seed: Seed = 0,
    depth: Annotated[
        Path | None,
        typer.Option(help="Metric depth of the photo, for fog_depth, rain, snow_streaks, night, exposure_blur."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Where those get depth from without --depth: see `keendepth models`.")
    ] = "indoor-small",
    longest: Longest = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make copies again that are there already.")] = False,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Spoil photos on purpose (fog, night, rain, noise, blur, ...) to see what your depth model makes of them."""
    from keendepth import io
    from keendepth.data import corruptions
    from keendepth.evaluation.subjects import shrunk

    load_all(load)
    names, levels = _types(type), _severities(severity)
    batch = Batch(photos, output, [], overwrite)
    if depth is not None and len(batch.jobs) > 1:
        raise ValueError("corrupt: --depth is the depth of one photo; give one photo, or let --model find it")
    deep = any(corruptions.CORRUPTIONS[name].needs_depth for name in names)

    def work(photo: Path, stem: Path) -> dict[str, Any]:
        wanted = {stem.with_name(f"{stem.name}.{n}-{level}.png"): (n, level) for n in names for level in levels}
        due = {path: how for path, how in wanted.items() if overwrite or not path.exists()}
        if not due:
            return {"skipped": True, "files": [str(path) for path in wanted]}
        image = shrunk(io.read_image(photo), longest)
        known = _depth_of(image, depth, model) if deep else None
        for path, (name, level) in due.items():
            _write_photo(path, corruptions.corrupt(image, name, level, seed, known))
        return {"files": [str(path) for path in wanted], "seed": seed}

    batch.run(work, as_json)


def _depth_of(image: Image, file: Path | None, model: str) -> DepthMap:
    from keendepth import io, pipeline

    return io.read(file) if file else pipeline.load(model)(image)


def _write_photo(path: Path, image: Image) -> None:
    from PIL import Image as PillowImage

    from keendepth.io.atomic import atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        PillowImage.fromarray(image.rgb).save(temporary, "PNG")


def _types(words: Sequence[str]) -> list[str]:
    """Names of corruptions from what was typed: names, aliases, "kitti-c", "depth-aware", "all", with commas or without."""
    from keendepth.data import corruptions

    groups = {
        "kitti-c": corruptions.KITTI_C,
        "depth-aware": corruptions.DEPTH_AWARE,
        "all": tuple(corruptions.CORRUPTIONS),
    }
    typed = [part.strip() for word in words for part in word.split(",") if part.strip()]
    names = [name for part in typed for name in groups.get(part, (part,))]
    return list(dict.fromkeys(corruptions.find(name).name for name in names))


def _severities(text: str) -> list[int]:
    """1..5, 1-5, 1,3,5 or 3 as numbers; the function that spoils refuses what is out of range, here only what is no number."""
    first, dots, last = text.replace("-", "..").partition("..")
    try:
        levels = list(range(int(first), int(last) + 1)) if dots else [int(part) for part in text.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(1 <= level <= 5 for level in levels):
        raise ValueError(f"--severity: expected whole numbers from 1 to 5, as 3 or 1,3,5 or 1..5, found {text!r}")
    return levels


@friendly_errors
def stability(
    photos: Annotated[list[Path], typer.Argument(help="Your photos, or folders of them.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Model to judge (several times for several): see `keendepth models`.")
    ] = None,
    type: Types = ["kitti-c"],  # noqa: B006
    severity: Severity = "3",
    seed: Seed = 0,
    limit: Annotated[int, typer.Option(min=0, help="At most so many photos, evenly spread; 0 is all.")] = 10,
    longest: Longest = 640,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """How steady a model is on your photos when they get foggy, dark or noisy; no true depth is needed."""
    from keendepth import io
    from keendepth.cli.commands import DEFAULT_MODEL
    from keendepth.evaluation import robustness
    from keendepth.evaluation.plan import spread_out
    from keendepth.evaluation.subjects import models_of, shrunk

    load_all(load)
    files = [found for place in photos for found in (photos_in(place) if place.is_dir() else [place])]
    chosen = [Path(name) for name in spread_out([str(file) for file in files], limit)]
    if not chosen:
        raise ValueError(f"no photo found in {', '.join(str(place) for place in photos)}")
    specs = tuple(model or [DEFAULT_MODEL])
    made = models_of(specs)
    plan = robustness.Plan(tuple(_types(type)), tuple(_severities(severity)), seed)
    found: dict[str, list[Any]] = {spec: [] for spec in specs}
    with steps(quiet=as_json) as step:
        for number, file in enumerate(chosen, 1):
            image = shrunk(replace(io.read_image(file), name=str(file)), longest)
            for spec in specs:
                found[spec] += robustness.stability(made[spec], [image], plan).changes
            step("spoiling and comparing", number, len(chosen))
    results = {spec: robustness.Stability(tuple(changes)) for spec, changes in found.items()}
    if as_json:
        Report.print_json({spec: _stability_dict(result) for spec, result in results.items()})
    else:
        _show_stability(results, len(chosen), len(files))


def _stability_dict(result: Stability) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def numbers(summary: Summary) -> dict[str, Any]:
        pairs = {name: getattr(summary, name) for name in ("error", "kept", "drift")}
        parts = {name: {"mean": plain(mean), "spread": plain(spread)} for name, (mean, spread) in pairs.items()}
        return {**parts, "count": summary.count}

    return {
        "all": numbers(result.by()[()]),
        "by_type": {key[0]: numbers(summary) for key, summary in result.by("type").items()},
        "changes": [{name: plain(value) for name, value in asdict(change).items()} for change in result.changes],
    }


def _show_stability(results: dict[str, Stability], used: int, given: int) -> None:
    from rich.table import Table as Grid

    for spec, result in results.items():
        grid = Grid(
            "spoilt by",
            "depth changes by",
            "within 10 %",
            "metres drift by",
            title=f"{spec} on {used} of {given} photos",
        )
        rows = sorted(result.by("type").items(), key=lambda row: -row[1].error[0])
        for key, summary in [*rows, (("mean of all",), result.by()[()])]:
            error, kept, drift = summary.error[0], summary.kept[0], summary.drift[0]
            grid.add_row(key[0], _percent(error), _percent(kept), _percent(drift, sign=True))
        say(grid, output=True)
    say(
        "Steady is not right: a model that always answers the same is perfectly steady. With true depth: keendepth bench.",
        output=True,
    )


def _percent(value: float, sign: bool = False) -> str:
    return "–" if not math.isfinite(value) else f"{100 * value:{'+' if sign else ''}.1f} %"
