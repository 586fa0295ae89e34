"""tensor_core.cuh on the emulator: which lane holds which element, how TF32 is rounded, copies that nobody waited for."""

import numpy as np
import pytest

from scratchvgg.cuda import emulator

bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
G, T = np.divmod(np.arange(32), 4)

SOURCE = r"""
#include "tensor_core.cuh"

template <class Multiply>
__device__ void one_product(const uint32* a, const uint32* b, float* d, Multiply multiply) {
    const int lane = threadIdx.x;
    uint32 left[4], right[2];
    float sums[4];
    for (int i = 0; i < 4; ++i) left[i] = a[lane * 4 + i], sums[i] = d[lane * 4 + i];
    for (int i = 0; i < 2; ++i) right[i] = b[lane * 2 + i];
    multiply(sums, left, right);
    for (int i = 0; i < 4; ++i) d[lane * 4 + i] = sums[i];
}
struct Half { __device__ void operator()(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) { mma_m16n8k16<f16>(d, a, b); } };
struct Brain { __device__ void operator()(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) { mma_m16n8k16<bf16>(d, a, b); } };
struct Single { __device__ void operator()(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) { mma_m16n8k8(d, a, b); } };
extern "C" __global__ void mma_float16(const uint32* a, const uint32* b, float* d) { one_product(a, b, d, Half()); }
extern "C" __global__ void mma_bfloat16(const uint32* a, const uint32* b, float* d) { one_product(a, b, d, Brain()); }
extern "C" __global__ void mma_float32(const uint32* a, const uint32* b, float* d) { one_product(a, b, d, Single()); }

extern "C" __global__ void round_all(const uint32* x, uint32* y) { y[threadIdx.x] = round_tf32(x[threadIdx.x]); }

// Four 8×8 matrices lie below each other in a 32×8 array.
extern "C" __global__ void matrices(const uint16* from, uint32* plain, uint32* turned, int offset) {
    DYNAMIC_SHARED(uint16, tile);
    const int lane = threadIdx.x;
    for (int i = 0; i < 8; ++i) tile[lane * 8 + i] = from[lane * 8 + i];
    __syncwarp();
    uint32 r[4], q[4];
    ldmatrix_x4(r, tile + lane * 8 + offset);
    ldmatrix_x4_trans(q, tile + lane * 8 + offset);
    for (int i = 0; i < 4; ++i) plain[lane * 4 + i] = r[i], turned[lane * 4 + i] = q[i];
}

// Each thread copies one 16-byte word of three groups and reads its neighbour's.
template <int PENDING, bool MEET, bool CACHED>
__device__ void copy_ring(const float4* from, float4* to, int valid, int offset) {
    DYNAMIC_SHARED(float4, ring);
    const int lane = threadIdx.x, n = blockDim.x;
    for (int group = 0; group < 3; ++group) {
        float* target = reinterpret_cast<float*>(ring + group * n + lane) + offset;
        if (CACHED) cp_async16_cached(target, from + group * n + lane, lane < valid);
        else cp_async16(target, from + group * n + lane, lane < valid);
        cp_async_commit();
    }
    cp_async_wait<PENDING>();
    if (MEET) __syncthreads();
    for (int group = 0; group < 3; ++group) to[group * n + lane] = ring[group * n + (lane + 1) % n];
}
extern "C" __global__ void copy_all(const float4* from, float4* to, int valid, int offset) { copy_ring<0, true, false>(from, to, valid, offset); }
extern "C" __global__ void copy_cached(const float4* from, float4* to, int valid, int offset) { copy_ring<0, true, true>(from, to, valid, offset); }
extern "C" __global__ void copy_weak(const float4* from, float4* to, int valid, int offset) { copy_ring<1, true, false>(from, to, valid, offset); }
extern "C" __global__ void copy_apart(const float4* from, float4* to, int valid, int offset) { copy_ring<0, false, false>(from, to, valid, offset); }
"""


@pytest.fixture(scope="module")
def module():
    return emulator.load(SOURCE)


def fragments(dtype, a, b):
    """(32, 4) and (32, 2) registers, as the PTX ISA deals the elements of A (16, k) and B (k, 8) out to the lanes."""
    if dtype == np.float32:
        left = np.stack([a[G, T], a[G + 8, T], a[G, T + 4], a[G + 8, T + 4]], 1)
        return left.view(np.uint32), np.stack([b[T, G], b[T + 4, G]], 1).view(np.uint32)
    rows, columns = np.stack([G, G + 8, G, G + 8], 1)[..., None], np.stack([0 * T, 0 * T, 0 * T + 8, 0 * T + 8], 1)[..., None]
    two = 2 * T[:, None, None] + np.arange(2)
    left = np.ascontiguousarray(a[rows, columns + two]).view(np.uint32)[..., 0]
    right = np.ascontiguousarray(b[np.array([0, 8])[None, :, None] + two, G[:, None, None]]).view(np.uint32)[..., 0]
    return left, right


