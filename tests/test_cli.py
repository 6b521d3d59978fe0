"""The command line as a person uses it: files where they were promised, clear lines, honest exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import keendepth
from keendepth import pipeline
from keendepth.cli.commands import app, split_lists

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, split_lists([str(argument) for argument in arguments]))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def call_json(*arguments: object, code: int = 0) -> list[dict]:
    result = CliRunner().invoke(app, split_lists([str(argument) for argument in (*arguments, "--json")]))
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--save a x", "--save a x"),
        ("--save png16 exr -o out", "--save png16 --save exr -o out"),
        ("p.jpg --save png16,exr npz", "p.jpg --save png16 --save exr --save npz"),
        ("--save=png16,exr p.jpg", "--save png16 --save exr p.jpg"),
        ("--save nonsense p.jpg", "--save nonsense p.jpg"),
        ("--save", "--save"),
    ],
)
def test_lists_of_files_to_save(given: str, expected: str) -> None:
    assert split_lists(given.split()) == expected.split()


def test_every_kind_of_file_is_made_and_described(tmp_path: Path) -> None:
    files = {
        name: suffix for name, suffix in pipeline.FILES.items() if name != "confidence"
    }  # this model does not know it
    results = call_json("depth", COFFEE, "-o", tmp_path, "--save", *files)
    for suffix in files.values():
        assert (tmp_path / f"coffee{suffix}").stat().st_size > 100
        assert json.loads((tmp_path / f"coffee{suffix}.json").read_text())["kind"] == "metric"
    assert results[0]["camera"]["source"] == "guess"
    assert results[0]["refinement"]["name"] == "median"
    exr, png = (keendepth.read(tmp_path / f"coffee.depth.{end}").values for end in ("exr", "png"))
    np.testing.assert_allclose(exr, png, atol=0.00051)


def test_a_bad_file_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.png").write_bytes(COFFEE.read_bytes())
    (tmp_path / "in" / "bad.png").write_bytes(COFFEE.read_bytes()[:5000])
    output = call("depth", tmp_path / "in", "-o", tmp_path / "out", code=1)
    assert "1 done, 0 skipped, 1 failed" in output
    assert "bad.png" in output
    assert (tmp_path / "out" / "good.depth.png").exists()
    assert not list((tmp_path / "out").glob("bad*"))


def test_results_are_skipped_unless_overwrite(tmp_path: Path) -> None:
    call("depth", COFFEE, "-o", tmp_path)
    before = (tmp_path / "coffee.depth.png").stat().st_mtime_ns
    assert "1 skipped" in call("depth", COFFEE, "-o", tmp_path)
    assert (tmp_path / "coffee.depth.png").stat().st_mtime_ns == before
    call("depth", COFFEE, "-o", tmp_path, "--overwrite")
    assert (tmp_path / "coffee.depth.png").stat().st_mtime_ns > before


def test_folders_keep_their_structure_and_names_do_not_clash(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png", "b/x.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(COFFEE.read_bytes())
    call("depth", tmp_path / "in", "-o", tmp_path / "out", "--save", "preview")
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.preview.png")}
    assert made == {"a/x.preview.png", "b/x.png.preview.png", "b/x.jpg.preview.png"}
    assert "2 skipped" not in call(
        "depth", tmp_path / "out", "-o", tmp_path / "again", code=2
    )  # our own files are no photos


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model", "indoor-smal"], "indoor-small"),
        (["--model", "indoor-small+medain"], "median"),
        (["--save", "jpeg2000"], "known: preview"),
        (["--model", "toy", "--save", "ply"], "metric"),
        (["--fov", "65", "--focal", "500"], "drop all but one"),
        (["--load", "missing.py"], "no such file"),
        (["--strength", "2"], "--strength"),
    ],
)
def test_mistakes_end_in_one_clear_line(arguments: list[str], expected: str, tmp_path: Path) -> None:
    code = 1 if "--fov" in arguments else 2  # a file by file complaint, or one before the work
    output = call("depth", COFFEE, "-o", tmp_path, *arguments, code=code)
    assert expected in output
    assert "Traceback" not in output


def test_missing_photo_and_empty_folder(tmp_path: Path) -> None:
    assert "no such file" in call("depth", tmp_path / "nowhere.jpg", "-o", tmp_path / "o", code=1)
    (tmp_path / "empty").mkdir()
    assert "no photo found" in call("depth", tmp_path / "empty", "-o", tmp_path / "o", code=2)


def test_refine_keeps_unit_and_scale_and_reports_both(tmp_path: Path) -> None:
    truth = keendepth.load("indoor-small")(COFFEE)
    keendepth.write(tmp_path / "small.npz", truth.resized(40, 60))
    results = call_json("refine", COFFEE, tmp_path / "small.npz", "-o", tmp_path / "out", "--save", "npz")
    refined = keendepth.read(tmp_path / "out" / "coffee.depth.npz")
    assert refined.size == truth.size
    assert refined.kind is keendepth.DepthKind.METRIC
    assert results[0]["refinement"]["residual_scale"] == pytest.approx(1, abs=0.02)
    assert np.median(refined.values) == pytest.approx(np.median(truth.values), rel=0.02)


def test_refine_by_units_and_by_folders(tmp_path: Path) -> None:
    for folder in ("photos", "maps"):
        (tmp_path / folder).mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(COFFEE.read_bytes())
    np.save(tmp_path / "maps" / "a.npy", np.full((40, 60), 250.0, np.float32))
    call("refine", tmp_path / "photos", tmp_path / "maps", "--units", "cm", "-o", tmp_path / "out", "--save", "exr")
    np.testing.assert_allclose(keendepth.read(tmp_path / "out" / "a.depth.exr").values, 2.5, rtol=1e-6)


def test_strength_zero_returns_the_input_exactly(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(1, 5, (400, 600)).astype(np.float32)
    np.save(tmp_path / "d.npy", values)
    call("refine", COFFEE, tmp_path / "d.npy", "--strength", "0", "-o", tmp_path, "--save", "npz")
    np.testing.assert_array_equal(keendepth.read(tmp_path / "coffee.depth.npz").values, values)


@pytest.mark.parametrize("end", ["exr", "npz", "tiff", "pfm", "dpt", "png"])
def test_convert_to_every_format_and_back(end: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(1, 5, (20, 30)).astype(np.float32)
    values[0, 0] = np.nan
    np.save(tmp_path / "d.npy", values)
    call("convert", tmp_path / "d.npy", "-o", tmp_path / f"d.{end}")
    call("convert", tmp_path / f"d.{end}", "-o", tmp_path / "back", "--to", "npz")
    np.testing.assert_allclose(
        keendepth.read(tmp_path / "back" / "d.npz").values, values, atol=0.00051 if end == "png" else 0
    )


def test_convert_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.ones((4, 4), np.float32))
    assert "found .jpg" in call("convert", tmp_path / "d.npy", "-o", tmp_path / "d.jpg", code=2)
    assert "camera" in call("convert", tmp_path / "d.npy", "-o", tmp_path / "d.ply", code=1)
    call("convert", tmp_path / "d.npy", "-o", tmp_path / "d.ply", "--fov", "60")
    assert "--to" in call("convert", tmp_path / "d.npy", tmp_path / "d.ply", "-o", tmp_path / "all.exr", code=2)


def test_models_and_doctor(tmp_path: Path) -> None:
    assert "indoor-small" in call("models")
    card = call("models", "indoor-small")
    assert "NYU" in card
    assert "MIT" in card
    assert {entry["name"] for entry in call_json("models")} >= {"indoor-small", "median", "guided"}
    facts = call_json("doctor")
    assert facts["healthy"]  # type: ignore[call-overload]
    assert set(facts["contracts"].values()) == {"ok"}  # type: ignore[call-overload]


def test_a_users_file_is_checked_by_the_doctor(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(
        "from keendepth import predictors, DepthKind, DepthMap\n"
        "import numpy as np\n"
        "@predictors.register('mine-wrong', summary='', license='', kind=DepthKind.METRIC)\n"
        "class Mine:\n"
        "    kind = DepthKind.METRIC\n"
        "    def predict(self, image, size=None):\n"
        "        return DepthMap(np.ones((3, 3)), self.kind)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "keendepth", "doctor", "--load", str(own)], capture_output=True, text=True, check=False
    )
    assert "mine-wrong" in done.stdout
    assert "(3, 3)" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")
def test_ctrl_c_leaves_no_half_file_and_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(12):
        (tmp_path / "in" / f"{index:02}.png").write_bytes(COFFEE.read_bytes())
    command = [
        sys.executable,
        "-m",
        "keendepth",
        "depth",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "--save",
        "npz",
    ]
    # A job in the background of a shell ignores Ctrl-C, and so would what it starts.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    while not list((tmp_path / "out").glob("*.npz")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "Traceback" not in message
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert all(name.endswith((".npz", ".npz.json")) for name in names)
    for path in (tmp_path / "out").glob("*.npz"):
        keendepth.read(path)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert len(list((tmp_path / "out").glob("*.npz"))) == 12
