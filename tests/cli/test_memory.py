"""scratchvgg memory, and the options of scratchvgg summary that time and write."""

import csv
import json

import pytest

from scratchvgg.cli import main

NET = ["small_vgg", "--options", "widths=[8, 'M', 8]", "--size", "32"]


def call(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_memory(capsys):
    status, out, _ = call(capsys, "memory", *NET, "--batch", 4, "--budget", "64MiB")
    assert status == 0 and "small_vgg, 4 × 3×32×32, float32, sgd, cpu" in out and "predicted peak" in out
    assert "fits in 0.0625 GiB at batch" in out and "or with recomputation" not in out, "a net of one pool has no stages to compute again"
    status, out, _ = call(capsys, "memory", *NET, "--batch", 4, "--measure", "--optimizer", "adam", "--json")
    result = json.loads(out)
    assert status == 0 and result["measured"]["peak"] > 0 and result["plan"] is None and result["optimizer"] == "adam"
    assert result["error"] == pytest.approx(result["predicted_peak"] / result["measured"]["peak"] - 1)


@pytest.mark.parametrize("arguments, words", [
    (["memory", "vgg99"], "Unknown model 'vgg99'"),
    (["memory", "vgg16", "--size", "8"], "leaves no room"),
    (["memory", "vgg16", "--size", "big"], "--size: expected a number"),
    (["memory", "vgg16", "--batch", "0"], "--batch: expected 1 or more, got 0"),
    (["memory", "vgg16", "--budget", "8"], "such as 8GiB"),
    (["memory", *NET, "--recompute"], "expected a net with `features`"),
    (["memory", "vgg16", "--optimizer", "rmsprop"], "rmsprop"),
    (["summary", "vgg16", "--backward"], "--measure; give both"),
    (["summary", "vgg16", "--measure", "--repeats", "0"], "--repeats: expected 1 or more, got 0"),
])
def test_bad_input_is_one_line(capsys, arguments, words):
    status, out, err = call(capsys, *arguments)
    assert status == 2 and out == "" and words in err and err.count("\n") == 1


def test_summary_measures_and_writes(capsys, tmp_path):
    net = ["small_vgg", "--options", "widths=[8, 'M', 8]", "--input-size", "32", "--batch", 2]
    status, out, _ = call(capsys, "summary", *net, "--measure", "--backward", "--repeats", 2, "--json", "--csv", tmp_path / "t.csv")
    result = json.loads(out)
    first = result["layers"][0]
    assert status == 0 and first["forward_seconds"] > 0 and first["backward_seconds"] > 0 and first["bound"] in ("compute", "memory")
    assert result["machine"]["gemm"] > 0 and result["whole"]["step"]["runs"] == 2 and result["model"] == "small_vgg"
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["name"] for row in rows] == [row["name"] for row in result["layers"]] and float(rows[0]["gflops"]) > 0
    status, out, _ = call(capsys, "summary", *net, "--csv", "-")
    assert status == 0 and out.startswith("name,type,output_shape,parameters,macs,bias_adds,kept_bytes")
    status, out, _ = call(capsys, "summary", *net, "--measure", "--repeats", 1)
    assert status == 0 and "forward ms" in out and "measured here on" in out and max(map(len, out.splitlines())) <= 150
    with pytest.raises(StopIteration):
        next(path for path in tmp_path.iterdir() if path.name != "t.csv")
