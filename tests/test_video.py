"""Clips in, depth out: odd files get a right answer or one clear line, a stopped run goes on with the same bytes, memory stays level."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import keendepth
from keendepth.cli.batch import CLIP_SAVED
from keendepth.cli.commands import app, split_lists
from keendepth.core.types import Card, DepthKind, DepthMap, Image
from keendepth.io import FileError
from keendepth.io import video as clips
from keendepth.pipeline import Pipeline
from keendepth.temporal import Steadiness
from keendepth.video import Progress, Settings, convert, outputs, steady
from made_clip import shots

av = pytest.importorskip("av", reason="needs PyAV: pip install keendepth[video]")

ALL = ("mp4", "png16", "exr", "npz")


class Rough:
    """Depth by rule of thumb that flickers with the picture's mean: nearer down the picture."""

    kind = DepthKind.METRIC
    card = Card("rough", "", "", kind=DepthKind.METRIC)

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        h, w = image.size
        level = 1 + 0.2 * np.sin(image.rgb.mean())
        return DepthMap(np.tile(np.linspace(6, 1, h)[:, None] * level, (1, w)), self.kind, image.camera, self.card)


class Relative(Rough):
    """The same without a unit."""

    kind = DepthKind.DISPARITY


ROUGH = Pipeline("rough", Rough())


