"""Random numbers made by kernels are those of NumPy's Philox, bit for bit."""

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend, philox
from scratchvgg.cuda.faces import philox as face

OFFSETS = [0, 1, 2, 3, 4 * 2**32 - 6, 2**40 + 5]  # within a block, and where the block's number passes 32 bits
PLACE = 12345678901234567, 2**63 + 5


@pytest.fixture
def backend():
    return get_backend(Device("emulator"))


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("count", [1, 2, 5, 1030])
def test_every_form(backend, offset, count):
    place = *PLACE, offset, count
    words = philox.random_words(*place)
    for version in (None, "each"):
        assert np.array_equal(face.words(backend, *place, version), words)
    for dtype in ("float32", "float64"):
        assert np.array_equal(face.uniform(backend, *place, dtype), philox.uniform(*place, dtype))
    assert np.array_equal(face.keep(backend, *place, 0.3), words >= round(0.3 * 2**32))


def test_more_words_than_threads(backend, monkeypatch):
    monkeypatch.setattr(face, "_BLOCKS", 2)
    assert np.array_equal(face.words(backend, *PLACE, 3, 5000), philox.random_words(*PLACE, 3, 5000))


def test_ends(backend):
    assert face.keep(backend, 1, 2, 0, 100, 0.0).all() and not face.keep(backend, 1, 2, 0, 100, 1.0).any()
    assert face.words(backend, 1, 2, 0, 0).shape == (0,)
    with pytest.raises(ValueError, match="probability"):
        face.keep(backend, 1, 2, 0, 4, 1.5)
    with pytest.raises(TypeError, match="float32 or float64"):
        face.uniform(backend, 1, 2, 0, 4, "float16")
