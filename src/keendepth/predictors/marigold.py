"""Diffusion depth from diffusers' parts: Marigold (v1-0, v1-1, LCM) and Lotus (G and D), seeded, with no text encoder at run time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from keendepth.core import align, geometry
from keendepth.core.types import Card, DepthKind, DepthMap, Image
from keendepth.predictors import diffusion
from keendepth.predictors.diffusion import Checkpoint, CheckpointError
from keendepth.predictors.memory import halving

DTYPES = ("float32", "float16", "bfloat16")
ROUNDS = 3  # of bringing the members to their median; measured on ten of 576 x 768, a fourth moves nothing in float32
PARTS = ("*.json", "unet/*.safetensors", "vae/*.safetensors")


@dataclass(eq=False)
class MarigoldPredictor:
    """Marigold or Lotus depth: affine-invariant, 0 near .. 1 far (disparity checkpoints: 1 near), the same for the same seed.

    `model`: a hub id or a folder in the hub's layout. `steps` of denoising, 0 for the checkpoint's own; `ensemble`: of how many
    answers the median is taken; `longest`: the longer side to process at, 0 for the checkpoint's own (768).
    `device` and `dtype`: "" for the best there is, and for float16 on CUDA, float32 elsewhere. `vae`: the hub id or folder of
    another autoencoder, such as a tiny one; `batch`: members of the ensemble at a time. Nothing is read before it is needed.
    Raises CheckpointError for another sort of checkpoint, MissingExtraError without the extra `diffusion`.
    """

    model: str
    known: Card | None = None
    steps: int = 0
    ensemble: int = 1
    seed: int = 0
    longest: int = 0
    dtype: str = ""
    device: str = ""
    vae: str = ""
    revision: str | None = None
    batch: int = 1

    def __post_init__(self) -> None:
        if min(self.steps, self.longest, self.seed) < 0 or min(self.ensemble, self.batch) < 1:
            raise ValueError(
                f"{self.model}: steps, longest and seed must be 0 or more, ensemble and batch 1 or more, found "
                f"{self.steps}, {self.longest}, {self.seed}, {self.ensemble} and {self.batch}"
            )
        if self.dtype and self.dtype not in DTYPES:
            raise ValueError(f"{self.model}: dtype must be one of {', '.join(DTYPES)}, found {self.dtype!r}")

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """What the checkpoint is; fetches its configs, and checks the options against them."""
        found = Checkpoint.read(diffusion.folder_of(self.model, self.revision, ("*.json",)), self.model)
        if self.known and self.known.kind not in (None, found.kind):
            raise CheckpointError(f"{self.model} gives {found.kind}, its card says {self.known.kind}")
        if self.ensemble > 1 and not found.random:
            raise CheckpointError(
                f"{self.model} is deterministic, so an ensemble would be {self.ensemble} times one answer: "
                "leave ensemble at 1, or take jingheya/lotus-depth-g-v1-0"
            )
        if found.lotus and self.steps > 1:
            raise CheckpointError(f"{self.model} answers in one step, asked for {self.steps}: leave steps at 0")
        return found

    @cached_property
    def card(self) -> Card:
        if self.known:
            return self.known
        name = re.sub(r"[^\w.-]+", "-", Path(self.model).name) or "marigold"
        return Card(name, f"Diffusion depth from {name}", "unknown: see the model's own page", kind=self.kind)

    @property
    def kind(self) -> DepthKind:
        return self.known.kind if self.known and self.known.kind else self.checkpoint.kind

    def predict(self, image: Image, size: tuple[int, int] | None = None) -> DepthMap:
        """Depth of `kind` at the picture's size, in 0..1, carrying its camera; no NaN.

        `size`: the (height, width) to process at; None keeps the picture's shape, with `longest` as the longer side.
        ValueError where the network gave numbers that are not finite.
        """
        return self._combined(image, size)[0]

    def predict_with_uncertainty(
        self, image: Image, size: tuple[int, int] | None = None
    ) -> tuple[DepthMap, Float32[np.ndarray, "h w"]]:
        """The depth, and how far the ensemble's members lie from it: median absolute deviation, in the depth's own unit.

        ValueError with fewer than three members, of which a median cannot tell one that is off.
        """
        if self.ensemble < 3:
            raise ValueError(
                f"{self.model}: uncertainty needs an ensemble of 3 or more (10 is usual), found {self.ensemble}"
            )
        return self._combined(image, size)

    def processing_size(self, photo: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[int, int]:
        """The (height, width) a photo is resized to, before it is padded to whole latents."""
        if size is None:
            factor = (self.longest or self.checkpoint.longest) / max(photo)
            return max(1, round(photo[0] * factor)), max(1, round(photo[1] * factor))
        if min(size) < 1:
            raise ValueError(f"{self.model}: the size to process at must be 1 x 1 or more, found {size[0]} x {size[1]}")
        return size

    def _combined(self, image: Image, size: tuple[int, int] | None) -> tuple[DepthMap, Float32[np.ndarray, "h w"]]:
        network = self._network
        rgb = geometry.resize(image.rgb, self.processing_size(image.size, size)) / np.float32(127.5) - np.float32(1)
        members = network.sample(rgb, [_member_seed(self.seed, i) for i in range(self.ensemble)], self.batch)
        if not np.isfinite(members).all():
            raise ValueError(f"{self.model}: the network gave numbers that are not finite: try dtype='float32'")
        values, spread = combine(members) if len(members) > 1 else (members[0], np.zeros_like(members[0]))
        depth = DepthMap(geometry.resize_depth(values, image.size), self.kind, image.camera, self.card)
        return depth, geometry.resize(spread, image.size)

    @cached_property
    def _network(self) -> _Network:
        diffusion.require_diffusers(self.model)
        return _load(self, self.checkpoint)


def combine(
    members: Float32[np.ndarray, "n h w"],
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """(median, spread) of answers that agree up to scale and shift: the median in 0..1, the spread in the same unit.

    Each member is brought to the median by least squares, then the median is taken again: the test-time ensemble of Marigold
    (Ke et al., CVPR 2024), by coordinate descent instead of BFGS. The spread is the median absolute deviation.
    """
    flat = members.reshape(len(members), -1).astype(np.float64)
    sample = flat[:, :: max(1, flat.shape[1] // align.ENOUGH)]
    target, fits = sample[0], np.empty((0, 2))
    for _ in range(ROUNDS):
        fits = np.array([_same_way(member, target) for member in sample])
        target = np.median(fits[:, :1] * sample + fits[:, 1:], axis=0)
    aligned = fits[:, :1] * flat + fits[:, 1:]
    middle = np.median(aligned, axis=0)
    spread = np.median(np.abs(aligned - middle), axis=0)
    low, reach = float(middle.min()), max(float(np.ptp(middle)), 1e-6)
    shape = members.shape[1:]
    return (
        ((middle - low) / reach).astype(np.float32).reshape(shape),
        (spread / reach).astype(np.float32).reshape(shape),
    )


def _same_way(member: Float64[np.ndarray, " n"], target: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    """Scale and shift by least squares; where they would turn near into far, those that match mean and deviation."""
    scale, shift = align.fit_scale_shift(member, target)
    if scale > 0:
        return scale, shift
    scale = max(float(target.std()), 1e-6) / max(float(member.std()), 1e-6)
    return scale, float(target.mean()) - scale * float(member.mean())


def _member_seed(seed: int, member: int) -> int:
    """A seed of its own for each member: near ones of torch's generator are no further apart than this mixes them."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class _Network:
    """The loaded parts. Latents are [b 4 h w], in the U-Net's scale."""

    checkpoint: Checkpoint
    unet: Any
    vae: Any
    scheduler: Any
    prompt: Any  # [1 n c], the embedding of the empty prompt
    steps: int

    def sample(
        self, rgb: Float32[np.ndarray, "h w 3"], seeds: Sequence[int], batch: int
    ) -> Float32[np.ndarray, "n h w"]:
        """One answer in 0..1 for each seed, from rgb in -1..1."""
        import torch

        stride = diffusion.vae_stride(self.vae)
        height, width = rgb.shape[:2]
        padded = np.pad(rgb, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
        with torch.inference_mode():
            picture = self._encode(torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()).to(self.prompt))
            groups = [seeds[first : first + batch] for first in range(0, len(seeds), batch)]
            members = [one for group in groups for one in halving(group, partial(self._answers, picture), "diffusion")]
        return np.stack(members)[:, :height, :width]

    def _answers(self, picture: Any, seeds: Sequence[int]) -> list[Float32[np.ndarray, "h w"]]:
        return list(self._decode(self._latent(picture, seeds)).cpu().numpy())

    def _latent(self, picture: Any, seeds: Sequence[int]) -> Any:
        """The depth latents [n 4 h w] of one picture for each seed; a member's noise does not depend on the others."""
        import torch

        pictures = picture.expand(len(seeds), -1, -1, -1)
        prompt = self.prompt.expand(len(seeds), -1, -1)
        if not self.checkpoint.random:
            return self._lotus(pictures, prompt)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]  # the CPU's: every device draws the same
        latent = torch.cat([torch.randn(picture.shape, generator=generator) for generator in generators]).to(picture)
        if self.checkpoint.lotus:
            return self._lotus(torch.cat([pictures, latent], 1), prompt)
        self.scheduler.set_timesteps(self.steps, device=picture.device)
        for t in self.scheduler.timesteps:
            out = self.unet(torch.cat([pictures, latent], 1), t, encoder_hidden_states=prompt, return_dict=False)[0]
            latent = self.scheduler.step(out, t, latent, generator=generators, return_dict=False)[0]
        return latent

    def _lotus(self, latents: Any, prompt: Any) -> Any:
        """x0 in one evaluation at the last time step: the U-Net's output as it is."""
        import torch

        task = torch.tensor([diffusion.LOTUS_TASK] * len(latents)).to(latents)
        t = torch.tensor(self.checkpoint.train_steps - 1, device=latents.device)
        return self.unet(latents, t, encoder_hidden_states=prompt, class_labels=task, return_dict=False)[0]

    def _encode(self, rgb: Any) -> Any:
        encoded = self.vae.encode(rgb)
        latent = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        return latent * self.vae.config.scaling_factor

    def _decode(self, latent: Any) -> Any:
        """Values in 0..1 [n h w]: the mean of the three channels, clipped where each family clips it."""
        out = self.vae.decode(latent / self.vae.config.scaling_factor, return_dict=False)[0].float()
        mean = out.clamp(-1, 1).mean(1) if self.checkpoint.lotus else out.mean(1).clamp(-1, 1)
        return (mean + 1) / 2


