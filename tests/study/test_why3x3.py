"""The paper's arithmetic, what is measured of it, and the experiment."""

import json
import os
import signal

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import conv
from scratchvgg.bench import machine, timing
from scratchvgg.models.vgg import parse_config
from scratchvgg.study import why3x3
from scratchvgg.study import why3x3_experiment as trained
from scratchvgg.study.errors import StudyError
from scratchvgg.study.why3x3 import experiment, factorisation
from scratchvgg.train import RecipeError, build
from scratchvgg.train.loop import Trainer

from .html_check import check


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    """Short samples, and small products to find out the machine's rates."""
    monkeypatch.setattr(timing, "SAMPLE", 1e-4)
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(machine.gemm_peak, "__defaults__", ("float32", (64,), 1))
    monkeypatch.setattr(machine.copy_rate, "__defaults__", (1 << 16, 1))


@pytest.mark.parametrize("channels, size, batch", [(1, 5, 1), (3, 8, 2), (8, 6, 1)])
def test_the_papers_table(channels, size, batch):
    found = factorisation(channels, size, batch, measure=False)
    stacks = [stack for pair in found.pairs for stack in (pair.large, pair.small)]
    c2, pixels = channels**2, size * size
    assert [stack.name for stack in stacks] == ["one 5×5", "two 3×3", "one 7×7", "three 3×3"]
    assert [stack.weights for stack in stacks] == [25 * c2, 18 * c2, 49 * c2, 27 * c2]
    assert [stack.biases for stack in stacks] == [channels, 2 * channels, channels, 3 * channels]
    assert [stack.macs for stack in stacks] == [n * c2 * pixels for n in (25, 18, 49, 27)]
    assert [stack.relus for stack in stacks] == [1, 2, 1, 3]
    assert [stack.kept_bytes for stack in stacks] == [4 * batch * channels * pixels * n for n in (1, 2, 1, 3)], "the output of each ReLU"
    assert not any(pair.ratios for pair in found.pairs) and found.machine is None


def test_the_stacks_see_what_the_large_filter_sees():
    """The gradient of one output pixel with respect to the image is not zero in exactly the window that is claimed."""
    for pair in factorisation(2, 11, measure=False).pairs:
        for stack in (pair.large, pair.small):
            net = why3x3._net(2, stack.filters)
            for parameter in net.parameters():
                parameter.detach().array[...] = 0.1
            x = sv.ones(1, 2, 11, 11).requires_grad_(True)
            net(x)[0, 0, 5, 5].backward()
            rows, columns = (np.flatnonzero(x.grad.numpy()[0, 0].any(axis)) for axis in (1, 0))
            half = stack.receptive_field // 2
            assert rows.tolist() == columns.tolist() == list(range(5 - half, 5 + half + 1))


def test_times_are_measured_with_the_algorithms_that_are_named():
    with conv.using("auto"):
        found = factorisation(4, 6, rounds=2)
    for pair in found.pairs:
        for stack in (pair.large, pair.small):
            assert set(stack.seconds) == {"auto", "im2col"} and all(stack.seconds["im2col"][which]["rounds"] == 2 for which in why3x3.PASSES)
            assert stack.algorithms["im2col"] == {which: ["im2col"] for which in conv.PASSES}
        assert all(low <= middle <= high for which in why3x3.PASSES for low, middle, high in [pair.ratios["auto"][which]])
    text, saved = str(found), found.to_dict()
    assert "18 C²" in text and "large / stack" in text and max(map(len, text.splitlines())) <= 150
    assert saved["pairs"][1]["small"]["name"] == "three 3×3" and saved["machine"]["gemm_peak"] > 0
    assert json.dumps(saved)


def test_nothing_is_left_in_the_caches_of_gradients():
    x = sv.ones(1, 2, 4, 4)
    net = why3x3._net(2, (3, 3))
    why3x3._run(net, x, "training")
    assert x.grad is None and not x.requires_grad


@pytest.mark.parametrize("given", [{"channels": 0}, {"channels": 2, "size": -1}, {"channels": 2, "batch": 0}, {"channels": True},
                                   {"channels": 10**6}])
def test_bad_sizes(given):
    with pytest.raises(StudyError, match="expected 1 or more|more than 2³⁰"):
        factorisation(**given)


# ---- the experiment ----------------------------------------------------------------------------------------------------------------------------


