"""Bugs are found in the very layer and pass where they are, rounding is called rounding, and the numbers are those of a plain run."""

import copy
import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import conv
from scratchvgg.array import default_generator
from scratchvgg.nn import functional as F
from scratchvgg.study.diverge import Side, compare
from scratchvgg.study.errors import StudyError

from ..html_check import check
from .common import Wrong, departing, images, net, registered


def test_a_side_against_itself():
    model = net()
    found = compare(Side(model), Side(model), images())
    assert found.agrees and found.first == {"forward": None, "backward": None} and found.verdict[0].startswith("Rounding.")
    gaps = [gap for layer in found.layers for group in (layer.whole, layer.frozen) for gap in group.values()]
    assert gaps and all(gap.difference == gap.ulps == 0 and gap.equal == 1 for gap in gaps)
    assert [layer.name for layer in found.layers[:3]] == ["features.0", "features.1", "features.2"] and found.layers[-1].name == "loss"


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_whole_nets_numbers_are_those_of_a_plain_run(mode):
    """Errors of logits, loss, gradients and statistics, from two models that know nothing of the study."""
    model, x, target = net().train(mode == "train"), images(), np.array([2, 0, 1])
    exact = copy.deepcopy(model).double()
    found = compare(Side(model), Side(model, dtype="float64"), x, target, mode=mode)
    results = []
    for which, given in ((copy.deepcopy(model), x), (exact, x.astype(np.float64))):
        with sv.nn.fusion(False):
            logits = which(sv.from_numpy(given))
            F.cross_entropy(logits, sv.from_numpy(target)).backward()
        results.append((logits.detach().numpy(), {name: p.grad.numpy() for name, p in which.named_parameters()}))

    def error(ours, right):
        return np.abs(ours.astype(np.float64) - right).max() / np.abs(right).max()

    assert not any(layer.flips.get("a") for layer in found.layers), "this test wants a batch without flips"
    logits = found.layer("classifier.1").whole["output"]
    assert logits.error_a == pytest.approx(error(results[0][0], results[1][0]), rel=1e-6) and 0 < logits.error_a < 1e-5 and logits.error_b < 1e-14
    for name, right in results[1][1].items():
        layer, _, parameter = name.rpartition(".")
        gap = found.layer(layer).whole[parameter]
        if not gap.cancels:
            assert gap.error_a == pytest.approx(error(results[0][1][name], right), rel=1e-4, abs=1e-12), name
    assert found.agrees


@pytest.mark.parametrize("which, fault, quantity, directions", [
    ("forward", "tap", "output", ("features.7", None)),
    ("forward", "nan", "output", ("features.7", None)),
    ("grad_input", "channel", "grad_input", (None, "features.7")),
    ("grad_weight", "channel", "weight", (None, "features.7")),
])
@pytest.mark.parametrize("side", "ab")
def test_a_wrong_algorithm_is_found_in_its_layer_and_pass(which, fault, quantity, directions, side):
    model = net()
    with registered(Wrong(which, 6, fault)):
        sides = [Side(model, algorithm="im2col"), Side(model, algorithm="wrong")]
        found = compare(*(sides if side == "b" else sides[::-1]), images())
    assert departing(found) == {"features.7": {quantity}}
    assert tuple(found.first.values()) == directions and not found.agrees
    own = found.layer("features.7").own[quantity]
    assert own.departs == side.upper()
    text = found.verdict[0]
    assert text.startswith(f"{side.upper()} departs {'forward' if which == 'forward' else 'backward'} at features.7 (Conv2d): ")
    assert f"{side.upper()}'s algorithm there: wrong." in text and ("NaN" in text) == (fault == "nan")
    assert ("its forward pass is right" in text) == (which != "forward")
    assert json.dumps(found.to_dict()["verdict"])


def test_a_fault_in_the_first_layer_does_not_blame_the_others():
    model = net()
    with registered(Wrong("forward", 4)):
        found = compare(Side(model), Side(model, algorithm="wrong"), images())
    assert departing(found) == {"features.0": {"output"}, "features.3": {"output"}}  # both have 4 filters
    assert found.first["forward"] == "features.0" and "Then also at features.3." in found.verdict[0]
    assert found.layer("classifier.1").whole["output"].error_b > 1e-3 > found.layer("classifier.1").own["output"].gap.error_b


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_another_epsilon_in_batch_norm(mode):
    model = net()
    other = copy.deepcopy(model)
    other.features[4].eps = 1e-3
    found = compare(Side(model), Side(other), images(), mode=mode)
    assert set(departing(found)) == {"features.4"} and "output" in departing(found)["features.4"]
    assert "Options differ: eps=1e-05 in A, eps=0.001 in B." in found.verdict[0]
    assert found.layer("features.4").own["output"].departs == "B"


def test_two_filters_in_each_others_place():
    model = net()
    other = copy.deepcopy(model)
    weight = other.features[3].weight.detach().array
    weight[[0, 1]] = weight[[1, 0]]
    found = compare(Side(model), Side(other), images())
    assert departing(found) == {"features.3": {"output", "grad_input"}}
    assert "Its weight differs" in found.verdict[0] and "50 % of the numbers" in found.verdict[0]


