"""A convolution by the numbers: what is shown is the engine's own array, and what is worked out agrees with torch, seven loops and the engine."""

import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import conv, nn
from scratchvgg.conv.im2col import fill_columns, filter_matrices, tiles
from scratchvgg.study import explain
from scratchvgg.study.errors import StudyError
from scratchvgg.study.explain.convolution import problem_of
from scratchvgg.study.shown import plain
from scratchvgg.study.trace import trace

GEOMETRIES = {
    "plain": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilated": {"kernel_size": (3, 2), "padding": (2, 1), "dilation": 2},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "odd": {"kernel_size": (1, 4), "stride": (2, 3), "padding": (0, 2), "bias": False},
    "same": {"kernel_size": 2, "padding": "same"},
    "reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
}


def net_of(dtype=None, **geometry):
    """Two convolutions, so that the second has a gradient of its input."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, **geometry), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(6, 3))
    return net if dtype is None else net.to(dtype)


def traced(net, dtype=None, device="cpu", size=(7, 9)):
    x = sv.randn(2, 3, *size).to(device)
    return trace(net.to(device), x if dtype is None else x.to(dtype), sv.tensor([0, 2]).to(device), backward=True, arrays=True)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("dtype", [None, sv.float64], ids=["float32", "float64"])
def test_the_numbers_shown_are_the_engines(name, dtype):
    net = net_of(dtype, **GEOMETRIES[name])
    run = traced(net, dtype)
    call = next(call for call in run.calls if call.op == "conv2d" and call.layer == "2")
    g = problem_of(run, call)
    weight = net[2].weight.array
    net.zero_grad()
    loss = nn.functional.cross_entropy(net(run_input(run)), sv.tensor([0, 2]))
    loss.backward()
    for n, k, p, q in [(0, 0, 0, 0), (1, 5, g.P - 1, g.Q - 1), (1, 3, g.P // 2, g.Q // 2)]:
        it = explain.convolution(run, "2", k, p, q, n)
        padded = np.pad(call.sources[0].array, ((0, 0), (0, 0), *g.padding))
        group = k // (g.K // g.groups)
        deep = g.C // g.groups
        window = padded[n, group * deep:(group + 1) * deep, p * g.stride[0]:p * g.stride[0] + g.rows:g.dilation[0],
                        q * g.stride[1]:q * g.stride[1] + g.columns:g.dilation[1]]
        assert np.array_equal(it.patch, window) and it.patch.dtype == call.sources[0].array.dtype
        assert np.array_equal(it.filter, weight[k])
        assert it.stored == float(call.results[0][n, k, p, q])
        assert it.bias is None if net[2].bias is None else it.bias == float(net[2].bias.array[k])
        assert it.first_channel == group * deep and (~it.inside).sum() == (np.pad(np.zeros((g.H, g.W)), g.padding, constant_values=1)[
            p * g.stride[0]:p * g.stride[0] + g.rows:g.dilation[0], q * g.stride[1]:q * g.stride[1] + g.columns:g.dilation[1]]).sum()
        assert it.deviation.within and it.deviation.ulps < 64
        b = it.backward
        assert b.gradient == float(call.gradients[0][n, k, p, q])
        assert np.array_equal(b.arrived, call.gradients[0][n, group * (g.K // g.groups):(group + 1) * (g.K // g.groups), p, q])
        assert np.array_equal(b.weight_engine, net[2].weight.grad.numpy()[k]) and b.weight_same and b.weight_deviation.within
        if net[2].bias is not None:
            assert b.bias_engine == float(net[2].bias.grad.numpy()[k]) and b.bias_deviation.within
        assert b.input_deviation.within
        back = run.calls[call.sources[0].call].gradients[0]
        assert all(np.array_equal(b.input_engine[:, i, j], back[n, it.first_channel:it.first_channel + deep, h, v])
                   for i, h in enumerate(it.rows) for j, v in enumerate(it.columns) if it.inside[i, j])


def run_input(run):
    return sv.from_numpy(run.calls[0].sources[0].array.copy())


@pytest.mark.parametrize("name", ["plain", "strided", "dilated", "grouped", "odd", "same"])
def test_the_column_stands_in_im2cols_order(name):
    run = traced(net_of(**GEOMETRIES[name]))
    call = next(call for call in run.calls if call.op == "conv2d" and call.layer == "2")
    g, backend = problem_of(run, call), run.output.backend
    it = explain.convolution(run, "2", 4, g.P - 1, 0, 1)
    group = 4 // (g.K // g.groups)
    image, whole = call.sources[0].array.transpose(0, 2, 3, 1), (0, g.N, 0, g.P)
    columns = fill_columns(backend, g, image, whole, group, sv.float32)
    row = columns[(1 * g.P + g.P - 1) * g.Q]
    assert np.array_equal(row, it.im2col_column)
    assert np.array_equal(filter_matrices(np, call.sources[1].array, g.groups, sv.float32)[group][4 % (g.K // g.groups)], it.filter_row)
    m = it.gemm
    assert (m.m, m.n, m.k) == (len(columns), g.K // g.groups, columns.shape[1]) and m.column_bytes == columns.nbytes * g.groups
    assert m.tiles == len(tiles(g, 4)) and m.tile_bytes <= max(columns.nbytes, 2 << 20)


@pytest.mark.parametrize("name", ["plain", "strided", "dilated", "grouped"])
def test_the_sums_are_those_of_torch_and_of_seven_loops(name, torch):
    run = traced(net_of(sv.float64, **GEOMETRIES[name]), sv.float64)
    call = next(call for call in run.calls if call.op == "conv2d" and call.layer == "2")
    g, slow, backend = problem_of(run, call), conv.get("direct"), run.output.backend
    x, w, b = (source.array for source in call.sources)
    dy = call.gradients[0]
    y, dw, dx = slow.forward(backend, g, x, w, b), slow.grad_weight(backend, g, dy, x), slow.grad_input(backend, g, dy, w)
    unfolded = torch.nn.functional.unfold(torch.from_numpy(np.ascontiguousarray(x)), (g.R, g.S), g.dilation, tuple(p for p, _ in g.padding), g.stride)
    dcol = np.einsum("nkpq,kcrs->ncrspq", dy, np.concatenate([w] * g.groups, 1) if g.groups == 1 else _spread(w, g))
    folded = torch.nn.functional.fold(torch.from_numpy(np.ascontiguousarray(dcol)).reshape(g.N, -1, g.P * g.Q), (g.H, g.W), (g.R, g.S), g.dilation,
                                      tuple(p for p, _ in g.padding), g.stride)
    ones = torch.nn.functional.unfold(torch.ones(1, 1, g.H, g.W), (g.R, g.S), g.dilation, tuple(p for p, _ in g.padding), g.stride)
    overlap = torch.nn.functional.fold(ones, (g.H, g.W), (g.R, g.S), g.dilation, tuple(p for p, _ in g.padding), g.stride)[0, 0].numpy()
    assert np.allclose(folded.numpy(), dx, atol=1e-12)
    for n, k, p, q in [(0, 0, 0, 0), (1, 5, g.P - 1, g.Q // 2)]:
        it = explain.convolution(run, "2", k, p, q, n)
        here = slice(it.first_channel, it.first_channel + g.C // g.groups)
        column = unfolded[n].reshape(g.C, g.R, g.S, g.P, g.Q)[here, :, :, p, q].numpy()
        assert np.array_equal(it.patch, column)
        assert it.shown == pytest.approx(y[n, k, p, q], rel=1e-12, abs=1e-13)
        assert np.allclose(it.backward.weight_shown, dw[k], atol=1e-13)
        assert np.allclose(it.backward.dcol, dcol[n, here, :, :, p, q], atol=1e-14)
        assert np.array_equal(it.backward.outer, dy[n, k, p, q] * column)
        assert np.array_equal(np.outer(it.backward.overlap_rows, it.backward.overlap_columns), overlap)
        for i, h in enumerate(it.rows):
            for j, v in enumerate(it.columns):
                inside = 0 <= h < g.H and 0 <= v < g.W
                assert it.backward.overlap[i, j] == (overlap[h, v] if inside else 0)
                assert np.allclose(it.backward.input_shown[:, i, j], dx[n, here, h, v] if inside else 0, atol=1e-13)


def _spread(w, g):
    """(K, C / groups, R, S) as (K, C, R, S) with zeros between groups."""
    full, deep, wide = np.zeros((g.K, g.C, g.R, g.S)), g.C // g.groups, g.K // g.groups
    for k in range(g.K):
        full[k, k // wide * deep:(k // wide + 1) * deep] = w[k]
    return full


def test_the_gradient_of_a_weight_is_a_finite_difference():
    net = net_of(sv.float64, kernel_size=3, padding=1)
    run = traced(net, sv.float64)
    it, x, step = explain.convolution(run, "0", 1, 2, 2), run_input(run), 1e-6
    place = (1, 2, 0, 1)
    losses = []
    for sign in (1, -1):
        net[0].weight.array[place] += sign * step
        with sv.no_grad():
            losses.append(nn.functional.cross_entropy(net(x), sv.tensor([0, 2])).item())
        net[0].weight.array[place] -= sign * step
    assert it.backward.weight_shown[place[1:]] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("algorithm", ["winograd4x4", "winograd2x2", "fft", "shifted", "reproducible"])
def test_every_algorithm_keeps_to_its_bound(algorithm):
    sv.manual_seed(3)
    net = net_of(kernel_size=3, padding=1)
    with conv.using(algorithm):
        run = traced(net, size=(12, 12))
    it = explain.convolution(run, "2")
    used = "im2col" if algorithm == "reproducible" else algorithm
    assert it.algorithms["forward"] == used and it.deviation.source == used
    assert it.deviation.within and it.backward.weight_deviation.within and it.backward.input_deviation.within
    assert it.backward.weight_same
    assert (f"The engine took {used}" in str(it)) == (used != "im2col")
    if algorithm == "reproducible":
        assert it.deviation.ulps < 8


def test_the_first_layer_has_no_gradient_of_the_image_unless_asked():
    net = net_of(kernel_size=3)
    it = explain.convolution(traced(net), "0", 0, 3, 3)
    assert it.backward.input_engine is None and "nobody asked" in str(it)
    x = sv.randn(2, 3, 7, 9).requires_grad_()
    run = trace(net, x, sv.tensor([0, 1]), backward=True, arrays=True)
    it = explain.convolution(run, "0", 0, 3, 3)
    x.grad = None
    nn.functional.cross_entropy(net(x), sv.tensor([0, 1])).backward()
    assert np.array_equal(it.backward.input_engine, x.grad.numpy()[0, :, 2:5, 2:5]) and "recorded one" in it.backward.input_from


def test_frozen_weights_and_forward_alone():
    net = net_of(kernel_size=3)
    net[2].weight.requires_grad_(False)
    net[2].bias.requires_grad_(False)
    it = explain.convolution(traced(net), "2", 0, 1, 1)
    assert it.backward.weight_engine is None and it.backward.bias_engine is None and it.backward.input_deviation.within
    assert "not trained" in str(it) and it.to_dict()["backward"]["weight_engine"] is None
    run = trace(net.eval(), sv.randn(1, 3, 6, 6), arrays=True)
    assert explain.convolution(run, "2").backward is None


def test_a_branch_has_its_own_part_of_the_gradient():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
            self.head = nn.Linear(2, 2)

        def forward(self, x):
            y = self.first(x)
            return self.head((y + self.second(y)).mean((2, 3)))

    net = Residual()
    run = trace(net, sv.randn(1, 2, 5, 5), sv.tensor([1]), backward=True, arrays=True)
    it = explain.convolution(run, "second", 0, 2, 2)
    assert it.backward.input_deviation.within and "run again" in it.backward.input_from
    assert not np.array_equal(it.backward.input_engine, run.of_layer("first")[0].gradients[0][0, :, 1:4, 1:4]), "which has the other path too"


def test_the_largest_output_is_taken_unasked():
    run = traced(net_of(kernel_size=3))
    y = run.of_layer("2")[0].results[0]
    it = explain.convolution(run, "2")
    assert it.stored == y[0].max()
    it = explain.convolution(run, "2", channel=4, sample=1)
    assert (it.channel, it.stored) == (4, float(y[1, 4].max()))


def test_what_cannot_be_shown_is_said():
    run = traced(net_of(kernel_size=3))
    for arguments, message in [(("9",), "no layer '9'"), (("1",), r"1 \(ReLU\) ran no conv2d"), (("2", 6), "channel: expected a number from 0 to 5"),
                               (("2", 0, 1), "give both"), (("2", 0, 5, 0), "row: expected a number from 0 to 4"),
                               (("2", 0, 0, 0, 2), "sample: expected a number from 0 to 1"), (("2", 0, 0, 0, -1), "sample")]:
        with pytest.raises(StudyError, match=message):
            explain.convolution(run, *arguments)
    with pytest.raises(StudyError, match="visit: 2 ran 1 time"):
        explain.convolution(run, "2", visit=1)
    with pytest.raises(StudyError, match="arrays=True"):
        explain.convolution(trace(net_of(kernel_size=3), sv.randn(1, 3, 6, 6)), "2")

    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return nn.functional.conv2d(x, self.conv.weight, stride=2)

    with pytest.raises(StudyError, match="as a function"):
        explain.layer(trace(nn.Sequential(ByHand()), sv.randn(1, 3, 6, 6), arrays=True), "0")


def test_text_page_and_json(tmp_path):
    run = traced(net_of(kernel_size=3, padding=1))
    it = explain.layer(run, "2", channel=2, row=0, column=0)
    text = str(it)
    assert max(map(len, text.splitlines())) <= 150
    assert "(0)" in text and "max |shown − engine|" in text and "col2im" in text and "BEYOND" not in text
    it.save_json(tmp_path / "it.json")
    read = json.loads((tmp_path / "it.json").read_text("utf-8"))
    assert np.array_equal(np.float32(read["patch"]), it.patch) and np.array_equal(np.float32(read["filter"]), it.filter)
    assert np.float32(read["stored"]) == np.float32(it.stored) and read["backward"]["overlap"] == it.backward.overlap.tolist()
    assert plain(it.to_dict()) == read
    pytest.importorskip("jinja2")
    html = str(it.to_html())
    assert 'class="padding"' in html and "style=" not in html and "onclick" not in html and html.count("<table") == html.count("</table")


def test_a_deep_layer_shows_its_strongest_channels():
    run = trace(nn.Sequential(nn.Conv2d(512, 512, 3, padding=1)), sv.randn(1, 512, 6, 6), arrays=True)
    it = explain.convolution(run, "0", 7, 3, 3)
    sums = np.abs(it.products.sum((1, 2)))
    assert it.strongest[0] == sums.argmax() and f"x, channel {it.strongest[0]}" in str(it) and "The other 500 channels" in str(it)


def test_on_the_emulator():
    sv.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = sv.randn(1, 2, 4, 4).to("emulator")
    run = trace(net.to("emulator"), x, sv.tensor([2]).to("emulator"), backward=True, arrays=True)
    it = explain.convolution(run, "2", 1, 0, 1)
    backend = run.output.backend
    assert np.array_equal(it.filter, backend.to_numpy(net[2].weight.array)[1])
    assert it.deviation.within and it.backward.weight_deviation.within and it.backward.input_deviation.within and it.backward.weight_same
