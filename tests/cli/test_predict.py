"""scratchvgg predict: the numbers of the library, names, broken pictures, and what the user reads."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import cli, evaluate
from scratchvgg.cli.commands import predict
from scratchvgg.data import DataError, ImageClassification, read_image, read_picture, transforms
from scratchvgg.evaluate import protocols
from scratchvgg.models import imagenet_categories, load_net
from scratchvgg.train import load_model
from tests.evaluate.nets import draw
from tests.models import narrow_vgg11

Image = pytest.importorskip("PIL.Image")
SIDES = [(300, 260), (256, 400), (301, 277)]


def call(capsys, *args):
    """(status, stdout, stderr)."""
    status = cli.main(["predict", *map(str, args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def answer(capsys, *args, status=0):
    """The JSON object."""
    found, out, err = call(capsys, *args, "--json")
    assert found == status, err
    return json.loads(out)


def table(result, classes=None):
    """Probabilities (N, classes) of a JSON object that has all classes."""
    rows = []
    for entry in result["predictions"]:
        row = np.full(classes or len(entry["classes"]), np.nan)
        row[[c["index"] for c in entry["classes"]]] = [c["probability"] for c in entry["classes"]]
        rows.append(row)
    return np.array(rows)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("predict") / "run"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(path), "--epochs", "1", "--train-size", "96", "--test-size", "40",
                     "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i, (width, height) in enumerate(SIDES):
        rng = np.random.default_rng(i)
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        small.resize((width, height)).save(folder / f"p{i + 9}.png")  # p9, p10, p11
    return [folder / f"p{i + 9}.png" for i in range(len(SIDES))]


@pytest.fixture
def weights(tmp_path):
    """A file of a narrow VGG-11 with 1000 classes, which goes by that name meanwhile."""
    with narrow_vgg11.narrow():
        sv.save(draw(sv.models.vgg11(), 3).state_dict(), tmp_path / "some.pth")
        yield tmp_path / "some.pth"


# ---- the numbers -----------------------------------------------------------------------------------------------------


def test_weights_of_a_file(weights, pictures, capsys):
    result = answer(capsys, *pictures, "--weights", weights, "--top", 1000)
    assert {key: value for key, value in result.items() if key != "predictions"} == {
        "model": "vgg11", "weights": str(weights), "protocol": "center", "scales": [256], "tta": "none"}
    assert [entry["image"] for entry in result["predictions"]] == list(map(str, pictures))
    net, categories = load_net("vgg11", weights), imagenet_categories()
    expected = evaluate.predict(net.model, np.stack([ImageClassification()(path) for path in pictures]))
    assert np.allclose(table(result), expected, rtol=1e-5, atol=0) and np.allclose(table(result).sum(1), 1)
    assert np.ptp(expected, axis=0).max() > 0.01, "the net tells the pictures apart"
    for entry in result["predictions"]:
        chances = [c["probability"] for c in entry["classes"]]
        assert chances == sorted(chances, reverse=True) and all(c["name"] == categories[c["index"]] for c in entry["classes"])


def test_numbers_are_torchs(weights, pictures, capsys):
    """The whole way, from the file of the picture and that of the weights, beside torch's and torchvision's."""
    from tests.torchvision_reference import torchvision

    torch, vision = pytest.importorskip("torch"), torchvision()
    state = torch.load(weights)
    net = vision.models.VGG(vision.models.vgg.make_layers(narrow_vgg11.CONFIG))
    net.classifier = torch.nn.Sequential(torch.nn.Linear(6 * 49, 16), torch.nn.ReLU(), torch.nn.Identity(), torch.nn.Linear(16, 16), torch.nn.ReLU(),
                                         torch.nn.Identity(), torch.nn.Linear(16, 1000))
    net.load_state_dict(state)
    prepare = vision.models.VGG11_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        expected = net.eval()(torch.stack([prepare(Image.open(path).convert("RGB")) for path in pictures])).softmax(1).numpy()
    assert np.allclose(table(answer(capsys, *pictures, "--weights", weights, "--top", 1000)), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("protocol", predict.PROTOCOLS)
@pytest.mark.parametrize("scales", [(224,), (224, 240)], ids=str)
def test_protocols(weights, pictures, capsys, protocol, scales):
    result = answer(capsys, *pictures, "--weights", weights, "--top", 1000, "--protocol", protocol, "--scale", ",".join(map(str, scales)),
                    "--batch-size", 32)
    net, images = load_net("vgg11", weights), [read_picture(path) for path in pictures]
    parts = protocols.FUSED.get(protocol, (protocol,))
    expected = protocols.fuse(protocols.posteriors(net.model, images, part, scales, net.preset) for part in parts)
    assert np.allclose(table(result), expected, rtol=1e-5, atol=0)
    assert result["protocol"] == protocol and result["scales"] == list(scales)


def test_the_protocols_are_all_there_are():
    assert set(predict.PROTOCOLS) == {*protocols.PHOTO_PROTOCOLS, *protocols.FUSED}


def test_batches_do_not_matter(weights, pictures, capsys):
    whole = table(answer(capsys, *pictures, *pictures, "--weights", weights, "--top", 1000))
    for size in (1, 4):
        found = answer(capsys, *pictures, *pictures, "--weights", weights, "--top", 1000, "--batch-size", size)
        assert np.allclose(table(found), whole, rtol=1e-5, atol=0)


def test_precision(weights, pictures, capsys):
    tables = {p: table(answer(capsys, *pictures, "--weights", weights, "--top", 1000, "--precision", p)) for p in ("float32", "float64", "float16")}
    assert np.abs(tables["float64"] - tables["float32"]).max() < 1e-5 and not np.array_equal(tables["float64"], tables["float32"])
    assert 1e-6 < np.abs(tables["float16"] - tables["float32"]).max() < 1e-2
    dense = answer(capsys, *pictures, "--weights", weights, "--precision", "float64", "--protocol", "dense", "--scale", 224)
    assert dense["predictions"][0]["classes"][0]["probability"] > 0


@pytest.mark.parametrize("tta", ["none", "flip", "shift"])
def test_a_net_trained_here(run_dir, pictures, capsys, tta):
    result = answer(capsys, *pictures, "--checkpoint", run_dir, "--tta", tta, "--top", 99)
    model, state = load_model(run_dir)
    images = np.stack([read_image(path, tuple(state["data"]["shape"][1:])) for path in pictures])
    with sv.conv.using("reproducible"):
        expected = evaluate.predict(model, transforms.Normalize(state["data"]["mean"], state["data"]["std"])(images), tta)
    assert np.array_equal(table(result).astype(np.float32), expected), "cut as training cuts pictures, by the recipe's convolutions"
    assert {c["name"] for c in result["predictions"][0]["classes"]} == set(state["data"]["classes"])
    assert result["model"] == "small_vgg" and result["weights"] == str(run_dir / "best.ckpt") and result["scales"] == [32]


def test_a_net_trained_here_by_a_protocol(run_dir, pictures, capsys):
    result = answer(capsys, *pictures, "--checkpoint", run_dir, "--protocol", "dense", "--scale", 40, "--top", 99)
    model, state = load_model(run_dir)
    preset = ImageClassification(32, 32, state["data"]["mean"], state["data"]["std"])
    with sv.conv.using("reproducible"):
        expected = protocols.posteriors(model, [read_picture(path) for path in pictures], "dense", 40, preset)
    assert np.allclose(table(result), expected, rtol=1e-5, atol=0)


def test_on_the_emulator(run_dir, pictures, capsys):
    here = table(answer(capsys, pictures[0], "--checkpoint", run_dir, "--top", 99))
    assert np.allclose(table(answer(capsys, pictures[0], "--checkpoint", run_dir, "--top", 99, "--device", "emulator")), here, rtol=1e-4)


# ---- what is classified ----------------------------------------------------------------------------------------------


def test_folders_and_patterns(run_dir, pictures, capsys, monkeypatch):
    folder = pictures[0].parent
    named = [entry["image"] for entry in answer(capsys, folder, "--checkpoint", run_dir)["predictions"]]
    assert named == list(map(str, pictures)), "in natural order"
    monkeypatch.chdir(folder)
    named = [entry["image"] for entry in answer(capsys, "p1*.png", "p9.png", "--checkpoint", run_dir)["predictions"]]
    assert named == ["p10.png", "p11.png", "p9.png"]
    named = [entry["image"] for entry in answer(capsys, "**/*9.png", "--checkpoint", run_dir)["predictions"]]
    assert named == ["p9.png"]


def test_a_name_that_looks_like_a_pattern(run_dir, pictures, tmp_path, capsys):
    (tmp_path / "a[1].png").write_bytes(pictures[0].read_bytes())
    assert len(answer(capsys, tmp_path / "a[1].png", "--checkpoint", run_dir)["predictions"]) == 1


@pytest.mark.parametrize("size", [1, 2, 16])
def test_broken_pictures_do_not_stop_the_others(run_dir, pictures, tmp_path, capsys, size):
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:300])
    (tmp_path / "text.png").write_text("no picture")
    names = [tmp_path / "cut.png", pictures[0], tmp_path / "text.png", tmp_path / "none.png", pictures[1]]
    status, out, err = call(capsys, *names, "--checkpoint", run_dir, "--json", "--batch-size", size)
    found = json.loads(out)["predictions"]
    assert status == 1 and [entry["image"] for entry in found] == list(map(str, names))
    assert ["".join(sorted(entry)) for entry in found] == ["errorimage", "classesimage", "errorimage", "errorimage", "classesimage"]
    assert "cut.png" not in found[0]["error"] and found[3]["error"] == "there is no such file"
    lines = err.splitlines()
    assert len(lines) == 4 and all(f"{names[i]}: {found[i]['error']}" in line for i, line in zip((0, 2, 3), lines, strict=False))
    assert lines[3] == "scratchvgg predict: 3 of 5 pictures could not be read"
    status, out, err = call(capsys, names[0], "--checkpoint", run_dir)
    assert status == 1 and err.count("\n") == 1 and "cut.png: it cannot be read as a picture" in err and "%" not in out


def test_a_thin_picture_is_a_broken_one(run_dir, pictures, tmp_path, capsys):
    Image.new("RGB", (300_000, 1)).save(tmp_path / "thin.png")
    for more in ([], ["--protocol", "dense"], ["--scale", "64"]):
        found = answer(capsys, tmp_path / "thin.png", pictures[0], "--checkpoint", run_dir, *more, status=1)["predictions"]
        assert "scaled from 300000 × 1" in found[0]["error"] and found[1]["classes"]


def test_nothing_of_pillows_is_said_or_left(run_dir, tmp_path, capsys):
    from tests.data import picture_files

    (tmp_path / "bomb.png").write_bytes(picture_files.png(10_000, 10_000))
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        status, _, err = call(capsys, tmp_path / "bomb.png", "--checkpoint", run_dir)
    assert status == 1 and "10000 × 10000 pixels" in err and err.count("\n") == 1
    assert not [w for w in seen if "PIL" in w.filename] and warnings.filters == before


# ---- what the user reads ---------------------------------------------------------------------------------------------


def test_the_text(weights, pictures, capsys):
    status, out, err = call(capsys, *pictures[:2], "--weights", weights, "--top", 3)
    head, *blocks = out.rstrip("\n").split("\n\n")
    assert (status, err) == (0, "") and head == f"vgg11 with {weights}: center at scale 256" and len(blocks) == 2
    found = answer(capsys, pictures[0], "--weights", weights, "--top", 3)["predictions"][0]["classes"]
    name, *lines = blocks[0].splitlines()
    assert name == str(pictures[0]) and len(lines) == 3
    for line, c in zip(lines, found, strict=True):
        assert line.startswith(f"  {100 * c['probability']:6.2f} %  {c['name']}")
        assert abs(line.count("█") + line.count("▌") / 2 - 20 * c["probability"]) <= 0.25


def test_bars_and_names():
    result = {"image": "a.png", "classes": [{"index": 4, "name": "cat", "probability": 0.7749}, {"index": 10, "name": None, "probability": 0.0001}]}
    assert predict._shown(result) == "a.png\n   77.49 %  cat       ███████████████▌\n    0.01 %  class 10"


def test_a_terminal_without_blocks(monkeypatch):
    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    assert predict._shown({"image": "a", "classes": [{"index": 0, "name": "x", "probability": 0.5}]}) == "a\n   50.00 %  x  ##########"


def test_classes_that_nobody_named(pictures, tmp_path, capsys):
    with narrow_vgg11.narrow():
        sv.save(narrow_vgg11.state(7), tmp_path / "seven.safetensors")
        result = answer(capsys, pictures[0], "--weights", tmp_path / "seven.safetensors", "--top", 99)
        assert [c["name"] for c in result["predictions"][0]["classes"]] == [None] * 7
        assert "class 6" in call(capsys, pictures[0], "--model", "vgg11", "--weights", tmp_path / "seven.safetensors", "--top", 99)[1]


def test_progress_in_a_terminal(run_dir, pictures):
    """One line that changes on stderr, away when it is done; the results are not disturbed."""
    ours, theirs = pytest.importorskip("pty").openpty()
    seen = bytearray()

    def read():
        with contextlib.suppress(OSError):  # Linux's way to say that the other end has gone
            while part := os.read(ours, 4096):
                seen.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-m", "scratchvgg", "predict", *pictures, *pictures, "--checkpoint", run_dir, "--json", "--batch-size", "2"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=120)
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == 0 and len(json.loads(done.stdout)["predictions"]) == 6
    text = seen.decode()
    assert "2 of 6 pictures, " in text and "4 of 6 pictures" in text and " a second, 0:00 left" in text and "\n" not in text
    assert text.endswith("\r\033[K")


def test_progress_elsewhere_is_a_line_now_and_then(run_dir, pictures, capsys, monkeypatch):
    monkeypatch.setattr(predict, "REPORT_SECONDS", 0.0)
    status, _, err = call(capsys, *pictures, "--checkpoint", run_dir, "--batch-size", 1)
    assert status == 0 and [line[:15] for line in err.splitlines()] == ["1 of 3 pictures", "2 of 3 pictures"]


def test_pictures_are_decoded_ahead_and_not_far(monkeypatch, pictures):
    read = []
    monkeypatch.setattr("scratchvgg.data.read_picture", lambda path: read.append(path) or read_picture(path))
    found = predict._ahead([str(pictures[0])] * 100, lambda picture: picture.size)
    next(found)
    found.close()
    assert 1 <= len(read) <= predict.AHEAD + 2


def test_errors_of_our_own_are_not_hidden(monkeypatch, pictures):
    def broken(picture):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(predict._ahead([str(pictures[0])], broken))

    def refuse(picture):
        raise DataError("no")

    assert list(predict._ahead(["x", str(pictures[0])], refuse)) == [("x", None, "there is no such file"), (str(pictures[0]), None, "no")]


# ---- what is refused -------------------------------------------------------------------------------------------------

BAD = [
    (["a.png"], "no weights: give --weights an entry of torchvision's (--model vgg16 --weights IMAGENET1K_V1 downloads it once), a file"),
    (["a.png", "--model", "vgg19_bn"], "(--model vgg19_bn --weights IMAGENET1K_V1 downloads it once)"),
    (["a.png", "--weights", "none.pth"], "none.pth"),
    (["a.png", "--weights", "WEIGHTS", "--model", "vgg99"], "vgg99"),
    (["a.png", "--weights", "WEIGHTS", "--model", "vgg13"], "fits vgg11, not vgg13"),
    (["a.png", "--weights", "a.png"], "a.png"),
    (["a.png", "--weights", "WEIGHTS", "--checkpoint", "x"], "leave out --model and --weights"),
    (["a.png", "--weights", "WEIGHTS", "--top", "0"], "--top: expected 1 or more, got 0"),
    (["a.png", "--weights", "WEIGHTS", "--batch-size", "-1"], "--batch-size: expected 1 or more, got -1"),
    (["a.png", "--weights", "WEIGHTS", "--scale", "big"], "--scale: expected pixels, several between commas, got 'big'"),
    (["a.png", "--weights", "WEIGHTS", "--scale", "200"], "scale: expected at least one, none smaller than the crop of 224 pixels, got [200]"),
    (["a.png", "--weights", "WEIGHTS", "--protocol", "sparse"], "invalid choice: 'sparse'"),
    (["a.png", "--weights", "WEIGHTS", "--protocol", "ten", "--tta", "flip"], "--tta: only with the protocol center"),
    (["a.png", "--weights", "WEIGHTS", "--scale", "256,384", "--tta", "flip"], "--tta: only with one scale"),
    (["a.png", "--weights", "WEIGHTS", "--device", "tpu"], "--device: "),
    (["a.png", "--weights", "WEIGHTS", "--conv", "fast"], "conv: no convolution algorithm 'fast'"),
    (["*.gif", "--weights", "WEIGHTS"], "*.gif: nothing has such a name"),
    ([".", "--weights", "WEIGHTS"], ".: no pictures in this folder"),
    (["--weights", "WEIGHTS"], "the following arguments are required: IMAGE"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "")
def test_bad_input_is_one_line_and_status_2(weights, args, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    status, out, err = call(capsys, *[str(weights) if arg == "WEIGHTS" else arg for arg in args])
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("scratchvgg predict: error: ") and message in err


def test_weights_without_a_classifier(weights, pictures, tmp_path, capsys):
    state = sv.load(weights)
    state["classifier.6.bias"].fill_(float("nan"))
    sv.save(state, tmp_path / "features.pth")
    status, _, err = call(capsys, pictures[0], "--weights", tmp_path / "features.pth")
    assert status == 2 and "features.pth: the net's output is not finite" in err and err.count("\n") == 1


def test_the_documented_json_is_what_comes(run_dir, pictures, capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    documented = capsys.readouterr().out
    result = answer(capsys, pictures[0], pictures[0].parent / "none.png", "--checkpoint", run_dir, status=1)
    keys = {*result, *result["predictions"][0], *result["predictions"][1], *result["predictions"][0]["classes"][0]}
    assert all(f'"{key}": ' in documented for key in keys)
