"""schedule = "plateau": lr ÷ 10 when accuracy stops improving, and what a run remembers of it."""

import math

import pytest

import scratchvgg as sv
from scratchvgg import optim, train
from scratchvgg.train import Recipe, schedules
from scratchvgg.train.loop import Trainer

from .common import run, small_recipe

STEPS = 4  # an epoch


def course(**changes):
    recipe = Recipe(**{"schedule": "plateau", "warmup": 0.0, "lr": 0.5, "patience": 1, "drops": 2, **changes})
    weights, biases = sv.nn.Parameter(sv.zeros(2)), sv.nn.Parameter(sv.zeros(2))
    optimizer = optim.SGD([{"params": [weights]}, {"params": [biases], "lr": 2 * recipe.lr}], lr=recipe.lr)
    return schedules.course(recipe, optimizer, 100), optimizer


def epochs(plateau, optimizer, accuracies):
    """(learning rate of the first group in each step's epoch, messages) of epochs that end with these accuracies."""
    rates, messages = [], []
    for accuracy in accuracies:
        seen = set()
        for _ in range(STEPS):
            seen.add(optimizer.param_groups[0]["lr"])
            assert plateau.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
            optimizer.step()
            plateau.step()
        assert len(seen) == 1, "the rate changes between epochs only"
        rates.append(seen.pop())
        messages.append(plateau.after_test(accuracy))
        if plateau.over:
            break
    return rates, messages


def test_it_divides_after_patience_and_ends_after_the_last_drop():
    plateau, optimizer = course()
    accuracies = [0.2, 0.3, 0.3, 0.1, 0.4, 0.4, 0.35, 0.41, 0.41, 0.41, 0.9]
    rates, messages = epochs(plateau, optimizer, accuracies)
    # best at epoch 2; 3 and 4 are no better: drop. Best at 5; 6 and 7 are not: drop. Best at 8; 9 and 10 are not: the end.
    assert rates == pytest.approx([0.5] * 4 + [0.05] * 3 + [0.005] * 3)
    assert plateau.over and [i for i, text in enumerate(messages) if text] == [3, 6, 9]
    assert "30.00 %" in messages[3] and "drop 1 of 2" in messages[3] and "drop 2 of 2" in messages[6] and messages[9].endswith("the end")
    assert optimizer.param_groups[1]["lr"] == pytest.approx(2 * 0.005)


def test_without_drops_it_is_early_stopping_and_never_ends_while_accuracy_rises():
    plateau, optimizer = course(drops=0, patience=0)
    rates, _ = epochs(plateau, optimizer, [0.1, 0.2, 0.2, 0.3])
    assert rates == [0.5] * 3 and plateau.over
    plateau, optimizer = course(drops=0, patience=0)
    assert len(epochs(plateau, optimizer, [i / 50 for i in range(20)])[0]) == 20 and not plateau.over


def test_warm_up_comes_first():
    plateau, optimizer = course(warmup=0.1, lr_start=0.0)
    seen = []
    for _ in range(12):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plateau.step()
    assert seen == pytest.approx([0.05 * t for t in range(10)] + [0.5, 0.5])


@pytest.mark.parametrize("at", range(1, 8))
def test_its_state_goes_on(at):
    accuracies = [0.2, 0.3, 0.3, 0.1, 0.4, 0.4, 0.35, 0.41, 0.41, 0.41]
    whole, optimizer = course()
    rates, _ = epochs(whole, optimizer, accuracies)
    first, its_optimizer = course()
    epochs(first, its_optimizer, accuracies[:at])
    second, other = course()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(its_optimizer.state_dict())
    assert epochs(second, other, accuracies[at:])[0] == rates[at:] and second.over


def test_other_schedules_hear_nothing():
    constant, _ = course(schedule="constant")
    assert constant.after_test(0.1) is constant.after_test(0.1) is None and not constant.over


def test_a_run_ends_with_its_plateau(tmp_path, capsys):
    """A rate of nought learns nothing: the first test is the best, the second drops, the third is the end."""
    recipe = small_recipe(schedule="plateau", warmup=0.0, lr=0.0, patience=0, drops=1, epochs=9, model_options={"widths": [4], "batch_norm": False})
    folder = run(recipe, tmp_path / "run")
    lines = train.metrics.read(folder.metrics, "epoch")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    out = capsys.readouterr().out
    assert "learning rate × 0.1 (drop 1 of 1)" in out and "the end" in out
    again = Trainer(folder.read_recipe(), plain=True)
    assert again.run(folder).finished and again.epoch == 3
    assert math.isclose(lines[-1]["test_accuracy"], lines[0]["test_accuracy"])
