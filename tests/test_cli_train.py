"""The commands that make networks, as a person uses them: stores, runs, exports, and what is said when something is wrong."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image as Pillow
from typer.testing import CliRunner

from keendepth import predictors
from keendepth.cli import storing, train, watch
from keendepth.core.registry import Registry
from keendepth.data.store import Store
from keendepth.nn import checkpoint
from keendepth.training import methods
from keendepth.training.fit import Moment
from keendepth.training.methods import trained
from keendepth.training.runs import Run, RunError
from toy_recipe import Method

QUICK = ("--preset", "smoke", "--set", "threads=1", "--set", "steps=4", "--set", "log_every=2")


@pytest.fixture
def shelf(monkeypatch):
    """The registry of recipes with the toy alone."""
    shelf = Registry("recipe")
    shelf.register("toy", summary="learns to blur", license="MIT", paper="none")(Method)
    monkeypatch.setattr(methods, "recipes", shelf)
    return shelf


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a.png", "sub/b.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(path)
    return tmp_path / "photos"


def call(*arguments, code=0):
    app = typer.Typer(pretty_exceptions_enable=False)
    train.register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def test_photos_become_a_store(tmp_path, photos):
    (photos / "broken.png").write_bytes(b"no picture")
    out = call(
        "store", photos, "-o", tmp_path / "s", "--model", "toy", "--sizes", "16", "2x", "--longest", "30", code=1
    )
    assert "failed   broken.png: " in out
    assert "2 made, 0 were there, 1 failed" in out
    store = Store.open(tmp_path / "s")
    assert store.ids == ["a.png", "sub/b.jpg"]
    assert store.maps == ("low", "high")
    rgb = store.arrays("a.png")["rgb"]
    assert (rgb.shape, rgb.dtype) == ((20, 30, 3), np.uint8)
    low, high = store.get("a.png", "low"), store.get("a.png", "high")
    assert low.size == high.size == (20, 30)
    toy = predictors.registry.build("toy")
    from keendepth.core.types import Image

    shape = (2 / 3) ** 0.5
    for depth, side in ((low, 16), (high, 128)):
        expected = toy.predict(Image(rgb), (round(side * shape), round(side / shape)))
        np.testing.assert_array_equal(depth.values, expected.values)
    (photos / "broken.png").unlink()
    assert "0 made, 2 were there" in call(
        "store", photos, "-o", tmp_path / "s", "--model", "toy", "--sizes", "16", "2x", "--longest", "30"
    )
    again = call(
        "store", photos, "-o", tmp_path / "s", "--model", "toy", "--sizes", "16", "3x", "--longest", "30", code=2
    )
    assert "other settings" in again


def test_rendered_scenes_become_a_store_with_their_truth(tmp_path):
    pytest.importorskip("numba")
    from keendepth.data import synthetic

    arguments = ("-o", tmp_path / "s", "--model", "toy", "--scene-size", "12x16", "--json")
    assert json.loads(call("store", "synthetic:room:3-4", *arguments))["made"] == 2
    assert json.loads(call("store", "synthetic:room:3-5", "synthetic:thin:0-0", *arguments)) == {
        "made": 2, "kept": 2, "failed": {},
    }  # fmt: skip
    store = Store.open(tmp_path / "s")
    assert store.ids == ["room-000003", "room-000004", "room-000005", "thin-000000"]
    assert store.maps == ("low", "high", "truth")
    (frame,) = synthetic.render(4, (12, 16), "room")
    np.testing.assert_array_equal(store.get("room-000004", "truth").values, frame.depth.values)
    np.testing.assert_array_equal(store.arrays("room-000004")["rgb"], frame.image.rgb)
    assert store.get("room-000004", "truth").camera == frame.depth.camera


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.jpg"], "no such file"),
        (["synthetic:room:0-3", "{photos}"], "a store each"),
        (["synthetic:attic:0-3"], "a kind of room, street"),
        (["synthetic:room:5-3"], "FIRST-LAST"),
        (["{photos}", "--sizes", "native", "big"], "expected native"),
        (["{photos}", "--model", "toy+median"], "leave the refiners out"),
        (["{photos}", "--model", "toi"], "did you mean toy"),
        (["{photos}", "--scene-size", "12"], "expected HxW"),
    ],
)
def test_what_cannot_be_stored_is_said(tmp_path, photos, arguments, expected):
    given = [argument.format(photos=photos) for argument in arguments]
    out = call("store", *given, "-o", tmp_path / "s", *([] if "--model" in given else ["--model", "toy"]), code=2)
    assert expected in out
    assert not (tmp_path / "s").exists()


def test_two_photos_of_one_name(tmp_path, photos):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes((photos / "a.png").read_bytes())
    assert "two photos are called a.png" in call("store", photos, other, "-o", tmp_path / "s", "--model", "toy", code=2)


def test_a_model_that_fails_on_all_is_no_empty_store(tmp_path, photos):
    toy = predictors.registry.build("toy")

    class Broken:
        card, kind = toy.card, toy.kind

        def predict(self, image, size=None):
            raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        storing.make_store(storing.pictures([str(photos)], 30, (1, 1), 4), ("x", Broken()), ("8", "16"), tmp_path / "s")


def test_sizes_to_predict_at():
    toy = predictors.registry.build("toy")
    assert storing.processing_size("native", toy, (30, 40)) is None
    assert storing.processing_size("30x50", toy, (30, 40)) == (30, 50)
    assert storing.processing_size("448", toy, (100, 100)) == (448, 448)
    assert storing.processing_size("1.5x", toy, (100, 400)) == (48, 192)


@pytest.mark.usefixtures("shelf")
def test_training_and_going_on(tmp_path):
    out = call("train", "toy", "-o", tmp_path / "a", *QUICK, "--set", "channels=4")
    assert "step 4/4  square " in out
    assert "s/step, 0:00:0" in out
    assert "step 0/4  validation: error" in out
    assert "4 steps" in out
    report = (tmp_path / "a/report.md").read_text()
    assert "pictures: noise" in report
    assert "summary: learns to blur" in report
    assert "channels = 4" in (tmp_path / "a/config.toml").read_text()
    assert "--resume" in call("train", "toy", "-o", tmp_path / "a", *QUICK, "--set", "channels=4", code=2)
    out = call("train", "toy", "-o", tmp_path / "a", *QUICK, "--resume", code=2)
    assert "toy.channels (4 there, 6 now)" in out
    longer = ("--set", "channels=4", "--set", "steps=6", "--resume", "--accept-changes", "--json")
    out = call("train", "toy", "-o", tmp_path / "a", *QUICK, *longer)
    found = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert (found["step"], found["finished"]) == (6, True)
    assert found["best"]["figures"]["error"] > 0


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tooy"], "did you mean toy"),
        (["toy", "--set", "chanels=3"], "did you mean channels"),
        (["toy", "--set", "toy.chanels=3"], "[toy] has no key 'chanels'"),
        (["toy", "--set", "amp=fp32"], "one of no, bf16, fp16"),
        (
            ["toy", "--preset", "smok"],
            "shipped: cpu, gpu, onestep-",
        ),
    ],
)
def test_mistakes_end_in_one_clear_line(tmp_path, arguments, expected):
    out = call("train", *arguments, "-o", tmp_path / "a", code=2)
    assert expected in out
    assert len(out.strip().splitlines()) == 1
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("shelf")
def test_a_run_is_exported(tmp_path):
    import onnxruntime

    call("train", "toy", "-o", tmp_path / "a", *QUICK)
    assert "weights of step 4; parity" in call("export", tmp_path / "a", "-o", tmp_path / "out/m.onnx")
    rgb = torch.rand(1, 3, 20, 28)
    recipe, step = trained(tmp_path / "a")
    assert step == 4
    assert recipe.student.state_dict().keys() == checkpoint.load(tmp_path / "a/student.safetensors")[0].keys()
    (found,) = onnxruntime.InferenceSession(tmp_path / "out/m.onnx").run(None, {"rgb": rgb.numpy()})
    np.testing.assert_allclose(found, recipe.student(rgb).detach().numpy(), atol=1e-5)
    assert "must end in .onnx" in call("export", tmp_path / "a", "-o", tmp_path / "m.pt", code=2)
    assert "no config.toml" in call("export", tmp_path, "-o", tmp_path / "m.onnx", code=2)
    (tmp_path / "a/student.safetensors").unlink()
    with pytest.raises(RunError, match="with the first checkpoint"):
        trained(tmp_path / "a")


@pytest.mark.usefixtures("shelf")
def test_distilling_is_the_steps_in_order(tmp_path, photos):
    arguments = ("distil", photos, "-o", tmp_path / "d", "--recipe", "toy", "--model", "toy", "--longest", "30", *QUICK)
    out = call(*arguments)
    assert "store: 2 made" in out
    assert f"keendepth bench --model toy+toy:{tmp_path / 'd/run'}" in out
    assert len(Store.open(tmp_path / "d/store")) == 2
    assert (tmp_path / "d/run/model.onnx").is_file()
    assert "store: 0 made, 2 were there" in call(*arguments)  # again: nothing is left to do


@pytest.mark.usefixtures("shelf")
def test_the_seed_of_the_options_decides_the_first_weights(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(hash(name) % 100)
        methods.train(Run(tmp_path / name, "toy"), ["smoke"], ["steps=1", f"seed={seed}", "threads=1"])
    a, b, c = (checkpoint.load(tmp_path / name / "student.safetensors")[0]["layers.0.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_on_a_terminal_there_is_a_bar(capsys):
    with watch.watching(terminal=True) as show:
        show(Moment(1, 10, {"square": 0.5}, seconds=60.0))
        show(Moment(2, 10, {"square": 0.25}, seconds=600.0, logged=True))
        show(Moment(2, 10, figures={"error": 1.0}, logged=True))
        show(Moment(2, 10, note="SIGINT: saving [now]"))
    err = capsys.readouterr().err
    for part in ("600 s/step, 1:20:00 left", "square 0.25", "validation: error 1", "saving [now]"):
        assert part in err
    with watch.watching(quiet=True) as show:
        show(Moment(2, 10, note="x"))
    assert capsys.readouterr().err == ""


LOADED = """
import sys, time
sys.path.insert(0, {tests!r})
import toy_recipe
from keendepth.training import register

