"""The history of a run is what its record says."""

import json
import shutil

import pytest

from scratchvgg import train
from scratchvgg.study import history, layer_figures
from scratchvgg.study.errors import StudyError
from scratchvgg.train import record

from ..train.common import run, small_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A recorded run of 24 steps."""
    recipe = small_recipe(epochs=4, record=True, record_every=2, log_every=3)
    return run(recipe, tmp_path_factory.mktemp("history") / "run").path


def test_series_are_the_records(trained):
    past = history.of_run(trained)
    _, records = record.read(trained)
    assert past.recorded_steps == [*range(1, 11), *range(12, 25, 2)] and len(past.epochs) == 4 and len(past.steps) == 8
    stds = past.series("activation_std")
    assert list(stds) == ["features.0", "features.4", "classifier.1"]
    assert stds["features.4"] == [line["layers"][4]["activation"]["std"] for line in records]
    assert past.series("gradient_norm")["classifier.1"] == [line["layers"][-1]["gradient"]["norm"] for line in records]
    assert list(past.series("dead_channels")) == ["features.2", "features.6"]
    assert past.series("update_ratio")["features.0"] == [line["layers"][0]["update_ratio"] for line in records]
    assert past.to_dict()["loss"] == [line["loss"] for line in records]
    json.dumps(past.to_dict())


def test_shown(trained):
    pytest.importorskip("jinja2")
    past = history.of_run(trained)
    text, html = str(past), str(past.to_html())
    assert "small_vgg on sample, 10 classes: 17 recorded steps up to 24 of 24" in text and "classifier.1" in text
    assert max(map(len, text.splitlines())) <= 150 and "style=" not in html
    assert all(verdict.text.split(":")[0] in text.replace("\n      ", " ") for verdict in past.verdicts)
    loss = past.curves()[0]
    assert [s["name"] for s in loss["series"]] == ["a batch", "mean of an interval", "test", "ln(10) = 2.303"]
    assert loss["series"][2]["y"] == [line["test_loss"] for line in past.epochs]
    assert html.count("Norm of the gradient at the layer&#39;s output") >= 2, "curves and a map"


def test_a_run_that_is_still_written(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    whole = (copy / "record.jsonl").read_bytes()
    (copy / "record.jsonl").write_bytes(whole[: len(whole) - 200])
    with open(copy / "metrics.jsonl", "ab") as file:
        file.write(b'{"kind": "st')
    past = history.of_run(copy)
    assert len(past.records) == 16 and len(past.steps) == 8
    (copy / "metrics.jsonl").unlink()
    assert history.of_run(copy).steps == []


def test_one_record_is_enough(trained, tmp_path):
    pytest.importorskip("jinja2")
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    lines = (copy / "record.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "record.jsonl").write_bytes(b"".join(lines[:2]))
    past = history.of_run(copy)
    assert len(past.records) == 1 and past.to_html() and str(past)


def test_what_is_no_history(trained, tmp_path):
    with pytest.raises(StudyError, match="no such run folder"):
        history.of_run(tmp_path / "nowhere")
    with pytest.raises(StudyError, match=r"it has no recipe\.toml"):
        history.of_run(tmp_path)
    folder = train.create(small_recipe(), tmp_path / "plain").path
    with pytest.raises(StudyError, match="train with --record"):
        history.of_run(folder)
    lines = (trained / "record.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "record.jsonl").write_bytes(lines[0])
    with pytest.raises(StudyError, match="no step is recorded yet"):
        history.of_run(folder)
    (folder / "record.jsonl").write_bytes(b"junk\n")
    with pytest.raises(StudyError, match="not a record of layers"):
        history.of_run(folder)
    (folder / "record.jsonl").write_bytes(b"".join(lines))
    (folder / "metrics.jsonl").write_bytes(b"junk\n")
    with pytest.raises(StudyError, match="metrics.jsonl: damaged"):
        history.of_run(folder)


def test_layers_in_a_chart_are_spread():
    names = [f"l{i}" for i in range(16)]
    assert history._spread(names, 6) == ["l0", "l3", "l6", "l9", "l12", "l15"] and history._spread(names[:4], 6) == names[:4]


def test_heat_maps_thin_out_columns_and_keep_the_ends():
    pytest.importorskip("markupsafe")
    steps = list(range(1, 201))
    svg = layer_figures.heat_map(["a", "b"], steps, [[10.0**-s for s in steps], [None] * 200], title="map", log=True)
    assert svg.count("<title>a, step") == layer_figures.COLUMNS and svg.count("<title>b") == 0
    assert "a, step 1: 0.1<" in svg and "a, step 200: 1.00e-200<" in svg
    ends = svg.index("a, step 1:"), svg.index("a, step 200:")
    colours = [svg[:end].rpartition('fill="')[2][:7] for end in ends]
    light = [sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in colours]
    assert light[0] > 600 > 120 > light[1], "much is light, little is dark"
    assert "nothing to draw" in layer_figures.heat_map(["a"], [1], [[None]], title="map")


def test_columns_follow_the_counts():
    pytest.importorskip("markupsafe")
    svg = layer_figures.columns({"low": -1.0, "high": 3.0, "counts": [0, 10, 0, 1000]}, title="h", width=40, height=20)
    assert 'd="M0 20V20.0H10V13.4H20V20.0H30V1.0H40V20Z"' in svg and 'x1="10.0"' in svg, "log(1 + count), and a line at 0"
