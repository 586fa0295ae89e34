"""One run looked into: its parts agree with the engine, and its page is sound."""

import json
import re

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.study import inspect, parts
from scratchvgg.study.errors import StudyError

from .html_check import check

pytest.importorskip("jinja2")
pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def net():
    sv.manual_seed(0)
    return sv.models.paper_vgg("A", width=0.0625, hidden=16, batch_norm=True, num_classes=4).eval()


@pytest.fixture(scope="module")
def images():
    sv.manual_seed(1)
    return sv.randn(2, 3, 32, 32)


@pytest.fixture(scope="module")
def found(net, images):
    return inspect(net, images, [1, 3], repeats=1, name="narrow <A>", categories=["ant", "bee", "<cat>", "dog"],
                   pictures=np.zeros((2, 3, 32, 32), np.uint8), notes=["a note"])


def test_the_numbers_are_the_engines(found, net, images):
    output = net(images)
    assert np.array_equal(found.trace.output.detach().numpy(), output.detach().numpy())
    shares = nn.functional.softmax(output.detach(), 1).numpy()
    assert [row[0]["probability"] for row in found.prediction] == [float(row.max()) for row in shares]
    assert [row[0]["index"] for row in found.prediction] == shares.argmax(1).tolist() and len(found.prediction[0]) == 4
    assert found.trace.loss.item() == nn.functional.cross_entropy(output, sv.tensor([1, 3])).item()
    view = found.layer("features.4")
    assert view.output.shape == (2, 8, 16, 16) and view.gradient.shape == (2, 8, 16, 16) and "features.4" in str(view)
    assert view.row["name"] == "features.4" and view.row["macs"] == 2 * 9 * 4 * 8 * 16 * 16
    state = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    inspect(net, images, 0, repeats=2)
    assert all(np.array_equal(v.numpy(), state[k]) for k, v in net.state_dict().items()) and all(p.grad is None for p in net.parameters())


def test_the_page_holds_every_part(found, tmp_path):
    text = found.save(tmp_path / "a.html").read_text("utf-8")
    seen = check(text)
    made = [part.name for part, shown in parts.parts(found)]
    assert set(parts.PARTS) == set(made) and not any(isinstance(shown, parts.Missing) for _, shown in parts.parts(found))
    assert "narrow <A>" in seen and "<cat>" in seen and "a note" in seen and all(part.heading in seen for part in parts.PARTS.values())
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert set(made) < set(data) and data["layers"]["totals"]["parameters"] == sum(p.numel() for p in found.model.parameters())
    assert len(text) < 5e6 and not list(tmp_path.glob(".*"))


def test_parts_are_made_once(net, images, monkeypatch):
    found, built = inspect(net, images, 1, repeats=0), []

    def counted(entry):
        return parts.Part(entry.name, entry.heading, entry.lead, lambda *a: built.append(entry.name) or entry.build(*a), entry.sized)

    for name, entry in list(parts.PARTS.items()):
        monkeypatch.setitem(parts.PARTS, name, counted(entry))
    found.html()
    found.to_dict()
    assert sorted(built) == sorted(parts.PARTS)
    list(parts.parts(found, detail=1))
    assert sorted(built[len(parts.PARTS) :]) == ["maps", "prediction"], "only these depend on how much is shown"
    found.measure(1)
    list(parts.parts(found, ["layers"]))
    assert built[-1] == "layers", "with the new times"


def test_layers_that_do_nothing_have_their_row(found):
    rows = {row["name"]: row for row in found.table.to_dict()["layers"]}
    assert rows["classifier.2"]["type"] == "Dropout" and rows["classifier.2"]["output_shape"] == [2, 16]


def test_json_has_the_table_and_the_parts(found, tmp_path):
    found.save_json(tmp_path / "a.json")
    data = json.loads((tmp_path / "a.json").read_text())
    assert {"name", "type", "output_shape", "parameters", "macs", "bias_adds", "kept_bytes", "workspace_bytes", "receptive_field",
            "effective_stride"} <= data["layers"][0].keys()
    assert data["totals"]["macs"] == found.table.to_dict()["totals"]["macs"] and set(parts.PARTS) - {"layers"} <= data.keys()


def test_a_page_is_kept_small(found):
    whole = found.html(names=["prediction", "maps", "layers"])
    small = found.html(max_mb=len(whole.encode()) / 1e6 - 0.001, names=["prediction", "maps", "layers"])
    assert len(small) < len(whole) and "less detail" in check(small) and "less detail" not in check(whole)
    with pytest.raises(StudyError, match="even without pictures"):
        found.html(max_mb=0.001)
    with pytest.raises(StudyError, match=r"no part 'layer'; there are prediction, layers"):
        found.html(names=["layer"])
    with pytest.raises(StudyError, match="positive"):
        found.html(max_mb=0)


def test_a_library_that_is_missing_is_named_in_its_part(found, monkeypatch):
    def without(inspection, detail):
        raise ImportError("pictures need Pillow: pip install 'scratchvgg[images]'")

    def broken(inspection, detail):
        raise ImportError("cannot import name 'x'")

    monkeypatch.setitem(parts.PARTS, "maps", parts.Part("maps", "Feature maps", "", without))
    assert "pip install 'scratchvgg[images]'" in check(found.html(names=["maps", "prediction"]))
    monkeypatch.setitem(parts.PARTS, "maps", parts.Part("maps", "Feature maps", "", broken))
    with pytest.raises(ImportError, match="cannot import"):
        found.html(names=["maps"])


