"""Files of the hub without the hub: a stand-in for huggingface_hub fails in every way there is, and each way is one clear line."""

import hashlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import keendepth
from keendepth.core.types import Camera, DepthKind, Image
from keendepth.predictors import hub, public_onnx
from keendepth.predictors.card import InputRule, ModelCard, OutputRule
from keendepth.predictors.onnx import OnnxPredictor

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HfHubHTTPError(OSError):
    pass


class RepositoryNotFoundError(HfHubHTTPError):
    pass


class GatedRepoError(RepositoryNotFoundError):
    pass


class RevisionNotFoundError(HfHubHTTPError):
    pass


class EntryNotFoundError(Exception):
    pass


class RemoteEntryNotFoundError(HfHubHTTPError, EntryNotFoundError):
    pass


class LocalEntryNotFoundError(FileNotFoundError, EntryNotFoundError):
    pass


class HFValidationError(ValueError):
    pass


class ConnectError(Exception):
    """httpx's name; no OSError."""


def stand_in(monkeypatch: pytest.MonkeyPatch, answer) -> list[dict]:
    """huggingface_hub whose hf_hub_download gives `answer`, or raises it; returns the calls that it got."""
    calls: list[dict] = []

    def hf_hub_download(repo_id, filename, **options):
        calls.append({"id": repo_id, "filename": filename, **options})
        found = answer(**options) if callable(answer) and not isinstance(answer, type) else answer
        if isinstance(found, BaseException):
            raise found
        return str(found)

    module = types.ModuleType("huggingface_hub")
    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    for name in hub.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    return calls


FAULTS = [
    (ConnectError("[Errno -2] Name or service not known"), "cannot be reached: check the network"),
    (LocalEntryNotFoundError("An error happened"), "cannot be reached: check the network"),
    (TimeoutError("timed out"), "cannot be reached"),
    (ConnectionError("refused"), "cannot be reached"),
    (RepositoryNotFoundError("404"), "the hub has no model owner/name, or it is private"),
    (GatedRepoError("403"), "is gated: accept its terms"),
    (RevisionNotFoundError("404"), "owner/name has no revision 'v9'"),
    (RemoteEntryNotFoundError("404"), "has no file m.onnx at revision v9"),
    (HFValidationError("bad"), "expected an id like owner/name"),
    (PermissionError("read-only"), "cannot be written to the cache"),
    (HfHubHTTPError("500 Server Error\nmore"), "HfHubHTTPError: 500 Server Error"),
]


@pytest.mark.parametrize(("fault", "line"), FAULTS, ids=[type(fault).__name__ for fault, _ in FAULTS])
def test_each_fault_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, fault: BaseException, line: str) -> None:
    stand_in(monkeypatch, fault)
    with pytest.raises(hub.HubError) as caught:
        hub.fetch("owner/name", "m.onnx", "v9")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_inside_another_is_found() -> None:
    """transformers wraps what the hub raised into an OSError."""
    outer = OSError("We could not connect")
    outer.__cause__ = GatedRepoError("403")
    assert "gated" in str(hub.explain(outer, "owner/name"))


@pytest.mark.parametrize("id", ["name", "owner/name/more", "", "owner/na me", "/name"])
def test_an_id_that_is_none(id: str) -> None:
    with pytest.raises(hub.HubError, match="expected an id like owner/name"):
        hub.fetch(id, "m.onnx")


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(hub.MissingExtraError, match=r"pip install 'keendepth\[hub\]'"):
        hub.fetch("owner/name", "m.onnx")


def test_a_checksum(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"weights")
    stand_in(monkeypatch, file)
    right = hashlib.sha256(b"weights").hexdigest()
    assert hub.fetch("owner/name", "m.onnx", sha256=right.upper()) == file
    with pytest.raises(hub.HubError, match=r"damaged or was changed: expected sha256 f00.*delete .*m\.onnx"):
        hub.fetch("owner/name", "m.onnx", sha256="f00")


def test_a_commit_comes_from_the_cache_without_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_in(monkeypatch, tmp_path)
    hub.fetch("owner/name", "m.onnx", COMMIT)
    hub.fetch("owner/name", "m.onnx", "main")
    assert [call["local_files_only"] for call in calls] == [True, False]


def test_a_commit_that_is_not_cached_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_in(
        monkeypatch, lambda local_files_only, revision: LocalEntryNotFoundError() if local_files_only else tmp_path
    )
    assert hub.fetch("owner/name", "m.onnx", COMMIT) == tmp_path
    assert len(calls) == 2


