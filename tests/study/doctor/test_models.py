"""Nets with one thing wrong, examined with a batch; and the checks' negative controls."""

import copy
import functools
import time

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn, optim
from scratchvgg.nn import functional as F
from scratchvgg.study.doctor import examine, list_checks
from scratchvgg.study.doctor.checks.labels import _assign
from scratchvgg.study.doctor.patches import features, permutation_test, relation
from scratchvgg.study.errors import StudyError
from tests.study.doctor.common import CLASSES, Stripes, bad

WIDTHS = (6, "M", 12, "M")


def batch(count=64, seed=0):
    """Normalised images float32 (N, 3, 16, 16) and labels."""
    pictures = Stripes(count, seed)
    return sv.data.transforms.Normalize(pictures.mean, pictures.std)(pictures.images), pictures.labels


def net(**options):
    sv.manual_seed(3)
    return sv.models.small_vgg(**{"widths": WIDTHS, "num_classes": CLASSES, **options})


def trained(**options):
    """A copy of a net that knows the stripes."""
    return copy.deepcopy(_trained(**options))


@functools.cache
def _trained(steps=40, lr=0.05, **options):
    model, (x, y) = net(**options), batch(320)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    x, y = sv.from_numpy(np.ascontiguousarray(x)), sv.from_numpy(y)
    for step in range(steps):
        rows = slice(step % 8 * 40, step % 8 * 40 + 40)
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model


def examined(model, x=None, y=None, **options):
    return examine(model, x, y, **{"seconds": 15, **options})


def finding(found, check):
    return next(f for f in found.findings if f.check == check)


def test_new_and_trained_nets_are_healthy():
    x, y = batch(200)
    for model in (net(), net(batch_norm=False), trained(), trained(batch_norm=False).eval()):
        found = examined(model, x, y, test=batch(100, 1))
        assert found.healthy and not found.of("warn"), str(found)


def test_the_model_is_left_as_it_was():
    model, (x, y) = trained(dropout=0.5), batch()
    model.features[1].eval()
    F.cross_entropy(model(sv.from_numpy(np.ascontiguousarray(x))), sv.from_numpy(y)).backward()
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    grads = [p.grad.numpy().copy() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    examined(model, x, y)
    with pytest.raises(StudyError):
        examined(model, x[:, :2], y)
    assert all((value.numpy() == state[name]).all() for name, value in model.state_dict().items())
    assert all((p.grad.numpy() == g).all() for p, g in zip(model.parameters(), grads, strict=True))
    assert modes == [m.training for m in model.modules()] and not any(len(m._forward_hooks) for m in model.modules())


@pytest.mark.parametrize(("low", "text"), [(1, "count from 1"), (3, "without an output"), (-1, "without an output")])
def test_labels_out_of_range(low, text):
    x, y = batch()
    found = examined(net(), x, y + low)
    assert found.findings[0].check == "labels" and text in found.headline, str(found)
    assert bad(found) == ["labels"], "nothing else can be said with such labels"


def test_one_label_only():
    x, y = batch()
    found = examined(net(), x, np.zeros_like(y))
    assert found.findings[0].check == "labels" and "All labels are the same" in found.headline


def test_class_0_never_occurs():
    x, y = batch(200)
    found = examined(net(num_classes=CLASSES + 1), x, y + 1)
    assert "count from 1" in finding(found, "labels").title and found.healthy


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_the_images(value):
    x, y = batch()
    x[5, 1, 3, 3] = value
    found = examined(net(), x, y)
    assert found.findings[0].check == "images" and ("NaN" if np.isnan(value) else "Inf") in found.headline
    assert "1 of" in found.findings[0].evidence and bad(found) == ["images"]


def test_bytes_and_no_contrast_and_blank():
    x, y = batch(200)
    raw = Stripes(200, 0).images.astype(np.float32)
    found = examined(net(batch_norm=False), raw, y, only=["images", "learning rate"])
    assert found.findings[0].check == "images" and "0 to 255" in found.headline
    assert finding(examined(net(), raw / 255, y, only=["images"]), "images").severity == "warn"
    assert finding(examined(net(), 0.01 * x, y, only=["images"]), "images").severity == "warn"
    x[:120] = 0
    assert bad(examined(net(), x, y, only=["images"])) == ["images"]
    x[:] = x[150]
    assert "same" in examined(net(), x, y, only=["images"]).headline


def test_dead_relus():
    model, (x, y) = net(batch_norm=False), batch()
    with sv.no_grad():
        model.features[3].bias.fill_(-1000.0)
    found = examined(model, x, y)
    assert found.findings[0].check == "dead layers" and "features.4" in found.headline, str(found)
    assert found.findings[0].numbers["dead"] == ["features.4"] and "learning rate" not in bad(found)


def test_a_share_of_dead_channels():
    model, (x, y) = net(), batch()
    with sv.no_grad():
        model.features[1].bias[:4] = -50.0
    found = finding(examined(model, x, y, only=["dead layers"]), "dead layers")
    assert found.severity == "warn" and found.numbers["dead_channels"] == pytest.approx(4 / 6)


def test_vanishing_and_exploding():
    x, y = batch()
    deep = net(widths=[8] * 9 + ["M"], batch_norm=False)
    for module in deep.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, 0.01)
    found = examined(deep, x, y)
    assert found.findings[0].check == "same answer" and "fades" in found.headline and "batch norm" in found.findings[0].suggestion
    for module in deep.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, 0.6)
    found = examined(deep, x, y, only=["gradients", "loss at the start"])
    assert finding(found, "gradients").title.startswith("The gradient explodes")
    assert finding(found, "loss at the start").severity == "warn"


