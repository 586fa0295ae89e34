"""Feature maps: the numbers are the engine's, from a trace or from a run of their own."""

import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models
from scratchvgg.array import default_generator
from scratchvgg.study import StudyError, colours, maps
from scratchvgg.study.shown import plain
from scratchvgg.study.trace import trace
from tests.study import html_check


@pytest.fixture
def net():
    sv.manual_seed(0)
    return models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3)


@pytest.fixture
def x():
    return sv.randn(2, 3, 16, 16)


@pytest.mark.parametrize("layer", ["features.0", "features.1", "features.2", "features.3", "features.6", "features", "avgpool", "classifier.1"])
def test_numbers_are_the_engines(net, x, layer):
    run = trace(net.eval(), x, arrays=True)
    (own,) = maps.of_run(net.train(), x, layer, sample=1)
    found = maps.of_trace(run, layer, 1)
    if layer == "features":
        expected = run.of_layer("features.7")[-1].results[0][1]
    else:
        expected = run.of_layer(layer)[-1].results[0][1]
    if expected.ndim == 1:
        assert np.array_equal(found.values.ravel()[: len(expected)], expected) and found.folded == 3 and found.values.shape == (1, 1, 3)
    else:
        assert np.array_equal(found.values, expected) and found.folded is None
    assert np.array_equal(own.values, found.values) and own.order == found.order and net.training
    assert found.values.min() < 0 or not found.signed


def test_a_run_leaves_the_net_as_it_was(net, x):
    state, random = {k: v.numpy().copy() for k, v in net.state_dict().items()}, default_generator.get_state()
    found = maps.of_run(net.train(), x, ["features.6", "features.0"])
    assert [m.layer for m in found] == ["features.6", "features.0"] and (found[1].values < 0).any(), "not written over by what comes behind"
    assert all(np.array_equal(v.numpy(), state[k]) for k, v in net.state_dict().items()) and default_generator.get_state() == random
    assert net.training and net.features[2].inplace and not any(m._forward_hooks for m in net.modules())


def of(values, **more):
    settings = {"scale": "each", "by": "index", "order": list(range(len(values)))} | more
    return maps.Maps("l", 0, np.asarray(values, np.float32), **settings)


def test_colours_and_scales():
    found = of([[[0, 1], [2, 4]], [[0, 0], [0, 8]]])
    assert not found.signed and found.range_of(0) == (0, 4) and np.array_equal(found.tile(0), colours.paint(found.values[0] / 4))
    shared = of(found.values, scale="shared")
    assert shared.range_of(0) == shared.range_of(1) == (0, 8) and np.array_equal(shared.tile(0), colours.paint(found.values[0] / 8))
    signed = of([[[0, 1], [-2, 1]]])
    assert signed.signed and signed.range_of(0) == (-2, 2) and np.array_equal(signed.tile(0), colours.paint(signed.values[0] / 2, True))
    assert "white" in signed.scale_in_words and "from 0 (dark) to 8 (light)" in shared.scale_in_words and "least number" in found.scale_in_words
    assert np.array_equal(of(np.zeros((1, 2, 2))).tile(0), colours.paint(np.zeros((2, 2))))


def test_order_and_limit(net, x):
    (found,) = maps.of_run(net, x, "features.6", limit=2)
    assert found.order == list((-np.abs(found.values).mean((1, 2))).argsort()[:2]) and found.left_out == 4 and "4 more are not" in str(found)
    (by_number,) = maps.of_run(net, x, "features.6", by="index", limit=3)
    assert by_number.order == [0, 1, 2] and by_number.left_out == 3
    assert found.sheet().shape[2] == 3 and found.sheet(2).shape[1] == 2 * 8 * found.enlarged + 4


def test_silent_channels_and_zeros():
    found = of([[[0, 0], [0, 0]], [[0, 3], [1, 0]]])
    assert found.zeros().tolist() == [1, 0.5] and found.zero_share == 0.75 and found.to_dict()["silent"] == 1 and "silent channels: 1" in str(found)


def test_a_vector_is_folded():
    found = maps._made("l", np.arange(1.0, 8.0, dtype=np.float32)[None], 0, "strongest", "each", 4)
    assert found.values.tolist() == [[[1, 2, 3, 4], [5, 6, 7, 0]]] and found.folded == 7 and found.zero_share == 0, "what fills up is not counted"


def test_large_maps_are_thinned():
    assert max(of(np.ones((1, 500, 300))).sheet().shape[:2]) <= 80


def test_json_and_html(net, x):
    for found in maps.of_run(net, x, ["features.0", "features.7", "classifier.1"]):
        data = json.loads(json.dumps(plain(found.to_dict())))
        assert data["shape"] == list(found.values.shape) and len(data["channels"]) == len(found.order)
        pytest.importorskip("jinja2")
        assert found.layer in html_check.check(found.to_html()) and str(found.to_html()).count("<img") == 1


def test_what_is_refused(net, x):
    run = trace(net.eval(), x, arrays=True)
    for call, message in [
        (lambda: maps.of_trace(run, "features.33"), "no layer 'features.33'.*near"), (lambda: maps.of_run(net, x, "features.33"), "near: features.3"),
        (lambda: maps.of_trace(run, "features.0", 2), "sample: expected 0 to 1, got 2"),
        (lambda: maps.of_run(net, x, "features.0", 2), "no sample 2"),
        (lambda: maps.of_trace(trace(net, x), "features.0"), "arrays=True"), (lambda: maps.of_run(net, x, "features.0", scale="x"), "each or shared"),
        (lambda: maps.of_run(net, x, "features.0", by="x"), "strongest or index"), (lambda: maps.of_run(net, x, "features.0", limit=0), "1 or more"),
        (lambda: maps.of_trace(run, "classifier.0"), "computed nothing"),
    ]:
        with pytest.raises(StudyError, match=message):
            call()
