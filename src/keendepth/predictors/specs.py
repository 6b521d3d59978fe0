"""What people write for a model: an alias, a hub id, a folder, a file; with `@revision`, refiners after `+`, and `@metric` for metres."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keendepth import predictors
from keendepth.predictors import hub, public_onnx

ONNX_ONLY = ("card", "providers")  # options that mean something to ONNX Runtime's models alone
DIFFUSION = re.compile(r"marigold|lotus", re.IGNORECASE)


def split(spec: str) -> list[str]:
    """The model and the refiners of "model+refiner+refiner"; the longest start that is a file or folder is one part, pluses and all."""
    parts = spec.split("+")
    for count in range(len(parts), 0, -1):
        first = "+".join(parts[:count])
        if first and _is_path(first):
            return [first, *parts[count:]]
    path, end, rest = spec.rpartition(".onnx")
    if end:  # a model file that is not there: its name is still one part, so that the message names it
        return [path + end, *rest.lstrip("+").split("+")] if rest else [spec]
    return parts


def revision_of(name: str) -> tuple[str, str | None]:
    """(name, revision) of "name@revision"; a path that is there has no revision."""
    if _is_path(name) or "@" not in name:
        return name, None
    name, _, revision = name.rpartition("@")
    if not name or not revision:
        raise ValueError(f"model: expected name@revision, found {name}@{revision}")
    return name, revision


def metric_of(part: str) -> tuple[str, str | None]:
    """(what stands before it, the model) of "name@metric" or "name@metric:MODEL"; the model is "" where none is named, None without @metric."""
    found = re.fullmatch(r"(.*)@metric(?::(.+))?", part)
    if _is_path(part) or not found:
        return part, None
    if not found[1]:
        raise ValueError(f"model: expected NAME@metric or NAME@metric:MODEL, found {part}")
    return found[1], found[2] or ""


def build(spec: str, **options: Any) -> predictors.Predictor:
    """The predictor that `spec` (without refiners) names; `options` go to its adapter, and one that it does not take is an error.

    An alias (`keendepth models`), "owner/name" on the hub, a folder in the hub's layout, or an .onnx file with its card beside it
    or as the option `card`. Raises UnknownNameError with the nearest names, ValueError for what is none of these.
    """
    name, revision = revision_of(spec)
    options = {key: value for key, value in options.items() if value not in (None, (), "")}
    if revision:
        options["revision"] = revision
    factory, arguments = _factory(name)
    _check_options(spec, factory, options)
    try:
        return factory(*arguments, **options)
    except ImportError as error:
        raise hub.MissingExtraError(f"{name}: {error}") from error


def _factory(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """What builds `name`, and with which arguments."""
    if name.endswith(".onnx"):
        return _registered("onnx"), (name,)
    if name in predictors.registry:
        return _registered(name), ()
    if name in public_onnx.REPOSITORIES:
        return _registered(public_onnx.REPOSITORIES[name]), ()
    if Path(name).expanduser().is_dir():
        return _of_folder(Path(name).expanduser())
    if re.fullmatch(hub.ID, name) and not name.startswith("."):
        return _of_id(name)
    if "/" in name or "\\" in name:
        raise ValueError(f"model: {name} is no folder here, and no hub id (owner/name)")
    return _registered(name), ()  # says which names are near


def _registered(name: str) -> Callable[..., Any]:
    return predictors.registry.factory(name)


def _of_folder(folder: Path) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    if (folder / "model_index.json").is_file():
        return _from_id("marigold"), (str(folder),)
    if (folder / "config.json").is_file():
        return _from_id("huggingface"), (str(folder),)
    models = sorted(folder.glob("*.onnx"))
    if len(models) == 1:
        return _registered("onnx"), (str(models[0]),)
    raise ValueError(
        f"model: {folder} holds no model in the hub's layout: expected config.json (transformers), model_index.json (diffusers) or one .onnx file"
    )


def _of_id(name: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A repository of the hub: one that an adapter knows, else by its name."""
    for adapter in ("marigold", "external", "huggingface"):
        alias = getattr(predictors.adapter_module(adapter), "HUB_IDS", {}).get(name)
        if isinstance(alias, str) and alias in predictors.registry:
            return _registered(alias), ()
    return _from_id("marigold" if DIFFUSION.search(name) else "huggingface"), (name,)


# The adapters' classes take a hub id or a folder as their first argument.
_CLASSES = {"marigold": "MarigoldPredictor", "huggingface": "HuggingFacePredictor"}


def _from_id(adapter: str) -> Callable[..., Any]:
    module = predictors.adapter_module(adapter)
    made = getattr(module, "from_id", None) or getattr(module, _CLASSES[adapter], None)
    if made is None:
        raise ValueError(f"model: this installation has no adapter for {adapter} models")
    return made


def _check_options(spec: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    """ValueError for an option that this model has no use for, as --card for an alias."""
    taken = inspect.signature(factory).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    for name in options:
        if name not in taken and not (anything and name not in ONNX_ONLY):
            raise ValueError(
                f"model: {spec} takes no {name}" + ("; give it to an .onnx file" if name == "card" else "")
            )


def _is_path(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a name, or no home
        return False
