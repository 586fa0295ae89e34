"""record.jsonl: what is in it, that training does not notice, and that it survives what a run survives."""

import json
import math
import shutil

import numpy as np
import pytest

from scratchvgg import train
from scratchvgg.cli import main
from scratchvgg.nn import functional as F
from scratchvgg.train import checkpoint, record
from scratchvgg.train.loop import Trainer

from .common import bits, curve, run, small_recipe

RECORDED = {"record": True, "record_every": 3}


def unrecorded(state: dict) -> dict:
    """A checkpoint's bits without what recording adds."""
    return {k: v for k, v in state.items() if k not in [("progress", "record"), ("recipe", "record"), ("recipe", "record_every")]}


def test_lines_of_a_run(tmp_path):
    folder = run(small_recipe(**RECORDED, epochs=3), tmp_path / "run")
    about, records = record.read(folder.path)
    assert about["classes"] == 10 and about["ln_classes"] == pytest.approx(math.log(10), rel=1e-5) and about["every"] == 3
    assert (about["batch_size"], about["images"], about["total_steps"], about["model"], about["format"]) == (16, 16, 18, "small_vgg", 1)
    assert about["layers"][0] == {"name": "features.0", "type": "Conv2d", "parameters": 3 * 9 * 4 + 4}
    assert [line["step"] for line in records] == [*range(1, 11), 12, 15, 18] and record.read(folder.record) == (about, records)
    assert [line["epoch_progress"] for line in records[4:6]] == [0.8333, 1.0]
    for line in records:
        assert line["end"] is None and 0 < line["loss"] < 5 and 0 <= line["accuracy"] <= 1 and line["grad_norm"] > 0
        assert [layer["name"] for layer in line["layers"]] == [
            "features.0", "features.1", "features.2", "features.3", "features.4", "features.5", "features.6", "features.7", "avgpool", "classifier.1"]
        assert (line["layers"][0]["activation"]["histogram"] is not None) == (line["step"] <= 10)
        for layer in line["layers"]:
            weighs = layer["type"] in ("Conv2d", "BatchNorm2d", "Linear")
            assert all((layer[key] is not None) == weighs for key in ("weight", "weight_gradient", "update", "update_ratio"))
            assert layer["gradient"]["count"] == layer["activation"]["count"] and layer["activation"]["finite"] == 1
            if weighs:
                assert layer["update_ratio"] == pytest.approx(layer["update"] / layer["weight"]["norm"], rel=1e-4)


def test_numbers_are_those_of_the_step(tmp_path):
    """Each recorded step is done again by hand from the checkpoint before it."""
    recipe = small_recipe(**RECORDED, epochs=1, model_options={"widths": [4, "M", 8, "M"]}, augmentation=[], clip_norm=0.1, schedule="constant",
                          warmup=0.0, momentum=0.0, nesterov=False, weight_decay=0.0, lr=0.05)
    trainer, seen = Trainer(recipe, plain=True), []
    step = trainer.step

    def by_hand(images, labels):
        weights = {k: v.detach().numpy().copy() for k, v in trainer.model.named_parameters()}
        step(images, labels)
        seen.append((images, labels, weights, {k: v.detach().numpy().copy() for k, v in trainer.model.named_parameters()}))

    trainer.step = by_hand
    folder = train.create(recipe, tmp_path / "run")
    trainer.run(folder)
    _, records = record.read(folder.path)
    for line, (images, labels, before, after) in zip(records, seen, strict=True):
        net = Trainer(recipe, plain=True).model.train()
        for name, parameter in net.named_parameters():
            parameter.array[...] = before[name]
        loss = F.cross_entropy(logits := net(images), labels)
        loss.backward()
        assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert line["accuracy"] == (logits.detach().numpy().argmax(1) == labels.numpy()).mean()
        norm = math.sqrt(sum((p.grad.numpy().astype(np.float64) ** 2).sum() for p in net.parameters()))
        assert line["grad_norm"] == pytest.approx(norm, rel=1e-4) and norm > 0.1, "before clipping"
        assert line["layers"][-1]["activation"]["mean"] == pytest.approx(logits.detach().numpy().mean(), rel=1e-3)
        for layer in line["layers"]:
            key = f"{layer['name']}.weight"
            if key in before:
                assert layer["weight"]["norm"] == pytest.approx(np.linalg.norm(before[key]), rel=1e-5)
                gradient = dict(net.named_parameters())[key].grad.numpy()
                assert layer["weight_gradient"]["norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
                assert layer["update"] == pytest.approx(np.linalg.norm(after[key] - before[key]), rel=1e-3)
                assert layer["update"] == pytest.approx(0.05 * 0.1 / norm * np.linalg.norm(gradient), rel=1e-2), "after clipping"


VARIANTS = {
    "batch norm, dropout": {}, "ema, clipping": {"ema": 0.9, "clip_norm": 0.5}, "adamw": {"optimizer": "adamw", "lr": 0.01},
    "float16": {"precision": "fp16"}, "bfloat16": {"precision": "bf16"}, "larger batches than are looked at": {"batch_size": 32, "train_size": 128},
    "fast_vgg, lookahead": {"model": "fast_vgg", "model_options": {"widths": [8, 8, 8]}, "lookahead": 2, "whiten_epochs": 1},
}
SLOW = ("ema, clipping", "adamw", "bfloat16")  # the others have it all in them


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in VARIANTS])
def test_training_does_not_notice(tmp_path, name, monkeypatch):
    monkeypatch.setattr(record, "IMAGES", 20)
    plain, recorded = (run(small_recipe(**VARIANTS[name], **options), tmp_path / str(bool(options))) for options in ({}, RECORDED))
    assert not plain.record.exists() and recorded.record.exists()
    for file in ("last.ckpt", "best.ckpt"):
        assert unrecorded(bits(plain.path / file)) == unrecorded(bits(recorded.path / file)), file
    assert curve(plain) == curve(recorded)