def test_two_trainings_are_no_two_implementations():
    a, b = (net() for _ in range(2))
    found = compare(Side(a), Side(b), images())
    assert found.verdict[0].startswith("The weights differ in 4 of 7 layers that have any: what follows compares two sets of weights")


def test_a_difference_too_small_for_the_numbers_is_read_off():
    model = net()
    other = copy.deepcopy(model)
    other.features[1].momentum = 0.2
    found = compare(Side(model), Side(other), images())
    assert found.agrees and any("momentum=0.1 in A, momentum=0.2 in B" in line for line in found.verdict)
    assert departing(compare(Side(model), Side(other), images(), mode="train")) == {"features.1": {"running_mean", "running_var"}}


def test_a_layer_that_errs_thirty_times_more_within_its_bound_is_named():
    class Sloppy(Wrong):
        def forward(self, backend, problem, x, w, bias=None, out=None, **options):
            return type(conv.get("im2col")).forward(self, backend, problem, x, w * np.float32(1 + 3e-5), bias, out, **options)

        def error_bound(self, problem, dtype, which="forward"):
            return 1e-3

    model = net()
    with registered(Sloppy("nothing")):
        found = compare(Side(model), Side(model, algorithm="wrong"), images(), backward=False)
    assert found.agrees and any(line.startswith("Worth a look: B stays within its bound") for line in found.verdict)
    assert not any("Worth" in line for line in compare(Side(model), Side(model, algorithm="winograd"), images(), backward=False).verdict)


@pytest.mark.parametrize("algorithms", [("im2col", "winograd"), ("shifted", "fft"), ("auto", "direct"), ("winograd2x2", "winograd4x4")])
def test_right_algorithms_agree(algorithms):
    model = net(widths=(2, 4, "M", 3, "M"))
    found = compare(*(Side(model, algorithm=name) for name in algorithms), images(2, 6))
    assert found.agrees and "Rounding." in found.verdict[0]
    ran = found.layer("features.3").algorithms["b"]
    assert set(ran) == {"forward", "grad_input", "grad_weight"} and all(name.startswith(algorithms[1]) for name in ran.values())
    assert found.layer("features.0").own["output"].gap.error_a < 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    model = net()
    found = compare(Side(model), Side(model, dtype=dtype), images(4))
    assert found.agrees, found.verdict
    error = found.layer("features.3").own["output"].gap.error_b
    assert {"bfloat16": 1e-4 < error < 2e-2, "float16": 1e-5 < error < 2e-3, "float64": error < 1e-14}[dtype]
    assert found.ulp_dtype == (dtype if dtype != "float64" else "float32")


def test_flips_are_counted_and_frozen_gradients_are_smooth():
    pytest.importorskip("ml_dtypes")
    model = net(widths=(8, 8, "M", 12, "M"), num_classes=5)
    found = compare(Side(model), Side(model, dtype="bfloat16"), images(4, 16))
    flips = {layer.name: layer.flips for layer in found.layers if layer.flips}
    assert [found.layer(name).type for name in flips] == ["ReLU", "ReLU", "MaxPool2d", "ReLU", "MaxPool2d"]
    assert sum(f["a"] for f in flips.values()) == 0 < sum(f["b"] for f in flips.values()) and flips["features.2"]["of"] == 4 * 8 * 16 * 16
    free, frozen = (max(getattr(layer, which)["grad_input"].error_b for layer in found.layers) for which in ("whole", "frozen"))
    assert frozen < 0.03 < free
    assert "decisions that flip on rounding, not a bug" in found.verdict[-1] and found.agrees
    without = compare(Side(model), Side(model, dtype="bfloat16"), images(4, 16), frozen=False)
    assert not any(layer.frozen for layer in without.layers) and "Compare with frozen decisions" in without.verdict[-1]


def test_the_emulators_kernels():
    model = net(widths=(4, "M"), num_classes=3)
    found = compare(Side(model), Side(model, device="emulator"), images(1, 6))
    assert found.agrees and "emulator:0" in found.b
    assert found.layer("features.0").algorithms["b"]["forward"] in conv.algorithms(kernels=True)
    assert found.layer("features.0").own["output"].gap.error_b > 0


def test_forward_only_and_frozen_parameters():
    model = net()
    model.features[0].weight.requires_grad_(False)
    found = compare(Side(model), Side(model, algorithm="winograd"), images(), backward=False)
    assert not found.backward and all(set(layer.own) <= {"output"} for layer in found.layers) and "backward" not in str(found).lower()
    assert "weight" in compare(Side(model), Side(model, algorithm="winograd"), images()).layer("features.0").own
    assert not model.features[0].weight.requires_grad


def test_dropout_is_off_and_said():
    model = net(dropout=0.5)
    assert "dropout is off (classifier.0)" in compare(Side(model), Side(model), images(), mode="train").notes[0]


def _state(model):
    return ({name: t.detach().numpy().copy() for name, t in model.state_dict().items()}, [m.training for m in model.modules()],
            [p.grad for p in model.parameters()], [p.requires_grad for p in model.parameters()], [len(m._forward_hooks) for m in model.modules()],
            [getattr(m, "inplace", None) for m in model.modules()], default_generator.get_state())


