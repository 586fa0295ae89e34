"""A run keeps to the convolution algorithms it began with: in each pass, in the file, and after it is resumed."""

import json
import shutil

import pytest

import scratchvgg as sv
from scratchvgg import conv, train
from scratchvgg.conv import Problem
from scratchvgg.train import checkpoint
from scratchvgg.train.algorithms import PinnedAlgorithms
from scratchvgg.train.loop import Trainer

from ..conv.fakes import Fake, registered
from .common import assert_same_run, run, small_recipe

G = Problem(1, 2, 6, 6, 2, 3, 3, (1, 1), ((1, 1), (1, 1)))


def test_the_first_choice_of_each_pass_is_kept():
    pinned = PinnedAlgorithms()
    with pinned:
        assert conv.choose(G, "float32", "winograd2x2").name == "winograd2x2"
        assert conv.choose(G, "float32", "direct", "grad_weight").name == "direct"
        with conv.using("winograd4x4"):
            names = [conv.choose(G, "float32", None, which).name for which in conv.PASSES]
    assert names == ["winograd2x2", "winograd4x4", "direct"]
    assert pinned.chosen == {f"{G} scratchvgg.float32 {which}": name for which, name in zip(
        ("forward", "grad_weight", "grad_input"), ("winograd2x2", "direct", "winograd4x4"), strict=True)}
    assert conv.choose(G, "float32", "im2col").name == "im2col", "outside nothing is pinned"


def test_choices_of_old_checkpoints_hold_for_all_passes():
    pinned = PinnedAlgorithms()
    pinned.chosen[f"{G} scratchvgg.float32"] = "direct"
    with pinned, conv.using("winograd2x2"):
        assert {conv.choose(G, "float32", None, which).name for which in conv.PASSES} == {"direct"}
        assert conv.choose(G, "float64").name == "winograd2x2"


def test_backward_is_pinned_too(tmp_path, monkeypatch):
    monkeypatch.delenv("SCRATCHVGG_CONV")
    folder = run(small_recipe(conv="winograd2x2", epochs=1), tmp_path / "run")
    chosen = checkpoint.load(folder.last)["algorithms"]
    assert {key.split()[-1] for key in chosen} == set(conv.PASSES) and set(chosen.values()) == {"winograd2x2"}
    assert 'conv = "winograd2x2"' in folder.recipe.read_text()
    first = json.loads(folder.metrics.read_text().splitlines()[0])
    assert first["kind"] == "run" and first["conv"] == "winograd2x2"


def test_a_resumed_run_repeats_the_choices_whatever_is_cheaper_now(tmp_path, monkeypatch):
    monkeypatch.delenv("SCRATCHVGG_CONV")
    recipe = small_recipe(conv="auto", checkpoint_steps=5)
    costs = {"forward": 0.0, "grad_input": 9e99, "grad_weight": 0.0}
    copies, save = [], Trainer.save

    def save_and_keep(self, path=None):
        save(self, path)
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(self.folder.path, copies[-1])

    with monkeypatch.context() as patch, registered(Fake("now", costs)):
        patch.setattr(Trainer, "save", save_and_keep)
        whole = run(recipe, tmp_path / "whole")
        assert set(checkpoint.load(whole.last)["algorithms"].values()) > {"now"}
    with registered(Fake("now", 1e9), Fake("later", {"forward": 0.0, "grad_input": 0.0, "grad_weight": 0.0})) as (now, later):
        folder = train.open_existing(copies[3])  # after the first epoch and its test: every problem was met
        assert checkpoint.load(folder.last)["progress"]["step"] == 6
        assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
        assert now.calls and not later.calls
        assert_same_run(whole, folder)


def test_a_checkpoint_of_before_there_was_conv_goes_on(tmp_path):
    folder = run(small_recipe(epochs=1), tmp_path / "run")
    state = checkpoint.load(folder.last)
    del state["recipe"]["conv"], state["format"]
    state["algorithms"] = {key.rpartition(" ")[0]: name for key, name in state["algorithms"].items()}
    checkpoint.save(folder.last, state)
    text = folder.recipe.read_text()
    folder.recipe.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("conv =", "# conv ="))))
    assert "conv =" in text
    assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
    model, _ = checkpoint.load_model(folder.path)
    assert not model.training


def test_the_recipe_goes_before_the_environment_and_without_one_it_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCHVGG_CONV", "winograd4x4")
    names = {}
    for setting in (None, "reproducible"):
        folder = run(small_recipe(conv=setting, epochs=1), tmp_path / str(setting))
        names[setting] = set(checkpoint.load(folder.last)["algorithms"].values())
    assert names == {None: {"winograd4x4"}, "reproducible": {"im2col"}}
    assert conv.current() == "winograd4x4", "nothing stays set"


@pytest.mark.parametrize("setting, environment, message", [
    ("fast", None, "conv: no convolution algorithm 'fast'; there are auto, tuned, reproducible, "),
    (None, "fast", "SCRATCHVGG_CONV: no convolution algorithm 'fast'"),
])
def test_an_unknown_name_is_refused_before_anything_is_made(tmp_path, monkeypatch, setting, environment, message):
    if environment:
        monkeypatch.setenv("SCRATCHVGG_CONV", environment)
    with pytest.raises(train.RecipeError, match=message):
        Trainer(small_recipe(conv=setting), plain=True)


def test_tuned_training_measures_and_keeps_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(conv.answers.Session, "seconds", 0.0)
    conv.answers.forget()
    folder = run(small_recipe(conv="tuned", epochs=1), tmp_path / "run")
    content = json.loads(conv.answers.default_file().read_text())
    assert {entry["pass"] for entry in content["answers"]} == set(conv.PASSES)
    assert set(checkpoint.load(folder.last)["algorithms"].values()) <= set(conv.algorithms())
    conv.answers.forget()
    assert sv.conv.current() == "reproducible"
