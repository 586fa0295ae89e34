"""ReLU: kinks, infinities, tiles, in place."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.nn import functional as F


def gradient(x, g):
    t = sv.tensor(x, requires_grad=True)
    F.relu(t).backward(sv.tensor(g))
    return t.grad.numpy()


def test_gradient_is_zero_at_zero_and_below():
    np.testing.assert_array_equal(gradient([-1.0, -0.0, 0.0, 2.0], [5.0, 5.0, 5.0, 5.0]), [0, 0, 0, 5])


def test_a_blocked_infinite_gradient_is_zero():
    np.testing.assert_array_equal(gradient([-1.0, 0.0, 2.0], [np.inf, np.nan, -np.inf]), [0, 0, -np.inf])


def test_nan_goes_through():
    torch = pytest.importorskip("torch")
    x = np.array([np.nan, -np.inf, np.inf], np.float32)
    np.testing.assert_array_equal(F.relu(sv.tensor(x)).numpy(), torch.relu(torch.tensor(x)).numpy())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
def test_in_tiles(dtype, layout):
    torch = pytest.importorskip("torch")
    x, g = np.random.default_rng(0).standard_normal((2, 7, 32, 60, 61)).astype(dtype)
    if layout == "channels_last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == "strided":
        x = np.repeat(x, 2, axis=2)[:, :, ::2]
    t = torch.tensor(x, requires_grad=True)
    y = torch.relu(t)
    y.backward(torch.tensor(g))
    ours = sv.from_numpy(x).requires_grad_()
    out = F.relu(ours)
    out.backward(sv.from_numpy(g))
    np.testing.assert_array_equal(out.detach().numpy(), y.detach().numpy())
    np.testing.assert_array_equal(ours.grad.numpy(), t.grad.numpy())
    whole = sv.from_numpy(x.copy("K"))
    assert F.relu(whole, inplace=True) is whole
    np.testing.assert_array_equal(whole.numpy(), y.detach().numpy())


def test_integers_pass_and_bools_do_not():
    assert F.relu(sv.tensor([-2, 3])).tolist() == [0, 3]
    with pytest.raises(RuntimeError, match="bool"):
        F.relu(sv.tensor([True]))


def test_in_place_on_memory_with_gaps():
    whole = np.random.default_rng(0).standard_normal((8, 12, 40, 400))
    t = sv.from_numpy(whole.copy())
    expected = whole.copy()
    expected[:, ::2, 1:, ::-2] = np.maximum(expected[:, ::2, 1:, ::-2], 0)
    F.relu(sv.from_numpy(t.numpy()[:, ::2, 1:, ::-2]), inplace=True)
    np.testing.assert_array_equal(t.numpy(), expected)
