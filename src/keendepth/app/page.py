"""The page: what stands where and which button calls which action; a column of choices, and tabs with what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from keendepth import io, viz
from keendepth.app import actions, answers, page_steps, page_video, words
from keendepth.app.actions import Actions
from keendepth.app.engine import NO_REFINER

UNITS = [("Find out (PNG: millimetres, floats: metres)", ""), *((name, name) for name in io.UNITS)]
SIZES = [("The model's own", 0), ("320 px", 320), ("448 px", 448), ("640 px", 640), ("896 px", 896)]
DOWNLOADS = [name for name, form in answers.FORMATS.items() if form.kind]


@dataclass
class Choices:
    """The components of the left column, in the order of `actions.Request`."""

    photo: gr.Image
    depth: gr.File
    units: gr.Dropdown
    model: gr.Dropdown
    refiner: gr.Dropdown
    strength: gr.Slider
    size: gr.Dropdown
    focal: gr.Number
    lens: gr.Dropdown
    fill_holes: gr.Checkbox

    def all(self) -> list[Any]:
        return list(vars(self).values())


@dataclass
class Shown:
    """What a new result changes."""

    token: gr.State
    status: gr.Markdown
    slider: gr.ImageSlider
    coloured: gr.Image
    measuring: gr.Image
    points: gr.State
    measured: gr.Markdown

    def all(self) -> list[Any]:
        return list(vars(self).values())


# Each makes one tab and wires it; a tab of yours is one more function here.
Tab = Callable[[Actions, Choices, Shown, gr.Radio], None]


def build(do: Actions) -> gr.Blocks:
    """The page over the server's actions."""
    with gr.Blocks(title="keendepth", analytics_enabled=False, delete_cache=(3600, 7200), fill_width=True) as page:
        token = gr.State(None)
        gr.HTML(words.HEADER, padding=False)
        with gr.Row(elem_id="desk"):
            with gr.Column(scale=2, min_width=300, elem_id="choices"):
                choices, run, cancel, camera_line = _choices(do)
            with gr.Column(scale=5, min_width=300, elem_id="results"):
                status = gr.Markdown(words.WAITING, elem_id="status")
                shown, show, cmap = _results(do, token, status, choices)
        page_steps.wire_run(do, choices, shown, (run, cancel), (show, cmap))
        page_steps.wire_camera(do, choices, camera_line)
        page_steps.wire_opening(do, page, shown, choices, (show, cmap))
        page_video.wire_leaving(do, page)
    page.queue(default_concurrency_limit=None, max_size=4 * do.bench.settings.max_waiting, api_open=False)
    return page


def _choices(do: Actions) -> tuple[Choices, gr.Button, gr.Button, gr.Markdown]:
    engine = do.bench.engine
    photo = gr.Image(
        label="Photo",
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard", "webcam"],
        height=260,
        buttons=[],
        elem_id="photo",
    )
    with gr.Row(elem_id="go"):
        run = gr.Button("Make depth", variant="primary", scale=3, min_width=140, elem_id="run")
        cancel = gr.Button("Cancel", scale=1, min_width=90, interactive=False, elem_id="cancel")
    samples = gr.Column(elem_id="samples")
    with gr.Accordion("Model", open=True, elem_id="how"):
        model = gr.Dropdown(list(engine.models), value=engine.default.model, label="Model", elem_id="model")
        licence = gr.Markdown(words.licence(engine, engine.default.model), elem_id="licence")
        refiner = gr.Dropdown(
            [*engine.refiners, NO_REFINER], value=engine.default.refiner, label="Refiner", elem_id="refiner"
        )
        strength = gr.Slider(0, 1, value=1, step=0.05, label="Strength", elem_id="strength")
        size = gr.Dropdown(SIZES, value=0, label="Size at which the model looks (longer side)", elem_id="size")
    model.change(
        lambda name: words.licence(engine, name),
        model,
        licence,
        api_visibility=page_steps.HIDDEN,
        show_progress="hidden",
    )
    with gr.Accordion("Your own depth file", open=False, elem_id="own"):
        gr.Markdown(words.OWN_DEPTH)
        depth = gr.File(
            label="Depth of the same view",
            file_types=list(io.READABLE),
            type="filepath",
            height=110,
            elem_id="depth",
        )
        units = gr.Dropdown(UNITS, value="", label="Its numbers are", elem_id="units")
        fill_holes = gr.Checkbox(label="Give unknown pixels the nearest known depth", elem_id="fill-holes")
    with gr.Accordion("Camera", open=False, elem_id="camera"):
        camera_line = gr.Markdown(words.NO_PHOTO, elem_id="lens-found")
        with gr.Row():
            focal = gr.Number(
                label="Focal length (0: automatic)", value=None, minimum=0, min_width=120, elem_id="focal"
            )
            lens = gr.Dropdown(list(actions.LENSES), value=actions.LENSES[0], label="in", min_width=120, elem_id="lens")
    choices = Choices(photo, depth, units, model, refiner, strength, size, focal, lens, fill_holes)
    with samples:  # above the options, whose values a sample sets
        _samples(choices)
    return choices, run, cancel, camera_line


def _samples(choices: Choices) -> None:
    """Photos that the package brings; a click fills in the choices."""
    rows: list[list[Any]] = [
        ["room.jpg", None, "", None],
        ["room.jpg", "room.lidar.png", "mm", words.ROOM_FOCAL],
        ["coffee.jpg", None, "", None],
        ["cat.jpg", None, "", None],
    ]
    examples = [[str(actions.SAMPLES / row[0]), row[1] and str(actions.SAMPLES / row[1]), *row[2:]] for row in rows]
    gr.Examples(
        examples,
        [choices.photo, choices.depth, choices.units, choices.focal],
        label="Samples",
        example_labels=["Room", "Room + its lidar", "Coffee", "Cat"],
        api_visibility=page_steps.HIDDEN,
    )


def _results(
    do: Actions, token: gr.State, status: gr.Markdown, choices: Choices
) -> tuple[Shown, gr.Radio, gr.Dropdown]:
    with gr.Tabs(elem_id="tabs"):
        with gr.Tab("Before / after", id="slide"):
            show = gr.Radio(
                [actions.SHOW_DEPTH, actions.SHOW_EDGES, actions.SHOW_PHOTO],
                value=actions.SHOW_DEPTH,
                show_label=False,
                container=False,
                elem_id="show",
            )
            slider = gr.ImageSlider(
                label="As it came | refined",
                type="numpy",
                format="webp",
                interactive=False,
                max_height=560,
                elem_id="slider",
            )
            divider = gr.Slider(0, 100, value=50, step=1, label="Divider (for the keyboard)", elem_id="divider")
        with gr.Tab("Depth", id="depth"):
            coloured = gr.Image(
                label="Refined depth",
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id="coloured",
            )
        with gr.Tab("Measure", id="measure"):
            measuring, points, measured = page_steps.measure_tab(do, token)
        shown = Shown(token, status, slider, coloured, measuring, points, measured)
        page_steps.space_tab(do, shown)
        page_steps.mirror_tab(do, shown)
        ask_second = page_steps.second_tab(do, shown)
        page_steps.download_tab(do, shown)
        page_video.video_tab(do, choices)
    cmap = gr.Dropdown(list(viz.ANCHORS), value="spectral", label="Colours", elem_id="cmap")
    ask_second(cmap)
    divider.input(
        lambda at: gr.update(slider_position=at),
        divider,
        slider,
        api_visibility=page_steps.HIDDEN,
        show_progress="hidden",
        queue=False,
    )
    return shown, show, cmap
