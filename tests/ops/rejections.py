"""What torch rejects is rejected, with the same class of error (or a narrower one)."""

from __future__ import annotations

import numpy as np
import pytest

from scratchvgg.autograd import Tensor
from tests.harness import our_face, torch_face


def numbers(*shape, dtype="float64"):
    """Normal numbers; small whole numbers for integer types."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(dtype) if np.dtype(dtype).kind == "f" else rng.integers(0, 3, shape).astype(dtype)


def check_rejected(call, *arrays):
    """``call(F, *tensors)`` must raise on torch, and raise an instance of the same class here, with a message and with nothing written."""
    import torch

    with pytest.raises(Exception) as theirs:
        call(torch_face(), *(torch.tensor(a) for a in arrays))
    tensors = [Tensor(a) for a in arrays]
    with pytest.raises(theirs.type) as ours:
        call(our_face(), *tensors)
    assert len(str(ours.value)) > 20
    for tensor, a in zip(tensors, arrays, strict=True):
        assert np.array_equal(tensor.numpy(), a)
