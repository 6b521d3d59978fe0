"""The card of an ONNX depth network: what `Card` says, and how pictures go in and depth comes out; read strictly."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from keendepth.core import geometry
from keendepth.core.geometry import to_multiple
from keendepth.core.types import Card, DepthKind

RULES = ("squash", "keep", "cover", "shorter", "closest")
PILLOW = "pillow-"  # before a method: by Pillow, in bytes, as the published pre-processors of most networks do it
METHODS = tuple(prefix + method for prefix in ("", PILLOW) for method in geometry.METHODS)
STEEPEST = 6.0  # longest over shortest side of a network's input; a longer panorama is squashed to it


class CardError(ValueError):
    """A card that cannot be used. The message names the card, the key, what was expected and what was found."""


@dataclass(frozen=True)
class InputRule:
    """How a picture becomes the network's input: [1 3 h w], (range(rgb) - mean) / std."""

    stride: int = 0  # height and width must be multiples of it; 0: the network takes its native size only
    rule: str = (
        # without a size asked for: "squash" to the native size, "keep" its area and the pixels' shape, or "cover" it: the pixels'
        # shape is kept and no side is shorter than the native one (Depth Anything's own rule); "shorter": the pixels' shape is
        # kept, and the shorter side becomes native's shorter one; "closest": the side whose scale is closer to 1 becomes native's (MiDaS)
        "squash"
    )
    pixel_aspect: float = 1.0  # for "keep": width / height of a network pixel, measured on the photo
    focal: float = 0.0  # vertical focal length, in network pixels, for which metres are metres; 0: not known
    method: str = "linear"  # of resizing the photo, one of METHODS
    border: float = 0.0  # of the photo's reflection around it, in units of sqrt(side / 2) pixels, cut off the depth again; ZoeDepth: 3
    range: tuple[float, float] = (0.0, 1.0)  # what rgb 0 and 255 become
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise CardError(f"input.rule must be one of {', '.join(RULES)}, found {self.rule!r}")
        if self.method not in METHODS:
            raise CardError(f"input.method must be one of {', '.join(METHODS)}, found {self.method!r}")
        if not 0 <= self.border < 32:
            raise CardError(f"input.border must be 0 or more, and below 32, found {self.border}")
        if self.stride < 0 or self.pixel_aspect <= 0 or self.focal < 0 or min(self.std) <= 0:
            raise CardError("input: stride and focal must be 0 or more, pixel_aspect and std above 0")


@dataclass(frozen=True)
class OutputRule:
    """How the network's output becomes depth."""

    name: str = ""  # which output, where the network has several; "": the first
    scale: float = 1.0  # what one unit of it is worth: metres for METRIC
    focal: str = ""  # the output with the focal length, in pixels of the input's width, for which the metres hold; a known one replaces it
    repeat: int = 1  # each value stands on repeat x repeat pixels (the network ends in nearest up-sampling)

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.repeat < 1:
            raise CardError("output: scale must be above 0 and repeat at least 1")


@dataclass(frozen=True)
class ModelCard:
    """A `Card` with what an adapter must know besides."""

    card: Card
    input: InputRule = field(default_factory=InputRule)
    output: OutputRule = field(default_factory=OutputRule)
    notes: str = ""

    @classmethod
    def read(cls, path: str | Path) -> ModelCard:
        """From a JSON or TOML file; CardError says what is wrong in it."""
        path = Path(path)
        return cls.from_dict(_load(path), path.name)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], name: str = "card") -> ModelCard:
        """From a mapping: the keys of `Card`, the tables `input` and `output`, `notes` and `role`; CardError at anything else."""
        content = dict(content)
        role = content.pop("role", "predictor")
        try:
            if role != "predictor":
                raise CardError(f"role must be 'predictor' here, found {role!r}")
            notes = str(content.pop("notes", ""))
            rules = (
                _build(InputRule, content.pop("input", {}), "input"),
                _build(OutputRule, content.pop("output", {}), "output"),
            )
            model = cls(_build(Card, content, ""), *rules, notes)
            model._check()
        except CardError as error:
            raise CardError(f"{name}: {error}") from None
        return model

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads, without the keys that say nothing."""
        rules = {"input": asdict(self.input), "output": asdict(self.output)}
        fresh = {"input": asdict(InputRule()), "output": asdict(OutputRule())}
        told = {name: {k: v for k, v in rule.items() if v != fresh[name][k]} for name, rule in rules.items()}
        found = {"role": "predictor", **self.card.to_dict(), **told, "notes": self.notes}
        return {key: value for key, value in found.items() if value not in ("", None, {}, 0)}

    def _check(self) -> None:
        if self.card.kind is None:
            raise CardError(f"kind is missing: one of {', '.join(DepthKind)}")
        native = self.card.native_size
        if native is not None and min(native) < 1:
            raise CardError(f"native_size must be 1 x 1 or more, found {native[0]} x {native[1]}")
        if self.input.stride == 0 and native is None:
            raise CardError(
                "give native_size = [height, width] for a network of fixed size, or input.stride for any size"
            )
        if self.input.rule != "squash" and (self.input.stride == 0 or self.card.native_size is None):
            raise CardError(f"input.rule {self.input.rule!r} needs both input.stride and native_size")
        if self.output.focal and (self.input.focal or self.card.kind is not DepthKind.METRIC):
            raise CardError("output.focal is for metric networks without input.focal")
        if self.input.focal and self.card.native_size is None:
            raise CardError("input.focal needs native_size")
        if self.input.focal and self.card.kind is not DepthKind.METRIC:
            raise CardError(f"input.focal is for metric networks, this one is {self.card.kind}")

    def native_size(self, photo: tuple[int, int]) -> tuple[int, int]:
        """The network's (height, width) for a photo of this size, when none is asked for."""
        native, rule = self.card.native_size, self.input
        if native is None:
            return to_multiple(photo, rule.stride)
        if rule.rule == "squash":
            return native
        if rule.rule == "cover":
            return _covering(photo, native, rule.stride)
        if rule.rule == "shorter":
            return _scaled(photo, min(native) / min(photo), native, rule.stride)
        if rule.rule == "closest":
            factor = min(native[0] / photo[0], native[1] / photo[1], key=lambda one: abs(1 - one))
            return _scaled(photo, factor, native, rule.stride)
        aspect = photo[1] / photo[0] / rule.pixel_aspect
        side = math.sqrt(native[0] * native[1])
        stretch = math.sqrt(min(max(aspect, 1 / STEEPEST), STEEPEST))
        return to_multiple((round(side / stretch), round(side * stretch)), rule.stride)

    def assumed_focal(self, photo: tuple[int, int]) -> float:
        """Vertical focal length, in pixels of the photo, of a camera like the training's of whose frame the photo is a crop.

        The frame is the native size with its pixel_aspect; held upright for a portrait. For `input.focal` above 0.
        """
        native = self.card.native_size or photo
        frame = native[1] * self.input.pixel_aspect / native[0]
        longer_over_shorter = max(frame, 1 / frame)
        shorter = max(min(photo), max(photo) / longer_over_shorter)
        return self.input.focal / native[0] * shorter


