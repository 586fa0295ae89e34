# %% [markdown]
# # Reading a CUDA kernel on the emulator
#
# A GPU runs one small C++ function, the *kernel*, in many threads at once. This library's kernels also run without a GPU: g++ compiles the
# same files, and a fiber (a function that can pause) plays each CUDA thread. So you can read a kernel, run it, print from inside it and
# break it, right here. You need g++ and `pip install 'scratchvgg[emulator]'`.

# %%
import re
import tempfile
from pathlib import Path

import numpy as np

import scratchvgg as sv
from scratchvgg.cuda import emulator, kernel_source, kernel_sources
from scratchvgg.nn import functional as F

try:
    library = emulator.load(kernel_sources()["relu"])
except emulator.BuildError:
    raise
except (RuntimeError, ImportError) as missing:
    print("Nothing can be run here:", missing)
    raise SystemExit(0) from None
for part in ("T relu(T x)", "void forward_naive("):
    print(next(lines for lines in kernel_source("relu").split("\n\n") if part in lines))

# %% [markdown]
# ## One thread, one number
#
# That is all of ReLU in `kernels/relu.cu`, in its simplest version. (`widen` and `narrow` are there for 16-bit numbers, which are computed
# with in 32 bits.) `for_each_element(i, total)` is a line of `common.cuh`: it starts at this thread's own number `blockIdx.x * blockDim.x +
# threadIdx.x` and goes on in steps of as many threads as there are. A launch says how many *blocks* there are and how many *threads* each
# has.

# %%
relu = library.get_function("relu_forward_naive_f32")
x = np.array([3, -1, 4, -1, -5, 9], np.float32)
for blocks, threads in [(1, 6), (2, 2), (1, 1), (3, 32)]:
    y = np.zeros_like(x)
    relu((blocks,), (threads,), (x, y, np.int64(len(x))))
    print(f"{blocks} blocks of {threads:2} threads: {y}")
    assert np.array_equal(y, np.maximum(x, 0))

# %% [markdown]
# The result does not depend on how the work is cut. Who did what? Ask the threads: `printf` works in them. Six numbers and two blocks of
# two threads: each thread makes one step, and the first two make another. (Blocks may run at the same time, in any order; here one after
# the other.)

# %%
talking = r'''#include "common.cuh"

extern "C" __global__ void relu(const float* x, float* y, int64 total) {
    for_each_element(i, total) {
        y[i] = x[i] <= 0 ? 0 : x[i];
        printf("block %u thread %u: element %lld, %g -> %g\n", blockIdx.x, threadIdx.x, i, x[i], y[i]);
    }
}
'''
with emulator.choose(threads=1):  # of the computer
    emulator.load(talking).get_function("relu")((2,), (2,), (x, y, np.int64(len(x))))

# %% [markdown]
# ## Threads that work together
#
# A convolution reads each pixel up to nine times. Threads of one block can share: they copy what all of them will need into *shared
# memory*, small and fast, wait for each other at `__syncthreads()`, and compute from there. A 3×3 convolution of one channel, where 16
# threads copy the 36 pixels that they see, two or three each:

# %%
conv3x3 = r'''// x, y (H, W), w (3, 3), zeros around the picture. A block makes TILE × TILE pixels, one a thread.
constexpr int TILE = 4, SEEN = TILE + 2;  // a tile sees one pixel more on each side

extern "C" __global__ void conv3x3(const float* x, const float* w, float* y, int H, int W) {
    __shared__ float seen[SEEN][SEEN];
    const int top = blockIdx.y * TILE, left = blockIdx.x * TILE;
    for (int e = threadIdx.y * TILE + threadIdx.x; e < SEEN * SEEN; e += TILE * TILE) {
        const int h = top - 1 + e / SEEN, v = left - 1 + e % SEEN;
        seen[e / SEEN][e % SEEN] = 0 <= h && h < H && 0 <= v && v < W ? x[h * W + v] : 0.0f;
    }
    __syncthreads();  // nobody reads before everybody has written
    const int p = top + threadIdx.y, q = left + threadIdx.x;
    if (p >= H || q >= W) return;  // the last tiles may hang over the edge
    float sum = 0;
    for (int r = 0; r < 3; ++r)
        for (int s = 0; s < 3; ++s) sum += seen[threadIdx.y + r][threadIdx.x + s] * w[r * 3 + s];
    y[p * W + q] = sum;
}
'''
rng = np.random.default_rng(0)
image, w = rng.integers(0, 9, (6, 7)).astype(np.float32), rng.integers(-2, 3, (3, 3)).astype(np.float32)
expected = F.conv2d(sv.tensor(image[None, None]), sv.tensor(w[None, None]), padding=1).numpy()[0, 0]


