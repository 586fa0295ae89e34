"""The cache of transformed filters by itself; what tensors do to it is in tests/ops/test_conv2d.py."""

import gc
import threading

import numpy as np
import pytest

from scratchvgg import conv
from scratchvgg.autograd.node import Version
from scratchvgg.conv import Problem, cache, cache_filters
from scratchvgg.conv.prepared import SAMPLE, WHOLE, PreparedFilters, fingerprint

from .common import ONE, backend
from .fakes import Fake

G = Problem(1, 4, 8, 8, 4, 3, 3, (1, 1), ONE)
OTHER = Problem(1, 4, 9, 9, 4, 3, 3, (1, 1), ONE)


@pytest.fixture
def held():
    """An empty cache of its own."""
    return PreparedFilters()


@pytest.fixture
def w():
    return np.random.default_rng(0).standard_normal(G.w_shape).astype("float32")


def test_made_once(held, w):
    fake, version = Fake("f", prepare_cost=0), Version()
    first = held.get(fake, backend, G, w, version)
    assert held.get(fake, backend, G, w, version) is first and fake.prepared == 1
    assert held.nbytes == 2 * w.nbytes and len(held) == 1


@pytest.mark.parametrize("change", ["version", "problem", "place", "layout", "dtype", "numbers"])
def test_made_again_after_a_change_of(held, w, change):
    fake, version, g = Fake("f", prepare_cost=0), Version(), G
    first = held.get(fake, backend, G, w, version)
    if change == "version":
        version.value += 1
    elif change == "problem":
        g = OTHER  # the fake's filter_key looks at H and W
    elif change == "place":
        w = w.copy()
    elif change == "layout":
        w = w[::-1]
    elif change == "dtype":
        w = w.view("int32")
    else:
        w[1, 2, 0, 1] = 5
    assert held.get(fake, backend, g, w, version) is not first
    assert len(held) == 1, "the old one is dropped"


def test_what_does_not_matter_to_the_filter_changes_nothing(held, w):
    fake, version = Fake("f", prepare_cost=0), Version()
    assert held.get(fake, backend, G, w, version) is held.get(fake, backend, Problem(7, 4, 8, 8, 4, 3, 3), w, version)


def test_two_algorithms_keep_both(held, w):
    one, two, version = Fake("one", prepare_cost=0), Fake("two", prepare_cost=0), Version()
    for _ in range(2):
        held.get(one, backend, G, w, version)
        held.get(two, backend, G, w, version)
    assert (one.prepared, two.prepared, len(held)) == (1, 1, 2)
    held.drop(version, "one")
    assert len(held) == 1
    held.drop(version)
    held.drop(Version())
    assert len(held) == held.nbytes == 0


def test_dies_with_its_weight(held, w):
    version = Version()
    held.get(Fake("f", prepare_cost=0), backend, G, w, version)
    del version
    gc.collect()
    assert len(held) == 0


def test_nothing_to_keep(held, w):
    assert held.get(Fake("prepares nothing"), backend, G, w, Version()) is None
    assert held.get(Fake("f", prepare_cost=0), backend, G, w, None) is None
    assert len(held) == 0


def test_the_switch(monkeypatch, w):
    fake, version = Fake("f", prepare_cost=0), Version()
    assert cache.on
    with cache_filters(False):
        assert not cache.on and cache.get(fake, backend, G, w, version) is None
        with cache_filters():
            assert cache.on
    assert cache.on
    monkeypatch.setenv("SCRATCHVGG_CONV_CACHE", "0")
    assert not cache.on
    with cache_filters(True):
        assert cache.on
    monkeypatch.undo()
    cache.get(fake, backend, G, w, version)
    assert len(cache) >= 1
    cache.clear()
    assert len(cache) == 0
    try:
        cache_filters(False)  # a plain call
        assert not cache.on
    finally:
        cache.enabled = None


def test_fingerprints(w):
    assert fingerprint(w) == fingerprint(w.copy())
    for place in np.ndindex(w.shape):
        other = w.copy()
        other[place] += 1e-6
        assert fingerprint(other) != fingerprint(w)
    large = np.random.default_rng(1).standard_normal((64, 3 * WHOLE // 9 // 64 + 1, 3, 3)).astype("float32")
    assert large.size > WHOLE > SAMPLE
    for change in (large * 1.0001, large[::-1], large + np.float32(1e-3)):
        assert fingerprint(change) != fingerprint(large)
    channels_last = np.ascontiguousarray(large.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert fingerprint(channels_last) == fingerprint(channels_last.copy("K"))


def test_from_many_threads(held):
    """Every thread gets the filter of the weight it asks for, while others change and drop theirs."""
    fake, wrong = Fake("f", prepare_cost=0), []

    def work(number):
        rng = np.random.default_rng(number)
        for _ in range(60):
            w, version = rng.standard_normal(G.w_shape).astype("float32"), Version()
            for _ in range(3):
                if not np.array_equal(held.get(fake, backend, G, w, version)[0], w):
                    wrong.append(number)
                w += 1
                version.value += 1
            held.drop(version)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(held) == 0


@pytest.mark.parametrize("name", [n for n, a in conv.algorithms().items() if a.prepares])
def test_a_prepared_filter_gives_the_same_bits(name):
    a, rng = conv.get(name), np.random.default_rng(0)
    problems = [g for g in (G, OTHER, Problem(3, 5, 17, 14, 6, 3, 3, (1, 1), ONE)) if a.supports(g, "float32")]
    assert problems
    for g in problems:
        x, w = (rng.standard_normal(s).astype("float32") for s in (g.x_shape, g.w_shape))
        for weight in (w, np.ascontiguousarray(w.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
            prepared = a.prepare(backend, g, weight)
            np.testing.assert_array_equal(a.forward(backend, g, x, weight, prepared=prepared), a.forward(backend, g, x, weight))
            assert conv.prepared._nbytes(prepared) >= w.nbytes
            for other in problems:  # what the key calls the same must serve the same
                if other.w_shape == g.w_shape and a.filter_key(other) == a.filter_key(g):
                    y = rng.standard_normal(other.x_shape).astype("float32")
                    np.testing.assert_array_equal(a.forward(backend, other, y, weight, prepared=prepared), a.forward(backend, other, y, weight))
