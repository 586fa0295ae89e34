"""scratchvgg diverge: sides from words, a verdict, files, and one line for what is wrong."""

import json
from pathlib import Path

import pytest

import scratchvgg as sv
from scratchvgg.cli import main
from scratchvgg.conv import registry

SMALL = ["small_vgg", "--options", 'widths=[4,"M",6,"M"]', "--num-classes", "3", "--input-size", "8"]
PLUGIN = """
from scratchvgg.conv import get, register

@register
class Off(type(get("im2col"))):
    name = "off"

    def grad_weight(self, backend, problem, dy, x, out=None):
        return 1.01 * super().grad_weight(backend, problem, dy, x)
"""


def test_algorithms(capsys):
    assert main(["diverge", *SMALL, "--algorithms", "im2col,winograd"]) == 0
    out = capsys.readouterr().out
    assert "A      scratchvgg, cpu, float32, convolutions im2col (passes by im2col 6)" in out and "convolutions winograd (passes by winograd" in out
    assert "Rounding. Given the same numbers, no layer of either side" in out and "the weights of small_vgg are random (seed 0)" in out
    assert "input  2×3×8×8, eval mode, cross entropy, forward and backward" in out


def test_a_wrong_plugin_ends_with_status_1(tmp_path, capsys):
    held = registry.snapshot()
    try:
        (tmp_path / "off.py").write_text(PLUGIN)
        assert main(["diverge", *SMALL, "--plugin", str(tmp_path / "off.py"), "--algorithms", "im2col,off", "--json", "-"]) == 1
    finally:
        registry.restore(held)
    found = json.loads(capsys.readouterr().out)
    assert found["first"] == {"forward": None, "backward": "features.4"} and not found["agrees"]
    assert [(layer["name"], quantity) for layer in found["layers"] for quantity, own in layer["own"].items() if own["departs"]] == [
        ("features.0", "weight"), ("features.4", "weight")]


def test_files(tmp_path, capsys):
    pytest.importorskip("jinja2")
    page, numbers = tmp_path / "a.html", tmp_path / "a.json"
    assert main(["diverge", *SMALL, "--dtypes", "float32,float64", "--forward-only", "--html", str(page), "--json", str(numbers)]) == 0
    assert f"{page}: the page" in capsys.readouterr().out and "Divergence" in page.read_text("utf-8")
    saved = json.loads(numbers.read_text("utf-8"))
    assert saved["dtypes"] == ["float32", "float64"] and not saved["backward"] and saved["input_shape"] == [2, 3, 8, 8]


def test_two_files_of_one_net(tmp_path, capsys):
    model = sv.models.cifar_vgg("A", batch_norm=False, num_classes=3)
    sv.save(model.state_dict(), tmp_path / "a.pth")
    model.features[3].bias.detach().array[2] += 1
    sv.save(model.state_dict(), tmp_path / "b.pth")
    assert main(["diverge", str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--input-size", "32", "--batch", "1", "--forward-only"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "B departs forward at features.3 (Conv2d)" in out and "Its bias differs: by 1.0e+00" in out and "are random" not in out


def test_against_torch(capsys):
    pytest.importorskip("torch")
    assert main(["diverge", *SMALL, "--against", "torch", "--mode", "train", "--batch", "3", "--algorithms", "im2col", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "B      PyTorch" in out and "train mode" in out and "seed 3" in out and "input  3×3×8×8" in out


@pytest.mark.parametrize("words, message", [
    (SMALL, "what is to be compared?"),
    ([*SMALL, "--algorithms", "im2col"], "both sides are the same: cpu, float32, im2col"),
    ([*SMALL, "--algorithms", "im2col,nope"], "no convolution algorithm 'nope'"),
    ([*SMALL, "--algorithms", "a,b,c"], "--algorithms: expected A,B or one for both, got 'a,b,c'"),
    ([*SMALL, "--dtypes", "float32,int8"], "dtype: expected one of"),
    ([*SMALL, "--devices", "cpu,tpu"], "device"),
    ([*SMALL, "--against", "torch", "--algorithms", "im2col,winograd"], "PyTorch chooses its own"),
    ([*SMALL, "--against", "jax"], "invalid choice"),
    ([*SMALL, "--against", "torch", "--batch", "0"], "--batch: expected 1 or more, got 0"),
    ([*SMALL, "--dtypes", "float32,float64", "--plugin", "nowhere.py"], "no such file"),
    (["small_vgg", "cifar_vgg"], "two different nets: features.0 is Conv2d"),
    (["small_vgg", "cifar_vgg", "vgg11"], "expected one model or two, got 3"),
    (["nothing", "--against", "torch"], "nothing"),
    (["fast_vgg", "--algorithms", "im2col,auto"], "output is that of their last layer"),
    ([*SMALL[:-1], "2", "--dtypes", "float32,float64"], "max_pool2d"),
])
def test_one_line_for_what_is_wrong(words, message, capsys):
    assert main(["diverge", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not list(Path(".").glob("diverge*"))
