"""Checkpoints of diffusion depth models in the hub's layout: what their configs say, and their parts loaded from a folder or hub id."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from keendepth.core.types import DepthKind
from keendepth.predictors import hub

EMPTY_PROMPT = "empty_text_embedding.npy"  # [1 n c], kept beside the checkpoint once its text encoder has made it
SCHEDULERS = ("DDIMScheduler", "LCMScheduler")
LONGEST = 768  # the longer side at which the authors of Marigold and Lotus run them
STEPS = {"DDIMScheduler": 10, "LCMScheduler": 1}  # the authors' settings, where model_index.json has none (v1-0)
FITS = "prs-eth/marigold-depth-v1-1, prs-eth/marigold-depth-lcm-v1-0, jingheya/lotus-depth-g-v1-0 or -d-v1-0"
# Lotus (He et al., ICLR 2025) is told to make depth, not the picture again, by sin and cos of (1, 0).
LOTUS_TASK = (math.sin(1), math.sin(0), math.cos(1), math.cos(0))


class CheckpointError(ValueError):
    """A checkpoint that this adapter cannot run. The message says what was found, and which one fits."""


@dataclass(frozen=True)
class Checkpoint:
    """What the configs in a checkpoint's folder say of it; `read` opens no weights and imports nothing heavy."""

    lotus: bool  # one step that gives the depth itself (x0), told what to do by a task embedding; else Marigold
    channels: int  # what the U-Net takes: 8 = picture and depth latents, 4 = the picture's alone (Lotus D)
    kind: DepthKind
    scheduler: str
    steps: int
    longest: int
    train_steps: int

    @property
    def random(self) -> bool:
        """Whether the answer starts from noise (all but Lotus D)."""
        return self.channels == 8

    @classmethod
    def read(cls, folder: Path, name: str = "") -> Checkpoint:
        """From a folder in the hub's layout; `name` is its hub id, the only place where some checkpoints say "disparity".

        Raises CheckpointError, with what was found and which checkpoint fits.
        """
        name = name or folder.name
        index, unet = _config(folder, "model_index.json", name), _config(folder, "unet/config.json", name)
        scheduler = _config(folder, "scheduler/scheduler_config.json", name)
        _check_task(name, index)
        lotus = unet.get("class_embed_type") == "projection"
        channels = _channels(name, unet, lotus)
        sort = _scheduler_sort(name, scheduler, lotus and channels == 8)
        return cls(
            lotus=lotus,
            channels=channels,
            kind=_kind(name, index, unet),
            scheduler=sort,
            steps=1 if lotus else int(index.get("default_denoising_steps") or STEPS[sort]),
            longest=int(index.get("default_processing_resolution") or LONGEST),
            train_steps=int(scheduler.get("num_train_timesteps", 1000)),
        )


def _config(folder: Path, file: str, name: str) -> dict[str, Any]:
    path = folder / file
    if not path.is_file():
        raise CheckpointError(
            f"{name}: no {file}; expected a folder as diffusers saves it (model_index.json, unet, vae, scheduler), "
            f"like {FITS}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{name}: {file} is damaged ({error}): fetch it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{name}: {file} is damaged (expected an object): fetch it again")
    return content


def _check_task(name: str, index: Mapping[str, Any]) -> None:
    """Raise where the checkpoint is made for normals or materials."""
    made_for = f"{index.get('_class_name')} {index.get('prediction_type')} {_called(name)}".lower()
    for other in ("normals", "normal", "intrinsics", "iid"):
        if other in made_for.replace("-", " ").replace("pipeline", " ").split() or f"marigold{other}" in made_for:
            raise CheckpointError(f"{name} predicts {other}, not depth; depth comes from {FITS}")


