"""CUDA's mathematical and integer functions, and the vector types."""

import math

import numpy as np
import pytest

from scratchvgg.cuda import emulator

FLOATS = {
    "rsqrtf(x)": lambda x: 1 / math.sqrt(x),
    "__expf(x)": math.exp,
    "__logf(x)": math.log,
    "__log2f(x)": math.log2,
    "__sinf(x)": math.sin,
    "__cosf(x)": math.cos,
    "__powf(x, 1.5f)": lambda x: x**1.5,
    "__fdividef(x, 3)": lambda x: x / 3,
    "__saturatef(x - 1)": lambda x: min(max(x - 1, 0), 1),
    "__fmaf_rn(x, x, 1)": lambda x: x * x + 1,
    "__fadd_rn(x, 2) * __fmul_rn(x, 2)": lambda x: (x + 2) * 2 * x,
    "__fsqrt_rn(__fdiv_rn(x, 2))": lambda x: math.sqrt(x / 2),
    "max(x, 1.25f) + min(x, 2.0f)": lambda x: max(x, 1.25) + min(x, 2),
    "__int_as_float(__float_as_int(x) + (1 << 23))": lambda x: 2 * x,
    "(float)__double2float_rn((double)x)": lambda x: x,
    "(float)__float2int_rn(x)": lambda x: np.rint(x),
    "cospif(x)": lambda x: math.cos(math.pi * x),
}
INTEGERS = {
    "__popc(x)": lambda x: x.bit_count(),
    "__clz(x)": lambda x: 32 - x.bit_length(),
    "__ffs(x)": lambda x: (x & -x).bit_length(),
    "__brev(x)": lambda x: int(f"{x:032b}"[::-1], 2),
    "__popcll((uint64)x << 20 | x)": lambda x: (x << 20 | x).bit_count(),
    "__clzll((int64)x << 20)": lambda x: 64 - (x << 20).bit_length(),
    "__umulhi(x, 0x87654321u)": lambda x: x * 0x87654321 >> 32,
    "(unsigned)__umul64hi((uint64)x << 32, (uint64)x << 30)": lambda x: (x << 32) * (x << 30) >> 64,
    "__mulhi((int)x, -7)": lambda x: (x - (x >> 31 << 32)) * -7 >> 32,
    "__byte_perm(x, 0x11223344u, 0x5140)": lambda x: x & 255 | 0x44 << 8 | (x >> 8 & 255) << 16 | 0x33 << 24,
    "__funnelshift_l(x, 0x11223344u, 8)": lambda x: 0x22334400 | x >> 24,
    "__funnelshift_r(x, 0x11223344u, 8)": lambda x: 0x44 << 24 | x >> 8,
    "make_uint4(x, 1, 2, 3).x + sizeof(uint4) + alignof(float4) + alignof(float3)": lambda x: x + 16 + 16 + 4,
    "ceil_div(x >> 1, 7u) + max_of(3u, 4u) + min(5u, 6u)": lambda x: -(-(x >> 1) // 7) + 9,
    "__ldg(&x)": lambda x: x,
}


def stamp(kind, table):
    head = f"(const {kind}* from, {kind}* to) {{ const {kind} x = from[threadIdx.x]; to[threadIdx.x] ="
    return "\n".join(f'extern "C" __global__ void {kind}_{i}{head} {expression}; }}' for i, expression in enumerate(table))


SOURCE = '#include "common.cuh"\ntypedef unsigned int unsigned32;\n' + stamp("float", FLOATS) + "\n" + stamp("unsigned32", INTEGERS)


@pytest.mark.parametrize("expression", FLOATS)
def test_floating_point(expression):
    x = np.array([0.3, 1.0, 1.5, 2.25, 7.125], np.float32)
    y = np.zeros_like(x)
    emulator.load(SOURCE).get_function(f"float_{list(FLOATS).index(expression)}")((1,), (x.size,), (x, y))
    np.testing.assert_allclose(y, [FLOATS[expression](v) for v in x.tolist()], rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("expression", INTEGERS)
def test_integers(expression):
    x = np.array([0, 1, 2, 255, 0x1234, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF], np.uint32)
    y = np.zeros_like(x)
    emulator.load(SOURCE).get_function(f"unsigned32_{list(INTEGERS).index(expression)}")((1,), (x.size,), (x, y))
    assert y.tolist() == [INTEGERS[expression](v) & 0xFFFFFFFF for v in x.tolist()]
