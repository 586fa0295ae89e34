"""Recomputation: gradients equal bit for bit those of the plain run, while nothing of the inside is kept."""

import itertools

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.array import default_generator
from scratchvgg.autograd import checkpoint, checkpoint_sequential, enable_grad, is_recomputing
from scratchvgg.nn import functional as F
from scratchvgg.nn.fusion import fusion


def small_net(dtype="float32", device="cpu"):
    sv.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24, 16), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(16, 3),
    )
    return net.to(dtype=dtype, device=device).train()


def stages(net, cuts=(4, 8)):
    """The net as a function that runs its pieces through checkpoint."""
    edges = [0, *cuts, len(net)]
    parts = [net[a:b] for a, b in itertools.pairwise(edges)]

    def run(x):
        for part in parts:
            x = checkpoint(part, x)
        return x

    return run


def gradients(net, run, x, **options):
    """(output, gradients, buffers, random state) after one backward from the same random state."""
    sv.manual_seed(5)
    for parameter in net.parameters():
        parameter.grad = None
    out = run(x)
    F.cross_entropy(out, sv.tensor([0, 2], device=x.device)).backward(**options)
    grads = {name: p.grad.cpu().numpy().copy() for name, p in net.named_parameters()}
    return out.detach().cpu().numpy(), grads, {k: b.cpu().numpy().copy() for k, b in net.named_buffers()}, default_generator.get_state()


def assert_equal(a, b):
    assert np.array_equal(a[0], b[0]) and a[3] == b[3]
    for one, two in zip(a[1:3], b[1:3], strict=True):
        assert one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