def small(path, **changes):
    return experiment(**{"seeds": 2, "epochs": 1, "widths": (2, 3), "train_size": 80, "test_size": 40, "batch_size": 20, "out": path, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("why") / "whole"
    return small(path), path


def test_the_nets_differ_in_their_filters_only(whole):
    found, path = whole
    assert parse_config(trained.stages((2, 3), "two-3x3")) == [("conv", 2, 3)] * 2 + [("pool", 0, 0)] + [("conv", 3, 3)] * 2 + [("pool", 0, 0)]
    assert parse_config(trained.stages((2, 3), "one-5x5")) == [("conv", 2, 5), ("pool", 0, 0), ("conv", 3, 5), ("pool", 0, 0)]
    recipes = {arm: [sv.train.open_existing(path / f"seed-{s}" / arm).read_recipe().to_dict() for s in range(2)] for arm in trained.ARMS}
    for seed, (a, b) in enumerate(zip(*recipes.values(), strict=True)):
        assert a["seed"] == b["seed"] == seed
        assert {k for k in a if a[k] != b[k]} == {"name", "model_options"} and a["model_options"]["batch_norm"] == b["model_options"]["batch_norm"]
    pair, one = found.arms
    head = 3 * 10 + 10
    norms = 2 * 2 * (2 + 3)
    assert pair.parameters == (27 * 2 + 2) + (9 * 4 + 2) + (9 * 6 + 3) + (9 * 9 + 3) + norms + head
    assert one.parameters == (75 * 2 + 2) + (25 * 6 + 3) + norms // 2 + head
    assert pair.macs == 1024 * (54 + 36) + 256 * (54 + 81) + 30 and one.macs == 1024 * 150 + 256 * 150 + 30


def test_errors_are_those_of_the_last_weights(whole):
    found, path = whole
    for arm in found.arms:
        for seed in range(2):
            net, _ = sv.train.load_model(path / f"seed-{seed}" / arm.name / "last.ckpt")
            test = build.datasets(sv.train.open_existing(path / f"seed-{seed}" / arm.name).read_recipe())[1]
            x = sv.data.transforms.Normalize(test.mean, test.std)(sv.data.dataset.read_batch(test, np.arange(len(test)))[0])
            with sv.no_grad():
                wrong = (net(sv.from_numpy(np.ascontiguousarray(x))).numpy().argmax(1) != np.array([test[i][1] for i in range(len(test))])).mean()
            assert arm.errors[seed] == pytest.approx(wrong)


def test_it_goes_on_after_a_signal_and_repeats_nothing(whole, tmp_path, monkeypatch):
    steps, step = [], Trainer.step

    def counted(self, *args):
        steps.append(self.recipe.name)
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(Trainer, "step", counted)
    with pytest.raises(trained.Stopped) as stopped:
        small(tmp_path / "broken")
    assert stopped.value.signal == signal.SIGINT and stopped.value.folder == str(tmp_path / "broken")
    found = small(tmp_path / "broken")
    assert len(steps) == 16 and [a.errors for a in found.arms] == [a.errors for a in whole[0].arms]
    assert small(tmp_path / "broken").to_dict()["arms"] == found.to_dict()["arms"] and len(steps) == 16, "done is done"
    with pytest.raises(StudyError, match="begun with another recipe"):
        small(tmp_path / "broken", epochs=2)
    with pytest.raises(StudyError, match="was begun with"):
        small(tmp_path / "broken", widths=(2, 4))


def made(first, second):
    arms = [trained.Arm(name, 10, 20, errors, [1.0] * len(errors), [1.0] * len(errors)) for name, errors in (("two-3x3", first), ("one-5x5", second))]
    recipe = {"data": "d", "train_size": None, "epochs": 1, "batch_size": 2, "lr": 0.1, "widths": [1], "batch_norm": True}
    return trained.Experiment(arms, recipe, 100, "", {})


def test_the_verdict_says_how_sure_it_is():
    sure = made([0.30, 0.31, 0.32], [0.35, 0.36, 0.37])
    assert sure.differences == pytest.approx([0.05] * 3) and sure.arms[0].mean == pytest.approx(0.31) and sure.arms[0].spread == pytest.approx(0.01)
    assert sure.verdict.startswith("the 5×5 net errs more, by 5.00 percentage points on average, with the same sign in 3 of 3 seeds; that is more")
    unsure = made([0.30, 0.40], [0.35, 0.33])
    assert unsure.verdict.startswith("the net of pairs errs more, by 1.00") and "in 1 of 2 seeds" in unsure.verdict
    assert "less than twice the standard error of this mean (6.00)" in unsure.verdict
    assert made([0.3], [0.4]).verdict.endswith("one seed cannot say how much of that is chance")
    assert np.isnan(made([0.3], [0.4]).arms[0].spread) and "–" in str(made([0.3], [0.4]))
    assert made([0.3, 0.4], [0.3, 0.4]).verdict.startswith("both err alike")


@pytest.mark.parametrize("changes, message", [
    ({"seeds": 0}, "seeds: expected 1 or more"), ({"widths": ()}, "widths: expected channels"), ({"widths": (2, -1)}, "widths"),
    ({"widths": (2,) * 6}, "6 poolings leave nothing of 32 pixels"), ({"model": "vgg16"}, "model: the experiment sets it"),
])
def test_bad_arguments(changes, message, tmp_path):
    with pytest.raises(StudyError, match=message):
        small(tmp_path / "never", **changes)
    assert not (tmp_path / "never").exists()


def test_recipes_are_checked(tmp_path):
    with pytest.raises(RecipeError, match="epochs"):
        small(tmp_path / "never", epochs=0)


def test_a_report(whole, tmp_path):
    trained.write(whole[0], tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["kind"] == "why3x3" and saved["machine"]["gemm_peak"] > 0 and "commit" in saved["machine"]
    assert str(tmp_path.parent) not in (tmp_path / "report.json").read_text(), "no paths of this machine"


def test_they_are_shown(whole):
    pytest.importorskip("jinja2")
    assert "two 3×3" in check(whole[0].to_html()) and whole[0].verdict in check(whole[0].to_html())
    assert "27 C²" in check(factorisation(4, 6, rounds=1).to_html()) and "27 C²" in check(factorisation(4, 6, measure=False).to_html())
