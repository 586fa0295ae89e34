"""Statistics of a trace are those of the arrays that the engine used."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.study import statistics
from scratchvgg.study.errors import StudyError
from scratchvgg.study.trace import trace
from scratchvgg.train import layer_statistics as look


@pytest.fixture
def run():
    sv.manual_seed(0)
    net = sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3).train()
    return trace(net, sv.randn(5, 3, 8, 8), sv.tensor([0, 2, 1, 1, 0]), backward=True, arrays=True)


def test_numbers_are_those_of_the_traces_arrays(run):
    found = statistics.of_trace(run)
    names = [layer["name"] for layer in found.layers]
    assert names == [f"features.{i}" for i in range(8)] + ["avgpool", "classifier.1"], "layers without an operation of their own are left out"
    for layer in found.layers:
        (call,) = run.of_layer(layer["name"])
        for what, array in (("activation", call.results[0]), ("gradient", call.gradients[0])):
            array = np.asarray(array, np.float64)
            numbers = layer[what]
            assert layer["shape"] == list(array.shape) and numbers["count"] == array.size
            for key, value in (("mean", array.mean()), ("std", array.std()), ("min", array.min()), ("max", array.max()),
                               ("norm", np.linalg.norm(array)), ("zeros", np.mean(array == 0))):
                assert numbers[key] == pytest.approx(value, rel=1e-4, abs=1e-7), (layer["name"], what, key)
            assert sum(numbers["histogram"]["counts"]) == array.size
    weight = run.modules["features.0"].weight.detach().numpy()
    assert found["features.0"]["weight"]["std"] == pytest.approx(weight.std(), rel=1e-4)
    assert found["features.0"]["weight_gradient"]["norm"] == pytest.approx(run.leaf_gradients["features.0.weight"], rel=1e-5)
    assert found["features.2"]["activation"]["zeros"] > 0.2 and found["features.2"]["weight"] is None
    with pytest.raises(KeyError, match="classifier.1"):
        found["classifier.7"]


def test_a_trace_and_a_probe_agree(run):
    images, labels = run.calls[0].sources[0].array, sv.tensor([0, 2, 1, 1, 0])
    net = run.model
    probed = look.probe(net, lambda: nn.functional.cross_entropy(net(sv.tensor(images)), labels), histogram=True)
    found = statistics.of_trace(run).layers
    assert [layer["name"] for layer in probed] == [layer["name"] for layer in found]
    for ours, theirs in zip(found, probed, strict=True):
        for what in ("activation", "gradient"):
            assert ours[what]["norm"] == pytest.approx(theirs[what]["norm"], rel=1e-4) and ours[what]["zeros"] == theirs[what]["zeros"]


def test_dead_units_are_seen():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 36, 3))
    with sv.no_grad():
        net[0].bias[:6] = -1e3
    found = statistics.of_trace(trace(net, sv.randn(4, 3, 8, 8), sv.tensor([0, 1, 2, 0]), backward=True, arrays=True))
    assert found["1"]["activation"]["dead_channels"] == 0.75 and found["0"]["activation"]["dead_channels"] == 0
    (verdict,) = [v for v in found.verdicts if v.kind == "dead"]
    assert (verdict.severity, verdict.layer) == ("warn", "1") and "75%" in verdict.text
    assert found["0"]["gradient"]["dead_channels"] == 0.75, "and nothing comes back to them"


def test_without_backward_there_are_no_gradients(run):
    found = statistics.of_trace(trace(run.model, sv.randn(2, 3, 8, 8), arrays=True))
    assert all(layer["gradient"] is layer["weight_gradient"] is None for layer in found.layers)
    assert "–" in str(found)
    with pytest.raises(StudyError, match="arrays=True"):
        statistics.of_trace(trace(run.model, sv.randn(2, 3, 8, 8)))


def test_shown(run, tmp_path):
    pytest.importorskip("jinja2")
    found = statistics.of_trace(run)
    text, html = str(found), str(found.to_html())
    for layer in found.layers:
        assert layer["name"] in text and layer["name"] in html
    assert html.count("<path") == 2 * len(found.layers) and "style=" not in html
    assert max(map(len, text.splitlines())) <= 150
    assert found.to_dict()["layers"] is found.layers and "<svg" in found._repr_html_()
    found.save_json(tmp_path / "statistics.json")


def test_arrays_of_the_emulator():
    net = sv.models.small_vgg(widths=(2, "M"), num_classes=2, batch_norm=False).to("emulator")
    run = trace(net, sv.randn(1, 3, 4, 4).to("emulator"), arrays=True)
    array = run.of_layer("features.0")[0].results[0]
    assert statistics.of_trace(run)["features.0"]["activation"]["norm"] == pytest.approx(np.linalg.norm(np.asarray(array)), rel=1e-5)