def test_training_on_the_emulator_does_not_notice(tmp_path):
    options = {"device": "emulator", "train_size": 16, "test_size": 8, "batch_size": 8, "eval_batch_size": 8, "epochs": 1,
               "model_options": {"widths": [2, "M", 2]}, "augmentation": []}
    plain, recorded = (run(small_recipe(**options, **more), tmp_path / str(bool(more))) for more in ({}, RECORDED))
    assert unrecorded(bits(plain.last)) == unrecorded(bits(recorded.last))
    line = record.read(recorded.path)[1][-1]
    assert line["step"] == 2 and line["layers"][0]["gradient"]["norm"] > 0 and line["layers"][0]["update"] > 0


def test_float16_gradients_are_unscaled(tmp_path):
    exact, scaled = (record.read(run(small_recipe(epochs=1, **RECORDED, precision=precision), tmp_path / precision).path)[1][0]
                     for precision in ("fp32", "fp16"))
    assert scaled["grad_norm"] == pytest.approx(exact["grad_norm"], rel=0.05)
    for a, b in zip(exact["layers"], scaled["layers"], strict=True):
        assert b["gradient"]["norm"] == pytest.approx(a["gradient"]["norm"], rel=0.1), a["name"]
        if a["update"]:
            assert b["update"] == pytest.approx(a["update"], rel=0.1), a["name"]


