"""Dense evaluation against the plain net, the plain net on every window, and torch running the converted net."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.evaluate import DenseVGG
from scratchvgg.evaluate.dense import SlidingLinear, feature_size, smallest_image
from scratchvgg.models import fast_vgg, get_model, small_vgg
from scratchvgg.models.vgg import make_layers
from tests.closeness import assert_close64
from tests.harness import DEVICES

from .nets import LETTERS, Unpadded, draw, images, narrow_vgg

NETS = pytest.mark.parametrize(("letter", "batch_norm"), [(letter, norm) for letter in LETTERS for norm in (False, True)])
ELSEWHERE = [pytest.param(d, marks=[pytest.mark.gpu] if d == "cuda" else []) for d in DEVICES if d != "cpu"]


def run(net, x, dtype="float64"):
    """The output as an array; the net in ``dtype``."""
    net.to(dtype=dtype)
    with sv.no_grad():
        return net(sv.tensor(x, dtype=dtype)).numpy()


def relative(value, expected):
    return np.abs(value - expected).max() / np.abs(expected).max()


# ---- equal to the plain net ------------------------------------------------------------------------------------------


@NETS
def test_at_224_it_is_the_plain_net(letter, batch_norm):
    net, x = narrow_vgg(letter, batch_norm), images(224, 224)
    dense = DenseVGG(net)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-6)):
        plain, scores = run(net, x, dtype), run(dense, x, dtype)
        assert scores.shape == (1, 7, 1, 1) and scores.dtype == dtype
        assert relative(scores[:, :, 0, 0], plain) <= tolerance


@pytest.mark.parametrize("algorithm", [None, "im2col", "auto"])
@pytest.mark.parametrize("size", [(8, 8), (9, 17), (21, 12)])
def test_without_padding_every_place_is_the_plain_net_on_its_window(size, algorithm):
    net, x = Unpadded().double().eval(), images(*size, count=2)
    scores = run(DenseVGG(net, algorithm=algorithm), x)
    h, w = size
    assert scores.shape == (2, 5, (h - 8) // 2 + 1, (w - 8) // 2 + 1)
    for p, q in np.ndindex(scores.shape[2:]):
        window = x[:, :, 2 * p : 2 * p + 8, 2 * q : 2 * q + 8]
        assert_close64(f"place {p}, {q}", scores[:, :, p, q], run(net, window))


@pytest.mark.parametrize(("pool", "reduce"), [("avg", np.mean), ("max", np.max)])
def test_small_vgg_pools_over_the_window(pool, reduce):
    """Its classifier on the mean or maximum of each window of features, taken by NumPy."""
    net = draw(small_vgg((6, "M", 8, "M"), num_classes=4, pool=pool), 0).double().eval()
    x = images(40, 52, count=2)
    scores = run(DenseVGG(net), x)  # trained on 32×32: 8×8 features
    with sv.no_grad():
        features = net.features(sv.tensor(x)).numpy()
        weight, bias = (p.detach().numpy() for p in net.classifier[1].parameters())
    assert features.shape[2:] == (10, 13) and scores.shape == (2, 4, 3, 6)
    for p, q in np.ndindex(3, 6):
        assert_close64("scores", scores[:, :, p, q], reduce(features[:, :, p : p + 8, q : q + 8], axis=(2, 3)) @ weight.T + bias)
    assert_close64("one place", run(DenseVGG(net), x[:, :, :32, :32])[:, :, 0, 0], run(net, x[:, :, :32, :32]))
    assert run(DenseVGG(net, window=(2, 13)), x).shape == (2, 4, 9, 1)


# ---- equal to torch --------------------------------------------------------------------------------------------------


def converted(net, dtype):
    """torch's twin of ``net``, its linear layers made convolutions as torch users do it."""
    torch = pytest.importorskip("torch")
    from scratchvgg.bench.torch_side import twin

    theirs = twin(net, dtype).eval()
    layers, window = [], net.avgpool.output_size
    for layer in theirs.classifier:
        if isinstance(layer, torch.nn.Linear):
            conv = torch.nn.Conv2d(layer.in_features // np.prod(window), layer.out_features, window, dtype=layer.weight.dtype, device="meta")
            conv.weight = torch.nn.Parameter(layer.weight.detach().view(conv.weight.shape))
            conv.bias, window, layer = layer.bias, (1, 1), conv
        layers.append(layer)
    return torch.nn.Sequential(theirs.features, *layers)


def run_torch(theirs, x, dtype="float64"):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return theirs(torch.tensor(x, dtype=getattr(torch, dtype))).numpy()


@NETS
def test_any_size_equals_torch_running_the_converted_net(letter, batch_norm):
    net = narrow_vgg(letter, batch_norm).double()
    theirs = converted(net, "float64")
    for size in ((256, 256), (225, 391)):
        x = images(*size)
        scores = run(DenseVGG(net), x)
        assert scores.shape == (1, 7, size[0] // 32 - 6, size[1] // 32 - 6)
        assert_close64(f"{size}", scores, run_torch(theirs, x))


@pytest.mark.parametrize("size", [(384, 256), (512, 512)])
def test_float32_equals_torch(size):
    net, x = narrow_vgg("D", True), images(*size, count=2)
    with sv.conv.using("auto"):
        scores = run(DenseVGG(net), x, "float32")
    assert relative(scores, run_torch(converted(net.double(), "float64"), x)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("size", [256, 384])
def test_full_width_equals_torch(size):
    with nn.init.skip():
        net = draw(get_model("vgg16", init_weights=False), 0).eval()
    x = images(size, size).astype("f4")
    with sv.conv.using("auto"):
        assert relative(run(DenseVGG(net), x, "float32"), run_torch(converted(net, "float32"), x, "float32")) <= 1e-4


# ---- the same weights ------------------------------------------------------------------------------------------------


def test_the_weights_are_views():
    net = narrow_vgg()
    dense = DenseVGG(net)
    linear = [(slide, layer) for slide, layer in zip(dense.classifier, net.classifier, strict=True) if isinstance(layer, nn.Linear)]
    assert [tuple(slide.weight.shape) for slide, _ in linear] == [(24, 64, 7, 7), (24, 24, 1, 1), (7, 24, 1, 1)]
    for slide, layer in linear:
        assert np.shares_memory(slide.weight.detach().numpy(), layer.weight.detach().numpy()) and slide.bias is layer.bias
        np.testing.assert_array_equal(slide.weight.detach().numpy().reshape(layer.weight.shape), layer.weight.detach().numpy())
    assert {id(p) for p in dense.parameters()} == {id(p) for p in net.parameters()}


@pytest.mark.parametrize("change", [
    lambda net, other: net.load_state_dict(other.state_dict()),
    lambda net, other: net.load_state_dict(other.state_dict(), assign=True),
    lambda net, other: [p.data.copy_(q) for p, q in zip(net.parameters(), other.parameters(), strict=True)],
    lambda net, other: net.double().load_state_dict(other.double().state_dict()),
], ids=["load", "assign", "write", "cast"])  # fmt: skip
@pytest.mark.parametrize("algorithm", [None, "auto"])
def test_what_happens_to_the_net_happens_to_the_dense_net(change, algorithm):
    net, other, x = Unpadded(seed=0).eval(), Unpadded(seed=1).eval(), images(12, 12)
    dense = DenseVGG(net, algorithm=algorithm)
    before = run(dense, x, "float32")
    change(net, other)
    after, dtype = run(dense, x, net.classifier[0].weight.dtype), net.classifier[0].weight.dtype.name
    np.testing.assert_array_equal(after, run(DenseVGG(other, algorithm=algorithm), x, dtype))
    assert relative(after, before) > 0.1


def test_gradients_reach_the_net():
    """Of the sum of all scores: the sum of those of every window."""
    net, x = Unpadded().double().eval(), images(12, 10)
    DenseVGG(net)(sv.tensor(x)).sum().backward()
    dense = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    for p, q in np.ndindex(3, 2):
        net(sv.tensor(x[:, :, 2 * p : 2 * p + 8, 2 * q : 2 * q + 8])).sum().backward()
    for (name, parameter), gradient in zip(net.named_parameters(), dense, strict=True):
        assert_close64(name, gradient, parameter.grad.numpy())


def test_dropout_is_inert_in_evaluation_mode():
    dense, x = DenseVGG(Unpadded()), images(12, 12)
    assert relative(run(dense.train(), x), run(dense, x)) > 0
    np.testing.assert_array_equal(run(dense.eval(), x), run(dense, x))


# ---- other devices and types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ELSEWHERE)
def test_devices(device):
    net, x = Unpadded().eval(), images(12, 14).astype("f4")
    expected = run(DenseVGG(net), x, "float32")
    there = DenseVGG(net.to(device))
    with sv.no_grad():
        scores = there(sv.tensor(x, device=device))
    assert scores.device == sv.device(device) and relative(scores.cpu().numpy(), expected) < 1e-5
    slide, layer = there.classifier[0], net.classifier[0]
    assert slide.weight.device == sv.device(device) and slide.weight.version is layer.weight.version
    pointer = lambda t: t.array.__array_interface__["data"][0] if device == "emulator" else t.array.data.ptr
    assert pointer(slide.weight) == pointer(layer.weight)


@pytest.mark.parametrize(("dtype", "unit"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_16_bits(dtype, unit):
    net, x = narrow_vgg("A"), images(256, 288)
    expected = run(DenseVGG(net), x)
    net.to(dtype=dtype)
    with sv.no_grad():
        scores = DenseVGG(net)(sv.tensor(x, dtype=dtype))
    assert scores.dtype.name == dtype and relative(scores.double().numpy(), expected) < 40 * unit


# ---- sizes -----------------------------------------------------------------------------------------------------------


@given(
    letter=st.sampled_from(LETTERS),
    cut=st.integers(1, 6),
    window=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    padding=st.sampled_from([0, 1, (0, 1), "same", "valid"]),
)
def test_the_smallest_image_leaves_one_place_and_none_smaller_does(letter, cut, window, padding):
    features = nn.Sequential(*make_layers([4 if isinstance(e, int) else e for e in _entries(letter, cut)]), nn.Conv2d(4, 4, 3, padding=padding))
    net = nn.Module()
    net.features = features
    h, w = smallest_image(features, window)
    assert feature_size(net, (h, w)) == tuple(features(sv.zeros(1, 3, h, w)).shape[2:])
    assert all(a >= b for a, b in zip(feature_size(net, (h, w)), window, strict=True))
    for size, axis in (((h - 1, w), 0), ((h, w - 1), 1)):
        assert size[axis] == 0 or feature_size(net, size)[axis] < window[axis]


def _entries(letter, cut):
    from scratchvgg.models.vgg import cfgs

    return [e if e in ("M", "LRN") else 4 for e in cfgs[letter]][:cut]


@pytest.mark.parametrize("size", [(223, 300), (300, 223), (1, 1)])
def test_images_smaller_than_the_window(size):
    dense = DenseVGG(narrow_vgg())
    assert dense.smallest == (224, 224)
    with pytest.raises(ValueError, match=f"at least 224x224, got {size[0]}x{size[1]}"):
        run(dense, images(*size))


def test_what_it_refuses():
    with pytest.raises(TypeError, match="VGG or SmallVGG.* got FastVGG"):
        DenseVGG(fast_vgg())
    with pytest.raises(ValueError, match=r"3x3 features, got window \(2, 2\)"):
        DenseVGG(Unpadded(), window=2)
    with pytest.raises(ValueError, match="36 features do not fill a window of 5x5"):
        SlidingLinear(nn.Linear(36, 4), (5, 5))


# ---- memory ----------------------------------------------------------------------------------------------------------

MEASURE = """
import numpy as np
import scratchvgg as sv
from scratchvgg.evaluate import DenseVGG
with sv.nn.init.skip():
    net = sv.models.vgg16(init_weights=False)
rng = np.random.default_rng(0)
for p in net.parameters():
    p.array[...] = 0.001
with sv.inference_mode():
    y = DenseVGG(net.eval())(sv.tensor(rng.standard_normal((1, 3, 512, 683), np.float32)))
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(*y.shape, int(peak.split()[1]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_picture_stays_below_2_gib():
    answer = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout.split()
    assert answer[:4] == ["1", "1000", "10", "15"] and float(answer[4]) < 2
