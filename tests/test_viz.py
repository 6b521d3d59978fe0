"""Pictures for looking at: colours, their order, unknown and sky, edges, rows of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from keendepth import viz
from keendepth.core.types import DepthKind, DepthMap, Image


def ramp(kind: DepthKind = DepthKind.METRIC) -> DepthMap:
    values = np.linspace(1, 10, 200, dtype=np.float32).reshape(10, 20)
    values[0, 0], values[-1, -1] = np.nan, np.inf
    return DepthMap(values, kind)


@pytest.mark.parametrize("cmap", sorted(viz.ANCHORS))
@pytest.mark.parametrize("kind", list(DepthKind))
def test_unknown_and_sky_have_their_own_colours(cmap: str, kind: DepthKind) -> None:
    picture = viz.colourise(ramp(kind), cmap)
    assert (picture.dtype, picture.shape) == (np.uint8, (10, 20, 3))
    assert tuple(picture[0, 0]) == viz.UNKNOWN
    assert tuple(picture[-1, -1]) == viz.SKY


def test_near_is_the_end_of_the_map() -> None:
    for kind in DepthKind:
        picture = viz.colourise(ramp(kind), "gray")[..., 0].astype(int)
        near, far = picture[0, 1], picture[-1, -2]
        assert (near < far) if kind is DepthKind.DISPARITY else (near > far)


def test_colours_are_the_tables_colours() -> None:
    values = np.float32([[1, 1e9]])
    picture = viz.colourise(DepthMap(values, DepthKind.METRIC), "inferno", 0, 100)
    assert picture[0, 0].tolist() == [0xFC, 0xFF, 0xA4]
    assert picture[0, 1].tolist() == [0, 0, 4]
    with pytest.raises(ValueError, match="expected one of spectral"):
        viz.colourise(ramp(), "jet")


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.0, 1e-45, 3e38])
def test_flat_and_extreme_maps(value: float) -> None:
    picture = viz.colourise(DepthMap(np.full((3, 4), value, np.float32), DepthKind.METRIC))
    assert (picture == picture[0, 0]).all()


def test_extreme_ranges() -> None:
    values = np.float32([[-3e38, 0, 3e38, np.nan]])
    picture = viz.colourise(DepthMap(values, DepthKind.AFFINE_INVARIANT), "gray", 0, 100)
    assert picture[0, :3, 0].tolist() == [255, 128, 0]


def test_outliers_do_not_wash_out_the_rest() -> None:
    values = np.linspace(1, 4, 10_000, dtype=np.float32).reshape(100, 100)
    values[0, 0] = 1e-4
    picture = viz.colourise(DepthMap(values, DepthKind.METRIC), "gray")[..., 0]
    assert picture.std() > 50


@pytest.mark.parametrize("kind", list(DepthKind))
def test_edges_are_drawn_where_depth_jumps(kind: DepthKind) -> None:
    values = np.full((20, 30), 2.0, np.float32)
    values[:, 15:] = 4.0
    image = Image(np.full((40, 60, 3), 100, np.uint8))
    picture = viz.edge_overlay(image, DepthMap(values, kind))
    red = (picture == viz.EDGE_COLOUR).all(axis=-1)
    assert picture.shape == (40, 60, 3)
    assert red[:, 29:31].all()
    assert not red[:, :28].any()
    assert not red[:, 32:].any()


def test_side_by_side() -> None:
    one, two = np.zeros((10, 20, 3), np.uint8), np.full((20, 20, 3), 7, np.uint8)
    row = viz.side_by_side(one, two, gap=4)
    assert row.shape == (10, 20 + 4 + 10, 3)
    assert (row[:, 20:24] == 255).all()
    assert (row[:, 24:] == 7).all()
    with pytest.raises(ValueError, match="at least one"):
        viz.side_by_side()
