"""Films: readers of frames, camera and poses; geometry of re-projection; the doctor who says what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from keendepth.data.clip import kitti_drives, read_clip  # noqa: E402
from keendepth.io import FileError  # noqa: E402
from keendepth.nn import warp  # noqa: E402
from keendepth.training import film_doctor  # noqa: E402
from keendepth.training.footage import Film, find  # noqa: E402
from keendepth.training.frames import FrameOptions, Frames, collate, jittered, mirrored  # noqa: E402
from keendepth.training.geometry_test import ORDER, five_numbers  # noqa: E402
from keendepth.training.triplets import Triplet, motion_between  # noqa: E402
from made_film import FOCAL, SIZE, frame, pose, write_film, write_kitti  # noqa: E402


def triplet(step: float = 0.15) -> Triplet:
    """Three frames with exact depth."""
    rgb, depths = zip(*(frame(k * step) for k in (-1, 0, 1)), strict=True)
    K = np.array([[FOCAL, 0, SIZE[1] / 2], [0, FOCAL, SIZE[0] / 2], [0, 0, 1]])
    poses = np.stack([pose(k * step) for k in (-1, 0, 1)])
    return Triplet(np.stack(rgb), K, motion_between(poses[1], poses[[0, 2]]), 1 / depths[1])


def numbers_of(one: Triplet) -> dict[str, float]:
    batch = collate([one])
    return five_numbers(batch["frames"], 1 / batch["near"], batch["motion"].transpose(0, 1), batch["K"])


def assert_ordered(numbers: dict[str, float]) -> None:
    values = [numbers[name] for name in ORDER]
    assert values == sorted(values), numbers


def test_exact_depth_and_motion_explain_the_frames_best() -> None:
    numbers = numbers_of(triplet(0.4))
    assert_ordered(numbers)
    assert numbers["exact"] < 0.45 * numbers["identity"]  # scent_depth.md 11.1
    assert numbers["depth x 1.3"] > 1.25 * numbers["exact"]
    assert numbers["inverted"] > 0.85 * numbers["identity"]


def test_a_mirrored_triplet_is_explained_as_well() -> None:
    plain, turned = numbers_of(triplet(0.4)), numbers_of(mirrored(triplet(0.4)))
    assert turned["exact"] == pytest.approx(plain["exact"], rel=1e-3)
    assert turned["inverted"] == pytest.approx(plain["inverted"], rel=1e-3)


def test_the_mirrored_motion_in_torch_is_that_of_numpy() -> None:
    motion = torch.from_numpy(mirrored(triplet()).motion)
    assert torch.equal(warp.mirrored(torch.from_numpy(triplet().motion)), motion)


def test_motions_go_there_and_back() -> None:
    axis_angle, translation = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    motion = warp.rigid(axis_angle, translation)
    eye = torch.eye(4, dtype=torch.float64).expand(5, 4, 4)
    torch.testing.assert_close(motion @ warp.inverse(motion), eye)
    turn = motion[:, :3, :3]
    torch.testing.assert_close(turn @ turn.transpose(1, 2), eye[:, :3, :3])
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(5, dtype=torch.float64))


def test_no_rotation_has_a_gradient() -> None:
    axis_angle = torch.zeros(1, 3, requires_grad=True)
    warp.rotation(axis_angle)[0, 0, 1].backward()
    assert torch.isfinite(axis_angle.grad).all()
    assert float(axis_angle.grad[0, 2]) == pytest.approx(-1, abs=1e-3)


def test_a_warp_along_no_motion_is_the_picture() -> None:
    batch = collate([triplet()])
    still = torch.eye(4)[None]
    seen = warp.warp(batch["frames"][:, 0], 1 / batch["near"], still, batch["K"])
    torch.testing.assert_close(seen.picture, batch["frames"][:, 0], atol=1e-4, rtol=0)
    assert seen.inside.float().mean() > 0.9  # rounding may put the outermost pixels out


@pytest.mark.parametrize("sequence", ["seq1", "seq2"])
def test_real_street_frames_are_explained_by_their_poses(shared: Path, sequence: str) -> None:
    found = film_doctor.examine(read_clip(shared / "data" / "kitti_odometry_gray_seq" / sequence))
    by_name = {one.name: one for one in found}
    text = by_name["five numbers"].value
    assert_ordered({part.rsplit(" ", 1)[0]: float(part.rsplit(" ", 1)[1]) for part in text.split(", ")})
    assert by_name["re-projection"].verdict == by_name["direction of poses"].verdict == "ok"


def test_real_indoor_frames_with_measured_depth(shared: Path) -> None:
    from PIL import Image

    folder = shared / "data" / "open3d_rgbd"
    lines = [line.split() for line in (folder / "RGBD_trajectory.log").read_text().splitlines() if line.strip()]
    poses = np.array([lines[k + 1 : k + 5] for k in range(0, len(lines), 5)], dtype=float)
    K = np.array([[262.5, 0, 160], [0, 262.5, 120], [0, 0, 1]])  # of camera_primesense.json, at half the size
    made, depths = [], []
    for middle in (1, 2, 3):
        files = [folder / f"RGBD_color_{middle + k:05d}.jpg" for k in (-1, 0, 1)]
        frames = np.stack([np.asarray(Image.open(path).resize((320, 240), Image.Resampling.BOX)) for path in files])
        made.append(Triplet(frames, K, motion_between(poses[middle], poses[[middle - 1, middle + 1]])))
        depths.append(
            np.asarray(Image.open(folder / f"RGBD_depth_{middle:05d}.png")).astype(np.float32)[::2, ::2] / 1000
        )
    batch, depth = collate(made), torch.from_numpy(np.stack(depths)[:, None])
    numbers = five_numbers(
        batch["frames"], depth.clamp(min=0.1), batch["motion"].transpose(0, 1), batch["K"], depth > 0
    )
    assert_ordered(numbers)
    assert numbers["exact"] < 0.45 * numbers["identity"]


def test_a_folder_of_frames_is_read_with_camera_and_poses(tmp_path: Path) -> None:
    clip = read_clip(write_film(tmp_path / "film"))
    assert len(clip.frames) == 6
    assert clip.triplets() == [1, 2, 3, 4]
    assert clip.triplets(gap=2) == [2, 3]
    assert clip.camera.cx == SIZE[1] / 2  # pixel centres at halves
    np.testing.assert_allclose(clip.poses[2], pose(0.3), atol=1e-9)


def test_poses_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = write_film(tmp_path / "film")
    np.savetxt(folder / "poses.txt", np.ones((6, 12)))
    with pytest.raises(FileError, match="not orthonormal"):
        read_clip(folder)
    np.savetxt(folder / "poses.txt", np.ones((4, 12)))
    with pytest.raises(FileError, match="a pose for each of 6"):
        read_clip(folder)
    with pytest.raises(FileError, match="three numbered pictures"):
        read_clip(tmp_path)


def test_kittis_raw_layout_is_read(tmp_path: Path) -> None:
    (clip,) = kitti_drives(write_kitti(tmp_path / "raw"))
    assert (clip.camera.fx, clip.camera.cx) == (FOCAL, SIZE[1] / 2)
    motion = motion_between(clip.poses[1], clip.poses[[0, 2]])
    # The car goes 0.15 m east while its camera looks north: points wander 0.15 m to the left in the next picture.
    np.testing.assert_allclose(motion[1][:3, 3], [-0.15, 0, 0], atol=1e-4)
    np.testing.assert_allclose(motion[0][:3, 3], [0.15, 0, 0], atol=1e-4)
    listing = tmp_path / "train_files.txt"
    listing.write_text("2011_09_26/2011_09_26_drive_0001_sync 2 l\n2011_09_26/2011_09_26_drive_0001_sync 3 r\n")
    (clip,) = kitti_drives(tmp_path / "raw", listing=listing)
    assert clip.triplets() == [2]


def test_film_is_set_apart_for_validation(tmp_path: Path) -> None:
    learned, judged = find([write_film(tmp_path / "film")], (32, 64))
    assert (len(learned), len(judged)) == (3, 1)
    assert learned.posed
    (tmp_path / "film" / "camera.json").unlink()
    with pytest.raises(ValueError, match=r"no camera: write camera\.json"):
        find([tmp_path / "film"], (32, 64))


def test_batches_follow_from_seed_and_number(tmp_path: Path) -> None:
    film = Film([read_clip(write_film(tmp_path / "film"))], (32, 64))
    one, other = (Frames(film, FrameOptions(jitter=0.2), 3, seed=5) for _ in range(2))
    first, again = one.batch(7), other.batch(7)
    assert all(torch.equal(first[key].nan_to_num(), again[key].nan_to_num()) for key in first)
    assert not torch.equal(first["frames"], one.batch(8)["frames"])
    assert first["frames"].shape == (3, 3, 3, 32, 64)
    assert first["near"].isnan().all()


def test_jitter_is_the_same_for_all_frames_and_none_changes_nothing() -> None:
    frames = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32).repeat(3, 0)
    out = jittered(frames, (1.1, 0.9, 1.2, 0.05))
    np.testing.assert_array_equal(out[0], out[2])
    np.testing.assert_allclose(jittered(frames, (1.0, 1.0, 1.0, 0.0)), frames, atol=2e-3)  # YIQ's published digits


def test_the_doctor_finds_inverted_poses(tmp_path: Path) -> None:
    good = {f.name: f for f in film_doctor.examine(read_clip(write_film(tmp_path / "good")))}
    bad = {f.name: f for f in film_doctor.examine(read_clip(write_film(tmp_path / "bad", inverted=True)))}
    assert good["direction of poses"].verdict == good["re-projection"].verdict == "ok"
    assert bad["direction of poses"].verdict == "fail"
    assert "inverted" in bad["direction of poses"].advice


def test_the_doctor_finds_what_stands_still_is_dark_or_plain(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_film(tmp_path / "film", step=0.0)
    by_name = {f.name: f for f in film_doctor.examine(read_clip(folder))}
    assert by_name["still triplets"].verdict == "fail"
    assert by_name["parallax"].verdict == "fail"
    for path in folder.glob("*.png"):
        Image.new("RGB", SIZE[::-1], (9, 9, 9)).save(path)
    (folder / "camera.json").write_text(
        json.dumps({"K": [[4000, 0, 48], [0, 60, 24], [0, 0, 1]], "width": 96, "height": 48})
    )
    by_name = {f.name: f for f in film_doctor.examine(read_clip(folder))}
    assert by_name["darkness"].verdict == "warn"
    assert by_name["texture"].verdict == "fail"
    assert by_name["camera"].verdict == "fail"


def test_the_doctor_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from typer.testing import CliRunner

    from keendepth.cli.commands import app

    good = CliRunner().invoke(app, ["doctor", str(write_film(tmp_path / "good"))])
    assert good.exit_code == 0, good.output
    assert "direction of poses" in good.output
    bad = CliRunner().invoke(app, ["doctor", str(write_film(tmp_path / "bad", inverted=True)), "--json"])
    assert bad.exit_code == 1
    assert any(one["verdict"] == "fail" for one in json.loads(bad.output)[str(tmp_path / "bad")])
