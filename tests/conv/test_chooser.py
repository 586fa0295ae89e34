"""Who decides about the algorithm, in which order, and what the cost model may take."""

import math
import threading

import numpy as np
import pytest

from scratchvgg import conv
from scratchvgg.array.dtypes import float32
from scratchvgg.conv import PASSES, Problem, algorithms, candidates, choose
from scratchvgg.conv.candidates import _LIMITS, predicted

from .common import ONE
from .fakes import Fake, registered

G = Problem(2, 8, 12, 12, 8, 3, 3, (1, 1), ONE)
STRIDED = Problem(2, 8, 12, 12, 8, 3, 3, (2, 2), ONE)
VGG = [Problem(n, c, s, s, k, 3, 3, (1, 1), ONE) for n in (1, 8) for c, k, s in [
    (3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 512, 28), (512, 512, 28), (512, 512, 14)]]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """No environment, no measured answers, no process-wide setting."""
    monkeypatch.delenv("SCRATCHVGG_CONV", raising=False)
    conv.answers.forget()
    yield
    conv.set_algorithm(None)


def name(problem=G, dtype="float32", algorithm=None, which="forward", **options):
    return choose(problem, dtype, algorithm, which, **options).name


# ---- the order of who decides ------------------------------------------------------------------------------------------


def test_each_setting_yields_to_the_next(monkeypatch):
    with registered(*(Fake(n, math.inf) for n in ("one", "two", "three", "four", "five"))), registered(Fake("cheap", 1e-9)):
        assert name() == "cheap"
        monkeypatch.setenv("SCRATCHVGG_CONV", "one")
        assert name() == "one"
        conv.set_algorithm("two")
        assert name() == "two"
        with conv.using("three"):
            assert name() == "three"
            with conv.using("four"):
                assert name() == "four"
                assert name(algorithm="five") == "five"
            assert name() == "three"
        conv.set_algorithm(None)
        assert name() == "one"


def test_using_ends_with_an_exception():
    with pytest.raises(KeyError), conv.using("direct"):
        raise KeyError
    assert conv.current() == "auto"


def test_using_is_of_its_thread():
    seen = []
    with conv.using("direct"):
        thread = threading.Thread(target=lambda: seen.append(conv.current()))
        thread.start()
        thread.join()
        assert conv.current() == "direct"
    assert seen == ["auto"]


def test_set_algorithm_is_of_the_process():
    seen = []
    conv.set_algorithm("direct")
    thread = threading.Thread(target=lambda: seen.append(conv.current()))
    thread.start()
    thread.join()
    assert seen == ["direct"]


def test_the_reproducible_mode_is_im2col_in_every_pass():
    for setting in ("reproducible", "auto"):
        with registered(Fake("cheap", 1e-9)), conv.using(setting):
            names = {name(g, dtype, which=w) for g in (G, STRIDED) for dtype in ("float16", "float32", "float64") for w in PASSES}
            assert names == {"im2col" if setting == "reproducible" else "cheap"}


def test_a_name_is_taken_where_it_can_be():
    with conv.using("winograd4x4"):
        assert name() == "winograd4x4" and name(STRIDED) == "im2col"
    assert name(algorithm="reproducible") == "im2col"


def test_asking_for_what_cannot_be_done():
    with pytest.raises(ValueError, match=r"conv2d: algorithm 'winograd4x4' does not support Problem\(.*stride=\(2, 2\).* in scratchvgg.float32"):
        choose(STRIDED, float32, "winograd4x4")
    for ask in (lambda: choose(G, "float32", "fast"), lambda: conv.set_algorithm("fast"), lambda: conv.using("fast").__enter__()):
        with pytest.raises(ValueError, match="no (convolution )?algorithm 'fast'; there are .*im2col.*winograd4x4"):
            ask()
    assert conv.current() == "auto"


def test_a_bad_environment_names_its_variable(monkeypatch):
    monkeypatch.setenv("SCRATCHVGG_CONV", "fast")
    with pytest.raises(ValueError, match="SCRATCHVGG_CONV: no convolution algorithm 'fast'; there are auto, tuned, reproducible, .*im2col"):
        choose(G, "float32")
    assert name(algorithm="direct") == "direct"  # not asked then
    monkeypatch.setenv("SCRATCHVGG_CONV", "")
    assert conv.current() == "auto"


