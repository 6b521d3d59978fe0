"""The benchmark runner: a stopped run goes on, models share their predictor, reports say what they must, plans are checked."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from keendepth import data, predictors, refiners
from keendepth.core.types import Camera, DepthKind, DepthMap, Image
from keendepth.data.sample import Facts, Sample, describe
from keendepth.evaluation import benchmark, report, spoiling, subjects, worst
from keendepth.evaluation.plan import Plan, load, parse
from keendepth.evaluation.protocol import Protocol, Score
from keendepth.evaluation.resampling import Resampling
from keendepth.evaluation.subjects import Place
from keendepth.evaluation.tables import ScoreFile, Spoilt, Table

COUNT = 8
asked: list[str] = []  # pictures that the test predictor was given
broken: set[str] = set()  # pictures that it fails on


def truth(number: int) -> DepthMap:
    """A wall and a box before it, 24 x 32."""
    rng = np.random.default_rng(number)
    z = np.linspace(3, 4, 32)[None].repeat(24, 0) + rng.uniform(0, 0.01, (24, 32))
    z[6:18, 8:20] = 1.5
    return DepthMap(z.astype(np.float32), DepthKind.METRIC, Camera.from_fov(60, 32, 24))


class Walls:
    """A data set of `truth`, whose pictures are named by their numbers."""

    name = "test-walls"
    ids = [f"scene/{number}" for number in range(COUNT)]  # noqa: RUF012

    def __len__(self) -> int:
        return COUNT

    def load(self, id: str) -> Sample:
        number = int(id.rpartition("/")[2])
        grey = np.random.default_rng(number).integers(0, 255, (24, 32, 3)).astype(np.uint8)
        return Sample(Image(grey, truth(number).camera, id), truth(number), id)

    def protocol_facts(self):
        return describe(self.name, COUNT, Facts("painted", "none", cap=10.0, sharp=True))


class Biased:
    """Knows the truth, and gives it times 1.1 (a model of the registry, for tests)."""

    kind = DepthKind.METRIC

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        asked.append(image.name)
        if image.name in broken:
            raise RuntimeError(f"stopped at {image.name}")
        depth = truth(int(image.name.rpartition("/")[2]))
        return DepthMap(depth.values * np.float32(1.1), DepthKind.METRIC, depth.camera)


class Halving:
    """A refiner that takes back half of the bias; breaks the rule of keeping scale, so that tests see a difference."""

    def refine(self, image: Image, depth: DepthMap, predictor=None) -> DepthMap:
        return depth.with_values(depth.values / np.float32(1.05))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The test's data set, model and refiner are registered for the test alone."""
    for registry in (data.registry, predictors.registry, refiners.registry):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    data.registry.register("test-walls", summary="", license="")(Walls)
    predictors.registry.register("test-biased", summary="", license="", kind=DepthKind.METRIC)(Biased)
    refiners.registry.register("test-halving", summary="", license="")(Halving)
    asked.clear()
    broken.clear()
    for cached in (subjects.models_of, subjects.opened, subjects.sample_of, subjects.fingerprint):
        cached.cache_clear()


MODELS = ["test-biased", "test-biased+test-halving"]


def small_plan(**more) -> Plan:
    dataset = {"name": "test-walls", "label": "walls", **more}
    return parse({"benchmark": {"name": "t", "models": MODELS, "resamples": 200, "worst": 1}, "dataset": [dataset]})


def silent(what: str, done: int, total: int) -> None:
    pass


def test_scores_are_right_and_the_predictor_is_asked_once_per_picture(tmp_path):
    found = benchmark.run(small_plan(), Place(tmp_path), silent)
    assert sorted(asked) == sorted(Walls.ids)
    accuracy, sharpness = found.tables
    assert accuracy.values("test-biased", "abs_rel") == pytest.approx(np.full(COUNT, 0.1), abs=1e-5)
    assert accuracy.values(MODELS[1], "abs_rel") == pytest.approx(np.full(COUNT, 1.1 / 1.05 - 1), abs=1e-5)
    assert accuracy.protocol.cap == (0.001, 10.0)
    assert accuracy.protocol.alignment == "none"
    assert accuracy.protocol.pictures.startswith("8 pictures")
    assert sharpness.protocol.family == "sharpness"
    assert sharpness.protocol.cap is None
    assert (sharpness.values("test-biased", "boundary_f1") > 0.4).all()


