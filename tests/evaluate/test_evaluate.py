"""Accuracy and its tables against counting by hand; test-time averaging against its formula."""

import numpy as np
import pytest

from scratchvgg import nn
from scratchvgg.autograd import from_numpy
from scratchvgg.evaluate import accuracy, evaluate, predict, predict_logits
from scratchvgg.evaluate.predict import shifted


class Table(nn.Module):
    """Logits looked up by the first pixel."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.drop = np.asarray(logits, np.float32), nn.Dropout(0.5)

    def forward(self, x):
        return from_numpy(self.logits[np.asarray(x)[:, 0, 0, 0].astype(int)])


def batches(n, size, labels):
    images = np.zeros((n, 3, 2, 2), np.float32)
    images[:, 0, 0, 0] = np.arange(n)
    return [(from_numpy(images[i : i + size]), from_numpy(np.asarray(labels[i : i + size]))) for i in range(0, n, size)]


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_report_against_counting(size):
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(20, 7)).astype(np.float32), rng.integers(0, 7, 20)
    report = evaluate(Table(logits), batches(20, size, labels))
    predicted = logits.argmax(1)
    assert report.count == 20 and report.correct == (predicted == labels).sum() and report.accuracy == report.correct / 20
    assert all(report.confusion[t, p] == ((labels == t) & (predicted == p)).sum() for t in range(7) for p in range(7))
    assert report.top5 == sum(labels[i] in np.argsort(-logits[i])[:5] for i in range(20))
    wide = logits.astype(np.float64)
    assert report.loss == pytest.approx(np.mean(np.log(np.exp(wide).sum(1)) - wide[np.arange(20), labels]), rel=1e-6)
    for label, value in enumerate(report.per_class()):
        own = labels == label
        assert np.isnan(value) if not own.any() else value == pytest.approx((predicted[own] == label).mean())
    pairs = report.confused(3)
    assert [n for *_, n in pairs] == sorted((n for *_, n in pairs), reverse=True) and all(t != p and report.confusion[t, p] == n for t, p, n in pairs)
    assert accuracy(Table(logits), batches(20, size, labels)) == report.accuracy


def test_bad_input():
    with pytest.raises(ValueError, match="labels lie in 0 to 9"):
        evaluate(Table(np.eye(2, 3)), batches(2, 2, [0, 9]))
    with pytest.raises(ValueError, match="no batch"):
        evaluate(Table(np.eye(2)), [])
    with pytest.raises(ValueError, match="none, flip, shift"):
        predict_logits(Table(np.eye(2)), np.zeros((1, 3, 2, 2), np.float32), "ten_crop")


def small_net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 5))


def test_flip_and_shift_are_means_of_views():
    net, x = small_net(), np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)

    def plain(views):
        return predict_logits(net, np.ascontiguousarray(views)).numpy()

    def both(views):
        return (plain(views) + plain(views[..., ::-1])) / 2

    np.testing.assert_allclose(predict_logits(net, x, "flip").numpy(), both(x), rtol=1e-5, atol=1e-6)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = both(x) / 2 + (both(padded[:, :, :-2, :-2]) + both(padded[:, :, 2:, 2:])) / 4
    np.testing.assert_allclose(predict_logits(net, x, "shift").numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(shifted(from_numpy(x), 1).numpy(), padded[:, :, :-2, :-2])


def test_probabilities_and_modes():
    net, x = small_net(), np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    net[3].eval()
    statistics = net[1].running_mean.numpy().copy()
    p = predict(net, x)
    assert p.shape == (3, 5) and p.dtype == np.float32 and np.allclose(p.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(p, predict(net, from_numpy(x)))
    assert net.training and net[1].training and not net[3].training
    np.testing.assert_array_equal(net[1].running_mean.numpy(), statistics)
    assert np.isfinite(predict(Table(np.array([[1e4, -1e4]])), np.zeros((1, 3, 2, 2), np.float32))).all()