def test_forward_alone(net, images):
    found = inspect(net, images, backward=False, repeats=0)
    assert not found.backward and found.timings is None and found.trace.loss is None and found.target is None
    seen = check(found.html())
    assert "forward, in evaluation mode" in seen


def test_training_mode_shows_dropout_and_batch_statistics(net, images):
    net.train()
    try:
        seen = check(inspect(net, images, 1, repeats=0).html(names=["numbers"]))
    finally:
        net.eval()
    assert "ropout" in seen and "mask" in seen


def test_notebooks_show_everything(found):
    markup = found._repr_html_()
    assert markup.startswith('<div class="scratchvgg"><style>') and "Feature maps" in check(markup)
    assert "<style>" in found.table._repr_html_()


def test_what_cannot_be_run_is_said(net, images):
    with pytest.raises(StudyError, match="cannot be run on this input"):
        inspect(net, sv.randn(1, 5, 32, 32))
    with pytest.raises(StudyError, match="one for each of the 2 images"):
        inspect(net, images, [1, 2, 3])
    with pytest.raises(StudyError, match="cannot be run"):
        inspect(net, images, 17)
    with pytest.raises(StudyError, match="repeats"):
        inspect(net, images, repeats=-1)
    with pytest.raises(StudyError, match=r"near: features\.4"):
        inspect(net, images, backward=False, repeats=0).layer("features.44")


class Answering(nn.Module):
    """A net whose answer is what ``how`` makes of its scores (N, 5) and its map (N, 4, H, W)."""

    def __init__(self, how):
        super().__init__()
        self.how, self.conv, self.fc = how, nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        y = nn.functional.relu(self.conv(x))
        return self.how(self.fc(y.mean((2, 3))), y)


@pytest.mark.parametrize(("how", "said"), [
    (lambda scores, map: (scores, map), "returned a tuple"), (lambda scores, map: {"out": scores}, "returned a dict"),
    (lambda scores, map: None, "returned a NoneType"), (lambda scores, map: scores.sum(1), r"shape \(2,\)|flatten"),
    (lambda scores, map: scores[:1], r"shape \(1, 5\).*a row of scores for each image"),
])
@pytest.mark.parametrize("backward", [False, True])
def test_what_is_no_row_of_scores_is_refused(images, how, said, backward):
    with pytest.raises(StudyError, match=said):
        inspect(Answering(how), images, backward=backward, repeats=0)


def test_inputs_that_are_none_are_refused(net):
    with pytest.raises(StudyError, match="expected a Tensor"):
        inspect(net, np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(StudyError, match="at least one image"):
        inspect(net, sv.zeros(0, 3, 32, 32))
    frozen = Answering(lambda scores, map: scores)
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(StudyError, match="nothing in the net requires a gradient"):
        inspect(frozen, sv.zeros(1, 3, 8, 8), repeats=0)
    assert "Layers" in check(inspect(frozen, sv.zeros(1, 3, 8, 8), backward=False, repeats=0).html(names=["layers"]))


def test_scores_of_every_place_and_rows_in_the_place_of_images(images):
    of_map = inspect(Answering(lambda scores, map: map), images[:, :, :8, :8], repeats=0)
    assert not isinstance({part.name: shown for part, shown in parts.parts(of_map, ["memory"])}["memory"], parts.Missing)
    of_rows = inspect(nn.Sequential(nn.Linear(4, 5)), sv.randn(3, 4), repeats=0)
    assert "take images (N, C, H, W)" in check(of_rows.html())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_shown(value):
    broken = sv.models.small_vgg(widths=(4, "M"), num_classes=3)
    with sv.no_grad():
        broken.features[0].weight.fill_(value)
    found = inspect(broken, sv.randn(2, 3, 8, 8), 1, repeats=0)
    assert "NaN" in check(found.html()) and "NaN" in str(found.layer("features.0"))
    assert not re.search(r"\bnan\b", "".join(str(found.layer(row.name)) for row in found.table.rows if row.name in found.trace.modules))


def test_recording_need_not_be_on(net, images):
    with sv.no_grad():
        assert "Predicted from steps" in check(inspect(net, images, 1, repeats=0).html(names=["memory"]))


def test_the_tape_shows_the_medians(net, images):
    once, timed = inspect(net, images, 1, repeats=0), inspect(net, images, 1, repeats=3)
    assert once.tape.runs == 0 and "traced run alone" in str(once.tape) and timed.tape.runs == 3 and "medians of 3 runs" in str(timed.tape)
    rows = {row.name: row for row in timed.table.rows}
    conv = next(node for node in timed.tape.operations if node.layer == "features.0")
    assert (conv.forward_seconds, conv.backward_seconds) == (rows["features.0"].forward.median, rows["features.0"].backward.median)
    assert "medians of 3 runs" in check(timed.html(names=["tape"]))
