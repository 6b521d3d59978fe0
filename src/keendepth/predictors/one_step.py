"""Lotus G, SharpDepth or Marigold from a hub id or folder as a one-step model (`nn.diffusion`), refused with what fits where it is another sort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keendepth.core.types import DepthKind
from keendepth.predictors import diffusion
from keendepth.predictors.diffusion import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from keendepth.nn.diffusion import OneStep

PARTS = ("*.json", "unet/*.safetensors", "vae/*.safetensors")
FITS = "jingheya/lotus-depth-g-v1-0 (x0) or prs-eth/marigold-depth-v1-1 (v)"


def load(
    model: str, *, revision: str | None = None, vae: str = "", device: str = "cpu", dtype: str = "float32"
) -> OneStep:
    """Codec, denoiser and schedule of a checkpoint, frozen. `vae`: another autoencoder, such as a tiny one.

    Raises CheckpointError, naming one that fits, for a U-Net that takes no depth latent (Lotus D), that gives disparity, or whose
    scheduler predicts neither x0 nor v; HubError and MissingExtraError as `predictors.marigold` does.
    """
    folder = diffusion.folder_of(model, revision, ("*.json",))
    checkpoint = Checkpoint.read(folder, model)
    velocity = check(model, checkpoint, read_schedule(folder))
    diffusion.require_diffusers(model)
    import torch
    from diffusers import UNet2DConditionModel

    from keendepth.nn.diffusion import OneStep, Schedule, UnetDenoiser, VaeCodec

    folder = diffusion.folder_of(model, revision, PARTS)
    tiny = diffusion.folder_of(vae, None, ("*.json", "*.safetensors")) if vae else folder / "vae"
    with diffusion.quiet(), diffusion.one_line(model):
        unet = diffusion.load_part(UNet2DConditionModel, folder / "unet", device, getattr(torch, dtype))
        codec = VaeCodec(diffusion.load_vae(tiny, device, getattr(torch, dtype)))
        prompt = torch.from_numpy(diffusion.empty_prompt(folder, model, revision)).to(device, getattr(torch, dtype))
    if prompt.shape[-1] != unet.config.cross_attention_dim:
        raise CheckpointError(
            f"{model}: {diffusion.EMPTY_PROMPT} is {prompt.shape[-1]} wide, this U-Net takes {unet.config.cross_attention_dim}"
        )
    schedule = Schedule.of(read_schedule(folder))
    return OneStep(codec, UnetDenoiser(unet, prompt, schedule, velocity), schedule, checkpoint.longest)


def read_schedule(folder: Path) -> dict[str, Any]:
    """scheduler_config.json, which `Checkpoint.read` has found whole."""
    return dict(json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")))


def check(model: str, checkpoint: Checkpoint, scheduler: dict[str, Any]) -> bool:
    """Whether it predicts v (else x0); CheckpointError where it cannot answer in one step from a depth latent."""
    if not checkpoint.random:
        raise CheckpointError(
            f"{model}: this U-Net takes {checkpoint.channels} channels, a picture's alone, so there is no depth latent to put "
            f"metric depth into; expected 8: take {FITS}"
        )
    if checkpoint.kind is not DepthKind.AFFINE_INVARIANT:
        raise CheckpointError(f"{model} gives {checkpoint.kind}; sharp works on depth, near to far: take {FITS}")
    predicts = str(scheduler.get("prediction_type", "epsilon"))
    wanted = "sample" if checkpoint.lotus else "v_prediction"
    if predicts != wanted:
        raise CheckpointError(
            f"{model}: its scheduler says prediction_type {predicts!r}, expected {wanted!r}: at the last step noise says "
            f"nothing of the depth; take {FITS}"
        )
    return wanted == "v_prediction"