def test_a_stopped_run_predicts_only_what_is_missing(tmp_path):
    broken.add("scene/5")
    with pytest.raises(RuntimeError, match="stopped at scene/5"):
        benchmark.run(small_plan(), Place(tmp_path), silent)
    assert asked == [f"scene/{n}" for n in range(6)]
    asked.clear()
    broken.clear()
    subjects.models_of.cache_clear()
    found = benchmark.run(small_plan(), Place(tmp_path), silent)
    assert asked == ["scene/5", "scene/6", "scene/7"]
    assert len(found.tables[0].ids) == COUNT


def test_a_run_stopped_while_scoring_scores_only_what_is_missing(tmp_path, monkeypatch):
    scored: list[str] = []
    real = benchmark.evaluate

    def counted(prediction, reference, protocol):
        scored.append(protocol.family)
        if len(scored) == 11:
            raise KeyboardInterrupt
        return real(prediction, reference, protocol)

    monkeypatch.setattr(benchmark, "evaluate", counted)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(small_plan(), Place(tmp_path), silent)
    done = (len(scored) - 1) // 4 * 4  # a picture's rows (2 models, 2 families) are written together
    scored.clear()
    scored.extend([""] * 100)  # past the 11th
    benchmark.run(small_plan(), Place(tmp_path), silent)
    assert len(scored) - 100 == 4 * COUNT - done
    before = (tmp_path / "scores").rglob("*.csv")
    contents = {path: path.read_bytes() for path in before}
    scored.clear()
    scored.extend([""] * 100)
    benchmark.run(small_plan(), Place(tmp_path), silent)
    assert len(scored) == 100
    assert contents == {path: path.read_bytes() for path in contents}


def test_a_larger_run_takes_over_the_scores_of_a_smaller_one(tmp_path):
    few = benchmark.run(small_plan().limited(3), Place(tmp_path), silent)
    assert few.tables[0].ids == ("scene/1", "scene/4", "scene/6")
    asked.clear()
    all_of_them = benchmark.run(small_plan(), Place(tmp_path), silent)
    assert len(asked) == COUNT - 3
    assert few.tables[0].protocol.hash != all_of_them.tables[0].protocol.hash
    assert few.tables[0].protocol.each == all_of_them.tables[0].protocol.each


def test_a_picture_that_changed_since_it_was_predicted_is_refused(tmp_path, monkeypatch):
    made, place = small_plan().limited(2), Place(tmp_path)
    work = subjects.Work(made.datasets[0], made.models, place)
    benchmark.export(work, subjects.chosen(work.data, None), silent)
    subjects.sample_of.cache_clear()
    load = Walls.load
    monkeypatch.setattr(
        Walls, "load", lambda self, id: replace(load(self, id), image=Image(np.zeros((24, 32, 3), np.uint8), None, id))
    )
    with pytest.raises(ValueError, match="the data has changed; use --fresh"):
        benchmark.run(made, place, silent)


