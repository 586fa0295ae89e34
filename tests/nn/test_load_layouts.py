"""load_state_dict of what others saved: wrapped, prefixed, timm's and Keras' layouts, other element types; torch's report where none fits."""

from __future__ import annotations

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import models, nn
from scratchvgg.weights import layouts

CONFIG = [4, "M", 6, 6, "M"]


class Narrow(nn.Module):
    """A VGG of torchvision's names, 14 channels in all."""

    def __init__(self, batch_norm=False, classes=3):
        super().__init__()
        self.features = models.make_layers(CONFIG, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(nn.Linear(294, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, classes))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def arrays(model, dtype=np.float32):
    return {key: value.numpy().astype(dtype if value.is_floating_point() else value.numpy().dtype) for key, value in model.state_dict().items()}


def equal(model, state):
    return all(np.array_equal(value.numpy(), state[key]) for key, value in model.state_dict().items())


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


READINGS = {
    "net": lambda s: {"net": prefixed(s, "module."), "acc": 93.0, "epoch": 7},
    "state_dict": lambda s: {"epoch": 3, "arch": "vgg16", "state_dict": s, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "compiled": lambda s: {"model": prefixed(s, "_orig_mod.")},
    "lightning": lambda s: {"state_dict": prefixed(s, "model."), "pytorch-lightning_version": "2.4"},
    "parallel features": lambda s: {"state_dict": {key.replace("features.", "features.module."): value for key, value in s.items()}},
    "prefixed": lambda s: prefixed(s, "module."),
    "timm": lambda s: layouts.from_torchvision(s, "timm"),
    "timm, averaged": lambda s: {"state_dict": {key: value * 0 for key, value in layouts.from_torchvision(s, "timm").items()},
                                 "state_dict_ema": prefixed(layouts.from_torchvision(s, "timm"), "module.")},
}


@pytest.mark.parametrize("leaves", ["arrays", "tensors"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("reading", READINGS)
def test_whatever_wraps_it(reading, batch_norm, leaves):
    source, target = Narrow(batch_norm), Narrow(batch_norm)
    state = READINGS[reading](source.state_dict() if leaves == "tensors" else arrays(source))
    keys = target.load_state_dict(state)
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    assert equal(target, arrays(source))


def test_names_that_fit_are_taken_as_they_are():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.model = nn.Linear(2, 2), nn.Linear(2, 2)

    a, b = Wrapper(), Wrapper()
    b.load_state_dict(a.state_dict())
    assert equal(b, arrays(a))
    b.load_state_dict({"state_dict": {key: value + 1 for key, value in a.state_dict().items()}})
    assert equal(b, {key: value + 1 for key, value in arrays(a).items()})


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "bfloat16"])
@pytest.mark.parametrize("wrap", [lambda s: s, READINGS["net"], READINGS["timm"]], ids=["plain", "wrapped", "timm"])
def test_other_element_types_are_cast(dtype, wrap):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    source, target = Narrow(True), Narrow(True)
    state = arrays(source, dtype)
    target.load_state_dict(wrap(state))
    assert all(value.dtype is (sv.float32 if value.is_floating_point() else sv.int64) for value in target.state_dict().values())
    assert equal(target, {key: value.astype(np.float32) if value.dtype == dtype else value for key, value in state.items()})
    target.load_state_dict(wrap(state), assign=True)
    assert target.features[0].weight.dtype == sv.as_tensor(state["features.0.weight"]).dtype and isinstance(target.features[0].weight, nn.Parameter)


def test_one_linear_layer_of_pytorch_cifar():
    net = models.cifar_vgg([4, "M", 6, "M"], batch_norm=True)
    theirs = {"module." + key.replace("classifier.1", "classifier"): value + 1 for key, value in arrays(net).items()}
    net.load_state_dict({"net": theirs, "acc": 90.0, "epoch": 1})
    assert np.array_equal(net.classifier[1].bias.detach().numpy(), theirs["module.classifier.bias"])


# ---- reports ---------------------------------------------------------------------------------------------------------


def report(model, state, **options):
    before = arrays(model)
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(state, **options)
    assert equal(model, before), "nothing is changed"
    return str(error.value)


def test_report_of_a_wrapped_file_speaks_of_what_is_inside():
    text = report(Narrow(classes=5), {"state_dict": prefixed(arrays(Narrow(classes=3)), "module."), "epoch": 3})
    assert text.startswith("Error(s) in loading state_dict for Narrow:\n\tsize mismatch for classifier.6.weight: copying a param with shape")
    assert "Missing" not in text and "Unexpected" not in text
    assert text.endswith("\n\tThe state dict was read so: found in ['state_dict'], without prefix 'module.', layout 'torchvision'.")


def test_report_of_a_foreign_file_is_torchs(torch):
    state = {"conv1.weight": np.zeros((2, 2), np.float32), "epoch": np.zeros(1, np.float32)}
    messages = []
    for lib in (torch, sv):
        layer = lib.nn.Linear(2, 2)
        with pytest.raises(RuntimeError) as error:
            layer.load_state_dict({key: lib.tensor(value) for key, value in state.items()})
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_recognised_layout_that_does_not_help_is_named():
    text = report(nn.Linear(2, 2), layouts.from_torchvision(arrays(Narrow()), "timm"))
    assert "Missing key(s)" in text and text.endswith("\n\tWhat was given looks like this: layout 'timm'.")


def test_not_strict():
    source, target = Narrow(), Narrow()
    state = arrays(source)
    keys = target.load_state_dict({"state_dict": {**state, "more": np.zeros(1)}}, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == ([], ["more"]) and equal(target, state)
    timm = layouts.from_torchvision(state, "timm")
    keys = target.load_state_dict(timm, strict=False)  # the names of the features fit: torch's behaviour
    assert "classifier.0.weight" in keys.missing_keys and "pre_logits.fc1.weight" in keys.unexpected_keys
    keys = target.load_state_dict({"conv1": np.zeros(1)}, strict=False)
    assert keys.unexpected_keys == ["conv1"] and len(keys.missing_keys) == len(state)
    assert len(target.load_state_dict({}, strict=False).missing_keys) == len(state)


# ---- the converted nets compute what the originals do ----------------------------------------------------------------


def loaded(state):
    model = Narrow().double().eval()
    model.load_state_dict(state)
    return model


def test_timms_net_gives_the_same_logits(torch):
    tnn = torch.nn
    features = tnn.Sequential(tnn.Conv2d(3, 4, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Conv2d(4, 6, 3, padding=1), tnn.ReLU(),
                              tnn.Conv2d(6, 6, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2))
    net = tnn.Module()
    net.features, net.pre_logits, net.head = features, tnn.Module(), tnn.Module()
    net.pre_logits.fc1, net.pre_logits.fc2, net.head.fc = tnn.Conv2d(6, 8, 7), tnn.Conv2d(8, 8, 1), tnn.Linear(8, 3)
    net.double()
    x = np.random.default_rng(0).normal(size=(2, 3, 28, 28))
    with torch.no_grad():
        y = net.pre_logits.fc2(net.pre_logits.fc1(features(torch.tensor(x))).relu()).relu()
        expected = net.head.fc(y.mean((2, 3))).numpy()
    got = loaded({key: value.numpy() for key, value in net.state_dict().items()})(sv.tensor(x)).detach().numpy()
    assert np.abs(got - expected).max() <= 1e-12 * np.abs(expected).max()


def test_keras_net_gives_the_same_logits(torch):
    """A Keras VGG by its own definition: images (N, H, W, BGR), kernels (R, S, C, K), features flattened as (H, W, C)."""
    rng = np.random.default_rng(0)
    tree, before = {}, 3
    for layer, channels in {"block1_conv1": 4, "block2_conv1": 6, "block2_conv2": 6}.items():
        tree[layer] = {"kernel": rng.normal(size=(3, 3, before, channels)), "bias": rng.normal(size=channels)}
        before = channels
    for layer, (rows, columns) in {"fc1": (6 * 49, 8), "fc2": (8, 8), "predictions": (8, 3)}.items():
        tree[layer] = {"kernel": rng.normal(size=(rows, columns)), "bias": rng.normal(size=columns)}
    rgb = rng.normal(size=(2, 28, 28, 3))

    def convolve(x, layer):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))  # N, H, W, C, R, S
        return np.maximum(np.einsum("nhwcrs,rsck->nhwk", windows, tree[layer]["kernel"], optimize=True) + tree[layer]["bias"], 0)

    def pool(x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    x = pool(convolve(rgb[..., ::-1], "block1_conv1"))
    x = pool(convolve(convolve(x, "block2_conv1"), "block2_conv2")).reshape(2, -1)
    for layer in ("fc1", "fc2"):
        x = np.maximum(x @ tree[layer]["kernel"] + tree[layer]["bias"], 0)
    expected = x @ tree["predictions"]["kernel"] + tree["predictions"]["bias"]
    for given in (tree, {layer: {name: sv.tensor(value) for name, value in variables.items()} for layer, variables in tree.items()}):
        got = loaded(given)(sv.tensor(rgb.transpose(0, 3, 1, 2).copy())).detach().numpy()
        assert np.abs(got - expected).max() <= 1e-12 * np.abs(expected).max()
    notop = {layer: variables for layer, variables in tree.items() if "conv" in layer}
    keys = Narrow().load_state_dict(notop, strict=False)
    assert keys.missing_keys == [key for key in Narrow().state_dict() if key.startswith("classifier.")] and not keys.unexpected_keys
