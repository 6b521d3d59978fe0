"""A recipe of the size of a test: a small convolutional network learns to blur pictures of noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from keendepth.training.recipe import Plan


class Net(nn.Module):
    """Two convolutions with a norm and dropout, so that running statistics and chance are part of the test."""

    def __init__(self, channels: int = 6, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout(dropout),
            nn.Conv2d(channels, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.layers(rgb)


class Noise:
    """Batch N of `size` pictures: each picture is a pure function of its number, so two small batches make one large one."""

    def __init__(self, size: int = 4, seed: int = 0, fail_at: int = -1, nan_at: int = -1) -> None:
        self.size, self.seed, self.fail_at, self.nan_at = size, seed, fail_at, nan_at
        self.asked: list[int] = []

    def batch(self, number: int) -> dict[str, torch.Tensor]:
        self.asked.append(number)
        if number == self.fail_at:
            raise OSError(f"disk gone at batch {number}")
        pictures = [self._picture(number * self.size + n) for n in range(self.size)]
        rgb = torch.stack(pictures)
        depth = nn.functional.avg_pool2d(rgb.mean(1, keepdim=True), 3, 1, 1)
        if number == self.nan_at:
            depth[0, 0, 0, 0] = float("nan")
        return {"rgb": rgb, "depth": depth}

    def _picture(self, number: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(1000 * self.seed + number)
        return torch.rand((3, 12, 16), generator=rng)


class Toy:
    """The recipe: squared error with a little noise on the input from the context's generator."""

    def __init__(self, channels: int = 6, dropout: float = 0.1, noise: float = 0.01) -> None:
        self.student = Net(channels, dropout)
        self.noise = noise
        self.seen: list[tuple[int, float]] = []

    def losses(self, batch, context):
        noise = torch.randn(batch["rgb"].shape, generator=context.rng).to(context.device)
        depth = self.student(batch["rgb"] + self.noise * noise)
        assert depth.dtype is torch.float32
        assert self.student.training
        self.seen.append((context.step, context.progress))
        difference = depth - batch["depth"]
        return {"square": difference.square().mean(), "absolute": 0.1 * difference.abs().mean()}

    def validate(self, batch):
        assert not self.student.training
        assert not torch.is_grad_enabled()
        return {"error": float((self.student(batch["rgb"]) - batch["depth"]).abs().mean()), "unknown": float("nan")}


@dataclass(frozen=True)
class ToyOptions:
    """Options of the toy."""

    channels: int = 6
    dropout: float = 0.1
    noise: float = 0.01
    sizes: tuple[int, ...] = (12, 16)
    cache: Path | None = None


class Exported(Toy):
    """The toy, shipped as ONNX."""

    def export(self, path):
        from keendepth.export import export_onnx

        return {"parity": export_onnx(self.student, path, (12, 16))}


class Method:
    """What the registry holds."""

    options = ToyOptions

    def recipe(self, options):
        return Exported(options.channels, options.dropout, options.noise)

    def plan(self, options, fit, data):
        held_out = [Noise(fit.batch_size, seed=99).batch(number) for number in range(2)]
        return Plan(self.recipe(options), Noise(fit.batch_size, fit.seed), held_out, {"pictures": "noise"})