def _load(options: MarigoldPredictor, checkpoint: Checkpoint) -> _Network:
    import torch
    from diffusers import UNet2DConditionModel

    model, steps = options.model, options.steps or checkpoint.steps
    folder = diffusion.folder_of(model, options.revision, PARTS)
    device = options.device or diffusion.best_device()
    dtype = getattr(torch, options.dtype or ("float16" if device.startswith("cuda") else "float32"))
    tiny = diffusion.folder_of(options.vae, None, ("*.json", "*.safetensors")) if options.vae else folder / "vae"
    with diffusion.quiet(), diffusion.one_line(model):
        unet = diffusion.load_part(UNet2DConditionModel, folder / "unet", device, dtype)
        vae = diffusion.load_vae(tiny, device, dtype)
        scheduler = diffusion.load_scheduler(folder, checkpoint, steps)
        prompt = diffusion.empty_prompt(folder, model, options.revision)
    if prompt.shape[-1] != unet.config.cross_attention_dim:
        raise CheckpointError(
            f"{model}: {diffusion.EMPTY_PROMPT} is {prompt.shape[-1]} wide, this U-Net takes "
            f"{unet.config.cross_attention_dim}: it is another checkpoint's, delete it"
        )
    return _Network(checkpoint, unet, vae, scheduler, torch.from_numpy(prompt).to(device, dtype), steps)


