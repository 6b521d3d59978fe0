"""The wiring of the page: runs with progress and cancel, and the tabs that ask for something of their own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from keendepth import io
from keendepth.app import actions, words
from keendepth.app.actions import Actions
from keendepth.app.engine import NO_REFINER

if TYPE_CHECKING:
    from keendepth.app.page import Choices, Shown

HIDDEN: Literal["private"] = "private"  # of events, in Gradio's own API: the documented one is /v1
QUIET: dict[str, Any] = {"api_visibility": HIDDEN, "show_progress": "hidden"}
CONVENTIONS = [name for name, entry in io.CONVENTIONS.items() if not entry.rotated]
DEFAULT_FILES = ["png", "exr"]
# A frame after a tab is first opened, Gradio gives each part in it its values once more. If the answer has come by then and `Model3D` is
# still fetching its code, this second giving of the same file cancels the fetch for good: no canvas. So we ask after that frame.
ONCE_MOUNTED = """async (...given) => {
    const frame = () => new Promise(requestAnimationFrame);
    while (!document.querySelector("#space")) await frame();
    await frame();
    await frame();
    return given;
}"""


def told(action: Callable[..., Any]) -> Callable[..., Any]:
    """The same, with what a visitor can cause shown as a message on the page; the pictures stay."""
    if inspect.iscoroutinefunction(action):

        @functools.wraps(action)
        async def later(*given: Any) -> Any:
            try:
                return await action(*given)
            except Exception as error:
                raise gr.Error(actions.words(error), print_exception=False) from error

        return later

    @functools.wraps(action)
    def now(*given: Any) -> Any:
        try:
            return action(*given)
        except Exception as error:
            raise gr.Error(actions.words(error), print_exception=False) from error

    return now


def ask_for_request(*events: Callable[..., Any]) -> None:
    """Gradio finds a parameter by its annotation, which must be the class itself and not its name."""
    for event in events:
        event.__annotations__["request"] = gr.Request


def _pictures(do: Actions, token: str, show: str, cmap: str) -> list[Any]:
    """What `Shown` takes for a new result."""
    return [
        token,
        do.summary(token),
        do.slider(token, show, cmap),
        do.coloured(token, cmap),
        do.view_for_measuring(token, {}),
        {},
        words.MEASURE,
    ]


def wire_run(
    do: Actions, choices: Choices, shown: Shown, buttons: tuple[gr.Button, gr.Button], looks: tuple[Any, Any]
) -> None:
    """`Make depth`, `Cancel`, and what only redraws."""
    run, cancel = buttons
    keep = [gr.skip()] * len(shown.all())

    def only(said: str, running: bool) -> list[Any]:
        return [keep[0], said, *keep[2:], gr.update(interactive=running)]

    async def work(show: str, cmap: str, request: gr.Request, *given: Any) -> AsyncIterator[list[Any]]:
        token = ""
        try:
            async for said, token in do.run(_request(*given), str(request.session_hash)):
                if not token:
                    yield only(said, running=True)
            if token:
                yield [*_pictures(do, token, show, cmap), gr.update(interactive=False)]
            else:
                yield only("Cancelled. The last result stays.", running=False)
        except Exception as error:
            message = actions.words(error)
            gr.Warning(message, title="Not done")
            yield only(message, running=False)

    async def stop(request: gr.Request) -> None:
        do.stop(str(request.session_hash))

    ask_for_request(work, stop)
    run.click(
        work,
        [*looks, *choices.all()],
        [*shown.all(), cancel],
        api_visibility=HIDDEN,
        show_progress="minimal",
        show_progress_on=shown.status,
        trigger_mode="once",
    )
    # `work` itself says that it was stopped: in one stream nothing said before can come after.
    cancel.click(stop, None, None, queue=False, **QUIET)
    show, cmap = looks
    show.change(told(do.slider), [shown.token, show, cmap], shown.slider, **QUIET)
    cmap.change(told(do.slider), [shown.token, show, cmap], shown.slider, **QUIET)
    cmap.change(told(do.coloured), [shown.token, cmap], shown.coloured, **QUIET)


def _request(*given: Any) -> actions.Request:
    photo, depth, units, model, refiner, strength, size, focal, lens, fill_holes = given
    number = (float(strength), size or None, focal or None)
    return actions.Request(photo, depth, units, model, refiner, *number, lens, bool(fill_holes))


def wire_camera(do: Actions, choices: Choices, line: gr.Markdown) -> None:
    """A new photo fills in what EXIF knows; a sample's own focal length stays."""

    async def found(photo: str | None, depth: str | None) -> tuple[Any, str]:
        focal, said = await do.camera_found(photo)
        return gr.skip() if depth else focal, said or words.NO_PHOTO

    def kept(depth: str | None) -> Any:
        """A sample's depth leaves with the sample's photo."""
        return None if depth and Path(depth).name == "room.lidar.png" else gr.skip()

    choices.photo.upload(kept, choices.depth, choices.depth, **QUIET)
    choices.photo.change(told(found), [choices.photo, choices.depth], [choices.focal, line], **QUIET)


