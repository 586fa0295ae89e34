"""Limits: what right code does lies inside, and they are no wider than they say."""

import numpy as np
import pytest

from scratchvgg import conv, nn
from scratchvgg.autograd import from_numpy, grad
from scratchvgg.conv.errors import sum_bound, unit_roundoff
from scratchvgg.study.diverge import Side, limits
from scratchvgg.study.diverge.chain import Step
from scratchvgg.study.diverge.sides import Ours

from .common import net


def at(layer, shape, dtype="float32"):
    """(step, x, g, truth's runner, a runner of ``dtype``) of one layer."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    y = layer(from_numpy(x))
    g = rng.standard_normal(y.shape).astype(np.float32)
    step = Step("layer", layer, shape[1:], tuple(y.shape[1:]))
    model = nn.Sequential(layer)
    return step, x, g, Ours(Side(model, dtype="float64"), False), Ours(Side(model, dtype=dtype), False)


SUMS = [(nn.Conv2d(3, 5, 3, padding=1), (2, 3, 6, 5)), (nn.Conv2d(4, 6, (3, 1), stride=2, groups=2, bias=False), (2, 4, 7, 6)),
        (nn.Linear(7, 300), (4, 7)), (nn.Linear(7, 3, bias=False), (4, 7))]


@pytest.mark.parametrize("layer, shape", SUMS, ids=repr)
def test_the_sums_over_absolute_values_are_those_of_the_layer_made_positive(layer, shape):
    step, x, g, truth, _ = at(layer, shape)
    forward = limits.forward_sizes(truth, step, x, truth.forward(step, x, None), None)
    right = truth.backward(step, x, g, None)
    backward = limits.backward_sizes(truth, step, x, g, right, None)
    for parameter in layer.parameters():
        parameter.detach().array[...] = np.abs(parameter.detach().array)
    given = from_numpy(np.abs(x)).requires_grad_(True)
    names = [name for name, p in layer._parameters.items() if p is not None]
    y = layer(given)
    results = grad([y], [given, *(getattr(layer, name) for name in names)], [from_numpy(np.abs(g))])
    expected = {"output": y, **dict(zip(["grad_input", *names], results, strict=True))}
    assert set(forward | backward) == set(expected)
    for name, size in (forward | backward).items():
        assert size == pytest.approx(expected[name].detach().numpy().max(), rel=1e-5), name


def test_what_is_allowed_follows_the_algorithm_and_the_type():
    layer = nn.Conv2d(3, 5, 3, padding=1)
    step, *_, runner = at(layer, (2, 3, 8, 8))
    problem = conv.Problem(2, 3, 8, 8, 5, 3, 3, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    allowed = {}
    for name in ("im2col", "winograd4x4"):
        runner.taken = {"forward": conv.get(name)}
        allowed[name] = limits.allowed(runner, step, "output", {"output": 3.0}, 2.0, 2, "float32")
        assert allowed[name] == pytest.approx(1.5 * conv.get(name).error_bound(problem, "float32", "forward"))
    assert allowed["winograd4x4"] > 3 * allowed["im2col"]
    narrow = at(layer, (2, 3, 8, 8), "float16")[4]
    narrow.taken = {"forward": conv.get("im2col")}
    wide = 1.5 * (conv.get("im2col").error_bound(problem, "float16", "forward") + unit_roundoff("float16"))
    assert limits.allowed(narrow, step, "output", {"output": 3.0}, 2.0, 2, "float32") == pytest.approx(wide, rel=1e-3)
    assert limits.allowed(runner, step, "bias", {"bias": 3.0}, 2.0, 2, "float32") == pytest.approx(1.5 * sum_bound(128, "float32"))


def test_a_bound_that_says_nothing_is_not_believed():
    step, *_, runner = at(nn.Conv2d(3, 5, 3), (2, 3, 8, 8))

    class Boastful(type(conv.get("im2col"))):
        def error_bound(self, problem, dtype, which="forward"):
            return 10.0

    runner.taken = {"forward": Boastful()}
    assert limits.allowed(runner, step, "output", {"output": 1.0}, 1.0, 2, "float32") == pytest.approx(1e-2)


def test_layers_that_select_may_err_by_four_roundings():
    for layer in (nn.ReLU(), nn.MaxPool2d(2), nn.Dropout()):
        step, *_, runner = at(layer.eval(), (2, 3, 8, 8))
        assert limits.selects(step) and limits.allowed(runner, step, "grad_input", {}, 1.0, 2, "float32") == 4 * 2.0**-24


def test_other_layers_are_allowed_what_a_rounding_of_the_input_does():
    """A batch norm over numbers far from 0 with little spread magnifies roundings: so much is allowed, and not where it does not."""
    norms = [layer for layer in net().modules() if isinstance(layer, nn.BatchNorm2d)]
    allowed = []
    for offset in (0.0, 1000.0):
        layer = norms[0]
        step, x, _, truth, runner = at(layer, (3, 4, 6, 6))
        truth.training = runner.training = True
        x = x + np.float32(offset)
        right = truth.forward(step, x, None)
        sizes = limits.forward_sizes(truth, step, x, right, None)
        allowed.append(limits.allowed(runner, step, "output", sizes, float(np.abs(right["output"]).max()), 3, "float32"))
        error = np.abs(runner.forward(step, x, None)["output"] - right["output"]).max() / np.abs(right["output"]).max()
        assert error < allowed[-1]
    assert 64 * 2.0**-24 < allowed[0] < 1e-4 and 100 * allowed[0] < allowed[1]


def test_gradients_of_parameters_may_add_up_more():
    step = at(net().features[1], (3, 4, 6, 6))[0]
    wide = Step("layer", step.module, (4, 1024, 1024), (4, 1024, 1024))
    runner = Ours(Side(net()), True)
    few, many = (limits.allowed(runner, s, "bias", {"bias": 1.0}, 1.0, 4, "float32") for s in (step, wide))
    assert few == 128 * 2.0**-24 and many == few * 8
    assert limits.allowed(runner, wide, "grad_input", {"grad_input": 1.0}, 1.0, 4, "float32") == few
