"""The measured field lies inside the theoretical one, which is worked out here again, from the configuration alone."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from scratchvgg.study import StudyError, receptive
from scratchvgg.study.attribution import empirical_field
from scratchvgg.study.trace import trace


def narrow(name):
    """A net of the paper with a sixteenth of the channels: windows and strides are the same."""
    return models.paper_vgg(name, width=1 / 16, hidden=8, crop=224, num_classes=5).eval()


def interval(entries, upto, i):
    """[first, last] input pixel of position i behind the first ``upto`` windows (taps, step, padding), walked backwards one by one."""
    first = last = i
    for taps, step, padding in reversed(entries[:upto]):
        first, last = first * step - padding, last * step - padding + taps - 1
    return first, last


@pytest.mark.parametrize("name", ["A", "D"])
def test_every_layer_of_the_papers_nets(name):
    net = narrow(name)
    measured = empirical_field.measure(net, size=224, layers="all", pictures=1)
    windows, count = [], {}
    for place, layer in enumerate(net.features):
        if isinstance(layer, nn.Conv2d):
            windows.append((3, 1, 1))
        elif isinstance(layer, nn.MaxPool2d):
            windows.append((2, 2, 0))
        count[f"features.{place}"] = len(windows)
    count["avgpool"] = len(windows)  # 7×7 stay 7×7
    assert [f.layer for f in measured.fields if not f.layer.startswith("classifier")] == list(count), "every layer, in order"
    assert len(measured.fields) == len(count) + 7 - 2, "and behind them the classifier (dropout does nothing in evaluation)"
    for found in measured.fields:
        box = (0, 0, 224, 224)
        if found.layer in count:
            first, last = interval(windows, count[found.layer], found.unit[0])
            assert found.theory == (last - first + 1,) * 2
            box = (max(0, first),) * 2 + (min(224, last + 1),) * 2
            assert found.unit[0] == found.unit[1]
        assert found.box == box and found.is_inside, found.layer
        top, left, bottom, right = box
        outside = np.ones((224, 224), bool)
        outside[top:bottom, left:right] = False
        assert not found.magnitude[outside].any() and not found.energy[outside].any() and found.magnitude.any(), found.layer
        assert found.support[0] >= top and found.support[1] >= left and found.support[2] <= bottom and found.support[3] <= right
    last = measured[f"features.{len(net.features) - 1}"]
    assert last.theory == ({"A": 150, "D": 212}[name],) * 2 and last.central_share > 1.3 * last.central_area, "and concentrated in the middle"
    assert last.effective_size < 0.9 * last.theory[0]
    assert measured.all_inside and "NO" not in str(measured) and f"{last.theory[0]}×{last.theory[0]}" in str(measured)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11", "vgg16"])
def test_every_layer_of_full_nets(name):
    with sv.conv.using("auto"):
        measured = empirical_field.measure(models.get_model(name).features, sv.randn(1, 3, 224, 224), layers="all")
    print(measured)
    assert len(measured.fields) == len(models.get_model(name).features) and measured.all_inside
    assert measured.fields[-1].support == measured.fields[-1].box, "down to the last pixel"


def test_both_ways_to_the_theory_agree():
    net = narrow("A")
    geometry = receptive.geometry(trace(net, sv.zeros(1, 3, 96, 96)))
    field = geometry["features.20"]
    assert field.size == (150, 150) and field.stride == (32, 32)
    windows = [(3, 1, 1), (2, 2, 0), (3, 1, 1), (2, 2, 0), *[(3, 1, 1)] * 2, (2, 2, 0), *[(3, 1, 1)] * 2, (2, 2, 0), *[(3, 1, 1)] * 2, (2, 2, 0)]
    for i in range(3):
        first, last = interval(windows, len(windows), i)
        assert field.box(i, i) == (first, first, last + 1, last + 1)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (5, 2, 0, 1), (3, 1, 2, 2), (1, 1, 0, 1),
                                                                       ((3, 5), (1, 2), (1, 0), 1)])
def test_convolutions_alone_fill_their_field_to_the_last_pixel(kernel, stride, padding, dilation):
    net = nn.Sequential(nn.Conv2d(2, 3, kernel, stride, padding, dilation), nn.Conv2d(3, 4, kernel, stride, padding, dilation))
    (found,) = empirical_field.measure(net, size=40, layers=["1"], pictures=1).fields
    if dilation == 1:
        assert found.support == found.box
    else:  # every second pixel: the corners are there
        assert found.support == found.box and (found.magnitude > 0).sum() == 25
    assert found.is_inside
    found.box = found.box[0] + 1, *found.box[1:]
    assert not found.is_inside, "a row less would be noticed"


@pytest.mark.parametrize("algorithm", ["winograd4x4", "fft"])
def test_rounding_of_larger_tiles_does_not_leak_out(algorithm):
    """Winograd's and the Fourier transform's zeros are not exact; the fields are measured without them, and the layers keep their wish."""
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)).eval()
    for layer in net:
        layer.algorithm = algorithm
    x = sv.randn(1, 3, 24, 24, requires_grad=True)
    net(x)[0, :, 12, 12].sum().backward()
    assert (np.abs(x.grad.numpy()[0]).sum(0) > 0).sum() > 25, "they do leak"
    with sv.conv.using(algorithm):
        (found,) = empirical_field.measure(net, x, layers="1").fields
    assert found.support == found.box == (10, 10, 15, 15) and found.is_inside and net[0].algorithm == algorithm
    assert np.allclose(found.magnitude, np.abs(x.grad.numpy()[0]).sum(0), atol=1e-6)


def test_elements_at_the_border_and_single_channels():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)).eval()
    (corner,) = empirical_field.measure(net, size=16, layers="1", unit=(0, 15), pictures=1).fields
    assert corner.box == (0, 13, 3, 16) == corner.support and corner.theory == (5, 5) and corner.unit == (0, 15)
    x = sv.randn(1, 3, 16, 16)
    (one,) = empirical_field.measure(net, x, layers="1", channel=2).fields
    x.requires_grad_(True)
    net(x)[0, 2, 8, 8].backward()
    assert np.allclose(one.magnitude, np.abs(x.grad.numpy()[0].astype(np.float64)).sum(0), rtol=1e-6)
    assert np.allclose(one.energy, (x.grad.numpy()[0].astype(np.float64) ** 2).sum(0), rtol=1e-6)


def test_measures_of_a_known_map():
    magnitude = np.zeros((20, 20))
    magnitude[4:16, 4:16] = 1
    field = empirical_field.EmpiricalField("l", (5, 5), None, (12, 12), (4, 4, 16, 16), magnitude, magnitude**2)
    assert field.support == (4, 4, 16, 16) and field.effective_size == 12 and field.middle == (7, 7, 13, 13)
    assert field.central_share == pytest.approx(0.25) and field.central_area == pytest.approx(0.25)
    assert field.spread == pytest.approx([np.sqrt((144 - 1) / 12)] * 2), "of a discrete uniform distribution"
    assert field.picture().shape == (12, 12, 3)
    dead = empirical_field.EmpiricalField("l", (5, 5), None, (12, 12), (4, 4, 16, 16), np.zeros((20, 20)), np.zeros((20, 20)))
    assert dead.support is None and dead.is_inside and dead.central_share == dead.effective_size == 0 and dead.spread == (0, 0)


def test_pictures_are_averaged_and_noise_comes_from_the_seed():
    net = models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3)
    x = sv.randn(3, 3, 16, 16)
    together = empirical_field.measure(net, x)
    alone = [empirical_field.measure(net, x[i : i + 1]) for i in range(3)]
    assert [f.layer for f in together.fields] == ["features.3", "features.7"], "the poolings"
    for layer in ("features.3", "features.7"):
        assert np.allclose(together[layer].magnitude, np.mean([a[layer].magnitude for a in alone], 0))
    again = [empirical_field.measure(net, size=16, seed=seed)["features.7"].magnitude for seed in (1, 1, 2)]
    assert np.array_equal(again[0], again[1]) and not np.array_equal(again[0], again[2])
    assert (together.pictures, together.random, empirical_field.measure(net, size=16).random) == (3, False, True)


def test_what_is_refused():
    net = models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3)
    for options, message in [({"layers": ["features.33"]}, "near: features.3"), ({"layers": "features.3", "unit": (8, 0)}, "rows 0 to 7"),
                             ({"layers": "features.3", "channel": 4}, "channels 0 to 3"), ({"pictures": 0}, "1 or more"),
                             ({"x": np.zeros((1, 3, 16, 16), np.uint8)}, "normalised pictures")]:
        with pytest.raises(StudyError, match=message):
            empirical_field.measure(net, **({"size": 16} | options))
