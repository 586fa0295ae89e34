"""Resizing: every mode and rank against torch, integer images, what stays local, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.autograd import Tensor, ops
from tests.harness import Case, Variant, normal, run

from .rejections import check_rejected, numbers

pytest.importorskip("torch")

MODES = [("nearest", 1), ("nearest", 2), ("nearest", 3), ("nearest-exact", 1), ("nearest-exact", 2), ("area", 1), ("area", 2),
         ("linear", 1), ("bilinear", 2), ("bicubic", 2), ("trilinear", 3)]


@given(
    kind=st.sampled_from(MODES),
    corners=st.sampled_from([None, False, True]),
    antialias=st.booleans(),
    layout=st.sampled_from(["contiguous", "channels_last", "strided"]),
    data=st.data(),
)
def test_modes(kind, corners, antialias, layout, data):
    """Sizes leave out where torch 2.13 contradicts itself: antialiased columns of width 1 repeat the first value, and 1-D ``nearest``
    to twice the size ignores the scale factor in forward, not in backward."""
    mode, axes = kind
    sides = tuple(data.draw(st.integers(4, 8)) for _ in range(axes))
    if data.draw(st.booleans()):
        size = {"size": tuple(data.draw(st.integers(2, 12)) for _ in range(axes))}
    else:
        size = {"scale_factor": data.draw(st.sampled_from([0.7, 1.0, 1.5, 2.0, 2.3])),
                "recompute_scale_factor": data.draw(st.sampled_from([None, True]))}
    options = size | {"mode": mode}
    if "linear" in mode or mode == "bicubic":
        options["align_corners"] = corners
    if mode in ("bilinear", "bicubic"):
        options["antialias"] = antialias
    case = Case("interpolate", f"{sides} {options}", (normal(2, 2, *sides),), lambda F, x: F.interpolate(x, **options))
    run(case, Variant(layout=layout))


@pytest.mark.parametrize("size", [(32, 32), (256, 341), (224, 224)])
def test_photograph(torch, size):
    """The resize that ImageNet evaluation uses, in float32."""
    case = Case("interpolate", f"photograph {size}", (normal(1, 3, 120, 160),),
                lambda F, x: F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True))
    run(case, Variant(dtype="float32"))


@pytest.mark.parametrize("size", [(3, 1), (1, 1), (1, 4), (7, 1)])
def test_antialias_to_one_column_or_row(size):
    """Where torch cannot be asked: axis by axis, rows in a wide image and columns in a tall one, must give the same."""
    x = numbers(1, 2, 4, 4)
    whole = ops.interpolate(Tensor(x), size, mode="bilinear", antialias=True).numpy()
    rows = ops.interpolate(Tensor(x), (size[0], 4), mode="bilinear", antialias=True)
    turned = ops.interpolate(Tensor(rows.numpy().swapaxes(2, 3)), (size[1], size[0]), mode="bilinear", antialias=True).numpy()
    assert np.allclose(whole, turned.swapaxes(2, 3), rtol=1e-12)


def test_uint8_nearest(torch):
    x = numbers(1, 2, 5, 7, dtype="uint8")
    expected = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=1.7)
    assert np.array_equal(ops.interpolate(Tensor(x), scale_factor=1.7).numpy(), expected.numpy())


def test_same_size_is_a_copy():
    x = Tensor(numbers(1, 2, 3, 3))
    y = ops.interpolate(x, 3, mode="bilinear")
    assert np.array_equal(x.numpy(), y.numpy())
    assert not np.may_share_memory(x.numpy(), y.numpy())


@pytest.mark.parametrize("options", [{"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "antialias": True}])
def test_one_nan_spoils_its_neighbourhood_only(torch, options):
    x = np.ones((1, 1, 9, 9))
    x[0, 0, 4, 4] = np.nan
    ours = ops.interpolate(Tensor(x), 14, **options).numpy()
    assert np.array_equal(np.isnan(ours), np.isnan(torch.nn.functional.interpolate(torch.tensor(x), 14, **options).numpy()))


@pytest.mark.parametrize(("shape", "options"), [
    ((1, 1, 3, 3), {}),
    ((1, 1, 3, 3), {"size": 2, "scale_factor": 2}),
    ((1, 1, 3, 3), {"size": 2, "align_corners": True}),
    ((1, 1, 3, 3), {"size": 2, "mode": "cubic"}),
    ((1, 3, 3), {"size": 2, "mode": "bilinear"}),
    ((3, 3), {"size": 2}),
    ((1, 1, 3, 3), {"size": 2, "antialias": True}),
    ((1, 1, 3, 3), {"size": (2, 2, 2)}),
    ((1, 1, 3, 3), {"size": 0}),
    ((1, 1, 3, 3), {"size": -1, "mode": "bilinear"}),
    ((1, 1, 3, 3), {"scale_factor": 0.1}),
    ((1, 1, 3, 3), {"size": 2, "recompute_scale_factor": True}),
    ((1, 1, 3, 3), {"size": 2.5}),
    ((1, 0, 3, 3), {"size": 2, "mode": "bilinear"}),
])
def test_rejects(shape, options):
    check_rejected(lambda F, x: F.interpolate(x, **options), numbers(*shape))


def test_rejects_integers(torch):
    check_rejected(lambda F, x: F.interpolate(x, 2), numbers(1, 1, 3, 3, dtype="int64"))
