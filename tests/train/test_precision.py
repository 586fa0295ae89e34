"""Training in bfloat16 and float16: the same course as in float32, weights and metrics in float32, scales in the checkpoint."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.evaluate import evaluate
from scratchvgg.train import RecipeError, Trainer, checkpoint, metrics

from .common import run, small_recipe

pytest.importorskip("ml_dtypes")


def losses(folder):
    return np.array([line["train_loss"] for line in metrics.read(folder.metrics, "epoch")])


def test_losses_fall_alike(tmp_path):
    options = {"epochs": 4, "augmentation": [], "model_options": {"widths": [8, "M", 8, "M"]}, "lr": 0.05}
    course = {p: losses(run(small_recipe(precision=p, **options), tmp_path / p)) for p in ("fp32", "bf16", "fp16")}
    assert course["fp32"][-1] < course["fp32"][0] - 0.03
    for low in ("bf16", "fp16"):
        assert 0 < np.abs(course[low] - course["fp32"]).max() < 0.01
    state = checkpoint.load(tmp_path / "fp16" / "last.ckpt")
    assert state["scaler"]["_growth_tracker"] == 24 and state["scaler"]["scale"] == 65536.0 and state["recipe"]["precision"] == "fp16"
    assert checkpoint.load(tmp_path / "bf16" / "last.ckpt")["scaler"] == {}
    assert {v.dtype for v in state["model"].values()} == {np.dtype("float32"), np.dtype("int64")}


def test_steps_that_overflow_are_left_out():
    trainer = Trainer(small_recipe(precision="fp16"), plain=True)
    images, labels = next(iter(trainer.loader))
    trainer.scaler.scale(sv.tensor(1.0))
    trainer.scaler.update(2.0**24)
    start = [p.detach().numpy().copy() for p in trainer.model.parameters()]
    trainer.step(images, labels)
    assert trainer.scaler.get_scale() == 2.0**23
    assert all((a == p.detach().numpy()).all() for a, p in zip(start, trainer.model.parameters(), strict=True))
    for _ in range(9):
        trainer.step(images, labels)
    assert trainer.scaler.get_scale() < 2.0**22
    assert any((a != p.detach().numpy()).any() for a, p in zip(start, trainer.model.parameters(), strict=True))


def test_a_step_on_the_emulator_is_the_cpus():
    options = {"precision": "bf16", "train_size": 4, "test_size": 4, "batch_size": 4, "augmentation": []}
    ends = []
    for device in ("cpu", "emulator"):
        trainer = Trainer(small_recipe(device=device, **options), plain=True)
        trainer.step(*next(iter(trainer.loader)))
        assert trainer.optimizer.found_inf is None
        ends.append([p.cpu().detach().numpy() for p in trainer.model.parameters()])
    for a, b in zip(*ends, strict=True):
        assert a.dtype == np.float32 and np.linalg.norm(a - b) <= 2**-8 * np.linalg.norm(a)


def test_logits_are_widened_before_they_are_judged():
    trainer = Trainer(small_recipe(), plain=True)
    images, labels = next(iter(trainer.test_loader))
    exact = evaluate(trainer.model, [(images, labels)])
    with sv.autocast("cpu", sv.bfloat16):
        low = evaluate(trainer.model, [(images, labels)], "flip")
        assert sv.evaluate.predict_logits(trainer.model, images).dtype is sv.float32
    assert low.loss == pytest.approx(exact.loss, abs=0.02)


def test_unknown_precision():
    with pytest.raises(RecipeError, match="precision: expected one of fp32, bf16, fp16, got 'bf61'; did you mean 'bf16'"):
        small_recipe(precision="bf61")
