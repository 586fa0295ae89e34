"""docs/choosing-an-algorithm.md keeps its word."""

import re
from pathlib import Path

import pytest

from scratchvgg import conv
from scratchvgg.conv import candidates, cost

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "choosing-an-algorithm.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path))
    monkeypatch.delenv("SCRATCHVGG_CONV")
    conv.answers.forget()
    yield
    conv.answers.forget()


def test_its_python_runs(capsys):
    compare, tune = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(compare, "choosing-an-algorithm.md", "exec"), {})
    assert 0 < float(capsys.readouterr().out) < 1e-4
    exec(compile(tune, "choosing-an-algorithm.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[5].rstrip(":") for line in lines} == set(conv.PASSES)


def test_its_numbers_are_those_of_the_code():
    assert f"| float32, float16, bfloat16 | {conv.error_limit('float32'):g} |" in GUIDE and f"| float64 | {conv.error_limit('float64'):g} |" in GUIDE
    assert conv.error_limit("float16") == conv.error_limit("bfloat16") == conv.error_limit("float32")
    assert f"| {cost.GEMM:g} operations" in GUIDE and f"| {cost.COPY:g} numbers" in GUIDE and f"| {cost.CALL / 1000:g} µs" in GUIDE
    assert f"of more than {conv.prepared.WHOLE} numbers" in GUIDE and f"{conv.prepared.SAMPLE} of them" in GUIDE
    assert f"must be {100 - 100 * conv.answers.MARGIN:.0f} % faster" in GUIDE


def test_its_modes_and_names():
    assert re.findall(r"- \*\*`(\w+)`\*\*", GUIDE) == list(conv.MODES)
    for name in re.findall(r"sv\.conv\.(\w+)", GUIDE):
        assert hasattr(conv, name), name


def test_what_it_says_about_vgg():
    first = conv.Problem(1, 3, 224, 224, 64, 3, 3, (1, 1), ((1, 1), (1, 1)))
    assert candidates(first, "float32", prepared=True)[0].name == "im2col"
    layers = (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 14)
    for c, k, size in layers:
        g = conv.Problem(1, c, size, size, k, 3, 3, (1, 1), ((1, 1), (1, 1)))
        assert candidates(g, "float32", prepared=True)[0].name == "winograd4x4"
        ratio = conv.get("winograd4x4").error_bound(g, "float32") / conv.get("im2col").error_bound(g, "float32")
        assert 6 <= ratio <= 12
