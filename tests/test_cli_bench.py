"""`keendepth bench`, `score`, `corrupt` and `stability`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image as PillowImage
from typer.testing import CliRunner

from keendepth import io
from keendepth.cli import bench as commands
from keendepth.core.types import DepthKind, DepthMap


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    commands.register(made)
    return made


def run(app: typer.Typer, *words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def plain(text: str) -> str:
    """Without the line breaks and borders that a narrow terminal makes."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """A prediction 10 % too deep, and the truth; metres as npz, and the truth as KITTI's PNG."""
    rng = np.random.default_rng(0)
    truth = DepthMap(rng.uniform(2, 60, (40, 60)).astype(np.float32), DepthKind.METRIC)
    pred, gt = tmp_path / "pred.npz", tmp_path / "gt.npz"
    io.write(pred, truth.with_values(truth.values * np.float32(1.1)))
    io.write(gt, truth)
    codes = np.rint(truth.values * 256).astype(np.uint16)
    codes[:5] = 0
    PillowImage.fromarray(codes).save(tmp_path / "gt_kitti.png")
    return pred, gt


def scored(app, *words) -> list[dict]:
    return json.loads(run(app, "score", *words, "--json"))


def test_score_of_a_known_error(app, files):
    pred, gt = files
    (found,) = scored(app, pred, gt)
    assert found["figures"]["abs_rel"] == pytest.approx(0.1, abs=1e-6)
    assert found["figures"]["delta1"] == 1
    assert found["protocol"]["alignment"] == "none"
    assert len(found["protocol"]["hash"]) == 10
    assert found["figures"]["fscore_05cm"] is None  # no camera: strict JSON has no NaN


@pytest.mark.parametrize(
    ("align", "name"), [("scale", "scale"), ("affine", "scale_shift"), ("median", "median"), ("disparity", "disparity")]
)
def test_score_forgives_what_align_says(app, files, align, name):
    (found,) = scored(app, *files, "--align", align)
    assert found["figures"]["abs_rel"] < 1e-5
    assert found["protocol"]["alignment"] == name


def test_score_cascade_and_sharpness(app, files):
    found = scored(app, *files, "--align", "cascade", "--sharpness")
    names = [(one["protocol"]["family"], one["protocol"]["alignment"]) for one in found]
    assert names == [
        *(("accuracy", n) for n in ("none", "scale", "median", "scale_shift", "disparity")),
        ("sharpness", "none"),
    ]
    assert found[-1]["figures"]["boundary_f1"] == pytest.approx(1)


def test_score_reads_foreign_units_caps_and_crops(app, files, tmp_path):
    pred, gt = files
    (found,) = scored(
        app,
        pred,
        tmp_path / "gt_kitti.png",
        "--gt-convention",
        "kitti",
        "--cap",
        "0.001..30",
        "--crop",
        "garg",
        "--clip",
    )
    truth = io.read(gt).values
    inside = np.zeros((40, 60), bool)
    inside[16:39, 2:57] = True
    assert found["figures"]["pixels"] == (inside & (truth <= 30)).sum()
    assert found["protocol"]["crop"] == "kitti-garg"
    assert found["protocol"]["cap"] == [0.001, 30.0]
    millimetres = tmp_path / "mm.npy"
    np.save(millimetres, truth * 1000)
    (found,) = scored(app, millimetres, gt, "--pred-units", "mm")
    assert found["figures"]["abs_rel"] < 1e-6


def test_score_takes_disparity_of_another_size(app, files, tmp_path):
    inverse = np.linspace(0.1, 0.5, 40, dtype=np.float32)[:, None].repeat(60, 1)
    io.write(tmp_path / "smooth.npz", DepthMap(1 / inverse, DepthKind.METRIC))
    np.save(tmp_path / "midas.npy", 70 * np.kron(inverse, np.ones((2, 2), np.float32)) + 3)
    (found,) = scored(app, tmp_path / "midas.npy", tmp_path / "smooth.npz", "--pred-units", "disparity")
    assert found["protocol"]["alignment"] == "disparity"
    assert found["figures"]["abs_rel"] < 0.005


