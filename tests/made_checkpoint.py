"""Tiny random checkpoints of diffusion models, saved offline in the hub's layout."""

from __future__ import annotations

import json
from pathlib import Path

WIDTH = 32  # of the text embedding
BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
}


def save_unet(folder: Path, channels: int = 8, lotus: bool = False) -> None:
    from diffusers import UNet2DConditionModel

    UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=(2, 4),
        cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        use_linear_projection=True,
        class_embed_type="projection" if lotus else None,
        projection_class_embeddings_input_dim=4 if lotus else None,
    ).save_pretrained(folder / "unet")


def save_vae(folder: Path) -> None:
    from diffusers import AutoencoderKL

    AutoencoderKL(
        layers_per_block=1,
        norm_num_groups=4,
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    ).save_pretrained(folder / "vae")


def save_text(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    words = {"a": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir(parents=True)
    (tokenizer / "vocab.json").write_text(json.dumps(words))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **special}))
    config = CLIPTextConfig(
        vocab_size=4, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


def save_checkpoint(folder: Path, family: str) -> Path:
    """A whole tiny checkpoint of "v1-0", "v1-1", "lcm", "lotus-g" or "lotus-d"."""
    import torch
    from diffusers import DDIMScheduler, LCMScheduler

    torch.manual_seed(3)
    lotus = family.startswith("lotus")
    save_unet(folder, 4 if family == "lotus-d" else 8, lotus)
    save_vae(folder)
    save_text(folder)
    spacing = {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True} if family == "v1-1" else {}
    predicts = "sample" if lotus else "v_prediction"
    sort = LCMScheduler if family == "lcm" else DDIMScheduler
    sort(prediction_type=predicts, set_alpha_to_one=False, **BETAS, **spacing).save_pretrained(folder / "scheduler")
    steps = {"v1-1": 4, "lcm": 1}.get(family)
    index = {"_class_name": "LotusGPipeline" if lotus else "MarigoldDepthPipeline", "default_denoising_steps": steps}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
