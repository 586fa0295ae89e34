"""Batch normalisation beyond the table of cases: running statistics, evaluation, stability, mixed types, threads, errors."""

import numpy as np
import pytest

from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.autograd import Tensor, from_numpy, ops
from tests.harness import Case, Variant, normal, rms_error, run

from .rejections import check_rejected, numbers


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (5, 3), (2, 3, 4), (2, 3, 2, 3, 2)])
def test_running_statistics(torch, shape, momentum):
    x = numbers(*shape) * 3 + 2
    results = []
    for make, norm in ((Tensor, ops.batch_norm), (torch.tensor, torch.nn.functional.batch_norm)):
        mean, var = make(np.full(3, 0.5)), make(np.full(3, 2.0))
        norm(make(x), mean, var, training=True, momentum=momentum)
        norm(make(x[:2] - 1), mean, var, training=True, momentum=momentum)
        results.append((mean.numpy(), var.numpy()))
    assert np.allclose(results[0], results[1], rtol=1e-13, atol=0)


def test_normalises_with_the_biased_variance_and_runs_on_the_unbiased():
    x = Tensor(np.array([[1.0], [3.0]]))
    mean, var = Tensor(np.zeros(1)), Tensor(np.zeros(1))
    y = ops.batch_norm(x, mean, var, training=True, momentum=1.0, eps=1e-30)
    assert np.array_equal(y.numpy(), [[-1.0], [1.0]])
    assert (mean.item(), var.item()) == (2.0, 2.0)


def test_training_counts_as_a_write_and_evaluation_never_writes():
    x, mean, var = Tensor(numbers(4, 3, 2, 2)), Tensor(np.zeros(3)), Tensor(np.ones(3))
    ops.batch_norm(x, mean, var, training=True)
    assert (mean.version.value, var.version.value) == (1, 1)
    kept = mean.numpy().copy(), var.numpy().copy()
    mean.array.flags.writeable = var.array.flags.writeable = False
    ops.batch_norm(x, mean, var, training=False, momentum=1.0)
    assert np.array_equal(kept, (mean.numpy(), var.numpy()))
    assert (mean.version.value, var.version.value) == (1, 1)


@pytest.mark.parametrize("shape", [(16, 8, 9, 7), (64, 5), (3, 130, 4, 4), (200, 1, 3, 3)])
@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
def test_no_cancellation_far_from_zero(torch, shape, offset):
    """float32, mean up to 10⁴ standard deviations away: no less accurate than torch, whose sums are in float64."""
    x = (numbers(*shape) + offset).astype(np.float32)
    norm = torch.nn.functional.batch_norm
    truth = norm(torch.tensor(x).double(), None, None, training=True).numpy()
    theirs = rms_error(norm(torch.tensor(x), None, None, training=True).numpy(), truth)
    assert rms_error(ops.batch_norm(Tensor(x), training=True).numpy(), truth) <= 2 * theirs


def test_sample_that_misleads_the_shift():
    """Every row that makes the shift is far from all others."""
    x = numbers(64, 2048)
    x[::16] += 1e4
    y = ops.batch_norm(Tensor(x.astype(np.float32)), training=True).numpy()
    x = x.astype(np.float32).astype(np.float64)
    assert rms_error(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)) < 1e-5


def test_constant_channel():
    y = ops.batch_norm(Tensor(np.full((4, 2, 3, 3), 0.1, np.float32)), training=True)
    assert np.abs(y.numpy()).max() < 1e-4


def test_float16_with_float32_parameters(torch):
    x, w = numbers(4, 3, 5, 5).astype(np.float16), numbers(3).astype(np.float32)
    results = []
    for make, norm in ((Tensor, ops.batch_norm), (torch.tensor, torch.nn.functional.batch_norm)):
        image, scale, mean, var = make(x), make(w), make(np.zeros(3, np.float32)), make(np.ones(3, np.float32))
        image.requires_grad_(), scale.requires_grad_()
        y = norm(image, mean, var, scale, None, True)
        (y * y * y).sum().backward()
        results.append([a.detach().numpy() for a in (y, mean, var, image.grad, scale.grad)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        assert np.allclose(a.astype(float), b.astype(float), rtol=2e-2, atol=2e-2)


def test_same_bits_with_any_number_of_threads():
    values, before, bits = numbers(8, 32, 32, 16, dtype="float32").transpose(0, 3, 1, 2), get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            x, w = from_numpy(values).requires_grad_(), Tensor(np.ones(16, np.float32), requires_grad=True)
            y = ops.batch_norm(x, None, None, w, training=True)
            (y * y * y).sum().backward()
            bits.append([a.numpy().tobytes() for a in (y.detach(), x.grad, w.grad)])
    finally:
        set_num_threads(before)
    assert bits[0] == bits[1] == bits[2]


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (33, 65, 5, 3), (130, 3), (0, 3, 2, 2), (2, 2500, 2, 2)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_sizes_around_the_tiles(torch, shape, layout):
    c = shape[1]
    case = Case("batch_norm", f"tiles {shape} {layout}", (normal(*shape), normal(c), normal(c)),
                lambda F, x, w, b: F.batch_norm(x, None, None, w, b, training=True))
    for dtype in ("float64", "float32"):
        run(case, Variant(dtype=dtype, layout=layout))


@pytest.mark.parametrize(("shape", "stats", "weight", "training", "dtype"), [
    ((2, 3, 2, 2), None, None, False, "float64"),
    ((2, 3, 2, 2), 4, None, True, "float64"),
    ((2, 3, 2, 2), 4, None, False, "float64"),
    ((2, 3, 2, 2), None, 4, True, "float64"),
    ((1, 3, 1, 1), None, None, True, "float64"),
    ((1, 3), None, None, True, "float64"),
    ((5,), None, None, True, "float64"),
    ((2, 3, 2, 2), None, None, True, "int64"),
])
def test_rejects(torch, shape, stats, weight, training, dtype):
    def call(F, x, m, v, w):
        return F.batch_norm(x, m if stats else None, v if stats else None, w if weight else None, None, training)

    check_rejected(call, numbers(*shape, dtype=dtype), np.zeros(stats or 1), np.ones(stats or 1), np.ones(weight or 1))


def test_rejects_mixed_types(torch):
    check_rejected(lambda F, x, w: F.batch_norm(x, None, None, w, training=True), numbers(2, 3, 2, 2), np.ones(3, np.float32))
