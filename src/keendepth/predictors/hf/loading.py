"""A network of transformers from its files, onto a device; whatever is wrong with them is one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keendepth.predictors.hf.files import Files, ModelError, first_line

DTYPES = ("float32", "float16", "bfloat16")


def load(files: Files) -> Any:
    """The network in evaluation mode, on the CPU, in float32. ModelError where the weights are damaged, missing or of another model."""
    folder = files.weights()
    try:
        with quiet():
            from transformers import AutoModelForDepthEstimation

            network, report = AutoModelForDepthEstimation.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except MemoryError:
        raise
    except Exception as error:  # safetensors, torch and transformers each have their own for a damaged file
        raise ModelError(
            f"{files.source}: the weights cannot be loaded, the file is damaged or of another model ({first_line(error)})"
        ) from error
    lacking = [*report["missing_keys"], *report["mismatched_keys"]]
    if lacking:  # transformers would go on with random numbers in their place
        raise ModelError(
            f"{files.source}: {len(lacking)} of the network's tensors are missing from the weights "
            f"(the first: {lacking[0]}): the file is incomplete or of another model"
        )
    return network.eval()


def place(source: str, device: str | None, dtype: str | None, half: bool) -> dict[str, Any]:
    """Device and dtype: what is asked for, else the best there is, and float16 on CUDA where the network bears it (`half`)."""
    import torch

    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    wanted = device or next((name for name, there in accelerators.items() if there), "cpu")
    if not accelerators.get(wanted.split(":")[0], wanted == "cpu"):
        raise ModelError(f"{source}: torch finds no device {wanted!r} here; use cpu")
    dtype = dtype or ("float16" if wanted.startswith("cuda") and half else "float32")
    if dtype not in DTYPES:
        raise ModelError(f"{source}: dtype must be float32, float16 or bfloat16, found {dtype!r}")
    return {"device": torch.device(wanted), "dtype": getattr(torch, dtype)}


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bar, log lines and third parties' deprecations; all as before afterwards."""
    from transformers.utils import logging as chatter

    level, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()