VAE = 83_653_863  # parameters of the autoencoder of Stable Diffusion 2, which all of these have
MARIGOLD = 865_922_244 + VAE  # and of their U-Nets, counted on the published configs
LOTUS_G, LOTUS_D = 867_568_324 + VAE, 867_556_804 + VAE


def _card(name: str, summary: str, parameters: int, kind: DepthKind = DepthKind.AFFINE_INVARIANT) -> Card:
    """A card with what the checkpoints of one family share."""
    lotus = name.startswith("lotus")
    return Card(
        name=name,
        summary=summary,
        license="Apache-2.0 (code and weights)" if lotus else "Apache-2.0 (code), RAIL++-M (weights)",
        paper="Lotus (He et al., ICLR 2025, arXiv 2409.18124)"
        if lotus
        else "Marigold (Ke et al., CVPR 2024, arXiv 2312.02145)",
        kind=kind,
        trained_on="Hypersim and Virtual KITTI 2, from Stable Diffusion 2",
        fails_on="metric scale, which it does not know; sky; pictures far below 768 pixels",
        parameters=parameters,
        native_size=(768, 768),
    )


NEAR = DepthKind.DISPARITY
_MODELS = (
    (
        "prs-eth/marigold-depth-v1-1",
        _card("marigold", "Marigold v1-1: diffusion depth, 4 steps (trailing, zero-SNR)", MARIGOLD),
    ),
    ("prs-eth/marigold-depth-v1-0", _card("marigold-v1-0", "Marigold v1-0: diffusion depth, 10 steps", MARIGOLD)),
    (
        "prs-eth/marigold-depth-lcm-v1-0",
        _card("marigold-lcm", "Marigold LCM: diffusion depth distilled to 1 step", MARIGOLD),
    ),
    ("jingheya/lotus-depth-g-v1-0", _card("lotus-g", "Lotus G: diffusion depth in one step, from noise", LOTUS_G)),
    ("jingheya/lotus-depth-d-v1-0", _card("lotus-d", "Lotus D: diffusion depth in one step, without noise", LOTUS_D)),
    (
        "jingheya/lotus-depth-g-v2-1-disparity",
        _card("lotus-g-disparity", "Lotus G v2-1: disparity in one step, from noise", LOTUS_G, NEAR),
    ),
    (
        "jingheya/lotus-depth-d-v2-0-disparity",
        _card("lotus-d-disparity", "Lotus D v2-0: disparity in one step, without noise", LOTUS_D, NEAR),
    ),
)
# (card, factory) of each alias; the factory takes the options of MarigoldPredictor.
CARDS: tuple[tuple[Card, Callable[..., MarigoldPredictor]], ...] = tuple(
    (card, partial(MarigoldPredictor, model=hub_id, known=card)) for hub_id, card in _MODELS
)
HUB_IDS = {hub_id: card.name for hub_id, card in _MODELS}
