"""Options of a run: the loop's own, and how defaults, presets and `--set` are combined, with errors that name the near key."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

PRESETS = Path(__file__).parent.parent / "presets"
FIT = "fit"  # the section of the loop's options
FREE = ("save_every", "log_every", "prefetch", "threads", "device")  # of no consequence for what is learned


@dataclass(frozen=True)
class FitOptions:
    """Options of the loop. `batch_size` is that of one process; with `accumulation` and processes, one step sees their product."""

    steps: int = 10_000
    """Steps of the optimiser in the whole run."""
    batch_size: int = 8
    """Pictures in a batch of one process."""
    accumulation: int = 1
    """Batches whose gradients are averaged before a step."""
    lr: float = 2e-4
    """Peak learning rate of AdamW, per step."""
    warmup: int = 200
    """Steps in which the learning rate rises from 0 in a straight line."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: half a cosine down to `lr_end`, or nothing."""
    lr_end: float = 0.01
    """Last learning rate of the cosine, as a share of `lr`."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW; parameters of one dimension (norms, biases) have none."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's averages of the gradient and of its square."""
    grad_clip: float = 1.0
    """Largest norm of the whole gradient; 0 does not clip."""
    amp: Literal["no", "bf16", "fp16"] = "no"
    """Precision of the student's convolutions and products; weights, losses and averages stay float32. fp16 needs a GPU."""
    channels_last: bool = True
    """Memory format of the student's weights; with bf16 on a CPU 1.6 to 3.3 times as fast as the other."""
    ema_decay: float = 0.999
    """Memory of the averaged weights, which are validated and shipped; it grows from 0.1 as (1+t)/(10+t). 0: no averaging."""
    keep: Literal["last", "best"] = "last"
    """Which averaged weights are shipped: those of the last step, or those with the least first figure of validation."""
    validate_every: int = 1000
    """Steps between validations; 0 validates only before the first step and after the last."""
    save_every: int = 500
    """Steps between checkpoints."""
    log_every: int = 50
    """Steps over which a line of the log averages."""
    seed: int = 0
    """Of the initial weights, the batches, and every generator."""
    prefetch: int = 2
    """Batches prepared in advance by a thread; 0 prepares them in turn."""
    threads: int = 0
    """Threads of torch on the CPU; 0 leaves torch's own choice."""
    device: Literal["auto", "cpu"] = "auto"
    """What to run on: a GPU where there is one, or the CPU."""

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_size": 1, "accumulation": 1, "save_every": 1, "log_every": 1}
        shares = ("lr_end", "ema_decay")
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)):
                continue
            low, high = least.get(field.name, 0), 1 if field.name in shares else math.inf
            if not (math.isfinite(value) and low <= value <= high):
                allowed = f"between {low} and {high}" if high == 1 else f"{low} or more"
                raise ValueError(f"{FIT}.{field.name} must be {allowed}, found {value}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"{FIT}.betas must lie in [0, 1), found {self.betas}")


def learning_rate(options: FitOptions, step: int) -> float:
    """Learning rate of step `step` (from 0): a straight rise, then half a cosine or a constant. A pure function, so nothing is to be resumed."""
    if step < options.warmup:
        return options.lr * (step + 1) / options.warmup
    if options.schedule == "constant":
        return options.lr
    done = (step - options.warmup) / max(options.steps - options.warmup, 1)
    share = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return options.lr * (options.lr_end + (1 - options.lr_end) * share)


def preset_names() -> list[str]:
    """Names of the training presets that ship (the folder holds benchmarks too)."""
    return sorted(path.stem for path in PRESETS.glob("*.toml") if not path.stem.startswith("bench-"))


def read_preset(name: str) -> dict[str, Any]:
    """A shipped preset by name, or any .toml file by path. ValueError where there is none or it is no TOML."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not path.is_file():
        raise ValueError(f"no preset {name!r}; shipped: {', '.join(preset_names())}; or give the path of a .toml file")
    return read_toml(path)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ValueError that names the file where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no TOML file ({error})") from error


def resolve(sections: Mapping[str, type], presets: Sequence[str] = (), sets: Sequence[str] = ()) -> dict[str, Any]:
    """The options of each section: defaults, then presets in turn, then `key=value` or `section.key=value`.

    `sections`: name -> frozen dataclass. Raises ValueError for an unknown section or key (naming the nearest), a key that two
    sections have, or a value of the wrong type.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for preset in presets:
        _merge(found, sections, read_preset(preset), preset)
    for text in sets:
        section, key, value = _parse_set(sections, text)
        found[section][key] = value
    return {name: build(kind, found[name], name) for name, kind in sections.items()}


def build(kind: type, values: Mapping[str, Any], section: str) -> Any:
    """The dataclass `kind` from plain values of TOML. ValueError for an unknown key or a value of the wrong type."""
    hints = typing.get_type_hints(kind)
    own = [field.name for field in fields(kind)]
    for key in values:
        if key not in own:
            raise ValueError(f"[{section}] has no key {key!r}; {_near(key, own)}")
    return kind(**{key: _fitted(value, hints[key], f"{section}.{key}") for key, value in values.items()})


def _merge(
    found: dict[str, dict[str, Any]], sections: Mapping[str, type], preset: Mapping[str, Any], name: str
) -> None:
    meant = preset.get("recipe")
    if meant is not None and meant not in sections:
        raise ValueError(f"preset {name} is for the recipe {meant!r}, not for {' and '.join(set(sections) - {FIT})}")
    for section, values in preset.items():
        if section in ("recipe", "data"):
            continue
        if section not in sections or not isinstance(values, Mapping):
            raise ValueError(f"preset {name}: no section [{section}]; {_near(section, sections)}")
        build(sections[section], values, section)  # so that a wrong key is blamed on this preset's line
        found[section].update(values)


def _parse_set(sections: Mapping[str, type], text: str) -> tuple[str, str, Any]:
    """`lr=1e-4` or `fit.lr=1e-4` as (section, key, value); a value that is no TOML is a string."""
    name, equals, raw = text.partition("=")
    if not equals:
        raise ValueError(f"--set wants key=value, found {text!r}")
    section, dot, key = name.strip().rpartition(".")
    owners = [s for s, kind in sections.items() if key in {field.name for field in fields(kind)}]
    if dot and section not in sections:
        raise ValueError(f"--set {text}: no section {section!r}; {_near(section, sections)}")
    if not dot:
        if not owners:
            known = [field.name for kind in sections.values() for field in fields(kind)]
            raise ValueError(f"--set {text}: no key {key!r}; {_near(key, known)}")
        if len(owners) > 1:
            raise ValueError(
                f"--set {text}: several sections have it; write {' or '.join(f'{s}.{key}' for s in owners)}"
            )
        section = owners[0]
    try:
        return section, key, tomllib.loads(f"value = {raw.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return section, key, raw.strip()


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def _fitted(value: Any, hint: Any, name: str) -> Any:
    """The value as the annotation wants it: whole numbers for floats, lists for tuples, text for paths; else ValueError."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _first_fit(value, inner, hint, name)
    if origin is Literal:
        if value in inner:
            return value
        raise ValueError(f"{name} must be one of {', '.join(map(str, inner))}, found {value!r}")
    if origin is tuple and isinstance(value, (list, tuple)):
        wanted = [inner[0]] * len(value) if inner[-1:] == (...,) else list(inner)
        if len(wanted) == len(value):
            return tuple(_fitted(item, kind, name) for item, kind in zip(value, wanted, strict=True))
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif isinstance(hint, type) and isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise ValueError(f"{name} must be {getattr(hint, '__name__', hint) if not inner else hint}, found {value!r}")


def _first_fit(value: Any, kinds: tuple[Any, ...], hint: Any, name: str) -> Any:
    for kind in kinds:
        if kind is type(None):
            if value is None:
                return None
            continue
        try:
            return _fitted(value, kind, name)
        except ValueError:
            continue
    raise ValueError(f"{name} must be {hint}, found {value!r}")


def plain(options: Any) -> dict[str, Any]:
    """A dataclass of options as TOML can hold it: lists for tuples, text for paths, None left out."""
    return {key: _plain(value) for key, value in asdict(options).items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def to_toml(config: Mapping[str, Any]) -> str:
    """TOML text of a mapping of plain values and of tables one level deep."""
    lines = [f"{key} = {_toml(value)}" for key, value in config.items() if not isinstance(value, Mapping)]
    for name, table in config.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
