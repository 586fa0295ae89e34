"""Measured answers: who is asked, what is kept in memory and in the file, and files that are not to be trusted."""

import json
import multiprocessing
import threading
import warnings

import pytest

from scratchvgg import conv
from scratchvgg.array import get_num_threads, set_num_threads
from scratchvgg.conv import PASSES, Problem, answers, autotune, choose
from scratchvgg.conv.candidates import _ranked
from scratchvgg.conv.measure import measure

from .common import ONE
from .fakes import Fake, registered

G = Problem(1, 2, 6, 6, 2, 3, 3, (1, 1), ONE)
OTHER = Problem(2, 2, 5, 7, 3, 3, 3, (1, 1), ONE)
QUICK = {"seconds": 0}


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """An empty cache folder, no answers, no environment."""
    monkeypatch.delenv("SCRATCHVGG_CONV", raising=False)
    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
    answers.forget()
    yield
    answers.forget()


@pytest.fixture
def pair():
    """Two algorithms beside im2col: the cost model prefers the one that is slow."""
    with registered(Fake("slow", 0.5, delay=0.004), Fake("quick", 1.0), alone=True) as both:
        yield both


@pytest.fixture
def measured(monkeypatch):
    """Fills with every question that is really measured."""
    seen = []

    def count(problem, dtype, which, prepared, seconds):
        seen.append((problem, which, prepared))
        return measure(problem, dtype, which, prepared, seconds)

    monkeypatch.setattr(answers, "measure", count)
    return seen


def test_the_fastest_is_found_and_taken(pair):
    assert choose(G, "float32").name == "slow"
    tuned = autotune(G, **QUICK)
    assert choose(G, "float32").name == choose(G, "float32", "tuned").name == choose(G, "float32", "auto").name != "slow"
    assert choose(OTHER, "float32").name == "slow", "another problem was not measured"
    assert choose(G, "float64").name == "slow", "nor another type"
    assert {(q.which, q.prepared) for q in tuned.met} == {("forward", True), ("forward", False), ("grad_input", False), ("grad_weight", False)}
    assert all(set(times) == {"slow", "quick"} and times["slow"] > 0.004 for times in tuned.met.values())
    assert str(tuned).count("\n") == 3 and "1×2×6×6 → 2, 3×3 float32 forward (filters ready): " in str(tuned)


def test_other_settings_go_before_what_was_measured(pair, monkeypatch):
    autotune(G, **QUICK)
    assert choose(G, "float32", "slow").name == "slow"
    with conv.using("slow"):
        assert choose(G, "float32").name == "slow"
    monkeypatch.setenv("SCRATCHVGG_CONV", "reproducible")
    assert choose(G, "float32").name == "im2col"


def test_a_context_measures_what_it_meets_once(pair, measured):
    said = []
    with autotune(**QUICK, progress=lambda question, times: said.append(question)) as tuned:
        for _ in range(3):
            choose(G, "float32")
            choose(G, "float32", which="grad_weight")
            choose(OTHER, "float32", "slow")  # asked for: nothing to measure
            with conv.using("reproducible"):
                choose(OTHER, "float32")
    assert measured == [(G, "forward", False), (G, "grad_weight", False)]
    assert list(tuned.met) == said and [q.problem for q in said] == [G, G]
    assert conv.current() == "auto"
    choose(OTHER, "float32")
    assert len(measured) == 2, "outside nothing is measured"


def test_the_mode_tuned_measures_and_remembers(pair, measured):
    with conv.using("tuned"):
        first = choose(G, "float32").name
    answers.forget()
    assert choose(G, "float32").name == "slow", "a file alone does not change the default"
    with conv.using("tuned"):
        assert choose(G, "float32").name == first != "slow"
    assert len(measured) == 1
    assert choose(G, "float32").name == first, "it is loaded now"


def test_as_a_decorator_and_nested(pair, measured):
    tuned = autotune(**QUICK)

    @tuned
    def work(deep):
        choose(G, "float32")
        if deep:
            work(False)

    work(True)
    work(True)
    assert len(measured) == 1 and conv.current() == "auto"


@pytest.mark.parametrize("which", PASSES)
def test_one_pass(pair, measured, which):
    autotune([G, OTHER], "float64", passes=which, **QUICK)
    assert {(g, w) for g, w, _ in measured} == {(G, which), (OTHER, which)}


def test_bad_arguments(pair):
    with pytest.raises(ValueError, match="autotune: no pass 'sideways'; there are forward, grad_input, grad_weight"):
        autotune(G, passes=["forward", "sideways"])
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="autotune: expected seconds of 0 or more"):
            autotune(G, seconds=seconds)


def test_only_what_is_safe_able_and_not_hopeless_is_measured():
    fakes = Fake("wrong", 1, bound=1000), Fake("unable", 1, supported=False), Fake("far", 1e12), Fake("never", float("inf")), Fake("fine", 2e4)
    with registered(*fakes, alone=True):
        assert set(measure(G, "float32", seconds=0)) == {"fine", "im2col"}


def test_prepared_filters_are_made_outside_the_measured_time(pair):
    with registered(Fake("prepares", 1.0, prepare_cost=0.5), alone=True) as fake:
        measure(G, "float32", prepared=True, seconds=0)
        assert fake.prepared == 1 and set(fake.calls) == {"forward, prepared"}
        fake.calls.clear()
        measure(G, "float32", prepared=False, seconds=0)
        assert fake.prepared == 1 and set(fake.calls) == {"forward"}


def test_what_the_first_round_shows_to_be_hopeless_is_not_run_again():
    with registered(Fake("terrible", 1.0, delay=0.05), alone=True) as fake:
        assert measure(G, "float32", "grad_input", seconds=0)["terrible"] > 0.05
    assert len(fake.calls) == 2  # to warm up, and the first round


