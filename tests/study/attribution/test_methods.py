"""What all methods share: the class they follow, what they leave as it was, what they refuse; and what their results show."""

import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from scratchvgg.array import default_generator
from scratchvgg.data import ImageClassification
from scratchvgg.nn import functional as F
from scratchvgg.study import StudyError
from scratchvgg.study.attribution import METHODS, attribute, empirical_field, find_methods, result, sanity
from scratchvgg.study.attribution.scope import undisturbed
from scratchvgg.study.colours import paint
from tests.study import html_check

every_method = pytest.mark.parametrize("method", METHODS)
NAMES = ["cat", "dog", "tabby cat"]


@pytest.fixture
def net():
    sv.manual_seed(0)
    return models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3, dropout=0.5).train()


@pytest.fixture
def x():
    return sv.randn(1, 3, 16, 16)


@every_method
def test_the_net_is_left_as_it_was(net, x, method):
    net.features[4].weight.requires_grad_(False)
    net.features[0].weight.grad = held = sv.ones(4, 3, 3, 3)
    net.features[1].eval()
    state, random, pixels = {k: v.numpy().copy() for k, v in net.state_dict().items()}, default_generator.get_state(), x.numpy().copy()

    def unchanged():
        assert all(np.array_equal(v.numpy(), state[k]) for k, v in net.state_dict().items()), "statistics of batch norms too"
        assert [m.training for m in net.modules()] == [m is not net.features[1] for m in net.modules()]
        assert net.features[2].inplace and not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())
        assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["features.4.weight"]
        assert [n for n, p in net.named_parameters() if p.grad is not None] == ["features.0.weight"] and net.features[0].weight.grad is held
        assert np.array_equal(held.numpy(), np.ones((4, 3, 3, 3))) and default_generator.get_state() == random
        assert not x.requires_grad and np.array_equal(x.numpy(), pixels)

    METHODS[method](net, x)
    unchanged()
    with pytest.raises(StudyError, match="expected a class from 0 to 2"):
        METHODS[method](net, x, 3)
    unchanged()
    with pytest.raises(RuntimeError):
        METHODS[method](net, sv.randn(1, 5, 16, 16))
    assert net.training and net.features[2].inplace and not any(m._forward_hooks for m in net.modules())


@every_method
def test_dropout_and_batch_statistics_play_no_part(net, x, method):
    first, second = METHODS[method](net, x), METHODS[method](net.eval(), x)
    assert np.array_equal(first.map, second.map) and first.target == second.target
    assert first.map.shape == (16, 16) and first.map.dtype == np.float32 and first.method == method


@every_method
def test_types_and_ranks_of_pictures(net, x, method):
    expected = METHODS[method](net, x).map
    assert np.array_equal(METHODS[method](net, x.numpy()[0]).map, expected), "an array (C, H, W)"
    fine = METHODS[method](net.double(), x.numpy())
    assert fine.map.dtype == np.float64 and np.abs(fine.map - expected).max() <= 1e-3 * np.abs(expected).max()


def test_on_the_emulator(net, x):
    small = x[..., :8, :8].detach()
    here = attribute(net, small, methods="all", patch=4, samples=2)
    there = attribute(net.to("emulator"), small, methods="all", patch=4, samples=2)
    for a, b in zip(here.maps, there.maps, strict=True):
        assert np.abs(a.map - b.map).max() <= 1e-4 * np.abs(a.map).max(), a.method
    assert empirical_field.measure(net, small).all_inside
    assert len(sanity.check(net, small, methods="guided", stages=1).stages) == 2


