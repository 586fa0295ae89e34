"""Arrays of any strides as kernels take them, dense in NHWC or KRSC order, and back."""

from __future__ import annotations

from contextlib import contextmanager

from ...cuda.launch_size import accumulator


def dense(backend, array):
    """(N, C, H, W) as a contiguous (N, H, W, C) array: a view if memory is in that order, as the library keeps it; else a copy."""
    return backend.xp.ascontiguousarray(array.transpose(0, 2, 3, 1))


@contextmanager
def filled(backend, shape, dtype, out=None):
    """A contiguous (N, H, W, C) array to fill; afterwards its numbers are in ``out``, if that lies in memory otherwise.

    Args:
        shape: (N, C, H, W).
        out: an array of that shape to write into, or None.

    Yields:
        (the array to fill, the (N, C, H, W) array to return).
    """
    view = None if out is None else out.transpose(0, 2, 3, 1)
    if view is not None and view.flags.c_contiguous:
        yield view, out
        return
    result = backend.empty(shape, dtype, "channels_last")
    yield result.transpose(0, 2, 3, 1), result if out is None else out
    if out is not None:
        out[...] = result


def per_channel(backend, array, dtype):
    """(K,) as kernels take scales and biases: contiguous, in the type of sums; None stays None."""
    return None if array is None else backend.xp.ascontiguousarray(array.astype(accumulator(dtype), copy=False))
