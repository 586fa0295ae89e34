"""What compute-sanitizer watches: one small example of each entry, or (``--broken``) a kernel that writes one element too far."""

from __future__ import annotations

import sys

import numpy as np

from scratchvgg.cuda import registry

BROKEN = r"""
extern "C" __global__ void one_too_far(float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = i;
}
"""


def drive(gpu) -> int:
    """Run the first example of each entry, say each before; how many there were."""
    seen = set()
    for name, example in registry.examples(gpu):
        if example.entry not in seen:
            seen.add(example.entry)
            print(f"example: {name}, {example.title}", flush=True)
            example.run()
            gpu.synchronize()
    return len(seen)


def main() -> None:
    """Memory comes from cudaMalloc itself, whose ends the tool knows, not from a pool."""
    import cupy

    from .common import backend

    gpu = backend()
    cupy.cuda.set_allocator(None)
    if "--broken" in sys.argv:
        y = cupy.zeros(1 << 18, np.float32)
        cupy.RawModule(code=BROKEN).get_function("one_too_far")((1025,), (256,), (y, np.int32(y.size)))
        gpu.synchronize()
    else:
        drive(gpu)


if __name__ == "__main__":
    main()
