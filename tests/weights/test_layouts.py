"""State dicts out of what others save: wrapping, prefixes, averages, and the layouts of timm and Keras, with plain arrays."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.weights import layouts
from scratchvgg.weights.errors import WeightsError

CONVOLUTIONS = {  # indices of the convolutions in torchvision's features; the last of Keras' blocks have as many
    "vgg16": ([0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], [2, 2, 3, 3, 3]),
    "vgg19": ([0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34], [2, 2, 4, 4, 4]),
}


def numbers(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def small(prefix="", features="features."):
    """A state dict of one convolution and one linear layer."""
    return OrderedDict((prefix + key, numbers(*shape)) for key, shape in {
        features + "0.weight": (4, 3, 3, 3), features + "0.bias": (4,), "classifier.0.weight": (2, 196), "classifier.0.bias": (2,)}.items())


PLAIN = list(small())
OPTIMIZER = {"state": {0: {"step": np.array(3), "exp_avg": numbers(4, 3, 3, 3), "exp_avg_sq": numbers(4, 3, 3, 3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize("tree, path, prefix", [
    (small(), (), ""),
    ({**small(), "_extra": "text", "epoch": 3}, (), ""),
    ({"net": small(), "acc": 93.1, "epoch": 199}, ("net",), ""),
    ({"state_dict": small("module."), "epoch": 3, "arch": "vgg11", "best_acc1": np.array(60.0), "optimizer": OPTIMIZER}, ("state_dict",), "module."),
    ({"epoch": 3, "model_state_dict": small(), "optimizer_state_dict": OPTIMIZER}, ("model_state_dict",), ""),
    ({"model": {"state_dict": small("_orig_mod.module.")}}, ("model", "state_dict"), "_orig_mod.module."),
    ({"state_dict": small("model.")}, ("state_dict",), "model."),
    ({"state_dict": small("model.net.module.")}, ("state_dict",), "module.model.net."),
    ({"state_dict": small("", features="features.module.")}, ("state_dict",), "module."),  # DataParallel around the features alone
    ({"generator": small(), "step": 9}, ("generator",), ""),
    ({"optim": OPTIMIZER, "stuff": [{"ours": small()}]}, ("stuff", 0, "ours"), ""),
    ([small(), OPTIMIZER], (0,), ""),
    ((3, small()), (1,), ""),
])
def test_the_state_dict_is_found(tree, path, prefix):
    found = layouts.unwrap(tree)
    assert (found.path, found.prefix) == (path, prefix)
    state = layouts.find_state_dict(tree)
    assert list(state) == PLAIN
    for value, expected in zip(state.values(), small().values(), strict=True):
        assert np.array_equal(value, expected)
    inner = tree
    for key in path:
        inner = inner[key]
    assert all(state[clean] is inner[theirs] for clean, theirs in found.names.items()), "nothing is copied"
    assert all(repr(part) in str(found) for part in path) and (not prefix or repr(prefix) in str(found))


@pytest.mark.parametrize("key", layouts.EMA)
def test_averages_come_first(key):
    averaged = {name: value + 1 for name, value in small("module.").items()} | {"module.n_averaged": np.array(7)}
    if key == "model_ema":  # torch's AveragedModel keeps its counter beside the prefixed names
        averaged["n_averaged"] = averaged.pop("module.n_averaged")
        assert list(layouts.find_state_dict({"model": small(), key: averaged})) == PLAIN
    tree = {"epoch": 1, "state_dict": small(), key: averaged}
    assert layouts.unwrap(tree).path == (key,)
    assert np.array_equal(layouts.find_state_dict(tree)["features.0.bias"], small()["features.0.bias"] + 1)
    assert np.array_equal(layouts.find_state_dict(tree, ema=False)["features.0.bias"], small()["features.0.bias"])
    assert layouts.unwrap({"state_dict": small(), key: None}).path == ("state_dict",)


def test_trainings_of_our_own():
    average = {"updates": 3, "averages": {name: value + 1 for name, value in small().items()}}
    tree = {"format": 1, "model": small(), "optimizer": OPTIMIZER, "average": average, "recipe": {"ema": 0.999}}
    assert layouts.unwrap(tree).path == ("average", "averages")
    assert layouts.unwrap(tree, ema=False).path == ("model",)
    tree["recipe"] = {"ema": None}  # then the average is Lookahead's, which is none to test with
    assert layouts.unwrap(tree).path == ("model",)
    assert layouts.unwrap({**tree, "recipe": ["ema"], "average": None}).path == ("model",)


def test_prefixes_stay_where_they_are_names():
    assert list(layouts.find_state_dict({"model.a": numbers(1), "b": numbers(2)})) == ["model.a", "b"]
    assert list(layouts.find_state_dict({"module.a.b": numbers(1), "a.b": numbers(2)})) == ["module.a.b", "a.b"], "two names are not made one"
    assert list(layouts.find_state_dict({"model": numbers(1), "net": numbers(2)})) == ["model", "net"]
    assert list(layouts.find_state_dict({"module": numbers(1)})) == ["module"]
    assert list(layouts.find_state_dict({"features.0.weight": numbers(1)})) == ["features.0.weight"]


@pytest.mark.parametrize("tree, words", [
    ({}, "an empty dict"), ({"epoch": 3, "note": "x"}, "'epoch', 'note'"), ([], "list"), (3, "int"), (None, "NoneType"),
    ({"state_dict": {}}, "'state_dict'"), ({"optimizer": OPTIMIZER}, "'optimizer'"),
])
def test_no_weights(tree, words):
    with pytest.raises(WeightsError, match="no weights in it") as error:
        layouts.find_state_dict(tree)
    assert words in str(error.value) and "state_dict" in str(error.value)
    assert layouts.describe(tree) == "" and layouts.adapt(tree, {"a": (1,)}) is None


def test_trees_that_hold_themselves_end():
    knot = {"epoch": 1}
    knot |= {str(i): knot for i in range(50)} | {"state_dict": knot, "list": [knot] * 50}
    with pytest.raises(WeightsError):
        layouts.find_state_dict(knot)
    knot["net"] = small()
    assert layouts.unwrap(knot).path == ("net",)
    deep = small()
    for _ in range(5000):
        deep = {"model": deep}
    with pytest.raises(WeightsError):
        layouts.find_state_dict(deep)


# ---- timm ------------------------------------------------------------------------------------------------------------


def torchvision_like(channels=4, hidden=5, classes=3):
    shapes = {"features.0": (channels, 3, 3, 3), "features.3": (channels, channels, 3, 3), "classifier.0": (hidden, channels * 49),
              "classifier.3": (hidden, hidden), "classifier.6": (classes, hidden)}
    state = {}
    for name, shape in shapes.items():
        state |= {f"{name}.weight": numbers(*shape), f"{name}.bias": numbers(shape[0])}
    return state


def test_timm_and_back():
    state = torchvision_like()
    timm = layouts.from_torchvision(state, "timm")
    assert {name: value.shape for name, value in timm.items() if "features" not in name} == {
        "pre_logits.fc1.weight": (5, 4, 7, 7), "pre_logits.fc1.bias": (5,), "pre_logits.fc2.weight": (5, 5, 1, 1), "pre_logits.fc2.bias": (5,),
        "head.fc.weight": (3, 5), "head.fc.bias": (3,)}
    assert layouts.find_layout(timm).name == "timm" and layouts.find_layout(state).name == "torchvision"
    back = layouts.to_torchvision(timm)
    assert list(back) == list(state)
    assert all(np.array_equal(back[name], state[name]) and np.may_share_memory(back[name], state[name]) for name in state)
    assert {name: entry.shape for name, entry in layouts.plan(timm).items()} == {name: value.shape for name, value in state.items()}


def test_timm_without_classifier():
    features = {name: value for name, value in torchvision_like().items() if name.startswith("features.")}
    assert layouts.from_torchvision(features, "timm") == features == layouts.from_torchvision(features, "torchvision")


def test_what_timm_cannot_say():
    with pytest.raises(WeightsError, match=r"no classifier\.3\.weight and no classifier\.6\.weight"):
        layouts.from_torchvision(small(), "timm")
    state = torchvision_like() | {"classifier.0.weight": numbers(5, 50)}
    with pytest.raises(WeightsError, match="50 columns, expected a multiple of 49"):
        layouts.from_torchvision(state, "timm")
    with pytest.raises(WeightsError, match="'keras' cannot be written, expected one of timm, torchvision"):
        layouts.from_torchvision(torchvision_like(), "keras")


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras_like(blocks, width=2, side=7, hidden=5, classes=3, top=True):
    """A Keras VGG's variables, every block ``width`` channels wider than the one before."""
    tree, before = {}, 3
    for b, count in enumerate(blocks, 1):
        for i in range(1, count + 1):
            tree[f"block{b}_conv{i}"] = {"kernel": numbers(3, 3, before, width * b), "bias": numbers(width * b)}
            before = width * b
    if top:
        for layer, shape in {"fc1": (side * side * before, hidden), "fc2": (hidden, hidden), "predictions": (hidden, classes)}.items():
            tree[layer] = {"kernel": numbers(*shape), "bias": numbers(shape[1])}
    return tree


