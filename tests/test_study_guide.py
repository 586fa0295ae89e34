"""docs/study.md keeps its word: its code prints what it says, its commands parse, its modules exist."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from scratchvgg.cli.parser import Parser
from scratchvgg.cli.registry import load_command

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "study.md").read_text(encoding="utf-8")


def test_its_code_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("jinja2")
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    exec(compile(block, "docs/study.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\) +# (.*)$", block, re.MULTILINE)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_its_commands_parse():
    commands = re.findall(r"^scratchvgg (\w+ .*?)(?:  +#.*)?$", GUIDE, re.MULTILINE) + re.findall(r"`scratchvgg (\w+.*?)`", GUIDE)
    assert len(commands) >= 12
    for line in commands:
        name, *words = shlex.split(line)
        command = load_command(name)
        parser = Parser(f"scratchvgg {name}", command.DESCRIPTION, command.EXAMPLES)
        command.configure(parser)
        parser.parse_args(words)


def test_its_modules_exist():
    modules = re.findall(r"`study\.(\w+)`", GUIDE)
    assert len(modules) >= 10
    for name in modules:
        importlib.import_module(f"scratchvgg.study.{name}")
