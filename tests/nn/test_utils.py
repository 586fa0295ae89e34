"""Clipping and flat vectors against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.nn import utils

GRADS = [np.array([[3.0, -4.0], [0.5, 12.0]]), np.array([-1.0, 2.0]), None]


def parameters(lib, dtype="f8", grads=GRADS):
    out = []
    for g in grads:
        p = lib.nn.Parameter(lib.zeros(*(np.shape(g) if g is not None else (2,))))
        p.data = lib.tensor(np.zeros(np.shape(g) if g is not None else (2,), dtype))
        p.grad = None if g is None else lib.tensor(g.astype(dtype))
        out.append(p)
    return out


@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [1.0, 5, 100.0])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_clip_grad_norm(torch, norm_type, max_norm, dtype):
    a, b = parameters(sv, dtype), parameters(torch, dtype)
    ours = utils.clip_grad_norm_(a, max_norm, norm_type)
    theirs = torch.nn.utils.clip_grad_norm_(b, max_norm, norm_type)
    tolerance = 1e-12 if dtype == "f8" else 1e-6
    assert ours.shape == () and ours.numpy().dtype == theirs.numpy().dtype and abs(ours.item() / theirs.item() - 1) < tolerance
    for p, q in zip(a, b, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=tolerance)


def test_clip_one_tensor_or_none():
    p = parameters(sv)[0]
    assert utils.clip_grad_norm_(p, 1.0).item() > 1 and abs(np.linalg.norm(p.grad.numpy()) - 1) < 1e-6
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0


def test_nonfinite_norm():
    p = parameters(sv, grads=[np.array([1.0, np.nan])])
    with pytest.raises(RuntimeError, match="nan"):
        utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p[0].grad.numpy()[0] == 1
    assert math.isnan(utils.clip_grad_norm_(p, 1.0).item())


def test_clip_grad_value(torch):
    a, b = parameters(sv), parameters(torch)
    utils.clip_grad_value_(a, 2.5)
    torch.nn.utils.clip_grad_value_(b, 2.5)
    assert all(np.array_equal(p.grad.numpy(), q.grad.numpy()) for p, q in zip(a[:2], b[:2], strict=True))


def test_vector_round_trip():
    layer = sv.nn.Linear(3, 2)
    vector = utils.parameters_to_vector(layer.parameters())
    assert vector.shape == (8,) and vector.requires_grad
    before = layer.weight.detach().numpy().copy()
    utils.vector_to_parameters(vector * 2, layer.parameters())
    assert np.array_equal(layer.weight.detach().numpy(), before * 2) and layer.weight.is_leaf


def test_vector_errors():
    layer = sv.nn.Linear(3, 2)
    with pytest.raises(TypeError):
        utils.vector_to_parameters([1.0] * 8, layer.parameters())
    with pytest.raises(RuntimeError, match="8 elements"):
        utils.vector_to_parameters(sv.zeros(9), layer.parameters())