@pytest.mark.parametrize("top", [True, False], ids=["top", "notop"])
@pytest.mark.parametrize("net", CONVOLUTIONS)
def test_keras_names_and_shapes(net, top):
    indices, blocks = CONVOLUTIONS[net]
    tree = keras_like(blocks, top=top)
    shuffled = dict(sorted(tree.items(), key=lambda item: item[0][::-1]))  # HDF5 sorts by name, Keras 3 by layer
    state = layouts.find_state_dict(shuffled)
    assert "block1_conv1/kernel" in state and layouts.find_layout(state).name == "keras"
    ours = layouts.to_torchvision(state)
    modules = [f"features.{i}" for i in indices] + ["classifier.0", "classifier.3", "classifier.6"] * top
    assert list(ours) == [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]
    assert {name: entry.shape for name, entry in layouts.plan(state).items()} == {name: value.shape for name, value in ours.items()}
    layers = [layer for layer in tree if "conv" in layer]
    for layer, module in zip(layers, modules, strict=False):
        kernel = tree[layer]["kernel"][:, :, ::-1] if layer == "block1_conv1" else tree[layer]["kernel"]
        assert np.array_equal(ours[f"{module}.weight"], np.einsum("rsck->kcrs", kernel))
        assert ours[f"{module}.bias"] is tree[layer]["bias"]
        assert layer == "block1_conv1" or np.may_share_memory(ours[f"{module}.weight"], tree[layer]["kernel"])