def test_batch_norms_in_evaluation_mode():
    model, (x, y) = net(), batch()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    found = examined(model, x, y)
    assert found.findings[0].check == "batch norm" and "evaluation mode" in found.headline
    fine_tuned = trained()
    fine_tuned.features[1].eval()
    assert finding(examined(fine_tuned, x, y), "batch norm").severity == "warn"
    assert finding(examined(trained().eval(), x, y), "batch norm").severity == "good", "a whole net in evaluation mode is no mistake"


def test_running_statistics_that_were_not_updated():
    model, (x, y) = trained(), batch()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(5.0)
    found = examined(model, x, y)
    assert "batch norm" in bad(found) and "evaluation fails" in finding(found, "batch norm").title


def test_other_preprocessing_than_in_training():
    model, (x, y) = trained(), batch(200)
    assert finding(examined(model, x, y, only=["preparation"]), "preparation").severity == "good"
    found = finding(examined(model, 64 * x + 127, y, only=["preparation"]), "preparation")
    assert found.severity in ("bad", "warn") and found.numbers["spread"] > 4


def test_dropout_in_evaluation():
    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return F.dropout(self.net(x), 0.5)

    x, y = batch()
    assert finding(examined(Careless(), x, y, only=["dropout"]), "dropout").severity == "warn"
    assert finding(examined(net(dropout=0.9), x, y, only=["dropout"]), "dropout").title.startswith("Dropout 0.9")
    assert not examined(net(dropout=0.5), x, y, only=["dropout"]).findings


def test_parameters_and_optimiser():
    x, y = batch()
    model = net()
    whole, part = optim.SGD(model.parameters(), lr=0.05), optim.SGD(model.classifier.parameters(), lr=0.05)
    assert examined(model, x, y, optimizer=whole).healthy
    found = examined(model, x, y, optimizer=part)
    assert found.findings[0].check == "parameters without gradient" and "does not hold features.0.weight" in found.headline
    model.features.requires_grad_(False)
    found = finding(examined(model, x, y, only=["parameters without gradient"]), "parameters without gradient")
    assert found.severity == "info" and found.numbers["frozen"][0] == "features.0.weight"
    model.requires_grad_(False)
    assert "No parameter is trained" in examined(model, x, y, only=["parameters without gradient"]).headline

    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            return self.net.classifier(self.net.avgpool(self.net.features(x).detach()).flatten(1))

    found = examined(Detached(), x, y, only=["parameters without gradient"])
    assert bad(found) and "got no gradient" in found.headline


@pytest.mark.parametrize(("rate", "text"), [(1000.0, "too high"), (1e-8, "too low"), (0.05, None), (0.0, "is 0")])
def test_the_rate_of_an_optimiser(rate, text):
    model, (x, y) = net(), batch()
    found = examined(model, x, y, optimizer=optim.SGD(model.parameters(), lr=rate, momentum=0.9), only=["learning rate"])
    assert (text in found.headline if text else found.healthy), str(found)


