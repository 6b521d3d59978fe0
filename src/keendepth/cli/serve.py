"""`keendepth app`: the workbench and its API, on this machine or behind a proxy."""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Annotated

import typer

from keendepth.cli.batch import friendly_errors, load_all, say

NEEDED = ("fastapi", "uvicorn", "multipart", "prometheus_client")
Limit = typer.Option(min=1, rich_help_panel="Limits")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="app")(serve)


@friendly_errors
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Offer this model too (any that `keendepth depth --model` takes); several times for several."
        ),
    ] = None,
    default: Annotated[str, typer.Option(help="What is used where nothing was chosen.")] = "indoor-small+median",
    providers: Annotated[str, typer.Option(help="Where ONNX models run: auto, cuda, coreml, openvino or cpu.")] = "",
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="The page, or the API alone.")] = True,
    root_path: Annotated[str, typer.Option(help="Path that a reverse proxy puts before ours, as /depth.")] = "",
    keys: Annotated[
        Path | None,
        typer.Option("--api-keys", help="File with one key per line; KEENDEPTH_API_KEYS (commas) does the same."),
    ] = None,
    max_waiting: Annotated[int, Limit] = 32,
    max_batch: Annotated[int, Limit] = 8,
    max_megabytes: Annotated[int, Limit] = 64,
    max_megapixels: Annotated[int, Limit] = 25,
    max_seconds: Annotated[int, Limit] = 60,
    max_clip_frames: Annotated[int, Limit] = 900,
    max_clip_seconds: Annotated[int, Limit] = 60,
    max_clip_megapixels: Annotated[
        int, typer.Option(min=1, help="Of one frame of a clip.", rich_help_panel="Limits")
    ] = 3,
    max_clip_volume: Annotated[
        int, typer.Option(min=1, help="Megapixels of all frames of a clip together.", rich_help_panel="Limits")
    ] = 300,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one per core.", rich_help_panel="Limits")] = 0,
    load: Annotated[
        list[Path] | None, typer.Option("--load", help="Python file of yours that adds models or refiners.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log health checks and the page's traffic too.")
    ] = False,
) -> None:
    """Open the workbench in the browser, with an HTTP API beside it."""
    import os

    lacking = [name for name in (*NEEDED, *(("gradio",) if ui else ())) if util.find_spec(name) is None]
    if lacking:
        raise ValueError(f"app: {', '.join(lacking)} is not installed: pip install 'keendepth[app]'")
    load_all(load)
    from keendepth.app.settings import Settings, read_keys

    settings = Settings(
        host=host,
        port=port or _free_port(host),
        root_path=root_path.rstrip("/"),
        models=tuple(model or ()),
        default=default,
        providers=providers,
        keys=read_keys(keys, os.environ.get("KEENDEPTH_API_KEYS", "")),
        ui=ui,
        max_waiting=max_waiting,
        max_batch=max_batch,
        workers=workers,
        max_seconds=float(max_seconds),
        max_bytes=max_megabytes * 1_000_000,
        max_pixels=max_megapixels * 1_000_000,
        max_clip_frames=max_clip_frames,
        max_clip_seconds=float(max_clip_seconds),
        max_clip_pixels=max_clip_megapixels * 1_000_000,
        max_clip_volume=max_clip_volume * 1_000_000,
    )
    _say_where(settings.host, settings.port, settings.root_path, ui, bool(settings.keys))
    from keendepth.app.serve import run

    run(settings, verbose)


def _free_port(host: str) -> int:
    import socket

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _say_where(host: str, port: int, root: str, ui: bool, locked: bool) -> None:
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host
    what = "workbench: " if ui else "API: "
    say(f"{what}http://{shown}:{port}{root}/{'' if ui else 'docs'}   (API reference: /docs; stop with Ctrl-C)")
    if host not in ("127.0.0.1", "localhost", "::1") and not locked:
        say("open to everybody who reaches this address: --api-keys closes it, docs/deploy.md says more")
