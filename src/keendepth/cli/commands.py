"""The commands and their options; each collects its inputs and hands them to `pipeline` or `io`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keendepth import __version__
from keendepth.cli import bench, clips, serve, train
from keendepth.cli.batch import CLIP_SAVED, SAVED, Batch, Report, friendly_errors, load_all, photos_in, say
from keendepth.cli.metres import CameraHeight, Known, MetricFrom, MetricPoints, Prompt, maps_in

if TYPE_CHECKING:
    from keendepth.core.types import DepthMap, Image

app = typer.Typer(
    help="Sharp, robust, metric depth from a photo, or from anybody's depth map.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_MODEL = "indoor-small+median"
DEFAULT_REFINER = "sddr"  # `refiners.DEFAULT`, which would import the refiners for `--help`
SAVE_HELP = (
    "Files to make: preview png16 exr tiff npz pfm dpt ply glb edges confidence (several, with spaces or commas)."
)

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the results; it is made if it is not there.")]
Save = Annotated[list[str], typer.Option("--save", help=SAVE_HELP)]
Focal = Annotated[float | None, typer.Option(help="Focal length of the photo in pixels, if you know it.")]
Fov = Annotated[
    float | None, typer.Option(help="Horizontal field of view in degrees (a phone's main camera: about 65).")
]
CameraFile = Annotated[
    Path | None, typer.Option("--camera", help="File with the camera: JSON, npz with K, or a 3x3 matrix.")
]
Convention = Annotated[
    str | None, typer.Option(help="Scale of 16-bit PNGs: mm (default), kitti, tum, scannet, nerfstudio, ros or ibims.")
]
Units = Annotated[
    str | None, typer.Option(help="What the numbers of a depth file mean: m, mm, cm, disparity, inverse, relative.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make results again that are there already.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON, for scripts.")]
Load = Annotated[list[Path] | None, typer.Option("--load", help="Python file of yours that adds models or refiners.")]
Card = Annotated[Path | None, typer.Option(help="Card (JSON or TOML) of an .onnx file that has none beside it.")]
Providers = Annotated[
    str, typer.Option(help="Where ONNX models run: auto, cuda, coreml, openvino or cpu (several with commas).")
]
Runtime = Annotated[
    str, typer.Option(help="What runs hub models: auto (the fastest), torch, compile, onnx or openvino.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say how long loading and each picture took.")]
Strength = Annotated[float, typer.Option(min=0, max=1, help="How strongly to sharpen: 0 = not at all, 1 = fully.")]


def split_lists(arguments: list[str]) -> list[str]:
    """`--save a b c` and `--save a,b,c` as click wants them: `--save a --save b --save c`."""
    out: list[str] = []
    listing = False
    for word in arguments:
        names = [name for name in word.split(",") if name]
        if listing and names and all(name in SAVED or name in CLIP_SAVED for name in names):
            out += [part for name in names for part in ("--save", name)]
        elif word.startswith("--save="):
            out += [part for name in word.removeprefix("--save=").split(",") for part in ("--save", name)]
        elif word == "--save":
            listing = True
            continue
        else:
            out += ["--save", word] if listing and out[-2:-1] != ["--save"] else [word]
            listing = False
            continue
        listing = True
    return [*out, "--save"] if arguments and arguments[-1] == "--save" else out


def _version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"keendepth {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    pass


@app.command()
@friendly_errors
def depth(
    photos: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    output: Output = Path("out"),
    model: Annotated[str, typer.Option(help="Depth model, then refiners: see `keendepth models`.")] = DEFAULT_MODEL,
    save: Save = ["preview", "png16"],  # noqa: B006  (typer copies it)
    strength: Strength = 1.0,
    focal: Focal = None,
    fov: Fov = None,
    camera: CameraFile = None,
    convention: Convention = None,
    metric_from: MetricFrom = None,
    known: Known = None,
    metric_points: MetricPoints = None,
    camera_height: CameraHeight = None,
    prompt: Prompt = None,
    units: Annotated[str | None, typer.Option(help="What the numbers of --prompt mean: m, mm, cm.")] = None,
    card: Card = None,
    providers: Providers = "",
    runtime: Runtime = "auto",
    overwrite: Overwrite = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Depth of photos: a preview to look at, and lossless files for your tools."""
    from keendepth import io, pipeline
    from keendepth.cli import metres
    from keendepth.cli.speed import Stopwatch

    load_all(load)
    watch = Stopwatch()
    options: dict[str, Any] = {"strength": strength, "card": card, "providers": providers, "runtime": runtime}
    to_metres = metres.calibration(metric_from, known, metric_points, camera_height)
    made = pipeline.load(model, **options, to_metres=to_metres)
    pipeline.check_savable(made.kind, save, made.knows_errors)
    batch = Batch(photos, output, save, overwrite)
    prompts = metres.prompts([source for source, _ in batch.jobs], prompt, units)

    def work(photo: Path, stem: Path) -> dict[str, Any]:
        image = io.read_image(photo, focal=focal, fov=fov, camera_file=camera)
        with watch.picture(image.size):
            found = made(image, prompts(photo))
        return _saved(found, image, stem, save, convention)

    try:
        batch.run(work, as_json)
    finally:
        if verbose:
            say(watch.summary(model))


