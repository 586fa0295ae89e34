"""scratchvgg explain: text, files, and one line for what cannot be done."""

import json

import numpy as np
import pytest

from scratchvgg.cli import main

NET = ["explain", "small_vgg", "--options", 'widths=[4,"M",6,"M"]', "--num-classes", "3", "--input-size", "16"]


def run(capsys, *words):
    status = main([*NET, *words])
    out = capsys.readouterr()
    return status, out.out, out.err


def test_without_a_layer_they_are_listed(capsys):
    status, out, _ = run(capsys)
    assert status == 0 and "features.0    conv2d" in out and "loss" in out and "Choose one with --layer" in out and "avgpool" not in out


def test_a_pixel_of_a_convolution(capsys, tmp_path):
    path = tmp_path / "numbers.json"
    status, out, _ = run(capsys, "--layer", "features.4", "--channel", "5", "--pixel", "0,7", "--json", str(path), "--conv", "reproducible")
    assert status == 0 and "output [sample 0, channel 5, row 0, column 7]" in out and "col2im" in out and "BEYOND" not in out
    assert "The weights are random" in out and f"written: {path}" in out
    (it,) = json.loads(path.read_text("utf-8"))["layers"]
    total = float(np.sum(np.float32(it["patch"]).astype(np.float64) * np.float32(it["filter"]))) + it["bias"]
    assert total == pytest.approx(it["stored"], abs=1e-5) and it["algorithms"]["forward"] == "im2col"
    assert it["backward"]["overlap"] == [[0, 0, 0], [6, 4, 0], [9, 6, 0]], "the top right corner of 8×8"


def test_forward_alone_has_no_gradients(capsys):
    status, out, _ = run(capsys, "--layer", "features.0", "--forward-only")
    assert status == 0 and "Backward" not in out and "max |shown − engine|" in out


def test_several_layers_in_training(capsys, tmp_path):
    pytest.importorskip("jinja2")
    html, dot = tmp_path / "page.html", tmp_path / "tape.dot"
    layers = [word for name in ("features.1", "features.3", "loss") for word in ("--layer", name)]
    status, out, _ = run(capsys, "--mode", "train", "--batch", "2", "--sample", "1", "--target", "2", *layers, "--html", str(html), "--dot", str(dot))
    assert status == 0 and "the batch's, over 512 values" in out and "max-pooling" in out and "2 ← target" in out
    page = html.read_text("utf-8")
    assert page.count('<section id="layer-') == 3 and "Content-Security-Policy" in page and "http" not in page.replace("http-equiv", "")
    assert dot.read_text("utf-8").startswith("digraph tape {")


@pytest.mark.parametrize(("words", "message"), [
    (["--layer", "features.40"], "no layer 'features.40' took part in the run; near: features.4"),
    (["--layer", "features"], "computes nothing itself"),
    (["--layer", "features.0", "--channel", "4"], "channel: expected a number from 0 to 3, got 4"),
    (["--layer", "features.0", "--pixel", "3"], "--pixel: expected a row and a column such as 10,12, got '3'"),
    (["--layer", "features.0", "--pixel", "3,16"], "column: expected a number from 0 to 15, got 16"),
    (["--layer", "features.0", "--sample", "1"], "sample: expected a number from 0 to 0, got 1"),
    (["--layer", "loss", "--pixel", "1,1"], "--pixel: loss has none"),
    (["--layer", "classifier.0"], "dropout is off"),
    (["--json", "x.json"], "say with --layer"),
    (["--layer", "loss", "--json", "nowhere/x.json"], "there is no folder"),
    (["--layer", "loss", "--backward", "--forward-only"], "not allowed with"),
])
def test_one_line_for_bad_input(capsys, words, message):
    status, out, err = run(capsys, *words)
    assert status == 2 and message in err and err.count("\n") == 1 and out == ""
