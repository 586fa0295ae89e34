"""Gradients against finite differences of the forward pass in float64.

For L = Σ y·c a convolution is linear in each operand, so a central difference has no truncation error and the step may be large: along a
random direction d, (L(x + h·d) − L(x − h·d)) / 2h = Σ dx·d up to rounding.
"""

import numpy as np
import pytest

from scratchvgg.conv import get

from .common import PROBLEMS, backend, operands, supported

CHOSEN = {name: g for name, g in PROBLEMS.items() if g.N and g.macs < 30_000}


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems=CHOSEN))
def test_gradients_are_slopes(algorithm, name, dtype):
    g, a = CHOSEN[name], get(algorithm)
    x, w, dy, bias = operands(g)
    rng = np.random.default_rng(5)

    def loss(x, w):
        return float(np.sum(a.forward(backend, g, x, w, bias) * dy))

    dx, dw = a.grad_input(backend, g, dy, w), a.grad_weight(backend, g, dy, x)
    size = np.abs(dy).sum() * np.abs(x).max(initial=1) * np.abs(w).max(initial=1)
    for _ in range(3):
        step = rng.standard_normal(g.x_shape)
        assert abs((loss(x + step, w) - loss(x - step, w)) / 2 - np.sum(dx * step)) <= 1e-11 * size
        step = rng.standard_normal(g.w_shape)
        assert abs((loss(x, w + step) - loss(x, w - step)) / 2 - np.sum(dw * step)) <= 1e-11 * size


@pytest.mark.parametrize("algorithm, name, dtype", supported(problems={"vgg": PROBLEMS["vgg"], "a row": PROBLEMS["a row"]}))
def test_every_element_of_the_gradients(algorithm, name, dtype):
    """One element at a time, so that an error in a single place shows where it is."""
    g, a = PROBLEMS[name], get(algorithm)
    x, w, dy, _ = operands(g)
    for operand, gradient in ((x, a.grad_input(backend, g, dy, w)), (w, a.grad_weight(backend, g, dy, x))):
        slopes = np.empty_like(operand)
        for place in np.ndindex(operand.shape):
            values = []
            for sign in (1, -1):
                kept, operand[place] = operand[place], operand[place] + sign
                values.append(np.sum(a.forward(backend, g, x, w) * dy))
                operand[place] = kept
            slopes[place] = (values[0] - values[1]) / 2
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-10)
