"""The stand-in itself: it has what CuPy has, and refuses what CuPy refuses."""

import numpy as np
import pytest

from . import names
from .arrays import DeviceArray, Refused, no_waits, waits
from .module import Cupy


@pytest.fixture
def xp():
    waits.clear()
    return Cupy()


def test_the_stored_names_are_cupy_s():
    cupy = pytest.importorskip("cupy", minversion="14.2")
    if cupy.__version__ == "14.2.0":
        assert names.stored() == names.described(cupy)


@pytest.mark.parametrize("use", [
    lambda xp, d, h: d + h, lambda xp, d, h: h + d, lambda xp, d, h: xp.add(d, h), lambda xp, d, h: xp.matmul(d, h), lambda xp, d, h: np.asarray(d),
    lambda xp, d, h: np.add.reduce(d), lambda xp, d, h: xp.sum(h), lambda xp, d, h: xp.sum([1, 2]), lambda xp, d, h: xp.concatenate([d, h]),
    lambda xp, d, h: d.__setitem__(..., h), lambda xp, d, h: d.__setitem__(0, [1, 2]), lambda xp, d, h: xp.where(d > 0, d, h),
    lambda xp, d, h: xp.copyto(d, h), lambda xp, d, h: xp.add(d, 1, where=d > 0), lambda xp, d, h: xp.max(d, initial=0),
    lambda xp, d, h: d.max(initial=0), lambda xp, d, h: xp.take(d, d.astype(int), mode="clip"), lambda xp, d, h: xp.multiply.at(d, 0, 2),
    lambda xp, d, h: xp.add.at(d.astype("int64"), xp.arange(2), 1), lambda xp, d, h: d.__setitem__(slice(1, None), d[:-1]),
    lambda xp, d, h: xp.add(d[1:], d[:-1], out=d[1:]), lambda xp, d, h: xp.may_share_memory(d, h), lambda xp, d, h: xp.exp(d, out=h),
], ids=str)
def test_refused(xp, use):
    host = np.arange(4.0)
    with pytest.raises(Refused):
        use(xp, xp.asarray(host), host)


@pytest.mark.parametrize("name", ["float128", "object_", "nan_to_number", "memmap", "datetime64", "_core", "lib.stride_tricks.broadcast_arrays2"])
def test_names_that_cupy_has_not(xp, name):
    with pytest.raises(AttributeError):
        for part in name.split("."):
            xp = getattr(xp, part)


def test_attributes_that_cupy_s_arrays_have_not(xp):
    for name in ("ctypes", "setflags", "newbyteorder", "__array_struct__"):
        assert not hasattr(xp.zeros(2), name)
    assert not hasattr(xp.zeros(2).flags, "writeable")


@pytest.mark.parametrize("use", [
    lambda xp, d: bool(d[0] > 0), lambda xp, d: float(d[0]), lambda xp, d: int(d[0]), lambda xp, d: d.item(), lambda xp, d: d[:2].tolist(),
    lambda xp, d: d.get(), lambda xp, d: xp.asnumpy(d), lambda xp, d: d[d > 0], lambda xp, d: xp.flatnonzero(d), lambda xp, d: xp.unique(d),
    lambda xp, d: xp.where(d > 0), lambda xp, d: xp.cuda.runtime.deviceSynchronize(), lambda xp, d: list(range(10))[d[0].astype(int)],
], ids=str)
def test_waits_are_noted(xp, use):
    d = xp.arange(1.0) + 1
    use(xp, d)
    assert waits
    with no_waits(), pytest.raises(Refused, match="waits"):
        use(xp, d)


def test_what_cupy_does_is_done(xp):
    d = xp.arange(6.0).reshape(2, 3)
    with no_waits():
        assert isinstance(d.sum(), DeviceArray) and isinstance(np.float32(2) * d, DeviceArray) and d.T.base is not None
        d[d > 3] = 0
        d += d
        d[0] = d[1]
        xp.add.at(d, (xp.asarray([0, 0]), np.array([1, 1])), 1)
        assert xp.asarray(d) is d and (2 * d).flags.c_contiguous and not d.T.flags.c_contiguous
    assert d.tolist() == [[6, 2, 0], [6, 0, 0]]
    assert np.isnan(xp.empty(3).get()).all()  # memory that nobody wrote


def test_another_gpu_s_array_is_refused():
    xp = Cupy(2)
    there = xp.ones(2)
    with xp.cuda.Device(1), pytest.raises(Refused, match="array of device 0, the current device is 1"):
        there + 1
    with xp.cuda.Device(1):
        assert xp.asarray(there).device.id == 1
