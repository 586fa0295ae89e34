"""The pool: every item once, errors, nesting, and results that do not depend on the number of threads."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from scratchvgg.array import get_num_threads, parallel_for, ranges, set_num_threads


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_item_once(threads, count):
    seen, lock = [], threading.Lock()

    def task(item):
        with lock:
            seen.append(item)

    parallel_for(task, range(count))
    assert sorted(seen) == list(range(count))


def test_an_exception_reaches_the_caller(threads):
    def task(item):
        if item in (3, 7):
            raise KeyError(item)

    with pytest.raises(KeyError, match="3"):
        parallel_for(task, range(10))
    parallel_for(task, range(2))  # and the pool still works


def test_nested_regions_run_in_place(threads):
    seen, lock = [], threading.Lock()

    def outer(i):
        before = threading.get_ident()

        def inner(j):
            assert threading.get_ident() == before
            with lock:
                seen.append((i, j))

        parallel_for(inner, range(3))

    parallel_for(outer, range(4))
    assert sorted(seen) == [(i, j) for i in range(4) for j in range(3)]


def test_regions_of_several_callers_at_once(threads):
    results = {}

    def caller(name):
        out = np.zeros(50)
        parallel_for(lambda i: out.__setitem__(i, i * name), range(50))
        results[name] = out

    callers = [threading.Thread(target=caller, args=(n,)) for n in range(4)]
    for t in callers:
        t.start()
    for t in callers:
        t.join(60)
    for name, out in results.items():
        np.testing.assert_array_equal(out, np.arange(50) * name)
    assert len(results) == 4


def test_ranges():
    assert ranges(10, 4) == [(0, 4), (4, 8), (8, 10)] and ranges(0, 4) == [] and ranges(3, 0) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_threads(n):
    with pytest.raises(ValueError, match="set_num_threads"):
        set_num_threads(n)


def test_ctrl_c_while_waiting_for_the_other_threads():
    """It is raised when every started task has ended, and the pool can be used again."""
    before, ended = get_num_threads(), []
    set_num_threads(2)
    started = threading.Event()

    def task(item):
        if threading.current_thread() is threading.main_thread():
            started.wait(5)  # the other one has the other item
            return
        started.set()
        time.sleep(0.4)
        ended.append(item)

    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel_for(task, range(2))
        assert len(ended) == 1
        done = []
        parallel_for(done.append, range(5))
        assert sorted(done) == list(range(5))
    finally:
        timer.join()
        set_num_threads(before)
