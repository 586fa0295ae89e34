"""scratchvgg study: one command, one page, one clear line for what cannot be."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import cli
from tests.study.html_check import check

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("jinja2")
NARROW = ("paper_vgg", "--options", "config=A", "width=0.0625", "hidden=16", "--num-classes", "4")


def call(capsys, *args):
    """(status, stdout, stderr)."""
    status = cli.main(["study", *map(str, args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "run"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(path), "--epochs", "1", "--train-size", "128", "--test-size", "40", "--record",
                     "--record-every", "1", "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    return path


def test_one_command_writes_everything(capsys, tmp_path, picture):
    files = {kind: tmp_path / f"out.{kind}" for kind in ("html", "json", "csv")}
    status, out, err = call(capsys, *NARROW, "--image", picture, "--backward", "--repeats", 1, "--layer", "features.3", "--target", 2,
                            *(word for kind, path in files.items() for word in (f"--{kind}", path)))
    assert status == 0 and not err
    assert "features.3" in out and "The weights are random" in out and all(f"written: {path}" in out for path in files.values())
    seen = check(files["html"].read_text("utf-8"))
    assert "The weights are random" in seen and "Target: class 2" in seen and "Conv2d" in seen
    data = json.loads(files["json"].read_text())
    assert data["totals"]["macs"] == sum(row["macs"] for row in data["layers"]) > 0 and data["prediction"]["targets"] == ["class 2"]
    rows = list(csv.DictReader(files["csv"].open(newline="")))
    assert [row["name"] for row in rows] == [row["name"] for row in data["layers"]]


def test_without_options_the_table_is_printed(capsys):
    status, out, err = call(capsys, *NARROW, "--repeats", 0)
    assert status == 0 and not err and "classifier.6" in out and "built-in set" in out and "written" not in out


def test_a_run_shows_its_history_and_its_net(capsys, tmp_path, run_dir):
    status, out, err = call(capsys, run_dir, "--backward", "--repeats", 0, "--html", tmp_path / "run.html")
    assert status == 0 and not err and "recorded steps" in out
    text = (tmp_path / "run.html").read_text("utf-8")
    seen = check(text)
    assert seen.index("History") < seen.index("What the net says") and "Target: " in seen and "random" not in seen.split("What the net says")[0]
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert {"history", "layers", "prediction"} <= data.keys() and data["prediction"]["targets"][0] in sv.data.SampleShapes(size=10).classes
    assert call(capsys, run_dir, "--html", tmp_path / "b.html", "--parts", "history")[0] == 0
    assert "What the net says" not in check((tmp_path / "b.html").read_text("utf-8"))


def test_a_run_without_a_record_shows_its_net(capsys, tmp_path, run_dir):
    bare = tmp_path / "bare"
    shutil.copytree(run_dir, bare)
    (bare / "record.jsonl").unlink()
    status, out, err = call(capsys, bare, "--repeats", 0, "--html", tmp_path / "bare.html", "--parts", "history,prediction")
    assert status == 0 and not err and "--record" in out and "classifier.1" in out
    seen = check((tmp_path / "bare.html").read_text("utf-8"))
    assert "--record" in seen and "What the net says" in seen
    for name in ("best.ckpt", "last.ckpt"):
        (bare / name).unlink()
    status, out, err = call(capsys, bare, "--repeats", 0)
    assert (status, out) == (2, "") and "--record" in err and err.count("\n") == 1


def test_what_cannot_be_is_one_line(capsys, tmp_path, picture):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n")
    sv.save(sv.models.vgg11(num_classes=3).state_dict(), tmp_path / "net.npz")
    for args, said in (
        (("vgg99",), "Unknown model"), (("vgg16", "--image", tmp_path / "bad.png"), "bad.png"), (("vgg16", "--image", "no.png"), "no.png"),
        ((*NARROW, "--layer", "features.33"), "near: features"),
        ((*NARROW, "--target", "cat"), "nobody knows the names"), ((*NARROW, "--target", "9"), "class"),
        (("vgg13", "--weights", tmp_path / "net.npz"), "fits vgg11"), ((*NARROW, "--parts", "layer"), "no part 'layer'"),
        ((*NARROW, "--max-mb", "0"), "--max-mb"), ((*NARROW, "--html", tmp_path / "no" / "a.html"), "no folder"),
        ((*NARROW, "--input-size", "8"), "cannot be run"), ((*NARROW, "--conv", "magic"), "magic"), ((*NARROW, "--repeats", "-1"), "--repeats"),
        ((tmp_path, "--html", tmp_path / "a.html"), str(tmp_path)), (("vgg16", "--input-size", "99999"), "size"),
    ):
        status, out, err = call(capsys, *args)
        assert (status, out) == (2, "") and err.count("\n") == 1 and said in err, (args, err)
    assert not list(tmp_path.glob("*.html"))


def test_the_terminal_needs_numpy_alone():
    hidden = "import sys; sys.modules.update(dict.fromkeys(['PIL', 'jinja2', 'markupsafe', 'matplotlib', 'rich', 'torch'])); "
    run = "from scratchvgg.cli import main; sys.exit(main(['study', 'small_vgg', '--backward', '--repeats', '0', *sys.argv[1:]]))"
    done = subprocess.run([sys.executable, "-c", hidden + run], capture_output=True, text=True)
    assert done.returncode == 0 and "features.0" in done.stdout, done.stderr
    done = subprocess.run([sys.executable, "-c", hidden + run, "--html", "never.html"], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'scratchvgg[study]'" in done.stderr and done.stderr.count("\n") == 1
