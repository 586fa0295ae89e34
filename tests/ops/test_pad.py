"""Padding: every mode with any signs, 1 to 3 axes, memory order, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.autograd import Tensor, from_numpy, ops
from tests.harness import Case, Variant, normal, run

from .rejections import check_rejected, numbers

pytest.importorskip("torch")


@given(
    axes=st.integers(1, 3),
    batch=st.booleans(),
    mode=st.sampled_from(["constant", "reflect", "replicate", "circular"]),
    layout=st.sampled_from(["contiguous", "channels_last", "strided", "reversed"]),
    data=st.data(),
)
def test_any_signs(axes, batch, mode, layout, data):
    """Cuts of up to 1 (circular: on one side only, so that torch's own restrictions hold) and additions of up to 3 on sides of 4 to 6."""
    low = -1 if mode != "circular" or axes == 1 else 0
    pad = tuple(data.draw(st.integers(low, 3)) for _ in range(2 * axes))
    sides = tuple(data.draw(st.integers(4, 6)) for _ in range(axes))
    shape = (2, 2, *sides) if batch else (2, *sides)
    run(Case("pad", f"{mode} {shape} {pad}", (normal(*shape),), lambda F, x: F.pad(x, pad, mode)), Variant(layout=layout))


def test_channels_last_stays():
    x = from_numpy(numbers(2, 5, 6, 3).transpose(0, 3, 1, 2))
    for mode in ("constant", "reflect", "replicate", "circular"):
        assert ops.pad(x, (1, 2, 1, 1), mode).array.transpose(0, 2, 3, 1).flags.c_contiguous, mode


def test_nothing_to_do_is_a_copy():
    x = Tensor(numbers(1, 3, 3))
    for pad, mode in (((), "constant"), ((0, 0), "constant"), ((0, 0), "reflect")):
        y = ops.pad(x, pad, mode)
        assert np.array_equal(y.numpy(), x.numpy())
        assert not np.may_share_memory(y.numpy(), x.numpy())


def test_value_is_rounded_to_the_type(torch):
    for dtype in ("int64", "float32", "float16"):
        x = numbers(2, 2, dtype=dtype)
        y = ops.pad(Tensor(x), (1, 0), value=2.7)
        expected = torch.nn.functional.pad(torch.tensor(x), (1, 0), value=2.7).numpy()
        assert y.numpy().dtype == expected.dtype
        assert np.array_equal(y.numpy(), expected)


@pytest.mark.parametrize(("shape", "pad", "options"), [
    ((2, 2), (1,), {}),
    ((2, 2), (1,) * 6, {}),
    ((2, 2), (-3, 0), {}),
    ((2, 2), (1, 1), {"mode": "mirror"}),
    ((2, 2), (1.0, 1), {}),
    ((1, 2, 2), (2, 1), {"mode": "reflect"}),
    ((1, 2, 2), (3, 1), {"mode": "circular"}),
    ((3, 3), (1, 1, 1, 1), {"mode": "reflect"}),
    ((3,), (1, 1), {"mode": "replicate"}),
    ((1, 2, 4), (-4, 0), {"mode": "replicate"}),
    ((1, 2, 0, 4), (1, 1, 1, 1), {"mode": "replicate"}),
    ((1, 2, 4), (1, 1), {"mode": "reflect", "value": 1.0}),
])
def test_rejects(shape, pad, options):
    check_rejected(lambda F, x: F.pad(x, pad, **options), numbers(*shape))