def wire_opening(do: Actions, page: gr.Blocks, shown: Shown, choices: Choices, looks: tuple[Any, Any]) -> None:
    """The page opens with a sample that is done already."""

    async def opened(show: str, cmap: str) -> list[Any]:
        token = await do.first()
        return [*_pictures(do, token, show, cmap), str(actions.SAMPLES / "room.jpg")]

    page.load(told(opened), list(looks), [*shown.all(), choices.photo], **QUIET)


def measure_tab(do: Actions, token: gr.State) -> tuple[gr.Image, gr.State, gr.Markdown]:
    """Two clicks (or four numbers) and a length; a known length sets the scale."""
    points = gr.State({})
    measured = gr.Markdown(words.MEASURE, elem_id="measured")
    picture = gr.Image(
        label="Click A, then B", format="webp", interactive=False, buttons=["fullscreen"], elem_id="measuring"
    )
    with gr.Row():
        places = [
            gr.Number(label=label, precision=1, min_width=64, elem_id=f"at-{number}")
            for number, label in enumerate(("A column", "A row", "B column", "B row"))
        ]
        typed = gr.Button("Measure", min_width=100, elem_id="measure")
    with gr.Row():
        real = gr.Number(label="This distance is really (metres)", minimum=0, min_width=160, elem_id="real")
        scale = gr.Button("Set the scale by it", min_width=160, elem_id="set-scale")
        clear = gr.Button("Clear", min_width=80, elem_id="clear")
    outputs = [picture, points, measured, *places]

    def drawn(token: str, found: dict[str, tuple[float, float]]) -> list[Any]:
        label, said = "", "A is set. Now click B." if found else words.MEASURE
        if len(found) == 2:
            length = do.measured(token, found["A"], found["B"])
            label, said = length.text(), words.measured(length)
        numbers = [*found.get("A", (None, None)), *found.get("B", (None, None))]
        return [do.view_for_measuring(token, found, label), found, said, *numbers]

    def clicked(token: str, found: dict[str, Any], event: gr.SelectData) -> list[Any]:
        place = do.on_photo(token, tuple(event.index))
        return drawn(token, {"A": place} if len(found) != 1 else {**found, "B": place})

    def by_numbers(token: str, *numbers: float | None) -> list[Any]:
        if any(number is None for number in numbers):
            raise ValueError("Type column and row of both points, in pixels of the photo.")
        ax, ay, bx, by = (float(number) for number in numbers if number is not None)
        return drawn(token, {"A": (ax, ay), "B": (bx, by)})

    def rescaled(token: str, found: dict[str, Any], metres: float | None) -> list[Any]:
        if len(found) != 2 or not metres:
            raise ValueError("Measure between two points first, then type how long that really is.")
        new = do.rescaled(token, found["A"], found["B"], metres)
        return [new, *drawn(new, found)]

    picture.select(_with_event(clicked), [token, points], outputs, **QUIET)
    typed.click(told(by_numbers), [token, *places], outputs, **QUIET)
    clear.click(told(lambda token: drawn(token, {})), token, outputs, **QUIET)
    scale.click(told(rescaled), [token, points, real], [token, *outputs], **QUIET)
    return picture, points, measured


