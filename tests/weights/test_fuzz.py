"""Mutated files are refused with WeightsError or load rightly; ``python -m benchmarks.fuzz`` does a hundred thousand of each format."""

import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("h5py")
fuzzing = pytest.importorskip("benchmarks.fuzz")
FILES = {"torch": 600, "torch-legacy": 600, "safetensors": 600, "npz": 600, "keras": 100}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("form", fuzzing.FORMATS)
def test_a_mutated_file_is_refused_or_right(form, tmp_path):
    judge = fuzzing.fuzz(form, FILES[form], 0, tmp_path)
    assert sum(judge.counts.values()) >= FILES[form] and judge.counts["refused"] > FILES[form] / 4


def test_the_judge_finds_what_is_wrong(tmp_path, monkeypatch):
    """A reader that believes everything is caught: other numbers, another error, an action."""
    import scratchvgg as sv

    seeds = fuzzing.SEEDS["npz"]()
    judge = fuzzing.Judge("npz", seeds, tmp_path)
    assert judge(seeds[0], 0, True) == "same" and judge(seeds[0][:-9], 0, True) == "refused"
    for way, said in ((lambda path: {"a": 1}, "something else"), (lambda path: 1 / 0, "ZeroDivisionError"),
                      (lambda path: open(tmp_path / "new", "w").close(), "open"), (lambda path: exec("1"), "exec")):
        monkeypatch.setattr(sv, "load", way, raising=False)
        with pytest.raises(fuzzing.Wrong, match=said):
            judge(seeds[0], 0, True)
