"""The run over photographs: rows against means computed by hand, one pass, and an end that does not depend on interruptions."""

import json
import zlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from scratchvgg.array import Device, Generator
from scratchvgg.data import DataError
from scratchvgg.data.presets import ImageClassification
from scratchvgg.evaluate import protocols, wilson
from scratchvgg.evaluate.photographs import _Stopwatch, device_memory, evaluate_photographs, peak_memory, read_settings
from scratchvgg.evaluate.plan import Net, Part, Pictures, Plan
from scratchvgg.evaluate.predictions_log import PredictionsLog, describe
from scratchvgg.evaluate.tables import Tally
from scratchvgg.models import small_vgg

Image = pytest.importorskip("PIL.Image")
PRESET = ImageClassification(crop_size=16, resize_size=18)


def picture(index):
    rng = np.random.default_rng(index)
    return Image.fromarray(rng.integers(0, 256, (20 + index % 3, 24, 3), np.uint8))


def pictures(count=7, labels=None, broken=()):
    def read(index):
        if index in broken:
            raise DataError(f"{index}.png: it is broken")
        return picture(index)

    return Pictures([f"{i}.png" for i in range(count)], np.array(labels if labels is not None else [i % 4 for i in range(count)], np.int64), read)


def net(name="small_vgg", classes=4):
    return Net(name, small_vgg([4, "M", 6, "M"], num_classes=classes).eval(), PRESET, classes, {"weights": name})