def test_score_for_people(app, files):
    out = plain(run(app, "score", *files, "--cap", "80"))
    assert "abs_rel" in out
    assert "0.1000" in out
    assert "protocol " in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--align", "magic"], "unknown name 'magic'"),
        (["--cap", "far"], "expected metres as 80 or 0.001..80"),
        (["--crop", "moon"], "crop: expected one of none"),
        (["--pred-units", "miles"], "expected one of m, mm"),
        (["--clip"], "give a cap"),
    ],
)
def test_score_says_what_is_wrong(app, files, words, message):
    assert message in plain(run(app, "score", *files, *words, code=2))


def test_score_of_a_file_that_is_not_there(app, files, tmp_path):
    assert "keendepth:" in run(app, "score", tmp_path / "none.npz", files[1], code=2)


# bench


def test_bench_smoke_then_again(app, tmp_path):
    out = run(app, "bench", "bench-smoke", "-o", tmp_path, "--limit", 2, "--model", "toy", "--model", "toy+median")
    assert "toy+median" in out
    assert "report.md" in plain(out)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "predictions").rglob("*.npz")}
    assert len(stored) == 4
    found = json.loads(
        run(app, "bench", "smoke", "-o", tmp_path, "--limit", 2, "--model", "toy", "--model", "toy+median", "--json")
    )
    assert stored == {path: path.stat().st_mtime_ns for path in stored}
    assert [table["protocol"]["alignment"] for table in found["tables"]] == ["scale_shift", "scale_shift"]
    assert found["robustness"][0]["models"]["toy"]["mCE"]["mean"] == pytest.approx(100)
    run(app, "bench", "bench-smoke", "-o", tmp_path, "--limit", 2, "--model", "toy", "--fresh")
    assert len(list((tmp_path / "predictions").rglob("*.npz"))) == 2


def test_bench_runs_a_users_file_with_a_users_data_set_and_metric(app, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from keendepth.data import register\n"
        "from keendepth.evaluation.rendered import Boxes\n"
        "from keendepth.evaluation.scoring import METRICS, Figure, Metric, arrays\n"
        "register('test-cli-boxes', summary='', license='')(lambda: Boxes(1, (48, 64), 5))\n"
        "def score(p, g):\n"
        "    p, g = arrays(p, g)\n"
        "    return {'test_worst': float(abs(p / g - 1).max())}\n"
        "METRICS.register('test-cli-worst', summary='', license='')(\n"
        "    lambda: Metric(score, {'test_worst': Figure('lower', '1', 'largest relative error')}, 'accuracy'))\n"
    )
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[benchmark]\nname = "mine"\nmodels = ["toy"]\nworst = 0\n[[dataset]]\nname = "test-cli-boxes"\nfamilies = ["accuracy"]\n'
    )
    from keendepth import data
    from keendepth.evaluation import METRICS

    try:
        run(app, "bench", plan, "-o", tmp_path / "out", "--load", mine)
    finally:  # the registries are shared with the other tests
        data.registry._entries.pop("test-cli-boxes", None)
        METRICS._entries.pop("test-cli-worst", None)
    assert "`test_worst` | lower" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_bench_on_real_pairs(app, tmp_path, shared):
    words = ("bench", "bench-real", "--data", shared / "data", "-o", tmp_path, "--limit", 1, "--model", "toy", "--json")
    found = json.loads(run(app, *words))
    titles = {table["title"] for table in found["tables"]}
    assert {"NYUv2", "KITTI", "ETH3D two-view", "Middlebury Motorcycle"} <= titles
    assert list(found["left_out"]) == [
        "toy on Middlebury Aloe, Adirondack, Cones"
    ]  # affine z cannot be fitted to disparity


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench-moon"], "presets: bench-all"),
        (["bench-real"], "say where with --data"),
        (["bench-smoke", "--model", "indoor-smal"], "indoor-small"),
        (["bench-real", "--data", "/nowhere-at-all"], "NYUv2: "),
    ],
)
def test_bench_says_what_is_wrong(app, tmp_path, words, message):
    assert message in plain(run(app, "bench", *words, "-o", tmp_path, code=2))


