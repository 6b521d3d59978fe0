"""Benchmarks as data: every preset is sound, and a wrong file says what is wrong and where."""

from __future__ import annotations

import pytest

from keendepth import data
from keendepth.core.registry import UnknownNameError
from keendepth.evaluation import rendered  # noqa: F401  (registers the rendered scenes)
from keendepth.evaluation.plan import load, parse, presets, slug, spread_out, with_models


def test_every_preset_is_a_plan_with_known_names():
    shipped = [name for name in presets() if name.startswith("bench-")]
    assert {"bench-smoke", "bench-real", "bench-rendered", "bench-robust", "bench-all"} <= set(shipped)
    for name in shipped:
        found = load(name)
        assert found.name == name
        assert load(name.removeprefix("bench-")) == found
        for dataset in found.datasets:
            assert dataset.name in data.registry
        for spoilt in found.corruptions:
            assert spoilt.baseline in ("", *found.models)


WRONG = [
    ({"datasets": []}, "unknown key 'datasets'; did you mean dataset"),
    ({"dataset": {"name": "x"}}, "two brackets"),
    ({"dataset": [{"nam": "x"}]}, "dataset 1: unknown key 'nam'; did you mean name"),
    ({"dataset": [{}]}, "dataset 1: name is missing"),
    ({"dataset": [{"name": "x", "limit": "3"}]}, "limit: expected a whole number, found '3'"),
    (
        {"dataset": [{"name": "x", "families": ["speed"]}]},
        "families: expected one of accuracy, sharpness, found 'speed'",
    ),
    ({"dataset": [{"name": "x", "alignment": "magic"}]}, "alignment: expected one of natural"),
    ({"dataset": [{"name": "x", "crop": "moon"}]}, "crop: expected one of"),
    ({"dataset": [{"name": "x", "cap": 80}]}, r"cap: expected \[near, far\]"),
    ({"dataset": [{"name": "x"}, {"name": "x"}]}, "two data sets are called 'x'"),
    (
        {"dataset": [{"name": "x"}], "corruptions": [{"dataset": "y"}]},
        "corruptions: dataset: expected one of x, found 'y'",
    ),
    ({"dataset": [{"name": "x"}], "corruptions": [{"dataset": "x", "severities": [6]}]}, "severities: expected one of"),
    ({"dataset": []}, "at least one"),
]


@pytest.mark.parametrize(("tables", "message"), WRONG)
def test_a_wrong_plan_says_where(tables, message):
    with pytest.raises(ValueError, match=message):
        parse({"benchmark": {"name": "t", "models": ["m"]}, **tables})


def test_a_wrong_corruption_or_file_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match="fog"):
        parse(
            {
                "benchmark": {"name": "t", "models": ["m"]},
                "dataset": [{"name": "x"}],
                "corruptions": [{"dataset": "x", "types": ["fogg"]}],
            }
        )
    with pytest.raises(ValueError, match="presets: bench-all"):
        load("bench-moon")
    file = tmp_path / "a.toml"
    file.write_text("[benchmark\n")
    with pytest.raises(ValueError, match=r"a\.toml: not a TOML file"):
        load(file)


def test_small_choices():
    assert spread_out(list("abcdefgh"), 2) == ["c", "g"]
    assert spread_out(list("abc"), 0) == spread_out(list("abc"), 9) == list("abc")
    assert slug("indoor-small+median") == "indoor-small+median"
    assert slug("a/b") != slug("a:b")
    assert with_models(load("bench-robust"), ["toy"]).corruptions[0].baseline == ""
