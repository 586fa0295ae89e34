"""A whole training run, with augmentation, testing, checkpoints and averages, on the second of two pretended GPUs."""

import pytest

from tests.train.common import curve, run, small_recipe

from .arrays import waits
from .stage import rehearsal


def test_the_cpu_s_curve(tmp_path):
    with rehearsal(2):
        there = run(small_recipe(device="cuda:1"), tmp_path / "there")
        causes = set(waits)
    here = run(small_recipe(device="cpu"), tmp_path / "here")
    assert causes == {"asnumpy()"}  # metrics, tests and checkpoints are read by to_numpy; nothing else makes the host wait
    for ours, theirs in zip(curve(there), curve(here), strict=True):
        for name, value in theirs.items():
            assert ours[name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value), name