def test_bench_does_not_write_over_a_file(app, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "is a file" in run(app, "bench", "bench-smoke", "-o", tmp_path / "file", code=2)


# corrupt and stability


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "trip/b.png"):
        blocks = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        PillowImage.fromarray(blocks).save(folder / name)
    return folder


def pixels(path: Path) -> np.ndarray:
    with PillowImage.open(path) as picture:
        return np.asarray(picture)


def test_corrupt_writes_png_for_each_type_and_severity(app, photos, tmp_path):
    out = tmp_path / "out"
    run(app, "corrupt", photos, "-o", out, "--type", "fog,dark", "--type", "jpeg_compression", "--severity", "1..2")
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert names == [
        f"{stem}.{kind}-{level}.png" for stem in ("a", "trip/b") for kind in ("dark", "fog", "jpeg") for level in (1, 2)
    ]
    clean = pixels(photos / "a.png").astype(float)
    changes = [np.abs(pixels(out / f"a.dark-{level}.png") - clean).mean() for level in (1, 2)]
    assert 0 < changes[0] < changes[1]
    before = (out / "a.fog-1.png").read_bytes()
    assert "skipped" in run(app, "corrupt", photos, "-o", out, "--type", "fog,dark,jpeg", "--severity", "1,2")
    run(app, "corrupt", photos / "a.png", "-o", out, "--type", "fog", "--severity", 1, "--overwrite")
    assert (out / "a.fog-1.png").read_bytes() == before
    run(app, "corrupt", photos / "a.png", "-o", out, "--type", "fog", "--severity", 1, "--overwrite", "--seed", 1)
    assert (out / "a.fog-1.png").read_bytes() != before


def test_corrupt_with_depth_puts_more_fog_where_it_is_far(app, photos, tmp_path):
    depth = np.full((48, 64), 2.0, np.float32)
    depth[:, 32:] = 500.0
    io.write(tmp_path / "d.npz", DepthMap(depth, DepthKind.METRIC))
    run(
        app,
        "corrupt",
        photos / "a.png",
        "-o",
        tmp_path,
        "--type",
        "fog-depth",
        "--severity",
        3,
        "--depth",
        tmp_path / "d.npz",
    )
    spread = pixels(tmp_path / "a.fog_depth-3.png").std(axis=(0, 1)).mean()
    halves = pixels(tmp_path / "a.fog_depth-3.png")
    assert halves[:, 32:].std() < halves[:, :32].std()
    assert spread > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--type", "fogg"], "did you mean fog"),
        (["--severity", "6"], "from 1 to 5"),
        (["--severity", "heavy"], "from 1 to 5"),
        (["--depth", "d.npz"], "of one photo"),
    ],
)
def test_corrupt_says_what_is_wrong(app, photos, tmp_path, words, message):
    assert message in plain(run(app, "corrupt", photos, "-o", tmp_path / "out", *words, code=2))


def test_stability_needs_no_truth(app, photos):
    words = ("stability", photos, "--model", "toy", "--model", "toy+median", "--type", "dark,jpeg", "--severity", "1,5")
    found = json.loads(run(app, *words, "--json"))
    assert list(found) == ["toy", "toy+median"]
    toy = found["toy"]
    assert len(toy["changes"]) == toy["all"]["count"] == 2 * 2 * 2
    assert toy["all"]["drift"]["mean"] is None  # toy knows no metres
    assert toy["by_type"]["dark"]["error"]["mean"] > 0
    light, heavy = (c["error"] for c in toy["changes"] if c["type"] == "dark" and c["image"].endswith("a.png"))
    assert light < heavy
    text = plain(run(app, *words, "--limit", 1))
    assert "on 1 of 2 photos" in text
    assert "Steady is not right" in text


def test_stability_of_an_empty_folder(app, tmp_path):
    assert "no photo found" in plain(run(app, "stability", tmp_path, code=2))