@pytest.mark.parametrize("dtype", [np.float16, bfloat16, np.float32], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("order", ["forward", "reverse", 3])
def test_mma(module, dtype, order):
    rng = np.random.default_rng(0)
    k = 8 if dtype == np.float32 else 16
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((16, k), (k, 8)))
    if dtype == np.float32:
        a, b = ((m.view(np.uint32) & 0xFFFFE000).view(np.float32) for m in (a, b))
    start = rng.standard_normal((16, 8)).astype(np.float32)
    rows, columns = np.stack([G, G, G + 8, G + 8], 1), 2 * T[:, None] + np.array([0, 1, 0, 1])
    d = np.ascontiguousarray(start[rows, columns])
    left, right = (np.ascontiguousarray(m) for m in fragments(dtype, a, b))
    with emulator.order(order):
        module.get_function(f"mma_{np.dtype(dtype).name}")((1,), (32,), (left, right, d))
    truth = start + a.astype(np.float64) @ b.astype(np.float64)
    got = np.empty((16, 8), np.float32)
    got[rows, columns] = d
    np.testing.assert_allclose(got, truth, rtol=1e-6, atol=1e-6)


def test_mma_of_special_numbers(module):
    """Infinity and NaN pass, half's subnormals count in full."""
    a, b, d = np.zeros((16, 16), np.float16), np.zeros((16, 8), np.float16), np.zeros((32, 4), np.float32)
    a[0, 0], a[1, 0], a[2, 0] = np.inf, np.nan, 2**-24
    b[0] = 1
    module.get_function("mma_float16")((1,), (32,), (*map(np.ascontiguousarray, fragments(np.float16, a, b)), d))
    assert np.isposinf(d[:4, :2]).all() and np.isnan(d[4:8, :2]).all() and (d[8:12, :2] == 2**-24).all() and not d[12:, :2].any()


def test_tf32_is_rounded_to_nearest_and_ties_away_from_zero(module):
    one = 0x3F800000
    x = np.zeros(32, np.uint32)
    cases = {
        one + 0x0FFF: one, one + 0x1000: one + 0x2000, one + 0x1001: one + 0x2000, one + 0x3000: one + 0x4000,
        one | 0x80001000: (one | 0x80000000) + 0x2000, 0x3FFFFFFF: 0x40000000, 0x00001000: 0x00002000, 0x7F800000: 0x7F800000,
    }  # fmt: skip
    x[: len(cases)] = list(cases)
    y = np.ones_like(x)
    module.get_function("round_all")((1,), (32,), (x, y))
    assert [hex(v) for v in y[: len(cases)]] == [hex(v) for v in cases.values()]
    x[0] = 0x7FC00001
    module.get_function("round_all")((1,), (32,), (x, y))
    assert np.isnan(y[:1].view(np.float32)).all()


def test_ldmatrix(module):
    source = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    plain, turned = np.zeros((2, 32, 4, 2), np.uint16)
    module.get_function("matrices")((1,), (32,), (source, plain.view(np.uint32), turned.view(np.uint32), np.int32(0)), 1024)
    for lane in range(32):
        g, t = divmod(lane, 4)
        np.testing.assert_array_equal(plain[lane], source[:, g, 2 * t : 2 * t + 2])
        np.testing.assert_array_equal(turned[lane], source[:, 2 * t : 2 * t + 2, g])


def test_ldmatrix_wants_aligned_rows(module):
    source, out = np.zeros((4, 8, 8), np.uint16), np.zeros((32, 4), np.uint32)
    with pytest.raises(emulator.EmulatorError, match="ldmatrix_x4 .*not aligned to 16 bytes"):
        module.get_function("matrices")((1,), (32,), (source, out, out.copy(), np.int32(1)), 1024)


@pytest.mark.parametrize("kernel", ["copy_all", "copy_cached"])
@pytest.mark.parametrize("order", ["forward", "reverse", 5])
def test_copies_arrive_and_invalid_ones_are_zero(module, kernel, order):
    source = np.random.default_rng(1).standard_normal((3, 64, 4)).astype(np.float32)
    out = np.empty_like(source)
    with emulator.order(order):
        module.get_function(kernel)((1,), (64,), (source, out, np.int32(50), np.int32(0)), 3 * 64 * 16)
    source[:, 50:] = 0
    np.testing.assert_array_equal(out, np.roll(source, -1, axis=1))


def test_a_wait_too_weak_by_one_group_shows(module):
    source, out = np.ones((3, 64, 4), np.float32), np.zeros((3, 64, 4), np.float32)
    module.get_function("copy_weak")((1,), (64,), (source, out, np.int32(64), np.int32(0)), 3 * 64 * 16)
    assert (out[:2] == 1).all() and np.isnan(out[2]).all()


def test_a_missing_barrier_shows(module):
    """A thread's wait is for its own copies: without the barrier some order reads a neighbour's too early."""
    source, out = np.ones((3, 64, 4), np.float32), np.zeros((3, 64, 4), np.float32)
    module.get_function("copy_apart")((1,), (64,), (source, out, np.int32(64), np.int32(0)), 3 * 64 * 16)
    assert np.isnan(out).any()


def test_copies_want_aligned_addresses(module):
    source, out = np.ones((3, 64, 4), np.float32), np.zeros((3, 64, 4), np.float32)
    with pytest.raises(emulator.EmulatorError, match="cp_async16 .*aligned to 16 bytes"):
        module.get_function("copy_all")((1,), (64,), (source, out, np.int32(64), np.int32(1)), 3 * 64 * 16 + 16)