def _same(before, after):
    arrays = all(np.array_equal(before[0][name], after[0][name]) for name in before[0])
    return arrays and before[1:6] == after[1:6] and str(before[6]) == str(after[6])


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = net().train()
    model.features[2].eval()
    model.features[0].weight.grad = sv.ones(*model.features[0].weight.shape)
    before = _state(model)
    before[2][0] = model.features[0].weight.grad
    if fails:
        with registered(Wrong()):
            broken = Side(model, algorithm="wrong")
            Wrong.grad_weight, kept = lambda *a, **k: 1 / 0, Wrong.grad_weight
            try:
                with pytest.raises(ZeroDivisionError):
                    compare(Side(model), broken, images(), mode="train")
            finally:
                Wrong.grad_weight = kept
    else:
        compare(Side(model), Side(model, dtype="float64"), images(), mode="train")
    assert _same(before, _state(model)) and conv.current() == "reproducible"


def test_hooks_of_others_are_not_called_by_the_lockstep():
    model, calls = net(), []
    model.features[0].register_forward_hook(lambda *args: calls.append(1))
    compare(Side(model), Side(model), images())
    assert len(calls) == 1  # when the layers are found


class Residual(sv.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.linear = sv.nn.Conv2d(3, 3, 3, padding=1), sv.nn.AdaptiveAvgPool2d(1), sv.nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(self.pool(x + self.conv(x)).flatten(1))


class Doubled(Residual):
    def forward(self, x):
        return 2 * self.linear(self.pool(self.conv(x)).flatten(1))


def _with_nan(model):
    model.features[0].weight.data[0, 0, 0, 0] = float("nan")
    return model


def test_nan_in_the_weights_of_one_side_is_found():
    found = compare(Side(net()), Side(_with_nan(net())), images(), backward=False)
    assert next(iter(departing(found))) == "features.0"
    assert "NaN or Inf where the truth has numbers" in str(found)


def test_what_cannot_be_compared_is_refused():
    model, x = net(), images()
    for wrong, message in [
        (lambda: compare(Side(model), Side(net(widths=(4, 5, "M", 6, "M"))), x), "two different nets: features.3 is Conv2d 4×12×12 → 4×12×12 in one"),
        (lambda: compare(Side(model), Side(net(widths=(4, 4, "M", 6, 6, "M"))), x), "two different nets"),
        (lambda: compare(Side(Residual()), Side(Residual()), x), "something else behind conv, before pool"),
        (lambda: compare(Side(Doubled()), Side(Doubled()), x), "output is that of their last layer"),
        (lambda: compare(Side(sv.nn.Conv2d(3, 2, 3)), Side(model), x), r"output of shape \(N, classes\)"),
        (lambda: compare(Side(model), Side(model), x[0]), "expected images"),
        (lambda: compare(Side(model), Side(model), x.astype(int)), "expected images"),
        (lambda: compare(Side(model), Side(model), x[:, :2]), "diverge: SmallVGG on"),
        (lambda: compare(Side(model), Side(model), np.full_like(x, np.nan)), "x: holds NaN or Inf"),
        (lambda: compare(Side(_with_nan(net())), Side(model), x), "weights: features.0.weight of A's model holds NaN or Inf"),
        (lambda: compare(Side(model), Side(model), x, [0, 1, 3]), "target: expected 3 labels from 0 to 2"),
        (lambda: compare(Side(model), Side(model), x, [0, 1]), "target"),
        (lambda: compare(Side(model), Side(model), x, mode="test"), "mode: expected one of eval, train"),
        (lambda: Side(model, algorithm="nope"), "no convolution algorithm 'nope'"),
        (lambda: Side(model, dtype="int64"), "dtype: expected one of"),
        (lambda: Side(model, device="tpu"), "device"),
        (lambda: Side(model, library="jax"), "library: expected one of scratchvgg, torch"),
        (lambda: Side(model, library="torch", algorithm="im2col"), "PyTorch chooses its own"),
    ]:
        with pytest.raises(StudyError, match=message):
            wrong()


def test_it_is_shown(tmp_path):
    pytest.importorskip("jinja2")
    model = net()
    with registered(Wrong("grad_weight", 6, "channel")):
        found = compare(Side(model), Side(model, algorithm="wrong"), images(), mode="train")
    text = check(found.to_html())
    assert "features.7 departs" in text and found.verdict[0] in text
    shown = str(found)
    assert max(map(len, shown.splitlines())) <= 150 and " ".join(found.verdict[0].split()) in " ".join(shown.split()) and "ULP" in shown
    found.save_json(tmp_path / "found.json")
    saved = json.loads((tmp_path / "found.json").read_text())
    assert saved["first"] == {"forward": None, "backward": "features.7"} and len(saved["layers"]) == len(found.layers)
    own = saved["layers"][7]["own"]["weight"]
    assert own["departs"] == "B" and own["error_b"] > own["allowed_b"] > own["error_a"]
    with pytest.raises(KeyError, match="no layer 'features.99'"):
        found.layer("features.99")
