"""FastDepth rebuilt: the same numbers as the published network, any size; and weights read back strictly."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from keendepth.core import geometry  # noqa: E402
from keendepth.nn import checkpoint  # noqa: E402
from keendepth.nn.fastdepth import DECODER_CHANNELS, ENCODER_CHANNELS, FastDepth  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def shared_folder() -> Path:
    folder = Path(os.environ.get("KEENDEPTH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared material at {folder} (set KEENDEPTH_SHARED)")
    return folder


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """runs/indoor_small.py, which makes the weights."""
    path = ROOT / "runs" / "indoor_small.py"
    if not path.is_file():
        pytest.skip("runs/ is not part of this installation")
    pytest.importorskip("onnx", reason="needs the train extra")
    spec = importlib.util.spec_from_file_location("indoor_small_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(script: ModuleType) -> Path:
    return shared_folder() / script.SOURCE


@pytest.fixture(scope="module")
def network(script: ModuleType, source: Path) -> FastDepth:
    return script.load_source(source)


@pytest.fixture
def tiny() -> FastDepth:
    torch.manual_seed(0)
    return FastDepth((4,) * len(ENCODER_CHANNELS), (4,) * len(DECODER_CHANNELS)).eval()


def test_parameter_count_is_the_pruned_networks() -> None:
    assert sum(parameter.numel() for parameter in FastDepth().parameters()) == 1_360_786


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_any_multiple_of_32_gives_its_own_size(tiny: FastDepth, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        depth = tiny(torch.rand(2, 3, *size))
    assert depth.shape == (2, 1, *size)
    assert (depth >= 0).all()


def test_values_stand_on_two_by_two_pixels(network: FastDepth) -> None:
    with torch.inference_mode():
        depth = network(torch.rand(1, 3, 64, 64))
    assert torch.equal(depth[..., ::2, ::2], depth[..., 1::2, 1::2])
    assert depth.std() > 0


@pytest.mark.parametrize("size", [(33, 32), (32, 48), (0, 32)])
def test_other_sizes_are_refused(tiny: FastDepth, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 32, found {size[0]} x {size[1]}"):
        tiny(torch.zeros(1, 3, *size))


def test_channel_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 14 encoder and 5 decoder channel counts, found 3 and 5"):
        FastDepth((8, 8, 8))
    with pytest.raises(ValueError, match="must equal encoder channels 5, 3, 1"):
        FastDepth(decoder_channels=(200, 255, 120, 56, 16))


def test_parity_with_the_published_network(script: ModuleType, source: Path, network: FastDepth) -> None:
    pictures = [rgb for rgb, _ in script.read_pictures(shared_folder() / "data")]
    assert script.difference_to_source(source, network, pictures) < 1e-4


def test_shipped_file_is_what_the_source_gives(script: ModuleType, network: FastDepth, tmp_path: Path) -> None:
    from keendepth.export import export_onnx
    from keendepth.nn.tracing import parity
    from keendepth.predictors import WEIGHTS

    rgb = script.read_pictures(shared_folder() / "data")[0][0]
    tensor = torch.from_numpy(geometry.resize(rgb, (224, 320)).transpose(2, 0, 1)[None] / np.float32(255)).contiguous()
    assert parity(network, WEIGHTS / "indoor-small.onnx", [tensor]) < 1e-4
    assert export_onnx(network, tmp_path / "again.onnx") < 1e-4
    assert parity(network, tmp_path / "again.onnx", [tensor]) < 1e-4


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_checkpoint_round_trip(tiny: FastDepth, tmp_path: Path, suffix: str) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"weights{suffix}"
    checkpoint.save(path, tiny.state_dict(), {"recipe": "none", "steps": "3"})
    state, metadata = checkpoint.load(path)
    assert metadata == {"recipe": "none", "steps": "3"}
    other = FastDepth((4,) * len(ENCODER_CHANNELS), (4,) * len(DECODER_CHANNELS)).eval()
    checkpoint.fill(other, state)
    rgb = torch.rand(1, 3, 32, 32)
    assert torch.equal(other(rgb), tiny(rgb))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_plain_state_dict_file_loads(tiny: FastDepth, tmp_path: Path) -> None:
    torch.save(tiny.state_dict(), tmp_path / "plain.pt")
    state, metadata = checkpoint.load(tmp_path / "plain.pt")
    assert list(state) == list(tiny.state_dict())
    assert metadata == {}


def test_weights_that_do_not_fit_name_every_fault_and_change_nothing(tiny: FastDepth) -> None:
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    state = {key: torch.zeros_like(value) for key, value in before.items()}
    del state["head.0.weight"]
    state["heads.0.weight"] = torch.zeros(1)
    state["stem.0.weight"] = torch.zeros(4, 1, 3, 3)
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.fill(tiny, state, "theirs.pt")
    for part in (
        "theirs.pt",
        "missing: head.0.weight",
        "unexpected: heads.0.weight",
        "expected [4, 3, 3, 3], found [4, 1, 3, 3]",
    ):
        assert part in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*none\.pt"):
        checkpoint.load(tmp_path / "none.pt")
    with pytest.raises(checkpoint.CheckpointError, match=r"\.safetensors or \.pt files, found 'a\.bin'"):
        checkpoint.load(tmp_path / "a.bin")
    (tmp_path / "broken.pt").write_bytes(b"not a zip file")
    with pytest.raises(checkpoint.CheckpointError, match=r"broken\.pt: not a readable \.pt file"):
        checkpoint.load(tmp_path / "broken.pt")
    torch.save({"optimizer": 3}, tmp_path / "other.pt")
    with pytest.raises(checkpoint.CheckpointError, match="expected tensors only, found something else under optimizer"):
        checkpoint.load(tmp_path / "other.pt")