def kept(out):
    """Bytes of the arrays that the tape below ``out`` holds, without leaves; each once."""
    nodes, seen, arrays = [out.grad_fn], set(), []
    while nodes:
        node = nodes.pop()
        if node in seen or getattr(node, "op", None) is None:
            continue
        seen.add(node)
        nodes += [edge[0] for edge in node.edges if edge]
        if node.ctx is not None:
            for value in [*node.ctx.kept.values(), *vars(node.ctx).values()]:
                if isinstance(value, np.ndarray) and value.ndim and not any(np.may_share_memory(value, other) for other in arrays):
                    arrays.append(value)
        elif node.away is not None and node.away.call is not None:
            for tensor in node.away.call[1]:
                if not any(np.may_share_memory(tensor.array, other) for other in arrays):
                    arrays.append(tensor.array)
    return sum(a.nbytes for a in arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fuse", [True, False])
def test_equal_bit_for_bit(dtype, fuse):
    """Dropout's masks, running statistics that move once, ReLU in place, image without a gradient."""
    plain, again = small_net(dtype), small_net(dtype)
    x = sv.randn(2, 3, 8, 8, dtype=sv.float64).to(dtype)
    with fusion(fuse):
        a = gradients(plain, plain, x)
        b = gradients(again, stages(again), x)
    assert_equal(a, b)
    assert b[2]["1.num_batches_tracked"] == 1


def test_equal_on_the_emulator():
    plain, again = small_net(device="emulator"), small_net(device="emulator")
    x = sv.randn(2, 3, 8, 8).to("emulator")
    assert_equal(gradients(plain, plain, x), gradients(again, stages(again), x))


@pytest.mark.parametrize("name", ["small_vgg", "cifar_vgg"])
def test_equal_on_vgg(name):
    sizes = {"dropout": 0.5} if name == "small_vgg" else {"config": "A", "batch_norm": True}
    results = []
    for recompute in (False, True):
        sv.manual_seed(1)
        net = sv.models.get_model(name, num_classes=3, **sizes).train()
        pools = [i + 1 for i, m in enumerate(net.features) if isinstance(m, nn.MaxPool2d)]
        if recompute:
            net.features.forward = stages(net.features, pools[:-1])
        sv.manual_seed(2)
        results.append(gradients(net, net, sv.randn(2, 3, 32, 32)))
    assert_equal(*results)


def test_nothing_of_the_inside_is_kept():
    net = small_net()
    x = sv.randn(2, 3, 8, 8)
    plain, out = kept(net(x)), stages(net)(x)
    inputs = [x.nbytes, 2 * 4 * 4 * 4 * 4, 2 * 6 * 2 * 2 * 4]
    assert kept(out) == sum(inputs) < plain / 3
    out.sum().backward()
    assert kept(out) == 0, "freed"


def test_a_dropped_graph_is_gone_at_once():
    """No circle of references keeps the inputs alive until the garbage collector comes."""
    import weakref

    net, x = small_net(), sv.randn(2, 3, 8, 8)
    alive = weakref.ref(x.array)
    out = stages(net)(x)
    del x, out
    assert alive() is None


def test_each_stage_runs_twice_and_knows_it():
    runs = []

    def function(x):
        runs.append(is_recomputing())
        return (x * x).exp()

    x = sv.tensor([0.5, 1.0], requires_grad=True)
    y = checkpoint(function, x)
    assert runs == [False]
    y.sum().backward()
    assert runs == [False, True] and not is_recomputing()
    assert np.allclose(x.grad.numpy(), 2 * x.detach().numpy() * np.exp(x.detach().numpy() ** 2))
    with sv.no_grad():
        assert not checkpoint(function, x).requires_grad and runs == [False, True, False]


def test_several_inputs_and_keywords_and_none_with_gradient():
    weight = sv.tensor([2.0], requires_grad=True)

    def function(a, number, pair, *, scale):
        return a * weight * scale + pair[0] * pair[1] * number, a

    a, b, c = sv.tensor([1.0]), sv.tensor([3.0], requires_grad=True), sv.tensor([4.0])
    out, same = checkpoint(function, a, 5, (b, c), scale=c)
    assert same is a
    out.backward()
    assert weight.grad.tolist() == [4] and b.grad.tolist() == [20] and a.grad is None
    (gradient,) = sv.autograd.grad(checkpoint(lambda t: (t * weight).exp(), a), weight)
    assert gradient.item() == pytest.approx(np.exp(2)) and weight.grad.tolist() == [4], "autograd.grad works through it"
    assert not checkpoint(lambda t: t * 2, a).requires_grad


def test_nested():
    runs = []

    def inner(x):
        runs.append("inner")
        return F.dropout((x * x).exp(), 0.5)

    def outer(x):
        runs.append("outer")
        h = x.sin()
        h = checkpoint(inner, h)
        return checkpoint(inner, h.cos())

    values = np.linspace(0.1, 1, 7)
    results = []
    for run in (lambda x: checkpoint(outer, x), outer, lambda x: inner(inner(x.sin()).cos())):
        sv.manual_seed(0)
        x = sv.tensor(values, requires_grad=True)
        out = run(x)
        if len(results) == 0:
            assert kept(out) == x.nbytes, "the inner inputs are the outer's inside"
        out.sum().backward()
        results.append((out.detach().numpy().copy(), x.grad.numpy().copy(), default_generator.get_state()))
        if len(results) == 1:
            assert runs == ["outer", "inner", "inner", "outer", "inner", "inner", "inner", "inner"]
    for result in results[:2]:
        assert np.array_equal(result[0], results[2][0]) and np.array_equal(result[1], results[2][1]) and result[2] == results[2][2]


def test_changes_in_place_are_found():
    x, w = sv.tensor([1.0, 2.0], requires_grad=True), sv.tensor([3.0, 4.0], requires_grad=True)
    h = x * 1
    out = checkpoint(lambda t: (t * w).exp(), h)
    h += 1
    with pytest.raises(RuntimeError, match=r"input 0 of shape \(2,\) was modified by an in-place operation"):
        out.sum().backward()
    out = checkpoint(lambda t: (t * w).exp(), x)
    w.data += 1
    with pytest.raises(RuntimeError, match="a parameter of shape"):
        out.sum().backward()
    out = checkpoint(lambda t: F.relu(t, inplace=True) * 2, x * 1)
    with pytest.raises(RuntimeError, match="input 0"):
        out.sum().backward()


def test_in_place_inside_is_fine():
    def function(t):
        h = t * t
        h *= 3
        h += t
        return F.relu(h, inplace=True)

    a, b = (sv.tensor([1.0, -2.0], requires_grad=True) for _ in range(2))
    function(a).sum().backward()
    checkpoint(function, b).sum().backward()
    assert a.grad.tolist() == b.grad.tolist()


def test_backward_twice():
    x = sv.tensor([1.0, 2.0], requires_grad=True)
    out = checkpoint(lambda t: t.exp() * t, x).sum()
    out.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    out.backward()
    assert np.array_equal(x.grad.numpy(), 2 * first)
    with pytest.raises(RuntimeError, match="a second time"):
        out.backward()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        sv.autograd.grad(checkpoint(lambda t: t.exp(), x).sum(), x, create_graph=True)


def test_two_results_that_go_separate_ways():
    x = sv.tensor([0.3, 0.6], requires_grad=True)
    a, b = checkpoint(lambda t: (t.exp(), t.sin()), x)
    a.sum().backward()
    b.sum().backward()
    assert np.allclose(x.grad.numpy(), np.exp(x.detach().numpy()) + np.cos(x.detach().numpy()))


def test_errors_leave_nothing_behind():
    def broken(t):
        if is_recomputing():
            raise KeyError("inside")
        return t.exp()

    x, state = sv.tensor([1.0], requires_grad=True), default_generator.get_state()
    with pytest.raises(ZeroDivisionError):
        checkpoint(lambda t: t.exp() / (1 // 0), x)
    out = checkpoint(broken, x)
    with pytest.raises(KeyError, match="inside"):
        out.backward()
    assert not is_recomputing() and default_generator.get_state() == state
    y = x * 2
    y.backward()
    assert y.grad_fn.away is None and x.grad.tolist() == [2], "plain operations are recorded plainly again"


def test_a_function_that_changes_its_mind():
    calls = []

    def function(t):
        calls.append(0)
        return t.exp() if len(calls) % 2 else t.sin()

    x = sv.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"operation 0 of the second run was Sin .* in the first it was Exp"):
        checkpoint(function, x).backward()

    def growing(t):
        calls.append(0)
        return t.exp() if len(calls) % 2 else t.exp().exp()

    calls.clear()
    with pytest.raises(RuntimeError, match="recorded 2 operations"):
        checkpoint(growing, x).backward()
    calls.clear()
    sizes = [lambda t: sv.cat([t, t]).exp()[:1], lambda t: sv.cat([t, t, t]).exp()[:1]]

    def shapes(t):
        calls.append(0)
        return sizes[len(calls) % 2](t)

    with pytest.raises(RuntimeError, match="operation 0"):
        checkpoint(shapes, x).backward()
    with pytest.raises(RuntimeError, match="gradient of argument"):  # unchecked, it is found later
        checkpoint(shapes, x, determinism_check="none").backward()
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(shapes, x, determinism_check="some")


def test_random_numbers_are_drawn_again_unless_told_otherwise():
    x = sv.ones(1000, requires_grad=True)
    sv.manual_seed(0)
    out = checkpoint(lambda t: F.dropout(t * t), x)
    after = default_generator.get_state()
    sv.rand(5)
    between = default_generator.get_state()
    out.sum().backward()
    assert np.array_equal(x.grad.numpy() > 0, out.detach().numpy() > 0) and default_generator.get_state() == between != after
    x.grad = None
    out = checkpoint(lambda t: F.dropout(t * t), x, preserve_rng_state=False)
    out.sum().backward()
    assert not np.array_equal(x.grad.numpy() > 0, out.detach().numpy() > 0)


def test_autocast_is_restored():
    pytest.importorskip("ml_dtypes")
    net, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)), sv.randn(3, 6)

    def step(run):
        net.zero_grad()
        with sv.autocast("cpu", dtype=sv.bfloat16):
            out = run(x)
            assert out.dtype is sv.bfloat16
        out.sum().backward()  # outside of the region
        return [p.grad.numpy().copy() for p in net.parameters()]

    for a, b in zip(step(net), step(lambda x: checkpoint(net, x)), strict=True):
        assert np.array_equal(a, b)
    out = checkpoint(net, x)
    with sv.autocast("cpu", dtype=sv.bfloat16):  # and a plain first run has a plain second one
        out.sum().backward()
    assert net[0].weight.grad.dtype is sv.float32


