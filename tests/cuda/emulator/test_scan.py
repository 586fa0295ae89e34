"""Entries are found however their launch bounds are written."""

import pytest

from scratchvgg.cuda.emulator.scan import entries

BOUNDS = ["", "__launch_bounds__(256) ", "__launch_bounds__(M / W * (N / W) * 32, B) ", "__launch_bounds__((f(1, 2) + 3), sizeof(T) == 8 ? 1 : 2) "]


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("first", [True, False])
def test_launch_bounds(bounds, first):
    text = f'extern "C" __global__ {bounds if first else ""}void {"" if first else bounds}scale_f32(const float* x, float (*y)[2], int)' + " { }"
    assert list(entries(text)) == ["scale_f32"] and len(entries(text)["scale_f32"]) == 3


def test_what_is_no_entry():
    text = '__global__ void inner(int n) { } extern "C" void host(int n); extern "C" __global__ void none() { }'
    assert entries(text) == {"none": []}
