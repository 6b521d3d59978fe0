"""The Video tab: a clip in, a film of photo beside depth out, with its numbered frames to download."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import util
from typing import TYPE_CHECKING, Any

import gradio as gr

from keendepth.app import actions, words
from keendepth.app.actions import Actions
from keendepth.app.clips import FRAMES, ClipWish, Heard, Made
from keendepth.app.page_steps import HIDDEN, QUIET, ask_for_request

if TYPE_CHECKING:
    from keendepth.app.page import Choices

STEADY, ALONE = "Steady", "Frame by frame"
SUFFIXES = [
    ".mp4",
    ".mov",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".mts",
    ".3gp",
    ".gif",
]  # what is offered to choose; the content decides


def video_tab(do: Actions, choices: Choices) -> None:
    """Upload, options, a line that says how far it is, the film, and downloads."""
    with gr.Tab("Video", id="video"):
        if util.find_spec("av") is None:
            gr.Markdown(words.NO_PYAV, elem_id="no-pyav")
            return
        gr.Markdown(words.clip(do.bench.settings))
        clip = gr.File(label="Clip", file_types=list(SUFFIXES), type="filepath", height=110, elem_id="clip")
        with gr.Row():
            how = gr.Radio(
                [STEADY, ALONE], value=STEADY, label="Depth from frame to frame", min_width=220, elem_id="steady"
            )
            frames = gr.Radio(
                list(FRAMES), value=next(iter(FRAMES)), label="Frames to download", min_width=220, elem_id="clip-frames"
            )
        with gr.Row(elem_id="go-clip"):
            run = gr.Button("Make film", variant="primary", scale=3, min_width=140, elem_id="run-clip")
            cancel = gr.Button("Cancel", scale=1, min_width=90, interactive=False, elem_id="cancel-clip")
        said = gr.HTML(elem_id="clip-status", padding=False)
        film = gr.Video(label="Photo | depth", interactive=False, buttons=["download"], visible=False, elem_id="film")
        files = gr.File(label="Files", file_count="multiple", interactive=False, visible=False, elem_id="clip-files")

    keep: list[Any] = [gr.skip(), gr.skip()]

    async def work(
        path: str | None, how: str, frames: str, model: str, refiner: str, strength: float, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        heard: Heard | Made | None = None
        try:
            own = do.own_path(path, "clip")
            wish = ClipWish(model, refiner, float(strength), how == STEADY, frames)
            async for heard in do.clips.run(own, wish, str(request.session_hash)):
                if isinstance(heard, Made):
                    made = [str(path) for path in (heard.film, heard.archive) if path]
                    shown = [gr.update(value=made[0], visible=True), gr.update(value=made, visible=True)]
                    yield [words.clip_made(heard), *shown, gr.update(interactive=False)]
                else:
                    yield [words.clip_progress(heard), *keep, gr.update(interactive=True)]
            if not isinstance(heard, Made):
                yield [words.line("Cancelled. The last film stays."), *keep, gr.update(interactive=False)]
        except Exception as error:
            message = actions.words(error)
            gr.Warning(message, title="Not done")
            yield [words.line(message), *keep, gr.update(interactive=False)]

    async def stop(request: gr.Request) -> None:
        do.clips.stop(str(request.session_hash))

    ask_for_request(work, stop)
    run.click(
        work,
        [clip, how, frames, choices.model, choices.refiner, choices.strength],
        [said, film, files, cancel],
        api_visibility=HIDDEN,
        show_progress="hidden",
        trigger_mode="once",
    )
    cancel.click(stop, None, None, queue=False, **QUIET)


def wire_leaving(do: Actions, page: gr.Blocks) -> None:
    """Who closes the page takes the film along, and what was being made."""

    async def left(request: gr.Request) -> None:
        do.stop(str(request.session_hash))
        do.clips.forget(str(request.session_hash))

    ask_for_request(left)
    page.unload(left)
