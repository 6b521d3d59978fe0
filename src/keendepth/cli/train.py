"""The commands that make networks: `store`, `train`, `export`, and `distil`, which is the three in order."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keendepth.cli.batch import Report, friendly_errors, load_all, say

if TYPE_CHECKING:
    from keendepth.training.fit import Outcome
    from keendepth.training.runs import Run

Load = Annotated[list[Path] | None, typer.Option("--load", help="Python file of yours that adds models or recipes.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
RunFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; it is made if it is not there.")]
Preset = Annotated[
    list[str] | None, typer.Option("--preset", help="Shipped preset or .toml file; of several, later ones win.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="An option, e.g. lr=1e-4 or sddr.size=tiny; wins over presets.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")]
Accept = Annotated[bool, typer.Option("--accept-changes", help="Go on even if the configuration differs.")]
Model = Annotated[str, typer.Option(help="Depth model whose predictions are stored: see `keendepth models`.")]
Robust = Annotated[
    bool,
    typer.Option(
        help="Make --model itself bear night, fog, noise and blur; SOURCES: photos, or caches of rendered scenes."
    ),
]
Sizes = Annotated[
    tuple[str, str],
    typer.Option(
        "--sizes", metavar="LOW HIGH", help="Sizes to predict at: native, 2x (of native), 448 (side), 384x512."
    ),
]
Longest = Annotated[int, typer.Option(min=1, help="Photos are shrunk to so many pixels at the longer side.")]
SceneSize = Annotated[str, typer.Option(metavar="HxW", help="Size of rendered pictures.")]
Samples = Annotated[int, typer.Option(help="Rays per pixel of rendered pictures: 4, 9, 16.")]
Sources = Annotated[list[str], typer.Argument(help="Photos, folders of photos, or synthetic:KIND:FIRST-LAST.")]

NATIVE_AND_DOUBLE = ("native", "2x")  # SDDR with MiDaS: 384 and 768
SMALL_MODEL = "indoor-small"


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (store, train, distil, export):
        app.command()(friendly_errors(command))


def store(
    sources: Sources,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the store; what it has is kept.")],
    model: Model = SMALL_MODEL,
    sizes: Sizes = NATIVE_AND_DOUBLE,
    longest: Longest = 640,
    scene_size: SceneSize = "240x320",
    samples: Samples = 4,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Predict photos or rendered scenes at two sizes, once and for all: what training learns from."""
    load_all(load)
    from keendepth.cli import storing

    source = storing.pictures(sources, longest, _parsed_size(scene_size), samples)
    report = _store(source, model, sizes, output)
    if as_json:
        Report.print_json({"made": report.made, "kept": report.kept, "failed": dict(report.failed)})
    else:
        for id, why in report.failed.items():
            say(f"failed   {id}: {why}")
        say(f"{report.made} made, {report.kept} were there, {len(report.failed)} failed -> {output}")
    raise typer.Exit(1 if report.failed else 0)


