"""Batches: which photos, where their results go, progress, and going on after a bad file."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

# The keys of `pipeline.FILES`, known here too so that arguments are split before anything heavy is imported (a test compares them).
SAVED = ("preview", "png16", "exr", "tiff", "npz", "pfm", "dpt", "ply", "glb", "edges", "confidence")
CLIP_SAVED = ("mp4", "png16", "exr", "npz")  # the same of `video.outputs.SAVED`
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".gif")


def say(message: Any, output: bool = False) -> None:
    """Print for people: to standard error, unless it is the command's output itself. Plain text needs no rich, whose import takes 0.05 s."""
    if isinstance(message, str):
        typer.echo(message, err=not output)
        return
    from rich.console import Console

    Console(stderr=not output, highlight=False).print(message)


def friendly_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What a user can cause ends in one clear line and exit code 2; what is our fault keeps its traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (ValueError, TypeError, KeyError, OSError) as error:
            if not _for_people(error):
                raise
            say(f"keendepth: {error}")
            raise typer.Exit(2) from error

    return run


def _for_people(error: BaseException) -> bool:
    """Our own errors and the operating system's name what is wrong; a bare KeyError or TypeError is a bug of ours."""
    from keendepth.core.registry import UnknownNameError
    from keendepth.core.types import KindError

    return isinstance(error, (ValueError, OSError, UnknownNameError, KindError))


def load_all(files: list[Path] | None) -> None:
    """Let installed plugins and the user's own files (`--load`) add to the registries."""
    from keendepth.core import registry

    registry.load_plugins()
    for file in files or []:
        registry.load_file(file)


def photos_in(folder: Path) -> list[Path]:
    """Photos below a folder, in order of name; hidden files and files that we wrote are left out."""
    found = []
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        ours = any(file.name.endswith(end) for end in (".preview.png", ".depth.png", ".depth.tiff", ".edges.png"))
        if (
            file.suffix.lower() in PHOTOS
            and file.is_file()
            and not ours
            and not any(part.startswith(".") for part in inside)
        ):
            found.append(file)
    return found


class Report:
    """What happened to each file."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def add(self, source: Path, result: dict[str, Any], seconds: float) -> None:
        self.results.append({"source": str(source), **result, "seconds": round(seconds, 3)})

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [result for result in self.results if "error" in result]

    @staticmethod
    def print_json(value: Any) -> None:
        typer.echo(json.dumps(value, indent=2, default=str))

    def show(self) -> None:
        """A line per file and the sum."""
        for result in self.results:
            if "error" in result:
                say(f"failed   {result['source']}: {result['error']}")
            elif result.get("skipped"):
                say(f"skipped  {result['source']} (results are there; --overwrite makes them again)")
            else:
                say(f"done     {result['source']} -> {', '.join(result['files'])}{_details(result)}")
        done = len(self.results) - len(self.failed) - sum(bool(result.get("skipped")) for result in self.results)
        say(f"{done} done, {len(self.results) - done - len(self.failed)} skipped, {len(self.failed)} failed")


def _details(result: dict[str, Any]) -> str:
    """Range, camera and drift of one result, for people."""
    parts = []
    low, high = result.get("min"), result.get("max")
    if low is not None and high is not None:
        parts.append(f"{low:.2f} to {high:.2f} {'m' if result.get('unit') == 'm' else result.get('kind', '')}")
    camera = result.get("camera")
    if camera:
        origin = {"guess": "guessed", "exif": "from EXIF", "model": "from the model", "given": "given"}
        parts.append(f"{camera['fov_degrees']:.0f} degrees wide ({origin.get(camera['source'], camera['source'])})")
    if result.get("calibration"):
        from keendepth.cli.metres import described

        parts.append(described(result["calibration"]))
    refinement = result.get("refinement")
    if refinement:
        parts.append(
            f"{refinement['name']}: scale x{refinement['residual_scale']:.4f}, shift {refinement['residual_shift']:+.4f}"
        )
    return f"  [{'; '.join(parts)}; {result['seconds']:.1f} s]" if parts else ""


class Batch:
    """Photos (folders expanded) and the place of each one's results; folders keep their structure below the output."""

    def __init__(
        self, sources: Iterable[Path], output: Path, save: list[str], overwrite: bool, exact: bool = False
    ) -> None:
        if output.exists() and not output.is_dir():
            raise ValueError(f"-o: {output} is a file; give a folder for the results")
        self.save, self.overwrite = save, overwrite
        items: list[tuple[Path, Path]] = []
        for source in sources:
            if source.is_dir() and not exact:
                inside = photos_in(source)
                if not inside:
                    raise ValueError(f"no photo found in {source} (known: {' '.join(PHOTOS)})")
                items += [(photo, photo.relative_to(source)) for photo in inside]
            else:
                items.append((source, Path(source.name)))
        self.jobs = [(source, output / place) for source, place in _unambiguous(items)]

    def run(self, work: Callable[[Path, Path], dict[str, Any]], as_json: bool, bar: bool = True) -> None:
        """Do the work for each; a bad file is reported and the others go on. Exit code 1 when any failed, 130 on Ctrl-C. `bar`: count files."""
        report = Report()
        code = 0
        with _progress(quiet=as_json or len(self.jobs) == 1 or not bar) as progress:
            task = progress.add_task("", total=len(self.jobs))
            try:
                for source, stem in self.jobs:
                    progress.update(task, description=source.name)
                    self._one(source, stem, work, report)
                    progress.advance(task)
            except KeyboardInterrupt:
                code = 130
        if as_json:
            Report.print_json(report.results)
        else:
            report.show()
        if code:
            say("stopped; what is listed as done is whole, and the same command goes on from here")
        raise typer.Exit(code or (1 if report.failed else 0))

    def _one(self, source: Path, stem: Path, work: Callable[[Path, Path], dict[str, Any]], report: Report) -> None:
        start = time.perf_counter()
        if self.save and not self.overwrite and self._there(stem):
            report.add(source, {"skipped": True, "files": [str(path) for path in self._files(stem)]}, 0.0)
            return
        try:
            result = work(source, stem)
        except (ValueError, TypeError, OSError, MemoryError, RuntimeError) as error:
            result = {"error": str(error) or type(error).__name__}
        report.add(source, result, time.perf_counter() - start)

    def _files(self, stem: Path) -> list[Path]:
        from keendepth.pipeline import FILES

        return [stem.with_name(stem.name + FILES[name]) for name in self.save if name in FILES]

    def _there(self, stem: Path) -> bool:
        return all(path.exists() for path in self._files(stem))


def _unambiguous(items: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Places without suffix; two photos that would share one (a.jpg and a.png) keep theirs; the same photo twice counts once."""
    items = list({source.absolute(): (source, place) for source, place in items}.values())
    shared = Counter(place.with_suffix("") for _, place in items)
    named = [(source, place if shared[place.with_suffix("")] > 1 else place.with_suffix("")) for source, place in items]
    twice = [place for place, count in Counter(place for _, place in named).items() if count > 1]
    if twice:
        raise ValueError(f"two photos are called {twice[0]}: give their folder instead, or an output folder for each")
    return named


def _progress(quiet: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty())