def lines(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def stand_in(seed):
    return SimpleNamespace(seed=seed, parameters=lambda: iter(()))


@pytest.fixture
def posteriors(monkeypatch):
    """Stands in for the nets: posteriors by picture, net, protocol and scale, and a list of the calls."""
    calls = []

    def said(model, images, protocol, scale, preset, **options):
        calls.append((model.seed, protocol, scale, len(images), options))
        return np.stack([table(model, protocol, scale, image) for image in images])

    def table(model, protocol, scale, image):
        seed = [zlib.crc32(protocol.encode()), scale, model.seed, *np.asarray(image)[0, 0].tolist()]
        p = np.random.default_rng(seed).random(8)
        return p / p.sum()

    monkeypatch.setattr(protocols, "posteriors", said)
    monkeypatch.setattr("scratchvgg.evaluate.photographs.DenseVGG", lambda model: None)
    return calls, table


# ---- what is to be computed ------------------------------------------------------------------------------------------


def test_rows_and_their_parts():
    rows = Plan(("dense", "both"), (256, 384)).rows(["vgg16", "vgg19"])
    assert [row.key for row in rows] == [
        f"{who} {protocol}@{q}" for protocol in ("dense", "both") for q in ("256", "384", "256,384") for who in ("vgg16", "vgg19", "vgg16+vgg19")]
    parts = {row.key: set(row.parts) for row in rows}
    assert parts["vgg19 dense@384"] == {Part(1, "dense", 384)}
    assert parts["vgg16 both@256,384"] == {Part(0, p, q) for p in ("dense", "multicrop") for q in (256, 384)}
    assert parts["vgg16+vgg19 dense@256,384"] == {Part(n, "dense", q) for n in (0, 1) for q in (256, 384)}
    assert [row.key for row in Plan(("center",), (256,)).rows(["vgg16"])] == ["vgg16 center@256"]


@pytest.mark.parametrize("wrong, message", [
    ({"protocols": ("dence",)}, "protocols: expected some of center, five, ten, multicrop, dense, both, got 'dence'"),
    ({"protocols": ()}, "protocols: expected one or more different ones, got none"),
    ({"scales": (256, 256)}, "scales: expected one or more different ones, got 256, 256"),
    ({"scales": (0,)}, "scales: expected 1 or more, got 0"),
    ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
    ({"top": 0}, "top: expected 1 or more, got 0"),
    ({"average": "logits"}, "average: expected scores or softmax, got 'logits'"),
], ids=str)
def test_a_plan_refuses(wrong, message):
    with pytest.raises(ValueError) as error:
        Plan(**{"protocols": ("center",), "scales": (256,), **wrong})
    assert str(error.value) == message


def test_steps_fill_a_batch():
    assert Plan(("center",), (256,), batch_size=16).step(224) == 16
    assert Plan(("center", "ten"), (256,), batch_size=16).step(224) == 1
    assert Plan(("multicrop",), (256,), batch_size=100).step(224) == 2
    assert Plan(("dense",), (256,), batch_size=16).step(224) == 16 // 4  # 256 × 341 pixels, twice: 3.5 crops


def test_some_pictures_are_always_the_same_and_mixed():
    every = pictures(1000, labels=[i // 100 for i in range(1000)])
    some = every.some(50)
    assert some.names == every.some(50).names and len(some) == 50 and sorted(some.names, key=lambda n: int(n[:-4])) == some.names
    assert len(set(some.labels.tolist())) == 10 and every.some(1000) is every and every.some(None) is every
    first = int(some.names[0][:-4])
    assert first == sorted(Generator(0).permutation(1000)[:50])[0] and some.labels[0] == first // 100
    np.testing.assert_array_equal(np.asarray(some.read(0)), np.asarray(picture(first)))
    assert every.digest() != some.digest() and every.digest() != pictures(1000).digest()


# ---- the numbers -----------------------------------------------------------------------------------------------------


def test_a_picture_in_words():
    p = np.array([0.1, 0.3, 0.3, 0.25, 0.05])
    assert describe(p, 2, 3) == {"classes": [1, 2, 3], "probabilities": [0.3, 0.3, 0.25], "rank": 2, "log_probability": pytest.approx(np.log(0.3))}
    assert describe(p, 1, 1)["rank"] == 1 and describe(p, 4, 9)["classes"] == [1, 2, 3, 0, 4]
    assert describe(p, -1, 1) == {"classes": [1], "probabilities": [0.3], "rank": None, "log_probability": None}
    assert np.isfinite(describe(np.array([1.0, 0.0]), 1, 1)["log_probability"])


def test_rows_are_means_of_parts_computed_once(posteriors, tmp_path):
    calls, table = posteriors
    labels = [0, 1, 2, 3, 4, -1, 6, 7, 0]
    reads = Counter()
    source = pictures(9, labels, broken={3})
    counted = Pictures(source.names, source.labels, lambda i: (reads.update([i]), source.read(i))[1])
    plan = Plan(("center", "dense", "both"), (18, 20), flip=False, average="softmax", batch_size=160, top=2)
    result = evaluate_photographs([Net("a", stand_in(1), PRESET, 8), Net("b", stand_in(2), PRESET, 8)], counted, plan, tmp_path)

    assert set(reads.values()) == {1} and len(reads) == 9, "each picture is read once"
    seen = Counter()
    for model, protocol, scale, count, options in calls:
        seen[model, protocol, scale] += count
        assert options == {"crop": None, "average": "softmax", "flip": False, "batch_size": 160}
    assert seen == {(m, p, q): 8 for m in (1, 2) for p in ("center", "dense", "multicrop") for q in (18, 20)}, "each part sees each picture once"

    singles = {"center": ("center",), "dense": ("dense",), "both": ("dense", "multicrop")}
    shown = lines(tmp_path)
    assert [(line["index"], line["file"], line["label"]) for line in shown] == [(i, f"{i}.png", None if i == 5 else labels[i]) for i in range(9)]
    assert "rows" not in shown[3] and shown[3]["error"] == "3.png: it is broken"
    for row in result["rows"]:
        members = {"a": [1], "b": [2], "a+b": [1, 2]}[row["net"]]
        wrong1 = wrong5 = loss = 0
        for i in [0, 1, 2, 4, 5, 6, 7, 8]:
            p = np.mean([table(stand_in(m), s, q, picture(i)) for m in members for s in singles[row["protocol"]] for q in row["scales"]], axis=0)
            said, order = shown[i]["rows"][row["key"]], np.argsort(-p)
            assert said["classes"] == order[:2].tolist() and said["probabilities"] == pytest.approx(p[order[:2]])
            if labels[i] < 0:
                assert said["rank"] is None
                continue
            rank = order.tolist().index(labels[i]) + 1
            assert said["rank"] == rank and said["log_probability"] == pytest.approx(np.log(p[labels[i]]))
            wrong1, wrong5, loss = wrong1 + (rank > 1), wrong5 + (rank > 5), loss - np.log(p[labels[i]])
        assert row["images"] == 7 and row["loss"] == pytest.approx(loss / 7)
        assert row["top1_error"] == pytest.approx(100 * wrong1 / 7) and row["top5_error"] == pytest.approx(100 * wrong5 / 7)
        assert row["top1_interval"] == pytest.approx([100 * end for end in wilson(wrong1, 7)])
        assert row["paper"] is None and row["torchvision"] is None, "the crop is not the paper's"
    assert len(result["rows"]) == 27
    assert (result["images"], result["labelled"], result["unlabelled"]) == (9, 7, 1)
    assert result["broken"] == [{"file": "3.png", "reason": "3.png: it is broken"}]
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(result))


def test_real_nets_give_what_the_protocols_give(tmp_path):
    nets, plan = [net(), net("small_vgg#2")], Plan(("dense", "multicrop", "both"), (16, 19), batch_size=60)
    evaluate_photographs(nets, pictures(3), plan, tmp_path)
    for index, line in enumerate(lines(tmp_path)):
        p = [protocols.posteriors(n.model, [picture(index)], s, q, PRESET)[0] for n in nets for s in ("dense", "multicrop") for q in (16, 19)]
        said = line["rows"]["small_vgg+small_vgg#2 both@16,19"]
        mean = np.mean(p, axis=0)
        assert said["classes"] == np.argsort(-mean)[:5].tolist() and said["probabilities"] == pytest.approx(np.sort(mean)[::-1], rel=1e-5)


def test_paper_and_torchvision_beside_their_own_evaluation_only(posteriors, tmp_path):
    def rows(out, names=("vgg16",), train_scale=None, **plan):
        plan = Plan(**{"protocols": ("center", "dense", "both"), "scales": (256, 384, 512), **plan})
        nets = [Net(name, stand_in(number), ImageClassification(), 8) for number, name in enumerate(names)]
        result = evaluate_photographs(nets, pictures(1), plan, tmp_path / out, train_scale=train_scale)
        return {row["key"]: row for row in result["rows"]}

    found = rows("jittered")
    assert found["vgg16 dense@256,384,512"]["paper"] == {"table": 4, "train_scale": (256, 512), "top1_error": 24.8, "top5_error": 7.5}
    assert found["vgg16 both@256,384,512"]["paper"]["top1_error"] == 24.4 and found["vgg16 both@256"]["paper"] is None
    assert found["vgg16 dense@256"]["paper"]["train_scale"] == 256, "no net was trained with jitter and tested at 256"
    assert found["vgg16 dense@384"]["paper"]["train_scale"] == (256, 512)
    assert found["vgg16 center@256"]["torchvision"] == {"top1_error": 28.408, "top5_error": 9.618} and found["vgg16 center@256"]["paper"] is None
    assert [key for key, row in found.items() if row["torchvision"]] == ["vgg16 center@256"]
    found = rows("fixed", train_scale=384, scales=(352, 384, 416))
    assert (found["vgg16 dense@384"]["paper"]["top1_error"], found["vgg16 dense@352,384,416"]["paper"]["top1_error"]) == (26.8, 26.5)
    found = rows("two", ("vgg16", "vgg19"), (256, 512))
    assert found["vgg16+vgg19 both@256,384,512"]["paper"] == {"table": 6, "train_scale": (256, 512), "top1_error": 23.7, "top5_error": 6.8}
    assert found["vgg16+vgg19 center@256"]["torchvision"] is None
    assert rows("again", ("vgg16#1", "vgg16#2"))["vgg16#2 dense@384"]["paper"]["top1_error"] == 25.6
    assert not any(row["paper"] or row["torchvision"] for row in rows("small", crop=192).values())


# ---- interruptions ---------------------------------------------------------------------------------------------------


def without_timing(out):
    result = json.loads((out / "result.json").read_text())
    assert result.pop("timing")["images"] >= 0
    return result


@pytest.mark.parametrize("stop", range(1, 13))
def test_the_end_does_not_depend_on_interruptions(stop, tmp_path):
    nets, plan, source = [net()], Plan(("center", "dense"), (16, 19), batch_size=12), pictures(7, broken={4})
    evaluate_photographs(nets, source, plan, tmp_path / "whole")
    reports = Counter()

    def interrupt(_):
        reports["parts"] += 1
        if reports["parts"] == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_photographs(nets, source, plan, tmp_path / "stopped", report=interrupt)
    assert not (tmp_path / "stopped" / "result.json").exists()
    done = len(lines(tmp_path / "stopped"))
    assert done == [0, 3, 6][(stop - 1) // 4], "3 pictures a step, 4 parts each"
    result = evaluate_photographs(nets, source, plan, tmp_path / "stopped")
    assert without_timing(tmp_path / "stopped") == without_timing(tmp_path / "whole") and result["timing"]["images"] == 7 - done
    assert (tmp_path / "stopped" / "predictions.jsonl").read_bytes() == (tmp_path / "whole" / "predictions.jsonl").read_bytes()


@pytest.mark.parametrize("tail", [b'{"index": 6, "fi', b'{"index": 6}', b"\0\0\0\n", b""])
@pytest.mark.parametrize("kept", [0, 2, 3, 5, 6])
def test_a_torn_end_is_done_again(tail, kept, tmp_path):
    """A killed process leaves whole lines of an unfinished step, half a line, or zeros where the disk was faster than the data."""
    nets, plan, source = [net()], Plan(("center",), (16,), batch_size=3), pictures(7)
    evaluate_photographs(nets, source, plan, tmp_path)
    log, before = tmp_path / "predictions.jsonl", without_timing(tmp_path)
    whole = log.read_bytes()
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]) + tail)
    result = evaluate_photographs(nets, source, plan, tmp_path)
    assert log.read_bytes() == whole and without_timing(tmp_path) == before and result["timing"]["images"] == 7 - kept // 3 * 3


