"""What compute-sanitizer watches: every small example once, or (``--broken``) a kernel that writes one element too far."""

import sys

import numpy as np

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import registry

BROKEN = r"""
extern "C" __global__ void one_too_far(float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = i;
}
"""

gpu = get_backend(Device("cuda"))
if "--broken" in sys.argv:
    import cupy

    cupy.cuda.set_allocator(None)  # memory by cudaMalloc, whose ends the tool knows
    y = cupy.zeros(1 << 18, np.float32)
    cupy.RawModule(code=BROKEN).get_function("one_too_far")((1025,), (256,), (y, np.int32(y.size)))
else:
    import cupy

    cupy.cuda.set_allocator(None)
    for _, example in registry.examples(gpu):
        example.run()
gpu.synchronize()
