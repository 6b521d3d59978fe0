"""The perturbed twin: light and reflectance multiply back, chances of 0 change nothing, nothing moves, and no operation tests elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from keendepth.core.types import Image  # noqa: E402
from keendepth.data import corruptions  # noqa: E402
from keendepth.nn.retinex import OPERATIONS, ROBUST, Perturbation, blurred, decompose, guided, perturb  # noqa: E402

NONE = dict.fromkeys(OPERATIONS, 0.0)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def rgb() -> torch.Tensor:
    """Smooth colours with two hard edges, and grain."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 96), indexing="ij")
    one = torch.stack([0.2 + 0.5 * x, 0.3 + 0.4 * y, 0.6 - 0.3 * x * y])
    one[:, 20:40, 30:60] = torch.tensor([0.8, 0.2, 0.1])[:, None, None]
    return (
        torch.stack([one, one.flip(2) * 0.7, 1 - one]) + 0.03 * torch.randn(3, 3, 64, 96, generator=chance())
    ).clamp(0, 1)


def test_reflectance_times_light_is_the_picture(rgb: torch.Tensor) -> None:
    R, L = decompose(rgb)
    assert float((R * L - rgb).abs().max()) < 1e-6
    assert float(L.min()) >= 0.02
    black = decompose(torch.zeros(1, 3, 32, 32))
    assert float(black[0].abs().max()) == 0


def test_light_is_smooth_and_reflectance_keeps_the_edges(rgb: torch.Tensor) -> None:
    R, L = decompose(rgb)
    step = lambda x: float((x[..., 1:] - x[..., :-1]).abs().amax())  # noqa: E731
    assert step(L) < 0.2 * step(rgb)
    assert step(R) > step(rgb)


def test_no_chance_changes_nothing(rgb: torch.Tensor) -> None:
    assert torch.equal(perturb(rgb, chance(), Perturbation(**NONE)), rgb)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_changes_the_picture_and_stays_in_range(rgb: torch.Tensor, name: str) -> None:
    before = rgb.clone()
    twin = perturb(rgb, chance(), Perturbation(**{**NONE, name: 1.0}))
    assert torch.equal(rgb, before)
    assert twin.shape == rgb.shape
    assert float(twin.min()) >= 0 and float(twin.max()) <= 1  # noqa: PT018
    changed = (twin - rgb).abs().flatten(1).mean(1)
    assert bool((changed > 1e-3).all())
    assert bool(torch.isfinite(twin).all())


@pytest.mark.parametrize("name", OPERATIONS)
def test_edges_stay_where_they_are(name: str) -> None:
    """A dark square on a light ground, among flat pictures: where the strongest edges are does not change."""
    one = torch.full((1, 3, 64, 64), 0.7)
    one[..., 20:44, 20:44] = 0.2
    flat = torch.rand(3, 3, 1, 1, generator=chance(3)).expand(3, 3, 64, 64)
    twin = perturb(torch.cat([one, flat]), chance(1), Perturbation(**{**NONE, name: 1.0}))[0]
    steps = (twin[..., 1:] - twin[..., :-1]).abs().sum((0, 1))
    if name != "missing":  # cells have edges of their own
        assert set(steps.topk(2).indices.tolist()) <= {18, 19, 20, 42, 43, 44}


def test_the_same_generator_gives_the_same_twin(rgb: torch.Tensor) -> None:
    assert torch.equal(perturb(rgb, chance(5), ROBUST), perturb(rgb, chance(5), ROBUST))
    assert not torch.equal(perturb(rgb, chance(5), ROBUST), perturb(rgb, chance(6), ROBUST))


@pytest.mark.parametrize("size", [(1, 32, 32), (2, 64, 128), (3, 33, 47)])
def test_any_size_and_a_batch_of_one(size: tuple[int, int, int]) -> None:
    rgb = torch.rand(size[0], 3, *size[1:], generator=chance())
    for seed in range(4):
        assert perturb(rgb, chance(seed), ROBUST).shape == rgb.shape


def test_flat_and_black_pictures_stay_numbers() -> None:
    for value in (0.0, 0.5, 1.0):
        twin = perturb(torch.full((2, 3, 32, 32), value), chance(), Perturbation(**dict.fromkeys(OPERATIONS, 1.0)))
        assert bool(torch.isfinite(twin).all())


def test_no_operation_has_the_name_of_a_test_corruption() -> None:
    assert not set(OPERATIONS) & {*corruptions.CORRUPTIONS, *corruptions.ALIASES}


def test_no_operation_draws_a_pixels_noise_by_itself(rgb: torch.Tensor) -> None:
    """On a flat batch the noises of the test leave white residuals; no operation leaves any."""
    flat = torch.full((4, 3, 64, 64), 0.5)
    for seed in range(3):
        twin = perturb(flat, chance(seed), Perturbation(**dict.fromkeys(OPERATIONS, 1.0)))
        fine = twin - blurred(twin, 2.0)
        inner = (fine[..., 1:] - fine[..., :-1]).abs().median()
        assert float(inner) < 0.005
    grey = Image(np.full((64, 64, 3), 128, np.uint8))
    noisy = corruptions.corrupt(grey, "gaussian", 1).rgb.astype(np.float32) / 255
    assert float(np.median(np.abs(np.diff(noisy, axis=1)))) > 0.03  # the measure sees noise


def test_the_guided_filter_smooths_within_edges() -> None:
    picture = torch.full((1, 1, 40, 40), 0.2)
    picture[..., 20:] = 0.9
    grainy = picture + 0.02 * torch.randn(picture.shape, generator=chance())
    smooth = guided(grainy, 3, 0.01)
    assert float((smooth - picture)[..., :12].std()) < 0.4 * float((grainy - picture)[..., :12].std())
    assert float(smooth[..., 20].mean() - smooth[..., 19].mean()) > 0.6


def test_a_wide_blur_is_close_to_the_exact_one() -> None:
    spot = torch.zeros(1, 1, 128, 128)
    spot[..., 56:72, 56:72] = 1
    y = torch.arange(128) - 63.5
    bell = torch.exp(-(y[:, None] ** 2 + y**2) / (2 * (12.0**2 + 16**2 / 12)))  # the spot is 16 wide itself
    found = blurred(spot, 12.0)[0, 0]
    expected = 256 * bell / bell.sum()
    assert float((found - expected).abs().max()) < 0.05 * float(expected.max())
