"""The page's sentences."""

from __future__ import annotations

from keendepth.app.engine import Engine
from keendepth.app.measure import Measurement
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
MIRROR = "No model here says how sure it is. This asks it twice, the second time with the photo mirrored, and shows where the answers differ."
SECOND = "The same photo through another model or refiner."
DOWNLOAD = "Lossless files with unit, camera and model in them, and a JSON description beside each. PLY and GLB need metric depth."


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
