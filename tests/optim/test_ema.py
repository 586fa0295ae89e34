"""EMA and Lookahead against their formulas in float64 and torch's own averaging."""

from __future__ import annotations

import numpy as np
import pytest

from scratchvgg import optim
from scratchvgg.autograd import Tensor

torch = pytest.importorskip("torch")
STEPS = 60


class Net:
    """A stand-in for a module: one weight (channels-last in memory), one running statistic, one counter."""

    def __init__(self, dtype="float64"):
        rng = np.random.default_rng(0)
        self.weight = Tensor(rng.standard_normal((2, 3, 3, 4)).astype(dtype).transpose(0, 3, 1, 2), requires_grad=True)
        self.running_mean = Tensor(np.zeros(2, dtype))
        self.num_batches_tracked = Tensor(np.array(0))

    def named_parameters(self):
        return [("weight", self.weight)]

    def named_buffers(self):
        return [("running_mean", self.running_mean), ("num_batches_tracked", self.num_batches_tracked)]

    def train(self, t):
        """Something that changes everything."""
        rng = np.random.default_rng(t)
        self.weight.array[...] += 0.1 * rng.standard_normal(self.weight.shape)
        self.running_mean.array[...] += rng.standard_normal(2)
        self.num_batches_tracked.array[...] += 1


@pytest.mark.parametrize("dtype, close", [("float64", 1e-13), ("float32", 1e-5)])
def test_ema_is_torchs(dtype, close):
    net = Net(dtype)
    ema = optim.EMA(net, decay=0.9)
    reference = torch.nn.Linear(1, 1)
    reference.weight = torch.nn.Parameter(torch.tensor(net.weight.array))
    average = torch.optim.swa_utils.AveragedModel(reference, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    average.update_parameters(reference)  # the first one copies
    for t in range(STEPS):
        net.train(t)
        reference.weight.data.copy_(torch.tensor(net.weight.array))
        ema.update()
        average.update_parameters(reference)
        np.testing.assert_allclose(ema.averages["weight"], average.module.weight.detach().numpy(), rtol=close, atol=close)
        np.testing.assert_array_equal(ema.averages["running_mean"], net.running_mean.array)
        np.testing.assert_array_equal(ema.averages["num_batches_tracked"], net.num_batches_tracked.array)
    assert ema.averages["weight"].dtype == dtype


def test_warmup():
    w = Tensor([0.0], requires_grad=True)
    ema = optim.EMA([w], decay=0.5, warmup=True)
    expected = 0.0
    for n in range(20):
        w.array[...] = n
        d = min(0.5, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * n
        ema.update()
        assert ema.averages["0"][0] == pytest.approx(expected, rel=1e-6)


def test_averaged_swaps_and_comes_back_after_an_exception():
    net = Net()
    ema = optim.EMA(net, decay=0.5)
    net.train(0)
    ema.update()
    net.train(1)
    own, averaged = net.weight.array.copy(), ema.averages["weight"].copy()
    statistics = ema.averages["running_mean"].copy()
    version = net.weight.version.value
    with pytest.raises(ZeroDivisionError), ema.averaged():
        assert np.array_equal(net.weight.array, averaged)
        assert np.array_equal(net.running_mean.array, statistics)
        assert net.weight.version.value > version
        with pytest.raises(RuntimeError, match="averages"):
            ema.update()
        with pytest.raises(RuntimeError, match="already"), ema.averaged():
            pass
        raise ZeroDivisionError
    assert np.array_equal(net.weight.array, own)
    assert np.array_equal(ema.averages["weight"], averaged)
    ema.copy_to_model()
    assert np.array_equal(net.weight.array, averaged)


def test_lookahead_is_the_recipe():
    net, total = Net(), 23
    lookahead = optim.Lookahead(net, total_steps=total)
    names = ("weight", "running_mean")
    average = {name: getattr(net, name).array.copy() for name in names}
    for t in range(1, total + 1):
        net.train(t)
        expected = {name: getattr(net, name).array.copy() for name in names}
        if t % 5 == 0:
            d = 0.95**5 * (t / total) ** 3
            average = {name: d * average[name] + (1 - d) * expected[name] for name in names}
        lookahead.update()
        for name in names:
            np.testing.assert_allclose(getattr(net, name).array, average[name] if t % 5 == 0 or t == total else expected[name], rtol=1e-12)
        assert net.num_batches_tracked.array == t


@pytest.mark.parametrize("make", [lambda net: optim.EMA(net, 0.9, warmup=True), lambda net: optim.Lookahead(net, 40)])
def test_a_restored_average_has_the_same_bits(make):
    straight, broken = Net("float32"), Net("float32")
    one, two = make(straight), make(broken)
    for t in range(40):
        if t == 17:
            kept = two.state_dict()
            kept = {**kept, "averages": {name: a.array.copy() for name, a in kept["averages"].items()}}
            two = make(broken)
            two.load_state_dict(kept)
        for net, average in ((straight, one), (broken, two)):
            net.train(t)
            average.update()
    for name, a in one.averages.items():
        assert a.tobytes() == two.averages[name].tobytes()
    assert straight.weight.array.tobytes() == broken.weight.array.tobytes()


def test_rejected():
    net = Net()
    with pytest.raises(TypeError):
        optim.EMA(net.weight)
    with pytest.raises(TypeError):
        optim.EMA([1.0])
    for bad in (lambda: optim.EMA(net, 1.5), lambda: optim.EMA([]), lambda: optim.Lookahead(net, 0), lambda: optim.Lookahead(net, 9, decay=2)):
        with pytest.raises(ValueError):
            bad()
    ema = optim.EMA(net)
    before = ema.averages["weight"].copy()
    for averages in ({}, {**ema.state_dict()["averages"], "weight": np.zeros(3)}):
        with pytest.raises(RuntimeError, match="averages"):
            ema.load_state_dict({"updates": 3, "averages": averages})
    assert np.array_equal(ema.averages["weight"], before) and ema.updates == 0
