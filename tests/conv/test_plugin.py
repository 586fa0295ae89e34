"""A user's file becomes an algorithm; what is wrong with it is said with file and line, and leaves no trace."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.conv import PluginError, Problem, algorithms, candidates, check, get, load_plugin
from scratchvgg.conv.registry import restore, snapshot

from .common import PROBLEMS, assert_within_bounds, operands, passes

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "my_conv.py"
GUIDE = EXAMPLE.parents[1] / "your-own-algorithm.md"
HEAD = "from scratchvgg.conv import Direct, register\n\n\n"


@pytest.fixture(autouse=True)
def _as_it_was():
    held, modules = snapshot(), set(sys.modules)
    yield
    restore(held)
    for name in set(sys.modules) - modules:
        if name.startswith("scratchvgg_plugin_"):
            del sys.modules[name]


def plugin(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def test_the_example():
    assert load_plugin(EXAMPLE) == ["taps"]
    assert "taps" in algorithms()
    report = check("taps", draws=20)
    assert report.ok, report
    assert report.problems > 20
    for g in PROBLEMS.values():
        if get("taps").supports(g, "float32"):
            arrays = operands(g, "float32")
            assert_within_bounds("taps", g, passes(get("taps"), g, *arrays), arrays, "float32")


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("((0, 0), *g.padding, (0, 0))", "((0, 0), g.padding[0][::-1], g.padding[1], (0, 0))", "elements are wrong"),
        ("        gradient = dy.transpose(0, 2, 3, 1)\n", "        gradient = dy.transpose(0, 2, 3, 1)\n        dy *= 2\n", "changed its input dy"),
        ("dw = backend.empty(g.w_shape, x.dtype)", "dw = backend.empty(g.w_shape, 'float64')", "expected float32, got float64"),
    ],
)
def test_the_example_with_a_mistake(tmp_path, right, wrong, message):
    text = EXAMPLE.read_text(encoding="utf-8")
    assert right in text
    path = tmp_path / "mine.py"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    report = check(*load_plugin(path))
    assert not report.ok
    assert message in str(report)


def test_the_guide_shows_the_example():
    """Every indented piece of code in the guide is the file's own; the rest of its Python runs."""
    guide, example = GUIDE.read_text(encoding="utf-8"), EXAMPLE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks[:2]:
        assert block.strip() in example
    for block in blocks[2:]:
        compile(block, "guide", "exec")


def test_the_example_on_the_tape():
    """What the guide ends with: the layer, the function and the setting."""
    load_plugin(EXAMPLE)
    x, w = sv.randn(2, 3, 8, 8), sv.randn(4, 3, 3, 3, requires_grad=True)
    wanted = sv.nn.functional.conv2d(x, w, padding=1)
    y = sv.nn.functional.conv2d(x, w, padding=1, algorithm="taps")
    assert np.allclose(y.detach().numpy(), wanted.detach().numpy(), atol=1e-4)
    y.sum().backward()
    assert w.grad is not None
    with sv.conv.using("taps"):
        assert np.array_equal(sv.nn.functional.conv2d(x, w, padding=1).detach().numpy(), y.detach().numpy())
    layer = sv.nn.Conv2d(3, 4, 3, padding=1, algorithm="taps")
    assert layer(x).shape == (2, 4, 8, 8)


def test_it_is_never_chosen_by_itself_unless_it_tells_its_cost():
    load_plugin(EXAMPLE)
    g = Problem(1, 64, 56, 56, 64, 3, 3, (1, 1), ((1, 1), (1, 1)))
    assert "taps" not in [a.name for a in candidates(g, "float32")]


def test_loading_again_runs_the_changed_file(tmp_path):
    path = plugin(tmp_path, "@register\nclass A(Direct):\n    name = 'first'\n")
    assert load_plugin(path) == ["first"]
    plugin(tmp_path, "@register\nclass A(Direct):\n    name = 'second'\n\n\n@register\nclass B(Direct):\n    name = 'third'\n")
    assert load_plugin(str(path)) == ["second", "third"]
    assert "first" not in algorithms()


def test_two_files_of_one_name_are_two_modules(tmp_path):
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names += load_plugin(plugin(tmp_path / folder, f"@register\nclass A(Direct):\n    name = 'from {folder}'\n"))
    assert names == ["from a", "from b"]
    assert type(get("from a")).__module__ != type(get("from b")).__module__
    assert sys.modules[type(get("from a")).__module__].A is type(get("from a"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("x = 1\n", "registers no algorithm"),
        ("@register\nclass A(Direct):\n    name = 'im2col'\n", r"line 4: ValueError: .*'im2col' is empty or taken"),
        ("@register\nclass A(Direct):\n    name = 'mine'\n\n\n1 / 0\n", r"mine\.py, line 9: ZeroDivisionError"),
        ("def f():\n    return g()\n\n\ndef g():\n    raise KeyError('k')\n\n\nf()\n", r"line 9: KeyError"),
        ("class A(:\n", r"mine\.py, line 4: SyntaxError"),
        ("import no_such_module\n", r"line 4: ModuleNotFoundError"),
        ("from scratchvgg.conv import Algorithm\n\n\n@register\nclass A(Algorithm):\n    name = 'mine'\n", r"line 7: TypeError: .*abstract"),
    ],
)
def test_files_that_fail(tmp_path, text, message):
    before, modules = algorithms(), set(sys.modules)
    with pytest.raises(PluginError, match=message):
        load_plugin(plugin(tmp_path, text))
    assert algorithms() == before
    assert not [m for m in set(sys.modules) - modules if m.startswith("scratchvgg_plugin_")]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.py: no such file"):
        load_plugin(tmp_path / "nowhere.py")


def test_what_was_loaded_before_survives_a_failed_reload(tmp_path):
    path = plugin(tmp_path, "@register\nclass A(Direct):\n    name = 'mine'\n")
    load_plugin(path)
    kept = get("mine")
    plugin(tmp_path, "1 / 0\n")
    with pytest.raises(PluginError):
        load_plugin(path)
    assert get("mine") is kept
