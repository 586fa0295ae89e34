"""docs/paper-recipe.md keeps its word: its commands are understood, its fields exist, its figures come out."""

import re
import shlex
from pathlib import Path

import pytest

import scratchvgg as sv
from scratchvgg import evaluate, models
from scratchvgg.cli.parser import Parser
from scratchvgg.cli.registry import load_command
from scratchvgg.train import recipe

GUIDE = (Path(__file__).parents[2] / "docs" / "paper-recipe.md").read_text("utf-8")
COMMANDS = re.findall(r"^(scratchvgg .*)$", GUIDE, re.MULTILINE) + re.findall(r"`(scratchvgg ablation [^`]*)`", GUIDE)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line):
    _, name, *words = shlex.split(line)
    command = load_command(name)
    parser = Parser(f"scratchvgg {name}", command.DESCRIPTION, command.EXAMPLES)
    command.configure(parser)
    args = parser.parse_args(words)
    if getattr(args, "recipe", None):
        recipe.load(args.recipe)


def test_there_are_commands():
    assert len(COMMANDS) >= 7


def test_fields_exist():
    table = GUIDE[GUIDE.index("| | the paper |") : GUIDE.index("**Net A first.**")]
    named = re.findall(r"`(\w+)(?: = [^`]*)?`", table)
    assert len(named) > 12 and set(named) <= set(recipe.FIELDS)


def test_intervals_are_wilsons():
    """``56.3 [53.2, 59.3]`` of 1,000 pictures, in the measured table and in the text under it."""
    images = int(re.search(r"([\d,]+) test pictures", GUIDE).group(1).replace(",", ""))
    found = re.findall(r"(\d+\.\d) \[(\d+\.\d), (\d+\.\d)\]", GUIDE)
    assert len(found) == 8
    for rate, low, high in found:
        expected = evaluate.wilson(round(float(rate) / 100 * images), images)
        assert [float(low), float(high)] == [round(100 * end, 1) for end in expected]


@pytest.mark.slow
@pytest.mark.parametrize("name, std, expected", [("vgg11", 0.1, 2.6e6), ("vgg11", 0.01, 2e-5), ("vgg16", 0.1, 4.9e8), ("vgg16", 0.01, 5e-8)])
def test_logits_of_random_weights(name, std, expected):
    from scratchvgg.train import build

    sv.manual_seed(0)
    image = sv.randn(1, 3, 224, 224)
    with sv.nn.init.skip():
        net = models.get_model(name).eval()
    build.initialize(recipe.Recipe(init_std=std), net)
    with sv.no_grad():
        assert expected / 2 < net(image).numpy().std() < 2 * expected  # it depends on the draw