def test_keras_linear_layers():
    tree = keras_like([1, 1])
    ours = layouts.to_torchvision(layouts.find_state_dict(tree))
    features = numbers(4, 7, 7)  # C, H, W
    assert np.allclose(ours["classifier.0.weight"] @ features.reshape(-1), features.transpose(1, 2, 0).reshape(-1) @ tree["fc1"]["kernel"], atol=1e-5)
    assert np.array_equal(ours["classifier.3.weight"], tree["fc2"]["kernel"].T) and np.array_equal(
        ours["classifier.6.weight"], tree["predictions"]["kernel"].T)
    assert np.may_share_memory(ours["classifier.3.weight"], tree["fc2"]["kernel"]), "only fc1 must be copied"


def test_keras_in_other_spellings():
    tree = keras_like([2, 1])
    expected = layouts.to_torchvision(layouts.find_state_dict(tree))
    flat = {f"vgg16/{layer}/{name}:0": value for layer, variables in tree.items() for name, value in variables.items()}
    with_optimizer = {"model_weights": tree, "optimizer_weights": {"Adam": {"m": numbers(3)}}}
    for other in (flat, with_optimizer, {"vgg16": tree, "dense": {"kernel": numbers(4, 2)}}):
        ours = layouts.to_torchvision(layouts.find_state_dict(other))
        assert list(ours) == list(expected) and all(np.array_equal(ours[name], expected[name]) for name in ours)


def test_keras_with_surprises_is_left_to_the_report():
    tree = keras_like([1, 1]) | {"dense_7": {"kernel": numbers(5, 2)}}
    tree["block1_conv1"]["kernel"] = numbers(3, 3, 1, 2)  # grey: there is no order of colours
    tree["fc1"]["kernel"], tree["fc2"]["kernel"] = numbers(7, 5), numbers(5)
    ours = layouts.to_torchvision(layouts.find_state_dict(tree))
    assert np.array_equal(ours["features.0.weight"], tree["block1_conv1"]["kernel"].transpose(3, 2, 0, 1))
    assert ours["classifier.0.weight"].shape == (5, 7) and ours["classifier.3.weight"].shape == (5,) and ours["dense_7/kernel"].shape == (5, 2)