def _with_event(action: Callable[..., Any]) -> Callable[..., Any]:
    """As `told`, for a function of (token, points, event): Gradio finds the event by its annotation."""

    def clicked(token: str, found: dict[str, Any], event: gr.SelectData) -> Any:
        return told(action)(token, found, event)

    clicked.__annotations__["event"] = gr.SelectData
    return clicked


def space_tab(do: Actions, shown: Shown) -> None:
    """Mesh or cloud, made when one looks at it."""
    with gr.Tab("3-D", id="space") as tab:
        gr.Markdown(words.SPACE)
        form = gr.Radio(["Mesh", "Points"], value="Mesh", show_label=False, container=False, elem_id="form")
        viewer = gr.Model3D(
            label="Depth in space",
            clear_color=(0.09, 0.1, 0.13, 1),
            camera_position=(90, 90, None),
            height=560,
            elem_id="space",
        )
        seen = gr.State(("", ""))  # inside the tab: what else stands among tabs is counted as one

    def made(token: str, form: str, seen: tuple[str, str]) -> tuple[Any, tuple[str, str]]:
        if seen == (token, form):
            return gr.skip(), seen
        return do.model3d(token, form == "Mesh"), (token, form)

    for event in (tab.select, form.change):
        event(
            told(made),
            [shown.token, form, seen],
            [viewer, seen],
            js=ONCE_MOUNTED,
            api_visibility=HIDDEN,
            show_progress="minimal",
        )


def mirror_tab(do: Actions, shown: Shown) -> None:
    """How steady the model is, on demand."""
    with gr.Tab("Confidence", id="confidence"):
        gr.Markdown(words.MIRROR)
        ask = gr.Button("Ask the mirror", elem_id="ask")
        said = gr.Markdown(elem_id="mirrored")
        picture = gr.Image(
            label="Where the answers differ", format="webp", interactive=False, buttons=["fullscreen"], elem_id="mirror"
        )
    ask.click(told(do.mirror), shown.token, [picture, said], api_visibility=HIDDEN, show_progress="minimal")


def second_tab(do: Actions, shown: Shown) -> Callable[[gr.Dropdown], None]:
    """Two models or refiners side by side; call what it returns with the choice of colours, which stands below the tabs."""
    engine = do.bench.engine
    names = [*engine.refiners, NO_REFINER]
    other = next(name for name in names if name != engine.default.refiner)
    with gr.Tab("Two models", id="second"):
        gr.Markdown(words.SECOND)
        with gr.Row():
            model = gr.Dropdown(
                list(engine.models), value=engine.models[-1], label="Model", min_width=140, elem_id="model-2"
            )
            refiner = gr.Dropdown(names, value=other, label="Refiner", min_width=140, elem_id="refiner-2")
            compare = gr.Button("Compare", min_width=120, elem_id="compare")
        said = gr.Markdown(elem_id="compared")
        slider = gr.ImageSlider(
            label="First | second", type="numpy", format="webp", interactive=False, max_height=560, elem_id="slider-2"
        )

    def wire(cmap: gr.Dropdown) -> None:
        given = [shown.token, model, refiner, cmap]
        compare.click(told(do.second), given, [slider, said], api_visibility=HIDDEN, show_progress="minimal")

    return wire


def download_tab(do: Actions, shown: Shown) -> None:
    """Any format of `io`."""
    from keendepth.app.page import DOWNLOADS

    with gr.Tab("Download", id="download"):
        gr.Markdown(words.DOWNLOAD)
        names = gr.CheckboxGroup(DOWNLOADS, value=DEFAULT_FILES, label="Formats", elem_id="formats")
        convention = gr.Dropdown(CONVENTIONS, value="mm", label="Scale of the 16-bit PNG", elem_id="convention")
        make = gr.Button("Make files", elem_id="make")
        files = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")
    make.click(told(do.files), [shown.token, names, convention], files, api_visibility=HIDDEN, show_progress="minimal")
