"""Which licences of models allow commercial use, by the names that cards write."""

from __future__ import annotations

import re

# Licences whose text allows commercial use. (OpenRAIL++-M forbids harmful uses, not commercial ones; CC0 is no licence but a gift.)
ALLOWING = (
    r"apache[- ]?2\.0|mit|bsd[- ]?[23](?:[- ]clause)?|cc0(?:[- ]?1\.0)?|cc[- ]by(?:[- ]4\.0)?|isc|unlicense"
    r"|(?:creativeml[- ]?)?(?:open)?rail\+\+(?:-m)?|(?:creativeml-)?openrail(?:-m)?"
)
FORBIDDING = r"\bnc\b|non-?commercial|academic|research|\bamlr\b|\bask\b|by agreement"


def forbids_commercial(licence: str) -> bool:
    """Whether the text names a restriction to non-commercial use."""
    return re.search(FORBIDDING, licence.lower().replace("cc-by-nc", "cc by nc").replace("-nc-", " nc ")) is not None


def allows_commercial(licence: str) -> bool:
    """Whether commercial use is known to be allowed: a known permissive licence, and no restriction beside it. What is not known is not allowed."""
    text = licence.lower()
    named = re.search(rf"(?<![\w+-])(?:{ALLOWING})(?![\w+-])", text) is not None
    doubtful = re.search(r"unknown|unstated|not stated|apple|own\b", text) is not None
    return named and not doubtful and not forbids_commercial(licence)