def film(path: Path, pictures: list[np.ndarray], codec: str = "libx264", pix_fmt: str = "yuv420p", **more: Any) -> Path:
    """A clip of 25 frames a second; `times` (in 1/25 s) makes the rate vary, `turn` is the rotation in the file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pix_fmt
        if "turn" in more:
            stream.set_display_rotation(more["turn"])
        if "shape" in more:
            stream.codec_context.sample_aspect_ratio = more["shape"]
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[-1] == 4 else "rgb24")
            frame.pts, frame.time_base = more.get("times", range(1000))[k], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pictures(count: int = 6, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    return [shot.image.rgb for shot in shots(count, size)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return film(tmp_path / "clip.mp4", pictures(10))


def read(path: Path) -> list[clips.ClipFrame]:
    return list(clips.frames(clips.open_clip(path)))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def last(steps: Iterator[Progress]) -> Progress:
    (end,) = deque(steps, maxlen=1)
    return end


# Reading


def test_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", pictures(4), "ffv1", "bgr0", times=[0, 1, 5, 6])
    found = read(path)
    assert [frame.number for frame in found] == [0, 1, 2, 3]
    assert [frame.ticks for frame in found] == [0, 3600, 18000, 21600]
    for frame, picture in zip(found, pictures(4), strict=True):
        assert np.array_equal(frame.image.rgb, picture)
    assert [frame.number for frame in clips.frames(clips.open_clip(path), start=2)] == [2, 3]
    assert [frame.number for frame in clips.frames(clips.open_clip(path), wanted=[1, 3])] == [1, 3]


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (-90, 3), (180, 2)])
def test_rotation_in_the_file_is_applied(tmp_path: Path, turn: int, quarters: int) -> None:
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotation")
    (upright,) = (frame.image.rgb for frame in read(film(tmp_path / "a.mp4", pictures(1), turn=turn)))
    expected = np.rot90(pictures(1)[0], quarters)
    assert upright.shape == expected.shape
    assert np.abs(upright.astype(float) - expected).mean() < 12


def test_odd_sizes_grey_alpha_and_pixel_shape(tmp_path: Path) -> None:
    odd = read(film(tmp_path / "odd.mkv", pictures(2, (37, 51)), "ffv1", "bgr0"))
    assert odd[0].image.size == (37, 51)
    grey = read(film(tmp_path / "grey.mkv", pictures(2), "ffv1", "gray"))[0].image.rgb
    assert np.array_equal(grey[..., 0], grey[..., 2])
    picture = np.dstack([pictures(1)[0], np.zeros((48, 64), np.uint8)])
    clear = read(film(tmp_path / "alpha.mkv", [picture], "ffv1", "bgra"))[0].image.rgb
    assert (clear == 255).all()
    wide = read(film(tmp_path / "wide.mp4", pictures(1), shape=Fraction(2)))
    assert wide[0].image.size == (48, 128)


def test_frames_of_another_size_follow_the_first(tmp_path: Path) -> None:
    film(tmp_path / "a.ts", pictures(3), "mpeg2video")
    film(tmp_path / "b.ts", pictures(3, (96, 128)), "mpeg2video")
    (tmp_path / "both.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    found = read(tmp_path / "both.ts")
    assert len(found) >= 5
    assert {frame.image.size for frame in found} == {(48, 64)}
    assert np.diff([frame.ticks for frame in found]).min() > 0


def bad_file(folder: Path, what: str) -> Path:
    path = folder / f"{what}.mp4"
    good = film(folder / "good.mp4", pictures(3)).read_bytes()
    if what == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return path
    data = {
        "empty": b"",
        "text": b"no film at all\n" * 50,
        "cut": good[:-200],
        "list": b"ffconcat version 1.0\nfile good.mp4\n",
    }
    path.write_bytes(data[what])
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("empty", "empty"),
        ("text", "a video"),
        ("cut", "damaged"),
        ("list", "list of other files"),
        ("sound", "no moving picture"),
    ],
)
def test_a_bad_file_gets_one_clear_line(tmp_path: Path, what: str, said: str) -> None:
    path = bad_file(tmp_path, what)
    result = CliRunner().invoke(app, ["video", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if str(path) in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert not list((tmp_path / "out").rglob("*.*")) if (tmp_path / "out").exists() else True


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        clips.open_clip(tmp_path / "none.mp4")
    with pytest.raises(FileError, match="found a folder"):
        clips.open_clip(tmp_path)


def test_without_pyav_the_way_out_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FileError, match=r"pip install 'keendepth\[video\]'"):
        clips.open_clip(clip)


def test_a_clip_that_breaks_off_is_done_as_far_as_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = film(tmp_path / "whole.mkv", pictures(12), "mpeg4").read_bytes()
    path = tmp_path / "part.mkv"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    end = last(convert(path, tmp_path / "out", Settings(save=("png16",)), ROUGH))
    assert 1 <= end.facts["frames"] < 12
    assert len(list((tmp_path / "out" / "part.png16").iterdir())) == end.facts["frames"]


def test_no_frame_at_all(tmp_path: Path) -> None:
    path = tmp_path / "none.avi"
    whole = bytearray(film(tmp_path / "some.avi", pictures(2), "mpeg4").read_bytes())
    start = whole.index(b"movi")
    path.write_bytes(whole[: start + 4])
    with pytest.raises(FileError, match=r"no frame of it can be decoded|damaged|no moving picture"):
        last(convert(path, tmp_path / "out", Settings(save=("png16",)), ROUGH))


# Converting


def test_everything_asked_for_is_made_and_opens(clip: Path, tmp_path: Path) -> None:
    steps = list(convert(clip, tmp_path / "out", Settings(save=ALL, fov=70.0), ROUGH))
    assert [step.done for step in steps if step.stage == "depth"] == list(range(1, 11))
    assert all(step.picture is not None for step in steps if step.stage == "depth")
    end = steps[-1]
    assert {path.name for path in end.files} == {
        "clip.depth.mp4", "clip.png16", "clip.exr", "clip.npz", "clip.frames.jsonl", "clip.video.json"
    }  # fmt: skip
    for name in ("png16", "exr", "npz"):
        suffix = outputs.SUFFIXES[name]
        files = sorted((tmp_path / "out" / f"clip.{name}").iterdir())
        assert [file.name for file in files] == [f"{k:06d}{suffix}" for k in range(10)]
        depth = keendepth.read(files[3])
        assert depth.kind is DepthKind.METRIC
        assert depth.camera.fov_degrees == pytest.approx(70)
    exr, png = (
        keendepth.read(tmp_path / "out" / f"clip.{n}" / f"000007.{s}") for n, s in (("exr", "exr"), ("png16", "png"))
    )
    np.testing.assert_allclose(exr.values, png.values, atol=0.00051)
    facts = json.loads((tmp_path / "out" / "clip.video.json").read_text())
    assert (facts["frames"], facts["kind"], facts["camera"]["source"]) == (10, "metric", "given")
    assert len((tmp_path / "out" / "clip.frames.jsonl").read_text().splitlines()) == 10
    assert not list((tmp_path / "out").glob(".*"))


def test_the_film_has_the_clips_times_and_even_sides(tmp_path: Path) -> None:
    path = film(tmp_path / "vary.mkv", pictures(5, (37, 51)), "ffv1", "bgr0", times=[0, 1, 4, 5, 20])
    last(convert(path, tmp_path / "out", Settings(save=("mp4",)), ROUGH))
    shown = read(tmp_path / "out" / "vary.depth.mp4")
    assert [frame.ticks for frame in shown] == [0, 3600, 14400, 18000, 72000]
    assert shown[0].image.size == (38, 110)


def test_colours_mean_the_same_in_every_frame(tmp_path: Path) -> None:
    """Two halves of a clip at different depths: each by itself would fill the colour map."""
    dark, bright = np.full((48, 64, 3), 10, np.uint8), np.full((48, 64, 3), 12, np.uint8)
    path = film(tmp_path / "a.mkv", [dark] * 20 + [bright] * 20, "ffv1", "bgr0")
    settings = Settings(save=("exr", "mp4"), steadiness=None)
    seen = [step.picture[:, -64:] for step in convert(path, tmp_path / "out", settings, ROUGH) if step.stage == "depth"]
    plan = json.loads((tmp_path / "out" / "a.video.json").read_text())
    maps = [keendepth.read(tmp_path / "out" / "a.exr" / f"{k:06d}.exr") for k in (0, 30)]
    from keendepth import viz

    assert not np.array_equal(seen[0], seen[30])
    for k, depth in zip((0, 30), maps, strict=True):
        assert np.array_equal(seen[k], viz.colourise(depth, between=tuple(plan["colours"])))


def test_codes_of_relative_depth_mean_the_same_in_every_frame(clip: Path, tmp_path: Path) -> None:
    last(convert(clip, tmp_path / "out", Settings(save=("png16", "npz")), Pipeline("relative", Relative())))
    encodings = set()
    for k in range(10):
        png, npz = (tmp_path / "out" / f"clip.{n}" / f"{k:06d}.{s}" for n, s in (("png16", "png"), ("npz", "npz")))
        a, b = keendepth.read(png), keendepth.read(npz)
        from PIL import Image as PillowImage

        with PillowImage.open(png) as picture:
            encodings.add(json.dumps(json.loads(picture.text["keendepth"])["encoding"]))
        np.testing.assert_allclose(a.values, b.values, atol=2e-4)
    assert len(encodings) == 1


def test_flicker_is_gone_and_frame_by_frame_keeps_it(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", pictures(12), "ffv1", "bgr0")

    def unrest(steadiness: Steadiness | None, out: str) -> float:
        last(convert(path, tmp_path / out, Settings(save=("npz",), steadiness=steadiness), ROUGH))
        level = [np.log(np.median(keendepth.read(p).values)) for p in sorted((tmp_path / out / "a.npz").iterdir())]
        return float(np.abs(np.diff(level)).mean())

    assert unrest(Steadiness(), "held") < 0.5 * unrest(None, "raw")


def test_steady_takes_frames_and_is_lazy() -> None:
    taken = []

    def source() -> Iterator[Image]:
        for k, picture in enumerate(pictures(3)):
            taken.append(k)
            yield Image(picture)

    made = steady(source(), ROUGH)
    assert taken == []
    assert next(made).size == (48, 64)
    assert taken == [0]
    assert len(list(made)) == 2


# Stopping and going on


@pytest.mark.parametrize("stop", [1, 4, 5, 9, 10, 11])
def test_a_stopped_run_goes_on_with_the_same_bytes(
    clip: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "PIECE", 4)
    settings = Settings(save=ALL)
    last(convert(clip, tmp_path / "whole", settings, ROUGH))
    run = convert(clip, tmp_path / "broken", settings, ROUGH)
    for _ in range(stop):  # the look at the beginning, then frames
        next(run)
    run.close()
    place = tmp_path / "broken"
    (place / "clip.png16" / ".000009.png.0123456789ab.tmp").write_bytes(b"half")  # what kill -9 leaves
    (place / ".clip.video" / ".state.npz.0123456789ab.tmp").write_bytes(b"half")
    if stop < 11:
        (place / "clip.exr" / "000009.exr").write_bytes(b"old")  # beyond what is noted as done
    steps = list(convert(clip, place, settings, ROUGH))
    assert [step.done for step in steps if step.stage == "depth"] == list(range(stop, 11))
    assert contents(place) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_process_leaves_whole_files_and_the_next_one_ends_alike(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4", pictures(150))
    command = [sys.executable, "-m", "keendepth", "video", str(path), "--model", "toy", "--save", "png16,mp4", "-o"]
    assert subprocess.run([*command, str(tmp_path / "whole")], check=False).returncode == 0
    first = subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    folder = tmp_path / "killed" / "long.png16"
    until = time.monotonic() + 60
    while time.monotonic() < until and len(list(folder.glob("0*.png"))) < 10:
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert not (tmp_path / "killed" / "long.video.json").exists(), "too quick to be killed: make the clip longer"
    for file in folder.glob("0*.png"):
        keendepth.read(file)
    assert subprocess.run([*command, str(tmp_path / "killed")], check=False).returncode == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_done_is_skipped_and_other_settings_are_an_error(clip: Path, tmp_path: Path) -> None:
    settings = Settings(save=("png16",))
    last(convert(clip, tmp_path / "out", settings, ROUGH))
    before = contents(tmp_path / "out")
    (only,) = convert(clip, tmp_path / "out", settings, ROUGH)
    assert only.stage == "skipped"
    with pytest.raises(FileError, match=r"strength 1\.0 instead of 0\.5"):
        last(convert(clip, tmp_path / "out", Settings(save=("png16",), strength=0.5), ROUGH))
    assert contents(tmp_path / "out") == before
    last(convert(clip, tmp_path / "out", Settings(save=("npz",), overwrite=True), ROUGH))
    assert not (tmp_path / "out" / "clip.png16").exists()


def test_a_stopped_run_with_other_settings_is_not_mixed(clip: Path, tmp_path: Path) -> None:
    run = convert(clip, tmp_path / "out", Settings(save=("png16",)), ROUGH)
    for _ in range(3):
        next(run)
    run.close()
    other = Settings(save=("png16",), steadiness=None)
    with pytest.raises(FileError, match="a run was stopped here"):
        last(convert(clip, tmp_path / "out", other, ROUGH))
    end = last(convert(clip, tmp_path / "out", Settings(save=("png16",), steadiness=None, overwrite=True), ROUGH))
    assert end.facts["frames"] == 10


def test_another_clip_of_the_same_name_leaves_no_old_frames(clip: Path, tmp_path: Path) -> None:
    settings = Settings(save=("png16",))
    last(convert(clip, tmp_path / "out", settings, ROUGH))
    film(clip, pictures(4))
    with pytest.raises(FileError, match="another clip of this name"):
        last(convert(clip, tmp_path / "out", settings, ROUGH))
    last(convert(clip, tmp_path / "out", Settings(save=("png16",), overwrite=True), ROUGH))
    assert len(list((tmp_path / "out" / "clip.png16").iterdir())) == 4


def test_files_of_others_are_not_touched(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "clip.png16"
    folder.mkdir(parents=True)
    (folder / "notes.png").write_bytes(b"mine")
    with pytest.raises(FileError, match="is there already"):
        last(convert(clip, tmp_path / "out", Settings(save=("png16",)), ROUGH))
    last(convert(clip, tmp_path / "out", Settings(save=("png16",), overwrite=True), ROUGH))
    assert (folder / "notes.png").read_bytes() == b"mine"


def test_the_clip_itself_is_never_overwritten(clip: Path) -> None:
    before = clip.read_bytes()
    last(convert(clip, clip.parent, Settings(save=("mp4",), overwrite=True), ROUGH))
    assert clip.read_bytes() == before


def test_metres_that_do_not_fit_are_refused_before_the_work(clip: Path, tmp_path: Path) -> None:
    class Far(Rough):
        def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
            return DepthMap(np.full(image.size, 100.0), self.kind, image.camera, self.card)

    with pytest.raises(FileError, match="convention='kitti'"):
        next(convert(clip, tmp_path / "out", Settings(save=("png16",)), Pipeline("far", Far())))
    end = last(
        convert(
            clip,
            tmp_path / "out",
            Settings(save=("png16",), convention="kitti", overwrite=True),
            Pipeline("far", Far()),
        )
    )
    assert end.facts["max"] == pytest.approx(100, rel=0.02)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    peaks = []
    for count in (16, 64):
        path = film(tmp_path / f"{count}.mp4", pictures(8) * (count // 8))
        tracemalloc.start()
        last(convert(path, tmp_path / "out", Settings(save=("mp4",)), ROUGH))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000


def test_one_camera_per_clip(clip: Path, tmp_path: Path) -> None:
    class Seeing(Rough):
        """Finds another focal length in every frame."""

        def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
            found = keendepth.Camera.from_focal(50 + image.rgb.mean(), image.size[1], image.size[0], "model")
            return DepthMap(np.full(image.size, 2.0), self.kind, image.camera or found, self.card)

    last(convert(clip, tmp_path / "out", Settings(save=("npz",)), Pipeline("seeing", Seeing())))
    cameras = {keendepth.read(path).camera for path in (tmp_path / "out" / "clip.npz").iterdir()}
    assert len(cameras) == 1
    assert cameras.pop().source == "model"


# The command line


def test_the_command_line(clip: Path, tmp_path: Path) -> None:
    film(tmp_path / "broken.mp4", pictures(2)).write_bytes(b"nothing")
    arguments = ["video", str(clip), str(tmp_path / "broken.mp4"), "-o", str(tmp_path / "out"), "--model", "toy+guided"]
    result = CliRunner().invoke(app, split_lists([*arguments, "--save", "mp4", "npz", "--json"]))
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)
    assert (good["frames"], good["kind"], "error" in bad) == (10, "affine_invariant", True)
    again = CliRunner().invoke(app, split_lists([*arguments, "--save", "mp4,npz"]))
    assert "1 skipped, 1 failed" in again.output


def test_two_clips_of_one_name_stay_apart(clip: Path, tmp_path: Path) -> None:
    film(tmp_path / "clip.mkv", pictures(2), "ffv1", "bgr0")
    arguments = ["video", str(clip), str(tmp_path / "clip.mkv"), "-o", str(tmp_path / "out"), "--model", "toy"]
    assert CliRunner().invoke(app, [*arguments, "--save", "png16"]).exit_code == 0
    assert {p.name: len(list(p.iterdir())) for p in (tmp_path / "out").glob("*.png16")} == {
        "clip.mp4.png16": 10,
        "clip.mkv.png16": 2,
    }


def test_unknown_files_to_save_are_named(clip: Path) -> None:
    assert tuple(outputs.SAVED) == CLIP_SAVED
    result = CliRunner().invoke(app, ["video", str(clip), "--save", "glb"])
    assert result.exit_code == 2
    assert "mp4, png16, exr, npz, found glb" in result.output
