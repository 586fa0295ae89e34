"""The ablation: four trainings that share net A, go on where they stopped, and a table that says what was measured."""

import json
import os
import re
import signal

import numpy as np
import pytest

from scratchvgg import evaluate, train
from scratchvgg.cli import main
from scratchvgg.data.images import to_picture
from scratchvgg.data.presets import ImageClassification
from scratchvgg.train import RecipeError, RunError, ablation, build
from scratchvgg.train.loop import Trainer

from .common import assert_same_run
from .test_paper import pictures, small  # noqa: F401 - pictures is a fixture

pytest.importorskip("PIL.Image")
ARMS = ["random-fixed", "random-jittered", "A-fixed", "A-jittered"]


def ablated(recipe, path, seeds=1):
    """(results, folder)"""
    folder = train.open_existing(path) if path.exists() else train.create(recipe, path)
    return ablation.Ablation(recipe, seeds, plain=True, say=lambda line: None).run(folder), folder


def one_epoch(pictures, **changes):  # noqa: F811
    return small(pictures, epochs=1, name="ablation", **changes)


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):  # noqa: F811
    """(results, folder) of an unbroken ablation with two seeds."""
    return ablated(one_epoch(pictures), tmp_path_factory.mktemp("ablation") / "whole", seeds=2)


def test_the_arms_differ_in_two_things_and_share_net_a(whole):
    results, folder = whole
    for number in range(2):
        made = {name: train.open_existing(folder.path / f"seed-{number}" / name).read_recipe().to_dict() for name in ["net-a", *ARMS]}
        assert [made[name]["seed"] for name in made] == [number] * 5
        assert [made[name]["scale_max"] for name in made] == [36, 36, 72, 36, 72]
        assert [made[name]["init_from"] for name in made] == [None, None, None] + [str(folder.path / f"seed-{number}" / "net-a" / "last.ckpt")] * 2
        for arm in made.values():
            for key in ("name", "seed", "scale_max", "init_from", "model_options"):
                del arm[key]
        assert all(arm == made["net-a"] for arm in made.values())
        assert not list((folder.path / f"seed-{number}").glob("*/net-a"))
    assert [(r.init, r.scale, r.train_scale, r.scales) for r in results] == [
        ("random", "fixed", 36, ((36,), (32, 36, 40))), ("random", "jittered", (36, 72), ((54,), (36, 54, 72))),
        ("A", "fixed", 36, ((36,), (32, 36, 40))), ("A", "jittered", (36, 72), ((54,), (36, 54, 72)))]


def test_errors_are_those_of_dense_evaluation_of_the_last_weights(whole):
    results, folder = whole
    for result, arm in zip(results, ARMS, strict=True):
        for seed in range(2):
            path = folder.path / f"seed-{seed}" / arm
            net, state = train.load_model(path / "last.ckpt")
            test_set = build.datasets(train.open_existing(path).read_recipe())[1].dataset
            preset = ImageClassification(32, 32, state["data"]["mean"], state["data"]["std"])
            images = [to_picture(test_set[i][0]) for i in range(12)]
            for test in range(2):
                found = evaluate.posteriors(net, images, "dense", result.scales[test], preset)
                assert result.errors[test][seed] == int((found.argmax(1) != test_set.labels).sum())
        assert result.images == 12 and result.epochs == [1, 1] and all(seconds > 0 for seconds in result.seconds)


def test_rate_and_interval():
    result = ablation.Result("A", "fixed", 36, 200, ((36,), (32, 36)), ([30, 50], [0, 0]), [1, 1], [1.0, 1.0])
    assert result.error(0) == (0.2, *evaluate.wilson(40, 200)) and result.error(1) == (0.0, *evaluate.wilson(0, 200))


def test_it_goes_on_after_an_interruption_and_repeats_nothing(pictures, whole, tmp_path, monkeypatch):  # noqa: F811
    recipe, steps, step = one_epoch(pictures), [], Trainer.step

    def counted(self, images, labels):
        step(self, images, labels)
        steps.append(str(self.folder.path.relative_to(tmp_path / "run")))
        if len(steps) in (2, 5, 11):  # in net A, in the first arm, in the third
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", counted)
    for _ in range(3):
        study = ablation.Ablation(recipe, plain=True, say=lambda line: None)
        assert study.run(train.open_existing(tmp_path / "run") if (tmp_path / "run").exists() else train.create(recipe, tmp_path / "run")) is None
        assert study.outcome.signal == signal.SIGINT
    results, folder = ablated(recipe, tmp_path / "run")
    assert steps == [f"seed-0/{name}" for name in ["net-a", *ARMS] for _ in range(3)]
    assert [r.errors for r in results] == [([r.errors[0][0]], [r.errors[1][0]]) for r in whole[0]]
    for name in ["net-a", *ARMS]:
        mine, other = (train.open_existing(root / "seed-0" / name) for root in (folder.path, whole[1].path))
        if name.startswith("A"):  # they name where net A's layers came from
            states = [train.checkpoint.load(run.last)["model"] for run in (mine, other)]
            assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])
        else:
            assert_same_run(mine, other)


