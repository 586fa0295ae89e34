"""Pictures that a tiny net learns within a second, and runs on them."""

from __future__ import annotations

import numpy as np

from scratchvgg import train
from scratchvgg.data import ArrayDataset
from scratchvgg.study.doctor import examine
from scratchvgg.train import recipe as recipes

CLASSES = 4


class Stripes(ArrayDataset):
    """Noisy 16×16 pictures with stripes in one of four directions: uint8, balanced, shuffled."""

    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, count, seed, labels=None):
        rng = np.random.default_rng(seed)
        kinds = rng.permutation(count) % CLASSES
        y, x = np.mgrid[:16, :16]
        waves = np.stack([np.sin(a * x + b * y) for a, b in ((1.2, 0), (0, 1.2), (0.9, 0.9), (0.9, -0.9))])
        pictures = 127 + 50 * waves[kinds][:, None] + rng.normal(0, 45, (count, 3, 16, 16))
        super().__init__(np.clip(pictures, 0, 255).astype(np.uint8), kinds if labels is None else labels(kinds, rng), list("abcd"))


def recipe(**changes):
    """Some sixty steps of a net with batch norm."""
    return recipes.load("tiny").replace(**{
        "model_options": {"widths": [6, "M", 12, "M"]}, "epochs": 4, "batch_size": 20, "lr": 0.05, "augmentation": [], "log_every": 4, "threads": 1,
        **changes})


def run(path, made, datasets, model=None):
    """Train; a run that breaks is a run too."""
    folder = train.create(made, path)
    trainer = train.Trainer(made, plain=True, datasets=datasets)
    try:
        trainer.run(folder)
    except train.NonFiniteError:
        pass
    return folder.path


def sets(**labels):
    """(training set, test set)"""
    return Stripes(320, 0, labels.get("train")), Stripes(120, 1, labels.get("test"))


def diagnosis(path, datasets, **options):
    """Of a run on the pictures above."""
    return examine(path, data=datasets, **{"seconds": 20, **options})


def bad(found):
    """Checks that found something bad, the likeliest cause first."""
    return [finding.check for finding in found.of("bad")]
