"""Local response normalisation on a device: ``kernels/local_response_norm.cu``. (M, C) matrices of pixels and channels, contiguous."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import SUFFIX, THREADS
from ..registry import Example, example
from .plane_examples import LARGE_TYPES
from .planes import ELEMENTWISE, check_same, entry_of, flat, lanes, width


def local_response_norm(backend, x, size: int, alpha: float, beta: float, k: float, version: str | None = None):
    """x · d^−β with d = k + (α / size) Σ x² over ``size`` channels around each.

    Args:
        x: (M, C), contiguous.
        version: "naive" or "vector" (at most 256 groups of channels); None takes the fastest that can.

    Returns:
        (M, C).

    Raises:
        ValueError, TypeError: for other arrays.
    """
    return _launch(backend, "forward", (x,), (size, alpha, beta, k), version)


def local_response_norm_backward(backend, x, g, size: int, alpha: float, beta: float, k: float, version: str | None = None):
    """The gradient of x (M, C) from that of the result, ``g``; the rest as for :func:`local_response_norm`."""
    check_same("g", g, x.shape, x.dtype)
    return _launch(backend, "backward", (x, g), (size, alpha, beta, k), version)


def _launch(backend, name, arrays, norm, version):
    for array in arrays:
        if array.ndim != 2 or not array.flags.c_contiguous:
            raise ValueError(f"local_response_norm: arrays must be contiguous (M, C), got shape {array.shape}, strides {array.strides}")
    (m, c), out = arrays[0].shape, backend.empty(arrays[0].shape, arrays[0].dtype)
    groups = c // lanes(out.dtype)
    fits = width(backend, c, *arrays, out) > 1 and groups <= THREADS
    if version not in (None, "naive", "vector") or (version == "vector" and not fits):
        raise ValueError(f"local_response_norm: version {version!r} is not possible for {c} channels of {out.dtype}")
    if out.size == 0:
        return out
    size, *numbers = norm
    arguments = *arrays, out, np.int32(size), *map(np.float64, numbers), np.int64(m), np.int32(c)
    if fits and version != "naive":
        height = min(THREADS // groups, m)
        grid, block = (min(-(-m // height), ELEMENTWISE),), (groups, height)
        backend.launch(entry_of(f"local_response_norm_{name}", out), grid, block, arguments)
    else:
        backend.launch(entry_of(f"local_response_norm_{name}_naive", out), *flat(out.size), arguments)
    return out


@example("local_response_norm")
def examples(backend, rng, size):
    """Windows of odd and even size, and wider than the channels, the usual power and another; the norm of VGG-16's net A-LRN."""
    if size == "small":
        for dtype in SUFFIX:
            for shape, norm in (((7, 16), (5, 0.5, 0.75, 2.0)), ((3, 5), (4, 0.3, 0.5, 1.0)), ((9, 8), (20, 0.4, 0.75, 1.0))):
                yield from (_example(backend, rng, shape, dtype, norm, backward) for backward in (False, True))
            yield from (_example(backend, rng, (4, 8), dtype, (3, 0.5, 0.75, 1.0), backward, "naive") for backward in (False, True))
        return
    for dtype in LARGE_TYPES:
        yield from (_example(backend, rng, (64 * 224 * 224, 64), dtype, (5, 1e-4, 0.75, 2.0), backward) for backward in (False, True))


def _example(backend, rng, shape, dtype, norm, backward, version=None):
    x, g = (random_array(backend, rng, shape, dtype) for _ in range(2))

    def run():
        if backward:
            return {"gx": local_response_norm_backward(backend, x, g, *norm, version=version)}
        return {"y": local_response_norm(backend, x, *norm, version=version)}

    def expected():
        (n, alpha, beta, k), value, slope = norm, exact(backend, x), exact(backend, g)
        apart = np.arange(shape[1])[:, None] - np.arange(shape[1])  # of the channel that is seen from the one that sees
        sees = ((-(n // 2) <= apart) & (apart <= (n - 1) // 2)).astype(float)
        d = k + alpha / n * value**2 @ sees
        if not backward:
            return {"y": value * d**-beta}
        return {"gx": slope * d**-beta - 2 * alpha * beta / n * value * ((slope * value * d ** (-beta - 1)) @ sees.T)}

    fast = version is None and shape[1] % lanes(x.dtype) == 0
    entry = entry_of(f"local_response_norm_{'backward' if backward else 'forward'}{'' if fast else '_naive'}", x)
    title = f"{entry} of {'x'.join(map(str, shape))}, n, α, β, k = {norm}"
    return Example(title, run, expected, TOLERANCE[dtype], bytes=(3 if backward else 2) * x.nbytes, entry=entry)
