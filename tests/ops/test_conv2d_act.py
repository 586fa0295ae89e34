"""conv2d_relu against the layers one by one: the same bits, a smaller tape; ties, NaN, odd sizes, folded batch norm."""

import numpy as np
import pytest

from scratchvgg import conv
from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.autograd import Tensor, from_numpy, no_grad, ops
from scratchvgg.nn.functional import conv2d_relu
from scratchvgg.ops.conv2d_act import conv2d_norm_relu

from .rejections import numbers

ALGORITHMS = sorted(set(conv.algorithms()) - {"direct"})
SHAPES = [(2, 3, 7, 9), (1, 8, 16, 12), (3, 4, 2, 3)]


def operands(shape, channels_out=8, size=3, dtype="float64", groups=1):
    x, w = numbers(*shape, dtype=dtype), numbers(channels_out, shape[1] // groups, size, size, dtype=dtype)
    return [Tensor(a, requires_grad=True) for a in (x, w, numbers(channels_out, dtype=dtype))]


def layers(x, w, b, *geometry, pool=False, **options):
    y = ops.relu(ops.conv2d(x, w, b, *geometry, **options))
    return ops.max_pool2d(y, 2) if pool else y


def run(function, tensors, g=None, **options):
    for t in tensors:
        t.grad = None
    y = function(*tensors, **options)
    g = np.random.default_rng(5).normal(size=y.shape).astype(y.array.dtype) if g is None else g
    y.backward(from_numpy(np.asarray(g.transpose(0, 2, 3, 1), order="C").transpose(0, 3, 1, 2)))  # channels last, as the layers make it
    return [y.detach().numpy().copy(), *(t.grad.numpy() for t in tensors)]


def check_same(fused, separate):
    """All bits, but those of the bias gradient, whose sum is ordered differently."""
    for a, b in zip(fused[:3], separate[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    if len(fused) > 3:
        eps = np.finfo(fused[3].dtype).eps
        np.testing.assert_allclose(fused[3], separate[3], rtol=10 * eps, atol=100 * eps)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_same_bits_as_the_layers(algorithm, pool, dtype):
    for shape in SHAPES:
        problem = conv.Problem(*shape, 8, 3, 3, padding=((1, 1), (1, 1)))
        if conv.get(algorithm).supports(problem, dtype):
            tensors = operands(shape, dtype=dtype)
            both = [run(f, tensors, stride=1, padding=1, pool=pool, algorithm=algorithm) for f in (conv2d_relu, layers)]
            check_same(*both)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("options", [
    {"stride": 2, "padding": (1, 2)}, {"dilation": 2, "padding": 2}, {"groups": 2}, {"padding": "same"}, {"padding": "valid"},
])
def test_any_geometry(options, pool):
    tensors = operands((2, 4, 11, 12), groups=options.get("groups", 1))
    check_same(run(conv2d_relu, tensors, pool=pool, **options), run(layers, tensors, pool=pool, **options))


@pytest.mark.parametrize("pool", [False, True])
def test_against_torch(torch, pool):
    tensors = operands((2, 3, 8, 9))
    ours = run(conv2d_relu, tensors, padding=1, pool=pool)
    theirs = [torch.tensor(t.detach().numpy(), requires_grad=True) for t in tensors]
    y = torch.relu(torch.nn.functional.conv2d(*theirs, padding=1))
    y = torch.nn.functional.max_pool2d(y, 2) if pool else y
    y.backward(torch.tensor(np.random.default_rng(5).normal(size=y.shape)))
    for a, b in zip(ours, [y.detach(), *(t.grad for t in theirs)], strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", [False, True])
def test_empty_batch(pool):
    tensors = operands((0, 3, 6, 6))
    y, *gradients = run(conv2d_relu, tensors, pool=pool)
    assert y.shape == ((0, 8, 2, 2) if pool else (0, 8, 4, 4)) and not any(g.any() for g in gradients)


def test_no_bias_and_no_batch():
    x, w, _ = operands((1, 3, 6, 6))
    y = conv2d_relu(x[0], w, None, 1, 1, pool=True)
    np.testing.assert_array_equal(y.detach().numpy(), layers(x, w, None, 1, 1, pool=True)[0].detach().numpy())
    check_same(run(lambda *t: conv2d_relu(*t, None, 1, 1), [x, w]), run(lambda *t: layers(*t, None, 1, 1), [x, w]))


def test_ties_and_dead_windows():
    """Whole numbers tie often and a bias of −3 leaves many windows without a positive pixel."""
    rng = np.random.default_rng(0)
    x, w = (Tensor(rng.integers(-1, 2, s).astype(np.float32), requires_grad=True) for s in ((4, 2, 12, 12), (16, 2, 3, 3)))
    tensors = [x, w, Tensor(np.full(16, -3, np.float32), requires_grad=True)]
    check_same(run(conv2d_relu, tensors, padding=1, pool=True), run(layers, tensors, padding=1, pool=True))


@pytest.mark.parametrize("pool", [False, True])
def test_nan_and_inf(pool):
    """One image of three is spoilt; NaN and infinite gradients do not leave the pixels that won."""
    tensors = operands((3, 2, 6, 6))
    tensors[0].array[1, 0, 2, 2] = np.nan
    with no_grad():
        shape = layers(*tensors, 1, 1, pool=pool).shape
    g = np.random.default_rng(1).normal(size=shape)
    g[2, :4], g[2, 4:] = np.inf, np.nan
    fused, separate = (run(f, tensors, g, stride=1, padding=1, pool=pool) for f in (conv2d_relu, layers))
    for a, b in zip(fused, separate, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    assert np.isnan(fused[0][1]).any() and np.isfinite(fused[1][0]).all()


def test_the_tape_keeps_no_full_output():
    x, w, b = operands((2, 3, 16, 16), dtype="float32")
    kept = conv2d_relu(x, w, b, 1, 1, pool=True).grad_fn.ctx.kept
    assert kept["output"].shape == kept["winners"].shape == (2, 8, 8, 8) and kept["winners"].dtype == np.uint8
    assert sum(a.nbytes for a in kept.values()) == x.array.nbytes + w.array.nbytes + 2 * 8 * 8 * 8 * 5
    kept = conv2d_relu(x.detach(), w, b, 1, 1).grad_fn.ctx.kept
    assert kept["weight"] is None and kept["winners"] is None


def test_the_images_gradient_is_not_computed_unasked(monkeypatch):
    x, w, b = operands((2, 3, 8, 8))
    monkeypatch.setattr(conv.get("im2col"), "grad_input", lambda *a: pytest.fail("nobody asked for it"))
    conv2d_relu(x.detach(), w, b, 1, 1, algorithm="im2col").sum().backward()
    assert w.grad is not None and b.grad is not None


def test_writing_into_the_output_is_noticed():
    x, w, b = operands((1, 3, 6, 6))
    y = conv2d_relu(x, w, b)
    y.data.add_(1)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.sum().backward()


def test_same_bits_with_any_number_of_threads():
    tensors, before, bits = operands((5, 16, 40, 40), 32, dtype="float32"), get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            bits.append([a.tobytes() for a in run(conv2d_relu, tensors, padding=1, pool=True)])
    finally:
        set_num_threads(before)
    assert bits[0] == bits[1] == bits[2]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pool", [False, True])
def test_folded_batch_norm(affine, bias, pool):
    x, w, b = (t.detach() for t in operands((2, 3, 8, 9)))
    rng = np.random.default_rng(2)
    mean, var, weight, shift = (Tensor(a) for a in (rng.normal(size=8), rng.random(8) + 0.1, rng.normal(size=8), rng.normal(size=8)))
    weight, shift = (weight, shift) if affine else (None, None)
    b = b if bias else None
    fused = conv2d_norm_relu((x, w, b, 1, 1, 1, 1), (mean, var, weight, shift, 1e-5), pool)
    y = ops.relu(ops.batch_norm(ops.conv2d(x, w, b, 1, 1), mean, var, weight, shift, eps=1e-5))
    np.testing.assert_allclose(fused.numpy(), (ops.max_pool2d(y, 2) if pool else y).numpy(), rtol=1e-12, atol=1e-12)


def test_rejects():
    x, w, b = operands((1, 3, 4, 4))
    with pytest.raises(RuntimeError, match=r"max_pool2d: input of 1x2 leaves no room"):
        conv2d_relu(x[:, :, :3], w, b, pool=True)
    with pytest.raises(RuntimeError, match="conv2d: weight of shape"):
        conv2d_relu(x[:, :2], w, b)
    with pytest.raises(ValueError, match="no algorithm"):
        conv2d_relu(x, w, b, algorithm="none of them")
    with pytest.raises(TypeError, match="conv2d: weight must be a Tensor"):
        conv2d_relu(x, w.detach().numpy())
