"""``scratchvgg eval`` on photographs: the table, JSON, files, interruption by signals, and one clear line for bad input."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scratchvgg import cli
from scratchvgg.cli.commands import eval as eval_command
from scratchvgg.cli.parser import Parser
from scratchvgg.data.presets import ImageClassification
from scratchvgg.models import small_vgg

Image = pytest.importorskip("PIL.Image")
ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["disc", "ring", "square", "bars"]


def call(capsys, *args):
    """(status, stdout, stderr) of ``scratchvgg eval`` in this process."""
    status = cli.main(["eval", *map(str, args)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("eval") / "run"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(path), "--epochs", "1", "--train-size", "96", "--test-size", "40",
                     "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with ``labels.csv`` of ten pictures: 8 is broken, 9 has no label; and ``classes/`` with a picture in each of ten folders."""
    path = tmp_path_factory.mktemp("photos")
    rows = ["file,class_index"]
    for index in range(10):
        image = Image.fromarray(np.random.default_rng(index).integers(0, 256, (40, 36 + 4 * index, 3), np.uint8))
        image.save(path / f"{index}.png")
        (path / "classes" / f"class{index}").mkdir(parents=True)
        image.save(path / "classes" / f"class{index}" / "a.png")
        rows.append(f"{index}.png,{index if index < 9 else -1}")
    (path / "8.png").write_bytes((path / "8.png").read_bytes()[:200])
    (path / "labels.csv").write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_table_of_pictures(run_dir, photos, capsys, tmp_path):
    status, out, err = call(capsys, "--csv", photos / "labels.csv", "--checkpoint", run_dir, "--protocol", "center,dense,multicrop,both",
                            "--scales", "32,36")
    assert status == 1, "a picture was broken"
    assert "10 pictures of " in out and "8 of them labelled; small_vgg (best.ckpt)" in out
    rows = re.findall(r"^(center|dense|multicrop|both) +(32|36|32,36) +small_vgg +(\d+\.\d\d) +[\d.]+–[\d.]+ +(\d+\.\d\d) ", out, re.MULTILINE)
    assert [row[:2] for row in rows] == [(p, q) for p in ("center", "dense", "multicrop", "both") for q in ("32", "36", "32,36")]
    assert "without a label: 1 picture, " in out and "could not be read: 1 picture, " in out and "8.png" in out.partition("could not")[2]
    assert "intervals are wide: with 8 pictures each is 12 %" in out and "MB of memory at most" in out
    assert re.search(r"small_vgg at Q 32,36: dense evaluation took 1/\d+\.\d of the time of multi-crop", out)
    assert "paper" not in out and "8.png: skipped: " in err
    folder = tmp_path / "runs" / "eval-small_vgg-1"
    assert {path.name for path in folder.iterdir()} == {"predictions.jsonl", "result.json", "settings.json"}
    assert "runs/eval-small_vgg-1: predictions.jsonl, result.json, settings.json" in out
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == [*range(9), None] and [i for i, line in enumerate(lines) if "error" in line] == [8]
    result = json.loads((folder / "result.json").read_text())
    assert [(f"{r['top1_error']:.2f}", f"{r['top5_error']:.2f}") for r in result["rows"]] == [row[2:] for row in rows]
    wrong = sum(line["rows"]["small_vgg both@32,36"]["rank"] > 1 for line in lines[:8])
    assert result["rows"][-1]["top1_error"] == 100 * wrong / 8


def test_json_and_limit_and_numbered_folders(run_dir, photos, capsys):
    args = ("--folder", photos / "classes", "--checkpoint", run_dir, "--json", "--top", 2)
    status, out, err = call(capsys, *args)
    result = json.loads(out)
    assert (status, err) == (0, "") and result["out"] == "runs/eval-small_vgg-1" and result["labelled"] == 10 and result["rows"][0]["scales"] == [32]
    assert json.loads(Path(result["out"], "predictions.jsonl").read_text().splitlines()[3])["file"] == "class3/a.png"
    some = json.loads(call(capsys, *args, "--limit", 4)[1])
    assert some["images"] == 4 and some["out"] == "runs/eval-small_vgg-2"
    line = json.loads(Path(some["out"], "predictions.jsonl").read_text().splitlines()[0])
    assert len(line["rows"]["small_vgg center@32"]["classes"]) == 2


