"""What people write for a model, which models there are, and what happens when memory runs out."""

import json
import logging
import types
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import keendepth
from keendepth import pipeline, predictors
from keendepth.cli import catalogue, memory
from keendepth.cli.commands import app
from keendepth.core.registry import UnknownNameError
from keendepth.core.types import Card, DepthKind, DepthMap, Image
from keendepth.predictors import licences, specs
from keendepth.predictors.hub import MissingExtraError
from keendepth.predictors.memory import halving

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("toy", ["toy"]),
        ("toy+median+guided", ["toy", "median", "guided"]),
        ("owner/name+median", ["owner/name", "median"]),
        ("owner/name@v1.0+median", ["owner/name@v1.0", "median"]),
        ("gone/a+b.onnx+median", ["gone/a+b.onnx", "median"]),
        ("a.onnx", ["a.onnx"]),
    ],
)
def test_splitting(spec: str, parts: list[str]) -> None:
    assert specs.split(spec) == parts


def test_a_plus_or_an_at_in_a_path_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "a+b@c"
    folder.mkdir()
    assert specs.split(f"{folder}+median") == [str(folder), "median"]
    assert specs.revision_of(str(folder)) == (str(folder), None)


@pytest.mark.parametrize(
    ("spec", "found"), [("a/b@main", ("a/b", "main")), ("a/b", ("a/b", None)), ("toy@v1", ("toy", "v1"))]
)
def test_revisions(spec: str, found: tuple[str, str | None]) -> None:
    assert specs.revision_of(spec) == found


@pytest.mark.parametrize("spec", ["a/b@", "@main"])
def test_half_a_revision(spec: str) -> None:
    with pytest.raises(ValueError, match="expected name@revision"):
        specs.build(spec)


