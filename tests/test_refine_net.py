"""The refiner network: low to the bit at first, blind to units, the right mask sign, any size, and the same numbers in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor  # noqa: E402

from keendepth.losses.edge import edge_weighted_l1, edge_weights  # noqa: E402
from keendepth.nn import blocks, refine_net  # noqa: E402
from keendepth.nn.refine_net import DepthOnly, RefineNet, RefineNetOptions, normalise, restore  # noqa: E402

HEADS = ("residual", "mix", "fine")
SIZES = [(64, 64), (37, 53), (130, 64), (1, 1), (7, 5)]


def built(head: str, rgb: bool = True, awake: bool = False) -> RefineNet:
    """A tiny network; `awake`: the layers that start at zero are random instead."""
    torch.manual_seed(0)
    fine = 8 if head == "fine" else 0  # the mixing head at full size
    network = RefineNet(RefineNetOptions("tiny", rgb, "mix" if fine else head, fine=fine)).eval()
    if awake:
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=(1.5 / parameter[0].numel()) ** 0.5)
    return network


def inputs(size: tuple[int, int], batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size[0])
    low, high = torch.rand((2, batch, 1, *size), generator=generator)
    return low, high, torch.rand((batch, 3, *size), generator=generator)


def smooth(size: tuple[int, int]) -> Tensor:
    """A ramp from 0 to 1."""
    return torch.linspace(0, 1, size[0])[:, None].expand(2, 1, *size).contiguous()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_a_new_network_returns_low(head: str, rgb: bool, size: tuple[int, int]) -> None:
    low, high, photo = inputs(size)
    if head != "residual":  # its first samples lie within a pixel, so a map without grain comes back nearly as it was
        low = smooth(size)
        high = low + 0.01 * high
    near = 5 / size[0] if head == "fine" else 0.03  # there, within five
    for training in (False, True):
        out = built(head, rgb).train(training)(low, high, photo if rgb else None)
        assert torch.equal(out.depth, low) if head == "residual" else torch.allclose(out.depth, low, atol=near)
        assert torch.equal(out.half, low[..., ::2, ::2])
        assert torch.equal(out.quarter, low[..., ::4, ::4])


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_masks_are_between_0_and_1_the_finest_last(size: tuple[int, int]) -> None:
    omega = built("mix", awake=True)(*inputs(size)).omega
    steps = [2**k for k in range(len(omega), 0, -1)]
    assert [tuple(mask.shape) for mask in omega] == [(2, 1, -(-size[0] // s), -(-size[1] // s)) for s in steps]
    assert all((mask > 0).all() and (mask < 1).all() for mask in omega)


@torch.no_grad()
def test_omega_weights_high() -> None:
    fusion = refine_net._Fusion(8, 4)
    coarse, (low, high) = torch.randn(1, 8, 3, 3), torch.randn(2, 1, 4, 6, 6)
    torch.nn.init.zeros_(fusion.mask.weight)
    for bias, taken in ((50.0, high), (-50.0, low)):
        fusion.mask.bias.fill_(bias)
        out, omega = fusion(coarse, low, high)
        assert torch.allclose(out, fusion.merge(blocks.doubled(fusion.narrow(coarse)) + taken), atol=1e-5)
        assert torch.allclose(omega, torch.tensor(float(bias > 0)))


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_units_do_not_matter(head: str) -> None:
    network = built(head, awake=True)
    low, high, photo = inputs((40, 56))
    high = 0.7 * low + 0.3 * high

    def refined(low: Tensor, high: Tensor) -> Tensor:
        low, high, units = normalise(low, high)
        return restore(network(low, high, photo).depth, units)

    plain = refined(low, high)
    assert (plain - low).abs().max() > 0.05
    for scale, shift in ((3.0, 0.0), (0.02, 5.0), (1000.0, -200.0)):
        found = refined(scale * low + shift, scale * high + shift)
        assert torch.allclose((found - shift) / scale, plain, atol=5e-3)  # noise at displaced places: rounding grows
    # The map that is only aligned to the other may have units of its own.
    assert torch.allclose(refined(low, 7 * high - 2), plain, atol=2e-3)


@torch.no_grad()
def test_the_mix_head_itself_commutes_with_scale_and_shift() -> None:
    head, (low, high, _) = built("mix", awake=True).head, inputs((24, 32))
    features = torch.randn(2, 16, 12, 16)
    assert torch.allclose(head(features, 3 * low + 2, 3 * high + 2), 3 * head(features, low, high) + 2, atol=1e-5)


@torch.no_grad()
def test_the_mix_head_invents_no_values() -> None:
    head, (low, high, _) = built("mix", awake=True).head, inputs((24, 32))
    head.choose.bias[4:8] = refine_net.LARGEST_LOGIT  # g = 1: a convex mixture
    out = head(torch.randn(2, 16, 12, 16), low, high)
    both = torch.cat([low, high], 1)
    assert (out - low).abs().max() > 0.1
    assert (out >= both.amin((1, 2, 3), keepdim=True) - 1e-3).all()
    assert (out <= both.amax((1, 2, 3), keepdim=True) + 1e-3).all()


@torch.no_grad()
def test_the_mix_head_samples_where_the_offset_points() -> None:
    head = built("mix").head
    for part in (head.choose.weight, head.choose.bias):
        part.zero_()
    head.choose.bias[4:12] = refine_net.LARGEST_LOGIT  # only the first sample counts
    head.choose.bias[-2 * head.samples] = torch.atanh(torch.tensor(4 / head.reach))  # 4 half-size pixels to the right
    low = torch.arange(64.0).expand(1, 1, 8, 64).contiguous()
    out = head(torch.zeros(1, 16, 4, 32), low, low)
    assert torch.allclose(out[..., 2:50], low[..., 10:58], atol=5e-2)
    assert out.max() < 63.05  # beyond the border its last values


@torch.no_grad()
def test_the_head_at_full_size_mixes_what_is_there_and_samples_where_the_offset_points() -> None:
    head, (low, high, _) = built("fine", awake=True).head, inputs((24, 32))
    x = torch.randn(2, 8, 24, 32)
    out, both = head(x, low, high), torch.cat([low, high], 1)
    assert (out - low).abs().max() > 0.1
    assert (out >= both.amin((1, 2, 3), keepdim=True) - 1e-5).all()
    assert (out <= both.amax((1, 2, 3), keepdim=True) + 1e-5).all()
    assert torch.allclose(head(x, 3 * low + 2, 3 * high + 2), 3 * out + 2, atol=1e-4)
    for part in (head.choose.weight, head.choose.bias):
        part.zero_()
    head.choose.bias[0] = torch.atanh(torch.tensor(4 / head.reach))  # 4 pixels to the right
    head.choose.bias[2 * head.samples :] = -20.0
    head.choose.bias[2 * head.samples] = refine_net.LARGEST_LOGIT  # only the first sample counts
    ramp = torch.arange(64.0).expand(1, 1, 8, 64).contiguous()
    out = head(torch.zeros(1, 8, 8, 64), ramp, ramp)
    assert torch.allclose(out[..., 2:58], ramp[..., 6:62], atol=2e-2)
    assert out.max() < 63.05  # beyond the border its last values


def test_a_level_at_full_size_needs_the_mixing_head() -> None:
    with pytest.raises(ValueError, match="fine must be 0"):
        RefineNetOptions("tiny", True, "residual", fine=8)


@torch.no_grad()
def test_doubling_is_bilinear() -> None:
    x = torch.randn(2, 3, 5, 4)
    expected = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    found = torch.nn.functional.pixel_shuffle(blocks.DoubledPhases()(x).flatten(1, 2), 2)
    assert torch.allclose(found, expected, atol=1e-6)


@torch.no_grad()
def test_attention_tells_low_from_high_and_places_apart() -> None:
    torch.manual_seed(0)
    attention = blocks.CrossAttention(16, 1, 4, 2)
    a, b = torch.randn(2, 1, 16, 3, 5)
    first, second = attention(a, b)
    torch.nn.init.zeros_(attention.source)
    low, high = attention(a, b)
    swapped_high, swapped_low = attention(b, a)
    assert torch.allclose(low, swapped_low, atol=1e-5)  # without PE_f they are told apart by content only
    assert torch.allclose(high, swapped_high, atol=1e-5)
    assert not torch.allclose(first, low, atol=1e-3)
    place = blocks.position_encoding(a)[0]
    assert place.shape == (15, 16)
    assert torch.cdist(place, place).fill_diagonal_(1).min() > 1e-2
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("size", "least", "most"), [("tiny", 0.2e6, 0.4e6), ("small", 0.8e6, 1.4e6), ("paper", 10e6, 17e6)]
)
def test_sizes(size: str, least: float, most: float) -> None:
    for head in refine_net.HEADS:
        count = sum(parameter.numel() for parameter in RefineNet(RefineNetOptions(size, head=head)).parameters())
        assert least < count < most


def test_wrong_options_and_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="size must be one of tiny, small, paper, found 'huge'"):
        RefineNetOptions("huge")
    with pytest.raises(ValueError, match="head must be one of residual, mix, found 'sum'"):
        RefineNetOptions(head="sum")
    with pytest.raises(ValueError, match="samples must be 1 or more and reach above 0, found 0 and 18"):
        RefineNetOptions(samples=0)
    low, high, photo = inputs((8, 8))
    with pytest.raises(ValueError, match=r"options\.rgb is True, found rgb = None"):
        built("mix")(low, high)
    with pytest.raises(ValueError, match=r"options\.rgb is False, found rgb = a photo"):
        built("mix", rgb=False)(low, high, photo)


def test_normalise_has_the_stated_percentiles_and_restore_undoes_it() -> None:
    low, high, _ = inputs((30, 41))
    low = 3 + 2 * low
    found, _, units = normalise(low, high)
    flat = found.flatten(1).numpy()
    np.testing.assert_allclose(np.quantile(flat, 0.02, axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.quantile(flat, 0.98, axis=1), 1, atol=1e-6)
    assert torch.allclose(restore(found, units), low, atol=1e-6)
    alone, _, _ = normalise(low[1:], high[1:])
    assert torch.equal(alone, found[1:])


def test_normalise_fits_high_past_its_wrong_regions() -> None:
    low, _, _ = inputs((40, 50))
    high = (low - 2) / 5
    high[..., :6, :25] += 0.3  # 7.5 % of the picture, by more than the range
    found_low, found_high, _ = normalise(low, high)
    right = torch.ones_like(low, dtype=torch.bool)
    right[..., :6, :25] = False
    assert torch.allclose(found_low[right], found_high[right], atol=1e-4)


def test_normalise_takes_constant_and_nearly_constant_maps() -> None:
    flat, spike = torch.full((1, 1, 9, 9), 4.0), torch.full((1, 1, 20, 20), 4.0)
    spike[..., 0, 0] = 6
    for low in (flat, spike, flat * 0):
        found_low, found_high, units = normalise(low, torch.rand_like(low))
        assert found_low.isfinite().all()
        assert found_high.isfinite().all()
        assert found_low.abs().max() <= 1
        assert torch.allclose(restore(found_low, units), low)
    falling = torch.linspace(0, 1, 81).view(1, 1, 9, 9)
    found_low, found_high, _ = normalise(falling, 1 - falling)  # wrong way round: never turned over, but left out
    assert torch.equal(found_high, found_low)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rgb", [True, False])
def test_onnx_gives_the_same_at_any_size(head: str, rgb: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the train extra")
    import onnxruntime

    from keendepth.export import export_onnx

    module = DepthOnly(built(head, rgb, awake=True))
    path = tmp_path / "refiner.onnx"
    assert export_onnx(module, path, (64, 80), module.inputs) < 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in ((7, 5), (1, 1), (129, 70)):
        given = inputs(size, 1)[: len(module.inputs)]
        (found,) = session.run(None, {name: x.numpy() for name, x in zip(module.inputs, given, strict=True)})
        with torch.inference_mode():
            np.testing.assert_allclose(found, module(*given).numpy(), atol=1e-4)


def test_a_new_residual_network_in_onnx_returns_low_to_the_bit(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the train extra")
    import onnxruntime

    from keendepth.export import export_onnx

    module = DepthOnly(built("residual"))
    export_onnx(module, tmp_path / "new.onnx", (64, 64), module.inputs)
    session = onnxruntime.InferenceSession(tmp_path / "new.onnx", providers=["CPUExecutionProvider"])
    low, high, rgb = (x.numpy() for x in inputs((70, 33), 1))
    np.testing.assert_array_equal(session.run(None, {"low": low, "high": high, "rgb": rgb})[0], low)


def disc(side: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """(low, truth, photo): a disc before a wall, its depth reduced 8 times and enlarged again."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    inside = (x - 0.45 * side) ** 2 + (y - 0.55 * side) ** 2 < (0.27 * side) ** 2
    truth = torch.where(inside, 0.8 + 0.1 * x / side, 0.1 + 0.1 * y / side)[None, None]
    photo = torch.stack([0.6 * inside + 0.2, 0.5 + 0 * x, x / side])[None]
    small = torch.nn.functional.avg_pool2d(truth, 8)
    return torch.nn.functional.interpolate(small, scale_factor=8.0, mode="bilinear"), truth, photo


@pytest.mark.parametrize("head", HEADS)
def test_it_learns_one_picture_and_every_parameter_takes_part(head: str) -> None:
    low, truth, photo = disc()
    valid = torch.ones_like(truth, dtype=torch.bool)
    network, losses = built(head).train(), []
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        out = network(low, low, photo)
        sides = (out.half - truth[..., ::2, ::2]).abs().mean() + (out.quarter - truth[..., ::4, ::4]).abs().mean()
        loss = edge_weighted_l1(out.depth, truth, valid, edge_weights(truth, valid))
        optimizer.zero_grad()
        (loss + 0.1 * sides).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not idle
