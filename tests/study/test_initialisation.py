"""The demonstration of initialisation: what is predicted is measured, and a stopped one goes on."""

import json
import math

import numpy as np
import pytest

from scratchvgg import train
from scratchvgg.cli import main
from scratchvgg.study import initialisation
from scratchvgg.study.errors import StudyError
from scratchvgg.train.recipe import RecipeError

TINY = {"train_size": 48, "batch_size": 16, "eval_batch_size": 20, "test_size": 20, "log_every": 1, "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """VGG-16 with an eighth of the channels, three steps each."""
    made = train.create(initialisation.recipe(0.125, quick=True, **TINY), tmp_path_factory.mktemp("initialisation") / "run")
    assert initialisation.run(made) is None
    return made


def test_the_signal_is_lost_as_predicted(folder):
    found = initialisation.of_folder(folder)
    normal, kaiming, batch_norm = found.beginnings
    assert [len(b.convolutions) for b in found.beginnings] == [13, 13, 13] and [len(b.layers) for b in found.beginnings] == [14, 14, 14]
    first = normal.layers[1]
    assert (first["fan_in"], first["fan_out"]) == (72, 72) and first["sigma"] == pytest.approx(0.01, rel=0.1)
    assert first["factor"] == pytest.approx(math.sqrt(36) * first["sigma"]), "√(fan_in / 2) · σ"
    assert normal.per_layer == pytest.approx(normal.predicted, rel=0.25) and kaiming.per_layer == pytest.approx(kaiming.predicted, rel=0.25)
    assert kaiming.predicted == pytest.approx(1, rel=0.05), "√(fan_in / 2) · √(2 / fan_in)"
    last = kaiming.layers[-1]
    assert last["sigma"] == pytest.approx(math.sqrt(2 / last["fan_in"]), rel=0.15), "the linear layer too"
    assert normal.forward < 1e-8 < 1e-2 < kaiming.forward and normal.backward < 1e-6 < 1e-2 < kaiming.backward
    assert batch_norm.forward > 0.1 and batch_norm.backward > 0.05, "with the same weights as the first"
    assert normal.image_std < 1e-8 < 1e-4 < kaiming.image_std
    assert {v.kind for v in normal.verdicts if v.severity == "bad"} >= {"at_chance", "signal", "gradient", "same_output"}
    assert found.guess == math.log(10) and abs(normal.losses[-1] / found.guess - 1) < 0.01


def test_the_variants_differ_in_their_beginning_alone(folder):
    base = folder.read_recipe()
    recipes = {name: train.open_existing(folder.path / name).read_recipe() for name in initialisation.VARIANTS}
    for name, recipe in recipes.items():
        changed = {key for key, value in recipe.to_dict().items() if value != base.to_dict()[key]}
        assert changed <= {"name", "init_std", "model_options"}, name
    nets = {name: train.load_model(folder.path / name / "last.ckpt")[0] for name in initialisation.VARIANTS}
    assert [sum(p.numel() for p in net.parameters() if p.ndim > 1) for net in nets.values()] == [
        sum(p.numel() for p in nets["normal"].parameters() if p.ndim > 1)] * 3


def test_shown(folder):
    pytest.importorskip("jinja2")
    found = initialisation.of_folder(folder)
    text, html = str(found), str(found.to_html())
    for b in found.beginnings:
        assert b.label in text and b.label in html
    parameters = sum(p.numel() for p in train.load_model(folder.path / "normal" / "last.ckpt")[0].parameters())
    assert f"13 convolutions and a linear layer, {parameters:,} parameters, on sample, 3 steps of 16 images each" in text
    assert "the first layers get nothing to learn from" in text.replace("\n", " ")
    assert "style=" not in html and html.count("<svg") == 3
    chart = found.charts()[0]["series"][0]
    assert chart["y"] == [layer["std"] for layer in found.beginnings[0].layers] and len(found.charts()[2]["series"]) == 4
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.slow
def test_a_stopped_demonstration_goes_on(folder, tmp_path, monkeypatch):
    made = train.create(initialisation.recipe(0.0625, "A", quick=True, **TINY), tmp_path / "run")
    after_step, ended = train.Trainer._after_step, []

    def stop_once(self, images):
        if self.recipe.name == "kaiming" and self.steps == 2 and not ended:
            ended.append(self.steps)
            self._interrupt.signal = 2
        after_step(self, images)

    monkeypatch.setattr(train.Trainer, "_after_step", stop_once)
    assert initialisation.run(made).signal == 2
    with pytest.raises(StudyError, match="not finished"):
        initialisation.of_folder(made)
    assert initialisation.run(made) is None
    whole = train.create(made.read_recipe(), tmp_path / "whole")
    initialisation.run(whole)
    ours, theirs = (initialisation.of_folder(f) for f in (made, whole))
    assert [b.losses for b in ours.beginnings] == [b.losses for b in theirs.beginnings]
    assert [b.layers for b in ours.beginnings] == [b.layers for b in theirs.beginnings]


def test_the_recipe():
    recipe = initialisation.recipe(0.5, "A")
    assert recipe.model_options["config"] == ["conv3-32", "M", "conv3-64", "M", "conv3-128", "conv3-128", "M", "conv3-256", "conv3-256", "M",
                                              "conv3-256", "conv3-256", "M"]
    assert "conv1-64" in initialisation.recipe(0.25, "C").model_options["config"] and recipe.record
    for arguments, error in ((({"width": 0}), StudyError), ({"config": "F"}, ValueError), ({"lr": -1.0}, RecipeError)):
        with pytest.raises(error):
            initialisation.recipe(**arguments)


def test_of_another_folder(tmp_path):
    with pytest.raises(StudyError, match="no demonstration of initialisation"):
        initialisation.of_folder(tmp_path)


def test_the_command(tmp_path, capsys):
    pytest.importorskip("jinja2")
    out, page, numbers = (tmp_path / name for name in ("run", "page.html", "numbers.json"))
    options = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items()]
    arguments = ["initialisation", "--quick", "--config", "A", "--width", "0.0625", "--plain", *options, "--out", str(out)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "8 convolutions and a linear layer" in text and "Kaiming, no batch norm" in text
    assert main(["initialisation", "--resume", str(out), "--html", str(page), "--json", str(numbers)]) == 0
    report = json.loads(numbers.read_text())
    assert report["machine"]["gemm_peak"] > 0 and len(report["beginnings"]) == 3 and np.isclose(report["ln_classes"], np.log(10))
    assert "<svg" in page.read_text() and "Content-Security-Policy" in page.read_text()
    for wrong, message in ((["--out", str(out)], "exists already"), (["--resume", str(out), "--width", "1"], "leave out --width"),
                           (["--width", "-1"], "width: expected a positive number"), (["--config", "F"], "'F'"),
                           (["--model", "vgg16"], "--model: the demonstration chooses it itself"), (["--init-std", "0.1"], "--init-std")):
        assert main(["initialisation", *wrong]) == 2
        assert message in capsys.readouterr().err.replace("\n", " "), wrong