def test_settings_of_the_first_run_hold_in_the_second():
    net = small_net()
    x = sv.randn(2, 3, 8, 8)
    with fusion(False), sv.conv.using("im2col"):
        out = stages(net)(x)
    seen = []
    with sv.conv.intercept_choices(lambda problem, dtype, which, chosen: seen.append((which, chosen.name)) or chosen):
        out.sum().backward()
    assert {name for which, name in seen if which == "forward"} == {"im2col"}


def test_context_fn():
    entered = []

    class Noting(enable_grad):
        def __init__(self, name):
            self.name = name

        def __new__(cls, name):
            return object.__new__(cls)

        def __enter__(self):
            entered.append(self.name)
            return super().__enter__()

    x = sv.tensor([1.0], requires_grad=True)
    checkpoint(lambda t: t.exp(), x, context_fn=lambda: (Noting("first"), Noting("second"))).backward()
    assert entered == ["first", "second"]


@pytest.mark.parametrize("segments", [1, 2, 3])
def test_sequential(segments):
    plain, again, listed = small_net(), small_net(), small_net()
    x = sv.randn(2, 3, 8, 8)
    with fusion(False):
        expected = gradients(plain, plain, x)
        assert_equal(expected, gradients(again, lambda x: checkpoint_sequential(again, segments, x), x))
        assert_equal(expected, gradients(listed, lambda x: checkpoint_sequential(list(listed), segments, x, use_reentrant=False), x))