def test_a_run_on_its_own_test_set(run_dir, capsys):
    """The centre crop at the training size is what eval without protocols computes."""
    plain = json.loads(call(capsys, run_dir, "--json", "--tta", "none", "--test-size", 200)[1])
    result = json.loads(call(capsys, run_dir, "--protocol", "center,five", "--json", "--limit", 2000)[1])
    whole = json.loads(call(capsys, "--data", "sample", "--checkpoint", run_dir, "--json", "--out", "o")[1])
    assert whole["rows"][0]["top1_error"] == result["rows"][0]["top1_error"] and result["labelled"] == whole["labelled"] >= 200
    ranks = [json.loads(line)["rows"]["small_vgg center@32"]["rank"] for line in Path("o", "predictions.jsonl").read_text().splitlines()]
    assert sum(rank == 1 for rank in ranks[:200]) == round(plain["accuracy"] * 200)


@pytest.fixture
def loader(monkeypatch):
    """Stands in for models/loading.py: narrow nets under the names of wide ones, trained on nothing."""
    from scratchvgg.array import manual_seed
    from scratchvgg.models import loading

    def load_net(name=None, weights=None):
        if weights not in ("a.pth", "b.pth", "DEFAULT"):
            raise FileNotFoundError(f"{weights}: there is no such file")
        manual_seed(len(name) + ord(weights[0]))
        model = small_vgg([4, "M", 6], num_classes=4).eval()
        return loading.LoadedNet(model, ImageClassification(24, 26), CLASSES, name or "vgg11", weights)

    monkeypatch.setattr(loading, "load_net", load_net)


def test_several_nets_and_their_fusion(loader, photos, capsys):
    (photos / "four.tsv").write_text("path\tlabel\n0.png\tdisc\n1.png\tring\n2.png\tsquare\n3.png\tbars\n")
    args = ("--csv", photos / "four.tsv", "--json", "--scales", "auto", "--train-scale", "64-128", "--crop", 32)
    result = json.loads(call(capsys, *args, "--model", "vgg16,vgg19", "--weights", "a.pth,b.pth")[1])
    assert [(row["net"], row["scales"]) for row in result["rows"]] == [
        (net, q) for q in ([64], [96], [128], [64, 96, 128]) for net in ("vgg16", "vgg19", "vgg16+vgg19")]
    assert result["out"] == "runs/eval-vgg16+vgg19-1"
    result = json.loads(call(capsys, *args, "--model", "vgg16,vgg16", "--weights", "a.pth,b.pth")[1])
    assert [row["net"] for row in result["rows"]][:3] == ["vgg16#1", "vgg16#2", "vgg16#1+vgg16#2"]
    result = json.loads(call(capsys, *args, "--model", "vgg16,vgg19", "--weights", "DEFAULT")[1])
    assert [net["weights"] for net in result["settings"]["nets"]] == ["DEFAULT", "DEFAULT"]
    status, _, err = call(capsys, *args, "--model", "vgg16,vgg19", "--weights", "a.pth,b.pth,b.pth")
    assert status == 2 and "expected one for each of the 2 nets, got 3" in err


def test_the_papers_figures_stand_beside(loader, photos, capsys):
    (photos / "one.tsv").write_text("path\tlabel\n0.png\tdisc\n1.png\tring\n")
    args = ("--csv", photos / "one.tsv", "--model", "vgg16", "--weights", "a.pth", "--crop", 224, "--scales", "256,384", "--protocol", "center,dense")
    out = call(capsys, *args)[1]
    assert re.search(r"^center +256 .* - +- +28\.4/9\.6 ", out, re.MULTILINE)
    assert re.search(r"^dense +384 .* 25\.6/8\.1 +256-512 +- ", out, re.MULTILINE)
    assert "S: sides of the paper's training pictures" in out and "this run does not" not in out
    out = call(capsys, *args, "--train-scale", 256, "--no-flip")[1]
    assert re.search(r"^dense +256 .* 27\.0/8\.8 +256 +- ", out, re.MULTILINE) and "this run does not" in out


# ---- interruption ----------------------------------------------------------------------------------------------------

