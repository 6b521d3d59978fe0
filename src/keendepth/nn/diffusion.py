"""One contract for latent codecs and one for one-step denoisers that predict the clean latent (x0), over diffusers' networks or our own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Lotus (He et al., ICLR 2025) says what to make, depth and not the picture again, by sin and cos of (1, 0).
TASK = (math.sin(1), math.sin(0), math.cos(1), math.cos(0))
BETAS = (0.00085, 0.012)  # of Stable Diffusion 2, "scaled_linear", 1000 steps


def last_alpha_bar(
    steps: int = 1000, betas: tuple[float, float] = BETAS, schedule: str = "scaled_linear", zero_snr: bool = False
) -> float:
    """Product of (1 - beta) over a whole noise schedule: the share of signal that is left at its last step.

    `zero_snr`: the schedule was rescaled so that nothing is left (Lin et al., WACV 2024; Marigold v1-1). ValueError for another schedule.
    """
    if zero_snr:
        return 0.0
    if schedule == "scaled_linear":
        beta = torch.linspace(betas[0] ** 0.5, betas[1] ** 0.5, steps, dtype=torch.float64) ** 2
    elif schedule == "linear":
        beta = torch.linspace(betas[0], betas[1], steps, dtype=torch.float64)
    else:
        raise ValueError(f"noise schedule: expected scaled_linear or linear, found {schedule!r}")
    return float((1 - beta).prod())


@dataclass(frozen=True)
class Schedule:
    """The last time step t of a noise schedule, the only one that a one-step model sees, and alpha-bar there."""

    last: int = 999
    alpha_bar: float = last_alpha_bar()  # 0.00466

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Schedule:
        """From a scheduler's config as diffusers writes it."""
        steps = int(config.get("num_train_timesteps", 1000))
        betas = float(config.get("beta_start", BETAS[0])), float(config.get("beta_end", BETAS[1]))
        zero = bool(config.get("rescale_betas_zero_snr", False))
        return cls(steps - 1, last_alpha_bar(steps, betas, str(config.get("beta_schedule", "scaled_linear")), zero))

    def noised(self, latent: Float[Tensor, "b c h w"], noise: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """q_t(z) = sqrt(abar) z + sqrt(1 - abar) eps at the last step (SharpDepth, section 3)."""
        return self.alpha_bar**0.5 * latent + (1 - self.alpha_bar) ** 0.5 * noise


@runtime_checkable
class Codec(Protocol):
    """Pictures and depth to latents of 1 / `stride` of the size, and depth back. Sides must be multiples of `stride`."""

    stride: int
    channels: int  # of a depth latent
    picture_channels: int  # of a picture's

    def picture(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _p _hh _ww"]:
        """Latent of a picture in -1..1."""
        ...

    def depth(self, depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b _c _hh _ww"]:
        """Latent of depth in -1..1, near to far."""
        ...

    def decode(self, latent: Float[Tensor, "b c hh ww"]) -> Float[Tensor, "b 1 _h _w"]:
        """Depth of a latent, nominally in -1..1, not clipped."""
        ...


class PixelCodec(nn.Module):
    """The pixels of each `stride` x `stride` block as channels: lossless and without a parameter (ours)."""

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride, self.channels, self.picture_channels = stride, stride**2, 3 * stride**2

    def picture(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _p _hh _ww"]:
        return nn.functional.pixel_unshuffle(rgb, self.stride)

    def depth(self, depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b _c _hh _ww"]:
        return nn.functional.pixel_unshuffle(depth, self.stride)

    def decode(self, latent: Float[Tensor, "b c hh ww"]) -> Float[Tensor, "b 1 _h _w"]:
        return nn.functional.pixel_shuffle(latent, self.stride)


class VaeCodec(nn.Module):
    """diffusers' AutoencoderKL (its mean, as SharpDepth's code takes it) or AutoencoderTiny; frozen, latents in the U-Net's scale."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae: Any = vae.eval().requires_grad_(False)
        config = self.vae.config
        blocks = getattr(config, "encoder_block_out_channels", None) or config.block_out_channels
        self.stride = 2 ** (len(blocks) - 1)
        self.channels = self.picture_channels = int(config.latent_channels)
        self.scale = float(config.scaling_factor)

    def picture(self, rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _p _hh _ww"]:
        encoded = self.vae.encode(rgb)
        return self.scale * (encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents)

    def depth(self, depth: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b _c _hh _ww"]:
        return self.picture(depth.expand(-1, 3, -1, -1))

    def decode(self, latent: Float[Tensor, "b c hh ww"]) -> Float[Tensor, "b 1 _h _w"]:
        return self.vae.decode(latent / self.scale, return_dict=False)[0].mean(1, keepdim=True)


class UnetDenoiser(nn.Module):
    """diffusers' U-Net at the last time step: Lotus G gives x0 itself, told its task; Marigold gives v, from which x0 follows.

    `prompt`: embedding of the empty prompt [1 n c]. forward(picture, x) -> x0, all latents.
    """

    prompt: Tensor

    def __init__(self, unet: nn.Module, prompt: Float[Tensor, "1 n c"], schedule: Schedule, velocity: bool) -> None:
        super().__init__()
        self.unet: Any = unet
        self.schedule, self.velocity = schedule, velocity
        self.task = self.unet.config.class_embed_type == "projection"
        self.register_buffer("prompt", prompt, persistent=False)

    def forward(self, picture: Float[Tensor, "b p h w"], x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        named: dict[str, Any] = {"encoder_hidden_states": self.prompt.expand(len(x), -1, -1), "return_dict": False}
        if self.task:
            named["class_labels"] = torch.tensor([TASK] * len(x)).to(x)
        time = torch.tensor(self.schedule.last, device=x.device)
        out = self.unet(torch.cat([picture, x], 1), time, **named)[0]
        return x0_of_velocity(out, x, self.schedule.alpha_bar) if self.velocity else out


def x0_of_velocity(
    velocity: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"], alpha_bar: float
) -> Float[Tensor, "b c h w"]:
    """x0 = sqrt(abar) x_t - sqrt(1 - abar) v (Salimans and Ho, ICLR 2022)."""
    return alpha_bar**0.5 * x - (1 - alpha_bar) ** 0.5 * velocity


@dataclass(frozen=True, eq=False)
class OneStep:
    """A generative depth model that answers in one step: codec, denoiser `(picture, x) -> x0`, and its schedule."""

    codec: Any  # Codec and nn.Module
    denoiser: nn.Module
    schedule: Schedule
    longest: int = 768  # the longer side that it is made for

    @property
    def multiple(self) -> int:
        """What the sides of a picture must be multiples of."""
        return self.codec.stride * int(getattr(self.denoiser, "multiple", 1))


def noise_latent(noise: Float[Tensor, "b 1 h w"], codec: Any) -> Float[Tensor, "b _c _hh _ww"]:
    """Unit noise of the pictures' size as noise of the latents': the same numbers, the first `channels` of each block."""
    return nn.functional.pixel_unshuffle(noise, codec.stride)[:, : codec.channels]
