"""What a run leaves behind, and how it stops when things go wrong."""

import json
import signal

import numpy as np
import pytest

from scratchvgg import train
from scratchvgg.train import NonFiniteError, RunError, Trainer, checkpoint, curves, metrics, progress, recipe
from scratchvgg.train.interrupt import Interrupt

from .common import bits, run, small_recipe


def test_it_learns(tmp_path):
    folder = run(recipe.load("tiny").replace(train_size=1000, epochs=3, lr=0.2, threads=1), tmp_path / "run")
    epochs = metrics.read(folder.metrics, "epoch")
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] - 0.05


def test_same_seed_same_bits_other_seed_other_bits(tmp_path):
    a, b, c = (run(small_recipe(epochs=1, seed=seed), tmp_path / f"{i}") for i, seed in enumerate((7, 7, 8)))
    assert bits(a.last) == bits(b.last) != bits(c.last)


def test_metrics(tmp_path):
    folder = run(small_recipe(log_every=4, csv=True), tmp_path / "run")
    lines = metrics.read(folder.metrics)
    assert [line["kind"] for line in lines] == ["run", "step", "epoch", "step", "step", "epoch"]
    assert [line["step"] for line in lines] == [0, 4, 6, 8, 12, 12]
    assert lines[0]["machine"]["gemm_gflops"] > 0 and lines[0]["version"]
    for line in lines[1:]:
        assert {"lr", "images_per_second", "seconds"} <= set(line)
    epoch = lines[-1]
    assert epoch["epoch"] == 2 and 0 <= epoch["test_accuracy"] <= 1 and epoch["train_loss"] > 0 and epoch["gemm_gflops"] > 0
    table = folder.csv.read_text().splitlines()
    assert len(table) == 3 and table[0].startswith("epoch,step,train_loss")


def test_epoch_line_is_the_mean_over_the_epoch(tmp_path):
    folder = run(small_recipe(log_every=1, epochs=1), tmp_path / "run")
    steps, (epoch,) = metrics.read(folder.metrics, "step"), metrics.read(folder.metrics, "epoch")
    assert epoch["train_loss"] == pytest.approx(np.mean([s["loss"] for s in steps]))
    assert epoch["train_accuracy"] == pytest.approx(np.mean([s["accuracy"] for s in steps]))


def test_eval_every(tmp_path):
    folder = run(small_recipe(epochs=3, eval_every=2), tmp_path / "run")
    assert [line["test_accuracy"] is not None for line in metrics.read(folder.metrics, "epoch")] == [False, True, True]


def test_metrics_log_cuts_back(tmp_path):
    path = tmp_path / "m.jsonl"
    log = metrics.MetricsLog(path)
    log.write("a", x=1.5, y=float("nan"), z=float("inf"))
    position = log.position()
    log.write("b")
    log.close()
    with open(path, "ab") as file:
        file.write(b'{"kind": "ha')
    assert [line["kind"] for line in metrics.read(path)] == ["a", "b"]
    metrics.MetricsLog(path).close()
    assert path.read_bytes().endswith(b'{"kind": "b"}\n')
    log = metrics.MetricsLog(path, position)
    log.write("c")
    log.close()
    assert metrics.read(path) == [{"kind": "a", "x": 1.5, "y": None, "z": None}, {"kind": "c"}]
    assert json.loads(path.read_text().splitlines()[0])["y"] is None


def test_curves(tmp_path):
    pytest.importorskip("matplotlib")
    folder = run(small_recipe(plot=True, log_every=2), tmp_path / "run")
    assert folder.curves.read_bytes().startswith(b"\x89PNG") and folder.curves.stat().st_size > 10_000


def test_without_matplotlib_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise ImportError("curves need matplotlib: pip install 'scratchvgg[plots]'")

    monkeypatch.setattr(curves, "draw", missing)
    run(small_recipe(plot=True), tmp_path / "run")
    assert capsys.readouterr().out.count("scratchvgg[plots]") == 1


# ---- run folders -----------------------------------------------------------------------------------------------------


def test_run_folders_are_numbered_and_never_overwritten(tmp_path):
    made = [train.create(small_recipe(), parent=tmp_path).path.name for _ in range(3)]
    assert made == ["tiny-sample-1", "tiny-sample-2", "tiny-sample-3"]
    with pytest.raises(RunError, match="exists already"):
        train.create(small_recipe(), tmp_path / made[0])
    (tmp_path / "empty").mkdir()
    assert train.create(small_recipe(seed=5), tmp_path / "empty").read_recipe().seed == 5
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="exists already"):
        train.create(small_recipe(), tmp_path / "file")
    assert not list(tmp_path.glob(".*"))