STOPS = """
import os, signal, sys
from scratchvgg import cli
from scratchvgg.evaluate.predictions_log import PredictionsLog
append, step = PredictionsLog.append, 0
def stop(self, records):
    global step
    step += 1
    if step == 3:  # in the middle of a line
        self._file.write(b'{"index": 4, "fi')
        self._file.flush()
        os.kill(os.getpid(), signal.SIG)
        import time; time.sleep(60)
    append(self, records)
PredictionsLog.append = stop
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name, status", [("SIGKILL", -9), ("SIGINT", 130)])
def test_killed_and_resumed_is_as_never_stopped(name, status, run_dir, photos, tmp_path):
    def python(code, *args):
        command = [sys.executable, *code, *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)

    args = ["eval", "--csv", photos / "labels.csv", "--checkpoint", run_dir, "--protocol", "center,dense", "--scales", "32,40", "--batch-size", 12]
    module, stops = ("-m", "scratchvgg"), ("-c", STOPS.replace("signal.SIG)", f"signal.{name})"))
    assert python(module, *args, "--out", "whole").returncode == 1
    done = python(stops, *args, "--out", "stopped")
    assert done.returncode == status, done.stderr
    assert name == "SIGKILL" or "what is done is kept. Go on with:\n  scratchvgg eval --resume stopped" in done.stderr.replace("python -m ", "")
    left = (tmp_path / "stopped" / "predictions.jsonl").read_bytes()
    assert 0 < left.count(b"\n") < 10 and not left.endswith(b"\n") and not (tmp_path / "stopped" / "result.json").exists()
    again = python(module, "eval", "--resume", "stopped")
    assert again.returncode == 1 and "4 pictures of" not in again.stdout and "10 pictures of" in again.stdout, again.stderr
    results = [json.loads((tmp_path / run / "result.json").read_text()) for run in ("whole", "stopped")]
    assert [result.pop("timing")["images"] for result in results] == [10, 10 - left.count(b"\n")]
    assert results[0] == results[1]
    assert len({(tmp_path / run / "predictions.jsonl").read_bytes() for run in ("whole", "stopped")}) == 1


def test_going_on_from_elsewhere_and_with_other_settings(run_dir, photos, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    args = ("--csv", "labels.csv", "--checkpoint", os.path.relpath(run_dir, photos), "--scales", 36)
    assert call(capsys, *args, "--out", tmp_path / "r")[0] == 1
    monkeypatch.chdir(tmp_path)
    status, out, _ = call(capsys, "--resume", "r")
    assert status == 1 and "nothing was left to do" in out and re.search(r"^center +36 ", out, re.MULTILINE)
    for wrong, message in [
        (["--scales", "36,40"], "r: this run was begun with scales [36], not [36, 40]: go on with the same"),
        (["--limit", "3"], "r: this run was begun with pictures"), (["--folder", str(photos / "classes")], "begun with pictures"),
        (["--out", "s"], "leave out --out"), (["--average", "softmax"], 'begun with average "scores", not "softmax"'),
    ]:
        status, _, err = call(capsys, "--resume", "r", *wrong)
        assert status == 2 and message in err and err.count("\n") == 1
    assert call(capsys, "--resume", "r", "--scales", 36, "--csv", photos / "labels.csv", "--json")[0] == 1
    other = tmp_path / "other"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(other), "--epochs", "1", "--train-size", "32", "--test-size", "10",
                     "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    capsys.readouterr()
    status, _, err = call(capsys, "--resume", "r", "--checkpoint", other)
    assert status == 2 and "begun with nets" in err


# ---- bad input -------------------------------------------------------------------------------------------------------

BAD = [
    (["--csv", "absent.csv", "--checkpoint", "RUN"], "absent.csv"),
    (["--csv", "x", "--folder", "y", "--checkpoint", "RUN"], "expected one of --csv, --folder and --data, got --csv and --folder"),
    (["--csv", "LABELS", "--model", "vgg16"], "--weights is missing"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--model", "vgg16"], "leave out --model and --weights"),
    (["--csv", "LABELS", "--checkpoint", "absent"], "absent: there is no such file"),
    (["--csv", "LABELS", "--model", "vgg99", "--weights", "RUN/best.ckpt"], "vgg99"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--protocol", "dence"], "protocols: expected some of center, five, ten"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--protocol", "dense,"], "--protocol: expected names between commas, got 'dense,'"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--scales", "big"], "--scales: expected numbers between commas, or auto, got 'big'"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--scales", "auto"], "--scales auto: needs --train-scale"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--scales", "31"], "none smaller than the crop of 32"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--train-scale", "512-256"], "--train-scale: expected a number such as 256, or a range"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--train-scale", "small"], "--train-scale: expected a number such as 256, or a range"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--limit", "0"], "--limit: expected 1 or more, got 0"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--batch-size", "0"], "batch_size: expected 1 or more, got 0"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--device", "cuda:99"], "--device: "),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--conv", "fast"], "no convolution algorithm 'fast'"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--tta", "flip"], "--tta: not with the paper's protocols"),
    (["--csv", "LABELS", "--checkpoint", "RUN", "--out", "RUN"], "exists already; go on with it (--resume"),
    (["--data", "cifar11", "--checkpoint", "RUN"], "--data: open_dataset: expected one of sample, cifar10"),
    (["--data", "cifar10", "--checkpoint", "RUN"], "cifar"),
    (["--resume", "absent"], "absent: no evaluation to go on with"),
    (["RUN", "--crops", "3"], "unknown option '--crops'; did you mean --crop?"),
]


@pytest.mark.parametrize("args, message", BAD, ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "")
def test_bad_input_is_one_line_and_leaves_nothing(args, message, run_dir, photos, capsys, tmp_path):
    args = [arg.replace("RUN", str(run_dir)).replace("LABELS", str(photos / "labels.csv")) for arg in args]
    status, out, err = call(capsys, *args)
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("scratchvgg eval: error: ") and message in err
    assert not list(tmp_path.iterdir())


def test_weights_that_give_no_numbers(loader, photos, capsys, monkeypatch):
    from scratchvgg.models import loading

    load_net = loading.load_net

    def without_classifier(name, weights):
        loaded = load_net(name, weights)
        loaded.model.classifier[1].weight.data.fill_(np.nan)
        return loaded

    monkeypatch.setattr(loading, "load_net", without_classifier)
    (photos / "one.tsv").write_text("path\tlabel\n0.png\tdisc\n")
    with np.errstate(all="ignore"):
        status, out, err = call(capsys, "--csv", photos / "one.tsv", "--model", "vgg16", "--weights", "a.pth")
    assert (status, out) == (2, "") and "vgg16: its outputs are not finite numbers" in err


def test_progress_where_no_terminal_is(run_dir, photos, capsys, monkeypatch):
    from scratchvgg.cli.commands import _eval_table

    seconds = iter(range(0, 10_000, 6))
    monkeypatch.setattr(_eval_table.time, "monotonic", lambda: next(seconds))
    err = call(capsys, "--csv", photos / "labels.csv", "--checkpoint", run_dir, "--protocol", "multicrop")[2]
    shown = re.findall(r"^  (\d+) of 10 pictures, small_vgg multicrop@32, [\d:]+ gone, [\d:]+ left$", err, re.MULTILINE)
    assert len(shown) >= 3 and shown == sorted(shown, key=int)


# ---- docs/evaluation.md ----------------------------------------------------------------------------------------------

GUIDE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^scratchvgg eval (.*?)(?:  +.*)?$", GUIDE + eval_command.EXAMPLES, re.MULTILINE)


def test_the_guide_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict = {}
    exec(compile(code, "docs/evaluation.md", "exec"), names)
    assert len(re.findall(r"^small (?:dense|multicrop|both)@[\d,]+ +top-1 error ", capsys.readouterr().out, re.MULTILINE)) == 12
    from scratchvgg.evaluate import posteriors

    assert posteriors(names["net"].model, names["photographs"], "dense", 36, names["net"].preset).shape == (6, 10)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_guide_and_help_are_understood(command):
    parser = Parser("scratchvgg eval", eval_command.DESCRIPTION, eval_command.EXAMPLES)
    eval_command.configure(parser)
    parser.parse_args(shlex.split(command))


def test_the_guides_costs_are_those_of_the_protocols():
    from scratchvgg.evaluate import cost

    shown = dict(re.findall(r"^\| `(dense|multicrop|center)` .*\| ([\d., ]+) \|$", GUIDE, re.MULTILINE))
    assert len(shown) == 3
    for protocol, numbers in shown.items():
        assert numbers == ", ".join(f"{cost(protocol, (375, 500), q):.3g}" for q in (256, 384, 512))
