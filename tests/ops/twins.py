"""One expression under two libraries: the same results, or the same class of error.

For edges that a :class:`~tests.harness.Case` does not reach: what raises, NaN and ties, integers, random indices.
"""

from __future__ import annotations

import numpy as np

import scratchvgg as sv


def plain(result):
    """Tensors as (dtype name, shape, list), inside any nesting."""
    if hasattr(result, "requires_grad"):
        return str(result.dtype).rsplit(".", 1)[-1], tuple(result.shape), result.detach().numpy()
    if isinstance(result, (tuple, list)):
        return [plain(r) for r in result]
    return result


def assert_equal(ours, theirs):
    """Same types, shapes and values (to 1e-12 in float64, 1e-6 in float32); NaN equals NaN."""
    if isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
    elif isinstance(theirs, tuple) and len(theirs) == 3 and isinstance(theirs[2], np.ndarray):
        assert ours[:2] == theirs[:2], f"got {ours[:2]}, torch {theirs[:2]}"
        tolerance = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3}.get(theirs[0], 0)
        np.testing.assert_allclose(ours[2], theirs[2], rtol=tolerance, atol=tolerance)
    else:
        assert ours == theirs


def same(torch, function, *arrays, grad: bool = False):
    """``function(library, *tensors)`` gives the same with scratchvgg and torch, and with ``grad`` so do the gradients of every float input."""
    results = []
    for library in (sv, torch):
        tensors = [library.tensor(a) for a in arrays]
        if grad:
            for t in tensors:
                t.requires_grad_(t.dtype.is_floating_point)
        out = function(library, *tensors)
        if grad:
            first = out
            while isinstance(first, (tuple, list)):
                first = first[0]
            weights = np.cos(np.arange(first.numel())).reshape(tuple(first.shape)) + 2
            first.backward(library.tensor(weights).to(first.dtype))
        results.append((plain(out), [plain(t.grad) if t.requires_grad else None for t in tensors] if grad else []))
    assert_equal(*(r[0] for r in results))
    assert_equal(*(r[1] for r in results))


def same_error(torch, function):
    """``function(library)`` raises in both libraries, in ours an error that code written for torch's catches."""
    try:
        function(torch)
    except Exception as error:
        expected = error
    else:
        raise AssertionError("torch does not raise here")
    try:
        result = function(sv)
    except Exception as error:
        kinds = [k for k in type(expected).__mro__ if k in (RuntimeError, IndexError, TypeError, ValueError)]
        assert isinstance(error, tuple(kinds)), (
            f"got {type(error).__name__}: {error}; torch raises {type(expected).__name__}: {expected}"
        )
        assert str(error).strip(), "an error without a message"
    else:
        raise AssertionError(f"returned {result!r}; torch raises {type(expected).__name__}: {expected}")
