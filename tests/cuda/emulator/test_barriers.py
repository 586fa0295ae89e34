"""Barriers of the block: the plain one, the voting ones, named ones, early returns; in every order, with both context switches."""

import numpy as np
import pytest

from scratchvgg.cuda import emulator

SOURCE = r"""
#include "common.cuh"
// Every round, each thread reads what its neighbour wrote in the last.
extern "C" __global__ void rounds(int* y, int n) {
    __shared__ int ring[96];
    const int t = threadIdx.x;
    ring[t] = t;
    for (int i = 0; i < n; ++i) {
        __syncthreads();
        const int next = ring[(t + 1) % blockDim.x];
        __syncthreads();
        ring[t] = next;
    }
    y[blockIdx.x * blockDim.x + t] = ring[t];
}
extern "C" __global__ void votes(const int* x, int* y) {
    const int t = threadIdx.x, v = x[t];
    y[t] = __syncthreads_count(v > 3) + 1000 * __syncthreads_or(v == 5) + 2000 * __syncthreads_and(v < 9) + 4000 * __syncthreads_count(v > 5);
}
// The threads of the second half leave early; the others' barrier must not wait for them.
extern "C" __global__ void leavers(int* y) {
    __shared__ int s[64];
    const int t = threadIdx.x;
    s[t] = t;
    __syncthreads();
    if (t >= 32) return;
    y[t] = s[63 - t];
    __syncthreads();
    y[t] += y[(t + 1) % 32] > 0;
}
#ifdef __CUDACC__
__device__ void bar_sync(int id, int n) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n) : "memory"); }
__device__ void bar_arrive(int id, int n) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(n) : "memory"); }
#else
void bar_sync(int id, int n) { emu::meet_named(id, n, {"bar.sync", __FILE__, __LINE__}); }
void bar_arrive(int id, int n) { emu::arrive_named(id, n, {"bar.arrive", __FILE__, __LINE__}); }
#endif
// Warp 0 produces, warp 1 consumes, through one slot and two named barriers: full (1) and empty (2).
extern "C" __global__ void producer_consumer(int* y, int n) {
    __shared__ int slot[32];
    const int lane = threadIdx.x % 32;
    for (int i = 0; i < n; ++i)
        if (threadIdx.x < 32) {
            if (i) bar_sync(2, 64);
            slot[lane] = 100 * i + lane;
            bar_arrive(1, 64);
        } else {
            bar_sync(1, 64);
            y[32 * i + lane] = slot[31 - lane];
            if (i + 1 < n) bar_arrive(2, 64);
        }
}
// 3-D indices.
extern "C" __global__ void indices(int* y) {
    const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    y[b * blockDim.x * blockDim.y * blockDim.z + t] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z + 1000 * blockIdx.x + 10000 * blockIdx.y +
                                                      100000 * blockIdx.z;
}
"""
ORDERS = pytest.mark.parametrize("order", ["forward", "reverse", 3])


@ORDERS
def test_rounds(order, switch):
    y = np.zeros((4, 96), np.int32)
    with emulator.order(order):
        emulator.load(SOURCE).get_function("rounds")((4,), (96,), (y, np.int32(5)))
    np.testing.assert_array_equal(y, np.tile((np.arange(96) + 5) % 96, (4, 1)))


@ORDERS
def test_votes(order, switch):
    x = np.random.default_rng(0).integers(0, 9, 64).astype(np.int32)
    y = np.zeros_like(x)
    with emulator.order(order):
        emulator.load(SOURCE).get_function("votes")((1,), (64,), (x, y))
    assert set(y.tolist()) == {int((x > 3).sum() + 1000 * (x == 5).any() + 2000 * (x < 9).all() + 4000 * (x > 5).sum())}


@ORDERS
def test_threads_that_returned_are_not_waited_for(order, switch):
    y = np.zeros(32, np.int32)
    with emulator.order(order):
        emulator.load(SOURCE).get_function("leavers")((1,), (64,), (y,))
    np.testing.assert_array_equal(y, 64 - np.arange(32))


@ORDERS
def test_named_barriers(order, switch):
    y = np.zeros((3, 32), np.int32)
    with emulator.order(order):
        emulator.load(SOURCE).get_function("producer_consumer")((1,), (64,), (y, np.int32(3)))
    np.testing.assert_array_equal(y, 100 * np.arange(3)[:, None] + 31 - np.arange(32))


def test_indices(switch):
    y = np.zeros((4, 3, 2, 2, 3, 4), np.int32)
    emulator.load(SOURCE).get_function("indices")((2, 3, 4), (4, 3, 2), (y,))
    z, b, x, k, j, i = np.indices(y.shape)
    np.testing.assert_array_equal(y, i + 10 * j + 100 * k + 1000 * x + 10000 * b + 100000 * z)
