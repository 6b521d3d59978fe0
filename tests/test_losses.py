"""The losses: what they must not see, what they must, their gradients, and masks that leave nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from keendepth.core import edges  # noqa: E402
from keendepth.losses import affine, edge  # noqa: E402

SHAPE = (2, 1, 12, 14)


def maps(count: int, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(3), dtype=dtype)


def some(share: float, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) < share


REGIONS = torch.zeros(SHAPE, dtype=torch.int64)
REGIONS[:, :, :5, :7] = 1
REGIONS[:, :, 6:, 8:] = 2
MASKED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "affine": affine.affine_invariant_loss,
    "matching": affine.gradient_matching,
    "l1": lambda p, t, v: edge.edge_weighted_l1(p, t, v, 1 + 9 * (t > 0.5).to(t.dtype)),
    "gradient": lambda p, t, v: edge.edge_gradient_loss(p, t, torch.where(v, REGIONS[: len(p)], 0)),
    "fusion": edge.fusion_loss,
    "fusion paper": edge.fusion_loss_paper,
}
every = pytest.mark.parametrize("loss", MASKED.values(), ids=MASKED)


@every
def test_gradients_are_right(loss: Callable) -> None:
    prediction, target = maps(2)
    valid = some(0.7)
    if loss is edge.fusion_loss_paper:  # its quantiles are constants by design, which a finite difference cannot know
        prediction.requires_grad_()
        loss(prediction, target, valid).backward()
        assert prediction.grad.isfinite().all()
        assert prediction.grad.abs().max() > 0
        return
    assert torch.autograd.gradcheck(lambda p: loss(p, target, valid), prediction.requires_grad_(), atol=1e-6)


@every
def test_nothing_valid_gives_zero_and_a_graph(loss: Callable) -> None:
    prediction, target = maps(2)
    prediction.requires_grad_()
    found = loss(prediction, target, torch.zeros(SHAPE, dtype=torch.bool))
    assert found.item() == 0
    found.backward()
    assert torch.equal(prediction.grad, torch.zeros_like(prediction))


@every
def test_what_is_not_valid_may_be_anything(loss: Callable) -> None:
    prediction, target = maps(2)
    valid = some(0.6)
    expected = loss(prediction, torch.where(valid, target, 0.3), valid)
    given = prediction.clone().requires_grad_()
    found = loss(given, torch.where(valid, target, torch.nan), valid)
    found.backward()
    assert torch.allclose(found, expected)
    assert given.grad.isfinite().all()


@every
def test_pictures_are_independent(loss: Callable) -> None:
    prediction, target = maps(2)
    valid = some(0.6)
    each = [loss(prediction[i : i + 1], target[i : i + 1], valid[i : i + 1]) for i in range(2)]
    assert torch.allclose(loss(prediction, target, valid), torch.stack(each).mean())
    valid[1] = False  # a picture with nothing to say does not dilute the others
    assert torch.allclose(loss(prediction, target, valid), each[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
@every
def test_tiny_pictures(loss: Callable, size: tuple[int, int]) -> None:
    prediction, target = maps(2, (1, 1, *size))
    if loss is MASKED["gradient"]:
        found = edge.edge_gradient_loss(prediction, target, torch.ones(1, 1, *size, dtype=torch.int64))
    else:
        found = loss(prediction, target, torch.ones(1, 1, *size, dtype=torch.bool))
    assert found.isfinite()


def test_the_masked_median_is_a_true_one_with_a_sparse_mask() -> None:
    (values,) = maps(1, (2, 1, 40, 50)) + 10
    valid = some(0.05, (2, 1, 40, 50))
    expected = [np.median(values[i][valid[i]].numpy()) for i in range(2)]
    np.testing.assert_allclose(affine.masked_median(values, valid).numpy(), expected)
    assert affine.masked_median(values, valid & False).tolist() == [0, 0]
    # ... so the loss stays blind to shifts, which a median over mask * values is not.
    prediction, target = maps(2, (2, 1, 40, 50))
    plain = affine.affine_invariant_loss(prediction, target, valid)
    assert torch.allclose(affine.affine_invariant_loss(3 * prediction + 50, 0.1 * target - 7, valid), plain)


def test_a_map_that_is_right_up_to_scale_and_shift_costs_nothing() -> None:
    (target,) = maps(1)
    valid = some(0.7)
    assert affine.affine_invariant_loss(4 * target - 2, target, valid).item() == pytest.approx(0, abs=1e-12)
    assert affine.affine_invariant_loss(1 - target, target, valid) > 0.3
    flat = torch.full_like(target, 2.0, requires_grad=True)
    affine.affine_invariant_loss(flat, target, valid).backward()
    assert flat.grad.abs().max() < 10


def test_the_trimmed_share_costs_only_gradients() -> None:
    (target,) = maps(1, (1, 1, 20, 20))
    wrong = target.clone()
    wrong[..., :3, :20] += 1e-3  # 15 %, moved a little so that median and spread stay nearly as they are
    valid = torch.ones_like(target, dtype=torch.bool)
    total = affine.affine_invariant_loss(wrong, target, valid)
    ours, theirs = affine.standardised(wrong, valid), affine.standardised(target, valid)
    left = total - affine.GRADIENT_WEIGHT * affine.gradient_matching(ours, theirs, valid)
    assert left < 0.1 * (ours - theirs).abs().mean()


def test_gradient_matching_is_blind_to_a_shift_and_sees_a_slope() -> None:
    target = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    valid = torch.ones_like(target, dtype=torch.bool)
    ramp = target + 0.1 * torch.arange(16)
    assert affine.gradient_matching(target + 5, target, valid).item() == 0
    # A slope of 0.1 per pixel is 0.1, 0.2, 0.4, 0.8 at the four steps, on n (n - 1) of n^2 pairs.
    expected = sum(0.1 * s * (16 // s - 1) / (16 // s) for s in (1, 2, 4, 8))
    assert affine.gradient_matching(ramp, target, valid).item() == pytest.approx(expected)


def test_deep_supervision_weighs_all_outputs_alike() -> None:
    prediction, target = maps(2, (1, 1, 13, 10))
    valid = some(0.8, (1, 1, 13, 10))
    outputs = [prediction[..., ::s, ::s] for s in (1, 2, 4)]
    each = [
        affine.affine_invariant_loss(o, target[..., ::s, ::s], valid[..., ::s, ::s])
        for o, s in zip(outputs, (1, 2, 4), strict=True)
    ]
    assert torch.allclose(affine.supervised_loss(outputs, target, valid), torch.stack(each).mean())


@pytest.mark.parametrize("size", [(9, 13), (1, 1), (1, 6)])
def test_the_gradient_is_the_one_of_core(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random(size)
    found = edge.gradient_magnitude(torch.from_numpy(values)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, edges.gradient_magnitude(values), atol=1e-12)


def test_a_planted_slope_and_offset_are_found_per_region() -> None:
    (prediction,) = maps(1)
    steep = edge.gradient_magnitude(prediction)
    label = torch.where(REGIONS == 1, 3 * steep + 0.1, 0.5 * steep - 0.02)
    assert edge.edge_gradient_loss(prediction, label, REGIONS).item() == pytest.approx(0, abs=1e-12)
    index = (REGIONS + 3 * torch.arange(2).view(2, 1, 1, 1)).flatten()
    slope, offset, size = edge._region_fits(steep.flatten(), label.flatten(), index, 6)
    assert slope[[1, 4]].tolist() == pytest.approx([3, 3])
    assert offset[[1, 4]].tolist() == pytest.approx([0.1, 0.1])
    assert slope[[2, 5]].tolist() == pytest.approx([0.5, 0.5])
    assert size.tolist() == torch.bincount(index).tolist()


def test_slopes_are_kept_positive_and_bounded() -> None:
    (prediction,) = maps(1)
    steep = edge.gradient_magnitude(prediction)
    assert edge.edge_gradient_loss(prediction, 1 - steep, REGIONS) > 0.01
    assert edge.edge_gradient_loss(prediction, 100 * steep, REGIONS) > 0.01
    flat = torch.zeros(SHAPE, dtype=torch.float64, requires_grad=True)
    found = edge.edge_gradient_loss(flat, steep, REGIONS)
    found.backward()
    assert found > 0
    assert flat.grad.isfinite().all()


def test_regions_are_on_the_steepest_pixels_seeded_and_not_small() -> None:
    label = np.random.default_rng(1).random((60, 80)).astype(np.float32) * 0.1
    label[5:12, 5:25] += 1
    label[40:50, 60:72] += 1
    label[0, 0] = np.nan
    regions = edge.edge_regions(label, 0.05, 2)
    assert regions.shape == label.shape
    assert set(np.unique(regions)) == {0, 1, 2}
    assert len(set(regions[5:12, 5:25].ravel())) <= 2
    assert set(regions[5:12, 5:25].ravel()) & set(regions[40:50, 60:72].ravel()) <= {0}
    assert np.count_nonzero(regions) == round(0.05 * (label.size - 1))
    np.testing.assert_array_equal(regions, edge.edge_regions(label, 0.05, 2))
    assert not edge.edge_regions(label, 0.05, 2, least=500).any()
    assert not edge.edge_regions(np.zeros((60, 80), np.float32)).any()
    same_place = np.zeros((60, 80), np.float32)
    same_place[3, 3] = 1
    assert set(np.unique(edge.edge_regions(same_place, 0.05, 4, least=1))) <= {0, 1, 2, 3, 4}


def label_of_a_step(shape: tuple[int, ...] = (1, 1, 40, 40)) -> Tensor:
    """A flat label, all ties, but for a line of edge."""
    label = torch.zeros(shape, dtype=torch.float64)
    label[..., 18:22] = (
        1 + torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[..., 18:22]
    )
    return label


def test_eq_9_is_zero_for_any_constant_mask_and_the_shipped_form_is_not() -> None:
    label = label_of_a_step()
    for value in (0.0, 0.3, 0.5, 1.0):
        omega = torch.full_like(label, value)
        assert edge.fusion_loss_paper(omega, label).item() == 0
        assert edge.fusion_loss(omega, label) > 0.3


def test_both_fusion_losses_fall_when_the_mask_follows_the_label() -> None:
    label, omega = label_of_a_step(), maps(1, (1, 1, 40, 40))[0]
    rank = (label.flatten().argsort(stable=True).argsort().to(label.dtype) / (label.numel() - 1)).view_as(label)
    for loss in (edge.fusion_loss, edge.fusion_loss_paper):
        assert loss(rank, label) < 0.2 * loss(omega, label)
        assert loss(1 - rank, label) > loss(omega, label)
    assert edge.fusion_loss((label > 0).to(label.dtype), label).item() == 0


def test_fusion_pushes_edges_up_and_flats_down() -> None:
    label = label_of_a_step()
    omega = torch.full_like(label, 0.5, requires_grad=True)
    edge.fusion_loss(omega, label).backward()
    assert (omega.grad[label > 1.8] <= 0).all()
    assert (omega.grad[label > 1.8] < 0).any()
    assert (omega.grad[label == 0] >= 0).all()
    touched = (omega.grad != 0).double().mean().item()
    assert touched == pytest.approx(0.16, abs=0.005)  # the lowest and the highest 8 %, ties or not


def test_a_label_is_brought_to_the_size_of_the_mask_by_its_largest_value() -> None:
    label = torch.zeros(1, 1, 9, 7)
    label[0, 0, 4, 3] = 5
    label[0, 0, 0, 0] = torch.nan
    small, known = edge.label_at(torch.zeros(1, 1, 5, 4), label, None)
    assert small.shape == (1, 1, 5, 4)
    assert small.max() == 5
    assert small.isfinite().all()
    nothing, known = edge.label_at(torch.zeros(1, 1, 3, 3), torch.full((1, 1, 3, 3), torch.nan), None)
    assert not known.any()
    assert not nothing.any()


def test_edges_weigh_more() -> None:
    target = torch.zeros(1, 1, 20, 20)
    target[..., 10:] = 1
    valid = torch.ones_like(target, dtype=torch.bool)
    weights = edge.edge_weights(target, valid, reach=2, weight=20.0)
    assert weights[0, 0, 0].tolist() == [1.0] * 7 + [20.0] * 6 + [1.0] * 7
    valid[..., 9] = False
    assert (edge.edge_weights(target, valid) == 1).all()
    off = torch.zeros_like(target)
    off[..., 10] = 1  # one wrong column: 6 of 20 weigh 20, so a column is 20 / (14 + 6 * 20)
    valid[..., 9] = True
    assert edge.edge_weighted_l1(target - off, target, valid, weights).item() == pytest.approx(20 / 134)
