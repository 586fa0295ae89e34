"""Recipes that no net learns with are named first, though dead layers and answers that are all the same come of them."""

import pytest

from scratchvgg.study.doctor.checks import settings
from tests.study.doctor.common import diagnosis, recipe, run, sets

SMALL = {"widths": [6, "M", 12, "M"]}


@pytest.mark.parametrize(("changes", "check", "says"), [
    ({"weight_decay": 1.0}, "weight decay", "shrinks the weights to nothing"),
    ({"model_options": SMALL | {"dropout": 0.99}}, "dropout", "leaves almost nothing"),
    ({"label_smoothing": 1.0}, "targets", "nothing of the labels"),
    ({"batch_size": 1, "epochs": 1}, "batch norm", "Batches of 1 are too small"),
    ({"schedule": "step", "warmup": 0.02, "milestones": [0.03, 0.04], "gamma": 1e-6}, "schedule", "almost 0"),
], ids=["weight decay", "dropout", "label smoothing", "batch size 1", "schedule"])
def test_one_thing_wrong(tmp_path, changes, check, says):
    data = sets()
    found = diagnosis(run(tmp_path / "run", recipe(**changes), data), data)
    assert found.findings[0].check == check and found.findings[0].severity == "bad", str(found)
    assert says in found.headline
    assert "not prepared" not in str(found), "the images are those of the run"


def test_momentum(tmp_path):
    data = sets()
    learned, lost = (diagnosis(run(tmp_path / f"{lr}", recipe(momentum=0.999, nesterov=False, lr=lr, epochs=2), data), data, only=["momentum"])
                     for lr in (0.2, 20.0))
    assert not learned.findings, "it learned its pictures nevertheless"
    finding, = lost.findings
    assert finding.severity in ("bad", "warn") and finding.numbers["memory"] == pytest.approx(1000) and finding.numbers["steps"] == 32


def test_a_great_label_smoothing_is_no_fault_where_the_net_learns(tmp_path):
    """With 0.8 no net's loss gets below 94 % of ln 4, and this one is right."""
    data = sets()
    found = diagnosis(run(tmp_path / "run", recipe(label_smoothing=0.8, epochs=6), data), data, only=["targets", "course of the loss"])
    assert found.healthy, str(found)


def test_a_rate_with_which_all_steps_together_go_nowhere(tmp_path):
    """Adam at 1e-7: one step is not tiny beside float32's last digit, a hundred of them are still nothing."""
    data = sets()
    found = diagnosis(run(tmp_path / "run", recipe(optimizer="adam", momentum=0.9, lr=1e-7, epochs=7), data), data)
    assert found.findings[0].check == "learning rate" and "1e-07 is too low" in found.headline, str(found)


def test_usual_settings_are_not_blamed_for_a_rate_that_is_too_high(tmp_path):
    data = sets()
    found = diagnosis(run(tmp_path / "run", recipe(lr=100.0, weight_decay=5e-4), data), data)
    assert found.findings[0].check == "learning rate"
    assert not {finding.check for finding in found.of("bad")} & {"weight decay", "schedule", "targets", "momentum"}


def test_a_rate_that_exploded_is_named_without_time_to_try_others(tmp_path, monkeypatch):
    from scratchvgg.study.doctor import rates
    from scratchvgg.study.doctor.registry import Skip

    def none(case):
        raise Skip("no time")

    monkeypatch.setattr(rates, "range_test", none)
    data = sets()
    found = diagnosis(run(tmp_path / "run", recipe(lr=1000.0, nesterov=False), data), data)
    assert found.findings[0].check == "learning rate" and "too high" in found.headline, str(found)


def test_large_steps_alone_are_no_alarm_while_a_run_is_young(tmp_path, monkeypatch):
    """Small weights of the beginning grow by a large part of themselves in the first steps of a good run too."""
    from scratchvgg.study import verdicts

    large = verdicts.Verdict("update", "", "bad", "a step changes the weights by 0.18 of their norm")
    monkeypatch.setattr(verdicts, "of_record", lambda about, lines: [large])
    data = sets()
    path = run(tmp_path / "run", recipe(lr=1e-6, epochs=1, record=True), data)
    finding, = diagnosis(path, data, only=["record of layers"]).findings
    assert finding.severity == "info" and "steps as large" in finding.title


def test_the_limits_leave_room_for_the_paper():
    assert settings.USUAL_DECAY >= 10 * 5e-4 and settings.LONG > 0.9
