"""Hub networks on every runtime: each family's copy gives torch's numbers at any size, is made once, and torch takes over where it cannot be."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from keendepth.cli import contracts
from keendepth.predictors.hf import copies
from keendepth.predictors.hf.files import ModelError
from keendepth.predictors.hub import MissingExtraError
from keendepth.predictors.huggingface import HuggingFacePredictor
from test_huggingface import KINDS, copy_of, predict, save

pytest.importorskip("torch", reason="needs keendepth[hub]")
pytest.importorskip("transformers", reason="needs keendepth[hub]")
pytest.importorskip("onnx", reason="needs the train extra")

QUICK = "glpn"  # its graph is the smallest


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root, made = tmp_path_factory.mktemp("models"), {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = save(name, root / name)
        return made[name]

    return get


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEENDEPTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


SLOW = ("zoedepth", "depth-pro", "dpt-beit", "depth-anything")  # depth-anything-metric has the same graph


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in KINDS]
)
def test_every_family_has_a_copy_that_gives_its_numbers(name: str, folders: Callable[[str], Path]) -> None:
    torch_, onnx = (HuggingFacePredictor(folders(name), device="cpu", runtime=runtime) for runtime in ("torch", "onnx"))
    for size in ((48, 64), (64, 48), (7, 5), (1, 1), (3, 200)):
        image = contracts.picture(size)
        one, other = predict(torch_, image), predict(onnx, image)
        assert other.kind is KINDS[name]
        assert other.size == size
        assert other.camera == one.camera
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4, atol=1e-4 * float(np.abs(one.values).max()))
    assert onnx.card.parameters == torch_.card.parameters


@pytest.mark.parametrize("name", ["depth-anything-metric", "glpn", "prompt-depth-anything"])
def test_a_copy_alone_is_as_in_a_batch(name: str, folders: Callable[[str], Path]) -> None:
    from test_huggingface import prompt_for

    predictor = HuggingFacePredictor(folders(name), runtime="onnx")
    images = [contracts.picture((48, 64), seed) for seed in range(3)]
    prompts = [prompt_for(image, predictor) for image in images] if predictor.feeding.prompted else ()
    together = predictor.predict_batch(images, prompts=prompts)
    for image, depth in zip(images, together, strict=True):
        assert np.array_equal(predict(predictor, image).values, depth.values)


@pytest.mark.parametrize("runtime", ["compile", "openvino"])
def test_other_runtimes(runtime: str, folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="needs openvino, which no extra brings")
    import torch

    real, image = torch.compile, contracts.picture((48, 64))
    # Without its backend, which compiles for minutes; benchmarks/predictors.py has the whole of it.
    monkeypatch.setattr(torch, "compile", lambda module, **options: real(module, backend="eager", **options))
    expected = HuggingFacePredictor(folders(QUICK), runtime="torch").predict(image).values
    found = HuggingFacePredictor(folders(QUICK), runtime=runtime).predict(image).values
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


def test_the_fastest_is_the_default_and_a_copy_is_made_once(
    folders: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image = contracts.picture((40, 40))
    with caplog.at_level(logging.WARNING, "keendepth"):
        first = HuggingFacePredictor(folders(QUICK), device="cpu")
        expected = first.predict(image).values
    assert type(first._engine).__name__ in ("OnnxEngine", "OpenVinoEngine")
    assert [record.getMessage().partition(": ")[2][:37] for record in caplog.records] == [
        "making a copy for ONNX Runtime, which"
    ]
    (copy,) = cache.glob("*.onnx")
    assert json.loads(copy.with_suffix(".json").read_text())["parity"] <= copies.TOLERANCE
    monkeypatch.setattr(copies, "write", None)  # a second one would fail
    monkeypatch.setattr("keendepth.predictors.hf.loading.load", None)  # and torch's weights are not read again
    second = HuggingFacePredictor(folders(QUICK), device="cpu")
    assert np.array_equal(second.predict(image).values, expected)
    assert second.card.parameters == first.card.parameters > 0


def test_torch_takes_over_where_no_copy_can_be_made(
    folders: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> float:
        raise RuntimeError("Exporting the operator 'aten::mystery' is not supported\nmore")

    monkeypatch.setattr(copies, "write", refuse)
    with caplog.at_level(logging.WARNING, "keendepth"):
        for _ in range(2):
            predictor = HuggingFacePredictor(folders(QUICK), device="cpu")
            assert predictor.predict(contracts.picture((40, 40))).valid.all()
            assert type(predictor._engine).__name__ == "TorchEngine"
    said = [record.getMessage() for record in caplog.records]
    assert (
        sum(
            "runs on torch, as no copy for ONNX Runtime could be made (RuntimeError: Exporting" in line for line in said
        )
        == 1
    )
    with pytest.raises(ModelError, match="no copy for ONNX Runtime: RuntimeError: Exporting"):
        HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(contracts.picture((8, 8)))


def test_a_difference_from_torch_is_found(
    folders: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match=r"ParityError: .* differ by"):
        HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(contracts.picture((8, 8)))
    assert not list(cache.glob("*.onnx"))
    assert not list(cache.glob(".*"))


def test_a_damaged_copy_is_made_anew(folders: Callable[[str], Path], cache: Path) -> None:
    image = contracts.picture((20, 30))
    expected = HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(image).values
    (copy,) = cache.glob("*.onnx")
    copy.write_bytes(copy.read_bytes()[:1000])
    assert np.array_equal(HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(image).values, expected)


def test_other_weights_have_another_copy_and_old_versions_go(
    folders: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = contracts.picture((20, 30))
    HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(image)
    (old,) = cache.glob("*.onnx")
    monkeypatch.setattr(copies, "FORMAT", 99)
    HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(image)
    (new,) = cache.glob("*.onnx")
    assert new != old
    weights = folders(QUICK) / "model.safetensors"
    weights.touch()
    HuggingFacePredictor(folders(QUICK), runtime="onnx").predict(image)
    assert len(list(cache.glob("*.onnx"))) == 2


@pytest.mark.parametrize(
    ("parameters", "free", "says"),
    [(10**9, 10**12, "1000 M parameters are too many"), (10**8, 10**9, "0.9 GiB are free in .*, 1.1 are needed")],
)
def test_too_large(parameters: int, free: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    with pytest.raises(ValueError, match=says):
        copies._check_room(tmp_path, parameters)


def test_runtimes_that_are_not_there(folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(
        ValueError, match="runtime must be one of auto, torch, compile, onnx, openvino, found 'tensorrt'"
    ):
        HuggingFacePredictor(folders(QUICK), runtime="tensorrt")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"the runtime openvino needs openvino, .*: pip install openvino"):
        HuggingFacePredictor(folders(QUICK), runtime="openvino").predict(contracts.picture((8, 8)))


def test_a_full_disk_or_damaged_weights_are_not_taken_for_a_network_without_a_copy(
    folders: Callable[[str], Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "SPARE", 10**15)
    assert HuggingFacePredictor(folders(QUICK), device="cpu").predict(contracts.picture((8, 8))).valid.all()
    assert not list(cache.glob("*"))  # tomorrow there may be room
    monkeypatch.undo()
    monkeypatch.setenv("KEENDEPTH_CACHE", str(cache))
    folder = copy_of(folders(QUICK), tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="the weights cannot be loaded"):
        HuggingFacePredictor(folder, device="cpu").predict(contracts.picture((8, 8)))
    assert not list(cache.glob("*"))


def test_copies_are_for_the_cpu(folders: Callable[[str], Path]) -> None:
    for options in ({"device": "cuda"}, {"dtype": "float16"}):
        with pytest.raises(ValueError, match="the runtime onnx is for the CPU in float32"):
            HuggingFacePredictor(folders(QUICK), runtime="onnx", **options)


def test_half_precision_and_other_devices_stay_on_torch(folders: Callable[[str], Path]) -> None:
    assert not HuggingFacePredictor(folders(QUICK), device="cpu", dtype="bfloat16")._copy_is_best()
    assert not HuggingFacePredictor(folders(QUICK), device="cuda")._copy_is_best()
    assert HuggingFacePredictor(folders(QUICK), device="cpu")._copy_is_best()