@pytest.mark.parametrize("name", hub.OFFLINE)
def test_offline_mode_asks_nobody(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    calls = stand_in(monkeypatch, LocalEntryNotFoundError("not there"))
    monkeypatch.setenv(name, "1")
    with pytest.raises(hub.HubError, match=r"the network is forbidden \(HF_HUB_OFFLINE or KEENDEPTH_OFFLINE\)"):
        hub.fetch("owner/name", "m.onnx")
    assert all(call["local_files_only"] for call in calls)


# The public exports, with networks of a few bytes in their place


def save(path: Path, nodes, inputs, outputs, values=()) -> Path:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, initializer=list(values))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def tensor(name: str, shape, kind: str = "FLOAT"):
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_tensor_value_info(name, getattr(onnx.TensorProto, kind), shape)


def photo(height: int, width: int, camera: Camera | None = None) -> Image:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(rgb, camera)


def the_mean(path: Path, output: str = "predicted_depth") -> Path:
    """A network whose output is the mean of its input's channels."""
    onnx = pytest.importorskip("onnx")
    axes = onnx.helper.make_node("ReduceMean", ["pixel_values"], [output], axes=[1], keepdims=0)
    return save(path, [axes], [tensor("pixel_values", [1, 3, "h", "w"])], [tensor(output, [1, "h", "w"])])


def test_depth_anything_keeps_the_shape_and_covers_its_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_in(monkeypatch, the_mean(tmp_path / "m.onnx"))
    model = keendepth.load("depth-anything-v2-base-onnx").predictor
    assert calls == []  # nothing is fetched before a picture comes
    assert model.processing_size((480, 640)) == (518, 686)
    assert model.processing_size((640, 480)) == (686, 518)
    depth = model.predict(photo(30, 40))
    assert depth.kind is DepthKind.DISPARITY
    assert depth.size == (30, 40)
    assert calls[0]["id"] == "onnx-community/depth-anything-v2-base"
    assert calls[0]["revision"] == "70fc6025110462412a23f8f647d2cd708d6ecc2e"


def test_a_damaged_download_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, the_mean(tmp_path / "m.onnx"))
    with pytest.raises(hub.HubError, match=r"depth-anything-v2-small/onnx/model\.onnx is damaged"):
        keendepth.load("depth-anything-v2-small-onnx").predictor.predict(photo(30, 40))


def test_another_revision_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_in(monkeypatch, the_mean(tmp_path / "m.onnx"))
    keendepth.load("onnx-community/depth-anything-v2-small@main").predictor.predict(photo(30, 40))
    assert calls[0]["revision"] == "main"


def test_metric3d_undoes_its_camera(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, the_mean(tmp_path / "m.onnx"))
    model = keendepth.load("metric3d-v2-small-onnx").predictor
    near, far = (model.predict(photo(616, 1064, Camera.from_focal(focal, 1064, 616))).values for focal in (500, 1000))
    np.testing.assert_allclose(far, 2 * near, rtol=1e-5)
    expected = photo(616, 1064).rgb.mean(-1)  # 0..255 as they are, one for one at the canonical camera
    np.testing.assert_allclose(far, np.maximum(expected, 1e-3), rtol=1e-4)


def test_depth_pro_gives_a_camera_and_takes_one(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    nodes = [
        onnx.helper.make_node("ReduceMean", ["pixel_values"], ["m"], axes=[1], keepdims=0),
        onnx.helper.make_node("Add", ["m", "two"], ["predicted_depth"]),
        onnx.helper.make_node("Identity", ["f"], ["focallength_px"]),
    ]
    values = [onnx.numpy_helper.from_array(np.float32([v]), n) for v, n in ((3, "two"), (48, "f"))]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [tensor("pixel_values", [1, 3, 32, 32])],
        [tensor("predicted_depth", [1, 32, 32]), tensor("focallength_px", [1])],
        values,
    )
    model = local(public_onnx.PublicOnnx, "depth-pro-onnx", path, InputRule(), (32, 32), FOCAL)
    alone = model.predict(photo(64, 96))
    assert alone.camera.source == "model"
    assert alone.camera.fx == pytest.approx(48 * 96 / 32)
    given = model.predict(photo(64, 96, Camera.from_focal(288, 96, 64)))
    np.testing.assert_allclose(given.values, 2 * alone.values, rtol=1e-5)
    assert given.camera.source == "given"


FOCAL = OutputRule(name="predicted_depth", focal="focallength_px")


