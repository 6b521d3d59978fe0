"""The command that turns clips into depth: `video`; `register` adds it to the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keendepth.cli.batch import CLIP_SAVED, Batch, friendly_errors, load_all

if TYPE_CHECKING:
    from keendepth.video import Progress


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(friendly_errors(video))


def video(
    clips: Annotated[
        list[Path], typer.Argument(help="Clips: mp4, mov, mkv, webm, avi and whatever else FFmpeg reads.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the results; it is made if it is not there.")
    ] = Path("out"),
    model: Annotated[
        str, typer.Option(help="Depth model, then refiners: see `keendepth models`.")
    ] = "indoor-small+median",
    save: Annotated[
        list[str],
        typer.Option("--save", help=f"What to make: {' '.join(CLIP_SAVED)} (several, with spaces or commas)."),
    ] = ["mp4", "png16"],  # noqa: B006  (typer copies it)
    strength: Annotated[float, typer.Option(min=0, max=1, help="How strongly to sharpen.")] = 1.0,
    memory: Annotated[int, typer.Option(min=1, help="Frames over which the level of depth is averaged.")] = 30,
    smooth: Annotated[
        float, typer.Option(min=0, max=0.99, help="How much of a frame's shape comes from those before; 0: none.")
    ] = 0.8,
    frame_by_frame: Annotated[
        bool, typer.Option("--frame-by-frame", help="Each frame by itself, as `keendepth depth` would do it.")
    ] = False,
    focal: Annotated[float | None, typer.Option(help="Focal length of the upright clip in pixels.")] = None,
    fov: Annotated[float | None, typer.Option(help="Horizontal field of view in degrees.")] = None,
    camera: Annotated[
        Path | None, typer.Option(help="File with the camera: JSON, npz with K, or a 3x3 matrix.")
    ] = None,
    convention: Annotated[str | None, typer.Option(help="Scale of 16-bit PNGs: mm (default), kitti, tum, ...")] = None,
    card: Annotated[Path | None, typer.Option(help="Card of an .onnx file that has none beside it.")] = None,
    providers: Annotated[str, typer.Option(help="Where ONNX models run: auto, cuda, coreml, openvino or cpu.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make results again that are there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON, for scripts.")] = False,
    load: Annotated[
        list[Path] | None, typer.Option("--load", help="Python file of yours that adds models or refiners.")
    ] = None,
) -> None:
    """Steady depth of clips; stopped, the same command goes on where it was."""
    from keendepth import pipeline
    from keendepth.cli.watch import counting
    from keendepth.temporal import Steadiness
    from keendepth.video import Settings, convert

    load_all(load)
    settings = Settings(
        tuple(dict.fromkeys(save)),
        model,
        strength,
        None if frame_by_frame else Steadiness(memory, smooth),
        focal,
        fov,
        str(camera) if camera else None,
        convention,
        overwrite,
        str(card) if card else None,
        providers,
    )
    made = pipeline.load(model, strength=strength, card=card, providers=providers)
    batch = Batch(clips, output, [], overwrite, exact=True)

    def work(clip: Path, stem: Path) -> dict[str, Any]:
        with counting() as show:
            for step in convert(clip, stem.parent, settings, made, stem.name):
                show(step.done, step.total, f"{clip.name}: {step.stage}")
        return _told(step)

    batch.run(work, as_json, bar=False)


def _told(step: Progress) -> dict[str, Any]:
    """The last step of a clip, for the report."""
    facts = {name: value for name, value in step.facts.items() if name not in ("settings", "versions")}
    result = {"files": [str(path) for path in step.files], **facts, "seconds_of_clip": step.facts.get("seconds")}
    return result | ({"skipped": True} if step.stage == "skipped" else {})
