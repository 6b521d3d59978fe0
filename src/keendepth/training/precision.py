"""Mixed precision for the student alone: what it computes is cast down, what it gives is float32 again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def lowered(student: nn.Module, amp: str, device: torch.device) -> Iterator[None]:
    """Within, a call of `student` runs under autocast to `amp` ("no": nothing changes) and returns float32.

    Losses stay outside: differences of bf16 maps have three digits only.
    """
    if amp == "no":
        yield
        return
    plain = student.forward

    def forward(*given: Any, **named: Any) -> Any:
        with torch.autocast(device.type, DTYPES[amp]):
            out = plain(*given, **named)
        return raised(out)

    student.forward = forward
    try:
        yield
    finally:
        del student.forward


def raised(out: Any) -> Any:
    """The same with float32 for every floating tensor, in lists, tuples, mappings and dataclasses too."""
    if isinstance(out, Tensor):
        return out.float() if out.is_floating_point() else out
    if isinstance(out, Mapping):
        return {name: raised(value) for name, value in out.items()}
    if isinstance(out, tuple) and hasattr(out, "_fields"):
        return type(out)(*map(raised, out))
    if isinstance(out, (list, tuple)):
        return type(out)(map(raised, out))
    if is_dataclass(out) and not isinstance(out, type):
        return replace(out, **{field.name: raised(getattr(out, field.name)) for field in fields(out) if field.init})
    return out