def test_resuming_from_every_checkpoint(tmp_path, monkeypatch):
    kept, save = [], Trainer.save

    def save_and_keep(self, path=None):
        save(self, path)
        kept.append(tmp_path / f"copy{len(kept)}")
        shutil.copytree(self.folder.path, kept[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", save_and_keep)
        whole = run(small_recipe(checkpoint_steps=1, **RECORDED), tmp_path / "whole")
    for copy in kept[1::5]:
        with open(copy / "record.jsonl", "ab") as file:
            file.write(b'{"kind": "record", "step": 99}\n{"kind": "rec')  # written after the checkpoint
        folder = train.open_existing(copy)
        assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
        assert folder.record.read_bytes() == whole.record.read_bytes() and bits(folder.last) == bits(whole.last)


def test_checkpoints_of_before_recording(tmp_path):
    from scratchvgg.weights.archive import load_tree, save_tree

    whole = run(small_recipe(), tmp_path / "whole")
    folder = train.create(small_recipe(checkpoint_steps=1), tmp_path / "old")
    trainer = Trainer(folder.read_recipe(), plain=True)
    after_step = trainer._after_step

    def stop_at_three(images):
        if trainer.steps == 3:
            trainer._interrupt.signal = 2
        after_step(images)

    trainer._after_step = stop_at_three
    assert not trainer.run(folder).finished
    state = load_tree(folder.last)
    del state["progress"]["record"]
    for name in ("record", "record_every"):
        del state["recipe"][name]
    save_tree(folder.last, state)
    recipe = folder.read_recipe().replace(**RECORDED)  # and from here on it is recorded
    assert Trainer(recipe, plain=True).run(folder).finished
    ours, theirs = unrecorded(bits(folder.last)), unrecorded(bits(whole.last))
    assert {k: v for k, v in ours.items() if k != ("recipe", "checkpoint_steps")} == {k: v for k, v in theirs.items() if k[-1] != "checkpoint_steps"}
    assert [line["step"] for line in record.read(folder.path)[1]] == [*range(4, 11), 12]


def test_a_run_that_breaks_tells_where(tmp_path):
    recipe = small_recipe(**RECORDED, lr=1e30, warmup=0.0, schedule="constant", model_options={"widths": [4, "M", 8], "batch_norm": False})
    folder = train.create(recipe, tmp_path / "run")
    with pytest.raises(train.NonFiniteError):
        Trainer(recipe, plain=True).run(folder)
    _, records = record.read(folder.path)
    last = records[-1]
    assert [line["step"] for line in records] == [*range(1, len(records) + 1)] and len(records) > 1
    assert "the loss is" in last["end"] and last["loss"] is None and records[-2]["end"] is None
    broken = [layer["name"] for layer in last["layers"] if layer["activation"]["finite"] < 1]
    assert broken and f"layer {broken[0]} " in last["end"], "the layer that the message names is the first"
    json.loads(folder.record.read_text().splitlines()[-1], parse_constant=pytest.fail)


def test_a_half_written_line_is_left_out(tmp_path):
    folder = run(small_recipe(epochs=1, **RECORDED), tmp_path / "run")
    about, records = record.read(folder.path)
    with open(folder.record, "ab") as file:
        file.write(b'{"kind": "record", "st')
    assert record.read(folder.path) == (about, records)
    folder.record.write_bytes(b'{"kind": "other"}\n')
    with pytest.raises(ValueError, match="not a record of layers"):
        record.read(folder.path)
    for text in (b'{"kind": \n', b"[1, 2]\n", folder.record.read_bytes() + b"7\n"):
        folder.record.write_bytes(text)
        with pytest.raises(ValueError, match="not a record of layers"):
            record.read(folder.path)


def test_cadence():
    recipe = small_recipe(record=True)
    long, short = record.Cadence.of(recipe, 250, 39_000), record.Cadence.of(recipe, 250, 600)
    assert long.every == 130 and sum(map(long.due, range(1, 39_001))) == 310
    for batch in (32, 128, 250, 1024):
        every = record.Cadence.of(recipe, batch, 600).every
        assert record.COST * min(1, record.IMAGES / batch) / every <= record.SHARE, "a twentieth of the time"
    assert [step for step in range(1, 40) if short.due(step)] == [*range(1, 11), *range(short.every, 40, short.every)]
    assert record.Cadence.of(small_recipe(record=True, record_every=7), 250, 39_000).every == 7
    assert long.histograms(130 * 8) and not long.histograms(130) and long.histograms(3)


@pytest.mark.parametrize("options, message", [
    ({"record_every": 5}, "record_every: needs record = true"), ({"record": True, "record_every": 0}, "record_every: expected 1 or more"),
])
def test_what_cannot_be_recorded(options, message):
    with pytest.raises(train.RecipeError, match=message):
        Trainer(small_recipe(**options), plain=True)


def test_cuda_graphs_are_refused():
    with pytest.raises(train.RecipeError, match="record: a step that is one CUDA graph"):
        record.check(small_recipe(record=True, cuda_graph=True, device="cuda"))


def test_the_command(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "--recipe", "tiny", "--epochs", "1", "--train-size", "64", "--record", "--plain", "--no-plot", "--out", out]) == 0
    assert "record.jsonl" in capsys.readouterr().out and checkpoint.load(f"{out}/last.ckpt")["progress"]["record"] > 0
    assert len(record.read(out)[1]) == 2
    assert main(["train", "--resume", out, "--no-record"]) == 0
    assert main(["train", "--recipe", "tiny", "--record-every", "3", "--out", str(tmp_path / "other")]) == 2
    assert "record_every: needs record = true" in capsys.readouterr().err and not (tmp_path / "other").exists()
