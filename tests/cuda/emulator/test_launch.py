"""Arguments and launch sizes: what is passed how, and the message for what does not fit."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator

SOURCE = r"""
#include "common.cuh"
#include "half.cuh"
struct Shape { int n; float scale; int64 far; };
extern "C" __global__ void all(float* y, Shape g, int i, int64 j, float f, double d, bool b, uint8 u) {
    y[0] = g.n, y[1] = g.scale, y[2] = g.far, y[3] = i, y[4] = j, y[5] = f, y[6] = d, y[7] = b, y[8] = u;
}
extern "C" __global__ void copy_bf16(const bf16* x, f16* y, int n) { for (int i = 0; i < n; ++i) y[i] = narrow<f16>(widen(x[i])); }
extern "C" __global__ void optional_bias(const float* bias, float* y) { y[0] = bias ? bias[0] : -1; }
#define STAMP(T, name)                                                                                               \
    extern "C" __global__ void __launch_bounds__(64) twice_##name(const T* __restrict__ x, T* __restrict__ y) {      \
        y[threadIdx.x] = x[threadIdx.x] + x[threadIdx.x];                                                            \
    }
STAMP(double, f64)
STAMP(int, i32)
STAMP(uint8, u8)
extern "C" __global__ void __launch_bounds__(32) after_bounds(void* any, const Shape* table) { *(int*)any = table->n; }
extern "C" __global__ void nothing() {}
"""
SHAPE = np.dtype([("n", np.int32), ("scale", np.float32), ("far", np.int64)])
Y = np.zeros(9, np.float32)


@pytest.fixture(scope="module")
def module():
    return emulator.load(SOURCE)


def good():
    return [Y, np.array([(3, 2.5, 1 << 33)], SHAPE), np.int32(4), np.int64(1 << 34), np.float32(0.5), np.float64(0.25), np.bool_(True), np.uint8(200)]


def test_entries_are_found_stamped_by_macros_too(module):
    assert module.names == ["all", "copy_bf16", "optional_bias", "twice_f64", "twice_i32", "twice_u8", "after_bounds", "nothing"]
    assert [p.name for p in module.get_function("all").parameters] == ["y", "g", "i", "j", "f", "d", "b", "u"]
    assert [p.spelling for p in module.get_function("copy_bf16").parameters] == ["bfloat16*", "float16*", "int32"]
    module.get_function("nothing")((2,), (1,), ())


def test_every_kind_of_argument_arrives(module):
    module.get_function("all")((1,), (1,), good())
    np.testing.assert_array_equal(Y, [3, 2.5, 2.0**33, 4, 2.0**34, 0.5, 0.25, 1, 200])


def test_sixteen_bit_types_round_trip(module):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = np.linspace(-3, 3, 50).astype(bfloat16)
    for view in (x, x.view(np.uint16)):
        y = np.zeros(50, np.float16)
        module.get_function("copy_bf16")((1,), (1,), (view, y, np.int32(50)))
        np.testing.assert_array_equal(y, x.astype(np.float16))


def test_null_pointer(module):
    y = np.zeros(1, np.float32)
    module.get_function("optional_bias")((1,), (1,), (np.uint64(0), y))
    assert y[0] == -1
    module.get_function("optional_bias")((1,), (1,), (np.full(1, 7, np.float32), y))
    assert y[0] == 7


def test_void_and_struct_pointers_take_any_array(module):
    out = np.zeros(4, np.uint8)
    module.get_function("after_bounds")((1,), (1,), (out, np.array([(77, 0, 0)], SHAPE)))
    assert out.view(np.int32)[0] == 77


@pytest.mark.parametrize(
    "place,value,message",
    [
        (0, np.zeros(9), r"all: argument y must be an array for float32\* .*, got an array of float64"),
        (0, np.float32(1), r"argument y must be an array .*, got float32"),
        (0, [1.0], "argument y must be an array .*, got list"),
        (1, np.zeros(1, [("n", "i4")]), "argument g must be a structured NumPy array of one element of 16 bytes, got an array of .* with 4 bytes"),
        (1, np.zeros(2, SHAPE), "argument g must be .* one element .*, got .* 2 elements"),
        (2, 4, r"argument i must be a NumPy scalar for int32, such as np.int32\(…\), got int 4"),
        (2, np.int64(4), "argument i must be a NumPy scalar for int32"),
        (3, np.int32(4), "argument j must be a NumPy scalar for int64"),
        (4, 0.5, r"argument f must be a NumPy scalar for float32, such as np.float32\(…\), got float 0.5"),
        (4, np.float64(0.5), "argument f must be .* float32"),
        (4, np.int32(1), "argument f must be .* float32"),
        (5, np.float32(0.5), "argument d must be .* float64"),
        (6, np.uint8(1), r"argument b must be a NumPy scalar for bool, such as np.bool_\(…\)"),
    ],
)
def test_wrong_argument(module, place, value, message):
    arguments = good()
    arguments[place] = value
    with pytest.raises(TypeError, match=message):
        module.get_function("all")((1,), (1,), arguments)


@pytest.mark.parametrize(
    "kernel,dtype",
    [("twice_f64", "f4"), ("twice_i32", "f4"), ("twice_i32", "i8"), ("twice_u8", "i2"), ("copy_bf16", "f2"), ("copy_bf16", "f4")],
)
def test_wrong_element_type(module, kernel, dtype):
    x = np.zeros(3, dtype)
    with pytest.raises(TypeError, match=rf"{kernel}: argument x must be an array for"):
        module.get_function(kernel)((1,), (3,), (x, x) if kernel != "copy_bf16" else (x, x, np.int32(3)))


def test_number_of_arguments(module):
    with pytest.raises(TypeError, match=r"all takes 8 arguments \(y, g, i, j, f, d, b, u\), got 7"):
        module.get_function("all")((1,), (1,), good()[:7])


@pytest.mark.parametrize(
    "grid,block,shared,message",
    [
        ((1,), (32, 33), 0, r"a block has at most 1024 threads, got \(32, 33, 1\) = 1056"),
        ((0,), (32,), 0, r"grid must lie between \(1, 1, 1\) and .*, got \(0, 1, 1\)"),
        ((1, 70000), (32,), 0, "grid must lie between"),
        ((1,), (1, 1, 65), 0, "block must lie between"),
        ((1, 1, 1, 1), (1,), 0, "grid must have 1 to 3 sizes"),
        ((1,), (1,), 240_000, "at most 232448 bytes of shared memory, got 240000"),
    ],
)
def test_launch_that_no_gpu_can_run(module, grid, block, shared, message):
    with pytest.raises(ValueError, match=message):
        module.get_function("nothing")(grid, block, (), shared)


def test_unknown_kernel(module):
    with pytest.raises(KeyError, match="no kernel 'sum' here; there are all, copy_bf16"):
        module.get_function("sum")
    with pytest.raises(KeyError, match="no kernel 'there_is_no_such_kernel_f32'"):
        get_backend(Device("emulator")).launch("there_is_no_such_kernel_f32", (1,), (1,), ())


def test_views_point_at_their_first_element(module):
    x = np.arange(12, dtype=np.int32)
    y = np.zeros(3, np.int32)
    module.get_function("twice_i32")((1,), (3,), (x[4:], y))
    assert y.tolist() == [8, 10, 12]