@pytest.mark.parametrize("damage", [
    lambda rows: [rows[0], b"nonsense\n", *rows[2:]], lambda rows: [rows[1], *rows[1:]], lambda rows: [*rows, rows[-1]],
    lambda rows: [rows[0][:-1] + rows[1], *rows[2:]], lambda rows: [b"3\n", *rows[1:]],
])
def test_a_damaged_log_is_refused_and_left(damage, tmp_path):
    nets, plan, source = [net()], Plan(("center",), (16,), batch_size=3), pictures(7)
    evaluate_photographs(nets, source, plan, tmp_path)
    log = tmp_path / "predictions.jsonl"
    damaged = b"".join(damage(log.read_bytes().splitlines(keepends=True)))
    log.write_bytes(damaged)
    with pytest.raises(DataError, match=r"predictions.jsonl: line \d is damaged or not picture \d's"):
        evaluate_photographs(nets, source, plan, tmp_path)
    assert log.read_bytes() == damaged


def test_one_process_at_a_time(tmp_path):
    with PredictionsLog(tmp_path / "predictions.jsonl"), pytest.raises(DataError, match="another process is writing it"):
        evaluate_photographs([net()], pictures(1), Plan(("center",), (16,)), tmp_path)
    evaluate_photographs([net()], pictures(1), Plan(("center",), (16,)), tmp_path)


