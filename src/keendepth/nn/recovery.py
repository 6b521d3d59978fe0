"""The weights of an ONNX file back in the network it was exported from, so that what ships can be trained on."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def recovered(module: nn.Module, path: str | Path, export: Callable[[nn.Module, Path], object]) -> dict[str, Tensor]:
    """Those parameters of `module` that the ONNX file at `path` holds, by name; `export(module, path)` is how the file was made.

    Exporting renames and transposes weights. So a twin of the module, each weight of which is random numbers of its own, is exported the same
    way, and where a weight lies in the twin's file it lies in the other. What only training uses is in no file, and is left out.
    FileNotFoundError; ModuleNotFoundError without the package onnx; ValueError for a file of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}")
    twin = _twin(module)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "twin.onnx"
        export(twin, made)
        marked = _arrays(made)
    found = _arrays(path)
    if [array.shape for array in marked] != [array.shape for array in found]:
        raise ValueError(
            f"{path.name}: expected a network exported from {type(module).__name__} with these options "
            f"({len(marked)} arrays), found one with {len(found)}, or with other shapes"
        )
    places = {array.tobytes(): index for index, array in enumerate(marked)}
    lifted = {name: _lifted(weight.detach().numpy(), places, found) for name, weight in twin.named_parameters()}
    return {name: weight for name, weight in lifted.items() if weight is not None}


def _twin(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module).cpu()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return twin


def _arrays(path: Path) -> list[np.ndarray]:
    """Initialisers in the order of the file; constants inside the graph are no weights."""
    import onnx

    return [np.ascontiguousarray(onnx.numpy_helper.to_array(one)) for one in onnx.load(path).graph.initializer]


def _lifted(mark: np.ndarray, places: dict[bytes, int], found: list[np.ndarray]) -> Tensor | None:
    """One weight, from where its mark lies: as it is, in another shape, transposed, or taken apart along its first axis."""
    for turned in (False, True) if mark.ndim == 2 else (False,):
        place = places.get(np.ascontiguousarray(mark.T if turned else mark).tobytes())
        if place is not None:
            return torch.tensor(found[place].T if turned else found[place].reshape(mark.shape))
    parts = [_lifted(part, places, found) for part in mark] if mark.ndim > 1 else [None]
    kept = [part for part in parts if part is not None]
    return torch.stack(kept) if len(kept) == len(parts) else None