def run(source, tile=4):
    y = np.full_like(image, np.nan)
    grid = -(-image.shape[1] // tile), -(-image.shape[0] // tile)  # rounded up; x counts columns
    emulator.load(source).get_function("conv3x3")(grid, (tile, tile), (image, w, y, *np.int32(image.shape)))
    return y


for tile in (4, 2, 8):
    result = run(conv3x3.replace("TILE = 4", f"TILE = {tile}"), tile)
    loads = (tile + 2) ** 2 / tile**2
    equal = np.array_equal(result, expected)
    print(f"tiles of {tile} × {tile}: {loads:.2f} loads a pixel instead of 9; equal to F.conv2d: {equal}")
    assert equal

# %% [markdown]
# The larger the tile, the fewer the loads, until shared memory or the 1,024 threads of a block run out: the trade that every fast kernel
# makes.
#
# ## Break it
#
# Take `__syncthreads()` away. Now a thread may read what its neighbour has not yet written. On a GPU the result would be right or wrong by
# chance, perhaps right until the day of your talk. The emulator fills shared memory with NaN before each block, and runs threads in any
# order that you name:

# %%
broken = conv3x3.replace("    __syncthreads();  // nobody reads before everybody has written\n", "")
assert broken != conv3x3
for order in ("forward", "reverse", 1):
    with emulator.order(order):
        wrong = np.count_nonzero(run(broken) != expected), np.count_nonzero(run(conv3x3) != expected)
    print(f"threads in order {order}: {wrong[0]} of {image.size} pixels wrong, with the barrier {wrong[1]}")
    assert wrong[0] > 0 and wrong[1] == 0

# %% [markdown]
# `sanitize` does not need a lucky order. It watches every load and store, and says which thread did what in which line. Three classics: no
# barrier, a forgotten border, no check for threads that hang over the edge.

# %%
def found(source):
    try:
        with emulator.sanitize(), emulator.choose(threads=1):
            run(source)
    except emulator.EmulatorError as error:
        return re.sub(r"[0-9a-f]{16}\.cu", "conv3x3.cu", str(error))
    return "nothing"


faults = {
    "nothing": conv3x3,
    "initcheck": broken,
    "memcheck": conv3x3.replace("0 <= h && h < H", "h < H"),
    "racecheck": conv3x3.replace("if (p >= H || q >= W) return;", "if (p >= H) return;"),
}
for check, source in faults.items():
    print(found(source))
    assert found(source).startswith(check), check

# %% [markdown]
# The last one deserves a second look. A thread to the right of the picture writes to `y[p * W + q]` with q ≥ W, which is not outside of `y`
# but the first pixel of the *next row*: another thread's. No address is wrong; only two threads that write the same one.
#
# ## The library's own kernels
#
# They are built from these parts; `kernels/conv_direct.cu` is the same tile with many channels and 16 filters a thread. A tensor on the
# device `emulator` runs them, and `substitute` puts an edited copy in the place of a file. The first barrier of its forward pass, gone:

# %%
picture, filters = sv.tensor(rng.standard_normal((1, 3, 6, 7))), sv.tensor(rng.standard_normal((2, 3, 3, 3)))
there = picture.to("emulator"), filters.to("emulator")
result = F.conv2d(*there, padding=1, algorithm="direct").to("cpu")
difference = abs(result.numpy() - F.conv2d(picture, filters, padding=1).numpy()).max()
print("the kernel and NumPy agree to 1e-12:", difference < 1e-12)
assert difference < 1e-12

message = "nothing"
with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder, "conv_direct.cu")
    copy.write_text(kernel_source("conv_direct").replace("        __syncthreads();\n", "", 1), encoding="utf-8")
    with emulator.substitute("conv_direct", copy), emulator.sanitize(), emulator.choose(threads=1):
        try:
            F.conv2d(*there, padding=1, algorithm="direct")
        except emulator.EmulatorError as error:
            message = str(error)
print(message.split(": read")[0])
assert message.startswith("initcheck: kernel conv_direct_forward_v2_f64")

# %% [markdown]
# Next: step through a block with gdb ([emulator.md](../emulator.md)), read the kernels in the order of their difficulty
# ([kernels.md](../kernels.md)), or write one ([your-own-kernel.md](../your-own-kernel.md)).
