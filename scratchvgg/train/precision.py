"""The recipe's ``precision``: in which element types a step computes. Weights, optimiser, loss and metrics are float32 in all of them."""

from __future__ import annotations

import contextlib

from ..amp import GradScaler, autocast

DTYPES = {"fp32": None, "bf16": "bfloat16", "fp16": "float16"}


def region(precision: str, device):
    """A context for forward passes on ``device``: autocast for ``"bf16"`` and ``"fp16"``, nothing for ``"fp32"``."""
    dtype = DTYPES[precision]
    return contextlib.nullcontext() if dtype is None else autocast(device.type, dtype)


def scaler(precision: str, device) -> GradScaler:
    """The gradient scaler of a run: at work for ``"fp16"`` only, whose small gradients would vanish."""
    return GradScaler(device.type, enabled=precision == "fp16")
