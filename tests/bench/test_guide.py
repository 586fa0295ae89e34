"""docs/benchmarking.md keeps its word."""

import re
import shlex
from pathlib import Path

import pytest

from scratchvgg.cli.commands import bench
from scratchvgg.cli.parser import Parser

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "benchmarking.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^scratchvgg bench (.*?)(?:  +#.*)?$", GUIDE, re.MULTILINE)
TEXTS = bench.EXAMPLES + bench.CONV_EXAMPLES + bench.MODEL_EXAMPLES
EXAMPLES = [line for line in TEXTS.splitlines() if line and "--help" not in line]


@pytest.mark.parametrize("command", [*COMMANDS, *(re.split(r"  +", line)[0].removeprefix("scratchvgg bench ") for line in EXAMPLES)])
def test_commands_are_understood(command):
    parser = Parser("scratchvgg bench", bench.DESCRIPTION, bench.EXAMPLES)
    bench.configure(parser)
    assert parser.parse_args(shlex.split(command)).what in ("conv", "model")


def test_the_guide_has_commands():
    assert len(COMMANDS) == 10


def test_python_of_the_guide(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(code, "docs/benchmarking.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) == 5
