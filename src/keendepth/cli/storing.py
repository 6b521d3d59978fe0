"""What `keendepth store` does: photos or rendered scenes, predicted at two sizes, into a store that training reads fast."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keendepth.core.geometry import fit_inside
from keendepth.core.types import DepthMap, Image
from keendepth.data.store import PATIENCE, Recipe, Report, Store
from keendepth.predictors import Predictor

LOW, HIGH, TRUTH, RGB = "low", "high", "truth", "rgb"  # three maps of an id, and the array beside the first
SYNTHETIC = "synthetic:"

Progress = Callable[[int, int, str], None]  # done, of how many, the id


@dataclass(frozen=True)
class Photos:
    """Photos of files and folders, shrunk to `longest` pixels at the longer side."""

    files: dict[str, Path]  # id -> file
    longest: int

    @property
    def ids(self) -> list[str]:
        return list(self.files)

    @property
    def maps(self) -> tuple[str, ...]:
        return LOW, HIGH

    @property
    def settings(self) -> dict[str, Any]:
        return {"pictures": "photos", "longest": self.longest}

    def load(self, id: str) -> tuple[Image, DepthMap | None]:
        """The picture; no truth is known of it."""
        from keendepth import io

        image = io.read_image(self.files[id])
        return replace(image.resized(*fit_inside(image.size, self.longest)), name=id), None


@dataclass(frozen=True)
class Scenes:
    """Rendered scenes by kind and number, with their exact depth."""

    numbers: dict[str, tuple[str, int]]  # id -> (kind, number)
    size: tuple[int, int]
    samples: int

    @property
    def ids(self) -> list[str]:
        return list(self.numbers)

    @property
    def maps(self) -> tuple[str, ...]:
        return LOW, HIGH, TRUTH

    @property
    def settings(self) -> dict[str, Any]:
        return {"pictures": "rendered", "size": list(self.size), "samples": self.samples}

    def load(self, id: str) -> tuple[Image, DepthMap | None]:
        """The picture and its exact depth."""
        from keendepth.data import synthetic

        kind, number = self.numbers[id]
        (frame,) = synthetic.render(number, self.size, kind, samples=self.samples)
        return replace(frame.image, name=id), frame.depth


def pictures(sources: Sequence[str], longest: int, size: tuple[int, int], samples: int) -> Photos | Scenes:
    """Photos, folders of photos, or "synthetic:KIND:FIRST-LAST". ValueError for a mixture: scenes have a map more than photos."""
    rendered = [source for source in sources if source.startswith(SYNTHETIC)]
    if not rendered:
        return Photos(_photos(sources), longest)
    if len(rendered) < len(sources):
        raise ValueError(
            "store: photos and rendered scenes go into a store each; training takes several (--data A --data B)"
        )
    numbers: dict[str, tuple[str, int]] = {}
    for source in rendered:
        numbers |= _scenes(source)
    return Scenes(numbers, size, samples)


def _scenes(source: str) -> dict[str, tuple[str, int]]:
    from keendepth.data.synthetic import KINDS

    found = re.fullmatch(rf"{SYNTHETIC}(\w+):(\d+)-(\d+)", source)
    if not found or found[1] not in KINDS or int(found[2]) > int(found[3]):
        raise ValueError(
            f"store: expected {SYNTHETIC}KIND:FIRST-LAST with a kind of {', '.join(KINDS)}, found {source!r}"
        )
    kind, first, last = found[1], int(found[2]), int(found[3])
    return {f"{kind}-{number:06d}": (kind, number) for number in range(first, last + 1)}


def _photos(sources: Sequence[str]) -> dict[str, Path]:
    from keendepth.cli.batch import photos_in

    found: dict[str, Path] = {}
    for source in map(Path, sources):
        if not source.exists():
            raise ValueError(f"{source}: no such file or folder")
        inside = photos_in(source) if source.is_dir() else [source]
        if not inside:
            raise ValueError(f"no photo found in {source}")
        for path in inside:
            id = path.relative_to(source).as_posix() if source.is_dir() else path.name
            if found.setdefault(id, path).resolve() != path.resolve():
                raise ValueError(f"two photos are called {id} ({found[id]} and {path}): make a store for each folder")
    return found


def processing_size(text: str, predictor: Predictor, photo: tuple[int, int]) -> tuple[int, int] | None:
    """(height, width) for "native" (None), "HxW", "N" (as many pixels as a square of side N) or "2x" (times the native side).

    The latter two have the photo's shape, as the refiners ask for a second look. ValueError for another text.
    """
    if text == "native":
        return None
    exact = re.fullmatch(r"(\d+)x(\d+)", text)
    if exact:
        return int(exact[1]), int(exact[2])
    times, side = re.fullmatch(r"(\d+(?:\.\d+)?)x", text), re.fullmatch(r"\d+", text)
    if not (times or side):
        raise ValueError(f"--sizes: expected native, a multiple such as 2x, a side such as 448, or HxW; found {text!r}")
    length = float(times[1]) * _native_side(predictor) if times else float(text)
    shape = math.sqrt(photo[0] / photo[1])
    return max(1, round(length * shape)), max(1, round(length / shape))


def _native_side(predictor: Predictor) -> float:
    card = getattr(predictor, "card", None)
    if card is None or not card.native_size:
        raise ValueError("--sizes: this model's card has no native size, so give pixels instead of a multiple")
    return math.sqrt(card.native_size[0] * card.native_size[1])


def make_store(
    source: Photos | Scenes,
    named: tuple[str, Predictor],
    sizes: tuple[str, str],
    folder: Path,
    progress: Progress | None = None,
) -> Report:
    """Predict what the store lacks; a picture that fails is reported and the rest goes on, unless the first `PATIENCE` all fail.

    Colour lies uncompressed beside the low map (`Store.arrays(id)["rgb"]`, uint8 [h w 3]): 240 x 320 pixels
    are read in 0.4 ms, against 4.4 ms for decoding a PNG, and take twice its room.
    """
    spec, predictor = named
    for text in sizes:
        processing_size(text, predictor, (3, 4))
    settings = {"sizes": dict(zip((LOW, HIGH), sizes, strict=True)), **source.settings}
    store = Store.create(
        folder,
        Recipe(
            source.settings["pictures"], spec, source.maps, settings=settings, card=getattr(predictor, "card", None)
        ),
    )
    todo = store.missing(source.ids)
    failed: dict[str, str] = {}
    for number, id in enumerate(todo, 1):
        try:
            image, truth = source.load(id)
            store.put(id, _maps(image, truth, predictor, sizes), {RGB: image.rgb})
        except ModuleNotFoundError:
            raise
        except Exception as error:  # whatever one picture does to a model must not end a night's work
            failed[id] = f"{type(error).__name__}: {error}"
            if number == len(failed) == min(PATIENCE, len(todo)):
                raise
        if progress:
            progress(number, len(todo), id)
    return Report(len(todo) - len(failed), len(source.ids) - len(todo), failed)


def _maps(image: Image, truth: DepthMap | None, predictor: Predictor, sizes: tuple[str, str]) -> dict[str, DepthMap]:
    maps = {
        name: predictor.predict(image, size=processing_size(text, predictor, image.size))
        for name, text in zip((LOW, HIGH), sizes, strict=True)
    }
    return {**maps, TRUTH: truth} if truth is not None else maps