def test_keras_preprocessing_is_caffes():
    mean, std = layouts.LAYOUTS["keras"].preprocessing
    picture = np.array([10.0, 20.0, 30.0])  # red, green, blue of 0…255
    assert np.allclose((picture / 255 - mean) / std, picture - [123.68, 116.779, 103.939])
    assert layouts.LAYOUTS["torchvision"].preprocessing is None is layouts.LAYOUTS["timm"].preprocessing


# ---- whatever a file says ----------------------------------------------------------------------------------------------

WORDS = ["module", "model", "net", "state_dict", "ema", "average", "averages", "recipe", "features", "classifier", "0", "3", "weight", "bias", "fc1",
         "pre_logits.fc1.weight", "pre_logits.fc2.weight", "head.fc.weight", "block1_conv1", "block2_conv1", "fc1/kernel", "block1_conv1/kernel",
         "block0_conv0/kernel", "block2_conv1/kernel:0", "predictions/bias", "kernel", "classifier.0.weight", "classifier.weight",
         "n_averaged", "", "."]
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(".".join) | st.sampled_from(WORDS)
ARRAYS = st.lists(st.integers(0, 4), max_size=5).map(lambda shape: np.zeros(shape, np.float32))
TREES = st.recursive(ARRAYS | st.none() | st.integers(),
                     lambda inner: st.dictionaries(NAMES | st.integers(), inner, max_size=6) | st.lists(inner, max_size=3))


@given(TREES)
def test_any_tree_is_read_or_refused(tree):
    try:
        state = layouts.find_state_dict(tree)
    except WeightsError:
        return
    assert state and all(layouts.is_array(value) for value in state.values())
    ours = layouts.to_torchvision(state)
    assert {name: entry.shape for name, entry in layouts.plan(state).items()} == {name: value.shape for name, value in ours.items()}
    layouts.adapt(tree, {"features.0.weight": (1, 1, 3, 3), "classifier.0.weight": (1, 1)})
    assert isinstance(layouts.describe(tree), str)
    for layout in ("timm", "torchvision"):
        try:
            layouts.from_torchvision(ours, layout)
        except WeightsError:
            pass


# ---- whatever fits a net ---------------------------------------------------------------------------------------------


def shapes(state):
    return {name: value.shape for name, value in state.items()}


def test_adapt_takes_the_reading_that_fits_best():
    plain = small()
    assert layouts.adapt(plain, shapes(plain)) is None, "names that fit are left alone"
    assert list(layouts.adapt({"net": small("module.")}, shapes(plain))) == PLAIN
    named = small("net.")
    assert list(layouts.adapt({"state_dict": named}, shapes(named))) == list(named), "a net of its own with that prefix"
    assert layouts.adapt({"conv1.weight": numbers(3)}, shapes(plain)) is None
    state = torchvision_like()
    assert list(layouts.adapt({"model": layouts.from_torchvision(state, "timm")}, shapes(state))) == list(state)
    assert layouts.adapt({"features.0.weight": numbers(3)}, shapes(plain)) is None, "nothing better than it is"


def test_one_linear_layer():
    theirs = {"module.features.0.weight": numbers(4, 3, 3, 3), "module.classifier.weight": numbers(10, 4), "module.classifier.bias": numbers(10)}
    wanted = {"features.0.weight": (4, 3, 3, 3), "classifier.1.weight": (10, 4), "classifier.1.bias": (10,)}
    adapted = layouts.adapt({"net": theirs, "acc": 95.0, "epoch": 180}, wanted)
    assert shapes(adapted) == wanted
    bare = {name.removeprefix("module."): value.shape for name, value in theirs.items()}
    assert shapes(layouts.adapt({"net": theirs}, bare)) == bare, "a net that names it so too"


def test_description():
    assert layouts.describe({"state_dict": small("module.")}) == "found in ['state_dict'], without prefix 'module.', layout 'torchvision'"
    assert layouts.describe(keras_like([1])) == "layout 'keras'"
    assert layouts.describe({"conv1.weight": numbers(3)}) == ""
