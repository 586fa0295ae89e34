"""--sanitize: each finding on a kernel that has exactly that fault, and silence on the same kernel without it."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator

SOURCE = r"""
#include "common.cuh"
#define KERNEL(name) extern "C" __global__ void name(const float* x, float* y, int n)
#define T ((int)threadIdx.x)

KERNEL(clean) {
    __shared__ float s[64];
    __shared__ float total;
    s[T] = x[T];
    if (T == 0) total = 0;
    __syncthreads();
    if (T == 0)
        for (int i = 0; i < n; ++i) total += s[i];
    __syncthreads();
    y[T] = s[n - 1 - T] + total;
}
KERNEL(read_past_end) { y[T] = x[T + 1]; }
KERNEL(write_before_start) { y[T - 2] = x[T]; }
KERNEL(past_dynamic) {
    DYNAMIC_SHARED(float, s);
    s[T + 1] = x[T];
    y[T] = s[T + 1];
}
KERNEL(far_away) { y[T] = x[T + (1 << 29)]; }
KERNEL(index_of_row) {
    __shared__ float s[4][16], other[4][16];
    s[T / 16][T % 16] = other[T / 16][T % 16] = x[T];
    __syncthreads();
    y[T] = s[T / 16][T % 16 + 1] + other[0][0];
}
KERNEL(index_in_registers) {
    float r[4] = {x[T], x[T], x[T], x[T]};
    for (int i = 0; i <= n / 16; ++i) r[i] += i;
    y[T] = r[0] + r[1] + r[2] + r[3];
}
KERNEL(misaligned) {
    if (T < 16) reinterpret_cast<float4*>(y)[T] = *reinterpret_cast<const float4*>(x + 4 * T - (T == 15));
}
KERNEL(misaligned_pair) {
    if (T == 0) reinterpret_cast<float2*>(y + 1)[0] = make_float2(x[T], x[T]);
}
KERNEL(never_written) { y[T] = y[T] + x[T]; }
KERNEL(half_written) {
    __shared__ float s[64];
    if (T < 60) s[T] = x[T];
    __syncthreads();
    y[T] = s[T];
}
KERNEL(next_block) {  // what one block writes is not there for the next
    __shared__ float s[64];
    if (blockIdx.x == 0) s[T] = x[T];
    __syncthreads();
    y[T] = s[T];
}
KERNEL(read_after_write) {
    __shared__ float total;
    if (T == 0) total = x[0];
    y[T] = total;
}
KERNEL(write_after_read) {
    __shared__ float s[64];
    s[T] = x[T];
    __syncthreads();
    const float v = s[63 - T];
    s[T] = v;  // lacks the barrier before it
    __syncthreads();
    y[T] = s[T];
}
KERNEL(write_write) {
    __shared__ float last;
    last = x[T];
    __syncthreads();
    y[T] = last;
}
KERNEL(warp_is_enough) {
    __shared__ float s[64];
    s[T] = x[T];
    __syncwarp();
    y[T] = s[T ^ 31];
}
KERNEL(warp_is_not_enough) {
    __shared__ float s[64];
    s[T] = x[T];
    __syncwarp();
    y[T] = s[T ^ 32];
}
KERNEL(half_a_warp_is_not_enough) {
    __shared__ float s[64];
    s[T] = x[T];
    __syncwarp(T % 32 < 16 ? 0xffffu : 0xffff0000u);
    y[T] = s[T ^ 16];
}
KERNEL(blocks_write_one_place) { y[T] = x[T] + blockIdx.x; }
KERNEL(block_reads_neighbour) { y[T + 32 * blockIdx.x] = x[T] + (blockIdx.x ? y[T] : 0); }
KERNEL(plain_and_atomic) {
    __shared__ int count;
    if (T == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1);
    y[T] = count;
}
KERNEL(atomics_between_barriers) {
    __shared__ int count;
    if (T == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1);
    __syncthreads();
    y[T] = count;
}
KERNEL(divergent) {
    if (T < 32) __syncthreads();
    else
        __syncthreads();
    y[T] = x[T];
}
KERNEL(lanes_missing) {
    float v = x[T];
    if (T % 32 < 16) v = __shfl_xor_sync(0xffffu, v, 16);
    y[T] = v;
}
KERNEL(order_of_sum) {
    __shared__ float total;
    if (T == 0) total = 0;
    __syncthreads();
    atomicAdd(&total, x[T]);
    __syncthreads();
    y[T] = total;
}
KERNEL(copy) {
    __shared__ float s[64];
    if (T < 16) emu::async_copy(&s[4 * T], &x[4 * T], 16, 16);
    emu::async_commit();
    emu::async_wait(0);
    __syncthreads();
    y[T] = s[T];
}
KERNEL(copy_not_waited_for) {
    __shared__ float s[64];
    if (T < 16) emu::async_copy(&s[4 * T], &x[4 * T], 16, 16);
    emu::async_commit();
    emu::async_wait(1);
    __syncthreads();
    y[T] = s[T];
}
KERNEL(copy_without_barrier) {
    __shared__ float s[64];
    emu::async_copy(&s[T], &x[T], 4, 4);
    emu::async_commit();
    emu::async_wait(0);
    y[T] = s[T ^ 1];
}
KERNEL(copy_past_end) {
    __shared__ float s[64];
    emu::async_copy(&s[T], &x[T + 4], 4, 4);
    emu::async_commit();
    emu::async_wait(0);
    y[T] = s[T];
}
KERNEL(volatile_flag) {  // one thread spins on what another writes: volatile, as it must be
    __shared__ volatile int flag;
    if (T == 0) flag = 0;
    __syncthreads();
    if (T == 32) flag = 1;
    y[T] = flag >= 0;
}
// The block that finishes last adds up what all have written: a fence, then an atomic.
extern "C" __global__ void last_block(const float* x, float* y, float* part, int* count, bool fence) {
    __shared__ bool last;
    if (T == 0) {
        part[blockIdx.x] = x[blockIdx.x];
        if (fence) __threadfence();
        last = atomicAdd(count, 1) == (int)gridDim.x - 1;
    }
    __syncthreads();
    if (!last || T) return;
    float sum = 0;
    for (int i = 0; i < (int)gridDim.x; ++i) sum += part[i];
    y[0] = sum;
    *count = 0;
}
"""
LINE = r"\(\w+\.cu:\d+\)"
CLEAN = ["clean", "warp_is_enough", "atomics_between_barriers", "copy", "volatile_flag"]
FINDINGS = {  # kernel: (blocks, message)
    "read_past_end": (1, rf"^memcheck: kernel read_past_end, block \(0, 0, 0\), thread \(63, 0, 0\): read of 4 bytes 0 bytes past .* x, .* {LINE}"),
    "write_before_start": (1, rf"^memcheck: .*thread \(0, 0, 0\): write of 4 bytes 8 bytes before the start of y, which has 256 bytes {LINE}"),
    "past_dynamic": (1, rf"^memcheck: .*thread \(63, 0, 0\): write of 4 bytes 0 bytes past the end of dynamic shared memory, .* 256 bytes {LINE}"),
    "far_away": (1, rf"^memcheck: .*: read of 4 bytes at address 0x\w+ {LINE}, which is in no memory of this launch"),
    "index_of_row": (1, rf"^memcheck: .*thread \(63, 0, 0\): index 16 is outside of the array 'float \[16\]' {LINE}"),
    "index_in_registers": (1, r"^memcheck: .*: index 4 is outside of the array 'float \[4\]'"),
    "misaligned": (1, rf"^memcheck: .*thread \(15, 0, 0\): misaligned access to .*float4.* in x at byte 236 of 256 {LINE}"),
    "misaligned_pair": (1, rf"^memcheck: .*: misaligned access to .*float2.* in y at byte 4 of 256 {LINE}"),
    "never_written": (1, rf"^initcheck: .*thread \(0, 0, 0\): read of y at byte 0 of 256 {LINE}, which nobody has written"),
    "half_written": (1, rf"^initcheck: .*thread \(63, 0, 0\): read of s at byte 252 of 256 {LINE}, which nobody has written"),
    "next_block": (2, r"^initcheck: .*block \(1, 0, 0\), thread \(63, 0, 0\): read of s at byte 252 of 256"),
    "read_after_write": (1, rf"^racecheck: .*thread \(1, 0, 0\): read of total at byte 0 of 4 {LINE}, which thread \(0, 0, 0\) has written {LINE}"),
    "write_after_read": (1, rf"^racecheck: .*: read of s at byte 252 of 256 {LINE}, which thread \(63, 0, 0\) has written {LINE}"),
    "write_write": (1, rf"^racecheck: .*: write of last at byte 0 of 4 {LINE}, which thread \(0, 0, 0\) has written {LINE}"),
    "warp_is_not_enough": (1, r"^initcheck: .*thread \(31, 0, 0\): read of s"),
    "half_a_warp_is_not_enough": (1, r"^(racecheck|initcheck): .*: read of s"),
    "blocks_write_one_place": (2, r"^racecheck: .*block \(1, 0, 0\), thread \(0, 0, 0\): write of y at byte 0 .*block \(0, 0, 0\), .* has written"),
    "block_reads_neighbour": (2, r"^racecheck: .*block \(1, 0, 0\), thread \(0, 0, 0\): read of y at byte 0 .*block \(0, 0, 0\), .* has written"),
    "plain_and_atomic": (1, r"^racecheck: .*: (read|atomic operation) of count at byte 0 of 4"),
    "divergent": (1, r"^synccheck: .*thread \(32, 0, 0\): divergent barrier"),
    "lanes_missing": (1, r"^synccheck: .*thread \(\d+, 0, 0\): __shfl_xor_sync \(line \d+\) reads lane 30, which takes no part in it"),
    "order_of_sum": (1, r"^ordercheck: kernel order_of_sum: \d+ bytes of y \(float32\[64\]\), the first at \d+, depend on the order"),
    "copy_not_waited_for": (1, rf"^initcheck: .*: read of s at byte \d+ of 256 {LINE}, which an asynchronous copy fills that has not been"),
    "copy_without_barrier": (1, r"^(racecheck|initcheck): .*: read of s at byte"),
    "copy_past_end": (1, rf"^memcheck: .*thread \(60, 0, 0\): read of 4 bytes 0 bytes past the end of x, which has 256 bytes {LINE}"),
}


@pytest.fixture(autouse=True)
def _sanitized():
    with emulator.sanitize():
        yield


@pytest.fixture
def backend():
    return get_backend(Device("emulator"))


def run(kernel, backend, blocks=1):
    x = backend.asarray(np.random.default_rng(0).standard_normal(64, np.float32))
    y = backend.empty((64,), "float32")
    emulator.load(SOURCE).get_function(kernel)((blocks,), (64,), (x, y, np.int32(64)), 256)
    return x, y


@pytest.mark.parametrize("kernel", FINDINGS)
def test_finding(kernel, backend):
    blocks, message = FINDINGS[kernel]
    with pytest.raises(emulator.EmulatorError, match=message):
        run(kernel, backend, blocks)


@pytest.mark.parametrize("kernel", CLEAN)
def test_no_finding(kernel, backend):
    x, y = run(kernel, backend)
    expected = {"clean": x[::-1] + x.sum(), "warp_is_enough": x.reshape(2, 32)[:, ::-1].ravel(), "copy": x}
    expected |= {"atomics_between_barriers": 64, "volatile_flag": 1}
    np.testing.assert_allclose(y, np.broadcast_to(expected[kernel], 64), rtol=1e-5)


def test_every_kernel_of_the_file_is_tested():
    assert set(emulator.load(SOURCE).names) == {*FINDINGS, *CLEAN, "last_block"}


def test_blocks_are_ordered_by_a_fence_and_an_atomic(backend):
    x, y, count = backend.asarray(np.arange(4, dtype=np.float32)), backend.empty((1,), "float32"), backend.zeros((1,), "int32")
    kernel = emulator.load(SOURCE).get_function("last_block")
    kernel((4,), (32,), (x, y, backend.empty((4,), "float32"), count, np.bool_(True)))
    assert (y[0], count[0]) == (6, 0)
    with pytest.raises(emulator.EmulatorError, match=r"^racecheck: kernel last_block, .*: read of part at byte \d+ of 16"):
        kernel((4,), (32,), (x, y, backend.empty((4,), "float32"), count, np.bool_(False)))


def test_what_a_host_array_or_a_kernel_wrote_is_written(backend):
    kernel = emulator.load(SOURCE).get_function("never_written")
    x = backend.asarray(np.ones(64, np.float32))
    for y in (backend.zeros((64,), "float32"), np.zeros(64, np.float32), backend.asarray(np.zeros(64))[:].astype(np.float32)):
        kernel((1,), (64,), (x, y, np.int32(64)))
        np.testing.assert_array_equal(y, 1)


def test_the_environment_switches_it_on(monkeypatch, backend):
    with emulator.sanitize(False):
        run("read_after_write", backend)
        monkeypatch.setenv("SCRATCHVGG_EMULATOR_SANITIZE", "1")
        run("read_after_write", backend)
    with emulator.sanitize(True), pytest.raises(emulator.EmulatorError, match="racecheck"):
        run("read_after_write", backend)
