"""SDDR's refiner keeps what it must at any size, finds its labels, and learns."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from keendepth import pipeline, refiners  # noqa: E402
from keendepth.cli import contracts  # noqa: E402
from keendepth.core.types import Card, DepthKind, DepthMap, Image  # noqa: E402
from keendepth.export import export_onnx  # noqa: E402
from keendepth.nn import checkpoint  # noqa: E402
from keendepth.nn.recovery import recovered  # noqa: E402
from keendepth.nn.refine_net import DepthOnly, RefineNet, RefineNetOptions  # noqa: E402
from keendepth.refiners import sddr  # noqa: E402
from keendepth.refiners.network import OnnxNetwork, normalised  # noqa: E402
from keendepth.refiners.sddr import Sddr, SddrOptions, adaptive_size, coarse_to_fine, levels  # noqa: E402
from keendepth.refiners.shipped import read_card, register_shipped  # noqa: E402
from keendepth.refiners.space import Nearness  # noqa: E402
from keendepth.refiners.torch_network import TorchNetwork  # noqa: E402
from keendepth.training import labels, runs  # noqa: E402
from keendepth.training import sddr as sddr_training  # noqa: E402
from keendepth.training.methods import train  # noqa: E402
from keendepth.training.pairs import Pair  # noqa: E402
from made_data import made_cache, made_pairs, near_of  # noqa: E402

KEEP = Sddr(lambda low, high, rgb: low)  # a network that changes nothing
HIGH = Sddr(lambda low, high, rgb: high)  # and one that takes the second look for true


def network(rgb: bool = True, head: str = "mix", seed: int = 0) -> RefineNet:
    """A tiny network with random heads, so that it does something."""
    torch.manual_seed(seed)
    made = RefineNet(RefineNetOptions("tiny", rgb, head)).eval()
    with torch.no_grad():
        for parameter in made.head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sddr-small.onnx"
    module = DepthOnly(network())
    export_onnx(module, path, (64, 64), module.inputs)
    return path


@pytest.fixture
def registered(onnx: Path) -> Iterator[str]:
    """The random network under a name of its own."""
    made = Sddr(onnx)  # opened once: the contract builds the refiner for every picture
    refiners.register("sddr-random", summary="", license="")(lambda: made)
    yield "sddr-random"
    del refiners.registry._entries["sddr-random"]


def scene(size: tuple[int, int] = (96, 128)) -> tuple[Image, DepthMap]:
    near = near_of(size)
    rgb = np.repeat(np.uint8(400 * near)[..., None], 3, -1)
    return Image(rgb), DepthMap(1 / near, DepthKind.METRIC)


# ---- the refiner


def test_the_contract_holds_for_a_random_network(registered: str) -> None:
    assert contracts.check_refiner(registered) == "ok"


@pytest.mark.parametrize("windows", [0, 1, 3])
@pytest.mark.parametrize("kind", list(DepthKind))
def test_a_network_that_keeps_keeps_everything(kind: DepthKind, windows: int) -> None:
    image, depth = scene()
    values = depth.values.copy()
    values[:5], values[50:60, 60:70] = np.inf, np.nan
    depth = DepthMap(values, kind)
    refined = Sddr(KEEP.network, SddrOptions(windows=windows)).refine(image, depth)
    np.testing.assert_allclose(refined.values, values, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("size", [(96, 128), (24, 32)])
def test_unknown_pixels_and_sky_are_restored(onnx: Path, size: tuple[int, int]) -> None:
    image, depth = scene()
    values = depth.resized(*size).values.copy()
    values[0], values[-3:, -3:] = np.inf, np.nan
    depth = depth.with_values(values)
    refined = Sddr(onnx).refine(image, depth)
    base = depth.resized(*image.size)
    np.testing.assert_array_equal(np.isnan(refined.values), np.isnan(base.values))
    if size == image.size:
        np.testing.assert_array_equal(refined.sky, base.sky)
    assert refined.sky[0].mean() > 0.9


def test_maps_of_one_value_or_none_come_back(onnx: Path) -> None:
    image, _ = scene()
    for value in (3.0, np.nan, np.inf):
        depth = DepthMap(np.full((48, 64), value), DepthKind.METRIC)
        np.testing.assert_allclose(Sddr(onnx).refine(image, depth).values, value, rtol=1e-6)


def test_depth_may_be_scaled_and_affine_kinds_moved(onnx: Path) -> None:
    image, depth = scene()
    small = depth.resized(24, 32)
    once = Sddr(onnx).refine(image, small).values
    tenfold = Sddr(onnx).refine(image, small.with_values(small.values * 10)).values
    np.testing.assert_allclose(tenfold, once * 10, rtol=2e-3)
    affine = DepthMap(small.values, DepthKind.AFFINE_INVARIANT)
    once = Sddr(onnx).refine(image, affine).values
    moved = Sddr(onnx).refine(image, affine.with_values(affine.values * 3 - 20)).values
    np.testing.assert_allclose(moved, once * 3 - 20, atol=2e-3)


def test_a_fresh_network_returns_its_input() -> None:
    torch.manual_seed(0)
    fresh = RefineNet(RefineNetOptions("tiny", head="residual")).eval()
    from keendepth.refiners.torch_network import run

    image, depth = scene()
    refined = Sddr(lambda low, high, rgb: run(fresh, low, high, rgb)).refine(image, depth)
    np.testing.assert_allclose(refined.values, depth.values, rtol=1e-5)


def test_equal_maps_are_normalised_alike() -> None:
    near = near_of()
    found = normalised(near, 3 * near + 1)
    assert found is not None
    np.testing.assert_allclose(found.low, found.high, atol=1e-4)
    np.testing.assert_allclose(found.low * found.span + found.bottom, near, atol=1e-6)
    assert normalised(np.full_like(near, 2.0), None) is None


def test_the_sky_of_a_small_map_takes_its_rim_from_the_refined_values() -> None:
    values = np.full((32, 32), 0.2, np.float32)
    values[:10] = 0
    blocky = np.full((32, 32), 5.0, np.float32)
    blocky[:8] = np.inf
    whole = Nearness.of(DepthMap(blocky, DepthKind.METRIC))
    assert whole.resky(values, 4).sky[:10].all()
    assert not whole.resky(values, 4).sky[10:].any()
    np.testing.assert_array_equal(whole.resky(values, 0).sky, whole.sky)
    smaller = np.full((32, 32), 0.2, np.float32)
    smaller[:6] = 0
    back = whole.resky(smaller, 4).back(smaller)
    assert np.isinf(back).sum() == 6 * 32
    assert 4.9 < back[6:].min() <= back[6:].max() < 6.3


# ---- sizes


def test_levels_enlarge_in_steps_and_end_at_the_picture() -> None:
    assert levels((100, 100), (400, 400), 8) == [(400, 400)]
    assert levels((400, 400), (100, 100), 8) == [(100, 100)]
    steps = levels((24, 32), (1000, 1300), 8)
    assert steps[-1] == (1000, 1300)
    for before, after in zip([(24, 32), *steps], steps, strict=False):
        assert after[0] / before[0] < 8.2


def test_a_large_picture_goes_through_in_bounded_pieces() -> None:
    seen: list[int] = []

    def watch(low: np.ndarray, high: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        seen.append(low.size)
        assert low.shape == high.shape == rgb.shape[:2]
        return low

    rgb = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    depth = DepthMap(1 / near_of((700, 900)), DepthKind.METRIC)
    refined = Sddr(watch, SddrOptions(pixels=100_000)).refine(Image(rgb), depth)
    assert len(seen) > 6
    assert max(seen) <= 100_000
    np.testing.assert_allclose(refined.values, depth.values, rtol=1e-4)


def test_a_models_own_depth_may_be_refined_at_its_native_size_and_taken_to_the_photos() -> None:
    seen: list[tuple[int, int]] = []

    def watch(low: np.ndarray, high: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        seen.append(low.shape)
        return high

    image, depth = scene((300, 400))
    coarse = depth.resized(30, 40).resized(300, 400)
    card = Card("some", "", "", native_size=(90, 120))
    made, of_a_file = replace(coarse, source=card), coarse
    refined = Sddr(watch, SddrOptions(native=1)).refine(image, made)
    assert seen == [(90, 120)]
    assert refined.size == (300, 400)
    assert refined.source == card
    before, after = (np.abs(np.log(x.values / depth.values)).mean() for x in (coarse, refined))
    assert after < 0.8 * before
    seen.clear()
    Sddr(watch).refine(image, made)
    Sddr(watch, SddrOptions(native=1)).refine(image, of_a_file)
    Sddr(watch, SddrOptions(native=4)).refine(image, made)  # larger than the photo
    assert set(seen) == {(300, 400)}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak of memory is read from Linux's /proc")
def test_12_megapixels_in_bounded_memory() -> None:
    import subprocess
    import sys

    code = (
        "import sys, numpy as np; from keendepth.cli import contracts; from keendepth.core.types import DepthKind;"
        "from keendepth.refiners.sddr import Sddr; image = contracts.picture((3000, 4000));"
        "small = contracts.example_depth(contracts.picture((192, 256)), DepthKind.METRIC);"
        "made = Sddr(sys.argv[1]).refine(image, small); assert made.size == (3000, 4000);"
        "print(made.sky.mean(), np.isnan(made.values).mean(), open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(sddr.SHIPPED)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sky, unknown, kilobytes = map(float, done.stdout.split())
    assert 0 < sky < 0.02
    assert 0 < unknown < 0.01
    assert kilobytes < 1_700_000  # measured: 1.36 million (ru_maxrss would be that of the test's own process)


def test_adaptive_resolution_follows_eq_11() -> None:
    assert adaptive_size(448, 1600, 1.0, 1.0) == 1024  # Fig. 9 of the paper: 1024 from 448
    assert adaptive_size(448, 1600, 2.0, 1.0) == 2048
    assert adaptive_size(448, 1600, 1.0, 0.2) == 448
    near = near_of()
    assert sddr.relative_detail(near, sddr.Window(10, 15, 60, 70)) > 1.2
    assert sddr.relative_detail(near, sddr.Window(0, 0, 15, 60)) < 0.2
    assert sddr.relative_detail(np.ones((9, 9), np.float32), sddr.Window(0, 0, 3, 3)) == 1
    assert sddr.mean_gradient(near * 7 + 3) == pytest.approx(sddr.mean_gradient(near), rel=1e-4)


class Exact:
    """A predictor that knows everything but scale and shift, which differ from picture to picture."""

    kind = DepthKind.DISPARITY
    card = Card("exact", "", "", native_size=(32, 32))

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int] | None] = []

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        self.sizes.append(size)
        near = image.rgb[..., 0].astype(np.float32) / 400
        return DepthMap(near * (1 + image.size[0] / 200) + 0.3, self.kind, source=self.card)


@pytest.mark.parametrize("windows", [0, 1, 2])
def test_the_second_look_is_fitted_to_the_first(windows: int) -> None:
    image, depth = scene()
    blurred = depth.resized(12, 16).resized(96, 128)
    predictor = Exact()
    refined = Sddr(HIGH.network, SddrOptions(windows=windows, look_again=True)).refine(image, blurred, predictor)
    before, after = (np.abs(x.values - depth.values).mean() for x in (blurred, refined))
    assert after < 0.5 * before  # 8-bit colour rounds what the predictor knows
    assert predictor.sizes[0] == (55, 74)  # twice the native side, in the picture's shape


def test_rounds_blend_what_each_window_gives() -> None:
    values = near_of()
    seen: list[tuple[int, int]] = []

    def make(window: sddr.Window) -> np.ndarray:
        seen.append(window.size)
        return values[window.at] + np.float32(0.1)

    np.testing.assert_allclose(coarse_to_fine(values, 2, make), values + 0.1, atol=1e-5)
    assert len(seen) == 9


# ---- weights


def test_wrong_files_are_told_apart(tmp_path: Path, onnx: Path) -> None:
    image, depth = scene()
    with pytest.raises(FileNotFoundError, match=r"no refiner at .*none\.onnx"):
        Sddr(tmp_path / "none.onnx").refine(image, depth)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="cannot load"):
        Sddr(tmp_path / "bad.onnx").refine(image, depth)
    with pytest.raises(ValueError, match="not the file its card describes"):
        Sddr(onnx, sha256="0" * 64).refine(image, depth)
    with pytest.raises(ValueError, match="expected inputs low, high, rgb"):
        Sddr(sddr.WEIGHTS / "indoor-small.onnx").refine(image, depth)
    with pytest.raises(FileNotFoundError, match=r"model\.onnx, or student\.safetensors"):
        Sddr(tmp_path).refine(image, depth)


def test_a_shipped_file_is_registered_by_its_card(onnx: Path) -> None:
    card = {
        "name": "sddr-test",
        "role": "refiner",
        "summary": "s",
        "license": "Apache-2.0",
        "notes": "n",
        "parameters": 3,
    }
    (onnx.parent / "sddr-small.json").write_text(json.dumps(card))
    register_shipped(onnx.parent, "sddr*.json", Sddr)
    try:
        image, depth = scene()
        assert refiners.registry.card("sddr-test").parameters == 3
        refined = pipeline.refine(image, depth.resized(24, 32), "sddr-test")
        assert refined.refinement is not None
        assert abs(refined.refinement.residual_scale - 1) < 0.05
    finally:
        del refiners.registry._entries["sddr-test"]


# ---- pseudo-labels


def test_a_planted_fit_of_gradients_is_found() -> None:
    rng = np.random.default_rng(0)
    label = np.abs(rng.normal(size=(40, 50))).astype(np.float32)
    found = labels.aligned_gradient((label - np.float32(0.2)) / np.float32(2.5), label)
    np.testing.assert_allclose(found, label, atol=1e-5)
    for useless in (-label, np.ones_like(label), label / 100):  # falls where the label rises; says nothing; b1 = 100
        np.testing.assert_array_equal(labels.aligned_gradient(useless, label), label)


def test_the_bilateral_filter_cleans_flats_and_keeps_ridges() -> None:
    rng = np.random.default_rng(0)
    gradient = np.abs(rng.normal(0, 0.01, (60, 60))).astype(np.float32)
    gradient[:, 30] = 1.0
    clean = labels.bilateral(gradient)
    assert clean[:, 5:20].std() < 0.5 * gradient[:, 5:20].std()
    assert clean[:, 30].min() > 0.95
    zero = np.zeros((4, 4), np.float32)
    np.testing.assert_array_equal(labels.bilateral(zero), zero)


@pytest.mark.parametrize("windows", [0, 1, 2, 3])
def test_a_label_of_the_truth_is_the_truths_gradient(windows: int) -> None:
    image, depth = scene()
    near = 1 / depth.values
    low = 1 / depth.resized(24, 32).resized(96, 128).values
    pair = Pair("a", image.rgb, low, near, None)
    calls: list[int] = []

    def take_high(low: np.ndarray, high: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        calls.append(low.size)
        return high

    label = labels.pseudo_label(take_high, pair, Exact(), labels.LabelOptions(windows))
    assert len(calls) == sum((s + 1) ** 2 for s in range(windows + 1))
    assert label.gradient.min() >= 0
    wanted = labels.edges.gradient_magnitude(near)
    assert np.corrcoef(label.gradient.ravel(), wanted.ravel())[0, 1] > 0.9
    blurred = labels.edges.gradient_magnitude(low)
    assert np.corrcoef(blurred.ravel(), wanted.ravel())[0, 1] < 0.9


def test_labels_are_kept_and_shared_out(tmp_path: Path) -> None:
    pairs = made_pairs(tmp_path / "pairs", exact=False, count=3)
    calls: list[int] = []

    def keep(low: np.ndarray, high: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        calls.append(1)
        return low

    made = labels.LabelOptions(windows=0)
    labels.make_labels(tmp_path / "labels", pairs, keep, None, made, (0, 2))
    assert len(labels.LabelSet(tmp_path / "labels")) == 2
    labels.make_labels(tmp_path / "labels", pairs, keep, None, made)
    assert len(calls) == 3
    found = labels.LabelSet(tmp_path / "labels").get("1.jpg")
    assert found is not None
    np.testing.assert_allclose(found.depth, pairs.read(1).low, atol=1e-6)
    assert labels.LabelSet(tmp_path / "labels").get("none") is None


# ---- training

SMALL = [
    "size=tiny", "crop=[64, 80]", "batch_size=2", "validation=6", "validate_every=0", "warmup=2", "lr=3e-3",
    "threads=1", "ema_decay=0.8", "log_every=10",
]  # fmt: skip


def test_thirty_steps_from_scenes_and_photos_to_a_refiner(tmp_path: Path) -> None:
    made_cache(tmp_path / "scenes", count=6)
    made_cache(tmp_path / "held", count=2, first=1_000_000)
    made_pairs(tmp_path / "photos", exact=False)
    data = tuple(str(tmp_path / name) for name in ("scenes", "held", "photos"))
    outcome = train(runs.Run(tmp_path / "run", "sddr", data), sets=[*SMALL, "steps=30", "refresh=12", "windows=1"])
    assert outcome.finished
    log = runs.read_log(tmp_path / "run")
    figures = log[-1]["validation"]
    assert figures["ratio"] < 1
    assert figures["harm"] < 0.05
    assert {"gt", "matching", "edges", "fusion"} <= log[-2].keys()
    assert sorted(x.name for x in (tmp_path / "run" / "labels").iterdir()) == ["round-001-0", "round-002-0"]
    card = read_card(tmp_path / "run" / "model.json")
    assert (card.name, card.parameters > 100_000) == ("sddr", True)
    image, depth = scene()
    small = depth.resized(24, 32)
    through_onnx = Sddr(tmp_path / "run").refine(image, small).values
    through_torch = Sddr(TorchNetwork(tmp_path / "run")).refine(image, small).values
    np.testing.assert_allclose(through_onnx, through_torch, rtol=1e-3)
    assert not np.array_equal(through_onnx, small.resized(96, 128).values)

    shared = [*SMALL, "steps=6", "windows=1", f"given_labels={tmp_path / 'run'}"]
    assert train(runs.Run(tmp_path / "next", "sddr", data), sets=shared).finished
    assert not (tmp_path / "next" / "labels").exists()
    with pytest.raises(FileNotFoundError, match="given_labels"):
        train(runs.Run(tmp_path / "last", "sddr", data), sets=[*shared, f"given_labels={tmp_path / 'none'}"])


def test_a_run_begins_with_the_refiner_that_ships(tmp_path: Path) -> None:
    made_cache(tmp_path / "scenes", count=4)
    made_cache(tmp_path / "held", count=2, first=1_000_000)
    data = tuple(str(tmp_path / name) for name in ("scenes", "held"))
    unchanged = ["steps=1", "lr=1e-12", "ema_decay=0", "start=shipped", "size=small", "fine=16"]
    train(runs.Run(tmp_path / "run", "sddr", data), sets=[*SMALL, "gradient=0", "fusion=0", "pair_share=0", *unchanged])
    image, depth = scene()
    small = depth.resized(24, 32)
    ours, shipped = (one.refine(image, small).values for one in (Sddr(tmp_path / "run"), Sddr()))
    np.testing.assert_allclose(ours, shipped, rtol=1e-4)


def test_weights_are_recovered_from_a_file_of_the_same_network_alone(tmp_path: Path) -> None:
    small, other = (RefineNet(RefineNetOptions("tiny", fine=fine)).eval() for fine in (0, 8))
    with torch.no_grad():  # the file has equal weights once
        for weight in small.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    sddr_training._write(small, tmp_path / "small.onnx")
    found = recovered(RefineNet(small.options), tmp_path / "small.onnx", sddr_training._write)
    assert all(torch.equal(weight, small.state_dict()[name]) for name, weight in found.items())
    assert {name.split(".")[0] for name in small.state_dict().keys() - found.keys()} == {"half_head", "quarter_head"}
    with pytest.raises(ValueError, match=r"small\.onnx: expected a network exported from RefineNet"):
        recovered(other, tmp_path / "small.onnx", sddr_training._write)
    with pytest.raises(FileNotFoundError, match="no model"):
        recovered(other, tmp_path / "none.onnx", sddr_training._write)


def test_a_run_begins_with_weights_of_a_network_without_a_level_at_full_size(tmp_path: Path) -> None:
    made_cache(tmp_path / "scenes", count=4)
    made_cache(tmp_path / "held", count=2, first=1_000_000)
    data = tuple(str(tmp_path / name) for name in ("scenes", "held"))
    quick = [*SMALL, "gradient=0", "fusion=0", "pair_share=0"]
    train(runs.Run(tmp_path / "first", "sddr", data), sets=[*quick, "steps=3"])
    sets = [*quick, "steps=1", "lr=1e-12", "ema_decay=0", "fine=8", f"start={tmp_path / 'first'}"]
    train(runs.Run(tmp_path / "next", "sddr", data), sets=sets)
    before, after = (checkpoint.load(tmp_path / name / "student.safetensors")[0] for name in ("first", "next"))
    shared = [key for key in before if not key.startswith("head.")]
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in shared)
    assert after["head.choose.weight"].shape == (25, 8, 3, 3)
    image, depth = scene()
    small = depth.resized(24, 32)
    through_onnx = Sddr(tmp_path / "next").refine(image, small).values
    through_torch = Sddr(TorchNetwork(tmp_path / "next")).refine(image, small).values
    np.testing.assert_allclose(through_onnx, through_torch, rtol=1e-3)


ABLATIONS = {
    "L_gt": ["gradient=0", "fusion=0"],
    "paper": ["supervision=affine", "rgb=false", "head=residual", "labels=self"],
    "depth labels": ["labels=self", "label_form=depth", "windows=1"],
    "control": ["labels=exact", "noise=false"],
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_runs(name: str, tmp_path: Path) -> None:
    made_cache(tmp_path / "scenes", count=3)
    made_pairs(tmp_path / "pairs", exact=True)
    data = (str(tmp_path / "scenes"), str(tmp_path / "pairs"))
    sets = [*SMALL, "steps=3", "pair_share=0.5", *ABLATIONS[name]]
    train(runs.Run(tmp_path / "run", "sddr", data), sets=sets)
    line = runs.read_log(tmp_path / "run")[-2]
    assert np.isfinite(line["loss"])
    assert ("edges" in line) == (name in ("paper", "control"))
    assert (tmp_path / "run" / "labels").exists() == (name in ("paper", "depth labels"))


def test_a_resumed_run_reads_its_labels_again(tmp_path: Path) -> None:
    from keendepth.training.recipe import StepContext
    from keendepth.training.sddr import SddrMethod, SddrTraining
    from keendepth.training.views import ViewOptions, Views

    pairs = made_pairs(tmp_path / "photos", exact=False)
    made = SddrTraining(size="tiny", windows=0, refresh=4)

    def recipe() -> object:
        found = SddrMethod().recipe(made)
        found.views = Views([], [pairs], ViewOptions(size=(64, 80)), 2, 0)
        return found

    first, ema = recipe(), network()
    context = StepContext(0, 9, ema, torch.Generator(), torch.device("cpu"), tmp_path)
    assert [bool(first.between(replace(context, step=step))) for step in range(9)] == [
        False, False, False, True, False, False, False, True, False,
    ]  # fmt: skip
    resumed = recipe()
    resumed.load_state_dict(first.state_dict())
    resumed.start(context)
    one, two = (x.views.batch(5) for x in (first, resumed))
    assert not one["label"].isnan().any()
    assert torch.equal(one["label"], two["label"])
    assert not resumed.between(replace(context, step=8))


@pytest.mark.parametrize("preset", ["sddr-small", "sddr-paper"])
def test_presets_fit_the_recipe(preset: str) -> None:
    from keendepth.training.config import FIT, FitOptions, resolve
    from keendepth.training.sddr import SddrTraining

    found = resolve({FIT: FitOptions, "sddr": SddrTraining}, [preset])["sddr"]
    assert found.size == preset.removeprefix("sddr-")


def test_data_that_it_cannot_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give --data"):
        train(runs.Run(tmp_path / "run", "sddr"), sets=SMALL)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="found neither"):
        train(runs.Run(tmp_path / "run", "sddr", (str(tmp_path / "other"),)), sets=SMALL)


def test_onnx_network_pads_and_crops(onnx: Path) -> None:
    low = near_of((33, 47))
    rgb = np.zeros((33, 47, 3), np.uint8)
    assert OnnxNetwork(onnx)(low, low, rgb).shape == (33, 47)
