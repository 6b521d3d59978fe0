"""Depth predictors: the contract, the registry, and what ships; no runtime is loaded before the first picture."""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module, util
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from keendepth.core.registry import Registry
from keendepth.core.types import Card, DepthKind, DepthMap, Image
from keendepth.predictors.card import ModelCard, read_role
from keendepth.predictors.onnx import OnnxPredictor
from keendepth.predictors.toy import CARD as TOY_CARD
from keendepth.predictors.toy import ToyPredictor

__all__ = ["WEIGHTS", "Predictor", "adapter_of", "missing", "register", "registry", "shipped"]

WEIGHTS = Path(__file__).parent.parent / "weights"


@runtime_checkable
class Predictor(Protocol):
    """A function from a picture to a depth map."""

    kind: DepthKind

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """Depth of `kind`, at the picture's own size, with the picture's camera.

        `size` is the (height, width) to process at, rounded to what the network takes; None is its native one.
        """
        ...


registry: Registry[Predictor] = Registry("predictor")
register = registry.register

ONNX_CARD = Card(
    name="onnx",
    summary="Any depth network in an ONNX file: give it `path`, and a card (JSON or TOML) beside the file or as `card`",
    license="the model's own",
)


def _register_shipped(folder: Path) -> None:
    """Each card in `folder` whose role is predictor becomes an entry; its network is the .onnx file of the same name."""
    for path in sorted(folder.glob("*.json")):
        if read_role(path) == "predictor":
            model = ModelCard.read(path)
            registry.register_card(model.card)(partial(OnnxPredictor, path.with_suffix(".onnx"), model))


# Modules of adapters, and the extra of pyproject.toml that each needs; importing one imports nothing heavy.
ADAPTERS = {"public_onnx": "hub", "huggingface": "hub", "marigold": "diffusion", "external": ""}
EXTRA_PACKAGES = {
    "hub": ("torch", "transformers", "huggingface_hub", "safetensors"),
    "diffusion": ("torch", "diffusers", "huggingface_hub", "safetensors"),
}
_PACKAGES = {"public_onnx": ("huggingface_hub",)}  # what it needs of its extra
_homes: dict[str, str] = {}  # name -> the adapter that brings it


def _register_adapters() -> None:
    """The cards of every adapter: plain data, with factories that fetch and load when they are called."""
    for adapter in ADAPTERS:
        for card, factory in getattr(adapter_module(adapter), "CARDS", ()):
            if card.name in registry:
                raise ValueError(
                    f"predictor {card.name!r} stands in {adapter} and in {_homes.get(card.name, 'the base')}"
                )
            registry.register_card(card)(factory)
            _homes[card.name] = adapter


def adapter_module(name: str) -> Any:
    """The adapter's module; None where this installation has none."""
    there = util.find_spec(f"keendepth.predictors.{name}") is not None
    return import_module(f"keendepth.predictors.{name}") if there else None


def adapter_of(name: str) -> str:
    """The adapter that fetches the model called `name` from the hub or from its own package; "" for what runs from this installation alone."""
    return _homes.get(name, "")


def shipped() -> list[str]:
    """Names that run at once, without a download: what comes with the package, and what the user registered."""
    return [name for name in registry if not adapter_of(name) and name != ONNX_CARD.name]


@cache
def _installed(package: str) -> bool:
    return util.find_spec(package) is not None


def missing(name: str) -> str:
    """What has to be installed before `name` runs, as the line that does it; "" where nothing is missing."""
    adapter = adapter_of(name)
    extra = ADAPTERS.get(adapter, "")
    packages = _PACKAGES.get(adapter, EXTRA_PACKAGES.get(extra, ()))
    lacking = [package for package in packages if not _installed(package)]
    if lacking:
        return f"pip install 'keendepth[{extra}]'"
    needs = getattr(adapter_module(adapter), "missing", None) if adapter else None
    return str(needs(name)) if needs else ""


_register_shipped(WEIGHTS)
registry.register_card(ONNX_CARD)(OnnxPredictor)
registry.register_card(TOY_CARD)(ToyPredictor)
_register_adapters()
