"""Cards of ONNX networks: read strictly, with messages that name the key, what was expected and what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keendepth.predictors.card import CardError, ModelCard

MINIMAL = {"name": "mine", "summary": "a test", "license": "CC0-1.0", "kind": "disparity", "native_size": [4, 6]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "MIT"}, r"mine\.json: unknown key 'licence'; did you mean 'license'\?"),
        ({"input": {"strid": 32}}, r"unknown key 'input\.strid'; did you mean 'stride'\?"),
        ({"output": {"q": 1}}, r"unknown key 'output\.q'; known: name, scale, focal, repeat"),
        ({"license": None}, r"license must be text, found None"),
        ({"kind": "relative"}, r"kind must be one of metric, scale_invariant, .*, found 'relative'"),
        ({"kind": None}, r"kind is missing: one of metric"),
        ({"native_size": [4]}, r"native_size must be a list of 2 numbers, found \[4\]"),
        ({"native_size": [4, 6.5]}, r"native_size: expected a whole number of 0 or more, found 6\.5"),
        ({"native_size": None}, r"give native_size = \[height, width\] for a network of fixed size, or input\.stride"),
        ({"native_size": [0, 6]}, r"native_size must be 1 x 1 or more, found 0 x 6"),
        ({"input": {"stride": True}}, r"input\.stride: expected a whole number"),
        ({"input": {"stride": 2, "mean": ["a", 0, 0]}}, r"input\.mean: expected a number, found 'a'"),
        ({"input": {"std": [0, 1, 1]}}, r"stride and focal must be 0 or more, pixel_aspect and std above 0"),
        (
            {"input": {"rule": "stretch"}},
            r"input\.rule must be one of squash, keep, cover, shorter, closest, found 'stretch'",
        ),
        (
            {"input": {"method": "lanczos"}},
            r"input\.method must be one of nearest, linear, cubic, area, pillow-nearest, .*, found 'lanczos'",
        ),
        ({"input": {"border": -1}}, r"input\.border must be 0 or more, and below 32, found -1"),
        ({"output": {"focal": "f"}}, r"output\.focal is for metric networks without input\.focal"),
        ({"input": {"rule": "keep"}}, r"input\.rule 'keep' needs both input\.stride and native_size"),
        ({"input": {"focal": 100.0}}, r"input\.focal is for metric networks, this one is disparity"),
        ({"input": []}, r"input must be a table, found list"),
        ({"output": {"scale": -1}}, r"scale must be above 0 and repeat at least 1"),
        ({"role": "refiner"}, r"role must be 'predictor' here, found 'refiner'"),
    ],
)
def test_a_bad_card_says_what_is_wrong(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MINIMAL | changes), encoding="utf-8")
    with pytest.raises(CardError, match=message):
        ModelCard.read(path)


def test_a_card_without_what_it_must_say() -> None:
    with pytest.raises(CardError, match="card: license is missing"):
        ModelCard.from_dict({key: value for key, value in MINIMAL.items() if key != "license"})


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.toml", "x = "), ("b.json", "[1]")])
def test_a_file_that_is_no_card(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=rf"{name}: (not a card in (JSON|TOML)|expected a table of keys, found list)"):
        ModelCard.read(tmp_path / name)