def test_one_process_at_a_time(tmp_path):
    folder = train.create(small_recipe(), tmp_path / "run")
    with folder.locked(), pytest.raises(RunError, match="process .* is training in this folder"):
        Trainer(folder.read_recipe(), plain=True).run(train.open_existing(folder.path))
    with folder.locked():
        pass


def test_no_run_folder(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        train.open_existing(tmp_path / "x")
    with pytest.raises(RunError, match="no run folder"):
        train.open_existing(tmp_path)


# ---- NaN and signals -------------------------------------------------------------------------------------------------


def _poisoned(tmp_path, poison, **changes):
    """Train until ``poison(model)`` has been done before step 5."""
    made = small_recipe(checkpoint_steps=2, checkpoint_seconds=1e9, **changes)
    trainer, step = Trainer(made, plain=True), Trainer.step

    def poisoned_step(images, labels):
        if trainer.steps == 4:
            poison(trainer.model)
        step(trainer, images, labels)

    trainer.step = poisoned_step
    folder = train.create(made, tmp_path / "run")
    with pytest.raises(NonFiniteError) as caught:
        trainer.run(folder)
    state = checkpoint.load(folder.last)
    assert state["progress"]["step"] == 4 and all(np.isfinite(w).all() for w in state["model"].values())
    return str(caught.value)


def test_a_nan_weight_is_named(tmp_path):
    message = _poisoned(tmp_path, lambda m: m.features[4].weight.array.__setitem__((0, 0, 0, 0), np.nan))
    assert "the loss is nan at step 5 (epoch 1" in message
    assert "layer features.4 (Conv2d) is the first whose output holds NaN" in message and "its weight has it already" in message
    assert str(tmp_path / "run" / "last.ckpt") in message


def test_an_overflow_in_a_layer_is_named(tmp_path):
    def poison(model):
        model.features[5].weight.array[...] = 3e38
        model.classifier[1].weight.array[...] = 3e38

    message = _poisoned(tmp_path, poison)
    assert "is the first whose output holds" in message and "its weights and its input are finite" in message


def test_an_infinite_loss_behind_finite_layers_is_named(tmp_path):
    from scratchvgg.nn import functional as F

    made = small_recipe()
    trainer = Trainer(made, plain=True)
    trainer._loss = lambda logits, labels: F.cross_entropy(logits, labels) * float("inf")
    with pytest.raises(NonFiniteError, match="every layer's output is finite, the loss itself is not"):
        trainer.run(train.create(made, tmp_path / "run"))


def test_broken_weights_are_never_saved(tmp_path):
    made = small_recipe(checkpoint_steps=1)
    trainer = Trainer(made, plain=True)
    update = trainer.optimizer.step

    def bad_update():
        update()
        if trainer.steps == 2:
            trainer.model.classifier[1].weight.array[0, 0] = np.inf

    trainer.optimizer.step = bad_update
    folder = train.create(made, tmp_path / "run")
    with pytest.raises(NonFiniteError, match=r"the last step broke the weights .* classifier\.1\.weight holds NaN or Inf"):
        trainer.run(folder)
    assert checkpoint.load(folder.last)["progress"]["step"] == 2


def test_a_diverging_run_ends_with_a_name(tmp_path):
    made = small_recipe(lr=1e30, warmup=0.0)
    with pytest.raises(NonFiniteError, match="layer|holds"):
        Trainer(made, plain=True).run(train.create(made, tmp_path / "run"))


def test_interrupt_once_and_twice(capfd):
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.signal == signal.SIGINT
        assert capfd.readouterr().err == "finishing this step (Ctrl-C again stops at once)\n"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_stopped_in_the_middle_of_testing(tmp_path):
    """A signal during the test at the end of epoch 1: everything is saved, and the resumed run ends with the same bits."""
    whole = run(small_recipe(), tmp_path / "whole")
    made = small_recipe()
    trainer, folder = Trainer(made, plain=True), train.create(made, tmp_path / "run")
    test = trainer.test

    def interrupted_test():
        signal.raise_signal(signal.SIGINT)
        return test()

    trainer.test = interrupted_test
    outcome = trainer.run(folder)
    assert not outcome.finished and outcome.signal == signal.SIGINT
    assert checkpoint.load(folder.last)["progress"] | {"seconds": 0, "metrics": 0} == checkpoint.load(folder.last)["progress"] | {
        "epoch": 0, "batch": 6, "step": 6, "seconds": 0, "metrics": 0}
    assert Trainer(made, plain=True).run(folder).finished
    assert bits(folder.last) == bits(whole.last)


def test_clock():
    assert [progress.clock(s) for s in (0, 75, 3700)] == ["0:00", "1:15", "1:01:40"]
