"""A trace shows the engine's own arrays, in order, under the right layer."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.array import default_generator
from scratchvgg.autograd import Op, intercept_backward
from scratchvgg.study.trace import trace


@pytest.fixture
def net():
    sv.manual_seed(0)
    return sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3).train()


@pytest.fixture
def images():
    return sv.randn(2, 3, 8, 8), sv.tensor([0, 2])


def test_operations_stand_in_order_under_their_layers(net, images):
    run = trace(net, *images)
    assert [(call.op, call.layer) for call in run.calls] == [
        ("conv2d", "features.0"), ("batch_norm", "features.1"), ("relu", "features.2"), ("max_pool2d", "features.3"),
        ("conv2d", "features.4"), ("batch_norm", "features.5"), ("relu", "features.6"), ("max_pool2d", "features.7"),
        ("adaptive_avg_pool2d", "avgpool"), ("Reshape", ""), ("linear", "classifier.1"), ("cross_entropy", "")]
    first = run.calls[0]
    assert [s.name for s in first.sources] == ["input", "features.0.weight", "features.0.bias"] and run.calls[1].sources[0].call == 0
    assert first.outputs == (((2, 4, 8, 8), "float32"),) and first.algorithms["forward"] in sv.conv.algorithms()
    assert not any(call.kept or call.results or call.gradients for call in run.calls), "nothing is recorded or kept unasked"
    assert run.of_layer("features.4") == [run.calls[4]] and run.of_layer("features") == []
    with pytest.raises(KeyError, match=r"features\.4"):
        run.of_layer("features.40")


def test_arrays_are_the_engines(net, images):
    run = trace(net, *images, backward=True, arrays=True)
    plain = net(images[0])
    loss = nn.functional.cross_entropy(plain, images[1])
    loss.backward()
    assert np.array_equal(run.output.detach().numpy(), plain.detach().numpy()) and run.loss.item() == loss.item()
    for name, parameter in net.named_parameters():
        assert run.leaf_gradients[name] == pytest.approx(np.linalg.norm(parameter.grad.numpy()), rel=1e-6)
    relu, pool = run.calls[2], run.calls[3]
    assert pool.sources[0].array is relu.results[0] and relu.results[0].min() == 0 > run.calls[1].results[0].min(), "out of place"
    linear = run.calls[10]
    assert np.allclose(linear.gradients[0].T @ linear.sources[0].array, net.classifier[1].weight.grad.numpy(), atol=1e-6)
    assert linear.gradient_norm == pytest.approx(np.linalg.norm(linear.gradients[0])) and linear.backward_seconds > 0


def test_the_net_is_left_as_it_was(net, images):
    state, random = {k: v.numpy().copy() for k, v in net.state_dict().items()}, default_generator.get_state()
    net.classifier[0].p = 0.5
    net.features[0].weight.grad = before = sv.ones(4, 3, 3, 3)
    image = images[0].requires_grad_(True)
    trace(net, image, images[1], backward=True, arrays=True)
    assert image.grad is None and net.features[0].weight.grad is before and net.features[4].weight.grad is None
    assert all(np.array_equal(v.numpy(), state[k]) for k, v in net.state_dict().items()), "running statistics too"
    assert default_generator.get_state() == random
    assert net.features[2].inplace and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert "workspace" not in vars(images[0].backend)
    with pytest.raises(RuntimeError):
        trace(net, sv.randn(2, 5, 8, 8))
    assert net.features[2].inplace and not any(m._forward_hooks for m in net.modules()) and "workspace" not in vars(images[0].backend)


def test_memory_is_counted_once(images):
    stages = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    net = nn.Sequential(*stages, nn.Flatten(), nn.Linear(32, 3))
    calls = trace(net, *images, backward=True).calls
    assert calls[0].kept_bytes == 0, "the image is there anyway, and so is the weight"
    assert calls[1].kept_bytes == 2 * 4 * 8 * 8 * 4, "ReLU keeps its output"
    assert [k.counted for k in calls[2].kept] == [False, False] and {k.name for k in calls[2].kept} == {"input", "weight"}
    assert [c.kept_bytes for c in trace(net, *images, record=True).calls] == [c.kept_bytes for c in calls]
    assert calls[4].op == "max_pool2d" and 0 < calls[4].kept_bytes <= 2 * 2 * 4 * 4 * 8, "winners, not the image"


def test_without_a_target_the_likeliest_class_is_followed(net, images):
    run = trace(net.eval(), images[0], backward=True, arrays=True)
    gradient = next(call for call in run.calls if call.op == "linear").gradients[0]
    assert run.loss is None and np.array_equal(gradient.argmax(1), run.output.detach().numpy().argmax(1)) and gradient.sum() == 2


def test_backward_can_be_intercepted():
    class Double(Op):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g

    x, seen = sv.tensor([1.0, 3.0], requires_grad=True), []

    def tenfold(node, grads, proceed):
        seen.append((node.name, [g.tolist() for g in grads]))
        return 10 * proceed(grads) if node.name == "Sum" else proceed(grads)

    y = Double.apply(x).sum()
    with intercept_backward(tenfold):
        y.backward(retain_graph=True)
    assert x.grad.tolist() == [20, 20]
    assert seen == [("Sum", [1.0]), ("Double", [[10.0, 10.0]]), ("AccumulateGrad", [[20.0, 20.0]])]
    x.grad = None
    y.backward()
    assert x.grad.tolist() == [2, 2] and len(seen) == 3
