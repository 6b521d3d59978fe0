"""`keendepth models`: the cards of all models and refiners, filtered, for people, for scripts and for docs/models.md."""

from __future__ import annotations

import sys
from typing import Any

from keendepth.cli.batch import say

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def cards(licence: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
    """All cards as plain dictionaries, with `sort`, `commercial` and `missing`; ValueError for a filter that is none."""
    from keendepth.core.types import DepthKind

    if licence not in (None, "commercial"):
        raise ValueError(f"--license: expected commercial, found {licence!r}")
    wanted = DepthKind(kind) if kind else None
    found = [_described(registry, name) for registry in _registries() for name in registry]
    return [
        card for card in found if (licence is None or card["commercial"]) and (wanted is None or card["kind"] == wanted)
    ]


def one(name: str) -> list[dict[str, Any]]:
    """The card of one name, of whichever sort."""
    first, second = _registries()
    return [_described(second if name in second else first, name)]


def _registries() -> tuple[Any, Any]:
    from keendepth import predictors, refiners

    return predictors.registry, refiners.registry


def _described(registry: Any, name: str) -> dict[str, Any]:
    from keendepth import predictors
    from keendepth.predictors import licences

    card = registry.card(name)
    return {
        "sort": registry.sort,
        **card.to_dict(),
        "commercial": licences.allows_commercial(card.license),
        "download": bool(registry.sort == "predictor" and predictors.adapter_of(name)),
        "missing": predictors.missing(name) if registry.sort == "predictor" else "",
    }


def show_card(card: dict[str, Any]) -> None:
    """Every field that says something."""
    for field, value in card.items():
        if value not in ("", None, 0, False):
            say(f"{field.replace('_', ' '):14}{value}", output=True)
    if card["download"] and not card["sha256"]:
        say(f"{'sha256':14}not pinned", output=True)


def show(found: list[dict[str, Any]], example: str) -> None:
    """Plain columns for people (a drawn table of 60 rows takes 0.1 s): models, then refiners; what each is about stands in its card."""
    lines = []
    models = [card for card in found if card["sort"] == "predictor"]
    if models:
        lines.append(_columns("DEPTH MODEL", "GIVES", "LICENCE", "RUNS"))
        lines += [_columns(card["name"], _gives(card), card["license"], _runs(card)) for card in models]
    refiners = [card for card in found if card["sort"] == "refiner"]
    if refiners:
        lines += ["", "REFINER (keeps the kind it gets)"]
        lines += [f"{card['name']:10} {card['summary']}" for card in refiners]
    say(
        "\n".join([*lines, "", f"All of one: keendepth models indoor-small. Compose them: --model {example}"]),
        output=True,
    )


def _columns(name: str, gives: str, licence: str, runs: str) -> str:
    licence = licence if len(licence) <= 16 else f"{licence[:15]}…"
    return f"{name:38} {gives:16} {licence:16} {runs}".rstrip()


def _runs(card: dict[str, Any]) -> str:
    return _short(card["missing"]) or ("download" if card["download"] else "yes")


def _short(line: str) -> str:
    """An install line as a table has room for it; the card has it whole."""
    extra = line.partition("keendepth[")[2].partition("]")[0]
    return f"needs [{extra}]" if extra else "own package" if line else ""


def _gives(card: dict[str, Any]) -> str:
    own = "by its card" if card["sort"] == "predictor" else "the kind it gets"
    return str(card["kind"] or own)


def markdown() -> str:
    """The table of docs/models.md: what a card says, not what this machine has."""
    lines = [
        "| name | gives | licence | commercial use | parameters | native size | paper |",
        "|---|---|---|---|---|---|---|",
    ]
    for card in cards():
        if card["sort"] != "predictor" or card["name"].startswith("test-"):
            continue
        size = f"{card['native_size'][0]} x {card['native_size'][1]}" if card["native_size"] else ""
        count = f"{card['parameters'] / 1e6:.1f} M" if card["parameters"] else ""
        allowed = "yes" if card["commercial"] else "not known to be allowed"
        cells = (f"`{card['name']}`", _gives(card), card["license"], allowed, count, size, card["paper"])
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def renewed(page: str) -> str:
    """The page with its table made anew between the two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


if __name__ == "__main__":  # python -m keendepth.cli.catalogue docs/models.md
    from pathlib import Path

    place = Path(sys.argv[1])
    place.write_text(renewed(place.read_text(encoding="utf-8")), encoding="utf-8")