class Probe:
    """Remembers how it was made."""

    kind = DepthKind.DISPARITY

    def __init__(self, source: str, revision: str | None = None) -> None:
        self.source, self.revision = source, revision

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        return DepthMap(np.ones(image.size), self.kind)


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the adapters of hub models, which say their own name."""
    made = {name: type(name, (Probe,), {}) for name in ("huggingface", "marigold")}
    modules = {name: types.SimpleNamespace(from_id=kind) for name, kind in made.items()}
    monkeypatch.setattr(predictors, "adapter_module", lambda name: modules.get(name))


@pytest.mark.usefixtures("adapters")
@pytest.mark.parametrize(
    ("spec", "adapter", "revision"),
    [
        ("someone/depth-net", "huggingface", None),
        ("someone/depth-net@abc", "huggingface", "abc"),
        ("someone/Marigold-tuned", "marigold", None),
        ("someone/lotus-x", "marigold", None),
    ],
)
def test_hub_ids_go_to_their_adapter(spec: str, adapter: str, revision: str | None) -> None:
    made = specs.build(spec)
    assert type(made).__name__ == adapter
    assert made.revision == revision
    assert made.source == spec.partition("@")[0]


@pytest.mark.usefixtures("adapters")
def test_folders_go_to_their_adapter(tmp_path: Path) -> None:
    for file, adapter in (("config.json", "huggingface"), ("model_index.json", "marigold")):
        folder = tmp_path / adapter
        folder.mkdir()
        (folder / file).write_text("{}")
        assert type(specs.build(str(folder))).__name__ == adapter
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no model in the hub's layout: expected config\.json"):
        specs.build(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("no/such/folder", {}, "no folder here, and no hub id"),
        ("./nowhere", {}, "no folder here, and no hub id"),
        ("toy@v1", {}, "takes no revision"),
        ("toy", {"card": "a.toml"}, r"takes no card; give it to an \.onnx file"),
        ("toy", {"providers": "auto"}, "takes no providers"),
    ],
)
def test_specs_that_name_nothing(spec: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        specs.build(spec, **options)


def test_a_name_mistyped() -> None:
    with pytest.raises(UnknownNameError, match="did you mean depth-anything-v2-small"):
        keendepth.load("depth-anything-v2-smal-onnx")


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking() -> None:
        raise ModuleNotFoundError("No module named 'diffusers'")

    monkeypatch.setattr(predictors.registry, "_entries", dict(predictors.registry._entries))
    predictors.register("test-lacking", summary="", license="MIT")(lacking)
    with pytest.raises(MissingExtraError, match="test-lacking: No module named 'diffusers'"):
        keendepth.load("test-lacking")


# Licences, and the list of models


@pytest.mark.parametrize(
    ("licence", "allowed", "forbidden"),
    [
        ("Apache-2.0", True, False),
        ("MIT", True, False),
        ("BSD-3-Clause", True, False),
        ("Apache-2.0 (code), CC-BY-NC-4.0 (weights)", False, True),
        ("CC-BY-NC-4.0", False, True),
        ("CC-BY-NC-SA-4.0", False, True),
        ("Apache-2.0 code, RAIL++-M weights", True, False),
        ("OpenRAIL++-M", True, False),
        ("non-commercial research only", False, True),
        ("BSD-2-Clause code; weights: commercial use by agreement with the authors", False, True),
        ("Apple (apple-amlr)", False, True),
        ("CC-BY-SA-4.0", False, False),
        ("unknown: see its page", False, False),
        ("MIT code, weights unknown", False, False),
        ("permitted", False, False),
        ("", False, False),
    ],
)
def test_licences(licence: str, allowed: bool, forbidden: bool) -> None:
    assert licences.allows_commercial(licence) is allowed
    assert licences.forbids_commercial(licence) is forbidden


def test_models_are_filtered() -> None:
    everything = json.loads(call("models", "--json"))
    metric = json.loads(call("models", "--kind", "metric", "--license", "commercial", "--json"))
    names = {card["name"] for card in metric}
    assert {"indoor-small", "moge-2-small-onnx"} <= names
    assert not names & {"toy", "midas-onnx", "metric3d-v2-small-onnx", "depth-pro-onnx", "median"}
    assert len(everything) > len(metric) > 0
    assert all(card["commercial"] and card["kind"] == "metric" for card in metric)
    large = next(card for card in everything if card["name"] == "depth-anything-v2-large-onnx")
    assert not large["commercial"]
    assert large["download"]


def test_filters_mistyped() -> None:
    assert "expected commercial" in call("models", "--license", "free", code=2)
    assert "known: metric" in call("models", "--kind", "metres", code=2)


def test_a_missing_extra_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "huggingface_hub" else real(name, *rest))
    predictors._installed.cache_clear()
    assert predictors.missing("depth-anything-v2-small-onnx") == "pip install 'keendepth[hub]'"
    assert predictors.missing("indoor-small") == ""
    predictors._installed.cache_clear()


def test_a_card_says_that_its_file_is_not_pinned() -> None:
    assert "not pinned" in call("models", "depth-anything-v2-large-onnx")
    assert "not pinned" not in call("models", "depth-anything-v2-small-onnx")


def test_every_card_says_the_least() -> None:
    for name in predictors.registry:
        card = predictors.registry.card(name)
        assert card.summary, name
        assert card.license, name
        assert card.kind or name == "onnx", name


def test_the_table_of_models_is_up_to_date() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert page == catalogue.renewed(page), "run: python -m keendepth.cli.catalogue docs/models.md"


def test_a_licence_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    pipeline._tell_licence.cache_clear()
    with caplog.at_level(logging.WARNING, "keendepth"):
        for _ in range(2):
            keendepth.load("depth-anything-v2-large-onnx")
            keendepth.load("indoor-small")
    assert [record.getMessage() for record in caplog.records] == [
        "depth-anything-v2-large-onnx is not for commercial use: its licence is CC-BY-NC-4.0"
    ]


# Memory


class OutOfMemoryError(RuntimeError):
    """torch's name for it."""


