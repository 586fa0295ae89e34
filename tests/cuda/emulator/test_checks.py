"""What is checked in every launch: kernels that are broken on purpose, and the message each gets."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator

SOURCE = r"""
#include "common.cuh"
extern "C" __global__ void lost_lanes(float* y) {
    float v = threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_xor_sync(~0u, v, 1);
    __syncthreads();
    y[threadIdx.x] = v;
}
extern "C" __global__ void divergent(float* y) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        y[threadIdx.x] = 1;
        __syncthreads();
    }
}
extern "C" __global__ void missed_barrier(float* y) {
    if (threadIdx.x != 5) __syncthreads();
    else while (((volatile float*)y)[1] == 0) emu::wait_while((unsigned*)y, 0, {"spinning", __FILE__, __LINE__});
}
extern "C" __global__ void different_operations(int* y) {
    if (threadIdx.x % 2) y[0] = __any_sync(~0u, 1);
    else y[0] = __all_sync(~0u, 1);
}
extern "C" __global__ void not_in_mask(int* y) { y[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 0); }
extern "C" __global__ void asserts(int* y) { assert(threadIdx.y < 2 && "rows"); }
extern "C" __global__ void far_away(float* y) { y[1ll << 44] = 1; }
extern "C" __global__ void misaligned(float4* y) { *reinterpret_cast<float4*>(reinterpret_cast<float*>(y) + threadIdx.x) = make_float4(1, 2, 3, 4); }
extern "C" __global__ void divides(int* y) { y[0] = 7 / y[0]; }
__device__ __noinline__ int deep(volatile int* y, int n) {
    volatile int frame[512];
    frame[n % 512] = n;
    return n ? deep(y, n - 1) + frame[n % 512] : y[0];
}
extern "C" __global__ void deep_recursion(int* y) { y[0] = deep(y, 1 << 20); }
extern "C" __global__ void past_dynamic(float* y) {
    DYNAMIC_SHARED(float, s);
    s[blockDim.x + threadIdx.x] = 1;
}
extern "C" __global__ void past_end(float* y, int n, int shift) { if (threadIdx.x < n) y[(int)threadIdx.x + shift] = 1; }
extern "C" __global__ void bad_barrier(int* y) { emu::meet_named(1, threadIdx.x < 32 ? 64 : 96, {"bar.sync", __FILE__, __LINE__}); }
extern "C" __global__ void reversed(const float* x, float* y) {  // without the barrier that it needs
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = s[63 - threadIdx.x];
}
extern "C" __global__ void says(int* y) { if (threadIdx.x == 1) printf("thread %d of block %d\n", threadIdx.x, blockIdx.x); }
extern "C" __global__ void copies(const float4* x, float4* y, int wait) {
    __shared__ float4 s[32];
    emu::async_copy(&s[threadIdx.x], &x[threadIdx.x], threadIdx.x < 30 ? 16 : 0, 16);
    emu::async_commit();
    emu::async_wait(wait);
    y[threadIdx.x] = s[threadIdx.x];
}
"""
FAULTS = {
    "lost_lanes": ((1,), (64,), r"deadlock: no thread can go on: threads 0-15 at __shfl_xor_sync \(.*:5\); threads 16-63 at __syncthreads \(.*:6\)"),
    "divergent": ((1,), (64,), r"thread \(32, 0, 0\): divergent barrier: this thread is at __syncthreads \(\w+.cu:14\), thread 0 waits .*:11\)"),
    "missed_barrier": ((1,), (64,), r"deadlock: .*threads 0-4 at __syncthreads \(.*; thread 5 at spinning \(.*; threads 6-63 at __syncthreads"),
    "different_operations": ((1,), (32,), "lanes of a warp meet in different operations: this one is at __any_sync .* thread 0 waits at __all_sync"),
    "not_in_mask": ((1,), (32,), r"thread \(16, 0, 0\): __shfl_sync \(.*\): lane 16 is not in its own mask 0x0000ffff"),
    "asserts": ((2,), (4, 3), r'kernel asserts, block \(0, 0, 0\), thread \(0, 2, 0\): assertion threadIdx.y < 2 && "rows" failed at .*:\d+'),
    "far_away": ((1,), (4,), r"^memcheck: kernel far_away, block \(0, 0, 0\), thread \(0, 0, 0\): illegal memory access"),
    "divides": ((1,), (1,), r"kernel divides, .*: integer division by zero"),
    "deep_recursion": ((1,), (3,), r"kernel deep_recursion, .*: illegal memory access"),
    "past_dynamic": ((1,), (32,), r"dynamic shared memory written 0 bytes past its end \(the launch asked for 128 bytes\)"),
    "bad_barrier": ((1,), (64,), r"thread \(32, 0, 0\): bar.sync .* expects 96 threads, but .* expects 64"),
}


@pytest.fixture(scope="module")
def module():
    return emulator.load(SOURCE)


@pytest.mark.parametrize("kernel", FAULTS)
def test_fault_is_reported(kernel, switch):
    grid, block, message = FAULTS[kernel]
    kernel = emulator.load(SOURCE).get_function(kernel)
    y = np.zeros(64, np.float32 if kernel.parameters[0].kind == "f" else np.int32)
    with pytest.raises(emulator.EmulatorError, match=message):
        kernel(grid, block, (y,), 128)


def test_misaligned_vector(module):
    y = np.zeros(68, np.float32)
    aligned = y[-(y.ctypes.data // 4) % 4 :][:64]
    with pytest.raises(emulator.EmulatorError, match=r"thread \(1, 0, 0\): illegal memory access: .* not aligned"):
        module.get_function("misaligned")((1,), (2,), (aligned.view([("x", "f4", 4)]),))


def test_python_goes_on_after_a_fault(module):
    for _ in range(3):
        with pytest.raises(emulator.EmulatorError):
            module.get_function("far_away")((4,), (64,), (np.zeros(1, np.float32),))
        y = np.zeros(64, np.float32)
        module.get_function("past_end")((1,), (64,), (y, np.int32(64), np.int32(0)))
        assert y.all()


def test_fault_in_one_of_many_blocks_is_found_on_every_number_of_threads(module):
    for threads in (1, 4):
        with emulator.choose(threads=threads), pytest.raises(emulator.EmulatorError, match="kernel asserts, block"):
            module.get_function("asserts")((40,), (1, 3), (np.zeros(1, np.int32),))


@pytest.mark.parametrize("shift,words", [(3, r"12 bytes past its end, the nearest at \+0"), (-2, "8 bytes before its start, the nearest at −1")])
def test_guard_zones(module, shift, words):
    backend = get_backend(Device("emulator"))
    kernel = module.get_function("past_end")
    host = np.ones(10, np.float32)
    for y in (backend.empty((10,), "float32"), backend.zeros((10,), "float32"), backend.asarray(host), backend.empty((2, 5), "float32").T):
        with pytest.raises(emulator.EmulatorError, match=rf"memcheck: kernel past_end has written outside of y \(float32\[.*\]\): {words}"):
            kernel((1,), (32,), (y, np.int32(10), np.int32(shift)))
        kernel((1,), (32,), (y, np.int32(10), np.int32(0)))  # the zones are whole again


def test_orders_show_a_missing_barrier(module):
    x = np.arange(64, dtype=np.float32)
    wrong = {}
    for order in ("forward", "reverse", 1, 2):
        y = np.zeros_like(x)
        with emulator.order(order):
            module.get_function("reversed")((1,), (64,), (x, y))
        wrong[order] = np.isnan(y).sum()
    assert wrong["forward"] == wrong["reverse"] == 32
    assert wrong[1] > 0 and wrong[2] > 0


def test_order_is_a_word_or_a_seed(monkeypatch, module):
    with pytest.raises(ValueError, match="expected 'forward', 'reverse' or a positive seed, got 'backwards'"):
        emulator.order("backwards")
    monkeypatch.setenv("SCRATCHVGG_EMULATOR_ORDER", "-3")
    with pytest.raises(ValueError, match="SCRATCHVGG_EMULATOR_ORDER: .* got '-3'"):
        module.get_function("asserts")((1,), (1,), (np.zeros(1, np.int32),))


@pytest.mark.parametrize("setting,value,message", [("threads", "none", "expected a positive number"), ("copies", "never", "'late' or 'early'")])
def test_settings_are_checked(setting, value, message, module):
    with emulator.choose(**{setting: value}), pytest.raises(ValueError, match=message):
        module.get_function("asserts")((1,), (1,), (np.zeros(1, np.int32),))
    with pytest.raises(TypeError, match="emulator settings are order, threads"), emulator.choose(speed=3):
        pass


def test_printf_reaches_the_terminal(module, capfd):
    module.get_function("says")((2,), (3,), (np.zeros(1, np.int32),))
    with emulator.choose(threads=1):
        module.get_function("says")((2,), (3,), (np.zeros(1, np.int32),))
    assert sorted(capfd.readouterr().out.splitlines()) == ["thread 1 of block 0"] * 2 + ["thread 1 of block 1"] * 2


def test_asynchronous_copies_happen_at_the_wait(module):
    backend = get_backend(Device("emulator"))
    x = backend.asarray(np.arange(128, dtype=np.float32)).view([("x", "f4", 4)])
    for copies, wait, there in (("late", 0, True), ("late", 1, False), ("early", 1, True)):
        y = backend.zeros((128,), "float32")
        with emulator.choose(copies=copies):
            module.get_function("copies")((1,), (32,), (x, y.view([("x", "f4", 4)]), np.int32(wait)))
        if there:
            np.testing.assert_array_equal(y, np.where(np.arange(128) < 120, np.arange(128), 0))
        else:
            assert np.isnan(y).all()
