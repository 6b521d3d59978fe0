"""Somebody else's ONNX model with a card: built here, so that what it should give is known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keendepth.core.types import DepthKind, Image
from keendepth.predictors import registry
from keendepth.predictors.onnx import OnnxPredictor

MINIMAL = {"name": "mine", "summary": "a test", "license": "CC0-1.0", "kind": "disparity", "native_size": [4, 6]}


def noise(height: int, width: int) -> Image:
    return Image(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))


def foreign(path: Path, layout: str = "nchw", size: tuple[Any, Any] = (4, 6), logarithm: bool = False) -> Path:
    """A model that gives the red channel as it got it, in `layout`, and with `logarithm` its log as a second output."""
    onnx = pytest.importorskip("onnx", reason="needs the train extra")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shapes = {"nchw": [1, 1, *size], "nhwc": [1, *size, 1], "nhw": [1, *size], "hw": [*size]}
    nodes = [helper.make_node("Split", ["rgb"], ["red", "green", "blue"], axis=1)]
    constants = [onnx.numpy_helper.from_array(np.array([1], np.int64), "first")]
    constants.append(onnx.numpy_helper.from_array(np.array([0, 1], np.int64), "both"))
    last = {
        "nchw": helper.make_node("Identity", ["red"], ["out"]),
        "nhwc": helper.make_node("Transpose", ["red"], ["out"], perm=[0, 2, 3, 1]),
        "nhw": helper.make_node("Squeeze", ["red", "first"], ["out"]),
        "hw": helper.make_node("Squeeze", ["red", "both"], ["out"]),
    }[layout]
    outputs = [helper.make_tensor_value_info("out", kind, shapes[layout])]
    if logarithm:
        nodes.append(helper.make_node("Log", ["red"], ["log"]))
        outputs.append(helper.make_tensor_value_info("log", kind, [1, 1, *size]))
    inputs = [helper.make_tensor_value_info("rgb", kind, [1, 3, *size])]
    graph = helper.make_graph([*nodes, last], "foreign", inputs, outputs, constants if layout in ("nhw", "hw") else [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "nhw", "hw"])
def test_any_output_layout(tmp_path: Path, layout: str) -> None:
    image = noise(4, 6)
    card = MINIMAL | {"input": {"range": [0, 255], "mean": [10, 0, 0], "std": [2, 1, 1]}, "output": {"scale": 3}}
    depth = OnnxPredictor(foreign(tmp_path / "m.onnx", layout), card).predict(image)
    assert depth.kind is DepthKind.DISPARITY
    np.testing.assert_allclose(depth.values, (image.rgb[..., 0].astype(np.float32) - 10) / 2 * 3, rtol=1e-5)


def test_range_mean_and_std_are_applied_in_that_order(tmp_path: Path) -> None:
    card = MINIMAL | {"input": {"range": [-1, 1], "mean": [0.5, 0, 0], "std": [0.25, 1, 1]}}
    white = Image(np.full((4, 6, 3), 255, np.uint8))
    depth = OnnxPredictor(foreign(tmp_path / "m.onnx"), card).predict(white)
    np.testing.assert_allclose(depth.values, (1 - 0.5) / 0.25, rtol=1e-5)


def test_a_picture_of_another_size_comes_back_at_its_own(tmp_path: Path) -> None:
    depth = OnnxPredictor(foreign(tmp_path / "m.onnx"), MINIMAL).predict(noise(9, 13))
    assert depth.size == (9, 13)
    assert 0 <= depth.values.min() <= depth.values.max() <= 1


def test_a_fixed_model_takes_its_own_size_only(tmp_path: Path) -> None:
    predictor = OnnxPredictor(foreign(tmp_path / "m.onnx"), MINIMAL)
    assert predictor.predict(noise(9, 13), (4, 6)).size == (9, 13)
    with pytest.raises(ValueError, match=r"mine: this network takes 4 x 6 \(height x width\) only, asked for 8 x 12"):
        predictor.predict(noise(9, 13), (8, 12))


def test_a_card_with_a_stride_only_processes_the_pictures_own_size(tmp_path: Path) -> None:
    path = foreign(tmp_path / "m.onnx", size=("height", "width"))
    card = {key: value for key, value in MINIMAL.items() if key != "native_size"} | {"input": {"stride": 2}}
    image = noise(8, 10)
    depth = OnnxPredictor(path, card).predict(image)
    np.testing.assert_allclose(depth.values, image.rgb[..., 0] / 255, atol=1e-6)
    assert OnnxPredictor(path, card).processing_size((7, 5)) == (8, 4)


def test_metric_depth_is_positive_and_affine_depth_is_not_touched(tmp_path: Path) -> None:
    path = foreign(tmp_path / "m.onnx")
    black = Image(np.zeros((4, 6, 3), np.uint8))
    card = MINIMAL | {"input": {"mean": [0.5, 0, 0]}}
    metric = OnnxPredictor(path, card | {"kind": "metric"}).predict(black)
    affine = OnnxPredictor(path, card | {"kind": "affine_invariant"}).predict(black)
    np.testing.assert_allclose(metric.values, 1e-3)
    np.testing.assert_allclose(affine.values, -0.5)


def test_what_is_not_finite_is_unknown(tmp_path: Path) -> None:
    path = foreign(tmp_path / "m.onnx", logarithm=True)
    card = MINIMAL | {"output": {"name": "log"}, "input": {"mean": [0.5, 0, 0]}}
    rgb = np.full((4, 6, 3), 255, np.uint8)
    rgb[0] = 0  # log of a negative number
    depth = OnnxPredictor(path, card).predict(Image(rgb))
    assert np.isnan(depth.values[0]).all()
    np.testing.assert_allclose(depth.values[1:], np.log(0.5), rtol=1e-5)


def test_repeated_values_are_taken_once(tmp_path: Path) -> None:
    image = Image(np.repeat(np.repeat(noise(2, 3).rgb, 2, 0), 2, 1))
    path = foreign(tmp_path / "m.onnx")
    blocks = OnnxPredictor(path, MINIMAL).predict(image)
    smooth = OnnxPredictor(path, MINIMAL | {"output": {"repeat": 2}}).predict(image)
    assert np.array_equal(blocks.values[:, 0], blocks.values[:, 1])
    assert not np.array_equal(smooth.values[:, 0], smooth.values[:, 1])


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ([1, 3, 24], {}, r"expected a network with one input \[1, 3, height, width\], found rgb \[1, 3, 24\]"),
        ([1, 4, 4, 6], {}, r"expected a network with one input"),
        ([1, 3, 8, 6], {}, r"the card's native_size is \(4, 6\), the network takes rgb \[1, 3, 8, 6\]"),
        ([1, 3, 4, 6], {"input": {"stride": 2}}, r"the card has input.stride, but the network's size is fixed"),
        ([1, 3, 4, 6], {"output": {"name": "depth"}}, r"output.name is 'depth', the network has out"),
    ],
)
def test_a_card_and_a_network_that_do_not_go_together(
    tmp_path: Path, shape: list[int], changes: dict, message: str
) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the train extra")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    infos = [helper.make_tensor_value_info(name, kind, shape) for name in ("rgb", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["rgb"], ["out"])], "g", infos[:1], infos[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=message):
        OnnxPredictor(tmp_path / "m.onnx", MINIMAL | changes).predict(noise(4, 6))


def test_an_output_that_is_no_depth_map(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the train extra")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    infos = [helper.make_tensor_value_info(name, kind, [1, 3, 4, 6]) for name in ("rgb", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["rgb"], ["out"])], "g", infos[:1], infos[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"m\.onnx: expected an output .* found \[1, 3, 4, 6\]"):
        OnnxPredictor(tmp_path / "m.onnx", MINIMAL).predict(noise(4, 6))


def test_a_toml_card_beside_the_model(tmp_path: Path) -> None:
    text = 'name = "mine"\nsummary = "a test"\nlicense = "CC0-1.0"\nkind = "disparity"\nnative_size = [4, 6]\n[output]\nscale = 2\n'
    (tmp_path / "m.toml").write_text(text, encoding="utf-8")
    path = foreign(tmp_path / "m.onnx")
    depth = registry.build("onnx", path=path).predict(Image(np.full((4, 6, 3), 255, np.uint8)))
    np.testing.assert_allclose(depth.values, 2.0, rtol=1e-6)
    assert depth.source.name == "mine"