def _channels(name: str, unet: Mapping[str, Any], lotus: bool) -> int:
    """How many channels the U-Net takes; raises unless it is one of Marigold or Lotus."""
    found, gives = int(unet.get("in_channels") or 0), unet.get("out_channels")
    expected = (4, 8) if lotus else (8,)
    if found not in expected or gives != 4:
        what = {4: "a text-to-image model", 9: "an inpainting model"}.get(found, "another model")
        raise CheckpointError(
            f"{name}: this U-Net takes {found} channels and gives {gives}, which is {what}; expected 8 (Marigold, Lotus G) "
            f"or 4 with a task embedding (Lotus D), and 4: take {FITS}"
        )
    return found


def _scheduler_sort(name: str, scheduler: Mapping[str, Any], one_step: bool) -> str:
    """The scheduler's class; raises where it is none of ours, or predicts what a one-step model cannot."""
    sort, predicts = str(scheduler.get("_class_name")), scheduler.get("prediction_type", "epsilon")
    if sort not in SCHEDULERS and not (sort == "DDPMScheduler" and one_step):
        raise CheckpointError(f"{name}: its scheduler is {sort}, expected {' or '.join(SCHEDULERS)}: take {FITS}")
    if one_step and predicts != "sample":
        raise CheckpointError(
            f"{name}: a Lotus U-Net whose scheduler says prediction_type {predicts!r}, expected 'sample': "
            "take jingheya/lotus-depth-g-v1-0, or correct scheduler_config.json"
        )
    return sort


def _kind(name: str, index: Mapping[str, Any], unet: Mapping[str, Any]) -> DepthKind:
    said = f"{index.get('prediction_type')} {index.get('_name_or_path')} {unet.get('_name_or_path')} {_called(name)}"
    return DepthKind.DISPARITY if "disparity" in said.lower() else DepthKind.AFFINE_INVARIANT


def _called(name: str) -> str:
    """The last part of a hub id or path, and the model's name where the path lies in the hub's own cache."""
    path = Path(name)
    return " ".join([path.name, *(part for part in path.parts if part.startswith("models--"))])


def folder_of(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder itself, or that of the hub id's snapshot with the files that fit `patterns`, fetched if need be.

    HubError, in one line, for a folder or id that is not there, or where the network is not.
    """
    if Path(model).is_dir():
        return Path(model)
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise hub.HubError(f"{model}: no such folder, and no hub id, which is owner/name")
    library = hub.require("huggingface_hub", "diffusion", f"fetching {model}")
    try:
        with hub.calm():
            found = library.snapshot_download(
                model,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=["*.fp16.*", "*non_ema*"],
                local_files_only=hub.is_offline(),
            )
    except Exception as error:  # the package has a class for each failure, httpx and requests have more
        raise hub.explain(error, model, "", revision) from error
    return Path(found)


def require_diffusers(model: str) -> None:
    """Raise MissingExtraError, with the line that installs it, unless the extra `diffusion` is there."""
    for package in ("torch", "diffusers", "transformers"):
        hub.require(package, "diffusion", model)


@contextmanager
def one_line(model: str) -> Iterator[None]:
    """Whatever the hub's libraries raise inside becomes a HubError of one line that names the model.

    They have a dozen kinds for a missing file, damaged weights or a wrong class, hence the broad clause.
    """
    try:
        yield
    except (CheckpointError, hub.HubError, MemoryError):
        raise
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise hub.HubError(f"{model} cannot be loaded: {type(error).__name__}: {cause}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' progress bars and log lines about loading; both as before afterwards."""
    from diffusers.utils import logging as theirs
    from transformers.utils import logging as others

    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in (theirs, others)]
    for log in (theirs, others):
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level, bars in before:
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()


def load_part(sort: Any, folder: Path, device: str, dtype: Any) -> Any:
    """A frozen network of the class `sort` from its folder, on the device; CheckpointError where the file lacks some of its tensors."""
    part, report = sort.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, output_loading_info=True)
    lacking = [*report["missing_keys"], *report["mismatched_keys"]]
    if lacking:  # diffusers would go on with random numbers in their place
        raise CheckpointError(
            f"{folder}: {len(lacking)} of the network's tensors are missing from the weights or of another shape "
            f"(the first: {lacking[0]}): the file is incomplete or of another model"
        )
    return part.to(device).eval().requires_grad_(False)