def test_nan_in_the_weights():
    model, (x, y) = trained(), batch()
    with sv.no_grad():
        model.features[4].weight[0] = float("nan")
    found = examined(model, x, y)
    assert found.findings[0].check == "NaN in the weights" and "features.4.weight" in found.findings[0].evidence, str(found)


def test_tiled_features():
    head = nn.AdaptiveAvgPool2d((7, 7)), nn.Flatten(), nn.Linear(196, 4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(16, 16), *head)
    x, y = batch()
    assert not examined(net(), x, y, only=["tiled features"]).findings
    found = finding(examined(model, x, y, only=["tiled features"]), "tiled features")
    assert "repeats a 1×1 map 49 times" in found.title


def test_shuffled_labels_are_told_from_right_ones():
    x, y = batch(120)
    rng = np.random.default_rng(5)
    seen = features(x, rng)
    assert relation(x, y).p < 0.01 and permutation_test(seen, y, rng).p < 0.01
    shuffled = [permutation_test(seen[:, :40], rng.permutation(y), rng).p for _ in range(60)]
    assert sum(p < 0.05 for p in shuffled) <= 8 and 0.35 < np.mean(shuffled) < 0.7, "with luck alone p is uniform from 0 to 1"
    found = examined(net(), *batch(150), only=["shuffled labels?"])
    assert not found.findings and "200 images" in found.skipped[0][1], "too few to tell"


def test_shuffled_labels_of_a_model():
    x, y = batch(480)
    found = examined(net(), x, np.random.default_rng(1).permutation(y))
    assert found.findings[0].check == "shuffled labels?", str(found)


def test_renaming_classes():
    assert _assign(np.array([[0, 9, 0], [0, 1, 8], [7, 0, 0]])) == (24, {0: 1, 1: 2, 2: 0})
    assert _assign(np.zeros((2, 2), int)) == (0, {})


def test_by_name_and_what_is_shown(tmp_path):
    found = examine("small_vgg", options={"widths": [4, "M", 6]}, seconds=10)
    assert found.healthy and any("built-in" in value for _, value in found.facts)
    text = str(found)
    assert found.headline in text and all(len(line) <= 150 for line in text.splitlines())
    plain = found.to_dict()
    found.save_json(tmp_path / "found.json")
    assert plain["healthy"] is True and {f["check"] for f in plain["findings"]} >= {"images", "labels", "learning rate"}
    pytest.importorskip("jinja2")
    html = str(found.to_html())
    assert "style=" not in html and found.findings[0].title in html and "<svg" in html
    found.save_html(tmp_path / "found.html")
    assert "Content-Security-Policy" in (tmp_path / "found.html").read_text("utf-8")


def test_text_is_escaped():
    pytest.importorskip("jinja2")
    from scratchvgg.study.doctor import Diagnosis, Finding

    html = str(Diagnosis("<b>", [("a", "<i>")], [Finding("x", "bad", "<u>", "<s>", "<em>")]).to_html())
    assert not any(tag in html for tag in ("<b>", "<i>", "<u>", "<s>", "<em>"))


def test_the_time_is_kept():
    """Experiments fit into the time: a slow net gets fewer steps, not more time."""
    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net()

        def forward(self, x):
            time.sleep(0.02 * len(x))
            return self.net(x)

    begun = time.monotonic()
    x, y = batch(40)
    found = examine(Slow(), x, y, seconds=6)
    assert found.healthy and time.monotonic() - begun < 60


def test_checks_have_names_and_words():
    checks = list_checks()
    assert len({check.name for check in checks}) == len(checks) >= 20
    assert all(check.run.__doc__ for check in checks)
    assert [check.order for check in checks] == sorted(check.order for check in checks)


def test_bad_arguments():
    x, y = batch(8)
    for call, text in [
        (lambda: examine(net(), x), "give both"), (lambda: examine(net(), x, y[:3]), "expected 8 labels"),
        (lambda: examine(net(), x[0], y), "images"),
        (lambda: examine("no_such_net"), "Unknown model"), (lambda: examine("small_vgg", data="sample"), "for a run"),
        (lambda: examine(nn.Sequential(nn.Conv2d(5, 2, 3))), "5 channels"), (lambda: examine(net(), x[:, :2], y), "does not take this batch"),
    ]:
        with pytest.raises(StudyError, match=text):
            call()
