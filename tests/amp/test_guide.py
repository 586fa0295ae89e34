"""docs/mixed-precision.md keeps its word."""

import re
import shlex
from pathlib import Path

import pytest

from scratchvgg.cli.commands import train
from scratchvgg.cli.parser import Parser

pytest.importorskip("ml_dtypes")
GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "mixed-precision.md").read_text(encoding="utf-8")


def test_python_of_the_guide(capsys):
    """The blocks run one after the other; what they print is what the guide says they print."""
    names = {}
    for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(compile(code, "docs/mixed-precision.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "'conv2d'" in printed and "'linear'" in printed and "False 1.0\nTrue 0.8984375\n" in printed
    (table,) = re.findall(r"```text\n(.*?)```", GUIDE, re.DOTALL)
    said, found = (re.findall(r"bf16 (\S+)  fp16 (\S+)", text) for text in (table, printed))
    assert len(said) == len(found) == 4
    for a, b in zip(said, found, strict=True):
        assert [float(v) for v in b] == pytest.approx([float(v) for v in a], abs=0.02)


@pytest.mark.parametrize("command", re.findall(r"^scratchvgg train (.*)$", GUIDE, re.MULTILINE))
def test_commands_are_understood(command):
    parser = Parser("scratchvgg train", "", "")
    train.configure(parser)
    assert parser.parse_args(shlex.split(command)).precision in ("bf16", "fp16")
