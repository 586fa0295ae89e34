"""docs/your-own-kernel.md keeps its word."""

import re
import shlex
from pathlib import Path

from scratchvgg.bench.launch_lines import FIELDS, MOST
from scratchvgg.bench.user_kernel import SIGNATURE
from scratchvgg.cli.commands import bench
from scratchvgg.cli.parser import Parser

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "your-own-kernel.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_python_prints_what_the_guide_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pointwise.cu").write_text(next(text for kind, text in BLOCKS if kind == "cuda"))
    names, printed = {}, []
    for number, (kind, code) in enumerate(BLOCKS):
        if kind == "python":
            exec(compile(code, f"docs/your-own-kernel.md, block {number}", "exec"), names)
            printed.append(("text", capsys.readouterr().out))
            assert BLOCKS[number + 1] == printed[-1]
    assert len(printed) == 2


def test_commands_are_understood():
    commands = re.findall(r"^scratchvgg bench (.*)$", GUIDE, re.MULTILINE)
    parser = Parser("scratchvgg bench", bench.DESCRIPTION, bench.EXAMPLES)
    bench.configure(parser)
    assert len(commands) == 3 and all(parser.parse_args(shlex.split(command)).kernel for command in commands)


def test_the_signature_fields_and_lines_are_those_of_the_code():
    assert SIGNATURE in GUIDE and " ".join(FIELDS) in GUIDE.replace("\n", " ")
    assert all(f"`// {key}: " in GUIDE for key in MOST)
