"""Who is called when, and what is made of the samples. Nothing here depends on how fast the machine is."""

import math
import time

import numpy as np
import pytest

from scratchvgg.bench import timing
from scratchvgg.bench.timing import Timing, Timings, interleave, quartiles


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(timing, "SETTLE", 0.0)
    monkeypatch.setattr(timing, "SAMPLE", 1e-9)  # a sample is one call


def test_sides_take_turns_and_nobody_always_comes_first():
    calls = []
    sides = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = interleave(sides, rounds=3)
    assert list(found) == ["a", "b", "c"] and all(found[name].n == 3 for name in "abc") and not found.interrupted
    measured = "".join(calls)[6:]  # two calls each to warm up
    assert measured == "aabbcc" + "bbccaa" + "ccaabb"  # one call that does not count before each that does


def test_short_work_is_repeated_within_a_sample(monkeypatch):
    monkeypatch.setattr(timing, "SAMPLE", 0.002)
    count = [0]

    def work():
        count[0] += 1

    found = interleave({"a": work}, rounds=2)["a"]
    assert found.inner > 10 and count[0] >= 2 * found.inner
    assert found.median < 0.001 and found.summary()["inner"] == found.inner


def test_flushing_times_single_cold_calls(monkeypatch):
    monkeypatch.setattr(timing, "SAMPLE", 0.02)
    calls = []
    found = interleave({"a": lambda: calls.append(1)}, rounds=4, flush=1 << 16)["a"]
    assert found.inner == 1 and len(calls) == 2 + 4


def test_rounds_follow_the_seconds():
    assert interleave({"a": lambda: None}, seconds=1e-12)["a"].n == timing.LEAST
    assert interleave({"a": lambda: None}, seconds=1e9)["a"].n == timing.MOST


def test_interrupted_keeps_what_was_measured():
    count = [0]

    def stop():
        count[0] += 1
        if count[0] == 6:
            raise KeyboardInterrupt

    found = interleave({"a": lambda: None, "b": stop}, rounds=50)
    assert found.interrupted and found["b"].n == 1 and found["a"].n == 1 and not math.isnan(found.ratio("a", "b")[1])


def test_ctrl_c_while_warming_up():
    def stop():
        raise KeyboardInterrupt

    found = interleave({"a": stop}, rounds=5)
    assert found.interrupted and found["a"].n == 0 and math.isnan(found["a"].median)


def test_errors_of_a_side_come_through():
    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0})


@pytest.mark.parametrize(("sides", "rounds"), [({}, 3), ({"a": print}, 0)])
def test_nothing_to_measure(sides, rounds):
    with pytest.raises(ValueError, match="at least one side and one round"):
        interleave(sides, rounds=rounds)


def test_statistics():
    found = Timings({"a": Timing([4.0, 2.0, 3.0, 100.0, 1.0]), "b": Timing([2.0, 1.0, 1.0, 100.0, 1.0])})
    assert found["a"].median == 3.0 and found["a"].spread == (4.0 - 2.0) / 3.0 and found["a"].n == 5
    assert found.ratio("a", "b") == (1.0, 2.0, 2.0)  # of neighbours: the slow fourth round hit both
    assert found["a"].summary() == {"seconds": 3.0, "low": 2.0, "high": 4.0, "best": 1.0, "spread": 2 / 3, "rounds": 5, "inner": 1}
    assert all(np.isnan(quartiles([])))


def test_a_call_is_timed_per_call(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(timing, "SAMPLE", 0.5)

    def work():
        clock[0] += 0.125

    found = interleave({"a": work}, rounds=3)["a"]
    assert found.samples == [0.125] * 3 and found.inner == 4
