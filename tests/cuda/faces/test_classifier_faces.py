"""Faces of dropout, cross-entropy, SGD, EMA and augmentation: examples in other orders of threads, versions that agree, refusals."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, registry
from scratchvgg.cuda.faces import augment, dropout, ema, sgd, softmax_cross_entropy

FILES = ("gemm", "dropout", "softmax_cross_entropy", "sgd", "ema", "augment")


@pytest.fixture(scope="module")
def backend():
    return get_backend(Device("emulator"))


@pytest.mark.parametrize("order", ("forward", "reverse", 3))
@pytest.mark.parametrize("file", FILES)
def test_examples(backend, file, order):
    entries = set()
    with emulator.order(order):
        for _, example in registry.examples(backend, "small", file):
            results, expected = example.run(), example.expected()
            assert results.keys() == expected.keys()
            for name, value in expected.items():
                error = np.sqrt(np.mean(np.square(results[name].astype(np.float64) - value)))
                assert error <= example.tolerance * np.sqrt(np.mean(np.square(value))), (example.title, name)
            entries.add(example.entry)
    assert all(registry.get(entry).name == file for entry in entries) and len(entries) > 2


def test_ends_are_not_written_over(backend):
    """Sizes that are no multiple of a vector, in the middle of a larger array."""
    x = np.arange(20, dtype=np.float32)
    out = np.full(20, -1, np.float32)
    dropout.dropout(backend, x[3:16], 0.0, (1, 2, 1), out=out[3:16])
    np.testing.assert_array_equal(out, [-1] * 3 + list(range(3, 16)) + [-1] * 4)
    ema.ema_step(backend, out[5:10], x[5:10], np.array([1.0]))
    np.testing.assert_array_equal(out[3:16], x[3:16])


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize("call, error, message", [
    (lambda b: dropout.dropout(b, zeros(4, 4)[:, ::2], 0.5, (0, 0, 0)), ValueError, "x must be contiguous"),
    (lambda b: dropout.dropout(b, zeros(4), 0.5, (0, 0, 0), out=zeros(5)), ValueError, "out must be float32 of shape"),
    (lambda b: dropout.dropout(b, zeros(4, dtype=np.int32), 0.5, (0, 0, 0)), TypeError, "got int32"),
    (lambda b: dropout.dropout_places(b, zeros(2, 3, 4).transpose(0, 2, 1), 0.5, (0, 0, 0)), ValueError, "contiguous"),
    (lambda b: dropout.relu_dropout_backward(b, zeros(4), zeros(4, dtype=np.float64), 0.5), ValueError, "g must be float64"),
    (lambda b: softmax_cross_entropy.cross_entropy(b, zeros(4), zeros(4, dtype=np.int64)), ValueError, r"expected z \(N, C\)"),
    (lambda b: softmax_cross_entropy.cross_entropy(b, zeros(4, 2), zeros(4, dtype=np.int32)), ValueError, "int64 target"),
    (lambda b: softmax_cross_entropy.cross_entropy(b, zeros(4, 2), zeros(4, dtype=np.int64), zeros(3)), ValueError, "weight must be"),
    (lambda b: softmax_cross_entropy.cross_entropy(b, zeros(4, 2), zeros(4, dtype=np.int64), version="tile"), ValueError, "thread, warp, block"),
    (lambda b: softmax_cross_entropy.scale_slope(b, zeros(4, 2), zeros(3), None, zeros(4, dtype=np.int64), 0), ValueError, "g must have shape"),
    (lambda b: sgd.sgd_step(b, zeros(6), zeros(6), None, np.array([6]), np.zeros((1, 6))), ValueError, "multiple of 4"),
    (lambda b: sgd.sgd_step(b, zeros(8), zeros(8, dtype=np.float64), None, np.array([8]), np.zeros((1, 6))), ValueError, "g must be float32"),
    (lambda b: sgd.sgd_step(b, zeros(8), zeros(8), None, np.array([8]), np.zeros((2, 6))), ValueError, "options"),
    (lambda b: ema.ema_step(b, zeros(4), zeros(5), np.array([0.5])), ValueError, "average must be"),
    (lambda b: ema.ema_step(b, zeros(4), zeros(4), zeros(1)), ValueError, "one float64"),
    (lambda b: augment.augment(b, zeros(2, 4, 4, 3), np.array([0]), zeros(3, 256), np.zeros(1, augment.AUGMENTATION)), ValueError, "uint8 images"),
    (lambda b: augment.augment(b, zeros(2, 4, 4, 3, dtype=np.uint8), np.array([0]), zeros(2, 256), np.zeros(1, augment.AUGMENTATION)),
     ValueError, "table must be"),
    (lambda b: augment.augment(b, zeros(2, 4, 4, 3, dtype=np.uint8), np.array([0]), zeros(3, 256), np.zeros(1, augment.AUGMENTATION)),
     ValueError, "a window of 0×0"),
])
def test_refusals(backend, call, error, message):
    with pytest.raises(error, match=message):
        call(backend)


def test_out_of_range_classes_are_nan_without_asking(backend):
    z, target = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32), np.array([0, 5, -1, 4])
    for version in softmax_cross_entropy.VERSIONS:
        losses, _, slope = softmax_cross_entropy.cross_entropy(backend, z, target, version=version)
        np.testing.assert_array_equal(np.isnan(losses), [False, True, True, False])
        np.testing.assert_array_equal(np.isnan(slope).all(1), [False, True, True, False])