def test_the_class_that_is_followed(net, x):
    logits = net.eval()(x).detach().numpy()[0]
    p = np.exp(logits - logits.max())
    for asked, index in [(None, logits.argmax()), (1, 1), (np.int64(2), 2), (sv.tensor(2), 2), ("1", 1), ("tabby cat", 2), ("DOG", 1)]:
        found = METHODS["gradient"](net, x, asked, categories=NAMES).target
        assert (found.index, found.name) == (index, NAMES[index]) and found.score == logits[index]
        assert found.probability == pytest.approx(p[index] / p.sum()) and found.asked == (asked is not None)
    assert METHODS["gradient"](net, x, categories=NAMES[:2]).target.name is None, "names of another net"
    for asked, message in [("tabby", "no class 'tabby'; near: tabby cat"), (-1, "from 0 to 2"), (3, "got 3"), (True, "got True"),
                           ("3", "no class '3'"), (1.0, "got 1.0"), ("fish", "no class 'fish'")]:
        with pytest.raises(StudyError, match=message):
            METHODS["gradient"](net, x, asked, categories=NAMES)
    with pytest.raises(StudyError, match="nobody knows the names"):
        METHODS["gradient"](net, x, "cat")


@pytest.mark.parametrize(("picture", "message"), [(np.zeros((2, 3, 16, 16), np.float32), "one picture"),
                                                  (np.zeros((16, 16), np.float32), "one picture"), (np.zeros((3, 16, 16), np.uint8), "real numbers")])
def test_pictures_that_are_refused(net, picture, message):
    with pytest.raises(StudyError, match=message):
        METHODS["grad-cam"](net, picture)


def test_nets_that_are_refused(x):
    stages = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    with pytest.raises(StudyError, match=r"returns \(N, classes\), got shape \(1, 2, 14, 14\)"):
        METHODS["gradient"](stages, x)
    broken = nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
    broken[1].weight.detach().fill_(float("nan"))
    with pytest.raises(StudyError, match="not finite"):
        METHODS["gradient"](broken, x)
    with pytest.raises(StudyError, match="height and width"):
        METHODS["grad-cam"](nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), x)


def test_guided_backpropagation_needs_relus_that_it_can_reach(x):
    smooth = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(392, 3))
    with pytest.raises(StudyError, match="has none"):
        METHODS["guided"](smooth, x)

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(392, 3)

        def forward(self, x):
            from scratchvgg.ops.conv2d_act import conv2d_relu

            return self.head(conv2d_relu(x, self.conv.weight, self.conv.bias, 1, 0, 1, 1, False).flatten(1))

    with pytest.raises(StudyError, match="conv2d_relu, which does several layers at once"):
        METHODS["guided"](Fused(), x)


