"""Recipes: TOML there and back, errors that help, schedules."""

import dataclasses
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.train import Recipe, RecipeError, build, recipe, schedules, toml


@pytest.mark.parametrize("name", recipe.names())
def test_built_in_recipes_load_and_describe_themselves(name):
    loaded = recipe.load(name)
    assert loaded.name == name and loaded.description
    build.model(loaded, 10)
    build.average(loaded, build.model(loaded, 10), 10)


def test_the_promised_recipes_are_there():
    assert {"sample", "small", "long", "tiny", "vgg16_bn"} <= set(recipe.names())


@pytest.mark.parametrize("name", recipe.names())
def test_round_trip_through_toml(name, tmp_path):
    loaded = recipe.load(name)
    (tmp_path / "copy.toml").write_text(loaded.to_toml())
    assert recipe.load(tmp_path / "copy.toml") == loaded


_text = st.text(st.characters(exclude_categories=["Cs"]))
_toml = st.recursive(st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _text,
                     lambda v: st.lists(v) | st.dictionaries(_text, v), max_leaves=8)


@given(st.dictionaries(_text, _toml))
def test_any_table_survives_toml(table):
    text = "\n".join(toml.table("t", table, "help")) or "[t]"
    assert tomllib.loads(text)["t"] == table


@given(st.floats(0, 1e30), st.integers(1, 2**40), _text, st.lists(st.floats(0, 1)))
def test_any_values_survive_toml(lr, epochs, description, milestones):
    made = Recipe(lr=lr, epochs=epochs, description=description, milestones=milestones)
    assert recipe.from_dict(tomllib.loads(made.to_toml())) == made


@pytest.mark.parametrize("values, message", [
    ({"epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'"),
    ({"epochs": "3"}, "epochs: expected an integer, got '3'"),
    ({"epochs": True}, "epochs: expected an integer, got True"),
    ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
    ({"lr": math.nan}, "lr: expected 0.0 or more, got nan"),
    ({"momentum": 1.5}, "momentum: expected a number from 0.0 to 1.0, got 1.5"),
    ({"nesterov": 1}, "nesterov: expected true or false, got 1"),
    ({"schedule": "onecycle"}, "did you mean 'one_cycle'"),
    ({"augmentation": "flip"}, "augmentation: expected a list, got 'flip'"),
    ({"augmentation": [4]}, "augmentation: expected a string, got 4"),
    ({"model_options": []}, "model_options: expected a table"),
    ({"seed": None}, "seed: expected an integer, got None"),
])
def test_bad_values(values, message):
    with pytest.raises(RecipeError) as caught:
        recipe.from_dict(values)
    assert message in str(caught.value)


def test_bad_files(tmp_path):
    file = tmp_path / "r.toml"
    for content, message in [(b"epochs = ", "is not TOML"), (b"epoch = 3", "did you mean 'epochs'"), (b"\xff", "cannot read")]:
        file.write_bytes(content)
        with pytest.raises(RecipeError, match=message) as caught:
            recipe.load(file)
        assert str(file) in str(caught.value)
    with pytest.raises(RecipeError, match="No such file"):
        recipe.load(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="did you mean 'tiny'"):
        recipe.load("tinny")


@pytest.mark.parametrize("changes, message", [
    ({"data": "cifar"}, "unknown data set 'cifar'; did you mean 'cifar10'"),
    ({"model": "small_vg"}, "unknown net 'small_vg'; did you mean 'small_vgg'"),
    ({"model_options": {"width": [1]}}, "model_options of small_vgg: .*width"),
    ({"augmentation": ["flipp"]}, "unknown change 'flipp'; did you mean 'flip'"),
    ({"augmentation": ["crop:many"]}, "'crop:many'"),
    ({"ema": 0.9, "lookahead": 5}, "choose one"),
])
def test_recipes_that_ask_for_what_there_is_not(changes, message):
    from scratchvgg.train import Trainer

    with pytest.raises(RecipeError, match=message):
        Trainer(recipe.load("tiny").replace(**changes))


def test_every_field_has_help_and_a_group():
    for field in dataclasses.fields(Recipe):
        assert field.metadata["help"] and field.metadata["group"]


# ---- schedules -------------------------------------------------------------------------------------------------------


def rates(total=100, **changes):
    f = schedules.factor(Recipe(**changes), total)
    return [f(t) for t in range(total + 1)]


def test_triangular():
    got = rates(schedule="triangular", warmup=0.25, lr_start=0.2, lr_end=0.07)
    assert got[0] == 0.2 and got[25] == 1 and got[100] == pytest.approx(0.07)
    assert got[10] == pytest.approx(0.2 + 0.8 * 0.4) and got[55] == pytest.approx(1 - 0.93 * 0.4)


def test_one_cycle_is_torchs(torch):
    total, peak = 101, 25
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.lr_scheduler.OneCycleLR(torch.optim.SGD([parameter], 0.1), max_lr=1.0, total_steps=total, pct_start=(peak + 1) / total,
                                                 div_factor=10, final_div_factor=100)
    f = schedules.factor(Recipe(schedule="one_cycle", warmup=peak / (total - 1), lr_start=0.1, lr_end=1e-3), total - 1)
    for t in range(total - 1):
        assert f(t) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        theirs.optimizer.step()
        theirs.step()


def test_cosine_step_and_constant():
    got = rates(schedule="cosine", warmup=0.0, lr_end=0.1)
    assert got[0] == 1 and got[50] == pytest.approx(0.55) and got[100] == pytest.approx(0.1)
    got = rates(schedule="step", warmup=0.0, milestones=[0.5, 0.75], gamma=0.1)
    assert [got[t] for t in (0, 49, 50, 74, 75, 100)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    got = rates(schedule="constant", warmup=0.1, lr_start=0.0)
    assert got[0] == 0 and got[5] == pytest.approx(0.5) and got[10] == got[100] == 1


def test_groups_have_equal_products_of_rate_and_decay():
    made = recipe.load("tiny").replace(model="fast_vgg", model_options={}, bias_lr_scale=64.0, lr=1.5, weight_decay=1e-3)
    groups = build.optimizer(made, build.model(made, 10)).param_groups
    assert sorted(group["lr"] for group in groups) == [1.5, 96.0]
    assert all(group["lr"] * group["weight_decay"] == pytest.approx(1.5e-3) for group in groups)
    made = made.replace(decay_all=False, bias_lr_scale=1.0)
    groups = build.optimizer(made, build.model(made, 10)).param_groups
    assert {group["weight_decay"]: {p.ndim > 1 for p in group["params"]} for group in groups} == {1e-3: {True}, 0.0: {False}}