def _saved(result: DepthMap, image: Image, stem: Path, save: list[str], convention: str | None) -> dict[str, Any]:
    from keendepth import io, pipeline

    files = pipeline.save(result, image, stem, save, convention=convention)
    return {"files": [str(file) for file in files], **io.sidecar(result)}


@app.command()
@friendly_errors
def refine(
    photo: Annotated[Path, typer.Argument(help="The photo, or a folder of photos.")],
    depth: Annotated[
        Path, typer.Argument(help="Its depth file from anywhere, or a folder of files with the same names.")
    ],
    output: Output = Path("out"),
    refiner: Annotated[str, typer.Option(help="How to refine: see `keendepth models`.")] = DEFAULT_REFINER,
    strength: Strength = 1.0,
    units: Units = None,
    convention: Annotated[
        str | None, typer.Option(help="Whose 16-bit PNG the depth is: kitti, tum, scannet, ...")
    ] = None,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Give unknown pixels the nearest known depth.")
    ] = False,
    save: Save = ["preview", "png16"],  # noqa: B006
    focal: Focal = None,
    fov: Fov = None,
    camera: CameraFile = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """Sharpen any depth map along its photo: same unit, same scale, the photo's size."""
    from keendepth import DepthKind, io, pipeline

    load_all(load)
    pairs = _pairs(photo, depth)
    pipeline.check_savable(DepthKind.METRIC, save)  # the names; the kind of each file is known when it is read
    batch = Batch(list(pairs), output, save, overwrite)

    def work(picture: Path, stem: Path) -> dict[str, Any]:
        image = io.read_image(picture, focal=focal, fov=fov, camera_file=camera)
        given = io.read(pairs[picture], units=units, convention=convention)
        pipeline.check_savable(given.kind, save)
        result = pipeline.refine(image, given, refiner, strength=strength, fill_holes=fill_holes)
        return _saved(result, image, stem, save, None)

    batch.run(work, as_json)


def _pairs(photo: Path, depth: Path) -> dict[Path, Path]:
    """Photo -> depth file; of two folders, files whose names begin alike up to the first dot."""
    if not photo.is_dir():
        return {photo: depth}
    if not depth.is_dir():
        raise ValueError(f"refine: {photo} is a folder, so the depth must be a folder too, found {depth}")
    maps = maps_in(depth)
    pairs = {file: maps[file.stem] for file in photos_in(photo) if file.stem in maps}
    if not pairs:
        raise ValueError(f"refine: no photo in {photo} has a depth file of the same name in {depth}")
    return pairs


