"""Weights on disk: safetensors or torch files with text metadata, read back strictly; the only file of `nn` that touches files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from keendepth.io.atomic import atomic

SUFFIXES = (".safetensors", ".pt")


class CheckpointError(ValueError):
    """Weights that do not fit the network, or a file that holds none. The message names every key at fault."""


def save(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a state dict and text about it to `path` (.safetensors or .pt); the file appears whole or not at all."""
    path = Path(path)
    _check_suffix(path)
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    texts = {str(key): str(value) for key, value in (metadata or {}).items()}
    with atomic(path) as part:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            own = {key: value.clone() for key, value in tensors.items()}  # it refuses shared memory
            save_file(own, part, metadata=texts)
        else:
            torch.save({"state": tensors, "metadata": texts}, part)


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(state dict on the CPU, metadata) of a file that `save` wrote, or of a plain safetensors or state-dict file.

    Pickled code is never run. FileNotFoundError without the file, CheckpointError if it is not such a file.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        return _load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path)
    except CheckpointError:
        raise
    except Exception as error:  # the two libraries raise many kinds for a damaged file
        raise CheckpointError(f"{path.name}: not a readable {path.suffix} file of weights: {error}") from error


def fill(module: nn.Module, state: Mapping[str, Tensor], source: str = "checkpoint") -> None:
    """Copy `state` into `module`; CheckpointError, and no change, unless names and shapes agree exactly."""
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    reshaped = [
        f"{key} (expected {list(own[key].shape)}, found {list(state[key].shape)})"
        for key in own
        if key in state and own[key].shape != state[key].shape
    ]
    faults = [
        f"{what}: {_first(keys)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if faults:
        raise CheckpointError(f"{source} does not fit {type(module).__name__}. " + "; ".join(faults))
    module.load_state_dict(dict(state), strict=True)


def _first(keys: list[str], most: int = 8) -> str:
    rest = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {rest} more" if rest > 0 else "")


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"weights are {' or '.join(SUFFIXES)} files, found {path.name!r}")


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118 (no mapping)


def _load_torch(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name}: expected a state dict, found {type(content).__name__}")
    state, metadata = (
        (content["state"], content["metadata"]) if set(content) == {"state", "metadata"} else (content, {})
    )
    strange = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise CheckpointError(f"{path.name}: expected tensors only, found something else under {_first(strange)}")
    return state, metadata
