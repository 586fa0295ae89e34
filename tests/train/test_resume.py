"""A run that was killed and resumed ends with the same bits as one that was not."""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from scratchvgg import train
from scratchvgg.train import checkpoint
from scratchvgg.train.loop import Trainer
from scratchvgg.weights.errors import WeightsError

from .common import assert_same_run, run, small_recipe

VARIANTS = {
    "ema": {"ema": 0.9},
    "lookahead, fast_vgg": {"model": "fast_vgg", "model_options": {"widths": [8, 8, 8]}, "lookahead": 2, "bias_lr_scale": 64.0, "whiten_epochs": 1,
                            "augmentation": ["alternating_flip", "translate:2"], "schedule": "triangular"},
    "float16, clipping": {"precision": "fp16", "clip_norm": 1.0},
    "scale jitter, colour shift": {"crop": 24, "scale_min": 26, "scale_max": 40, "augmentation": ["flip", "rgb_shift:0.1"], "cache_mb": 0},
    "plateau": {"schedule": "plateau", "warmup": 0.0, "patience": 0, "lr": 0.01},
    "adamw, clipping": {"optimizer": "adamw", "lr": 0.01, "clip_norm": 1.0, "label_smoothing": 0.1, "schedule": "cosine"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_resuming_from_every_checkpoint(tmp_path, name, monkeypatch):
    recipe = small_recipe(checkpoint_steps=1, **VARIANTS[name])
    kept = []
    save = Trainer.save

    def save_and_keep(self, path=None):
        save(self, path)
        kept.append(tmp_path / f"copy{len(kept)}")
        shutil.copytree(self.folder.path, kept[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", save_and_keep)
        whole = run(recipe, tmp_path / "whole")
    assert len(kept) == 1 + 12 + 2 + _bests(whole)  # at the start, after each step and each epoch, and the best
    for copy in kept[::4]:
        with open(copy / "metrics.jsonl", "ab") as file:
            file.write(b'{"kind": "step", "step": 99}\n{"kind": "st')  # written after the checkpoint
        folder = train.open_existing(copy)
        assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
        assert_same_run(whole, folder)


def _bests(folder):
    lines = [line["test_accuracy"] for line in train.metrics.read(folder.metrics, "epoch")]
    return sum(accuracy > max(lines[:i], default=-1) for i, accuracy in enumerate(lines))


def start(*args):
    """``scratchvgg`` in its own process."""
    return subprocess.Popen([sys.executable, "-m", "scratchvgg", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def recipe_and_whole(tmp_path_factory):
    """A recipe file and the run folder of its unbroken run."""
    folder = tmp_path_factory.mktemp("resume")
    recipe = small_recipe(checkpoint_steps=1, epochs=6, ema=0.9, name="killed")
    (folder / "killed.toml").write_text(recipe.to_toml())
    return folder / "killed.toml", run(recipe, folder / "whole")


def test_sigkill_at_random_moments(recipe_and_whole, tmp_path):
    recipe, whole = recipe_and_whole
    rng, kills, out = random.Random(), 0, tmp_path / "run"
    process = start("train", "--recipe", recipe, "--out", out)
    for _ in range(12):
        process.stdout.readline()  # it trains now
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        process = start("train", "--resume", out)
        if kills == 4:
            break
    text = process.communicate()[0]
    assert process.returncode == 0, text
    assert kills >= 2, f"the run was over before it could be killed: {text}"
    assert_same_run(whole, train.open_existing(out))
    assert not list(out.glob(".*")), "leftovers of killed writers"


@pytest.mark.parametrize("when", ["before", "after"])
def test_sigkill_while_a_checkpoint_is_written(recipe_and_whole, tmp_path, when):
    recipe, whole = recipe_and_whole
    code = f"""
import os, signal, sys
from scratchvgg.cli import main
replace, count = os.replace, 0
def deadly(*args):
    global count
    count += 1
    if count == 9 and {when == 'before'}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
    if count == 9:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = deadly
main(sys.argv[1:])
"""
    out = tmp_path / "run"
    assert subprocess.run([sys.executable, "-c", code, "train", "--recipe", str(recipe), "--out", str(out)], capture_output=True).returncode == -9
    assert len(list(out.glob(".*.tmp"))) == (when == "before")
    process = start("train", "--resume", out)
    text = process.communicate()[0]
    assert process.returncode == 0, text
    assert re.search(r"going on after step \d+ of 36", text)
    assert_same_run(whole, train.open_existing(out))


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_saves_and_says_how_to_go_on(recipe_and_whole, tmp_path, number, status):
    recipe, whole = recipe_and_whole
    out = tmp_path / "a run"  # the space wants quoting
    process = start("train", "--recipe", recipe, "--out", out, "--checkpoint-seconds", "60")
    process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(number)
    text = process.communicate()[0]
    assert process.returncode == status, text
    assert "finishing this step" in text and "everything is saved" in text
    command = shlex.split(text.splitlines()[-1])
    assert command[:3] == ["python", "-m", "scratchvgg"]
    resumed = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(whole, train.open_existing(out))


def test_a_finished_run_is_left_as_it_is(tmp_path):
    folder = run(small_recipe(epochs=1), tmp_path / "run")
    before = curve_and_bytes(folder)
    assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
    assert curve_and_bytes(folder) == before


def curve_and_bytes(folder):
    lines = [line for line in folder.metrics.read_text().splitlines() if '"kind": "run"' not in line]
    return folder.last.read_bytes(), folder.best.read_bytes(), lines


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
    recipe = small_recipe()
    whole = run(recipe, tmp_path / "whole")
    folder = train.create(recipe, tmp_path / "born")  # only recipe.toml
    folder.metrics.write_text("half a li")
    assert Trainer(folder.read_recipe(), plain=True).run(folder).finished
    assert_same_run(whole, folder)


def test_the_thread_count_is_part_of_the_checkpoint(tmp_path):
    from scratchvgg.array import get_num_threads, set_num_threads

    before = get_num_threads()
    try:
        folder = run(small_recipe(epochs=1, threads=2), tmp_path / "run")
        set_num_threads(1)
        Trainer(folder.read_recipe().replace(threads=None), plain=True)
        assert get_num_threads() == 1
        Trainer(folder.read_recipe(), plain=True).run(folder)
        assert get_num_threads() == 2
    finally:
        set_num_threads(before)


# ---- damaged and foreign checkpoints ---------------------------------------------------------------------------------


def test_damaged_checkpoints_are_named(tmp_path):
    folder = run(small_recipe(epochs=1), tmp_path / "run")
    whole = folder.last.read_bytes()
    for content, message in [(whole[:-20], "truncated"), (whole[:100], "truncated"), (b"", "truncated"), (b"\x80\x04junk", "no weights file"),
                             (whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:], "CRC")]:
        folder.last.write_bytes(content)
        with pytest.raises(WeightsError, match=message) as caught:
            Trainer(folder.read_recipe(), plain=True).run(folder)
        assert str(folder.last) in str(caught.value)
        assert folder.last.read_bytes() == content


@pytest.mark.parametrize("change", [
    lambda s: s.pop("optimizer"), lambda s: s.update(format=99), lambda s: s.update(threads="two"), lambda s: s.clear(),
])
def test_other_archives_are_no_checkpoints(tmp_path, change):
    from scratchvgg.weights.archive import load_tree, save_tree

    folder = run(small_recipe(epochs=1), tmp_path / "run")
    state = load_tree(folder.last)
    change(state)
    save_tree(folder.last, state)
    with pytest.raises(WeightsError, match="no training checkpoint"):
        checkpoint.load(folder.last)


def test_a_changed_recipe_is_refused(tmp_path):
    folder = run(small_recipe(epochs=1), tmp_path / "run")
    folder.recipe.write_text(folder.read_recipe().replace(lr=0.5, epochs=3).to_toml())
    with pytest.raises(train.RunError, match="epochs, lr differ"):
        Trainer(folder.read_recipe(), plain=True).run(folder)


def test_load_model_gives_the_net_that_was_tested(tmp_path):
    from scratchvgg.data import DataLoader, transforms
    from scratchvgg.evaluate import accuracy
    from scratchvgg.train import build

    recipe = small_recipe(ema=0.8, epochs=2)
    folder = run(recipe, tmp_path / "run")
    model, state = train.load_model(folder.path)
    test_set = build.datasets(recipe)[1]
    found = accuracy(model, DataLoader(test_set, 20, transform=transforms.Normalize(test_set.mean, test_set.std)))
    assert found == state["progress"]["best"] == max(line["test_accuracy"] for line in train.metrics.read(folder.metrics, "epoch"))
    os.remove(folder.best)
    assert train.checkpoint.find(folder.path) == folder.last
    os.remove(folder.last)
    with pytest.raises(FileNotFoundError, match="no checkpoint in it"):
        train.load_model(folder.path)
