"""Recording and walking back: accumulation, switches, errors, memory."""

import gc
import threading
import weakref

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.autograd import Op, ops

RNG = np.random.default_rng(0)


def leaf(*shape):
    return sv.tensor(RNG.normal(size=shape), requires_grad=True)


def test_backward_twice_raises_and_names_the_operation():
    x = leaf(3)
    y = x.exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"Sum a second time.*retain_graph"):
        y.backward()


def test_retain_graph_accumulates():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 4 * x.detach().numpy())


def test_a_tensor_used_twice_adds():
    x = leaf(3)
    (x * x + x.exp() * x).sum().backward()
    a = x.detach().numpy()
    np.testing.assert_allclose(x.grad, 2 * a + np.exp(a) * (1 + a))


def test_a_diamond_is_walked_once():
    calls = []

    class Count(Op):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            calls.append(g.copy())
            return g

    x = leaf(2)
    y = Count.apply(x)
    (y * 2 + y * 3).sum().backward()
    assert len(calls) == 1
    np.testing.assert_array_equal(calls[0], [5, 5])


def test_gradients_add_up_over_backwards_and_zero_by_none():
    x = leaf(2)
    for times in (1, 2, 3):
        (x * 2).sum().backward()
        np.testing.assert_array_equal(x.grad, [2 * times] * 2)
    x.grad = None
    x.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])


def test_only_what_requires_grad_is_recorded():
    x, c = leaf(2), sv.ones(2, dtype=sv.float64)
    assert not (c * 2).requires_grad and (c * 2).is_leaf and (c * 2).grad_fn is None
    y = x * c
    assert y.requires_grad and not y.is_leaf and y.grad_fn.name == "Mul"
    y.sum().backward()
    assert c.grad is None


def test_a_vector_needs_a_gradient():
    x = leaf(2)
    with pytest.raises(RuntimeError, match="scalar"):
        (x * 2).backward()
    (x * 2).backward(sv.tensor([1.0, 10.0], dtype=sv.float64))
    np.testing.assert_array_equal(x.grad, [2, 20])
    with pytest.raises(RuntimeError, match="shape"):
        (x * 2).backward(sv.ones(3))
    with pytest.raises(TypeError, match="gradient"):
        (x * 2).backward(2.0)
    with pytest.raises(RuntimeError, match="require grad"):
        sv.ones(()).backward()


def test_integers_cannot_require_grad():
    with pytest.raises(RuntimeError, match="floating"):
        sv.tensor([1], requires_grad=True)
    values, indices = leaf(3).sort()
    assert values.requires_grad and not indices.requires_grad


@pytest.mark.parametrize("switch", [sv.no_grad, sv.inference_mode], ids=lambda s: s.__name__)
def test_switched_off(switch):
    x = leaf(2)
    with switch():
        assert not (x * 2).requires_grad and not sv.is_grad_enabled()
        with sv.enable_grad():
            assert (x * 2).requires_grad is True
        assert not sv.is_grad_enabled()
    assert (x * 2).requires_grad

    @switch()
    def called(a):
        return a * 2

    @switch
    def bare(a):
        return a * 2

    assert not called(x).requires_grad and not bare(x).requires_grad and bare.__name__ == "bare" and sv.is_grad_enabled()


def test_switches_come_back_after_an_exception():
    with pytest.raises(KeyError), sv.no_grad():
        raise KeyError
    assert sv.is_grad_enabled()