def test_interceptors_see_and_change_every_choice():
    seen = []

    def look(problem, dtype, which, chosen):
        seen.append((problem, dtype, which, chosen.name))
        return conv.get("direct")

    with conv.intercept_choices(look):
        assert name(algorithm="im2col", which="grad_input") == "direct"
    assert seen == [(G, "float32", "grad_input", "im2col")]
    assert name(algorithm="im2col") == "im2col"


# ---- the cost model ----------------------------------------------------------------------------------------------------


def test_the_cheapest_safe_one_of_each_pass():
    costs = {"forward": 1e-6, "grad_input": math.inf, "grad_weight": 1e-8}
    with registered(Fake("a", costs), Fake("b", 1e-7), Fake("wrong", 1e-9, bound=100), Fake("unable", 1e-9, supported=False)):
        assert [name(which=w) for w in PASSES] == ["b", "b", "a"]


def test_equal_costs_go_by_name():
    with registered(Fake("b", 1e-9), Fake("a", 1e-9), Fake("c", 1e-9)):
        assert [a.name for a in candidates(G, "float32")][:3] == ["a", "b", "c"]


def test_im2col_is_always_there():
    with registered(Fake("never", math.inf), alone=True):
        assert [a.name for a in candidates(G, "float32")] == ["im2col"]


def test_a_new_algorithm_is_seen_at_once():
    before = name()
    with registered(Fake("new", 1e-9)):
        assert name() == "new"
    assert name() == before


def test_a_filter_that_is_ready_costs_nothing():
    with registered(Fake("transforms", 10.0, prepare_cost=9.5), Fake("plain", 1.0), alone=True):
        assert name() == "plain"
        assert name(prepared=True) == "transforms"
        assert name(which="grad_input", prepared=True) == "plain"


@pytest.mark.parametrize("dtype, bound, taken", [("float32", 29, True), ("float32", 31, False), ("float64", 1.4, True), ("float64", 1.6, False)])
def test_error_limits(dtype, bound, taken):
    with registered(Fake("cheap", 1e-9, bound)):
        assert (name(dtype=dtype) == "cheap") == taken


def test_an_error_limit_can_be_changed(monkeypatch):
    monkeypatch.setitem(_LIMITS, "float32", conv.error_limit("float32"))  # and back after the test
    with registered(Fake("rough", 1e-9, 100)):
        assert name() != "rough"
        conv.set_error_limit("float32", 101)
        assert conv.error_limit(float32) == 101 and name() == "rough"
        assert name(dtype="float16") != "rough"
    for bad in (0.5, float("nan"), True, "2"):
        with pytest.raises(ValueError, match="set_error_limit: expected a number of 1 or more"):
            conv.set_error_limit("float32", bad)


@pytest.mark.parametrize("which", PASSES)
def test_winograd_is_safe_for_vgg_in_float32_and_not_in_float64(which):
    for g in VGG:
        assert "winograd4x4" in {a.name for a in candidates(g, "float32", which)}
        assert not {"winograd2x2", "winograd4x4"} & {a.name for a in candidates(g, "float64", which)}


def test_direct_is_never_chosen_by_itself():
    assert all("direct" not in {a.name for a in candidates(g, d, w)} for g in (G, STRIDED) for d in ("float32", "float64") for w in PASSES)


def test_costs_are_numbers_for_whatever_is_supported():
    odd = [Problem(0, 2, 4, 4, 3, 3, 3, (1, 1), ONE), Problem(1, 1, 1, 1, 1, 1, 1), Problem(1, 4, 5, 4, 8, 3, 3, (2, 1), ONE, (1, 1), 4)]
    for g in (*VGG, *odd, G, STRIDED):
        for a in algorithms().values():
            if a.supports(g, "float32"):
                for which in PASSES:
                    cost = a.cost(g, "float32", which)
                    assert cost >= 0 and not math.isnan(cost), (a.name, g, which)
                    assert 0 <= predicted(a, g, "float32", prepared=True) <= a.cost(g, "float32")
                assert a.prepare_cost(g, "float32") <= a.cost(g, "float32") or g.N == 0


def test_every_spelling_of_a_dtype():
    assert name(dtype=np.float32) == name(dtype="float32") == name(dtype=float32) == name(dtype=np.dtype("float32"))
