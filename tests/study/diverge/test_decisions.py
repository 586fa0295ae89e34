"""Frozen decisions: with its own decisions a layer does what it does; with another's it does what they say."""

import numpy as np
import pytest

from scratchvgg import nn
from scratchvgg.autograd import from_numpy, grad
from scratchvgg.study.diverge import decisions
from scratchvgg.study.diverge.chain import Step

LAYERS = [nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1), nn.AdaptiveMaxPool2d(2), nn.AdaptiveMaxPool2d((1, 3))]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_its_own_decisions_a_layer_is_itself(layer, dtype):
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal((2, 3, 7, 6)).astype(dtype), 1)  # ties too
    given = from_numpy(x.copy()).requires_grad_(True)
    y = layer(given)
    g = rng.standard_normal(y.shape).astype(dtype)
    step = Step("layer", layer, x.shape[1:], tuple(y.shape[1:]))
    taken = decisions.decide(step, x)
    assert decisions.decides(step)
    assert np.array_equal(decisions.forward(step, x, taken), y.detach().numpy())
    back = decisions.backward(step, x, g, taken)
    assert back.dtype == dtype and np.allclose(back, grad([y], [given], [from_numpy(g)])[0].numpy(), rtol=0, atol=1e-6)


def test_with_other_decisions_it_follows_them():
    step = Step("layer", nn.ReLU(), (1, 1, 3), (1, 1, 3))
    x, taken = np.array([[[[1.0, -2.0, 3.0]]]]), np.array([[[[False, True, True]]]])
    assert decisions.forward(step, x, taken).tolist() == [[[[0.0, -2.0, 3.0]]]]
    assert decisions.backward(step, x, 5 * np.ones_like(x), taken).tolist() == [[[[0.0, 5.0, 5.0]]]]
    pool = Step("layer", nn.MaxPool2d(2), (1, 2, 2), (1, 1, 1))
    planes, winner = np.array([[[[1.0, 4.0], [2.0, 3.0]]]]), np.array([[[[2]]]])
    assert decisions.forward(pool, planes, winner).item() == 2.0
    assert decisions.backward(pool, planes, np.array([[[[7.0]]]]), winner).tolist() == [[[[0.0, 0.0], [7.0, 0.0]]]]


def test_layers_that_decide_nothing():
    assert not any(decisions.decides(Step("layer", layer, (1,), (1,))) for layer in (nn.Linear(1, 1), nn.Dropout(), nn.AvgPool2d(2), None))