def test_switches_are_per_thread():
    seen = []
    with sv.no_grad():
        t = threading.Thread(target=lambda: seen.append(sv.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_set_grad_enabled():
    with sv.set_grad_enabled(False):
        assert not sv.is_grad_enabled()
    assert sv.is_grad_enabled()
    sv.set_grad_enabled(False)
    assert not sv.is_grad_enabled()
    sv.set_grad_enabled(True)


def test_set_grad_enabled_as_a_decorator(torch):
    for module in (sv, torch):
        wrapped = module.set_grad_enabled(False)(module.is_grad_enabled)
        assert [module.is_grad_enabled(), wrapped(), module.is_grad_enabled(), wrapped()] == [True, False, True, False]


def test_anomaly_mode_can_be_asked_for(torch):
    for module in (sv, torch):
        with module.autograd.set_detect_anomaly(True):
            assert module.is_anomaly_enabled()
        assert not module.is_anomaly_enabled()


def test_inference_tensors_are_frozen_outside(torch):
    for module in (sv, torch):
        with module.inference_mode():
            x = module.zeros(2)
            x.add_(1)
        assert x.is_inference() and not x.clone().is_inference()
        for change in (lambda x=x: x.add_(1), x.requires_grad_):
            with pytest.raises(RuntimeError):
                change()
        if module is sv:  # torch has written by the time it raises
            assert x.tolist() == [1.0, 1.0]


def test_inference_tensors_stay_out_of_the_tape():
    with sv.inference_mode():
        y = sv.ones(2) * 2
    assert (y * 2).sum() == 8  # unrecorded use is fine
    with pytest.raises(RuntimeError, match="inference"):
        y * sv.ones(2, requires_grad=True)
    assert (y.clone() * sv.ones(2, requires_grad=True)).requires_grad
    with sv.inference_mode(False):
        assert sv.is_grad_enabled()


def test_detach_shares_memory_and_has_no_history():
    x = leaf(3)
    y = x * 2
    d = y.detach()
    assert d.array is y.array and not d.requires_grad and d.is_leaf
    (y.detach() * x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.detach().numpy())
    z = x * 3
    assert z.detach_() is z and z.is_leaf and not z.requires_grad


def test_requires_grad_of_a_non_leaf_stays():
    y = leaf(2) * 2
    with pytest.raises(RuntimeError, match="leaf"):
        y.requires_grad = False


def test_ten_thousand_operations_deep():
    x = leaf(2)
    y = x
    for _ in range(10_000):
        y = y + 1
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1])
    z = x
    for _ in range(10_000):
        z = z * 1.0001
    assert sv.autograd.grad(z.sum(), [x], retain_graph=True)[0].shape == (2,)
    del y, z  # freeing must not recurse either
    gc.collect()


def test_kept_arrays_are_freed_while_backward_runs():
    kept, alive = [], []

    class Keep(Op):
        @staticmethod
        def forward(ctx, x):
            buffer = _Weak(np.zeros(3))
            kept.append(weakref.ref(buffer))
            ctx.buffer = buffer
            return x * 1

        @staticmethod
        def backward(ctx, g):
            alive.append(sum(r() is not None for r in kept))
            return g

    class _Weak:
        def __init__(self, array):
            self.array = array

    x = leaf(3)
    y = x
    for _ in range(5):
        y = Keep.apply(y)
    y.sum().backward()
    assert alive == [5, 4, 3, 2, 1] and all(r() is None for r in kept)


def test_a_result_nobody_holds_is_freed_with_its_tape():
    x = leaf(3)
    y = x.exp()
    node = weakref.ref(y.grad_fn)
    del y
    gc.collect()
    assert node() is None


def test_gradients_of_leaves_never_share_memory():
    a, b, c = leaf(3), leaf(3), leaf(3)
    seed = sv.ones(3, dtype=sv.float64)
    (a + b + c.view(3)).backward(seed)
    grads = [t.grad.array for t in (a, b, c)] + [seed.array]
    assert not any(np.shares_memory(p, q) for i, p in enumerate(grads) for q in grads[:i])
    a.grad.mul_(5)
    np.testing.assert_array_equal(b.grad, [1, 1, 1])
    (a + b).backward(seed)
    np.testing.assert_array_equal(a.grad, [6, 6, 6])
    np.testing.assert_array_equal(seed, [1, 1, 1])


def test_gradients_have_the_type_of_their_tensor():
    x = sv.ones(2, requires_grad=True)
    (x.double() * 2).sum().backward()
    assert x.grad.dtype is sv.float32
    h = sv.ones(2, dtype=sv.float16, requires_grad=True)
    (h * sv.ones(2)).sum().backward()
    assert h.grad.dtype is sv.float16


def test_deep_copies_and_backward_with_inputs():
    x, w = leaf(2), leaf(2)
    ops.backward([(x * w).sum(), x.sum()], inputs=[w])
    assert x.grad is None
    np.testing.assert_allclose(w.grad, x.detach())


def test_a_wrong_gradient_shape_is_named():
    class Wrong(Op):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g.sum()

    class Many(Wrong):
        @staticmethod
        def backward(ctx, g):
            return g, g

    with pytest.raises(RuntimeError, match=r"Wrong: the gradient of argument 0 has shape \(\), expected \(2,\)"):
        Wrong.apply(leaf(2)).sum().backward()
    with pytest.raises(RuntimeError, match="Many: backward returned 2 gradients for 1"):
        Many.apply(leaf(2)).sum().backward()


def test_interceptors_stand_around_every_operation():
    seen = []

    def note(op, args, options, proceed):
        seen.append(op.name)
        return proceed(args, options)

    with sv.autograd.intercept(note):
        (sv.ones(2) + 1).relu()
    sv.ones(2) * 2
    assert seen == ["Add", "relu"]
