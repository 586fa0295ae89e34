# %% [markdown]
# # A convolution is a matrix product
#
# You will compute one small convolution three times, by seven loops, as a matrix product and with this library's own algorithms, and see
# every number on the way. Then you will go back through it with gradients. The asserts hold, or this page would not exist.
#
# The letters are those of the library's code: N images, C channels in, K filters (channels out), H×W pixels in, R×S taps of a filter, P×Q
# pixels out.

# %%
import time

import numpy as np

import scratchvgg as sv
from scratchvgg import conv
from scratchvgg.array import Device, get_backend

N, C, H, W, K, R, S, pad = 1, 2, 3, 3, 2, 3, 3, 1
rng = np.random.default_rng(0)
x = rng.integers(0, 6, (N, C, H, W)).astype(float)  # a picture of two channels
w = rng.integers(-2, 3, (K, C, R, S)).astype(float)  # two filters of 2 × 3 × 3 weights
P, Q = H + 2 * pad - R + 1, W + 2 * pad - S + 1
for c in range(C):
    print(f"channel {c} of the picture\n{x[0, c]}\nand of filter 0\n{w[0, c]}")

# %% [markdown]
# ## Seven loops
#
# Lay the filter over a pixel, multiply what lies on top of each other, add it all up:
#
# $$y_{n,k,p,q} = \sum_{c=0}^{C-1}\sum_{r=0}^{R-1}\sum_{s=0}^{S-1} x_{n,\,c,\,p+r-1,\,q+s-1}\; w_{k,c,r,s}$$
#
# The $-1$ is the padding: one ring of zeros, so that a 3×3 filter keeps the size. (Signal processing turns the filter by 180° first and
# calls this one a correlation; deep learning never turns it.) This is `scratchvgg/conv/direct.py`, the specification of all the faster
# ways.

# %%
def seven_loops(x, w):
    y = np.zeros((N, K, P, Q))
    for n in range(N):
        for k in range(K):
            for p in range(P):
                for q in range(Q):
                    for c in range(C):
                        for r in range(R):
                            for s in range(S):
                                h, v = p + r - pad, q + s - pad
                                if 0 <= h < H and 0 <= v < W:  # outside is zero
                                    y[n, k, p, q] += x[n, c, h, v] * w[k, c, r, s]
    return y


y = seven_loops(x, w)
print(y[0, 0], "\n\n", y[0, 1], sep="")

# %% [markdown]
# ## One output pixel is a dot product
#
# The middle pixel of channel 0 sees the whole picture. Unroll what it sees into a row, unroll the filter the same way, and the three inner
# loops are one dot product of R·S·C = 18 numbers. We unroll in the order r, s, c, because this library keeps pictures channels-last in
# memory.

# %%
patch = x[0].transpose(1, 2, 0).reshape(-1)  # (R·S·C,)
row = w[0].transpose(1, 2, 0).reshape(-1)
print(" + ".join(f"{a:g}·{b:g}" for a, b in zip(patch, row, strict=True)), "=", f"{patch @ row:g}")
assert patch @ row == y[0, 0, 1, 1]

# %% [markdown]
# ## All output pixels are a matrix product
#
# Put the patches of all N·P·Q output pixels under each other: the *column matrix* (in the first programs that did this, patches were
# columns). The filters are a second matrix, and
#
# $$\underbrace{Y}_{NPQ\times K} = \underbrace{\mathrm{col}}_{NPQ\times RSC}\;\underbrace{W^\top}_{RSC\times K}$$
#
# Look at the first row below: the corner pixel sees padding in five of its nine taps, two zeros each.

# %%
padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))).transpose(0, 2, 3, 1)  # (N, H + 2, W + 2, C)
pixels = [(n, p, q) for n in range(N) for p in range(P) for q in range(Q)]
col = np.array([padded[n, p : p + R, q : q + S].reshape(-1) for n, p, q in pixels])  # (NPQ, RSC)
filters = w.transpose(0, 2, 3, 1).reshape(K, R * S * C)
Y = col @ filters.T
for name, matrix in {"col": col, "filters": filters, "Y": Y}.items():
    print(f"{name} {matrix.shape}\n{matrix.astype(int)}")
assert np.array_equal(Y.reshape(N, P, Q, K).transpose(0, 3, 1, 2), y)

# %% [markdown]
# The library builds the same matrix (`fill_columns` in `scratchvgg/conv/im2col.py`), though never all of it: each pixel stands in it nine
# times. For conv1_2 of VGG-16 that would be 110 MiB a picture. It makes tiles of about 2 MiB, multiplies each while it lies in the cache,
# and overwrites it with the next.

# %%
backend = get_backend(Device("cpu"))
problem = conv.Problem(N, C, H, W, K, R, S, padding=((pad, pad), (pad, pad)))
theirs = conv.im2col.fill_columns(backend, problem, x.transpose(0, 2, 3, 1), (0, N, 0, P), 0, sv.float64)
assert np.array_equal(theirs, col)
conv1_2 = conv.Problem(1, 64, 224, 224, 64, 3, 3, padding=((1, 1), (1, 1)))
whole, tile = 224 * 224 * 9 * 64 * 4, conv.get("im2col").workspace(conv1_2, "float32")
print(f"conv1_2: {whole / 2**20:.2f} MiB of columns, {tile / 2**20:.1f} MiB of scratch memory a thread")
assert whole > 40 * tile

