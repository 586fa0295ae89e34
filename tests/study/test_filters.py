"""Filters: the pixels are the weights, and words say how they were scaled."""

import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from scratchvgg.study import StudyError, filters
from scratchvgg.study.shown import plain
from tests.study import html_check


@pytest.fixture
def net():
    return models.small_vgg(widths=(6, "M", 4), num_classes=3)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_filters_in_colour(size):
    net = nn.Sequential(nn.Conv2d(3, 5, size), nn.ReLU())
    found = filters.of_model(net)
    weight = net[0].weight.detach().numpy()
    assert found.layer == "0" and np.array_equal(found.weight, weight) and found.in_colour and found.order == [(k, None) for k in range(5)]
    for k in range(5):
        pixels = found.tile(k)
        assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
        exact = 128 + 127 * weight[k].transpose(1, 2, 0) / np.abs(weight[k]).max()
        assert np.abs(pixels - exact).max() <= 0.501 and {pixels.min() == 1, pixels.max() == 255} & {True}
    assert found.enlarged * size >= filters.SIDE > (found.enlarged - 1) * size
    side = found.enlarged * size
    assert (found.sheet(2)[:side, :side][:: found.enlarged, :: found.enlarged] == found.tile(0)).all()
    assert np.allclose(found.norms(), [np.linalg.norm(weight[k]) for k in range(5)])


def test_one_scale_for_all(net):
    net.features[0].weight.detach()[1].mul_(0.1)
    each, joint = filters.of_model(net), filters.of_model(net, scale="joint")
    assert each.tile(1).astype(int).max() > 200 or each.tile(1).min() < 56
    assert np.abs(joint.tile(1).astype(int) - 128).max() < 40 and "all by the largest" in str(joint) and "each filter by its own" in str(each)
    net.features[0].weight.detach().zero_()
    assert (filters.of_model(net).tile(0) == 128).all(), "zero is grey"


def test_other_channels_are_grey(net):
    found = filters.of_model(net, "features.4", limit=8)
    assert not found.in_colour and found.order == [(0, c) for c in range(6)] + [(1, 0), (1, 1)] and found.left_out == 16
    assert found.tile(1, 0).shape == (3, 3) and found.sheet().ndim == 2 and "16 more" in str(found)
    grey = filters.of_model(nn.Sequential(nn.Conv2d(1, 4, 5)))
    assert grey.order == [(k, 0) for k in range(4)] and grey.tile(2, 0).shape == (5, 5)


def test_the_strongest_first(net):
    found = filters.of_model(net, by="strongest", limit=3)
    assert [k for k, _ in found.order] == list((-found.norms()).argsort()[:3]) and found.left_out == 3


def test_columns():
    assert [filters._columns(n) for n in (1, 4, 32, 64, 96, 128)] == [1, 4, 8, 16, 16, 16]


def test_types_and_devices(net):
    single = filters.of_model(net)
    assert filters.of_model(net.double()).weight.dtype == np.float64
    assert np.array_equal(filters.of_model(net.to("emulator", sv.float32)).tile(0), single.tile(0))


def test_json_and_html(net):
    for found in (filters.of_model(net), filters.of_model(net, "features.4", by="strongest")):
        data = json.loads(json.dumps(plain(found.to_dict())))
        assert data["shape"] == list(found.weight.shape) and len(data["norms"]) == len(found.weight)
        pytest.importorskip("jinja2")
        assert found.layer in html_check.check(found.to_html()) and str(found.to_html()).count("<img") == 1


def test_what_is_refused(net):
    for options, message in [({"layer": "features.40"}, "no convolution of this net; near: features.4"), ({"layer": "features.2"}, "no convolution"),
                             ({"scale": "all"}, "each or joint"), ({"limit": 0}, "1 or more"), ({"by": "size"}, "strongest or index")]:
        with pytest.raises(StudyError, match=message):
            filters.of_model(net, **options)
    with pytest.raises(StudyError, match="has no convolution"):
        filters.of_model(nn.Linear(3, 3))
