"""What the tests of training share: a recipe of a second, and the comparison of final bits."""

from __future__ import annotations

import numpy as np

from scratchvgg import train
from scratchvgg.train import checkpoint, metrics, recipe

SMALL = {"train_size": 96, "test_size": 40, "batch_size": 16, "eval_batch_size": 20, "epochs": 2, "threads": 1}
OPTIONS = {"widths": [4, "M", 8, "M"], "dropout": 0.3}


def small_recipe(**changes) -> train.Recipe:
    """Twelve steps of a net with batch norm, dropout and everything random."""
    return recipe.load("tiny").replace(**{**SMALL, "model_options": OPTIONS, "augmentation": ["translate:2", "flip", "cutout:6"], **changes})


def run(recipe, path):
    """Train in this process; the run folder."""
    folder = train.create(recipe, path)
    assert train.Trainer(recipe, plain=True).run(folder).finished
    return folder


def flat(tree, place=()):
    """(place, value) of every leaf; arrays as bytes, so that NaN and −0 count too."""
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in flat(value, (*place, key))]
    if isinstance(tree, (list, tuple)):
        return [leaf for i, value in enumerate(tree) for leaf in flat(value, (*place, i))]
    return [(place, tree.tobytes() if isinstance(tree, np.ndarray) else tree)]


def bits(path) -> dict:
    """All of a checkpoint but times and file positions."""
    state = checkpoint.load(path)
    for name in ("seconds", "metrics"):
        del state["progress"][name]
    return dict(flat(state))


def curve(folder) -> list:
    """The steps and epochs of the metrics file without times and machine."""
    timeless = ("seconds", "images_per_second", "gemm_gflops")
    return [{k: v for k, v in line.items() if k not in timeless} for line in metrics.read(folder.metrics) if line["kind"] != "run"]


def assert_same_run(a, b) -> None:
    """Two run folders ended with the same bits."""
    for name in ("last.ckpt", "best.ckpt"):
        assert bits(a.path / name) == bits(b.path / name), name
    assert curve(a) == curve(b)
