"""The device's arrays: NumPy arrays between guard zones, NaN until they are written."""

import gc

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, kernel_sources
from scratchvgg.cuda.emulator import EmulatorBackend, memory


@pytest.fixture
def backend():
    return get_backend(Device("emulator"))


def test_it_runs_kernels(backend):
    assert isinstance(backend, EmulatorBackend)
    assert backend.runs_kernels
    assert str(backend.device) == "emulator:0"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_empty_is_nan(backend, dtype):
    out = backend.empty((3, 5), dtype)
    assert out.shape == (3, 5)
    assert out.flags.c_contiguous
    assert np.isnan(out).all()
    assert out.ctypes.data % 256 == 0


def test_bfloat16_is_nan_too(backend):
    pytest.importorskip("ml_dtypes")
    assert np.isnan(backend.empty((4,), "bfloat16").astype(np.float32)).all()


def test_zeros_and_layouts(backend):
    out = backend.zeros((2, 3, 4, 5), "float32", "channels_last")
    assert out.shape == (2, 3, 4, 5)
    assert out.transpose(0, 2, 3, 1).flags.c_contiguous
    assert not out.any()
    assert memory.is_guarded(out)
    assert backend.empty((0, 3), "int64").shape == (0, 3)
    assert backend.zeros((), "int32") == 0


def test_asarray_copies_once_in_memory_order(backend):
    host = np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0)
    mine = backend.asarray(host)
    np.testing.assert_array_equal(mine, host)
    assert mine.strides == host.strides
    assert memory.is_guarded(mine)
    assert not np.shares_memory(mine, host)
    assert backend.asarray(mine) is mine
    assert backend.asarray(mine[1:]).base is mine.base
    assert backend.asarray(mine, "float32").dtype == np.float32
    assert backend.asarray([1, 2]).tolist() == [1, 2]
    assert backend.asarray(5) == 5
    np.testing.assert_array_equal(backend.asarray(np.broadcast_to(np.float32(2), (3, 2))), np.full((3, 2), 2))


def test_workspaces_are_forgotten_while_sanitizing(backend):
    scratch = backend.workspace("test", (3, 5), "float32")
    scratch[...] = 1
    assert (backend.workspace("test", (3, 5), "float32") == 1).all()
    with emulator.sanitize():
        assert np.isnan(backend.workspace("test", (3, 5), "float32")).all()
        assert backend.workspace("odd", (3,), "uint8").tolist() == [254, 255, 254]


def test_to_numpy_copies(backend):
    mine = backend.zeros((2, 3, 4, 5), "float32", "channels_last")
    host = backend.to_numpy(mine)
    assert host.strides == mine.strides
    assert not np.shares_memory(host, mine)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_damage_is_found_to_the_byte(size):
    array = memory.allocate((size,), np.uint8)
    array[...] = 9
    assert memory.damage(array) is None
    for offset, words in ((size, r"1 bytes past its end, the nearest at +0"), (-1, "1 bytes before its start, the nearest at −1"),
                          (size + 999, "1 bytes past its end, the nearest at +999")):
        whole = memory._owner(array).view(np.uint8)
        first = array.ctypes.data - whole.ctypes.data
        whole[first + offset] = 3
        assert memory.damage(array[: size // 2]) == words
        assert memory.damage(array) is None
        assert (array == 9).all()


def test_arrays_of_others_have_no_zones():
    assert memory.damage(np.zeros(3)) is None
    assert not memory.is_guarded(np.zeros(3)[1:])


def test_freed_memory_is_forgotten():
    gc.collect()
    before = len(memory._allocations)
    arrays = [memory.allocate((10,), np.float32)[i:] for i in range(5)]
    assert len(memory._allocations) == before + 5
    del arrays
    gc.collect()
    assert len(memory._allocations) == before


def test_substitutes_of_kernel_files(backend, tmp_path):
    copy = tmp_path / "edited.cu"
    copy.write_text('#include "common.cuh"\nextern "C" __global__ void relu_twelve_i32(int* y) { y[threadIdx.x] = 12; }\n')
    y = backend.zeros((3,), "int32")
    with emulator.substitute("relu", copy):
        backend.launch("relu_twelve_i32", (1,), (3,), (y,))
    assert y.tolist() == [12] * 3
    with pytest.raises(KeyError, match="no kernel 'relu_twelve_i32' here; there are relu_"):
        backend.launch("relu_twelve_i32", (1,), (3,), (y,))
    with pytest.raises(KeyError, match="no kernel file 'conv9'"), emulator.substitute("conv9", kernel_sources()["relu"]):
        pass
