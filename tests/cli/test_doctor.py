"""scratchvgg doctor"""

import json

import pytest

from scratchvgg.cli import main
from scratchvgg.cli.registry import load_command


def test_a_run(tmp_path, capsys):
    """Broken by its learning rate: exit status 1, and the reason in the first line."""
    run = str(tmp_path / "run")
    small = ["--train-size", "64", "--test-size", "20", "--epochs", "2", "--batch-size", "16", "--plain", "--threads", "1"]
    main(["train", "--recipe", "tiny", "--lr", "100", "--warmup", "0", "--out", run, *small])
    capsys.readouterr()
    status = main(["doctor", run, "--seconds", "8", "--json", str(tmp_path / "found.json")])
    out = capsys.readouterr().out
    assert status == 1 and "learning rate 100 is too high" in out.splitlines()[0], out
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert found["findings"][0]["check"] == "learning rate" and found["findings"][0]["severity"] == "bad" and not found["healthy"]


def test_a_net(tmp_path, capsys):
    options = ["--options", 'widths=[4, "M", 6, "M"]', "num_classes=10", "--seconds", "8"]
    assert main(["doctor", "small_vgg", *options, "--html", str(tmp_path / "found.html")]) == 0
    assert "0 bad" in capsys.readouterr().out and (tmp_path / "found.html").stat().st_size > 1000


def test_only_and_list(capsys):
    assert main(["doctor", "small_vgg", "--only", "images", "labels"]) == 0
    assert "Input" in capsys.readouterr().out
    assert main(["doctor", "list"]) == 0
    assert "shuffled labels?" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "text"), [
    (["nosuch"], "Unknown model 'nosuch'"), (["."], "no recipe.toml"), (["small_vgg", "--root", "x"], "for a run"),
    (["small_vgg", "--seconds", "0"], "seconds"),
    (["small_vgg", "--json", "/no/such/folder/x.json"], "--json: there is no folder"), (["small_vgg", "--only", "rate"], "there is no check 'rate'"),
    (["small_vgg", "--options", "width=3"], "width"), (["small_vgg", "--device", "tpu"], "tpu"),
])
def test_bad_input(argv, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", *argv]) == 2
    err = capsys.readouterr().err
    assert text in err and len(err.strip().splitlines()) == 1


def test_examples_parse():
    command = load_command("doctor")
    from scratchvgg.cli.parser import Parser

    parser = Parser(prog="scratchvgg doctor", description=command.DESCRIPTION, examples=command.EXAMPLES)
    command.configure(parser)
    import shlex

    for line in command.EXAMPLES.strip().splitlines():
        words = shlex.split(line.split("    ")[0])
        assert words[:2] == ["scratchvgg", "doctor"] and parser.parse_args(words[2:]).subject
