"""gemm_1x1: what is copied and what is not, and pixels that no output sees."""

import numpy as np
import pytest

from scratchvgg.conv import Problem, get
from scratchvgg.conv.check import WatchedBackend

from .common import LAYOUTS, backend, exact, operands

channels_last = LAYOUTS["channels_last"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels_last_pixels_are_the_matrix(dtype):
    """At stride 1 without padding nothing is gathered or scattered: no scratch but small products."""
    g = Problem(2, 64, 40, 40, 96, 1, 1)
    x, w, dy, bias = operands(g, dtype)
    x, dy = channels_last(x), channels_last(dy)
    watched = WatchedBackend()
    get("gemm_1x1").forward(watched, g, x, w, bias)
    get("gemm_1x1").grad_input(watched, g, dy, w)
    get("gemm_1x1").grad_weight(watched, g, dy, x)
    assert {tag for _, tag in watched.asked} <= {"im2col.product"}
    assert get("gemm_1x1").forward(backend, g, x, w).transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("stride, padding", [((2, 3), ((0, 0), (0, 0))), ((1, 1), ((1, 0), (2, 1))), ((3, 2), ((4, 4), (1, 5)))])
def test_unseen_pixels_have_no_gradient(stride, padding):
    g = Problem(2, 3, 7, 8, 4, 1, 1, stride, padding)
    x, w, dy, bias = operands(g)
    dx = get("gemm_1x1").grad_input(backend, g, dy, w)
    wanted = exact(g, x, w, dy, bias)["grad_input"]
    np.testing.assert_array_equal(dx == 0, wanted == 0)
    y = get("gemm_1x1").forward(backend, g, x, w, bias)
    border = np.ones(g.y_shape, bool)
    for p in range(g.P):
        for q in range(g.Q):
            h, v = p * stride[0] - padding[0][0], q * stride[1] - padding[1][0]
            border[:, :, p, q] = not (0 <= h < g.H and 0 <= v < g.W)
    np.testing.assert_array_equal(y[border], np.broadcast_to(bias[:, None, None], g.y_shape)[border])