def test_forget_removes_predictions_and_scores_and_nothing_else(tmp_path):
    benchmark.run(small_plan().limited(1), Place(tmp_path), silent)
    (tmp_path / "mine.txt").write_text("x")
    benchmark.forget(Place(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_other_weights_are_another_model(monkeypatch):
    before = subjects.fingerprint("test-biased")
    monkeypatch.setattr(Biased, "card", replace(predictors.registry.card("test-biased"), sha256="f00"), raising=False)
    subjects.fingerprint.cache_clear()
    assert subjects.fingerprint("test-biased") != before


def test_a_torn_row_is_dropped_and_new_figures_are_added(tmp_path):
    protocol = Protocol("d", family="robustness")
    file = ScoreFile.of(tmp_path, "title", protocol)
    for name in ("a", "b"):
        figures = {"dee": 0.1, "abs_rel": float("nan"), "delta1": 0.75}
        file.add("print", Score("m", name, protocol.hash, figures))
    text = file.path.read_text()
    file.path.write_text(text[:-6])
    again = ScoreFile(file.path, protocol)
    assert again.has(("m", "print", "a"))
    assert not again.has(("m", "print", "b"))
    assert np.isnan(again.get(("m", "print", "a")).figures["abs_rel"])
    again.add("print", Score("m", "b", protocol.hash, {**figures, "mine": 1 / 3}))
    rows = list(csv.DictReader(file.path.read_text().splitlines()))
    assert [(row["picture"], row["mine"]) for row in rows] == [("a", ""), ("b", repr(1 / 3))]


@pytest.fixture
def finished(tmp_path):
    tables = {
        "benchmark": {"name": "walls", "models": MODELS, "resamples": 500, "worst": 2},
        "dataset": [
            {"name": "test-walls", "label": "walls", "alignment": ["natural", "affine"], "published": ["NYUv2"]},
            {"name": "test-walls", "label": "lost", "root": "nowhere", "optional": True},
        ],
        "corruptions": [{"dataset": "walls", "types": ["jpeg", "dark"], "severities": [1, 5], "limit": 3}],
    }
    place = Place(tmp_path)
    results = benchmark.run(parse(tables), place, silent)
    paths = report.write(results, benchmark.draw_worst(results, place), tmp_path)
    return results, paths, tmp_path


def test_the_report_says_what_it_must(finished):
    results, paths, out = finished
    text = paths["report.md"].read_text(encoding="utf-8")
    for table in results.tables:
        assert table.protocol.text in text
    assert results.robustness[0].protocol.text in text
    for part in (
        "## walls",
        "### Accuracy, alignment none",
        "### Accuracy, alignment scale_shift",
        "### Sharpness",
        "mCE",
    ):
        assert part in text
    assert "`abs_rel` | lower | 8 | 0.1000 ± 0.0000 [0.1000, 0.1000]" in text
    assert "**better**" in text  # halving the bias, over 8 pictures
    assert "## Left out" in text
    assert "lost: the data set 'lost' lies in a folder: say where with --data" in text
    ours, theirs = text.split("## Published values (other protocols)")
    assert "UniDepth" in theirs
    assert "UniDepth" not in ours
    for line in text.splitlines():
        if line.startswith("- `") and "](" in line:
            assert (out / line.split("](")[1].rstrip(")")).is_file()


def test_the_json_is_strict_and_the_csv_has_every_picture(finished):
    results, paths, _ = finished
    found = json.loads(paths["results.json"].read_text(), parse_constant=lambda name: pytest.fail(name))
    cell = found["tables"][0]["models"][MODELS[1]]["abs_rel"]
    assert cell["verdict"] == "better"
    assert cell["difference"]["high"] < 0
    assert cell["own"]["count"] == COUNT
    assert found["tables"][0]["protocol"]["hash"] == results.tables[0].protocol.hash
    rows = list(csv.DictReader(paths["pictures.csv"].read_text().splitlines()))
    values = [
        float(row["value"])
        for row in rows
        if row["figure"] == "abs_rel" and row["protocol"] == results.tables[0].protocol.hash
    ]
    assert len(values) == 2 * COUNT


def test_mce_of_the_baseline_is_100_and_intervals_are_paired(finished):
    results, _, _ = finished
    spoilt = results.robustness[0]
    assert list(spoilt.tables) == ["", "jpeg", "dark"]
    found = spoiling.robust(spoilt, Resampling(500))
    base = found[MODELS[0]]
    assert (base.mce.mean, base.mce.low, base.mce.high) == pytest.approx((100, 100, 100))
    assert found[MODELS[1]].mce.mean < 100
    assert found[MODELS[1]].mce.count == 3
    # the model knows the truth whatever the picture looks like: nothing is lost to corruption
    assert base.mrr.mean == pytest.approx(100)


def test_mce_by_hand():
    protocol = Protocol("d", family="robustness")

    def made(name: str, values: dict[str, list[float]]) -> Table:
        rules = replace(protocol, corruption=f"{name} at 3" if name else "none")
        scores = {
            m: tuple(Score(m, str(i), rules.hash, {"dee": v}) for i, v in enumerate(vs)) for m, vs in values.items()
        }
        return Table("t", rules, ("0", "1"), scores)

    tables = {
        "": made("", {"a": [0.1, 0.1], "b": [0.2, 0.2]}),
        "fog": made("fog", {"a": [0.2, 0.4], "b": [0.3, 0.3]}),
        "dark": made("dark", {"a": [0.5, 0.5], "b": [0.25, 0.25]}),
    }
    found = spoiling.robust(Spoilt("t", "a", tables), Resampling(500))
    assert found["b"].mce.mean == pytest.approx((100 * 0.3 / 0.3 + 100 * 0.25 / 0.5) / 2)
    assert found["b"].mrr.mean == pytest.approx(100 * (0.7 / 0.8 + 0.75 / 0.8) / 2)
    assert found["b"].mce.low == pytest.approx((100 * 0.3 / 0.4 + 50) / 2)
    assert found["b"].mce.high == pytest.approx((100 * 0.3 / 0.2 + 50) / 2)
    with pytest.raises(ValueError, match="not among the models"):
        spoiling.robust(Spoilt("t", "c", tables), Resampling(500))


def test_worst_cases_are_ranked_and_drawn(finished):
    results, _, out = finished
    table = results.tables[0]
    figures = [{"abs_rel": value} for value in (0.1, 0.5, float("nan"), 0.3)]
    ids = ("a", "b", "c", "d")
    made = Table(
        "t",
        table.protocol,
        ids,
        {"m": tuple(Score("m", i, table.protocol.each.hash, f) for i, f in zip(ids, figures, strict=True))},
    )
    assert [name for name, _, _ in worst.worst(made, "m", 2)] == ["b", "d"]
    assert len(list((out / "worst").glob("*.png"))) == 2 * len(MODELS)
    image = Walls().load("scene/0").image
    strip = worst.strip(image, truth(0), truth(0), "none")
    assert strip.shape == (24, 4 * 32 + 3 * 8, 3)
    assert (strip[:, -32:] == 0).all()  # no error
    assert np.array_equal(strip[:, 40:72], strip[:, 80:112])  # the same depth, the same colours
    assert (
        worst.heat(np.array([[np.nan, 0.0, 0.5, 9.0]])) == np.array([[76] * 3, [0] * 3, [255] * 3, [255] * 3])
    ).all()


def test_jobs_give_the_same_scores(tmp_path):
    made = load("bench-smoke").limited(2)
    made = replace(made, corruptions=(), datasets=(replace(made.datasets[0], families=("accuracy",)),))
    one = benchmark.run(made, Place(tmp_path / "one"), silent)
    two = benchmark.run(made, Place(tmp_path / "two", jobs=2), silent)
    assert one.tables == two.tables


def test_a_missing_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match="walls: no dataset is called 'test-wals'"):
        benchmark.run(
            replace(small_plan(), datasets=(replace(small_plan().datasets[0], name="test-wals"),)),
            Place(tmp_path),
            silent,
        )
    with pytest.raises(ValueError, match="walls has no picture scene/99"):
        benchmark.run(small_plan(ids=["scene/99"]), Place(tmp_path), silent)


def test_pictures_are_shrunk_and_never_enlarged():
    image = Walls().load("scene/0").image
    assert subjects.shrunk(image, 16).size == (12, 16)
    assert subjects.shrunk(image, 64) is subjects.shrunk(image, 0) is image
