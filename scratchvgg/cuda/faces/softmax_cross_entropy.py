"""Cross-entropy of logits against class numbers, forward and backward in one kernel: ``kernels/softmax_cross_entropy.cu``."""

from __future__ import annotations

import numpy as np

from ..example_arrays import TOLERANCE, exact, random_array
from ..launch_size import NULL, SUFFIX, THREADS, accumulator, blocks_for, check_dense, suffix
from ..registry import Example, example

VERSIONS = {"thread": 1, "warp": 32, "block": 256}  # threads of a row
_WIDE = 1024  # classes from which a row takes a block


def cross_entropy(backend, z, target, weight=None, *, ignore_index: int = -100, smoothing: float = 0.0, gradient: bool = True, version=None):
    """Losses of all rows and, in the same pass, the gradient of each row's loss.

    Args:
        z: logits (N, C), contiguous; float16, bfloat16, float32 or float64.
        target: class numbers (N,), int64, contiguous.
        weight: (C,) of the type of z, or None.
        ignore_index: the class number that counts nothing.
        smoothing: ε in [0, 1].
        gradient: False leaves the gradient out.
        version: ``"thread"``, ``"warp"`` or ``"block"``; by default by the number of classes.

    Returns:
        (losses (N,), counted (N,), slope (N, C) or None) in float32, or float64 for float64: ``counted`` is the weight of each row's class, 0
        where ignored; ``slope`` is ∂ loss of the row / ∂z. A target outside the classes makes its row NaN: nobody waits for the device to ask.

    Raises:
        ValueError: for arrays that do not fit or are not contiguous. TypeError: for another element type.
    """
    kind = suffix("cross_entropy", z)
    if z.ndim != 2 or target.shape != z.shape[:1] or target.dtype != np.int64 or z.shape[1] == 0:
        raise ValueError(f"cross_entropy: expected z (N, C) and int64 target (N,), got {z.shape} and {target.dtype} {target.shape}")
    if weight is not None and (weight.shape != z.shape[1:] or weight.dtype != z.dtype):
        raise ValueError(f"cross_entropy: weight must be {z.dtype} of shape ({z.shape[1]},), got {weight.dtype} {weight.shape}")
    if version is not None and version not in VERSIONS:
        raise ValueError(f"cross_entropy: version must be one of {', '.join(VERSIONS)}, got {version!r}")
    check_dense("cross_entropy", z=z, target=target, weight=weight)
    (n, c), wide = z.shape, accumulator(z.dtype)
    losses, counted = backend.empty((n,), wide), backend.empty((n,), wide)
    slope = backend.empty((n, c), wide) if gradient else None
    if n:
        version = version or ("warp" if c <= _WIDE else "block")
        arrays = z, target, NULL if weight is None else weight, losses, counted, NULL if slope is None else slope
        grid = (-(-n * VERSIONS[version] // THREADS),)
        options = np.int32(n), np.int32(c), np.int64(ignore_index), np.float64(smoothing)
        backend.launch(f"cross_entropy_{version}_{kind}", grid, (THREADS,), (*arrays, *options))
    return losses, counted, slope


def reduce_losses(backend, losses, counted, dtype, mean: bool):
    """(Σ losses, over Σ counted for the mean, as an array () of ``dtype``; Σ counted (1,)), added in a fixed order in double."""
    out, divisor = backend.empty((), dtype), backend.empty((1,), losses.dtype)
    name = f"cross_entropy_reduce_{suffix('cross_entropy', out)}"
    backend.launch(name, (1,), (THREADS,), (losses, counted, out, divisor, np.int32(len(losses)), np.int32(mean)))
    return out, divisor


def scale_slope(backend, slope, g, divisor, target, ignore_index: int):
    """∂L/∂z in the type of g: each row of ``slope`` times g (), or g (N,), over ``divisor`` if there is one; zeros for ignored rows.

    Raises:
        ValueError: for arrays that do not fit or are not contiguous.
    """
    check_dense("cross_entropy", slope=slope, g=g, target=target)
    if g.shape not in ((), target.shape):
        raise ValueError(f"cross_entropy: g must have shape () or {target.shape}, got {g.shape}")
    gz = backend.empty(slope.shape, g.dtype)
    if gz.size:
        sizes = np.int64(gz.size), np.int32(slope.shape[1]), np.int32(g.ndim), np.int64(ignore_index)
        name = f"cross_entropy_scale_{suffix('cross_entropy', g)}"
        backend.launch(name, (blocks_for(gz.size),), (THREADS,), (slope, g, NULL if divisor is None else divisor, target, gz, *sizes))
    return gz


@example("softmax_cross_entropy")
def examples(backend, rng, size):
    """Every version and type, ignored rows, weights, smoothing; ImageNet's and larger."""
    if size == "small":
        for version in VERSIONS:
            for dtype in SUFFIX:
                yield _example(backend, rng, (6, 37), dtype, version, 0.1, True)
        yield _example(backend, rng, (3, 1100), "float32", "block", 0.0, False)
        yield _example(backend, rng, (300, 5), "float32", "warp", 0.0, False)
        return
    for dtype in ("float32", "bfloat16"):
        yield _example(backend, rng, (256, 1000), dtype, "warp", 0.1, False)
        yield _example(backend, rng, (65536, 1000), dtype, "warp", 0.1, False)
        yield _example(backend, rng, (1024, 21841), dtype, "block", 0.0, False)


def _example(backend, rng, shape, dtype, version, smoothing, weighted):
    """The mean loss and the gradient of 3 times it; class 2 is ignored, the first row is of class 1."""
    n, c = shape
    z = random_array(backend, rng, shape, dtype, scale=3.0)
    labels = rng.integers(0, c, n)
    labels[0] = 1
    target = backend.asarray(labels)
    weight = backend.asarray((1 + np.arange(c) % 3).astype(z.dtype)) if weighted else None
    g = backend.asarray(np.array(3, z.dtype))

    def run():
        losses, counted, slope = cross_entropy(backend, z, target, weight, ignore_index=2, smoothing=smoothing, version=version)
        loss, divisor = reduce_losses(backend, losses, counted, z.dtype, True)
        return {"loss": loss, "gz": scale_slope(backend, slope, g, divisor, target, 2)}

    def expected():
        logits, w = exact(backend, z), np.ones(c) if weight is None else exact(backend, weight)
        logs = logits - logits.max(1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        wanted = np.full((n, c), smoothing / c) + (1 - smoothing) * np.eye(c)[labels]
        wanted = wanted * w * (labels != 2)[:, None]
        divisor = (w[labels] * (labels != 2)).sum()
        slope = np.exp(logs) * wanted.sum(1, keepdims=True) - wanted
        return {"loss": -(wanted * logs).sum() / divisor, "gz": 3 * slope / divisor}

    entry = f"cross_entropy_{version}_{suffix('cross_entropy', z)}"
    moved = n * c * (2 * z.itemsize + 2 * accumulator(z.dtype).itemsize)
    wanted, title = expected if n * c < 1 << 20 else None, f"{n}x{c}, {version}, {SUFFIX[dtype]}"
    return Example(title, run, wanted, 4 * TOLERANCE[dtype], bytes=moved, operations=8 * n * c, entry=entry)
