"""Generators that start from coarse depth: what they are shown, their full-size level, and a sharpener of one evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch
from scipy import ndimage

from keendepth.core.types import DepthKind, DepthMap, Image
from keendepth.nn.denoise_net import TAPS, DenoiseNet, neighbours
from keendepth.nn.sharpen import ONCE, Sharpener, difference_map
from keendepth.refiners.sharp import Sharp
from keendepth.refiners.sharp_network import small_model
from keendepth.training import runs
from keendepth.training.coarse import CoarseOptions, CoarsePictures, in_range, sharp_of
from keendepth.training.methods import train
from keendepth.training.pictures import PictureOptions, Pictures, find
from made_data import made_cache

NET = ["channels=[8, 12]", "fine=4", "longest=64", "size=[48, 64]", "validation=2"]
LOOP = ["batch_size=2", "validate_every=0", "warmup=1", "lr=3e-3", "threads=1", "ema_decay=0.5", "steps=3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coarse")
    made_cache(root / "scenes", count=3)
    made_cache(root / "held", count=2, first=1_000_000)
    return root


def test_the_goal_has_the_edges_of_the_truth_and_the_levels_of_the_coarse_map() -> None:
    truth = np.full((96, 128), 0.2, np.float32)
    truth[:, 64:] = 0.8
    coarse = 2 * ndimage.gaussian_filter(truth, 4) + np.float32(0.3)
    goal = sharp_of(coarse, truth, 0.08)
    assert goal is not None
    assert goal[:, 64].mean() - goal[:, 63].mean() > 1.1  # of a step of 1.2
    np.testing.assert_allclose(goal[:, [2, -3]], coarse[:, [2, -3]], atol=0.05)
    assert sharp_of(-coarse + 3, truth, 0.08) is None


def test_start_and_goal_are_in_the_range_of_the_start() -> None:
    coarse = np.tile(np.linspace(0.2, 1, 64, dtype=np.float32), (48, 1))
    goal = coarse.copy()
    goal[10, 10] = 9
    pair = in_range(coarse, goal, "inverse")
    assert pair is not None
    assert (pair[0].min(), pair[0].max()) == (-1, 1)
    assert pair[1].min() == -1.5
    far = np.ones_like(coarse, bool)
    far[10, 10] = False
    np.testing.assert_allclose(pair[0][far], pair[1][far], atol=1e-5)
    assert in_range(np.ones_like(coarse), goal, "inverse") is None


def test_batches_follow_from_their_number_and_say_which_pictures_start_from_depth(data: Path) -> None:
    learned, _ = find([data / "scenes", data / "held"], "", "onestep")
    made = Pictures(learned, PictureOptions((48, 64)), 8, 1)
    batch, again = (CoarsePictures(made, CoarseOptions(0.5, 0.0)).batch(3) for _ in range(2))
    assert all(torch.equal(batch[name], again[name]) for name in ("rgb", "start", "goal", "coarse", "depth"))
    which = batch["coarse"]
    assert 0 < int(which.sum()) < 8
    assert not batch["start"][~which].any()
    assert (batch["start"] - batch["goal"])[which].abs().mean() > 0.005


def test_neighbours_are_shifted_copies_with_replicated_borders() -> None:
    x = torch.arange(30 * 40, dtype=torch.float32).reshape(1, 1, 30, 40)
    found = neighbours(x)
    assert found.shape == (1, 1 + len(TAPS), 30, 40)
    assert torch.equal(found[:, :1], x)
    down, right = TAPS[-1]
    assert found[0, -1, 3, 5] == x[0, 0, 3 + down, 5 + right]
    assert found[0, -1, 29, 39] == x[0, 0, 29, 39]


def test_a_network_with_a_full_size_level_begins_near_its_input() -> None:
    torch.manual_seed(0)
    net = DenoiseNet(48, 16, (16, 24), 1, 8).eval()
    x = torch.nn.functional.pixel_unshuffle(torch.rand(2, 1, 48, 64).round(), 4)
    with torch.no_grad():
        found = net(torch.randn(2, 48, 12, 16), x)
    assert found.shape == x.shape
    assert torch.corrcoef(torch.stack([found.flatten(), x.flatten()]))[0, 1] > 0.8


def test_one_evaluation_from_depth_knows_no_chance() -> None:
    torch.manual_seed(0)
    model = small_model(4, (8, 12), 1, 64, 4)
    rgb, depth = torch.rand(1, 3, 48, 64), torch.rand(1, 1, 48, 64) * 2 - 1
    calls = []
    model.denoiser.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        first, second = (Sharpener(model, ONCE)(rgb, depth, torch.randn(1, 2, 48, 64)) for _ in range(2))
    assert len(calls) == 2
    assert torch.equal(first[0], second[0])
    expected = ((first[0] - depth).abs() / 0.2).clamp(0, 1)
    torch.testing.assert_close(first[1], expected)
    torch.testing.assert_close(difference_map(first[0], depth, ONCE), expected)


def test_a_generator_from_depth_and_its_sharpener_train_and_ship(data: Path) -> None:
    folders = str(data / "scenes"), str(data / "held")
    own = ["condition=0.7", "asked=0.5", "noised=0.5"]
    train(runs.Run(data / "onestep", "onestep", folders), sets=[*NET, *LOOP, *own])
    figures = runs.read_log(data / "onestep")[-1]["validation"]
    assert {"edge_ratio", "abs_rel", "input_abs_rel"} <= figures.keys()
    sets = ["start=depth", "gate=clean", "answer=depth", "answers=2", "whole=0.2", "pure=0"]
    train(runs.Run(data / "sharp", "sharp", folders), sets=[*NET, *LOOP, f"generator={data / 'onestep'}", *sets])
    assert {"sds", "reconstruction"} <= runs.read_log(data / "sharp")[1].keys()
    rgb = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    depth = DepthMap(np.linspace(1, 5, 5400, dtype=np.float32).reshape(60, 90), DepthKind.METRIC)
    through_onnx = Sharp(data / "sharp").refine(Image(rgb), depth)
    assert through_onnx.expected_error is not None
    (data / "sharp" / "model.onnx").unlink()
    np.testing.assert_allclose(Sharp(data / "sharp").refine(Image(rgb), depth).values, through_onnx.values, rtol=1e-3)
