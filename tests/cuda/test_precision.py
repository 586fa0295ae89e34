"""TF32 is off until the user switches it on, under torch's names."""

import pytest

import scratchvgg as sv
from scratchvgg.cuda.precision import Backends


def test_off_at_first():
    fresh = Backends()
    assert fresh.cudnn.allow_tf32 is False and fresh.cuda.matmul.allow_tf32 is False
    assert sv.backends.cudnn.allow_tf32 is False and sv.backends.cuda.matmul.allow_tf32 is False


def test_two_switches():
    fresh = Backends()
    fresh.cudnn.allow_tf32 = True
    assert fresh.cudnn.allow_tf32 and not fresh.cuda.matmul.allow_tf32
    fresh.cuda.matmul.allow_tf32 = True
    assert fresh.cuda.matmul.allow_tf32


def test_torchs_other_words_are_taken_and_misspelt_ones_are_not():
    fresh = Backends()
    fresh.cudnn.benchmark = True
    assert fresh.cudnn.benchmark and fresh.cudnn.enabled and fresh.cudnn.deterministic
    with pytest.raises(AttributeError):
        fresh.cudnn.allow_tf23 = True
    with pytest.raises(TypeError, match="allow_tf32 must be True or False, got 1"):
        fresh.cudnn.allow_tf32 = 1
