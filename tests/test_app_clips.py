"""Clips on the page without a browser: what is made, what is refused, and that one goes at a time and leaves nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

pytest.importorskip("fastapi", reason="needs the extra app")
pytest.importorskip("prometheus_client", reason="needs the extra app")

from keendepth import io as kio
from keendepth.app import actions, clips, words
from keendepth.app.actions import SAMPLES, Actions, Request
from keendepth.app.clips import ClipWish, Heard, Made
from keendepth.app.refusals import RefusedError
from keendepth.app.settings import Settings
from keendepth.app.workbench import Workbench
from made_clip import film, shots

av = pytest.importorskip("av", reason="needs PyAV: pip install keendepth[video]")

SETTINGS = Settings(max_clip_frames=20, max_clip_seconds=10, max_clip_pixels=100_000, max_clip_volume=1_000_000)
WISH = ClipWish("indoor-small", "none")


@pytest.fixture(scope="module")
def do() -> Iterator[Actions]:
    bench = Workbench(SETTINGS)
    yield Actions(bench)
    bench.close()


def uploaded(do: Actions, name: str, content: bytes = b"") -> Path:
    """A place for an upload, in a folder of its own."""
    folder = do.bench.desk.folder / f"upload-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder / name


def clip(
    do: Actions, name: str = "walk.mp4", count: int = 6, size: tuple[int, int] = (96, 128), rate: int = 25
) -> Path:
    path = uploaded(do, name)
    return film(path, [shot.image.rgb for shot in shots(count, size)], rate)


async def heard(do: Actions, path: Path, wish: ClipWish = WISH, session: str = "a") -> list[Heard | Made]:
    return [step async for step in do.clips.run(path, wish, session)]


def refusal(do: Actions, path: Path, **changes: Any) -> str:
    """What a visitor is told."""
    with pytest.raises((RefusedError, kio.FileError)) as caught:
        asyncio.run(heard(do, path, replace(WISH, **changes)))
    said = actions.words(caught.value)
    assert str(do.bench.desk.folder) not in said
    return said


async def settled(do: Actions) -> None:
    """Wait until no thread works for a clip any more."""
    for _ in range(200):
        if do.clips._gate.inside == 0 and do.bench.gate.inside == 0:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("a clip's place was not given back")


@pytest.mark.parametrize(("frames", "suffix"), [("16-bit PNG", ".png"), ("EXR (float)", ".exr")])
def test_a_clip_becomes_a_film_and_a_zip_of_depth(do: Actions, tmp_path: Path, frames: str, suffix: str) -> None:
    steps = asyncio.run(heard(do, clip(do), replace(WISH, frames=frames, refiner="median")))
    made = steps[-1]
    assert isinstance(made, Made)
    # What is heard is a sample: a stage that takes less than the pause between two looks may be missed.
    stages = [step.stage for step in steps if isinstance(step, Heard)]
    assert stages
    assert set(stages) <= {"opening", "looking", "depth", "packing"}
    assert made.film.is_relative_to(do.bench.desk.folder)
    with av.open(str(made.film)) as container:
        assert [frame.height for frame in container.decode(video=0)] == [96] * 6
        assert container.streams.video[0].width > 2 * 128  # the photo, a gap and its depth
    with zipfile.ZipFile(made.archive) as archive:
        archive.extractall(tmp_path)
    found = sorted(tmp_path.glob(f"*/*{suffix}"))
    assert len(found) == 6
    assert kio.read(found[-1]).size == (96, 128)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"walk.frames.jsonl", "walk.video.json"}
    assert not list(made.film.parent.glob(f"*/*{suffix}"))  # not on disk twice
    assert made.facts["settings"]["model"] == "indoor-small+median"
    assert "6 frames" in words.clip_made(made)


def test_steady_or_not_and_no_frames_at_all(do: Actions) -> None:
    made = asyncio.run(heard(do, clip(do), replace(WISH, steady=False, frames="None")))[-1]
    assert isinstance(made, Made)
    assert made.archive is None
    assert made.facts["settings"]["steadiness"] is None


def test_a_second_film_replaces_the_first_and_both_leave_with_the_visitor(do: Actions) -> None:
    first = asyncio.run(heard(do, clip(do), session="b"))[-1]
    second = asyncio.run(heard(do, clip(do), session="b"))[-1]
    assert isinstance(first, Made)
    assert isinstance(second, Made)
    assert not first.film.exists()
    assert second.film.exists()
    do.clips.forget("b")
    assert not second.film.parent.exists()


def test_a_text_a_picture_and_broken_clips_get_a_sentence(do: Actions) -> None:
    assert "expected a video" in refusal(do, uploaded(do, "text.mp4", b"<!doctype html><p>no film" * 99))
    assert "empty" in refusal(do, uploaded(do, "empty.mp4"))
    photo = uploaded(do, "photo.mp4")
    PillowImage.fromarray(shots(1)[0].image.rgb).save(photo, format="PNG")
    assert "Photo" in refusal(do, photo)
    whole = clip(do, "whole.mp4").read_bytes()
    assert "damaged" in refusal(do, uploaded(do, "cut.mp4", whole[: len(whole) // 2]))
    assert "two frames" in refusal(do, clip(do, "one.mp4", 1))
    assert "expected a video" in refusal(do, uploaded(do, "list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"))
    noise = np.random.default_rng(0).integers(0, 255, 4000, np.uint8).tobytes()
    assert refusal(do, uploaded(do, "noise.mp4", whole[:40] + noise))
    assert do.clips._gate.inside == do.bench.gate.inside == 0


def test_a_clip_that_breaks_off_is_done_up_to_there_and_says_so(do: Actions) -> None:
    whole = clip(do, "walk.mkv", 12).read_bytes()
    made = asyncio.run(heard(do, uploaded(do, "short.mkv", whole[: len(whole) * 3 // 4])))[-1]
    assert isinstance(made, Made)
    assert 2 <= made.facts["frames"] < 12


def test_a_header_that_lies_about_the_size_is_refused_before_decoding(do: Actions) -> None:
    large = clip(do, "large.avi", 2, (400, 400))
    assert "megapixels" in refusal(do, large)
    content = large.read_bytes()
    sides = (400).to_bytes(4, "little")
    small = content.replace(sides, (96).to_bytes(4, "little"))  # the container's; the codec knows better
    assert refusal(do, uploaded(do, "liar.avi", small))


@pytest.mark.parametrize(
    ("frames", "rate", "size", "said"),
    [
        (21, 25, None, "21 frames"),
        (20, 1, None, "20 seconds"),
        (20, 25, (250, 250), "megapixels"),
        (20, 25, (200, 250), ""),
    ],
)
def test_each_limit_is_named(frames: int, rate: int, size: tuple[int, int] | None, said: str) -> None:
    if not said:
        clips.check(SETTINGS, frames, Fraction(rate), size)
        return
    with pytest.raises(RefusedError, match=said) as caught:
        clips.check(SETTINGS, frames, Fraction(rate), size)
    assert caught.value.status == 413
    assert "keendepth video" in caught.value.message


def test_limits_hold_for_files(do: Actions) -> None:
    assert "21 frames" in refusal(do, clip(do, "long.mp4", 21, (48, 64)))
    assert "seconds" in refusal(do, clip(do, "slow.mp4", 12, (48, 64), 1))
    with pytest.raises(RefusedError, match="MB"):
        clips.opened(clip(do), replace(SETTINGS, max_bytes=100))


def test_only_what_is_on_offer(do: Actions) -> None:
    assert "model" in refusal(do, clip(do), model="../../etc/passwd").lower()
    assert "refiner" in refusal(do, clip(do), refiner="sddr:/etc/passwd").lower()
    assert "frames" in refusal(do, clip(do), frames="npz").lower()
    with pytest.raises(RefusedError, match="not uploaded"):
        do.own_path("/etc/passwd", "clip")


def test_one_clip_at_a_time_pictures_meanwhile_and_cancel(do: Actions) -> None:
    async def visits() -> None:
        path = clip(do, "twelve.mp4", 12)
        before = set(do.bench.desk.folder.iterdir())
        first = asyncio.ensure_future(heard(do, path, session="first"))
        while not do.clips._heard.done:
            await asyncio.sleep(0.02)
        with pytest.raises(RefusedError, match="another clip") as caught:
            await heard(do, path, session="second")
        assert caught.value.status == 429
        photo = Request(str(SAMPLES / "cat.jpg"), None, None, "indoor-small", "none", 1.0, None, None, "")
        assert [token async for _, token in do.run(photo, "third")][-1]
        assert not first.done()
        do.clips.stop("second")  # another visitor's button
        await asyncio.sleep(0)
        assert not first.done()
        do.clips.stop("first")
        steps = await first
        assert not any(isinstance(step, Made) for step in steps)
        await settled(do)
        assert set(do.bench.desk.folder.iterdir()) == before  # half-made files are gone

    asyncio.run(visits())


TAB = """
import gradio as gr
from keendepth.app import page_video
page_video.util.find_spec = lambda name: None
with gr.Blocks() as page, gr.Tabs():
    page_video.video_tab(None, None)  # neither is asked
shown = {block.elem_id: block for block in page.blocks.values() if getattr(block, "elem_id", None)}
assert "keendepth[video]" in shown["no-pyav"].value
assert "run-clip" not in shown
"""


def test_without_pyav_the_tab_says_what_to_install() -> None:
    pytest.importorskip("gradio", reason="needs the extra app")
    done = subprocess.run([sys.executable, "-c", TAB], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
