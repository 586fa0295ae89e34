"""What is said about the machine."""

import numpy as np
import pytest

from scratchvgg.bench import machine


@pytest.mark.parametrize(("dtype", "computed"), [("float16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_gemm_peak_is_of_the_type_that_is_computed_in(monkeypatch, dtype, computed):
    seen, multiply = set(), np.matmul
    monkeypatch.setattr(machine.np, "matmul", lambda a, b, out: seen.add(out.dtype.name) or multiply(a, b, out=out))
    assert machine.gemm_peak(dtype, sizes=(64, 96), repeats=1) > 0
    assert seen == {computed}


def test_copy_rate_copies_all(monkeypatch):
    made = []
    empty = np.empty
    monkeypatch.setattr(machine.np, "empty", lambda *args: made.append(empty(*args)) or made[-1])
    assert machine.copy_rate(100_001, 1) > 0
    assert made[0].size == 100_001 and made[0].all()


def test_headline_says_what_a_time_needs():
    about = {"processor": "Chip", "threads": 2, "cores": 4, "numpy": "2.0", "blas": ["someblas 1"],
             "gemm_peak": 123.4, "copy_rate": 5.6, "commit": None}
    text = machine.headline(about)
    assert all(word in text for word in ("Chip", "2 of 4 cores", "someblas 1", "GEMM 123 GFLOP/s (float32", "copy 5.6 GB/s"))
    assert machine.BUSY not in machine.headline(about | {"others": 0.05}) and machine.BUSY in machine.headline(about | {"others": 0.5})


def test_commit(monkeypatch, tmp_path):
    found = machine.commit()
    assert found is None or found.rstrip("+").isalnum()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert machine.commit() is None


def test_share_of_others(monkeypatch):
    readings = iter([(100.0, 10.0, 0.0), (108.0, 13.0, 5.0)])  # busy and own seconds of all cores, the time
    monkeypatch.setattr(machine.Others, "_now", staticmethod(lambda: next(readings)))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.Others().share() == pytest.approx((8 - 3) / 10)
    monkeypatch.setattr(machine.Others, "_now", staticmethod(lambda: None))
    assert machine.Others().share() is None


def test_share_of_others_here():
    share = machine.Others().share()
    assert share is None or 0 <= share <= 1
