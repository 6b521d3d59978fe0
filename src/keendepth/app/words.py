"""The page's sentences."""

from __future__ import annotations

import html

from keendepth.app.clips import Heard, Made
from keendepth.app.engine import Engine
from keendepth.app.measure import Measurement
from keendepth.app.settings import Settings
from keendepth.core.registry import UnknownNameError
from keendepth.predictors import licences, registry

ROOM_FOCAL = 424.6  # pixels, of samples/room.jpg
HEADER = """<header id="head"><h1>keendepth</h1>
<p>Sharp, metric depth from a photo, or from your own depth file. Nothing leaves this machine.
<a href="docs">API</a></p></header>"""
WAITING = "Loading the first picture …"
NO_PHOTO = "Choose a photo: what its EXIF says about the lens stands here."
OWN_DEPTH = (
    "From any network, sensor or program, at any resolution. It is sharpened along the photo; its unit and scale stay."
)
MEASURE = "Click two points in the picture, or type them below. Metres need a metric model or a metric file."
SPACE = (
    "Drag to turn, wheel or pinch to come closer. The cloud is thinned for the screen; the download has every pixel."
)
MIRROR = (
    "Few models say how sure they are. This asks twice, the second time with the photo mirrored, and shows where the answers differ; "
    "the refiner sharp also tells the error that it expects."
)
SECOND = "The same photo through another model or refiner."
DOWNLOAD = "Lossless files with unit, camera and model in them, and a JSON description beside each. PLY and GLB need metric depth."

NO_PYAV = "Clips need PyAV, which brings FFmpeg with it: `pip install 'keendepth[video]'`, then start the server again."
STAGES = {
    "opening": "Opening the clip …",
    "looking": "Looking at a few frames for its colours …",
    "packing": "Packing the files …",
}


def clip(settings: Settings) -> str:
    """What the Video tab does and takes."""
    return (
        "Depth of a clip, with the model, refiner and strength chosen on this page, held steady along the camera's motion. Up to "
        f"{settings.max_clip_frames} frames, {settings.max_clip_seconds:g} seconds, {settings.max_bytes / 1e6:g} MB and "
        f"{settings.max_clip_pixels / 1e6:g} megapixels a frame ({settings.max_clip_volume / 1e6:g} over all); one clip at a time. "
        "`keendepth video` has no such limits. The film's colours are spectral, whatever is chosen below."
    )


def line(text: str) -> str:
    """A status line, read out when it changes."""
    return f'<p role="status">{html.escape(text)}</p>'


def clip_progress(heard: Heard) -> str:
    """How far a clip is, with a bar."""
    if heard.stage != "depth":
        return line(STAGES.get(heard.stage, heard.stage))
    left = "" if heard.left is None else f" · about {_time(heard.left)} left"
    bar = f'<progress max="{heard.total}" value="{heard.done}" aria-label="Frames done"></progress>'
    return f"{bar}<p>Frame {heard.done} of {heard.total}{left}</p>"


def clip_made(made: Made) -> str:
    """What came of a clip, in one line."""
    facts = made.facts
    parts = [f"{facts['frames']} frames, {facts['seconds']:.1f} s", f"done in {_time(made.seconds)}"]
    if facts["min"] is not None and facts.get("unit") == "m":
        parts.insert(1, f"{facts['min']:.2f} to {facts['max']:.2f} m")
    if facts["cuts"]:
        parts.append(f"{facts['cuts']} cut{'s' if facts['cuts'] > 1 else ''} found")
    if facts["frames"] < facts["announced"]:
        parts.append(f"the file promises {facts['announced']} frames and breaks off or is damaged")
    return line(" · ".join(parts))


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def licence(engine: Engine, model: str) -> str:
    """One line on a model: licence, what its numbers are, what it is bad at."""
    try:
        card = registry.card(model)
    except UnknownNameError:
        return f"`{model}`: a model of yours; its licence is not known here."
    commercial = (
        "commercial use allowed" if licences.allows_commercial(card.license) else "not known to allow commercial use"
    )
    kind = card.kind.value.replace("_", " ") if card.kind else "depth"
    bad = f" Bad at {card.fails_on.split(':')[0].split(';')[0]}." if card.fails_on else ""
    return f"**{card.license}** ({commercial}) · gives {kind}.{bad}"


def measured(found: Measurement) -> str:
    """A measurement with what its uncertainty is made of."""
    names = {"points": "where you clicked", "camera": "the lens", "scale": "the depth's own scale"}
    parts = ", ".join(f"{names[name]} {_short(part)}" for name, part in found.parts.items() if part >= 5e-4)
    near, far = found.distances
    return f"### {found.text()}\nA is {near:.2f} m away, B {far:.2f} m (along the view). " + (
        f"The ± is one standard deviation: {parts}." if parts else "Nothing is known against it."
    )


def _short(metres: float) -> str:
    """Millimetres, centimetres or metres, whichever reads best."""
    if metres < 0.01:
        return f"{metres * 1000:.0f} mm"
    return f"{metres * 100:.0f} cm" if metres < 1 else f"{metres:.1f} m"