def test_other_settings_are_refused(tmp_path):
    whole = {"protocols": ("center",), "scales": (16,)}
    evaluate_photographs([net()], pictures(3), Plan(**whole), tmp_path, about={"kept": 1})
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other_weights = Net("small_vgg", None, PRESET, 4, {"weights": "small_vgg", "sha256": "00"})
    for nets, source, plan, named in [
        ([net()], pictures(3), {"scales": (16, 18)}, r"scales \[16\], not \[16, 18\]"),
        ([net()], pictures(3), {"batch_size": 8}, "batch_size 16, not 8"),
        ([net()], pictures(3), {"crop": 12}, "crop null, not 12"),
        ([net()], pictures(4), {}, 'pictures {"count": 3'),
        ([net()], pictures(3, labels=[0, 0, 0]), {}, "pictures"),
        ([net(), net("b")], pictures(3), {}, "nets"),
        ([other_weights], pictures(3), {}, "nets"),
    ]:
        with pytest.raises(DataError, match=f"this run was begun with {named}"):
            evaluate_photographs(nets, source, Plan(**{**whole, **plan}), tmp_path)
    assert kept == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read_settings(tmp_path)["about"] == {"kept": 1}
    with pytest.raises(DataError, match="no evaluation to go on with"):
        read_settings(tmp_path / "elsewhere")
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        read_settings(tmp_path)


# ---- refusals, progress, memory --------------------------------------------------------------------------------------


def test_refused_before_anything_is_written(tmp_path):
    no_vgg, out = Net("linear", object(), PRESET, 4), tmp_path / "out"
    for nets, source, scale, message in [
        ([], pictures(1), 16, "nets: expected one or more"),
        ([net(), net("b", 5)], pictures(1), 16, "small_vgg of 4, b of 5"),
        ([net()], pictures(0, labels=[]), 16, "there are none"),
        ([net()], pictures(1, labels=[4]), 16, "go up to 4, but small_vgg has the classes 0 to 3"),
        ([net()], pictures(1), 15, "none smaller than the crop of 16"),
        ([no_vgg], pictures(1), 16, "linear: DenseVGG"),
    ]:
        with pytest.raises(ValueError, match=message):
            evaluate_photographs(nets, source, Plan(("dense",), (scale,)), out)
        assert not out.exists()


