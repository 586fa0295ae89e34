"""docs/emulator.md keeps its word: its code runs and prints what the guide says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scratchvgg.cuda.emulator import settings

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
CODE = [text for kind, text in BLOCKS if kind == "python"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the guide's first kernel in reverse.cu, where we are."""
    (tmp_path / "reverse.cu").write_text(next(text for kind, text in BLOCKS if kind == "cuda"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_prints_what_the_guide_shows(folder, capfd):
    names = {}
    for i, code in enumerate(CODE):
        exec(compile(code, f"docs/emulator.md, block {i}", "exec"), names)
        printed = re.sub(r"[0-9a-f]{16}\.cu", "reverse.cu", capfd.readouterr().out)
        expected = BLOCKS[BLOCKS.index(("python", code)) + 1]
        assert expected == ("text", printed), code


def test_gdb_stops_in_a_cuda_thread(folder):
    if shutil.which("gdb") is None:
        pytest.skip("no gdb on this machine")
    (folder / "run.py").write_text(CODE[0])
    export, command, *shown = next(text for kind, text in BLOCKS if kind == "console").splitlines()
    environment = dict(pair.split("=") for pair in export.removeprefix("$ export ").split()) | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable if a == "python" else a for a in shlex.split(command.removeprefix("$ "))]
    done = subprocess.run(arguments, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip("this machine does not let gdb trace")
    printed = iter(done.stdout.splitlines())
    for line in shown:
        pattern = re.escape(line).replace("…", ".*")
        assert any(re.search(pattern, other) for other in printed), f"{line!r} is missing after what came before in\n{done.stdout}\n{done.stderr}"


def test_settings_are_those_of_the_table():
    names = {value for name, value in vars(settings).items() if name.isupper() and isinstance(value, str)}
    assert set(re.findall(r"SCRATCHVGG_EMULATOR_\w+", GUIDE)) == names