# %% [markdown]
# ## Backward is two more matrix products
#
# Let $G=\partial L/\partial Y$ arrive. From $Y=\mathrm{col}\,W^\top$ follows at once
#
# $$\frac{\partial L}{\partial W} = G^\top \mathrm{col}\qquad\qquad \frac{\partial L}{\partial\,\mathrm{col}} = G\,W$$
#
# A pixel that was copied into several patches gets the sum of what comes back to its copies: *col2im*. How many are there? 9 in the middle;
# at the border some taps fall outside, and there are fewer.

# %%
G = rng.integers(-1, 2, (N * P * Q, K)).astype(float)
dW = (G.T @ col).reshape(K, R, S, C).transpose(0, 3, 1, 2)
dcol = G @ filters


def col2im(columns):
    back, patches = np.zeros((N, H + 2 * pad, W + 2 * pad, C)), columns.reshape(N, P, Q, R, S, C)
    for r in range(R):
        for s in range(S):
            back[:, r : r + P, s : s + Q] += patches[:, :, :, r, s]
    return back[:, pad:-pad, pad:-pad].transpose(0, 3, 1, 2)


dx, copies = col2im(dcol), col2im(np.ones_like(col))
print(f"copies of each pixel\n{copies[0, 0].astype(int)}\ndx, channel 0\n{dx[0, 0]}")
print(f"dW, filter 0, channel 0\n{dW[0, 0]}")
assert copies[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]

# %% [markdown]
# The engine agrees, to the last bit here: all numbers are small integers.

# %%
image, weight = sv.tensor(x, requires_grad=True), sv.tensor(w, requires_grad=True)
output = sv.nn.functional.conv2d(image, weight, padding=pad, algorithm="im2col")
output.backward(sv.tensor(G.reshape(N, P, Q, K).transpose(0, 3, 1, 2)))
assert np.array_equal(output.detach().numpy(), y)
assert np.array_equal(image.grad.numpy(), dx) and np.array_equal(weight.grad.numpy(), dW)
print("forward, dx and dW equal the engine's")

# %% [markdown]
# ## Same numbers, other ways
#
# The library has more ways to compute this, one file each in `scratchvgg/conv/`. On random numbers each must agree with the seven loops to
# $10^{-10}$, which is rounding. `operations` counts all multiplications and additions, here and for conv3_2 of VGG-16.

# %%
small = conv.Problem(1, 8, 16, 16, 8, 3, 3, padding=((1, 1), (1, 1)))
conv3_2 = conv.Problem(1, 256, 56, 56, 256, 3, 3, padding=((1, 1), (1, 1)))
sx, sw = rng.standard_normal(small.x_shape), rng.standard_normal(small.w_shape)
start = time.perf_counter()
truth = conv.get("direct").forward(backend, small, sx, sw)
loops = time.perf_counter() - start
for name, algorithm in conv.algorithms().items():
    if algorithm.supports(small, "float64"):
        error = abs(algorithm.forward(backend, small, sx, sw) - truth).max()
        share = algorithm.operations(conv3_2) / (2 * conv3_2.macs)
        print(f"{name:12} {algorithm.operations(small):8,} operations; conv3_2: {share:.2f} × those of the loops")
        assert error < 1e-10, name

# %% [markdown]
# ## Why bother?
#
# **Time.** im2col does just the multiplications of the loops, and a bit of copying more. But a matrix product (GEMM) is the best understood
# program there is: it keeps small blocks of both matrices in registers and cache, so that a number that was fetched once is used many
# times, and it works on 4 to 16 numbers in one instruction. The loops fetch two numbers for each multiplication. Run `scratchvgg bench
# conv` for trustworthy times of all algorithms on your machine.

# %%
times = []
for _ in range(20):
    start = time.perf_counter()
    conv.get("im2col").forward(backend, small, sx, sw)
    times.append(time.perf_counter() - start)
print(f"{small.macs:,} multiply-accumulates; im2col took the shorter time: {min(times) < loops}")

# %% [markdown]
# **Fewer multiplications.** Two neighbouring outputs of a 3-tap filter are $y_0=x_0w_0+x_1w_1+x_2w_2$ and $y_1=x_1w_0+x_2w_1+x_3w_2$: six
# multiplications. Winograd does it with four, $m_1 \ldots m_4$ below: the factors made of $w$ are prepared once for the whole picture, and
# those made of $x$ are additions. In two dimensions 4·4 = 16 multiplications replace 6·6 = 36, so `winograd2x2` needs 2.25 times fewer, and
# `winograd4x4` 4 times fewer. What they save grows with the number of channels (see conv3_2 above: the additions count too), they pay with
# some rounding error, and their sums over C are matrix products again.

# %%
(a, b, c, d), (u, v, t) = rng.integers(1, 9, 4), rng.integers(1, 9, 3)
m1, m2, m3, m4 = (a - c) * u, (b + c) * (u + v + t) / 2, (c - b) * (u - v + t) / 2, (b - d) * t
print(f"x = {a}, {b}, {c}, {d}; w = {u}, {v}, {t}; y = {m1 + m2 + m3:g}, {m2 - m3 - m4:g}")
assert (m1 + m2 + m3, m2 - m3 - m4) == (a * u + b * v + c * t, b * u + c * v + d * t)