def test_outputs_that_are_no_numbers_are_an_error(tmp_path):
    bad = net()
    bad.model.classifier[1].weight.data.fill_(np.nan)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"small_vgg: its outputs are not finite numbers, for instance on 0.png"):
        evaluate_photographs([bad], pictures(2), Plan(("center",), (16,)), tmp_path)
    assert not lines(tmp_path)


def test_all_unlabelled_or_all_broken(tmp_path):
    result = evaluate_photographs([net()], pictures(2, labels=[-1, -1]), Plan(("center",), (16,)), tmp_path / "a")
    row = result["rows"][0]
    assert result["unlabelled"] == 2 and row["images"] == 0 and row["top1_error"] is row["top5_error"] is row["loss"] is None
    told = []
    result = evaluate_photographs([net()], pictures(3, broken={0, 1, 2}), Plan(("center",), (16,)), tmp_path / "b", warn=told.append)
    assert len(result["broken"]) == 3 and result["labelled"] == 0 and told[0] == "0.png: skipped: 0.png: it is broken"
    assert result["timing"]["rows"]["small_vgg center@16"] is None


def test_pictures_too_long_to_scale_are_skipped(tmp_path):
    long = Pictures(["long.png", "1.png"], np.array([0, 1]), lambda i: picture(1) if i else Image.new("RGB", (1, 400_000)))
    result = evaluate_photographs([net()], long, Plan(("center",), (16,)), tmp_path)
    assert [b["file"] for b in result["broken"]] == ["long.png"] and result["labelled"] == 1


def test_reading_runs_one_step_ahead_and_no_further(tmp_path):
    done, ahead = Counter(), []
    source = pictures(40)

    def read(index):
        ahead.append(index - done["pictures"])
        return source.read(index)

    def report(progress):
        done["pictures"] = progress.done

    evaluate_photographs([net()], Pictures(source.names, source.labels, read), Plan(("center",), (16,), batch_size=4), tmp_path, report=report)
    assert len(ahead) == 40 and max(ahead) < 3 * 4  # this step, the next, and a step that is done but not yet reported


def test_progress(tmp_path):
    said = []
    evaluate_photographs([net()], pictures(7), Plan(("center", "dense"), (16,), batch_size=12), tmp_path, report=said.append)
    assert [(p.done, p.part) for p in said] == [
        (0, "small_vgg center@16"), (4, "small_vgg dense@16"), (4, "small_vgg center@16"), (7, "small_vgg dense@16")]
    assert all(p.total == 7 and p.seconds_left >= 0 for p in said) and said[-1].seconds_left == 0


def test_time_left():
    one, two = Part(0, "center", 16), Part(0, "multicrop", 16)
    watch = _Stopwatch({one: 1.0, two: 50.0})
    assert watch.left({one: 10, two: 10}) is None and watch.rate([one]) is None
    watch.add(one, 4.0, 2)
    assert watch.left({one: 8, two: 10}) == pytest.approx(8 * 2 + 10 * 50 * 2), "not yet measured: by its cost"
    watch.add(two, 30.0, 2)
    assert watch.left({one: 8, two: 8}) == pytest.approx(8 * 2 + 8 * 15) and watch.rate([one, two]) == pytest.approx(1 / 17)


def test_counts_do_not_grow_with_pictures():
    tally = Tally(["a"])
    for index in range(1000):
        tally.add({"index": index, "file": "f", "label": 1, "rows": {"a": {"rank": index % 8 + 1, "log_probability": -1.0}}})
    assert (tally.rows["a"].top1, tally.rows["a"].top5, tally.rows["a"].loss) == (875, 375, 1000.0)
    assert tally.counts() == {"images": 1000, "labelled": 1000, "unlabelled": 0, "broken": []}


def test_peak_memory_counts_what_is_held():
    pytest.importorskip("resource")
    before = peak_memory()
    held = np.ones(60_000_000, np.uint8)
    assert held.sum() == 60_000_000 and peak_memory() >= before and peak_memory() > 60


def test_device_memory_is_that_of_the_nets_devices(monkeypatch):
    monkeypatch.setattr("scratchvgg.cuda.max_memory_allocated", lambda device: {"cuda:0": 3e6, "cuda:1": 4e6, "cuda:2": 9e6}[str(device)])

    def at(device):
        return Net("a", SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=Device(device))])), PRESET, 4)

    assert device_memory([at("cuda:0"), at("cuda:0"), at("cuda:1")]) == 7 and device_memory([at("cpu")]) is None and device_memory([net()]) is None