def _covering(photo: tuple[int, int], native: tuple[int, int], stride: int) -> tuple[int, int]:
    """`photo` enlarged or shrunk to cover `native`, in multiples of `stride`, and at most `STEEPEST` long."""
    return _scaled(photo, max(native[0] / photo[0], native[1] / photo[1]), native, stride)


def _scaled(photo: tuple[int, int], factor: float, native: tuple[int, int], stride: int) -> tuple[int, int]:
    """`photo` times `factor`, in multiples of `stride`, and at most `STEEPEST` long."""
    height, width = photo[0] * factor, photo[1] * factor
    most = STEEPEST * max(min(height, width), min(native))
    return to_multiple((round(min(height, most)), round(min(width, most))), stride)


def read_role(path: Path) -> str:
    """What a card in `weights/` is for ("predictor", "refiner", ...); nothing else of it is checked."""
    return str(_load(path).get("role", "predictor"))


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CardError(f"no card at {path}; a model file needs one beside it (.json or .toml)")
    text = path.read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise CardError(f"{path.name}: not a card in {path.suffix.lstrip('.').upper() or 'JSON'}: {error}") from None
    if not isinstance(content, dict):
        raise CardError(f"{path.name}: expected a table of keys, found {type(content).__name__}")
    return content


def _build(cls: type[Any], content: Any, table: str) -> Any:
    """A frozen dataclass from a table: no unknown key, no missing one, each value of the field's own type."""
    if not isinstance(content, Mapping):
        raise CardError(f"{table} must be a table, found {type(content).__name__}")
    known = {entry.name: entry for entry in fields(cls)}
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise CardError(f"unknown key {_dotted(table, key)!r}; {hint}")
    for entry in known.values():
        if entry.default is MISSING and entry.name not in content:
            raise CardError(f"{_dotted(table, entry.name)} is missing")
    hints = get_type_hints(cls)
    return cls(**{key: _value(hints[key], value, _dotted(table, key)) for key, value in content.items()})


def _dotted(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _value(hint: Any, value: Any, key: str) -> Any:
    """`value` as the annotation `hint` wants it: a kind, text, a number, or a tuple of numbers."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is UnionType:
        return None if value is None else _value(options[0], value, key)
    if hint is DepthKind:
        if value not in list(DepthKind):
            raise CardError(f"{key} must be one of {', '.join(DepthKind)}, found {value!r}")
        return DepthKind(value)
    if hint is str:
        if not isinstance(value, str):
            raise CardError(f"{key} must be text, found {value!r}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(options):
            raise CardError(f"{key} must be a list of {len(options)} numbers, found {value!r}")
        return tuple(_number(options[0], part, key) for part in value)
    return _number(hint, value, key)


def _number(hint: type, value: Any, key: str) -> int | float:
    """A finite float, or a whole number of 0 or more."""
    if hint is int and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise CardError(f"{key}: expected a whole number of 0 or more, found {value!r}")
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise CardError(f"{key}: expected a number, found {value!r}")
    return hint(value)
