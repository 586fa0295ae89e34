"""Atomic operations: what they leave, and what they return, against the same operations one after another in Python."""

import numpy as np
import pytest

from scratchvgg.cuda import emulator

TYPES = {"int": np.int32, "unsigned": np.uint32, "int64": np.int64, "uint64": np.uint64, "float": np.float32, "double": np.float64}
INTEGER = ["int", "unsigned", "uint64"]
OPERATIONS = {  # in CUDA: the types it takes, and (old, v) → new
    "Add": (list(TYPES), lambda old, v: old + v),
    "Sub": (["int", "unsigned"], lambda old, v: old - v),
    "Exch": (list(TYPES), lambda old, v: v),
    "Min": (list(TYPES)[:4], min),
    "Max": (list(TYPES)[:4], max),
    "And": (INTEGER, lambda old, v: old & v),
    "Or": (INTEGER, lambda old, v: old | v),
    "Xor": (INTEGER, lambda old, v: old ^ v),
    "Inc": (["unsigned"], lambda old, v: 0 if old >= v else old + 1),
    "Dec": (["unsigned"], lambda old, v: v if old == 0 or old > v else old - 1),
}
CASES = [(name, kind) for name, (kinds, _) in OPERATIONS.items() for kind in kinds]
SOURCE = '#include "common.cuh"\n' + "\n".join(
    f'extern "C" __global__ void {name}_{kind}(const {kind}* v, {kind}* x, {kind}* old) {{ old[threadIdx.x] = atomic{name}(x, v[threadIdx.x]); }}'
    for name, kind in CASES
) + r"""
extern "C" __global__ void cas_increment(int* x) {
    for (int seen = *x, was;; seen = was)
        if ((was = atomicCAS(x, seen, seen + 1)) == seen) break;
}
extern "C" __global__ void cas_float(float* x, float* old) { old[0] = atomicCAS(x, 1.0f, 2.0f); old[1] = atomicCAS(x, 1.0f, 3.0f); }
extern "C" __global__ void many_blocks(unsigned* count, double* sum) { atomicAdd(count, 1u); atomicAdd(sum, 0.5); }
"""


@pytest.mark.parametrize("name,kind", CASES)
def test_forward_order_is_one_after_another(name, kind):
    dtype = TYPES[kind]
    values = np.random.default_rng(1).integers(0, 50, 40).astype(dtype)
    x, old = np.full(1, 20, dtype), np.zeros(40, dtype)
    expected, current = [], 20
    for v in values.tolist():
        expected.append(current)
        current = OPERATIONS[name][1](current, v)
    emulator.load(SOURCE).get_function(f"{name}_{kind}")((1,), (40,), (values, x, old))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(old, np.array(expected).astype(dtype))
        assert x[0] == np.array(current).astype(dtype)


def test_compare_and_swap():
    module = emulator.load(SOURCE)
    x = np.zeros(1, np.int32)
    module.get_function("cas_increment")((7,), (33,), (x,))
    assert x[0] == 7 * 33
    y, old = np.ones(1, np.float32), np.zeros(2, np.float32)
    module.get_function("cas_float")((1,), (1,), (y, old))
    assert (y[0], *old) == (2, 1, 2)


@pytest.mark.parametrize("threads", [1, 4])
def test_blocks_on_several_os_threads_lose_nothing(threads):
    count, total = np.zeros(1, np.uint32), np.zeros(1)
    with emulator.choose(threads=threads):
        emulator.load(SOURCE).get_function("many_blocks")((500,), (64,), (count, total))
    assert (count[0], total[0]) == (32000, 16000)