def test_sequential_refuses_and_torchs_place():
    net = small_net()
    with pytest.raises(RuntimeError, match=r"input 0 .* was modified by an in-place operation"):  # a segment that begins with a ReLU in place
        checkpoint_sequential(net, 13, sv.randn(2, 3, 8, 8)).sum().backward()
    with pytest.raises(ValueError, match="expected 1 to 13 segments, got 14"):
        checkpoint_sequential(small_net(), 14, sv.randn(2, 3, 8, 8))
    from scratchvgg.utils.checkpoint import checkpoint as same

    assert same is checkpoint is sv.autograd.checkpoint is sv.utils.checkpoint.checkpoint


def test_hooks_of_modules_and_tensors_see_the_same():
    seen = []
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    net[2].register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].tolist(), go[0].tolist())))
    net[0].weight.register_hook(lambda g: seen.append(g.tolist()))
    x = sv.randn(2, 4)
    net(x).sum().backward()
    checkpoint(net, x).sum().backward()
    assert len(seen) == 4 and seen[:2] == seen[2:]


def test_equals_torch(torch):
    """The same calls in torch: arguments, gradients, and that a plain input is allowed."""
    from torch.utils.checkpoint import checkpoint as theirs

    values, weight = np.linspace(-1, 1, 6), np.linspace(0.5, 1, 6)
    results = []
    for lib, run in ((sv, checkpoint), (torch, theirs)):
        x, w = lib.tensor(values), lib.tensor(weight, requires_grad=True)
        out = run(lambda t, k, w=w: ((t * w).tanh() * k), x, 3.0, use_reentrant=False, preserve_rng_state=True, determinism_check="default")
        out.sum().backward()
        results.append((out.detach().numpy(), w.grad.numpy()))
    assert all(np.allclose(a, b, rtol=1e-14) for a, b in zip(*results, strict=True))
