"""Every warp operation against Python, lane by lane, with both context switches and in three orders."""

import numpy as np
import pytest

from scratchvgg.cuda import emulator

OPERATIONS = {  # name: (expression of v = x[lane], i = lane; the same for one lane of a list of 32 values)
    "shfl": ("__shfl_sync(~0u, v, 5)", lambda v, i: v[5]),
    "shfl_own": ("__shfl_sync(~0u, v, 31 - i)", lambda v, i: v[31 - i]),
    "shfl_segment": ("__shfl_sync(~0u, v, 9, 8)", lambda v, i: v[i // 8 * 8 + 1]),
    "shfl_xor": ("__shfl_xor_sync(~0u, v, 5)", lambda v, i: v[i ^ 5]),
    "shfl_xor_out": ("__shfl_xor_sync(~0u, v, 16, 16)", lambda v, i: v[i] if i < 16 else v[i ^ 16]),
    "shfl_down": ("__shfl_down_sync(~0u, v, 3)", lambda v, i: v[i + 3] if i + 3 < 32 else v[i]),
    "shfl_down_segment": ("__shfl_down_sync(~0u, v, 3, 4)", lambda v, i: v[i + 3] if i % 4 == 0 else v[i]),
    "shfl_up": ("__shfl_up_sync(~0u, v, 2)", lambda v, i: v[i - 2] if i >= 2 else v[i]),
    "shfl_up_segment": ("__shfl_up_sync(~0u, v, 2, 8)", lambda v, i: v[i - 2] if i % 8 >= 2 else v[i]),
    "ballot": ("__ballot_sync(~0u, v > 3)", lambda v, i: sum((x > 3) << j for j, x in enumerate(v))),
    "any": ("__any_sync(~0u, v == 7)", lambda v, i: 7 in v),
    "any_false": ("__any_sync(~0u, v == 77)", lambda v, i: 77 in v),
    "all": ("__all_sync(~0u, v < 9)", lambda v, i: max(v) < 9),
    "all_false": ("__all_sync(~0u, v < 8)", lambda v, i: max(v) < 8),
    "match_any": ("__match_any_sync(~0u, v)", lambda v, i: sum((x == v[i]) << j for j, x in enumerate(v))),
    "match_all": ("match_all(v)", lambda v, i: 0),
    "match_all_true": ("match_all(v / 100)", lambda v, i: 0xFFFFFFFF),
    "reduce_add": ("__reduce_add_sync(~0u, v)", lambda v, i: sum(v)),
    "reduce_min": ("__reduce_min_sync(~0u, v - 5)", lambda v, i: min(v) - 5),
    "reduce_max": ("__reduce_max_sync(~0u, v)", lambda v, i: max(v)),
    "reduce_and": ("__reduce_and_sync(~0u, (unsigned)v | 16)", lambda v, i: np.bitwise_and.reduce(np.array(v) | 16)),
    "reduce_or": ("__reduce_or_sync(~0u, (unsigned)v)", lambda v, i: np.bitwise_or.reduce(v)),
    "reduce_xor": ("__reduce_xor_sync(~0u, (unsigned)v)", lambda v, i: np.bitwise_xor.reduce(v)),
    "activemask": ("__activemask()", lambda v, i: 0xFFFFFFFF),
    "activemask_part": ("(i % 3 ? 0 : __activemask())", lambda v, i: 0 if i % 3 else sum(1 << j for j in range(0, 32, 3))),
    "half_warp": ("i < 16 ? __shfl_xor_sync(0xffffu, v, 1) : __shfl_xor_sync(0xffff0000u, v, 2)", lambda v, i: v[i ^ (1 if i < 16 else 2)]),
    "part_reduce": ("i % 2 ? __reduce_add_sync(0xaaaaaaaau, v) : 0", lambda v, i: sum(v[1::2]) if i % 2 else 0),
    "part_ballot": ("i >= 8 ? __ballot_sync(0xffffff00u, 1) : 0", lambda v, i: 0xFFFFFF00 if i >= 8 else 0),
    "twice": ("__shfl_up_sync(~0u, __shfl_down_sync(~0u, v, 1), 1)", lambda v, i: v[i] if i else v[1]),
}
SOURCE = """
#include "common.cuh"
__device__ unsigned match_all(int v) { int same; const unsigned mask = __match_all_sync(~0u, v, &same); return same ? mask : 0; }
""" + "\n".join(
    f'extern "C" __global__ void {name}(const int* x, unsigned* y) {{ const int t = threadIdx.x, i = t % 32, v = x[t]; y[t] = {text}; }}'
    for name, (text, _) in OPERATIONS.items()
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_warp_operation(name, switch):
    x = np.random.default_rng(3).integers(0, 9, 96).astype(np.int32)
    kernel = emulator.load(SOURCE).get_function(name)
    warps = x.reshape(3, 32).tolist()
    expected = np.array([int(OPERATIONS[name][1](warp, i)) & 0xFFFFFFFF for warp in warps for i in range(32)], np.uint32)
    for order in ("forward", "reverse", 11):
        y = np.zeros(96, np.uint32)
        with emulator.order(order):
            kernel((1,), (96,), (x, y))
        np.testing.assert_array_equal(y, expected, str(order))


REDUCTION = r"""
#include "common.cuh"
// Sum of n numbers: shuffles within a warp, shared memory between warps, one atomic per block.
template <class T>
__device__ void sum(const T* x, T* out, int n) {
    __shared__ T part[32];
    T s = 0;
    for_each_element(i, n) s += x[i];
    for (int d = 16; d; d /= 2) s += __shfl_xor_sync(~0u, s, d);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    s = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
    for (int d = 16; d; d /= 2) s += __shfl_down_sync(~0u, s, d);
    if (threadIdx.x == 0) atomicAdd(out, s);
}
extern "C" __global__ void sum_f32(const float* x, float* out, int n) { sum(x, out, n); }
extern "C" __global__ void sum_f64(const double* x, double* out, int n) { sum(x, out, n); }
extern "C" __global__ void sum_i64(const int64* x, int64* out, int n) { sum(x, out, n); }
"""


@pytest.mark.parametrize("name,dtype", [("sum_f32", np.float32), ("sum_f64", np.float64), ("sum_i64", np.int64)])
def test_reduction(name, dtype, switch):
    x = np.random.default_rng(0).integers(-9, 9, 5000).astype(dtype)
    for order in ("forward", "reverse", 5):
        out = np.zeros(1, dtype)
        with emulator.order(order):
            emulator.load(REDUCTION).get_function(name)((5,), (256,), (x, out, np.int32(x.size)))
        assert out[0] == x.sum()
