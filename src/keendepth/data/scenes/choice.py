"""Which models of the furniture catalogue serve as what: sofas, chairs, plants, small things, doors."""

from __future__ import annotations

import functools
import re

from keendepth.data.scenes.catalogue import Model
from keendepth.data.scenes.labels import Label

# sort: (label, what the name must match, what it must not match); sizes are checked in `_fits`
SORTS = {
    "sofa": (Label.SEAT, r"sofa|couch|futon", r"bz|table"),
    "armchair": (Label.SEAT, r"armchair|ottoman|puff", r"pool|deck"),
    "chair": (Label.SEAT, r"chair|thonet|stool", r"arm|wheel|baby|deck|relax|office|ottoman|children|beach|class"),
    "office chair": (Label.SEAT, r"office chair|^armchair", r"mid-century"),
    "table": (Label.TABLE, r"table|desk", r"coffee|glass|bedside|tennis|football|pool|lamp|fan|living_room|saloon|children|dressing|side"),
    "coffee table": (Label.TABLE, r"coffee table|living room table|low table|table on trestles", r"cup|glass"),
    "desk": (Label.TABLE, r"desk|workbench", r"lamp|glass"),
    "bed": (Label.BED, r"bed\b|crib", r"bedside|baby|mezzanine|bunk"),
    "nightstand": (Label.STORAGE, r"bedside|chest|stool", r"freezer"),
    "wardrobe": (Label.STORAGE, r"wardrobe|closet", r"-"),
    "storage": (Label.STORAGE, r"bookcase|shelves|cupboard|dresser|cabinet|tv stand|box|vanity", r"upper|corner|wall|tissue|mail|ammo|letter"),
    "kitchen": (Label.APPLIANCE, r"fridge|refrigerator|washing|dryer|oven|stove|sink|lower cabinet|drawers cabinet", r"hood|small|basin"),
    "plant": (Label.PLANT, r"plant|ficus|yucca|cactus|bonsai|tulip|lily|flowers|orchid|spath|bamboo|christmas", r"box"),
    "lamp": (Label.LAMP, r"lamp", r"street|wall|outdoor|desk|ceiling|hanging|pendant|chandelier"),
    "odd": (
        Label.OBJECT,
        r"guitar|piano|bike|bicycle|suitcase|basket|cardboard|ladder|clothes horse|fan|tv|speaker|backpack|crate|barrel|stroller|tricycle|wheelchair|"
        r"clothes rack|extinguisher|broom|punching|vase|mannequin|dog|cat\b|scooter|skateboard|radiator|screen|aquarium",
        r"ceiling|screen door|wall|table",
    ),
    "person": (Label.PERSON, r"male|female", r"mannequin"),
}  # fmt: skip


@functools.lru_cache(maxsize=2)
def by_sort(models: tuple[Model, ...]) -> dict[str, tuple[Model, ...]]:
    """The models by sort; those of believable size for a room only."""
    found = {name: tuple(m for m in models if _fits(m, *rule[1:]) and m.elevation == 0) for name, rule in SORTS.items()}
    found["small"] = tuple(
        m
        for m in models
        if max(m.width, m.depth) < 0.45
        and 0.05 < m.height < 0.5
        and m.elevation == 0
        and not m.opening
        and m.category not in ("Exterior", "Vehicles")
    )
    found["window"] = tuple(m for m in models if m.opening and "indow" in m.name and m.height < 2.25 and m.width < 2.6)
    found["door"] = tuple(m for m in models if m.opening and "oor" in m.name and 1.9 < m.height < 2.2 and m.width < 1.3)
    found["wall"] = tuple(
        m
        for m in models
        if m.elevation > 0.8
        and m.depth < 0.3
        and not m.opening
        and m.category in ("Miscellaneous", "Living room", "Lights")
    )
    return found


def _fits(m: Model, wanted: str, unwanted: str) -> bool:
    name = m.name.lower()
    if (
        m.opening
        or m.category in ("Exterior", "Doors and windows", "Staircases")
        or max(m.width, m.depth) > 2.7
        or not 0.25 < m.height < 2.3
    ):
        return False
    return re.search(wanted, name) is not None and re.search(unwanted, name) is None
