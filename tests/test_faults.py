"""The fault matrix through the command line: whatever is wrong with a model, `keendepth depth` says it in one clear line."""

# ruff: noqa: F811  (fixtures of another file)
from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keendepth.cli.commands import app
from keendepth.predictors.hf import files as files_module
from test_huggingface import FAULTS, Hub, _on_torch, copy_of, folders, hub  # noqa: F401  (fixtures)

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"
USER, PICTURE = 2, 1  # exit codes: the command was wrong; a picture failed


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "photo.png"
    with Image.open(COFFEE) as picture:
        picture.resize((64, 48)).save(path)
    return path


@pytest.fixture
def fails(photo: Path, tmp_path: Path) -> Callable[..., str]:
    """The one line that `keendepth depth` says of a model; its exit code is checked."""

    def run(model: object, *arguments: object, code: int = USER) -> str:
        words = ["depth", photo, "-o", tmp_path / "out", "--model", model, *arguments]
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == code, result.output + repr(result.exception)
        assert "Traceback" not in result.output
        lines = [line for line in result.output.splitlines() if line.startswith(("keendepth: ", "failed "))]
        others = [line for line in result.output.splitlines() if line and line not in lines]
        assert len(lines) == 1, result.output + repr(result.exception)
        assert others in ([], ["0 done, 0 skipped, 1 failed"])
        return lines[0]

    return run


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("tiny/no-such-model", "the hub has no model tiny/no-such-model, or it is private: check the spelling"),
        ("tiny/dpt@v9", "tiny/dpt has no revision 'v9': leave it out"),
        ("gated/dpt", "gated/dpt is gated: accept its terms on its page on the hub, then sign in"),
        ("depth-anything-v2-smal", "did you mean depth-anything-v2-small"),
        ("not/a/model", "not/a/model is no folder here, and no hub id (owner/name)"),
    ],
)
def test_wrong_id_wrong_revision_licence_refused(model: str, says: str, fails: Callable[..., str]) -> None:
    assert says in fails(model)


def test_no_network(fails: Callable[..., str], hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    for model in ("tiny/dpt", "depth-anything-v2-small"):
        assert "is not in the cache, and the hub cannot be reached: check the network" in fails(model)
    said = fails("depth-anything-v2-small-onnx", code=PICTURE)
    assert "the hub cannot be reached: check the network" in said
    assert "the hub cannot be reached" in fails("marigold", code=PICTURE)
    assert not caplog.records  # huggingface_hub tells of each retry


def test_the_network_forbidden(
    fails: Callable[..., str],
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEENDEPTH_OFFLINE", "1")
    assert "is not in the cache, and the network is forbidden" in fails("tiny/dpt")
    assert hub.asked == []


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "a pipeline"])
def test_corrupt_files_and_wrong_classes(
    fault: str,
    fails: Callable[..., str],
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = copy_of(folders["depth-anything"], tmp_path / "model")
    FAULTS[fault][0](folder)
    weights = any(word in fault for word in ("weights", "bytes", "part", "tensor", "shapes"))
    said = fails(folder, code=PICTURE if weights else USER)
    if fault == "no config":  # what a folder is, is told by its files
        assert "holds no model in the hub's layout" in said
    else:
        assert FAULTS[fault][1] in said


@pytest.mark.usefixtures("hub")
def test_a_download_that_is_another_file(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"other weights")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(other))
    said = fails("depth-anything-v2-small-onnx", code=PICTURE)
    assert "is damaged or was changed: expected sha256 afb6a5" in said


@pytest.mark.parametrize(
    ("package", "model", "says"),
    [
        ("transformers", "depth-anything-v2-small", "needs transformers: pip install 'keendepth[hub]'"),
        ("huggingface_hub", "depth-anything-v2-small-onnx", "pip install 'keendepth[hub]'"),
        ("diffusers", "marigold", "pip install 'keendepth[diffusion]'"),
        ("unidepth", "unidepth-v2", "pip install git+https://github.com/lpiccinelli-eth/UniDepth"),
        ("moge", "moge-2", "pip install git+https://github.com/microsoft/MoGe"),
        ("mmengine", "metric3d-v2", "pip install torch torchvision mmengine"),
    ],
)
def test_a_missing_extra(
    package: str, model: str, says: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from keendepth.predictors import diffusion

    real = files_module.installed
    for module in (files_module, diffusion):
        if hasattr(module, "installed"):
            monkeypatch.setattr(module, "installed", lambda name: name != package and real(name))
    monkeypatch.setitem(sys.modules, package, None)  # None: an import of it fails
    known = {"depth-anything-v2-small": USER}
    if model == "unidepth-v2":
        from keendepth import pipeline

        pipeline._tell_licence("unidepth-v2", "CC-BY-NC-4.0 (code and weights)")  # said before: not what is tested here
    assert says in fails(model, code=known.get(model, PICTURE))


def test_options_that_a_model_does_not_take(
    fails: Callable[..., str], folders: dict[str, Path], tmp_path: Path
) -> None:
    assert "toy takes no runtime" in fails("toy", "--runtime", "torch")
    assert "runtime must be one of auto, torch" in fails(folders["glpn"], "--runtime", "tensorrt")
    assert "takes no prompt; a depth prompt is for prompt-depth-anything" in fails(
        folders["glpn"], "--prompt", prompt_file(tmp_path), "--units", "mm", code=PICTURE
    )
    assert "needs a coarse metric depth with the picture" in fails(folders["prompt-depth-anything"], code=PICTURE)
    assert "--units: says what the numbers of --prompt mean" in fails("toy", "--units", "mm")


def test_an_onnx_file_without_a_card(fails: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(b"no model")
    assert "a model file needs one beside it" in fails(path)
    card = tmp_path / "card.toml"
    card.write_text('name = "mine"\nsummary = "x"\nlicense = "MIT"\nkind = "disparity"\nnative_size = [8, 8]\n')
    assert "ONNX Runtime cannot load this model" in fails(path, "--card", card, code=PICTURE)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


def prompt_file(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    Image.fromarray(np.linspace(1000, 3000, 192, dtype=np.uint16).reshape(12, 16)).save(folder / "lidar.png")
    return folder / "lidar.png"