def local(
    kind: type, name: str, path: Path, rule: InputRule, native: tuple[int, int], output: OutputRule | None = None
):
    """A public export's adapter on a file of ours."""
    from dataclasses import replace

    from keendepth.predictors import registry

    card = replace(registry.card(name), native_size=native, sha256="")
    made = kind(public_onnx.Export("owner/name", path.name, None, ModelCard(card, rule, output or OutputRule())))
    made._check_file = lambda: setattr(made, "path", path)
    return made


def scene(height: int, width: int, focal: float) -> np.ndarray:
    """Points [h w 3] of a bumpy wall in front of a camera of this focal length."""
    v, u = np.mgrid[:height, :width] + 0.5
    z = 2 + np.sin(u / 9) * 0.5 + v / height
    return np.stack([(u - width / 2) / focal * z, (v - height / 2) / focal * z, z], -1)


@pytest.mark.parametrize("focal", [30.0, 60.0, 200.0])
@pytest.mark.parametrize("known", [True, False])
def test_focal_length_and_shift_come_back(focal: float, known: bool) -> None:
    points = scene(56, 84, focal)
    points[..., 2] -= 1.3
    points += 0.002 * np.random.default_rng(0).normal(size=points.shape)
    mask = np.ones((56, 84), bool)
    mask[:10] = False
    points[:10] = 99
    found, shift = public_onnx.focal_and_shift(points, mask, focal if known else None)
    assert found == pytest.approx(focal, rel=0.02)
    assert shift == pytest.approx(1.3, rel=0.05)
    assert public_onnx.focal_and_shift(points, np.zeros_like(mask)) == (84.0, 0.0)


def test_moge_becomes_metric_with_a_camera_and_sky(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    points = scene(28, 42, 40.0)
    points[..., 2] -= 1.0
    mask = np.ones((28, 42))
    mask[:4] = 0
    nodes = [
        onnx.helper.make_node(
            "Constant", [], [name], value=onnx.numpy_helper.from_array(value.astype(np.float32), name)
        )
        for name, value in (("points", points[None]), ("mask", mask[None]), ("metric_scale", np.array([2.5])))
    ]
    nodes.append(onnx.helper.make_node("Identity", ["num_tokens"], ["tokens"]))
    inputs = [tensor("image", [1, 3, "h", "w"]), tensor("num_tokens", [], "INT64")]
    outputs = [
        tensor("points", [1, 28, 42, 3]),
        tensor("mask", [1, 28, 42]),
        tensor("metric_scale", [1]),
        tensor("tokens", [], "INT64"),
    ]
    path = save(tmp_path / "m.onnx", nodes, inputs, outputs)
    model = local(public_onnx.MogeOnnx, "moge-2-small-onnx", path, InputRule(stride=14, rule="keep"), (28, 42))
    depth = model.predict(photo(56, 84))
    assert depth.kind is DepthKind.METRIC
    assert depth.sky[:6].all()
    assert depth.camera.source == "model"
    assert depth.camera.fx == pytest.approx(80, rel=0.01)
    truth = 2.5 * scene(28, 42, 40.0)[..., 2]
    np.testing.assert_allclose(depth.resized(28, 42).values[6:], truth[6:], rtol=0.03)


# Where ONNX models run


def test_short_names_and_the_best_there_is(tmp_path: Path) -> None:
    card = ModelCard.from_dict(
        {"name": "m", "summary": "", "license": "MIT", "kind": "disparity", "input": {"stride": 8}}
    )
    path = the_mean(tmp_path / "m.onnx")
    for providers in ("auto", "cpu", "CPUExecutionProvider", ("cpu",)):
        assert OnnxPredictor(path, card, providers).predict(photo(16, 24)).size == (16, 24)
    have = types.SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider", "CUDAExecutionProvider"])
    assert OnnxPredictor(path, card, "auto")._available(have) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert OnnxPredictor(path, card, "openvino,cpu").providers == ("OpenVINOExecutionProvider", "CPUExecutionProvider")
    with pytest.raises(ValueError, match="no OpenVINOExecutionProvider here"):
        OnnxPredictor(path, card, "openvino").predict(photo(16, 24))


def test_a_card_from_elsewhere(tmp_path: Path) -> None:
    path = the_mean(tmp_path / "m.onnx")
    (tmp_path / "other.toml").write_text('name="m"\nsummary=""\nlicense="MIT"\nkind="disparity"\n[input]\nstride=8\n')
    made = keendepth.load(str(path), card=tmp_path / "other.toml", providers="cpu")
    assert made(photo(16, 24)).kind is DepthKind.DISPARITY
