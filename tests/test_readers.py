"""Readers: small files in the layout of each real set, with values that only the right decoding gives; and the real pairs."""

import csv
import json
import pickle
import struct
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from keendepth.core.types import Camera, DepthKind
from keendepth.data import CROPS, crop_region, registry
from keendepth.data.driving import listed_ids
from keendepth.data.files import match, natural, rigid
from keendepth.data.hypersim import ray_to_z
from keendepth.data.lidar import scatter
from keendepth.data.sequence import WithNeighbours
from keendepth.io import FileError

HEIGHT, WIDTH = 6, 8


def put_photo(path, size=(HEIGHT, WIDTH), value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def put_png(path, codes):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(codes).save(path)


def codes(value, unknown=(0, 0), dtype=np.uint16, size=(HEIGHT, WIDTH)):
    """One value everywhere, 0 at one pixel."""
    found = np.full(size, value, dtype)
    found[unknown] = 0
    return found


def put_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def put_pfm(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode()
    path.write_bytes(header + values[::-1].astype("<f4").tobytes())


def put_hdf5(path, **arrays):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install keendepth[datasets]")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def only(dataset):
    """The one sample of a data set, whose promises are checked on the way."""
    assert len(dataset) == len(dataset.ids) == 1
    facts = dataset.protocol_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["crop"] in CROPS
    assert facts["images"] == 1
    sample = pickle.loads(pickle.dumps(dataset)).load(dataset.ids[0])  # workers get data sets pickled
    assert sample.id == sample.image.name == dataset.ids[0]
    return sample


def check(sample, metres, unknown=((0, 0),), size=(HEIGHT, WIDTH)):
    """METRIC, `metres` at every known pixel, and unknown exactly where it should be."""
    assert sample.depth.kind is DepthKind.METRIC
    assert sample.depth.size == size
    expected = np.ones(size, bool)
    for pixel in unknown:
        expected[pixel] = False
    assert (sample.depth.valid == expected).all()
    assert sample.depth.values[sample.depth.valid] == pytest.approx(metres, rel=1e-5)


# Rendered sets join the registry when the evaluation is imported, by other tests too; they read nothing.
READERS = [name for name in registry if name not in ("rendered-scenes", "boxes")]


def test_every_reader_has_a_card_and_names_the_folder_that_is_missing(tmp_path):
    assert len(READERS) >= 26
    for name in READERS:
        card = registry.card(name)
        assert card.summary
        assert card.license
        options = {"listing": tmp_path / "list.txt"} if name == "kitti-velodyne" else {}
        with pytest.raises(FileError, match="absent"):
            registry.build(name, root=tmp_path / "absent", **options)


@pytest.mark.parametrize("name", [n for n in READERS if n not in ("nyu-mat", "kitti-velodyne", "nuscenes", "tum")])
def test_an_empty_root_is_told_apart_from_an_empty_set(name, tmp_path):
    with pytest.raises(FileError, match=r"expected .* found none"):
        registry.build(name, root=tmp_path)


def test_crops_have_the_bounds_of_the_papers():
    rows, columns = np.nonzero(crop_region("nyu-eigen", 480, 640))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (45, 471, 41, 601)
    rows, columns = np.nonzero(crop_region("kitti-garg", 375, 1242))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (153, 371, 44, 1197)
    rows, columns = np.nonzero(crop_region("kitti-eigen", 375, 1242))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (124, 342, 44, 1197)
    assert crop_region("none", 3, 4).all()
    with pytest.raises(ValueError, match="kitti-garg"):
        crop_region("garg", 3, 4)


def test_templates_bind_repeated_fields_and_leave_out_incomplete_entries(tmp_path):
    for name in ("a/x_a_9.txt", "a/x_a_10.txt", "a/x_b_11.txt", "a/x_a_12.txt"):
        put_text(tmp_path / name, "1")
    for frame in (9, 10, 11):
        put_text(tmp_path / f"y/{frame}.txt", "1")
    found = match(tmp_path, "{s}-{n}", {"one": "{s}/x_{s}_{n}.txt", "two": "y/{n}.txt"})
    assert list(found) == ["a-9", "a-10"]  # b is another scene, 12 has no second file, 9 comes before 10
    every = match(tmp_path, "{s}-{n}", {"one": "{s}/x_{s}_{n}.txt", "two": "y/{n}.txt"}, optional=("two",))
    assert list(every) == ["a-9", "a-10", "a-12"]
    assert "two" not in every["a-12"]
    assert sorted(["f10", "f9", "f1"], key=natural) == ["f1", "f9", "f10"]


def test_an_unknown_id_gets_the_nearest_ones(tmp_path):
    put_photo(tmp_path / "rgb_00045.png")
    dataset = registry.build("folder", root=tmp_path)
    with pytest.raises(ValueError, match="rgb_00045"):
        dataset.load("rgb_0045")


def test_nyu_is_millimetres_and_ten_metres_is_clipped(tmp_path):
    size = (480, 640)
    truth = codes(2500, size=size)
    truth[1, 1] = 10000
    put_png(tmp_path / "test/kitchen/sync_depth_00045.png", truth)
    put_photo(tmp_path / "test/kitchen/rgb_00045.jpg", size)
    sample = only(registry.build("nyu", root=tmp_path))
    check(sample, 2.5, ((0, 0), (1, 1)), size)
    assert sample.id == "kitchen/00045"
    assert sample.image.camera.K_opencv[0] == pytest.approx([518.8579, 0, 325.58245], abs=1e-4)


def test_nyu_mat_turns_matlab_arrays_and_takes_the_split(tmp_path):
    from scipy.io import savemat

    images = np.zeros((3, 3, 640, 480), np.uint8)
    images[1, 0, 5, 2] = 77  # picture 2, red, column 5, row 2
    depths = np.full((3, 640, 480), 9.0, np.float32)
    depths[1] = 3.0
    depths[1, 5, 2] = 0
    put_hdf5(tmp_path / "nyu_depth_v2_labeled.mat", images=images, rawDepths=depths)
    savemat(tmp_path / "splits.mat", {"testNdxs": [[2]], "trainNdxs": [[1], [3]]})
    sample = only(registry.build("nyu-mat", root=tmp_path))
    assert sample.id == "0002"
    assert sample.image.rgb[2, 5].tolist() == [77, 0, 0]
    check(sample, 3.0, ((2, 5),), (480, 640))
    assert len(registry.build("nyu-mat", root=tmp_path, split="train")) == 2


def test_ibims_png_has_masks_planes_and_edges(tmp_path):
    base = tmp_path / "ibims1_core_raw"
    put_png(base / "depth/lab_01.png", codes(13107))  # a fifth of 65535: 10 m
    put_photo(base / "rgb/lab_01.png")
    put_text(base / "calib/lab_01.txt", "5.5, 6.5, 3.5, 2.5")
    for name, pixel in (("mask_invalid", (1, 1)), ("mask_transp", (2, 2))):
        keep = np.ones((HEIGHT, WIDTH), bool)
        keep[pixel] = False
        put_png(base / f"{name}/lab_01.png", keep)  # 1-bit, as in the set
    edges = np.zeros((HEIGHT, WIDTH), bool)
    edges[3] = True
    put_png(base / "edges/lab_01.png", edges)
    put_png(base / "mask_wall/lab_01.png", codes(2, dtype=np.uint8))
    sample = only(registry.build("ibims", root=tmp_path))
    check(sample, 10.0, ((0, 0), (1, 1), (2, 2)))
    assert (sample.regions["edges"] == edges).all()
    assert sorted(np.unique(sample.regions["wall"])) == [0, 2]
    assert sample.depth.camera == Camera(5.5, 6.5, 4.0, 3.0, WIDTH, HEIGHT)


def test_ibims_mat_gives_the_same(tmp_path):
    from scipy.io import savemat

    depth = np.full((HEIGHT, WIDTH), 10.0)
    depth[0, 0] = 0
    keep = np.ones((HEIGHT, WIDTH), np.uint8)
    keep[1, 1] = 0
    content = {
        "rgb": np.full((HEIGHT, WIDTH, 3), 100, np.uint8),
        "depth": depth,
        "edges": (1 - keep),
        "calib": np.array([[5.5, 0, 3.5], [0, 6.5, 2.5], [0, 0, 1]]),
        "mask_invalid": keep,
        "mask_transp": np.ones_like(keep),
        "mask_wall": keep * 2,
    }
    (tmp_path / "ibims1_core_mat").mkdir()
    savemat(tmp_path / "ibims1_core_mat/lab_01.mat", {"data": content})
    sample = only(registry.build("ibims", root=tmp_path))
    check(sample, 10.0, ((0, 0), (1, 1)))
    assert sample.regions["edges"].sum() == 1
    assert sample.depth.camera == Camera(5.5, 6.5, 4.0, 3.0, WIDTH, HEIGHT)


def test_diode_is_metres_with_a_mask(tmp_path):
    stem = tmp_path / "val/outdoor/scene_00022/scan_00193/00022_00193_outdoor_000_010"
    size = (768, 1024)
    put_photo(stem.with_suffix(".png"), size)
    valid = np.ones(size, np.float32)
    valid[3, 3] = 0
    np.save(f"{stem}_depth.npy", np.full((*size, 1), 12.5, np.float32))
    np.save(f"{stem}_depth_mask.npy", valid)
    sample = only(registry.build("diode", root=tmp_path, place="outdoor"))
    check(sample, 12.5, ((3, 3),), size)
    assert sample.domain == "outdoor"
    assert sample.depth.camera.fov_degrees == pytest.approx(60, abs=0.01)
    with pytest.raises(FileError):
        registry.build("diode", root=tmp_path, place="indoors")


def test_tum_joins_by_time_and_reads_poses(tmp_path):
    base = tmp_path / "rgbd_dataset_freiburg1_xyz"
    size = (480, 640)
    for stamp in ("10.000", "10.033", "11.000"):
        put_photo(base / f"rgb/{stamp}.png", size)
    put_png(base / "depth/10.012.png", codes(5000, size=size))
    put_png(base / "depth/10.100.png", codes(5000, size=size))
    put_text(base / "rgb.txt", "# colour\n10.000 rgb/10.000.png\n10.033 rgb/10.033.png\n11.000 rgb/11.000.png\n")
    put_text(base / "depth.txt", "# depth\n10.012 depth/10.012.png\n10.100 depth/10.100.png\n")
    half = np.sqrt(0.5)  # a quarter turn about z
    put_text(base / "groundtruth.txt", f"# pose\n10.001 1 2 3 0 0 {half} {half}\n")
    sample = only(registry.build("tum", root=tmp_path))
    assert sample.id == "rgbd_dataset_freiburg1_xyz/10.000"  # 12 ms; the others are farther than 20
    check(sample, 1.0, size=size)
    assert sample.depth.camera.fx == 517.3
    assert sample.pose @ [1, 0, 0, 1] == pytest.approx([1, 3, 3, 1])
    assert only(registry.build("tum", root=base)).id == sample.id


def test_scannet_keeps_two_cameras_and_drops_lost_poses(tmp_path):
    base = tmp_path / "scene0000_00"
    put_photo(base / "color/9.jpg", (12, 16))
    put_png(base / "depth/9.png", codes(1500))
    put_text(base / "pose/9.txt", "\n".join(["-inf -inf -inf -inf"] * 4))
    for name, focal in (("color", 20), ("depth", 10)):
        matrix = f"{focal} 0 3.5 0\n0 {focal} 2.5 0\n0 0 1 0\n0 0 0 1\n"
        put_text(base / f"intrinsic/intrinsic_{name}.txt", matrix)
    sample = only(registry.build("scannet", root=tmp_path))
    check(sample, 1.5)
    assert (sample.image.camera.fx, sample.depth.camera.fx) == (20, 10)
    assert sample.pose is None


CALIBRATION = "calib_time: 09-Jan-2012 13:57:47\nR_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 4 0 3.5 0 0 4 2.5 0 0 0 1 0\n"
DRIVE = "2011_09_26_drive_0002_sync"


def put_kitti(root, raw, frame="0000000069"):
    put_png(root / f"val/{DRIVE}/proj_depth/groundtruth/image_02/{frame}.png", codes(10 * 256))
    put_photo(raw / f"2011_09_26/{DRIVE}/image_02/data/{frame}.png")
    put_text(raw / "2011_09_26/calib_cam_to_cam.txt", CALIBRATION)


def test_kitti_has_256_steps_a_metre_and_two_roots(tmp_path):
    put_kitti(tmp_path / "depth", tmp_path / "raw")
    sample = only(registry.build("kitti", root=tmp_path / "depth", raw=tmp_path / "raw"))
    check(sample, 10.0)
    assert sample.id == f"{DRIVE}/image_02/0000000069"
    assert sample.depth.camera == Camera(4, 4, 4.0, 3.0, WIDTH, HEIGHT)
    assert only(registry.build("kitti", root=tmp_path / "depth", raw=tmp_path / "raw", split="*")).id == sample.id


def test_kitti_takes_the_eigen_list_of_either_make(tmp_path):
    for frame in ("0000000069", "0000000070"):
        put_kitti(tmp_path, tmp_path, frame)
    assert len(registry.build("kitti", root=tmp_path)) == 2
    day = "2011_09_26"
    bts = (
        f"{day}/{DRIVE}/image_02/data/0000000070.png {DRIVE}/proj_depth/groundtruth/image_02/0000000070.png 721.5377\n"
    )
    monodepth2 = f"{day}/{DRIVE} 0000000070 l\n{day}/{DRIVE} 0000000003 l\n"
    for number, text in enumerate((bts, monodepth2)):
        put_text(tmp_path / f"{number}.txt", text)
        chosen = registry.build("kitti", root=tmp_path, listing=tmp_path / f"{number}.txt")
        assert chosen.ids == [f"{DRIVE}/image_02/0000000070"]
    put_text(tmp_path / "right.txt", f"{day}/{DRIVE} 70 r\n")
    assert listed_ids(tmp_path / "right.txt") == [f"{DRIVE}/image_03/0000000070"]
    with pytest.raises(FileError, match="names none"):
        registry.build("kitti", root=tmp_path, listing=tmp_path / "right.txt")


def test_kitti_velodyne_projects_the_sweep_and_keeps_the_nearest(tmp_path):
    put_kitti(tmp_path, tmp_path)
    put_text(tmp_path / "list.txt", f"2011_09_26/{DRIVE} 0000000069 l\n")
    # lidar axes: x forward, y left, z up
    put_text(tmp_path / "2011_09_26/calib_velo_to_cam.txt", "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n")
    points = np.array([[10, 0, 0, 1], [20, 0, 0, 1], [-10, 0, 0, 1], [10, -5, 0, 1]], np.float32)
    path = tmp_path / f"2011_09_26/{DRIVE}/velodyne_points/data/0000000069.bin"
    path.parent.mkdir(parents=True)
    points.tofile(path)
    sample = only(registry.build("kitti-velodyne", root=tmp_path, listing=tmp_path / "list.txt"))
    # v = 2.5 and u = 3.5 or 5.5 round to even, less one; 5 m to the right at 10 m are two pixels
    assert np.argwhere(sample.depth.valid).tolist() == [[1, 3], [1, 5]]
    assert sample.depth.values[1, [3, 5]].tolist() == [10, 10]


def test_kitti_selection_and_its_intrinsics(tmp_path):
    base = tmp_path / "depth_selection/val_selection_cropped"
    name = f"{DRIVE}_{{}}_0000000005_image_02"
    put_png(base / "groundtruth_depth" / (name.format("groundtruth_depth") + ".png"), codes(2560))
    put_photo(base / "image" / (name.format("image") + ".png"))
    put_text(base / "intrinsics" / (name.format("image") + ".txt"), "4 0 3.5 0 4 2.5 0 0 1\n")
    sample = only(registry.build("kitti-selection", root=tmp_path))
    check(sample, 10.0)
    assert sample.depth.camera.fx == 4


def test_vkitti2_is_centimetres_with_sky(tmp_path):
    truth = np.full((HEIGHT, WIDTH), 1250, np.uint16)
    truth[0] = 65535
    put_png(tmp_path / "Scene01/fog/frames/depth/Camera_0/depth_00007.png", truth)
    put_photo(tmp_path / "Scene01/fog/frames/rgb/Camera_0/rgb_00007.jpg")
    put_text(
        tmp_path / "Scene01/fog/intrinsic.txt", "frame cameraID a b c d\n7 1 9 9 9 9\n7 0 725.0087 725.0087 3.5 2.5\n"
    )
    numbers = "1 0 0 -5 0 1 0 0 0 0 1 0 0 0 0 1"
    put_text(tmp_path / "Scene01/fog/extrinsic.txt", f"frame cameraID r\n7 0 {numbers}\n")
    sample = only(registry.build("vkitti2", root=tmp_path, variant="fog"))
    assert sample.depth.sky[0].all()
    assert not sample.depth.sky[1:].any()
    assert sample.depth.values[1:] == pytest.approx(12.5)
    assert sample.depth.camera.fx == 725.0087
    assert sample.pose[:3, 3] == pytest.approx([5, 0, 0])
    assert only(registry.build("vkitti2", root=tmp_path, variant="*")).id == "Scene01/fog/00007"


@pytest.mark.parametrize(
    ("depth", "picture"),
    [
        ("depth-map-half-size/{}.png", "left-image-half-size/{}.jpg"),
        ("depth-map-half-size/2018-07-09/{}.png", "left-image-half-size/2018-07-09/{}.jpg"),
        ("foggy/depth-map-half-size/{}.png", "foggy/left-image-half-size/{}.jpg"),
        ("train-depth-map/2018-07-09/{}.png", "train-left-image/2018-07-09/{}.jpg"),
    ],
)
def test_drivingstereo_in_its_layouts(tmp_path, depth, picture):
    name = "2018-07-09_2018-07-09-16-11-56"
    put_png(tmp_path / depth.format(name), codes(2560))
    put_photo(tmp_path / picture.format(name))
    put_text(tmp_path / "half-image-calib/2018-07-09.txt", "P_rect_101: 4 0 3.5 0 0 4 2.5 0 0 0 1 0\n")
    sample = only(registry.build("drivingstereo", root=tmp_path))
    check(sample, 10.0)
    assert sample.depth.camera.fx == 4


def put_nuscenes(root):
    """One key frame: the car drives 2 m along x between the lidar's moment and the camera's."""
    camera_turn = [0.5, -0.5, 0.5, -0.5]  # camera axes (right, down, forward) in a car with x forward, y left, z up
    K = [[4, 0, 4], [0, 4, 3], [0, 0, 1]]
    tables = {
        "sensor": [{"token": "s1", "channel": "CAM_FRONT"}, {"token": "s2", "channel": "LIDAR_TOP"}],
        "calibrated_sensor": [
            {
                "token": "c1",
                "sensor_token": "s1",
                "translation": [1, 0, 0],
                "rotation": camera_turn,
                "camera_intrinsic": K,
            },
            {
                "token": "c2",
                "sensor_token": "s2",
                "translation": [0, 0, 0],
                "rotation": [1, 0, 0, 0],
                "camera_intrinsic": [],
            },
        ],
        "ego_pose": [
            {"token": "e1", "translation": [102, 0, 0], "rotation": [1, 0, 0, 0]},
            {"token": "e2", "translation": [100, 0, 0], "rotation": [1, 0, 0, 0]},
        ],
        "scene": [{"token": "t", "name": "scene-0103", "description": "Night, parked cars"}],
        "sample": [{"token": "k", "scene_token": "t"}],
        "sample_data": [],
    }
    rows = (
        ("1", "c1", "e1", "samples/CAM_FRONT/n1.jpg", True),
        ("2", "c2", "e2", "samples/LIDAR_TOP/n1.pcd.bin", True),
    )
    rows += (("3", "c1", "e1", "sweeps/CAM_FRONT/n2.jpg", False),)
    for token, sensor, ego, name, key in rows:
        row = {"token": token, "sample_token": "k", "calibrated_sensor_token": sensor, "ego_pose_token": ego}
        tables["sample_data"].append({**row, "filename": name, "is_key_frame": key, "timestamp": 1})
    for name, table in tables.items():
        put_text(root / f"v1.0-mini/{name}.json", json.dumps(table))
    put_photo(root / "samples/CAM_FRONT/n1.jpg")
    points = np.array([[13, 0, 0, 0, 0], [3.5, 0, 0, 0, 0], [13, -5, 0, 0, 0], [-20, 0, 0, 0, 0]], np.float32)
    (root / "samples/LIDAR_TOP").mkdir(parents=True)
    points.tofile(root / "samples/LIDAR_TOP/n1.pcd.bin")


def test_nuscenes_moves_points_from_the_lidars_moment_to_the_cameras(tmp_path):
    put_nuscenes(tmp_path)
    sample = only(registry.build("nuscenes", root=tmp_path))
    assert np.argwhere(sample.depth.valid).tolist() == [[3, 4], [3, 6]]  # 5 m to the right at 10 m: two pixels
    assert sample.depth.values[3, [4, 6]] == pytest.approx(10)  # 13 - 2 (driven) - 1 (mounted); 0.5 m is the car itself
    assert sample.pose[:3, 3] == pytest.approx([103, 0, 0])
    assert sample.pose[:3, :3] @ [0, 0, 1] == pytest.approx([1, 0, 0])


def test_nuscenes_chooses_scenes_and_conditions(tmp_path):
    put_nuscenes(tmp_path)
    assert len(registry.build("nuscenes", root=tmp_path, scenes=("scene-0103",), condition="night")) == 1
    for options in ({"condition": "rain"}, {"scenes": ("scene-0001",)}, {"channel": "CAM_BACK"}):
        with pytest.raises(FileError, match="found none"):
            registry.build("nuscenes", root=tmp_path, **options)


def test_scatter_drops_what_lies_outside_or_behind():
    P = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    points = np.array([[0.0, 0, 2], [2, 0, 1], [-1, 0, 1], [0, 0, -1], [0, 5, 1]])
    depth = scatter(points, P, (2, 2))
    assert np.nan_to_num(depth.values).tolist() == [[2, 0], [0, 0]]
    assert not scatter(points[:0], P, (2, 2)).valid.any()
    behind = scatter(points[3:4], P, (2, 2), depths=np.array([5.0]))  # in front of the lidar, behind the camera
    assert not behind.valid.any()


def test_rigid_takes_quaternions_of_any_length():
    assert rigid((2, 0, 0, 2), (1, 2, 3)) @ [1, 0, 0, 1] == pytest.approx([1, 3, 3, 1])


def test_eth3d_reads_bare_floats_and_colmaps_camera(tmp_path):
    base = tmp_path / "courtyard"
    put_photo(base / "images/dslr_images/DSC_0286.JPG")
    path = base / "ground_truth_depth/dslr_images/DSC_0286.JPG"
    path.parent.mkdir(parents=True)
    values = np.full((HEIGHT, WIDTH), 7.5, "<f4")
    values[0, 0], values[1, 1] = np.inf, 0
    path.write_bytes(values.tobytes())
    cameras = f"# cameras\n0 THIN_PRISM_FISHEYE {WIDTH} {HEIGHT} 5 5.5 4.2 3.1 0.1 0 0 0 0 0 0 0\n"
    put_text(base / "dslr_calibration_jpg/cameras.txt", cameras)
    put_text(
        base / "dslr_calibration_jpg/images.txt", "# images\n3 1 0 0 0 -5 0 0 0 dslr_images/DSC_0286.JPG\n1 2 -1\n"
    )
    sample = only(registry.build("eth3d", root=tmp_path))
    check(sample, 7.5, ((0, 0), (1, 1)))
    assert not sample.depth.sky.any()
    assert sample.depth.camera == Camera(5, 5.5, 4.2, 3.1, WIDTH, HEIGHT, "approximate")
    assert sample.pose[:3, 3] == pytest.approx([5, 0, 0])
    path.write_bytes(values.tobytes()[:-4])
    with pytest.raises(FileError, match="47"):
        registry.build("eth3d", root=tmp_path).load("courtyard/DSC_0286")


STEREO = f"cam0=[4 0 3.5; 0 4 2.5; 0 0 1]\ncam1=[4 0 4.5; 0 4 2.5; 0 0 1]\ndoffs=1\nbaseline=500\nwidth={WIDTH}\nheight={HEIGHT}\n"


@pytest.mark.parametrize(
    ("name", "truth"), [("eth3d-stereo", "disp0GT"), ("middlebury", "disp0"), ("middlebury", "disp0GT")]
)
def test_calibrated_stereo_is_metric(tmp_path, name, truth):
    disparity = np.full((HEIGHT, WIDTH), 4.0)
    disparity[0, 0] = np.inf
    put_pfm(tmp_path / f"forest/{truth}.pfm", disparity)
    put_photo(tmp_path / "forest/im0.png")
    put_text(tmp_path / "forest/calib.txt", STEREO)
    put_png(tmp_path / "forest/mask0nocc.png", codes(255, (2, 2), np.uint8))
    sample = only(registry.build(name, root=tmp_path))
    check(sample, 4 * 0.5 / (4 + 1))
    assert sample.depth.camera == Camera(4, 4, 4, 3, WIDTH, HEIGHT)
    if truth == "disp0GT":
        assert np.argwhere(~sample.regions["nonoccluded"]).tolist() == [[2, 2]]
    put_text(tmp_path / "forest/calib.txt", "cam0=[4 0")
    with pytest.raises(FileError, match="baseline"):
        registry.build(name, root=tmp_path).load("forest")


def test_middlebury_2006_is_disparity_unless_it_is_full_size_with_dmin(tmp_path):
    for scene, size in (("full", (3, 1240)), ("third", (3, 413)), ("bare", (3, 1240))):
        put_png(tmp_path / scene / "disp1.png", codes(100, dtype=np.uint8, size=size))
        put_photo(tmp_path / scene / "view1.png", size)
        if scene != "bare":
            put_text(tmp_path / scene / "dmin.txt", "270\n")
    dataset = registry.build("middlebury-2006", root=tmp_path)
    full = dataset.load("full").depth
    assert full.kind is DepthKind.METRIC
    assert full.values[1, 1] == pytest.approx(3740 * 0.16 / 370)
    for scene in ("third", "bare"):
        depth = dataset.load(scene).depth
        assert depth.kind is DepthKind.DISPARITY
        assert depth.values[1, 1] == 100
        assert np.isnan(depth.values[0, 0])


def test_sintel_reads_depth_camera_and_pose(tmp_path):
    base = tmp_path / "training"
    put_photo(base / "final/alley_1/frame_0001.png")
    path = base / "depth/alley_1/frame_0001.dpt"
    path.parent.mkdir(parents=True)
    values = np.full((HEIGHT, WIDTH), 3.25, "<f4")
    path.write_bytes(struct.pack("<fii", 202021.25, WIDTH, HEIGHT) + values.tobytes())
    K, N = [4, 0, 3.5, 0, 4, 2.5, 0, 0, 1], [1, 0, 0, -5, 0, 1, 0, 0, 0, 0, 1, 0]
    camera = base / "camdata_left/alley_1/frame_0001.cam"
    camera.parent.mkdir(parents=True)
    camera.write_bytes(struct.pack("<f", 202021.25) + np.array(K + N, "<f8").tobytes())
    sample = only(registry.build("sintel", root=tmp_path))
    check(sample, 3.25, ())
    assert sample.depth.camera == Camera(4, 4, 4, 3, WIDTH, HEIGHT)
    assert sample.pose[:3, 3] == pytest.approx([5, 0, 0])
    camera.write_bytes(camera.read_bytes()[:-1])
    with pytest.raises(FileError, match="172"):
        registry.build("sintel", root=tmp_path).load("alley_1/0001")
    with pytest.raises(FileError):
        registry.build("sintel", root=tmp_path, render="clean")


def test_spring_has_depth_at_twice_the_size_in_pixels_of_the_picture(tmp_path):
    put_photo(tmp_path / "train/0001/frame_left/frame_left_0002.png")
    put_text(tmp_path / "train/0001/cam_data/intrinsics.txt", "9 9 9 9\n40 40 3.5 2.5\n")
    disparity = np.full((2 * HEIGHT, 2 * WIDTH), 0.5, np.float32)
    disparity[0, 0], disparity[0, 1] = np.nan, 0
    put_hdf5(tmp_path / "train/0001/disp1_left/disp1_left_0002.dsp5", disparity=disparity)
    sample = only(registry.build("spring", root=tmp_path))
    check(sample, 40 * 0.065 / 0.5, ((0, 0), (0, 1)), (2 * HEIGHT, 2 * WIDTH))
    assert sample.depth.sky[0, 1]
    assert (sample.image.camera.fx, sample.depth.camera.fx) == (40, 80)


def test_hypersim_turns_distance_into_depth():
    camera = Camera.from_fov(60, 1024, 768)
    assert camera.fx == pytest.approx(886.81, abs=0.01)
    rays = np.linalg.norm(np.stack(np.broadcast_arrays((np.arange(1024) + 0.5 - 512) / camera.fx, 0.0, 1.0)), axis=0)
    z = ray_to_z(np.full((768, 1024), 5.0), camera)
    assert z[383] == pytest.approx(5 / rays, rel=1e-6)  # half a pixel off the middle row
    assert z[383, 511] == pytest.approx(5, rel=1e-6)
    assert z[0, 0] == pytest.approx(5 / np.sqrt(1 + (511.5**2 + 383.5**2) / camera.fx**2))


def test_hypersim_takes_the_public_split(tmp_path):
    for scene in ("ai_001_001", "ai_001_002"):
        folder = tmp_path / scene / "images"
        put_photo(folder / "scene_cam_00_final_preview/frame.0000.tonemap.jpg")
        distance = np.full((HEIGHT, WIDTH), 5.0, np.float16)
        distance[0, 0] = np.nan
        put_hdf5(folder / "scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5", dataset=distance)
    assert len(registry.build("hypersim", root=tmp_path)) == 2
    names = (
        "scene_name",
        "camera_name",
        "frame_id",
        "included_in_public_release",
        "exclude_reason",
        "split_partition_name",
    )
    with (tmp_path / "metadata_images_split_scene_v1.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerow(["ai_001_001", "cam_00", 0, "True", "", "test"])
        writer.writerow(["ai_001_002", "cam_00", 0, "False", "corrupt", "test"])
    sample = only(registry.build("hypersim", root=tmp_path))
    assert sample.id == "ai_001_001/cam_00/0000"
    assert np.argwhere(~sample.depth.valid).tolist() == [[0, 0]]
    assert sample.depth.values.T[-1].max() < 5
    with pytest.raises(FileError, match="split"):
        registry.build("hypersim", root=tmp_path, split="val")


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    put_photo(tmp_path / "0001/frame_left/frame_left_0001.png")
    put_text(tmp_path / "0001/cam_data/intrinsics.txt", "4 4 3.5 2.5\n")
    put_text(tmp_path / "0001/disp1_left/disp1_left_0001.dsp5", "x")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(FileError, match=r"keendepth\[datasets\]"):
        registry.build("spring", root=tmp_path).load("0001/0001")


def test_folder_finds_photos_in_all_folders(tmp_path):
    for name in ("a/10.jpg", "a/9.jpg", "a/9.png", "b.webp", ".hidden.jpg"):
        put_photo(tmp_path / name)
    put_text(tmp_path / "notes.txt", "x")
    dataset = registry.build("folder", root=tmp_path)
    assert dataset.ids == ["a/9.jpg", "a/9.png", "a/10", "b"]
    assert dataset.load("a/10").depth is None


@pytest.mark.parametrize(
    ("photos", "depths"), [("rgb_*.jpg", "depth_*.png"), ("*/rgb/*.jpg", "*/depth/*.png"), ("**/*.jpg", "**/*.png")]
)
def test_folder_pairs_what_the_stars_stand_for(tmp_path, photos, depths):
    for stars in (("s", "1"), ("t", "2"), ("t", "3")):
        fill = list(stars if photos.count("*") == 2 else stars[1:])
        picture, truth = photos.replace("**/", "*/"), depths.replace("**/", "*/")
        if picture.count("*") == 2:
            fill = list(stars)
        for part in fill:
            picture, truth = picture.replace("*", part, 1), truth.replace("*", part, 1)
        put_photo(tmp_path / picture)
        if stars[1] != "3":
            put_png(tmp_path / truth, codes(int(stars[1]) * 1000))
    dataset = registry.build("folder", root=tmp_path, photos=photos, depths=depths)
    assert [float(np.nanmax(dataset.load(id).depth.values)) for id in dataset.ids] == [1.0, 2.0]


def test_folder_tells_equal_names_in_different_folders_apart(tmp_path):
    for number, place in enumerate(("a", "b/c"), 1):
        put_photo(tmp_path / place / "1.jpg")
        put_png(tmp_path / place / "1.png", codes(number * 1000))
    dataset = registry.build("folder", root=tmp_path, photos="**/*.jpg", depths="**/*.png")
    assert {id: float(dataset.load(id).depth.values[1, 1]) for id in dataset.ids} == {"a/1": 1.0, "b/c/1": 2.0}


def test_folder_without_a_pair_says_so(tmp_path):
    put_photo(tmp_path / "rgb/1.jpg")
    put_png(tmp_path / "depth/2.png", codes(1000))
    with pytest.raises(FileError, match="stars"):
        registry.build("folder", root=tmp_path, photos="rgb/*.jpg", depths="depth/*.png")


def test_folder_reads_units(tmp_path):
    put_photo(tmp_path / "1.jpg")
    put_png(tmp_path / "1.png", codes(5000))
    sample = registry.build("folder", root=tmp_path, photos="*.jpg", depths="*.png", convention="tum").load("1")
    assert sample.depth.values[1, 1] == 1
    sample = registry.build("folder", root=tmp_path, photos="*.jpg", depths="*.png", units="disparity").load("1")
    assert sample.depth.kind is DepthKind.DISPARITY


def test_neighbours_are_the_frames_beside_in_order_of_number(tmp_path):
    for number in (8, 9, 10):
        put_photo(tmp_path / f"frame_{number}.png", value=number)
    put_photo(tmp_path / "mask_8.png", value=200)
    frames = WithNeighbours(registry.build("folder", root=tmp_path, photos="frame_*.png"))
    assert frames.ids == ["frame_8", "frame_9", "frame_10"]
    middle = frames.load("frame_9")
    assert (middle.before.rgb[0, 0, 0], middle.after.rgb[0, 0, 0]) == (8, 10)
    assert frames.load("frame_8").before is None
    assert frames.load("frame_10").after is None
    assert frames.protocol_facts()["images"] == len(frames) == 3


# What is real


@pytest.mark.parametrize(
    ("name", "count", "median", "share"),
    [
        ("real-nyu", 4, (2, 4), (0.6, 0.9)),
        ("real-rgbd", 7, (1.5, 3), (0.75, 0.95)),
        ("real-kitti", 3, (10, 20), (0.1, 0.3)),
        ("real-eth3d", 2, (3, 5), (0.4, 0.6)),
    ],
)
def test_real_pairs_are_plausible(shared, name, count, median, share):
    dataset = registry.build(name, root=shared / "data")
    assert len(dataset) == count
    for id in dataset.ids:
        sample = dataset.load(id)
        assert sample.depth.kind is DepthKind.METRIC
        assert sample.depth.size == sample.image.size
        assert median[0] < np.median(sample.depth.values[sample.depth.valid]) < median[1]
        assert share[0] < sample.depth.valid.mean() < share[1]


def test_real_nyu_stays_within_the_kinects_range(shared):
    dataset = registry.build("real-nyu", root=shared / "data")
    for id in dataset.ids:
        known = dataset.load(id).depth.values[dataset.load(id).depth.valid]
        assert known.min() > 0.5
        assert known.max() < 10


def test_real_middlebury_motorcycle_is_metric_and_the_rest_disparity(shared):
    dataset = registry.build("real-middlebury", root=shared / "data")
    samples = {id: dataset.load(id) for id in dataset.ids}
    known = samples["motorcycle"].depth.values[samples["motorcycle"].depth.valid]
    assert 2 < known.min() < known.max() < 6
    assert samples["motorcycle"].depth.camera.fx == 994.978
    others = [sample for id, sample in samples.items() if id != "motorcycle"]
    assert {sample.depth.kind for sample in others} == {DepthKind.DISPARITY}
    assert all(sample.depth.valid.mean() > 0.9 and sample.domain == "closeup" for sample in samples.values())


def test_real_poses_carry_one_frame_onto_the_next(shared):
    """Points of the first PrimeSense frame, carried into the fifth: there they must meet its depth to a centimetre."""
    from keendepth.core import geometry

    dataset = registry.build("real-rgbd", root=shared / "data")
    first, last = dataset.load("primesense/00000"), dataset.load("primesense/00004")
    points = first.depth.points().reshape(-1, 3).astype(np.float64)
    points = points[np.isfinite(points).all(1)]
    to_last = np.linalg.inv(last.pose) @ first.pose
    u, v, z = geometry.project(points @ to_last[:3, :3].T + to_last[:3, 3], last.depth.camera.K)
    inside = (u >= 0) & (u < 640) & (v >= 0) & (v < 480)
    error = np.abs(last.depth.values[v[inside].astype(int), u[inside].astype(int)] - z[inside])
    assert np.nanmedian(error) < 0.01
    still = np.nanmedian(np.abs(first.depth.values - last.depth.values))
    assert still > 0.03  # so the poses do something


def test_real_family_has_neighbours_and_joins(shared):
    whole = registry.build("real", root=shared / "data")
    assert len(whole) == 20
    assert whole.load("nyu/unidepth").domain == "indoor"
    frames = WithNeighbours(registry.build("real-rgbd", root=shared / "data"))
    assert frames.load("primesense/00004").after is None
    assert frames.load("primesense/00001").after is not None
    assert frames.load("sun").before is None
