"""The losses beyond the table of cases: masked logits, ignored rows, Inf and NaN, long batches, warnings, errors."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg import nn
from scratchvgg.autograd import Tensor, ops
from tests.harness import Case, array, integers, normal, rms_error, run, uniform

from .rejections import check_rejected, numbers


@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    classes=st.integers(1, 6),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    weighted=st.booleans(),
    ignore=st.integers(-1, 3),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_cross_entropy_of_any_shape(torch_or_skip, shape, classes, smoothing, weighted, ignore, reduction):
    if not shape:
        logits, target = normal(classes), integers(0, classes)
    else:
        logits, target = normal(shape[0], classes, *shape[1:]), integers(0, classes, *shape)
    options = {"ignore_index": ignore, "reduction": reduction, "label_smoothing": smoothing}

    def loss(F, z, t, w):
        return F.cross_entropy(z, t, w if weighted else None, **options)

    run(Case("cross_entropy", f"{shape} {classes} {weighted} {options}", (logits, target, uniform(0.5, 2, classes).frozen()), loss))


@pytest.fixture(scope="module")
def torch_or_skip():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_masked_logits(torch, reduction):
    """−∞ as a logit of a class that is not the target: a finite loss and gradient 0 there."""
    logits = array([[0.0, float("-inf"), 1.0], [2.0, 1.0, float("-inf")]])
    target = array([0, 1], grad=False)
    run(Case("cross_entropy", f"masked {reduction}", (logits, target), lambda F, z, t: F.cross_entropy(z, t, reduction=reduction)))


def test_nan_in_an_ignored_row(torch):
    logits = array([[0.0, 1.0], [float("nan"), 1.0]])
    run(Case("nll_loss", "NaN ignored", (logits, array([1, -100], grad=False)), lambda F, z, t: F.nll_loss(z, t)))


def test_everything_ignored_is_nan_as_in_torch(torch):
    z, t = numbers(2, 3), np.array([-100, -100])
    assert np.isnan(ops.cross_entropy(Tensor(z), Tensor(t)).item())
    assert ops.cross_entropy(Tensor(z), Tensor(t), reduction="sum").item() == 0


def test_accuracy_of_a_long_batch(torch):
    z, t = (numbers(4096, 100) * 5).astype(np.float32), np.random.default_rng(0).integers(0, 100, 4096)
    F = torch.nn.functional
    truth = F.cross_entropy(torch.tensor(z).double(), torch.tensor(t), label_smoothing=0.1, reduction="none").numpy()
    theirs = rms_error(F.cross_entropy(torch.tensor(z), torch.tensor(t), label_smoothing=0.1, reduction="none").numpy(), truth)
    ours = ops.cross_entropy(Tensor(z), Tensor(t), label_smoothing=0.1, reduction="none").numpy()
    assert rms_error(ours, truth) <= 2 * theirs


@pytest.mark.parametrize(("size_average", "reduce"), [(True, None), (False, None), (None, False), (None, True), (False, True)])
def test_old_flags(torch, size_average, reduce):
    x, y = numbers(3, 4), numbers(3, 4) * 2
    with pytest.warns(UserWarning, match="deprecated"):
        expected = torch.nn.functional.mse_loss(torch.tensor(x), torch.tensor(y), size_average, reduce).numpy()
    assert np.allclose(ops.mse_loss(Tensor(x), Tensor(y), size_average, reduce).numpy(), expected)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
def test_broadcasting_warns_and_sums_back(torch, name):
    x, y = numbers(3, 4), numbers(4) + 1
    gradients = []
    for make, F in ((Tensor, ops), (torch.tensor, torch.nn.functional)):
        a, b = make(x).requires_grad_(), make(y).requires_grad_()
        with pytest.warns(UserWarning):
            getattr(F, name)(a, b).backward()
        gradients.append((a.grad.numpy(), b.grad.numpy()))
    for ours, theirs in zip(*gradients, strict=True):
        assert np.allclose(ours, theirs, rtol=1e-13)


x, t, f32 = numbers(3, 4), np.array([0, 1, 3]), "float32"


@pytest.mark.parametrize("arrays", [
    (x, t + 9), (x, t - 3), (x, t[:2]), (x, numbers(3)), (x, t.astype("int32")), (numbers(3, 4, dtype="int64"), t),
    (x, numbers(3, 3, dtype="int64")), (numbers(3, 4, 2, 2), numbers(3, 2, 3, dtype="int64")), (x, t, numbers(5)), (x, t, numbers(4, dtype=f32)),
])
@pytest.mark.parametrize("name", ["nll_loss", "cross_entropy"])
def test_class_losses_reject(torch, name, arrays):
    check_rejected(lambda F, x, t, *w: getattr(F, name)(x, t, *w), *arrays)


@pytest.mark.parametrize(("arrays", "options"), [
    ((x, t), {"reduction": "average"}),
    ((x, t), {"label_smoothing": 1.5}),
    ((x, x), {"ignore_index": 1}),
    ((x, numbers(3, 5)), {}),
    ((x, x, numbers(5)), {}),
])
def test_cross_entropy_rejects(torch, arrays, options):
    check_rejected(lambda F, x, t, *w: F.cross_entropy(x, t, *w, **options), *arrays)


def test_weight_has_no_gradient(torch):
    for name in ("nll_loss", "cross_entropy"):
        with pytest.raises(RuntimeError, match="weight"):
            getattr(ops, name)(Tensor(x, requires_grad=True), Tensor(t), Tensor(np.ones(4), requires_grad=True))


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_mse_rejects(torch):
    check_rejected(lambda F, x, y: F.mse_loss(x, y), x, numbers(2, 2))
    check_rejected(lambda F, x, y: F.mse_loss(x, y, reduction="average"), x, x)
    check_rejected(lambda F, x, y: F.mse_loss(x, y), numbers(3, 4, dtype="int64"), numbers(3, 4, dtype="int64"))


@pytest.mark.parametrize("flags", [{"size_average": False}, {"size_average": True}, {"reduce": False}, {"reduce": True, "size_average": False}])
def test_modules_take_torchs_old_flags(torch, flags):
    z, t = numbers(3, 4), np.array([0, 2, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's deprecation
        for name in ("CrossEntropyLoss", "NLLLoss"):
            ours = getattr(nn, name)(None, **flags)(Tensor(z), Tensor(t))
            assert np.allclose(ours.numpy(), getattr(torch.nn, name)(None, **flags)(torch.from_numpy(z), torch.from_numpy(t)))
        for name in ("MSELoss", "L1Loss"):
            ours = getattr(nn, name)(**flags)(Tensor(z), Tensor(2 * z))
            assert np.allclose(ours.numpy(), getattr(torch.nn, name)(**flags)(torch.from_numpy(z), torch.from_numpy(2 * z)))
