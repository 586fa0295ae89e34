"""scratchvgg attribute: the files and lines it writes, the numbers of the library, and what it refuses."""

import json

import numpy as np
import pytest

from scratchvgg import cli
from scratchvgg.models import load_net
from scratchvgg.study import attribution
from tests.models import narrow_vgg11
from tests.study import html_check

Image = pytest.importorskip("PIL.Image")


def call(capsys, *args):
    """(status, stdout, stderr)."""
    status = cli.main(["attribute", *map(str, args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("attribute") / "run"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(path), "--epochs", "1", "--train-size", "96", "--test-size", "40",
                     "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 44, 3), np.uint8)).save(path)
    return path


def test_a_line_and_a_file_for_each_method(run_dir, picture, tmp_path, capsys):
    status, out, err = call(capsys, picture, "--checkpoint", run_dir, "--method", "all", "--out", tmp_path / "maps", "--patch", 8, "--class", "ring")
    assert (status, err) == (0, "")
    head, *lines = out.splitlines()
    assert head == f"small_vgg with {run_dir / 'best.ckpt'}" and len(lines) == len(attribution.METHODS)
    net = load_net(None, run_dir)
    x = net.preset(picture)
    for line in lines:
        method = line.split()[0]
        options = {"patch": 8} if method == "occlusion" else {}
        made = attribution.METHODS[method](net.model, x, "ring", preset=net.preset, categories=net.categories, **options)
        assert line == f"{made} -> {tmp_path / 'maps' / f'cat-{method}.png'}" and "for ring (" in line
        pixels = np.asarray(Image.open(tmp_path / "maps" / f"cat-{method}.png"))
        assert pixels.shape == (224, 224, 3), "32 pixels, seven times enlarged"
        assert np.array_equal(pixels[3::7, 3::7], made.overlay())
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == sorted(f"cat-{method}.png" for method in attribution.METHODS)


def test_json_and_several_pictures(run_dir, picture, tmp_path, capsys):
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "cat.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(other)
    status, out, err = call(capsys, picture, other, "--checkpoint", run_dir, "--out", tmp_path / "m", "--json", "--sanity", "--stages", 2, "--layer",
                            "features.2")
    result = json.loads(out)
    assert (status, err) == (0, "") and result["model"] == "small_vgg" and result["notes"] == []
    first, second = result["pictures"]
    assert [first["image"], second["image"]] == [str(picture), str(other)]
    assert [m["method"] for m in first["maps"]] == ["grad-cam", "guided", "gradient"] and first["maps"][0]["layer"] == "features.2"
    assert len({m["target"]["index"] for m in first["maps"]}) == 1, "one class for all"
    assert second["files"][0] == str(tmp_path / "m" / "cat-2-grad-cam.png") and len(list((tmp_path / "m").iterdir())) == 6
    assert len(first["sanity"]["stages"]) == 3 and first["sanity"]["verdicts"].keys() == {"grad-cam", "guided", "gradient"}


def test_random_weights_say_that_they_mean_nothing(picture, tmp_path, capsys):
    with narrow_vgg11.narrow():
        status, out, _ = call(capsys, picture, "--model", "vgg11", "--out", tmp_path, "--method", "gradient", "--html", tmp_path / "page.html")
    assert status == 0 and out.splitlines()[:2] == ["vgg11 with random weights",
                                                    "The weights are random: the net has learnt nothing, so these maps mean nothing."]
    text = html_check.check((tmp_path / "page.html").read_text("utf-8"))
    assert "these maps mean nothing" in text and "vgg11" in text


def test_the_check_and_the_page(run_dir, picture, tmp_path, capsys):
    status, out, _ = call(capsys, picture, "--checkpoint", run_dir, "--out", tmp_path, "--sanity", "--html", tmp_path / "page.html")
    assert status == 0 and "random from" in out and "guided: " in out and "rank correlation with the picture's edges" in out
    text = html_check.check((tmp_path / "page.html").read_text("utf-8"))
    assert "Do the maps depend on what the net learnt?" in text and "mean nothing" not in text


def test_weights_of_a_file(picture, tmp_path, capsys):
    import scratchvgg as sv

    with narrow_vgg11.narrow():
        sv.save(narrow_vgg11.state(7), tmp_path / "seven.safetensors")
        for more in (["--model", "vgg11"], []):
            status, out, err = call(capsys, picture, "--weights", tmp_path / "seven.safetensors", *more, "--method", "gradient", "--out", tmp_path,
                                    "--class", "6")
            assert status == 0, err
            assert f"vgg11 with {tmp_path / 'seven.safetensors'}" in out and "for class 6 (" in out


def test_on_the_emulator(run_dir, picture, tmp_path, capsys):
    status, out, err = call(capsys, picture, "--checkpoint", run_dir, "--device", "emulator", "--method", "grad-cam", "--out", tmp_path)
    assert status == 0 and "grad-cam for " in out, err


BAD = [
    (["--layer", "features.22"], "layer: there is no layer 'features.22'; near: features.2"),
    (["--layer", "classifier.1"], "classifier.1 makes (1, 10); Grad-CAM needs a layer with height and width"),
    (["--class", "rng"], "target: there is no class 'rng'; near: ring"),
    (["--class", "10"], "there is no class '10'; expected a number from 0 to 9"),
    (["--method", "gradcam"], "no method 'gradcam'; near: grad-cam"),
    (["--method", "gradient", "--layer", "features.2"], "--layer: it is Grad-CAM's"),
    (["--patch", "4"], "--patch, --stride: they are occlusion's"),
    (["--method", "occlusion", "--patch", "40"], "patch, stride: expected 1 ≤ stride ≤ patch ≤ 32"),
    (["--stages", "2"], "--stages: expected 1 or more, with --sanity, got 2"),
    (["--model", "vgg16"], "leave out --model and --weights"),
    (["--device", "tpu"], "device: "),
    (["--conv", "fast"], "no convolution algorithm 'fast'"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_and_status_2(run_dir, picture, args, message, tmp_path, capsys):
    status, out, err = call(capsys, picture, "--checkpoint", run_dir, "--out", tmp_path / "maps", *args)
    assert status == 2 and err.count("\n") == 1 and err.startswith("scratchvgg attribute: error: ") and message in err
    assert not (tmp_path / "maps").exists() and " -> " not in out, "nothing was written"


@pytest.mark.parametrize(("args", "message"), [
    (["none.png", "--model", "vgg11"], "none.png: there is no such file"), (["PICTURE", "--checkpoint", "nowhere"], "no folder or file 'nowhere'"),
    (["PICTURE", "--model", "vgg99"], "vgg99"), (["PICTURE", "--weights", "none.pth"], "none.pth")], ids=str)
def test_what_is_not_there(picture, args, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with narrow_vgg11.narrow():
        status, _, err = call(capsys, *[str(picture) if arg == "PICTURE" else arg for arg in args])
    assert status == 2 and err.count("\n") == 1 and message in err and not list(tmp_path.iterdir())
