"""Runs of layers in a Sequential done at once: which are, which are not, and that nobody notices."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.autograd import intercept
from scratchvgg.nn.fusion import fusion, is_fusion_enabled


def batch(n=2, c=3, size=8, dtype="float64"):
    return sv.tensor(np.random.default_rng(0).normal(size=(n, c, size, size)).astype(dtype))


def stage(*extra, norm=False, pool=True, inplace=True, **options):
    layers = [nn.Conv2d(3, 4, 3, padding=1, **options)] + [nn.BatchNorm2d(4)] * norm + [nn.ReLU(inplace)] + [nn.MaxPool2d(2, 2)] * pool
    return nn.Sequential(*layers, *extra).to("float64")


def operations(model, x):
    """The names of the operations that a call runs."""
    names = []

    def note(op, args, options, proceed):
        names.append(op.name)
        return proceed(args, options)

    with intercept(note):
        model(x)
    return names


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("pool", [True, False])
def test_convolution_and_relu(inplace, pool):
    assert operations(stage(pool=pool, inplace=inplace), batch()) == ["conv2d_relu"]


def test_batch_norm_in_training_and_evaluation():
    model = stage(norm=True)
    assert operations(model, batch())[-2:] == ["conv2d", "batch_norm_relu"]
    model.eval()
    assert operations(model, batch()) == ["conv2d", "batch_norm_relu"]  # the parameters want gradients: something to record
    with sv.no_grad():
        assert operations(model, batch()) == ["conv2d_relu"]
    assert operations(model.requires_grad_(False), batch()) == ["conv2d_relu"]


def test_switches(monkeypatch):
    model, apart = stage(), ["conv2d", "relu", "max_pool2d"]
    with fusion(False):
        assert operations(model, batch()) == apart and not is_fusion_enabled()
        with nn.fusion(True):
            assert operations(model, batch()) == ["conv2d_relu"]
        assert operations(model, batch()) == apart
    monkeypatch.setenv("SCRATCHVGG_FUSE", "0")
    assert operations(model, batch()) == apart and not is_fusion_enabled()
    with fusion(True):
        assert operations(model, batch()) == ["conv2d_relu"]
    monkeypatch.setenv("SCRATCHVGG_FUSE", "1")
    assert is_fusion_enabled()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("register", [
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
])
def test_hooks_see_their_layer(place, register):
    model, seen = stage(), []
    handle = getattr(model[place], register)(lambda module, *_: seen.append(module))
    model(batch().requires_grad_()).sum().backward()
    assert seen == [model[place]]
    assert operations(model, batch())[0] == ("conv2d_relu" if place == 2 else "conv2d")
    handle.remove()
    assert operations(model, batch()) == ["conv2d_relu"]


def test_a_hook_of_the_whole_does_not_matter():
    model, seen = stage(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    assert operations(model, batch()) == ["conv2d_relu"] and seen == [(2, 4, 4, 4)]


class Shifted(nn.ReLU):
    def forward(self, input):
        return super().forward(input - 1)


def test_layers_with_a_forward_of_their_own_are_called():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Shifted()).to("float64")
    assert "conv2d" in operations(model, batch())
    model = stage()
    model[1].forward = lambda input: input
    assert operations(model, batch()) == ["conv2d", "max_pool2d"]


@pytest.mark.parametrize("make", [
    lambda: stage(padding_mode="reflect"),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh()).to("float64"),
    lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)).to("float64"),
    lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)),
], ids=["padding mode", "another activation", "pool first", "no convolution"])
def test_left_alone(make):
    assert not {"conv2d_relu", "batch_norm_relu"} & set(operations(make(), batch()))


@pytest.mark.parametrize("pool", [
    nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, dilation=2, stride=2),
    nn.MaxPool2d(2, return_indices=True),
], ids=repr)
def test_other_pools_stay_by_themselves(pool):
    assert operations(stage(pool, pool=False), batch()) == ["conv2d_relu", "max_pool2d"]
    assert operations(stage(pool, pool=False, norm=True), batch())[-3:] == ["conv2d", "batch_norm_relu", "max_pool2d"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("training", [True, False])
def test_16_bit_runs_give_the_layers_bits(dtype, training):
    """Rounding is monotone: it may come before or after ReLU and maximum. Many windows have equal maxima after rounding: the winners agree too."""
    pytest.importorskip("ml_dtypes")
    sv.manual_seed(0)
    layers = [stage(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 2), nn.BatchNorm2d(2), nn.ReLU()]
    layers[0] = list(layers[0])
    model = nn.Sequential(*layers[0], *layers[1:]).to("float32").train(training)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    answers = []
    for fused in (True, False):
        model.load_state_dict(start)
        model.zero_grad()
        x = batch(8, dtype="float32").requires_grad_()
        with fusion(fused), sv.autocast("cpu", dtype):
            assert ("batch_norm_relu" in operations(model, x)) == fused
            model.load_state_dict(start)
            y = model(x)
        y.float().square().sum().backward()
        answers.append([y.float(), x.grad, *(p.grad for p in model.parameters()), *model.buffers()])
    assert all(a.equal(b) for a, b in zip(*answers, strict=True))


def test_other_inputs_stay_as_they_are():
    model = stage()
    assert "conv2d" in operations(model, batch()[0])  # one image without a batch
    with sv.autograd.detect_anomaly():
        assert "conv2d" in operations(model, batch())
    with pytest.raises(RuntimeError, match="max_pool2d: .* no room"):
        model(batch(size=1))
    with pytest.raises(TypeError, match="conv2d: input must be a Tensor"):
        model(np.zeros((1, 3, 8, 8)))


def test_the_layers_algorithm_is_taken():
    used = []

    def note(op, args, options, proceed):
        used.extend(a for a in args if isinstance(a, str))
        return proceed(args, options)

    with intercept(note):
        stage(algorithm="winograd2x2")(batch())
    assert used == ["winograd2x2"]


def features(norm, last=None):
    return lambda: sv.models.vgg.make_layers([4, "M", 8, 8, "M"], norm)[:last]


def one_layer_twice():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(inplace=True), conv, nn.ReLU(), nn.MaxPool2d(2))


NETS = {
    "features": features(False), "features_bn": features(True), "slice": features(False, 5), "slice_bn": features(True, 5),
    "one layer twice": one_layer_twice,
    "grouped": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, dilation=2, bias=False), nn.ReLU(), nn.MaxPool2d((2, 2))),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_values_gradients_and_statistics_are_those_of_the_layers(name, training):
    net = NETS[name]().to("float64").train(training)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    outcomes = []
    for fused in (False, True):
        net.load_state_dict(start)
        net.zero_grad()
        x = batch(size=10).requires_grad_()
        with fusion(fused):
            y = net(x)
        y.square().sum().backward()
        grads = [p.grad.numpy() for p in net.parameters() if p.grad is not None]
        outcomes.append([y.detach().numpy(), x.grad.numpy(), *grads, *(v.numpy().copy() for v in net.state_dict().values())])
    assert len(outcomes[0]) == len(outcomes[1])
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_evaluation_without_recording():
    model = stage(norm=True).eval()
    model[1].running_mean.copy_(sv.tensor([0.1, -0.2, 0.3, 0.0])), model[1].running_var.copy_(sv.tensor([0.5, 2.0, 1.0, 0.1]))
    with sv.no_grad():
        fused = model(batch())
        with fusion(False):
            apart = model(batch())
    np.testing.assert_allclose(fused.numpy(), apart.numpy(), rtol=1e-12, atol=1e-13)


def test_the_tape_of_a_fused_net_is_smaller():
    def kept(net, x):
        nodes, arrays = [net(x).grad_fn], {}
        while nodes:
            node = nodes.pop()
            if getattr(node, "ctx", None) is not None:
                arrays |= {id(a): a.nbytes for a in node.ctx.kept.values() if hasattr(a, "nbytes")}
            nodes += [edge[0] for edge in node.edges if edge is not None]
        return sum(arrays.values())

    for norm in (False, True):
        net, x = sv.models.vgg.make_layers([8, 8, "M", 16, 16, "M"], norm), batch(4, size=32, dtype="float32")
        with fusion(False):
            apart = kept(net, x)
        assert kept(net, x) < 0.8 * apart


def test_weights_that_change_in_evaluation_are_seen():
    model = stage().eval()
    with sv.no_grad():
        before = model(batch()).numpy()
        model[0].weight.mul_(2), model[0].bias.mul_(2)
        np.testing.assert_allclose(model(batch()).numpy(), 2 * before, rtol=1e-12)
