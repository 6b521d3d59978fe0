"""The README tells the truth: its commands and its Python run, and so do the examples."""

import os
import re
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """Lines of the README's shell blocks that call keendepth."""
    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith("keendepth ")]


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "100"}
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README takes for granted: a photo, a folder of photos, somebody's depth of the photo."""
    import numpy as np

    import keendepth

    folder = tmp_path_factory.mktemp("desk")
    coffee = (ROOT / "examples" / "coffee.png").read_bytes()
    for name in ("photo.jpg", "photos/one.png", "photos/two.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(coffee)
    from keendepth.io import video

    picture = keendepth.read_image(folder / "photo.jpg").resized(96, 128).rgb
    video.encode(folder / "piece.nut", ((3600 * k, np.roll(picture, k, axis=1)) for k in range(3)), Fraction(25))
    video.join(folder / "clip.mp4", [folder / "piece.nut"])
    depth = keendepth.DepthMap(np.tile(np.linspace(1, 4, 60), (40, 1)), keendepth.DepthKind.METRIC)
    keendepth.write(folder / "lidar.png", depth)
    (folder / "lidar.png.json").unlink()  # somebody's file has no description of ours
    return folder


@pytest.mark.parametrize("command", commands())
def test_commands_run(command: str, desk: Path) -> None:
    run([sys.executable, "-m", "keendepth", *shlex.split(command)[1:]], desk)


def test_there_are_commands_and_python_to_run() -> None:
    assert len(commands()) >= 6
    assert blocks("python")


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, desk: Path) -> None:
    run([sys.executable, "-W", "error", "-c", code], desk)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run_and_are_short(example: Path, tmp_path: Path) -> None:
    assert len(example.read_text().splitlines()) <= 40
    run([sys.executable, "-W", "error", str(example)], tmp_path)


def test_an_example_predictor_composes(tmp_path: Path) -> None:
    photo, own = ROOT / "examples" / "coffee.png", ROOT / "examples" / "own_predictor.py"
    command = ["depth", str(photo), "--load", str(own), "--model", "floor+median", "-o", str(tmp_path), "--json"]
    assert '"kind": "metric"' in run([sys.executable, "-m", "keendepth", *command], tmp_path)


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