class Slow(toy_recipe.Noise):
    def batch(self, number):
        time.sleep(0.02)
        return super().batch(number)

@register("slow-toy", summary="s", license="MIT")
class Method(toy_recipe.Method):
    def plan(self, options, fit, data):
        return toy_recipe.Plan(self.recipe(options), Slow(fit.batch_size, fit.seed))
"""


def test_ctrl_c_saves_and_the_exit_code_says_so(tmp_path):
    (tmp_path / "slow.py").write_text(LOADED.format(tests=str(Path(__file__).parent)))
    code = textwrap.dedent("""
        import typer
        from keendepth.cli import train
        app = typer.Typer(pretty_exceptions_enable=False)
        train.register(app)
        app()
    """)
    arguments = [
        "train",
        "slow-toy",
        "-o",
        str(tmp_path / "a"),
        "--load",
        str(tmp_path / "slow.py"),
        "--preset",
        "smoke",
    ]
    command = [sys.executable, "-c", code, *arguments, "--set", "steps=100000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(train.__file__).parents[2])}
    running = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
    until = time.monotonic() + 60
    while not (tmp_path / "a/log.jsonl").is_file() or not (tmp_path / "a/log.jsonl").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=60)[1]
    assert running.returncode == 130, error
    assert "SIGINT: saving after this step" in error
    assert "The same command with --resume goes on from here" in error
    step = torch.load(tmp_path / "a/last.pt", weights_only=True)["step"]
    assert f"stopped at step {step}" in error