def train(
    recipe: Annotated[str, typer.Argument(help="What to train, e.g. sddr.")],
    output: RunFolder,
    data: Annotated[list[Path] | None, typer.Option("--data", help="Store to learn from; several are allowed.")] = None,
    preset: Preset = None,
    sets: Sets = None,
    resume: Resume = False,
    accept_changes: Accept = False,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Train a network from stores: a run folder with weights, ONNX file, log and report. Ctrl-C saves."""
    need_training()
    load_all(load)
    from keendepth.training.runs import Run

    run = Run(output, recipe, tuple(map(str, data or [])), resume=resume, accept_changes=accept_changes)
    outcome = _train(run, preset or [], sets or [], quiet=as_json)
    if as_json:
        Report.print_json(
            {"step": outcome.step, "finished": outcome.finished, "best": outcome.best, "run": str(output)}
        )
    _end(outcome, output)


def distil(
    sources: Sources,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the store and the run.")],
    recipe: Annotated[str, typer.Option(help="What to train.")] = "sddr",
    model: Model = SMALL_MODEL,
    sizes: Sizes = NATIVE_AND_DOUBLE,
    longest: Longest = 640,
    preset: Preset = None,
    sets: Sets = None,
    robust: Robust = False,
    load: Load = None,
) -> None:
    """From a folder of unlabelled photos to a network: `store`, then `train`, which exports. Run it again to go on."""
    need_training()
    load_all(load)
    from keendepth.cli import storing
    from keendepth.training.runs import Run

    if robust:
        _make_robust(Run(output / "run", "robust", tuple(sources), resume=True), model, preset, sets)
        return
    report = _store(storing.pictures(sources, longest, (240, 320), 4), model, sizes, output / "store")
    say(f"store: {report.made} made, {report.kept} were there, {len(report.failed)} failed")
    run = Run(output / "run", recipe, (str(output / "store"),), resume=True)
    outcome = _train(run, preset or [], sets or [])
    say("compare them with")
    for spec in (model, f"{model}+{recipe}:{output / 'run'}"):
        say(f"  keendepth bench --model {spec}")
    _end(outcome, output / "run")


def _make_robust(run: Run, model: str, preset: list[str] | None, sets: list[str] | None) -> None:
    """Fine-tune `model` itself; its answers to clean pictures are the labels, so there is nothing to store."""
    outcome = _train(run, preset or ["robust-small"], [*(sets or []), f"robust.model={model}"])
    say("compare them with")
    say(f"  python benchmarks/robust.py --model {model} {run.folder / 'model.onnx'}")
    _end(outcome, run.folder)


def export(
    run: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="Folder of a run, finished or not; or a depth model.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The ONNX file to write; a model's card comes beside it.")
    ],
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Write a network as ONNX, checked against torch: the averaged weights of a run, or a model that you use by name."""
    if output.suffix != ".onnx":
        raise ValueError(f"export: -o must end in .onnx, found {output.name}")
    load_all(load)
    output.parent.mkdir(parents=True, exist_ok=True)
    facts = _export_model(run, output) if _is_model(run) else _export_run(Path(run), output)
    if as_json:
        Report.print_json(facts)
    else:
        file, step = facts.pop("file"), facts.pop("step", None)
        of = "" if step is None else f"weights of step {step}; "
        say(f"{file}: {of}{', '.join(f'{key} {value}' for key, value in facts.items())}")


def _is_model(source: str) -> bool:
    """Whether it is no folder, or one in the hub's layout."""
    return not Path(source).is_dir() or any(
        (Path(source) / name).is_file() for name in ("config.json", "model_index.json")
    )


def _export_run(run: Path, output: Path) -> dict[str, Any]:
    need_training()
    from keendepth.training.methods import trained

    made, step = trained(run)
    return {"file": str(output), "step": step, **made.export(output)}


def _export_model(spec: str, output: Path) -> dict[str, Any]:
    from keendepth import pipeline

    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise ValueError(f"export needs {', '.join(missing)}: pip install 'keendepth[hub]'")
    made = pipeline.load(spec)
    if not made.is_bare:
        raise ValueError(f"export: {spec}: an ONNX file holds one network; leave the refiners and @metric out")
    from keendepth.export import export_predictor

    return export_predictor(made.predictor, output)


def need_training() -> None:
    """Say how to get what training needs; and keep idle threads of torch asleep, which must be set before it is imported."""
    missing = [name for name in ("torch", "accelerate", "safetensors") if find_spec(name) is None]
    if missing:
        raise ValueError(f"training needs {', '.join(missing)}: pip install 'keendepth[train]'")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else they spin against the thread that prepares batches


def _train(run: Any, presets: list[str], sets: list[str], quiet: bool = False) -> Outcome:
    from keendepth.cli.watch import watching
    from keendepth.training.methods import train as train_method
    from keendepth.training.setting import keep_memory

    keep_memory()
    with watching(quiet) as watch:
        return train_method(run, presets, sets, watch)


def _end(outcome: Outcome, folder: Path) -> None:
    """The last line, and the exit code: 130 where a signal stopped the run."""
    if not outcome.finished:
        say(f"stopped at step {outcome.step}; saved in {folder}. The same command with --resume goes on from here")
        raise typer.Exit(130)
    say(f"{outcome.step} steps, {outcome.seconds:.0f} s -> {folder} (report.md says more)")


def _store(source: Any, model: str, sizes: tuple[str, str], folder: Path) -> Any:
    from keendepth import pipeline
    from keendepth.cli import storing
    from keendepth.cli.watch import counting

    made = pipeline.load(model)
    if not made.is_bare:
        raise ValueError(
            f"--model {model}: a store holds what the model itself says; leave the refiners out, and @metric"
        )
    with counting() as progress:
        return storing.make_store(source, (model, made.predictor), sizes, folder, progress)


def _parsed_size(text: str) -> tuple[int, int]:
    height, x, width = text.partition("x")
    if not (x and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise ValueError(f"--scene-size: expected HxW such as 240x320, found {text!r}")
    return int(height), int(width)