def test_a_change_needs_a_margin():
    a, b = Fake("a"), Fake("b")
    assert answers.fastest({"a": 1.0, "b": 0.98}, [a, b]) is a
    assert answers.fastest({"a": 1.0, "b": 0.9}, [a, b]) is b
    assert answers.fastest({"b": 1.0}, [a, b]) is b
    assert answers.fastest({"c": 1.0}, [a, b]) is None


def test_an_answer_is_not_taken_once_it_is_unsafe_or_gone(pair):
    autotune(G, passes="grad_input", **QUICK)
    answers._tables[get_num_threads()][answers.Question(G, "float32", "grad_input", False)] = {"slow": 1.0, "quick": 0.5, "gone": 0.1, "im2col": 2.0}
    assert choose(G, "float32", which="grad_input").name == "quick"
    pair[1]._bound = 1e6
    _ranked.cache_clear()
    assert choose(G, "float32", which="grad_input").name == "slow"


def test_a_new_algorithm_is_measured_too(pair, measured):
    autotune(G, passes="grad_input", **QUICK)
    with registered(Fake("new", 0.7)):
        autotune(G, passes="grad_input", **QUICK)
        autotune(G, passes="grad_input", **QUICK)
    assert len(measured) == 2


def test_every_number_of_threads_has_its_own_answers(pair, measured):
    before = get_num_threads()
    try:
        files = set()
        for threads in (1, 2):
            set_num_threads(threads)
            autotune(G, passes="grad_input", **QUICK)
            files.add(answers.default_file())
    finally:
        set_num_threads(before)
    assert len(measured) == len(files) == 2 and all(f.exists() for f in files)


# ---- the file ----------------------------------------------------------------------------------------------------------


def test_the_file(pair, tmp_path, measured):
    file = tmp_path / "deep" / "answers.json"
    tuned = autotune([G, OTHER], file=file, **QUICK)
    content = json.loads(file.read_text())
    assert content["format"] == 1 and content["machine"] == answers.machine_key()
    assert set(content["machine"]) == {"processor", "blas", "threads", "numpy", "scratchvgg"}
    assert len(content["answers"]) == 8 == len(measured)
    answers.forget()
    again = autotune([G, OTHER], file=file, **QUICK)
    assert again.met == tuned.met and len(measured) == 8
    assert not answers.default_file().exists()
    assert [p.name for p in file.parent.iterdir()] == ["answers.json"], "no lock, no temporary file"


DAMAGED = {
    "empty": "", "not JSON": "{", "another thing": "[1, 2]", "no answers": '{"format": 1}',
    "a bad problem": '"problem": [1]', "a bad pass": '"pass": "sideways"', "a bad time": '"seconds": {"im2col": 0}',
    "no time": '"seconds": {"im2col": "x"}',
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_left_alone_with_a_warning(pair, tmp_path, what, measured):
    file = tmp_path / "answers.json"
    entry = {"problem": [1, 2, 6, 6, 2, 3, 3, [1, 1], [[1, 1], [1, 1]], [1, 1], 1], "dtype": "float32", "pass": "grad_input", "prepared": False,
             "seconds": {"im2col": 1.0}}
    if what.startswith(("a bad", "no time")):
        entry |= json.loads("{" + DAMAGED[what] + "}")
        file.write_text(json.dumps({"format": 1, "machine": answers.machine_key(), "answers": [entry]}))
    else:
        file.write_text(DAMAGED[what])
    with pytest.warns(UserWarning, match="answers.json: damaged, not used"):
        autotune(G, file=file, passes="grad_input", **QUICK)
    assert len(measured) == 1
    answers.forget()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        autotune(G, file=file, passes="grad_input", **QUICK)  # it was replaced by a good one
    assert len(measured) == 1


@pytest.mark.parametrize("field", ["processor", "blas", "threads", "numpy", "scratchvgg"])
def test_a_file_from_elsewhere_is_left_alone_with_a_warning(pair, tmp_path, field, measured):
    file = tmp_path / "answers.json"
    autotune(G, file=file, passes="grad_input", **QUICK)
    content = json.loads(file.read_text())
    content["machine"][field] = "another"
    file.write_text(json.dumps(content))
    answers.forget()
    with pytest.warns(UserWarning, match="measured elsewhere or by another version"):
        autotune(G, file=file, passes="grad_input", **QUICK)
    assert len(measured) == 2


def test_a_folder_that_cannot_be_written_to(pair, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be written .*kept in memory only"):
        autotune(G, file=tmp_path / "file" / "answers.json", passes="grad_input", **QUICK)
    assert choose(G, "float32", which="grad_input").name != "slow"


def test_threads_that_ask_together_measure_once(pair, measured):
    def ask():
        with autotune(**QUICK):
            choose(G, "float32", which="grad_input")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(measured) == 1


def _write(file, number):
    problem = Problem(1, 1, 3 + number, 3, 1, 3, 3)
    autotune(problem, file=file, passes="grad_input", seconds=0)


def test_processes_that_write_together_lose_nothing(tmp_path):
    file = tmp_path / "answers.json"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(file, n)) for n in range(3)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0
    assert len(json.loads(file.read_text())["answers"]) == 3


def test_a_model_is_tuned_by_running_it(pair):
    import scratchvgg as sv

    model, x = sv.nn.Conv2d(2, 2, 3, padding=1), sv.randn(1, 2, 6, 6)
    with autotune(**QUICK) as tuned:
        with sv.no_grad():
            model(x)
        model(x.requires_grad_()).sum().backward()
    assert [(q.which, q.prepared) for q in tuned.met] == [("forward", True), ("forward", False), ("grad_input", False), ("grad_weight", False)]
