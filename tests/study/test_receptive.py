"""Receptive fields against an experiment: in a net of positive weights, the pixels whose gradient is not zero are the field."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.study.receptive import geometry
from scratchvgg.study.trace import trace


def positive(net):
    for parameter in net.parameters():
        parameter.data.fill_(0.1)
    return net.eval()


def seen(net, size, row, column):
    """(top, left, bottom, right) of the pixels that element (row, column) of the net's output depends on."""
    x = sv.ones(1, 3, *size, dtype=sv.float64, requires_grad=True)
    y = net.to(sv.float64)(x)
    (y[:, :, row, column] if y.ndim == 4 else y).sum().backward()
    rows, columns = (np.flatnonzero(x.grad.numpy().any(axis)) for axis in ((0, 1, 3), (0, 1, 2)))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


NETS = {
    "strides, dilation, unequal sides": lambda: [nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 2)), nn.ReLU(),
                                                 nn.Conv2d(4, 4, 3, dilation=2, padding=2), nn.AvgPool2d(3, 2, 1)],
    "1×1 filters and normalisation": lambda: [nn.Conv2d(3, 4, 3), nn.LocalResponseNorm(3), nn.AvgPool2d(2), nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6)],
    "same, reflected": lambda: [nn.Conv2d(3, 4, 4, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.AvgPool2d(2)],
    "ceil_mode": lambda: [nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 2, 3)],
    "adaptive, in equal windows": lambda: [nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(6)],
}


@pytest.mark.parametrize("name", NETS)
def test_equals_the_pixels_that_matter(name):
    net, size = positive(nn.Sequential(*NETS[name]())), (24, 36) if "adaptive" in name else (24, 37)
    run = trace(net, sv.randn(1, 3, *size))
    field = geometry(run)[list(run.modules)[-1]]
    for row, column in ((0, 0), (3, 4), (field.vertical.count - 1, field.horizontal.count - 1)):
        top, left, bottom, right = field.box(row, column)
        cut = max(0, top), max(0, left), min(size[0], bottom), min(size[1], right)
        assert cut == seen(net, size, row, column) and (bottom - top, right - left) == field.size
    assert (field.vertical.count, field.horizontal.count) == tuple(run.output.shape[2:])


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
def test_pools_and_linear_are_windows(pool):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool(3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    fields = geometry(trace(net, sv.randn(1, 3, 20, 20)))
    assert [fields[str(i)].size for i in range(5)] == [(3, 3), (5, 5), (21, 21), (21, 21), (21, 21)]  # 9 windows of 5, 2 apart
    if pool is nn.AvgPool2d:  # a maximum has one winner
        assert seen(positive(net), (20, 20), 0, 0) == (0, 0, 20, 20)
    with pytest.raises(ValueError, match="outside the 9×9 map"):
        fields["1"].box(9, 0)


def test_uneven_adaptive_windows_have_no_stride():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 2))
    fields = geometry(trace(net, sv.randn(1, 3, 10, 10)))
    assert fields["0"].size == (3, 3) and fields["0"].stride is None and fields["2"].size == (10, 10)
    with pytest.raises(ValueError, match="not equally far apart"):
        fields["0"].box(1, 1)
    behind = geometry(trace(nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Conv2d(3, 1, 3)), sv.randn(1, 3, 10, 10)))
    assert behind["1"] is None


class Branches(nn.Module):
    def __init__(self, second):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 3, 3, padding=1), second, nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.last(x + self.second(self.first(x)))


def test_branches_meet():
    net = positive(Branches(nn.Conv2d(3, 3, 5, padding=2)))
    field = geometry(trace(net, sv.randn(1, 3, 16, 16)))["last"]
    assert field.size == (9, 9) and field.box(7, 7) == seen(net, (16, 16), 7, 7)


@pytest.mark.parametrize("undefined", [nn.ConvTranspose2d(3, 3, 3, padding=1), nn.Upsample(scale_factor=1) if hasattr(nn, "Upsample") else None])
def test_undefined_is_said(undefined):
    if undefined is None:
        pytest.skip("no such layer")
    assert geometry(trace(Branches(undefined), sv.randn(1, 3, 16, 16)))["last"] is None


def test_permuted_and_unknown_operations_are_undefined():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(x.permute(0, 1, 3, 2))

    assert geometry(trace(Turned(), sv.randn(1, 3, 8, 8)))["conv"] is None


def test_net_c_has_one_by_one_filters():
    with nn.init.skip():
        net = sv.models.get_model("vgg_c").eval()
    fields = geometry(trace(net, sv.zeros(1, 3, 64, 64)))
    widths = [m.kernel_size[0] for m in net.features if isinstance(m, nn.Conv2d)]
    size, stride = 1, 1
    for module in net.features:
        if isinstance(module, nn.Conv2d):
            size += (module.kernel_size[0] - 1) * stride
        elif isinstance(module, nn.MaxPool2d):
            size, stride = size + stride, 2 * stride
    assert widths.count(1) == 3 and fields[f"features.{len(net.features) - 1}"].size == (size, size) and size == 156