class Functional(nn.Module):
    """ReLUs that are no modules, and write over their input."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.first(x), inplace=True)
        return self.head(F.relu(self.second(x), inplace=True).mean((2, 3)))


def test_relus_in_place_that_are_no_modules(x):
    net = Functional()
    found = METHODS["grad-cam"](net, x, 1)
    assert found.layer == "second", "the last layer with height and width"
    leaf = net.second(F.relu(net.first(x))).detach().requires_grad_(True)
    net.head(F.relu(leaf).mean((2, 3)))[0, 1].backward()
    small = np.maximum((leaf.grad.numpy().mean((2, 3), keepdims=True) * leaf.detach().numpy()).sum(1)[0], 0)
    assert (leaf.detach().numpy() < 0).any() and np.allclose(found.raw, small, rtol=1e-5, atol=1e-8), "the numbers before the ReLU, not after it"
    assert METHODS["guided"](net, x).settings["relus"] == 2


def test_grad_cams_layer(net, x):
    assert METHODS["grad-cam"](net, x).layer == "features.6", "the last ReLU, which the last pooling follows"
    assert METHODS["grad-cam"](net, x, layer="features").raw.shape == (4, 4), "a container: what it returns"
    for layer, message in [("features.33", "no layer 'features.33'; near: features.3"), ("classifier.1", r"makes \(1, 3\)"), ("", "no layer ''")]:
        with pytest.raises(StudyError, match=message):
            METHODS["grad-cam"](net, x, layer=layer)

    class Unused(models.SmallVGG):
        def forward(self, x):
            return self.classifier(x.mean((2, 3)))

    with pytest.raises(StudyError, match="did not run"):
        METHODS["grad-cam"](Unused(nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), 3, 3), x, layer="features.0")
    assert models.vgg.cfgs["D"][-1] == "M"
    with nn.init.skip():
        deep = models.vgg16(num_classes=3).features
    assert isinstance(deep[29], nn.ReLU) and isinstance(deep[30], nn.MaxPool2d)


def test_grad_cams_layer_where_the_last_relu_is_no_module(x):
    """The convolution before it, the last there is, and not an early ReLU that happens to be a module."""
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.last, self.linear = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)

        def forward(self, x):
            return self.linear(F.relu(self.last(self.relu(self.first(x)))).mean((2, 3)))

    found = METHODS["grad-cam"](Mixed(), x)
    assert found.layer == "last" and found.settings["channels"] == 5


def test_class_names_in_any_alphabet(net, x):
    names = ["Äpfel", "Straße", "寿司"]
    for asked, index in [("äpfel", 0), ("A\u0308PFEL", 0), ("STRASSE", 1), ("寿司", 2)]:
        assert METHODS["gradient"](net, x, asked, categories=names).target.index == index
    for asked in ("²", "٣", "寿"):
        with pytest.raises(StudyError, match="no class"):
            METHODS["gradient"](net, x, asked, categories=names)


def test_gradients_of_a_net_that_can_be_done_by_hand():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    weight = np.arange(-12, 12).reshape(2, 12).astype(np.float32)
    net[1].weight.detach().copy_(sv.tensor(weight))
    x = np.linspace(-1, 1, 12).reshape(1, 3, 2, 2).astype(np.float32)
    assert np.array_equal(METHODS["gradient"](net, x, 0).map, np.abs(weight[0].reshape(3, 2, 2)).max(0))
    found = METHODS["gradient-input"](net, x, 0)
    assert np.allclose(found.map.sum(), weight[0] @ x.ravel()) and found.signed, "the shares of a linear net sum up to its score"
    drop = METHODS["occlusion"](net, x, 0, patch=1, stride=1, fill=0.0, score="logit")
    assert np.allclose(drop.map, found.map, atol=1e-5), "what is covered with 0 is missing from the sum"


@pytest.mark.parametrize("options", [{"patch": 0}, {"patch": 17}, {"stride": 3, "patch": 2}, {"stride": 0}, {"fill": "black"}, {"fill": [1, 2]},
                                     {"score": "loss"}, {"batch_size": 0}, {"patch": 2.5}], ids=str)
def test_occlusions_options(net, x, options):
    with pytest.raises(StudyError, match="|".join(options)):
        METHODS["occlusion"](net, x, **options)


def test_smoothgrads_options(net, x):
    for options in ({"samples": 0}, {"noise": -1.0}):
        with pytest.raises(StudyError, match="samples, noise"):
            METHODS["smoothgrad"](net, x, **options)
    assert np.allclose(METHODS["smoothgrad"](net, x, samples=2, noise=0.0).map, METHODS["gradient"](net, x).map)


def test_several_methods_at_once(net, x):
    found = attribute(net, x, "dog", methods=["occlusion", "grad-cam"], categories=NAMES, patch=4, layer="features.2", note="so")
    assert [m.method for m in found.maps] == ["occlusion", "grad-cam"] and found["occlusion"].settings["patch"] == 4
    assert found["grad-cam"].layer == "features.2" and found["grad-cam"].target.index == 1
    assert str(found).splitlines()[0] == "so" and len(str(found).splitlines()) == 3
    with pytest.raises(KeyError):
        found["guided"]
    with pytest.raises(StudyError, match="has an option 'patch'"):
        attribute(net, x, methods="gradient", patch=4)
    assert find_methods("all") == list(METHODS) and find_methods("guided, guided,gradient") == ["guided", "gradient"]
    for names in ("", "cam", []):
        with pytest.raises(StudyError, match="methods"):
            find_methods(names)


def test_the_scope_gives_way_to_nobody(net):
    with pytest.raises(KeyError), undisturbed(net):
        assert not net.training and not net.features[2].inplace and not any(p.requires_grad for p in net.parameters())
        net.features[1].running_mean.fill_(7)
        sv.randn(3)
        raise KeyError
    assert net.training and net.features[2].inplace and all(p.requires_grad for p in net.parameters())
    assert not (net.features[1].running_mean.numpy() == 7).any()


# ---- what a result shows ---------------------------------------------------------------------------------------------


def made(map, **more):
    from scratchvgg.study.attribution.scope import ClassScore

    map = np.asarray(map, np.float32)
    picture = np.full((*map.shape, 3), 100, np.uint8)
    return result.Attribution("m", map, ClassScore(1, "dog", 0.5, 2.0), picture, "about", **({"top": float(np.abs(map).max())} | more))


def test_normalised_and_overlay():
    one = made([[0, 1], [2, 4]])
    assert np.array_equal(one.normalised(), [[0, 0.25], [0.5, 1]]) and np.array_equal(one.heat(), paint(one.normalised()))
    assert np.array_equal(made([[0, 1], [2, 4]], top=2.0).normalised(), [[0, 0.5], [1, 1]]), "beyond the top nothing can be told apart"
    assert np.array_equal(made([[-4, 1], [2, -8]], signed=True, top=4.0).normalised(), [[-1, 0.25], [0.5, -1]])
    assert not made(np.zeros((2, 2))).normalised().any() and "zero everywhere" in str(made(np.zeros((2, 2))))
    assert np.array_equal(one.overlay()[0, 0], [100, 100, 100]), "where the map is zero the picture shows, in grey"
    assert np.array_equal(one.overlay(1.0)[1, 1], one.heat()[1, 1]) and one.overlay().dtype == np.uint8


def test_shares():
    one = made([[0, 1], [3, 4]])
    assert one.share_inside([[False, False], [True, True]]) == 7 / 8 and one.peak == (1, 1)
    assert made([[0, -1], [3, 4]], signed=True).share_inside([[True, True], [False, False]]) == 1 / 8
    assert made(np.ones((4, 5))).half_area() == 0.5 and one.half_area() == 0.25 and made([[0, 9], [0, 0]]).half_area() == 0.25
    with pytest.raises(StudyError, match="mask"):
        one.share_inside(np.ones((3, 2)))


def test_the_picture_is_shown_as_it_was():
    preset, pixels = ImageClassification(8, 8), np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    shown, stretched = result.show_picture(preset.normalize(pixels), preset)
    assert np.array_equal(shown, pixels.transpose(1, 2, 0)) and not stretched
    shown, stretched = result.show_picture(np.array([[[-1.0, 3.0]]] * 5))
    assert stretched and shown.tolist() == [[[0] * 3, [255] * 3]], "five channels, in grey"


def test_json_and_html(net, x):
    preset = ImageClassification(16, 16)
    found = attribute(net, x, methods="all", patch=4, samples=2, categories=["<b>", "b", "c"], preset=preset)
    data = json.loads(json.dumps(sanity.check(net, x, methods="guided").to_dict()))
    assert data["threshold"] == sanity.INSENSITIVE and data["stages"][0]["rank_correlation"]["guided"] == pytest.approx(1)
    assert len(json.dumps(found.to_dict())) < 5000, "the maps themselves are too large for a page's data"
    pytest.importorskip("jinja2")
    forgetful = sanity.check(net, x, 0, methods="guided,gradient-input", categories=["<b>", "b", "c"])
    pages = [found, found.maps[0], forgetful, empirical_field.measure(net, x)]
    for each in pages:
        html = str(each.to_html())
        html_check.check(html)
        assert "http" not in html and "<b>" not in html and html.count("<img") >= 2 and "<img" in each._repr_html_()
    html = str(found.to_html())
    assert html.count("<figure>") == 7 and all(f"<strong>{method}</strong>" in html for method in METHODS)
