"""Registries: what is installed, each entry with its card, and how a user's own file or package adds to them."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from keendepth.core.types import Card

T = TypeVar("T")
ENTRY_POINTS = "keendepth.plugins"


class Registry(Generic[T]):
    """Names, factories and cards of one sort of thing ("predictor", "refiner", ...)."""

    def __init__(self, sort: str) -> None:
        self.sort = sort
        self._entries: dict[str, tuple[Callable[..., T], Card]] = {}

    def register(self, name: str, **card: Any) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator: register a class or function that builds the thing; the other arguments are those of `Card`."""
        return self.register_card(Card(name=name, **card))

    def register_card(self, card: Card) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator: the same, with a card already made."""
        if not re.fullmatch(r"[\w.-]+", card.name):  # "+", ":" and "@" divide a pipeline's name
            raise ValueError(f"{self.sort} {card.name!r}: a name has letters, digits, '-', '_' and '.' only")

        def add(factory: Callable[..., T]) -> Callable[..., T]:
            if card.name in self._entries and _origin(self._entries[card.name][0]) != _origin(factory):
                raise ValueError(
                    f"{self.sort} {card.name!r} is registered already, by {_origin(self._entries[card.name][0])}"
                )
            self._entries[card.name] = (factory, card)
            return factory

        return add

    def build(self, name: str, **options: Any) -> T:
        """Make the thing called `name`; raises KeyError with the nearest names."""
        return self._entry(name)[0](**options)

    def factory(self, name: str) -> Callable[..., T]:
        """What builds `name`; raises KeyError with the nearest names."""
        return self._entry(name)[0]

    def card(self, name: str) -> Card:
        """What one should know of `name`; raises KeyError with the nearest names."""
        return self._entry(name)[1]

    def _entry(self, name: str) -> tuple[Callable[..., T], Card]:
        if name not in self._entries:
            near = difflib.get_close_matches(name.lower(), self._entries, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self._entries)}"
            raise UnknownNameError(f"no {self.sort} is called {name!r}; {hint} (`keendepth models` lists them)")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries


def _origin(factory: Callable[..., Any]) -> str:
    """Where a factory was defined; running the same file or notebook cell again gives the same."""
    return f"{getattr(factory, '__module__', '?')}.{getattr(factory, '__qualname__', repr(factory))}"


class UnknownNameError(KeyError):
    """A name that no registry entry has. The message lists the nearest ones."""

    def __str__(self) -> str:  # KeyError would quote the message
        return str(self.args[0])


def load_file(path: str | Path) -> None:
    """Run a user's Python file so that its `register` calls take effect."""
    path = Path(path).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(
            f"--load wants a Python file, found {path.name!r}" + ("" if path.exists() else " (no such file)")
        )
    spec = importlib.util.spec_from_file_location(f"keendepth_loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]


def load_plugins() -> None:
    """Import every installed package that announces itself under the entry point group `keendepth.plugins`."""
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        entry.load()
