"""Runs with one thing wrong: the right finding comes first. A run with nothing wrong has no bad finding."""

import hashlib
import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.array import default_generator
from scratchvgg.models.registry import _BUILDERS
from scratchvgg.models.small import small_vgg
from scratchvgg.study.doctor import examine
from scratchvgg.study.errors import StudyError
from tests.study.doctor.common import CLASSES, Stripes, bad, diagnosis, recipe, run, sets


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run that has learned its pictures, its data, and what the doctor says."""
    data = sets()
    path = run(tmp_path_factory.mktemp("good") / "run", recipe(), data)
    before = _files(path)
    state, threads = default_generator.get_state(), sv.get_num_threads()
    found = diagnosis(path, data)
    assert _files(path) == before, "the run's folder is only read"
    assert default_generator.get_state() == state and sv.get_num_threads() == threads
    return path, data, found


def _files(path):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.iterdir())}


def test_a_good_run_is_healthy(good):
    found = good[2]
    assert found.healthy and not found.of("warn"), str(found)
    assert "Nothing is wrong" in found.headline
    looked = {finding.check for finding in found.of("good")}
    assert looked >= {"images", "train and test", "labels", "shuffled labels?", "dead layers", "same answer", "gradients", "loss at the start",
                      "course of the loss", "parameters without gradient", "weights that do not move", "batch norm", "preparation", "class order",
                      "learning rate"}


def test_its_numbers_are_those_of_the_run(good):
    path, _, found = good
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    epoch = [line for line in lines if line["kind"] == "epoch"][-1]
    facts = dict(found.facts)
    assert f"{100 * epoch['test_accuracy']:.1f} %" in facts["accuracy"] and f"{epoch['step']} steps" in facts["trained"]
    rate = next(finding for finding in found.findings if finding.check == "learning rate")
    assert rate.numbers["own"] == pytest.approx(max(line["lr"] for line in lines if "lr" in line), rel=0.02)


def test_the_same_again(good):
    path, data, found = good
    again = diagnosis(path, data)
    assert [f.to_dict() for f in again.findings if f.check != "learning rate"] == [f.to_dict() for f in found.findings if f.check != "learning rate"]


def test_lr_100(tmp_path):
    data = sets()
    path = run(tmp_path / "run", recipe(lr=100.0), data)
    found = diagnosis(path, data)
    first = found.findings[0]
    assert first.check == "learning rate" and first.title in ("The learning rate 100 is too high", "The learning rate 99 is too high")
    assert "--lr 0.1" in first.suggestion
    assert first.numbers["advised"] <= 1


def test_a_run_that_broke_tells_where(tmp_path):
    """Without batch norm the loss becomes NaN: the run stops, and the doctor finds the step by going through it again."""
    data = sets()
    path = run(tmp_path / "run", recipe(lr=1e4, warmup=0.0, model_options={"widths": [6, "M", 12, "M"], "batch_norm": False}), data)
    assert not any(line.get("epoch") == 4 for line in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()))
    found = diagnosis(path, data)
    assert bad(found)[:2] == ["learning rate", "first NaN"], str(found)
    broken = next(finding for finding in found.findings if finding.check == "first NaN")
    assert broken.numbers["step"] >= 1 and ("features" in broken.evidence or "loss" in broken.evidence)


def test_lr_1e_8(tmp_path):
    data = sets()
    path = run(tmp_path / "run", recipe(lr=1e-8), data)
    found = diagnosis(path, data)
    assert found.findings[0].check == "learning rate" and "1e-08 is too low" in found.headline
    assert found.findings[0].numbers["advised"] >= 1e-3
    assert "weights that do not move" in bad(found)


def test_no_batch_norm_and_small_weights(tmp_path):
    """Ten convolutions, N(0, 0.01): it sits at ln 4, and the initialisation is to blame, not the learning rate."""
    data = sets()
    deep = {"widths": [8] * 5 + ["M"] + [8] * 5 + ["M"], "batch_norm": False}
    path = run(tmp_path / "run", recipe(model_options=deep, init_std=0.01, epochs=3), data)
    found = diagnosis(path, data)
    first = found.findings[0]
    assert first.check in ("same answer", "dead layers") and "1.386 = ln 4" in first.title and "no batch norm" in first.title
    assert "step 0" in first.evidence and "initialisation is to blame" in first.evidence and "batch_norm=true" in first.suggestion
    assert "learning rate" not in bad(found)


def test_shuffled_labels(tmp_path):
    data = sets(train=lambda kinds, rng: rng.permutation(kinds))
    data = Stripes(480, 0, lambda kinds, rng: rng.permutation(kinds)), data[1]
    path = run(tmp_path / "run", recipe(epochs=2), data)
    found = diagnosis(path, data)
    assert found.findings[0].check == "shuffled labels?", str(found)
    assert found.findings[0].numbers["p"] > 0.01 and "learning rate" not in bad(found)


def test_images_0_to_255(tmp_path):
    data = sets()
    for part in data:
        part.mean, part.std = (0.0,) * 3, (1 / 255,) * 3
    path = run(tmp_path / "run", recipe(model_options={"widths": [6, "M", 12, "M"], "batch_norm": False}, epochs=2), data)
    found = diagnosis(path, data)
    assert found.findings[0].check == "images" and "0 to 255" in found.headline, str(found)


def test_test_labels_one_off(tmp_path):
    data = sets(test=lambda kinds, rng: (kinds + 1) % CLASSES)
    path = run(tmp_path / "run", recipe(epochs=3), data)
    found = diagnosis(path, data)
    assert found.findings[0].check == "class order" and "1 higher" in found.findings[0].evidence, str(found)


def test_batch_norm_that_stays_in_evaluation(tmp_path, monkeypatch):
    """A net whose train() forgets its batch norms."""
    class Frozen(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.net = small_vgg(**options)

        def forward(self, x):
            return self.net(x)

        def train(self, mode=True):
            super().train(mode)
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.training = False
            return self

    monkeypatch.setitem(_BUILDERS, "frozen_vgg", lambda **options: Frozen(**options))
    data = sets()
    path = run(tmp_path / "run", recipe(model="frozen_vgg", epochs=1), data)
    found = diagnosis(path, data)
    assert found.findings[0].check == "batch norm" and "evaluation mode" in found.headline, str(found)


def test_training_and_test_prepared_differently(tmp_path):
    data = sets()
    data[1].images //= 4
    path = run(tmp_path / "run", recipe(epochs=2), data)
    found = diagnosis(path, data, only=["train and test"])
    assert found.findings[0].severity in ("warn", "bad") and "differently" in found.findings[0].title


def test_test_images_in_the_training_set(good):
    path, (train_set, test_set), _ = good
    again = Stripes(120, 1)
    again.images[:30] = train_set.images[:30]
    found = diagnosis(path, (train_set, again), only=["train and test"])
    assert any(f.severity == "warn" and f.numbers.get("duplicates") == 30 for f in found.findings)
    assert "duplicates" not in str(diagnosis(path, (train_set, test_set), only=["train and test"]).to_dict())


def test_a_run_without_a_checkpoint(good, tmp_path):
    """Only the record and the recipe are left: what can be said is said."""
    path, data, _ = good
    copied = tmp_path / "run"
    copied.mkdir()
    for name in ("recipe.toml", "metrics.jsonl"):
        (copied / name).write_bytes((path / name).read_bytes())
    found = diagnosis(copied, data)
    assert found.healthy and any(name == "weights that do not move" for name, _ in found.skipped)


def test_bad_input(good, tmp_path):
    path, data, _ = good
    with pytest.raises(sv.train.RunError, match="no recipe.toml"):
        examine(tmp_path)
    with pytest.raises(StudyError, match="a run has its own"):
        examine(path, np.zeros((2, 3, 16, 16)), np.zeros(2, int))
    with pytest.raises(StudyError, match="no check 'x'; there are"):
        examine(path, only=["x"])
    with pytest.raises(StudyError, match="seconds"):
        examine(path, seconds=0)
    with pytest.raises(StudyError, match="batch"):
        examine(path, batch=1)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "recipe.toml").write_bytes((path / "recipe.toml").read_bytes())
    for text in ("not json\n", "[1]\n", '{"kind": "step", "step": 3}\n',
                 '{"kind": "epoch", "epoch": 1, "step": "x", "train_loss": 1, "train_accuracy": 1}\n'):
        (tmp_path / "cut" / "metrics.jsonl").write_text(text)
        with pytest.raises(StudyError, match="not a file of metrics"):
            examine(tmp_path / "cut", data=data)
    with pytest.raises(StudyError, match="no such run folder or file"):
        examine(str(tmp_path / "nowhere"))
    with pytest.raises(sv.data.DataError, match="--root"):
        examine(path, data="cifar10", root=tmp_path / "nowhere")


def test_a_record_tells_when_it_began(tmp_path, good):
    data = sets()
    path = run(tmp_path / "run", recipe(lr=1e4, warmup=0.0, record=True, model_options={"widths": [6, "M", 12, "M"], "batch_norm": False}), data)
    found = diagnosis(path, data)
    assert bad(found)[0] == "learning rate"
    told = next(finding for finding in found.findings if finding.check == "record of layers")
    lines = [json.loads(line) for line in (path / "record.jsonl").read_text().splitlines()]
    end = [line for line in lines if line.get("end")]
    assert told.severity == "bad" and told.numbers["first_step"] in [line["step"] for line in lines[1:]]
    broken = next(finding for finding in found.findings if finding.check == "first NaN")
    assert end and broken.numbers["step"] == end[0]["step"] and end[0]["end"] in broken.evidence
    assert any(name == "record of layers" and "--record" in why for name, why in good[2].skipped)
    healthy = run(tmp_path / "healthy", recipe(record=True), data)
    told = next(finding for finding in diagnosis(healthy, data, only=["record of layers"]).findings)
    assert told.severity == "good" and told.numbers["lines"] > 10
