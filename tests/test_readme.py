"""The README keeps its word: two commands, a tour that runs, folders that exist."""

import functools
import re
import shlex
from pathlib import Path

import scratchvgg as sv

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_two_commands_set_everything_up():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("scratchvgg train") and commands[1].endswith("pytest")


def test_the_tour_runs(monkeypatch, capsys):
    monkeypatch.setattr(sv.data, "SampleShapes", functools.partial(sv.data.SampleShapes, size=300))
    tour, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(tour, "README.md", "exec"), {})
    assert re.fullmatch(r"(epoch \d: loss of the last batch \d\.\d{3}\n){2}", capsys.readouterr().out)


def test_the_look_inside_runs(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, look = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(look, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "classifier.1" in said and "features.4: output [sample 0, channel 5, row 2, column 7]" in said
    assert (tmp_path / "report.html").stat().st_size < 5e6


def test_every_command_of_the_readme_parses():
    from scratchvgg.cli.parser import Parser
    from scratchvgg.cli.registry import load_command

    lines = re.findall(r"^(?:SCRATCHVGG_CONV=\S+ )?scratchvgg (\w+.*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        name, *words = shlex.split(line)
        command = load_command(name)
        parser = Parser(f"scratchvgg {name}", command.DESCRIPTION, command.EXAMPLES)
        command.configure(parser)
        parser.parse_args(words)


def test_every_command_of_the_tour_is_one():
    from scratchvgg.cli.registry import command_names

    used = set(re.findall(r"^scratchvgg (\w+)", README, re.MULTILINE))
    assert used and used <= set(command_names())


def test_every_file_and_picture_it_names_exists():
    named = re.findall(r"\]\(([\w./-]+)\)", README) + re.findall(r"`((?:kernels|tests|benchmarks|scratchvgg)/[\w./]*)`", README)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]
