"""Pickles are read as data; a hostile one is refused and nothing of it runs."""

import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.data import DataError
from scratchvgg.data.plain_pickle import loads

from .cifar_files import array_pickle, batch_file

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
BATCH = batch_file(PIXELS, [7, 0, 3])


class Command:
    """Unpickling an instance runs a shell command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Evaluated:
    def __init__(self, source):
        self.source = source

    def __reduce__(self):
        return eval, (self.source,)


def test_reads_what_python_2_wrote():
    batch = loads(BATCH)
    assert batch["labels"] == [7, 0, 3] and batch["batch_label"] == "a batch"
    assert batch["data"].dtype == np.uint8 and np.array_equal(batch["data"], PIXELS)
    assert batch["filenames"][2] == "picture_2.png"


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_reads_what_python_3_writes(protocol, order):
    written = {b"data": np.asarray(PIXELS, order=order), "labels": [1, 2, 300, -5], "more": (None, True, "ü")}
    batch = loads(pickle.dumps(written, protocol))
    assert np.array_equal(batch["data"], PIXELS)
    assert batch["labels"] == [1, 2, 300, -5] and batch["more"] == (None, True, "ü")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["system", "eval"])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"data": x}, lambda x: {"labels": [1, x]}], ids="abc")
def test_code_in_a_pickle_does_not_run(tmp_path, protocol, kind, wrap):
    target = tmp_path / "ran"
    hostile = Command(f"touch {target}") if kind == "system" else Evaluated(f"open({str(target)!r}, 'w')")
    content = pickle.dumps(wrap(hostile), protocol)
    with pytest.raises(DataError, match="refused"):
        loads(content)
    assert not target.exists()
    pickle.loads(content)  # the fixture is live: the ordinary reader does run it
    assert target.exists()


@pytest.mark.parametrize("content", [
    b"\x80\x02cos\nsystem\n(U\x04trueo.",
    b"\x80\x02(U\x04trueios\nsystem\n.",
    b"\x80\x02cnumpy\nload\nU\x01x\x85R.",
    b"\x80\x02\x82\x01.",
    b"\x80\x02U\x01xQ.",
    b"\x80\x02cnumpy\nndarray\n)\x81.",
    b"\x80\x02cnumpy\ndtype\n}U\x08__code__K\x01sb.",
])
def test_other_ways_to_call_are_refused(content):
    with pytest.raises(DataError):
        loads(content)


def test_every_truncation_is_a_data_error():
    for length in [*range(0, 200), *range(200, len(BATCH), 97), len(BATCH) - 1]:
        with pytest.raises(DataError):
            loads(BATCH[:length])


@given(st.lists(st.tuples(st.integers(0, len(BATCH) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_give_data_or_a_data_error(changes):
    content = bytearray(BATCH)
    for place, value in changes:
        content[place] = value
    try:
        assert isinstance(loads(bytes(content)), dict)
    except DataError:
        pass


@given(st.binary(max_size=60))
def test_arbitrary_bytes_give_data_or_a_data_error(content):
    try:
        assert isinstance(loads(b"\x80\x02" + content), dict)
    except DataError:
        pass


@pytest.mark.parametrize(("array", "reason"), [
    (array_pickle(PIXELS, shape=(2**31 - 1, 2**31 - 1)), "declares an array"),
    (array_pickle(PIXELS, shape=(-3, -3072)), "declares an array"),
    (array_pickle(PIXELS, shape=(2, 3072)), "declares an array"),
    (array_pickle(PIXELS, kind="O8"), "another type"),
    (array_pickle(PIXELS, kind="f8"), "another type"),
])
def test_arrays_of_wrong_size_or_type_are_refused(array, reason):
    with pytest.raises(DataError, match=reason):
        loads(batch_file(PIXELS, [1, 2, 3], array=array))


@pytest.mark.parametrize("content", [
    b"\x80\x02}r\xff\xff\xff\xff.",  # a memo index that makes C's reader allocate 64 GiB
    b"\x80\x02T\xff\xff\xff\x7fabc.",  # a string that declares 2 GiB
    b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
])
def test_huge_declarations_cost_nothing(content):
    try:
        assert loads(content) == {}
    except DataError:
        pass


def test_the_top_level_must_be_a_dict():
    with pytest.raises(DataError, match="list instead of a dict"):
        loads(pickle.dumps([1, 2]))