def test_finished_arms_are_kept_and_seeds_can_be_added(pictures, whole, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Trainer, "step", lambda *_: pytest.fail("it trains again"))
    results, _ = ablated(one_epoch(pictures), whole[1].path, seeds=2)
    assert results == whole[0]
    with pytest.raises(pytest.fail.Exception):
        ablated(one_epoch(pictures), whole[1].path, seeds=3)


@pytest.mark.parametrize("changes, message", [
    ({"crop": None, "scale_min": None, "scale_max": None}, "needs a recipe with crop"),
    ({"scale_max": 36}, "scale_max: must be above scale_min"),
    ({"model_options": {"config": "A"}}, "a net deeper than A"),
    ({"model": "small_vgg", "model_options": {}}, "small_vgg has no net A"),
])
def test_nothing_to_compare(pictures, changes, message):  # noqa: F811
    with pytest.raises(RecipeError, match=message):
        ablation.Ablation(one_epoch(pictures, **changes))


def test_folders_of_other_ablations(pictures, tmp_path):  # noqa: F811
    made = one_epoch(pictures)
    folder = train.create(made, tmp_path / "run")
    train.create(made, tmp_path / "run" / "seed-0" / "net-a")  # another net
    with pytest.raises(RunError, match="net-a was begun with another recipe"):
        ablation.Ablation(made, say=lambda line: None).run(folder)
    for text in ("{", "[]", '{"seeds": 1}', '{"seeds": "x", "arms": {}}'):
        (folder.path / "results.json").write_text(text)
        with pytest.raises(RunError, match=r"results\.json: no results of an ablation"):
            ablation.read_results(folder)


def test_the_papers_figures(pictures):  # noqa: F811
    made = one_epoch(pictures)
    assert ablation.paper_errors(made.replace(model_options={"config": "D"}), "jittered") == (25.6, 24.8)
    assert ablation.paper_errors(made.replace(model="vgg19", model_options={}), "fixed") == (27.3, 26.9)
    assert ablation.paper_errors(made.replace(model_options={"config": "B"}), "jittered") is None
    assert ablation.paper_errors(made.replace(model_options={"config": [8, "M"]}), "fixed") is None


def test_the_command(pictures, tmp_path, capsys):  # noqa: F811
    flags = ["--root", str(pictures), "--epochs", "1", "--batch-size", "8", "--eval-batch-size", "12", "--no-plot", "--threads", "1", "--plain",
             "--model-options", "width=0.0625", "hidden=8"]
    assert main(["ablation", *flags, "--config", "E", "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    rows = [re.split(r"  +", line.strip()) for line in out[out.index("begins with") :].splitlines()[2:6]]
    assert [row[:2] for row in rows] == [["random", "36"], ["random", "36..72"], ["net A's layers", "36"], ["net A's layers", "36..72"]]
    assert [row[4:6] for row in rows] == [["-", "-"], ["-", "-"], ["27.3", "26.9"], ["25.5", "24.8"]]
    errors = json.loads((tmp_path / "run" / "results.json").read_text())["arms"]
    for row, arm in zip(rows, ARMS, strict=True):
        for cell, wrong in zip(row[2:4], errors[f"seed-0/{arm}"]["errors"], strict=True):
            low, high = (100 * end for end in evaluate.wilson(wrong, 12))
            assert cell == f"{100 * wrong / 12:.1f} [{low:.1f}, {high:.1f}]"
    assert main(["ablation", "--resume", str(tmp_path / "run"), "--plain"]) == 0
    again = capsys.readouterr().out
    assert again[again.index("begins with") :] == out[out.index("begins with") :] and "epoch 1/1" not in again


@pytest.mark.parametrize("words, message", [
    (["--resume", "x", "--lr", "1"], "leave out --lr"),
    (["--seeds", "0"], "--seeds: expected 1 or more, got 0"),
    (["--recipe", "tiny"], "needs a recipe with crop"),
    (["--root", "/no/such/folder"], "expected the subfolder train"),
    (["--config", "Z", "--data", "sample", "--train-size", "50"], "unknown VGG configuration 'Z'"),
])
def test_bad_words(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["ablation", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_without_a_folder_of_pictures(tmp_path, capsys):
    flags = ["--data", "sample", "--train-size", "32", "--test-size", "20", "--epochs", "1", "--batch-size", "16", "--no-plot", "--threads", "1",
             "--plain", "--model-options", "config=B", "width=0.0625", "hidden=8"]
    assert main(["ablation", *flags, "--out", str(tmp_path / "run")]) == 0
    assert "on 20 test images" in capsys.readouterr().out
