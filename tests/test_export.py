"""Export to ONNX: any size and batch, the same numbers, the same bytes, and nothing left behind when it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from torch import Tensor, nn  # noqa: E402

from keendepth.export import export_onnx  # noqa: E402
from keendepth.nn.tracing import ParityError, difference, parity  # noqa: E402


class Small(nn.Module):
    """A convolution with normalisation and dropout: training and evaluation differ."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1))

    def forward(self, rgb: Tensor) -> Tensor:
        return self.body(rgb)


class Pair(nn.Module):
    """Two inputs, two outputs, one of them smaller."""

    def forward(self, rgb: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        return rgb.mean(1, keepdim=True) + low, nn.functional.avg_pool2d(low, 2)


class Random(nn.Module):
    """Differs from itself: no export of it can agree."""

    def forward(self, rgb: Tensor) -> Tensor:
        return rgb + torch.rand(1)


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    return Small()


def run(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {given.name: array for given, array in zip(session.get_inputs(), arrays, strict=True)})


def test_any_batch_and_size(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    assert export_onnx(small, path, (16, 24)) < 1e-5
    small.eval()
    for shape in ((1, 3, 16, 24), (3, 3, 7, 41)):
        rgb = torch.rand(shape)
        (found,) = run(path, rgb.numpy())
        np.testing.assert_allclose(found, small(rgb).detach().numpy(), atol=1e-5)


def test_same_module_same_bytes(small: Small, tmp_path: Path) -> None:
    export_onnx(small, tmp_path / "a.onnx", (16, 16))
    export_onnx(small, tmp_path / "b.onnx", (16, 16))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_training_mode_is_left_as_it_was(small: Small, tmp_path: Path) -> None:
    small.train()
    small.body[1].eval()
    export_onnx(small, tmp_path / "small.onnx", (16, 16))
    assert small.training
    assert small.body[2].training
    assert not small.body[1].training


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "pair.onnx"
    export_onnx(Pair(), path, (8, 8), {"rgb": 3, "low": 1}, ("depth", "half"))
    depth, half = run(path, np.zeros((1, 3, 6, 10), np.float32), np.ones((1, 1, 6, 10), np.float32))
    assert depth.shape == (1, 1, 6, 10)
    assert half.shape == (1, 1, 3, 5)


def test_disagreement_gives_the_figure_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "kept.onnx").write_bytes(b"before")
    with pytest.raises(ParityError, match=r"kept\.onnx: ONNX Runtime and torch differ by [\d.]+, at most 0\.0001"):
        export_onnx(Random(), tmp_path / "kept.onnx", (8, 8))
    assert (tmp_path / "kept.onnx").read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.onnx"]


def test_nan_on_one_side_only_is_no_parity() -> None:
    number, unknown = np.zeros((1, 1, 2, 2)), np.full((1, 1, 2, 2), np.nan)
    assert difference(number, unknown) == float("inf")
    assert difference(unknown, unknown) == 0
    assert difference(number, number[..., :1]) == float("inf")


def test_parity_sees_a_change_of_weights(small: Small, tmp_path: Path) -> None:
    export_onnx(small, tmp_path / "small.onnx", (16, 16))
    small.eval()
    with torch.no_grad():
        small.body[3].bias += 0.25
    assert parity(small, tmp_path / "small.onnx", [torch.rand(1, 3, 16, 16)]) == pytest.approx(0.25, abs=1e-5)