def load_vae(folder: Path, device: str, dtype: Any) -> Any:
    """The autoencoder in a folder: AutoencoderKL, or the tiny one; CheckpointError for another, or for other latents."""
    import diffusers

    sort = _config(folder, "config.json", folder.name).get("_class_name")
    if sort not in ("AutoencoderKL", "AutoencoderTiny"):
        raise CheckpointError(f"{folder.name}: expected an AutoencoderKL or AutoencoderTiny, found {sort}")
    vae = load_part(getattr(diffusers, str(sort)), folder, device, dtype)
    if vae.config.latent_channels != 4:
        raise CheckpointError(f"{folder.name}: its latents have {vae.config.latent_channels} channels, expected 4")
    return vae


def vae_stride(vae: Any) -> int:
    """How many pixels make a latent."""
    blocks = getattr(vae.config, "encoder_block_out_channels", None) or vae.config.block_out_channels
    return 2 ** (len(blocks) - 1)


def load_scheduler(folder: Path, checkpoint: Checkpoint, steps: int) -> Any:
    """The checkpoint's scheduler; with fewer steps than it is made for, the time steps end at the last one ("trailing").

    The "leading" spacing of v1-0 starts a single step at t = 1, as if the noise were almost a depth map (Martin Garcia et al.,
    "Fine-tuning image-conditional diffusion models is easier than you think", WACV 2025).
    """
    import diffusers

    sort = getattr(diffusers, checkpoint.scheduler)
    scheduler = sort.from_pretrained(folder / "scheduler")
    if checkpoint.scheduler == "DDIMScheduler" and steps < checkpoint.steps:
        scheduler = sort.from_config(scheduler.config, timestep_spacing="trailing")
    return scheduler


def empty_prompt(folder: Path, model: str, revision: str | None) -> Float32[np.ndarray, "1 n c"]:
    """What the text encoder makes of an empty prompt, from the file beside the checkpoint, else made once and written there.

    A folder that cannot be written to works too, only not faster the next time. CheckpointError where neither is there.
    """
    cached = folder / EMPTY_PROMPT
    if cached.is_file():
        found = np.load(cached, allow_pickle=False)
        if found.ndim != 3 or found.shape[0] != 1 or not np.isfinite(found).all():
            raise CheckpointError(f"{model}: {EMPTY_PROMPT} is damaged: delete it, it will be made again")
        return found.astype(np.float32)
    folder = folder_of(model, revision, ("tokenizer/*", "text_encoder/*.json", "text_encoder/*.safetensors"))
    if not (folder / "text_encoder" / "config.json").is_file():
        raise CheckpointError(
            f"{model}: neither {EMPTY_PROMPT} nor a text_encoder to make it with: copy either from {FITS}"
        )
    made = _encode_nothing(folder)
    from keendepth.io.atomic import atomic
    from keendepth.io.errors import FileError

    with suppress(FileError), atomic(cached) as part, part.open("wb") as stream:
        np.save(stream, made)
    return made


def _encode_nothing(folder: Path) -> Float32[np.ndarray, "1 n c"]:
    """The embedding of "": of the start and the end token, without padding, as both families were trained."""
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    loaded: Any = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, output_loading_info=True)
    encoder, report = loaded
    if report["missing_keys"]:
        raise CheckpointError(
            f"{folder.name}: its text_encoder lacks {len(report['missing_keys'])} tensors: fetch it again"
        )
    ids = tokenizer("", padding="do_not_pad", return_tensors="pt").input_ids
    with torch.inference_mode():
        return encoder.eval()(ids)[0].numpy().astype(np.float32)


def best_device() -> str:
    """The fastest that torch finds here: cuda, mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
