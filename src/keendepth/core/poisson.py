"""Screened Poisson fusion: the values of one map with the gradients of another (the model behind SDDR, solved by DCT)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def fuse(low: Float[np.ndarray, "h w"], high: Float[np.ndarray, "h w"], mu: float = 0.1) -> Float[np.ndarray, "h w"]:
    """argmin_D  sum mu (D - low)^2 + |grad D - grad high|^2, exactly, by one DCT each way (Bhat et al., "GradientShop", screened Poisson).

    `high` must be aligned to `low` (see `core.align`); all values finite. Large mu keeps `low`, small mu takes the shape of `high`.
    """
    _check_mu(mu)
    eigen = _laplacian_eigenvalues(low.shape, low.dtype)
    spectrum = (mu * _dct(low) + eigen * _dct(high)) / (mu + eigen)
    return _idct(spectrum)


def fuse_weighted(
    low: Float[np.ndarray, "h w"],
    high: Float[np.ndarray, "h w"],
    omega: Float[np.ndarray, "h w"],
    mu: float = 0.01,
    flat: float = 0.05,
    iterations: int = 30,
) -> Float[np.ndarray, "h w"]:
    """SDDR Eq. 2 with a given soft edge mask omega in [0, 1] (it weights HIGH), in least squares.

    argmin_D  sum mu' (D - low)^2 + omega |grad D - grad high|^2 + (1 - omega) |grad D - grad low|^2 flat, where mu' = mu + (1 - omega):
    gradients of `high` at edges, values of `low` elsewhere. Solved by conjugate gradients, preconditioned by the DCT of the mean operator.
    """
    _check_mu(mu)
    data = mu + (1 - omega)
    across, down = _between(omega)
    wx, wy = across + flat * (1 - across), down + flat * (1 - down)
    gx = across * np.diff(high, axis=1) + flat * (1 - across) * np.diff(low, axis=1)
    gy = down * np.diff(high, axis=0) + flat * (1 - down) * np.diff(low, axis=0)
    right = data * low + _divergence(gx, gy, low.shape)
    mean_weight = float(wx.sum() + wy.sum()) / max(wx.size + wy.size, 1)
    precondition = data.mean() + mean_weight * _laplacian_eigenvalues(low.shape, low.dtype)

    def operator(x: np.ndarray) -> np.ndarray:
        return data * x + _divergence(wx * np.diff(x, axis=1), wy * np.diff(x, axis=0), x.shape)

    return _conjugate_gradient(operator, right, low.copy(), precondition, iterations)


def _check_mu(mu: float) -> None:
    if not mu > 0:
        raise ValueError(f"poisson: mu must be above 0 (it ties the result to the low map), found {mu}")


def _between(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (values[:, :-1] + values[:, 1:]) / 2, (values[:-1] + values[1:]) / 2


def _divergence(gx: np.ndarray, gy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The transpose of the forward differences (minus the divergence)."""
    out = np.zeros(shape, gx.dtype)
    out[:, 1:] += gx
    out[:, :-1] -= gx
    out[1:] += gy
    out[:-1] -= gy
    return out


def _laplacian_eigenvalues(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    h, w = shape
    rows = 2 - 2 * np.cos(np.pi * np.arange(h) / h)
    columns = 2 - 2 * np.cos(np.pi * np.arange(w) / w)
    return (rows[:, None] + columns).astype(dtype)


def _dct(values: np.ndarray) -> np.ndarray:
    from scipy import fft  # late, for a quick start

    return fft.dctn(values, type=2, norm="ortho", workers=-1)


def _idct(values: np.ndarray) -> np.ndarray:
    from scipy import fft

    return fft.idctn(values, type=2, norm="ortho", workers=-1)


def _conjugate_gradient(operator, right, start, precondition, iterations):  # type: ignore[no-untyped-def]
    """Preconditioned conjugate gradients; stops when the residual has fallen by 1e-5."""
    x = start
    residual = right - operator(x)
    goal = 1e-10 * float((residual * residual).sum())
    direction = z = _idct(_dct(residual) / precondition)
    rz = float((residual * z).sum())
    for _ in range(iterations):
        if rz <= 0 or float((residual * residual).sum()) <= goal:
            break
        moved = operator(direction)
        step = rz / float((direction * moved).sum())
        x = x + step * direction
        residual = residual - step * moved
        z = _idct(_dct(residual) / precondition)
        rz, previous = float((residual * z).sum()), rz
        direction = z + (rz / previous) * direction
    return x