@app.command()
@friendly_errors
def convert(
    sources: Annotated[list[Path], typer.Argument(help="Depth files of any format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new file, or a folder together with --to.")],
    to: Annotated[str | None, typer.Option(help="Format for a folder: png exr tiff npz pfm dpt ply glb.")] = None,
    units: Units = None,
    from_convention: Annotated[str | None, typer.Option(help="Whose 16-bit PNG the source is: kitti, tum, ...")] = None,
    convention: Convention = None,
    photo: Annotated[Path | None, typer.Option(help="Photo that gives a cloud or mesh its colours.")] = None,
    focal: Focal = None,
    fov: Fov = None,
    camera: CameraFile = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Turn depth files of any format into any other, with unit and unknown pixels kept."""
    from keendepth import io

    suffix = f".{to.lstrip('.')}" if to else output.suffix.lower()
    if suffix not in io.WRITABLE:
        raise ValueError(
            f"convert: expected one of {', '.join(io.WRITABLE)}, found {suffix or 'no suffix'}; give --to for a folder"
        )
    if not to and len(sources) > 1:
        raise ValueError("convert: several files need a folder as -o and a format as --to")
    batch = Batch(sources, output if to else output.parent, [], overwrite, exact=True)

    def work(source: Path, stem: Path) -> dict[str, Any]:
        path = stem.with_name(stem.name + suffix) if to else output
        if path.exists() and not overwrite:
            return {"skipped": True, "files": [str(path)]}
        found = _with_camera(io.read(source, units=units, convention=from_convention), focal, fov, camera)
        path.parent.mkdir(parents=True, exist_ok=True)
        io.write(path, found, image=io.read_image(photo) if photo else None, convention=convention)
        return {"files": [str(path)], **io.sidecar(found)}

    batch.run(work, as_json)


def _with_camera(depth: DepthMap, focal: float | None, fov: float | None, file: Path | None) -> DepthMap:
    from keendepth import io
    from keendepth.core.types import Camera

    height, width = depth.size
    if focal:
        return replace(depth, camera=Camera.from_focal(focal, width, height))
    if fov:
        return replace(depth, camera=Camera.from_fov(fov, width, height))
    if file:
        return replace(depth, camera=io.read_camera(file, width, height))
    return depth


@app.command()
@friendly_errors
def models(
    name: Annotated[str | None, typer.Argument(help="Show all that is known of this one.")] = None,
    license: Annotated[str | None, typer.Option(help="commercial: only those known to allow commercial use.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only those that give metric, scale_invariant, affine_invariant or disparity.")
    ] = None,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """What there is: depth models and refiners, with licence and kind; with a name, its whole card."""
    from keendepth.cli import catalogue

    load_all(load)
    cards = catalogue.one(name) if name else catalogue.cards(license, kind)
    if as_json:
        Report.print_json(cards)
    elif name:
        catalogue.show_card(cards[0])
    else:
        catalogue.show(cards, DEFAULT_MODEL)


@app.command()
@friendly_errors
def doctor(
    film: Annotated[
        Path | None, typer.Argument(help="Folder of numbered frames: say why training depth on it would fail.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Say whether this model fits into memory, and what to do.")] = None,
    size: Annotated[int, typer.Option(min=32, help="With --model: longer side to process at, in pixels.")] = 1024,
    gap: Annotated[int, typer.Option(min=1, help="With a film: frames from one to the next that are compared.")] = 1,
    as_json: AsJson = False,
    load: Load = None,
) -> None:
    """This machine and this installation: what works, what is missing and how to install it. Or of a film: what is wrong with it."""
    from keendepth.cli import doctor as check
    from keendepth.cli import memory

    load_all(load)
    if film:
        raise typer.Exit(check.examine_film(film, gap, as_json))
    facts = memory.estimate(model, size, [str(file) for file in load or []]) if model else check.examine()
    if as_json:
        Report.print_json(facts)
    else:
        (memory if model else check).show(facts)
    raise typer.Exit(0 if facts.get("healthy", facts.get("fits")) else 1)


bench.register(app)
train.register(app)
clips.register(app)
serve.register(app)
