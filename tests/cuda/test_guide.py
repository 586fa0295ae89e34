"""docs/kernels.md keeps its word: its kernel and its face, put where it says, work; its commands are commands."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from scratchvgg.cli.commands import kernels
from scratchvgg.cli.parser import Parser
from scratchvgg.cuda import kernel_folder, registry, sources

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="NVIDIA has no compiler for macOS")

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^scratchvgg kernels ?(.*)$", GUIDE, re.MULTILINE)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the kernels with the guide's among them, and a registry of examples of its own."""
    shutil.copytree(kernel_folder(), tmp_path / "kernels")
    (cuda,) = re.findall(r"```cuda\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "kernels" / "axpy.cu").write_text(cuda, encoding="utf-8")
    monkeypatch.setattr(sources, "_PACKAGE", tmp_path / "scratchvgg")
    monkeypatch.setattr(registry, "_EXAMPLES", {})
    return tmp_path


def test_the_new_kernel(tree, capsys):
    face, by_hand, compiling = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names = {}
    for code in (face, by_hand, compiling):
        exec(compile(code, "docs/kernels.md", "exec"), names)
    wide, narrow, needs = capsys.readouterr().out.splitlines()
    assert wide.startswith("axpy of 1000 by axpy_f32: ") and narrow.startswith("axpy of 1001 by axpy_naive_f32: ")
    assert max(float(line.split()[-1]) for line in (wide, narrow)) < 1e-6
    registers, spills, share, path = needs.split()
    assert int(registers) < 40 and (spills, share) == ("0", "1.0") and Path(path).suffix == ".cubin"
    assert registry.get("axpy_f32").is_hot("axpy_f32") and not registry.get("axpy_f32").is_hot("axpy_naive_f32")
    with pytest.raises(TypeError, match="axpy: expected float32, got float64"):
        names["axpy"](None, 1, *[names["np"].zeros(4)] * 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    parser = Parser("scratchvgg kernels", kernels.DESCRIPTION, kernels.EXAMPLES)
    kernels.configure(parser)
    parser.parse_args(shlex.split(command))


def test_the_guide_has_commands_and_names_every_column():
    assert len(COMMANDS) == 5
    table = GUIDE[GUIDE.index("## Reading the table"):]
    assert all(column in table for column in kernels.COLUMNS if column not in ("file", "entry"))


def test_its_lines_for_the_registry_are_those_of_the_registry():
    assert all(f"// {key}:" in GUIDE and f"// {key}:" in registry.__doc__ for key in ("entries", "hot", "arch"))