class Hungry:
    """Runs out of memory above so many pixels."""

    kind = DepthKind.DISPARITY
    card = Card("hungry", "", "MIT", kind=DepthKind.DISPARITY, native_size=(100, 100))

    def __init__(self, most: int, error: BaseException) -> None:
        self.most, self.error, self.asked = most, error, []

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        size = size or (100, 100)
        self.asked.append(size)
        if size[0] * size[1] > self.most:
            raise self.error
        return DepthMap(np.ones(image.size), self.kind, None, self.card)


PHOTO = Image(np.zeros((20, 30, 3), np.uint8))
OUT = [
    MemoryError(),
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested buffer of size 1"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
]


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_half_the_pixels_where_memory_runs_out(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    model = Hungry(6000, error)
    with caplog.at_level(logging.WARNING, "keendepth"):
        depth = pipeline.Pipeline("hungry", model)(PHOTO)
    assert depth.size == PHOTO.size
    assert model.asked == [(100, 100), (71, 71)]
    assert "out of memory at 100 x 100 pixels; trying once at 71 x 71" in caplog.text


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_a_clear_line_where_half_does_not_fit_either(error: BaseException) -> None:
    with pytest.raises(
        MemoryError, match=r"hungry: not enough memory for 100 x 100 pixels, nor for half.*doctor --model"
    ):
        pipeline.Pipeline("hungry", Hungry(10, error))(PHOTO)


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_a_batch_is_halved_where_memory_runs_out(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def work(items: list[int]) -> list[int]:
        seen.append(len(items))
        if len(items) > 2:
            raise error
        return [item * 10 for item in items]

    with caplog.at_level(logging.WARNING, "keendepth"):
        assert halving([1, 2, 3, 4, 5], work, "mine") == [10, 20, 30, 40, 50]
    assert seen == [5, 3, 2, 1, 2]
    assert caplog.records[0].getMessage() == "mine: out of memory with 5 at a time; going on with 3"
    with pytest.raises(type(error)):
        halving([1], lambda items: work([*items] * 3), "mine")
    with pytest.raises(ValueError, match="else"):
        halving([1, 2], lambda items: int("else"), "mine")


def test_the_peak_of_memory_can_be_forgotten() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux")
    block = np.ones(40_000_000)
    before = memory.peak()
    del block
    memory.forget_peak()
    assert memory.peak() < before - 200_000_000


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="no such operator"):
        pipeline.Pipeline("hungry", Hungry(10, RuntimeError("no such operator")))(PHOTO)


def test_the_doctor_measures_a_model() -> None:
    facts = json.loads(call("doctor", "--model", "indoor-small", "--size", 512, "--json"))
    assert facts["fits"]
    assert 20 < facts["bytes_per_pixel"] < 5000
    assert 0.03 < facts["needed_gib"] < 1
    assert "cannot be run: no predictor is called 'tyo'" in call("doctor", "--model", "tyo", code=2)


def test_the_doctors_verdict() -> None:
    gib = 2**30
    runs = {"base": 0, "loaded": gib, "processed": "x", "pixels": 1000**2}
    runs["peaks"] = [[100**2, gib + 100 * 100**2], [200**2, gib + 100 * 200**2]]
    facts = memory.judged("m", 1000, runs, 2 * gib)
    assert facts["bytes_per_pixel"] == 100
    assert facts["needed_gib"] == pytest.approx(1 + 120 * 1e6 / gib, abs=0.01)
    assert facts["fits"]
    tight = memory.judged("m", 1000, runs, gib + 30_000_000)
    assert not tight["fits"]
    assert "process at 480 pixels or less" in tight["advice"]
    assert "smaller model" in memory.judged("m", 1000, runs, gib // 2)["advice"]


def test_verbose_says_how_long(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(COFFEE.read_bytes())
    said = call("depth", tmp_path / "in", "-o", tmp_path / "o", "--model", "toy", "--verbose")
    assert "first picture" in said
    assert "pictures a second" in said
