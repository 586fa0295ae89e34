"""Pickles are data: what plain data says is read as Python reads it, whatever else is refused, quickly and in little memory."""

import math
import pickle
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchvgg.weights.pickle_machine import DEEPEST, Name, PickleMachine, rebuild
from scratchvgg.weights.source import Malformed
from scratchvgg.weights.torch_tensors import NAMES, fill, read_pickle

from .torch_files import HOSTILE_PICKLES, check_refused, text

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20)  # fmt: skip


def run(content, names=NAMES, **options):
    return PickleMachine(content, names, **options).run()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@settings(max_examples=60, deadline=None)
@given(value=PLAIN)
def test_plain_data_are_read_as_python_reads_them(protocol, value):
    content = pickle.dumps(value, protocol)
    found = rebuild(run(content), None)
    assert found == value and repr(found) == repr(value)


def test_shared_lists_stay_shared():
    shared = [1]
    found = rebuild(run(pickle.dumps({"a": shared, "b": (shared, shared)}, 2)), None)
    found["a"].append(2)
    assert found["b"] == ([1, 2], [1, 2])


def test_ordered_dicts_keep_order_and_metadata():
    value = OrderedDict(b=1, a=OrderedDict())
    value._metadata = OrderedDict({"": {"version": 1}})
    found = rebuild(run(pickle.dumps(value, 2), builds={OrderedDict: lambda target, state: vars(target).update(state)}), None)
    assert type(found) is OrderedDict and list(found) == ["b", "a"] and found._metadata == {"": {"version": 1}}


def test_what_python_2_wrote():
    pairs = b"](](U\x01aK\x01e](S'b\\x41'\nI01\nee"
    content = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R."
    assert run(content) == OrderedDict(a=1, bA=True)
    assert run(b"U\x02\xc3\xbc.") == "ü" and run(b"U\x02\xc3\xbc.", encoding="latin-1") == "Ã¼"
    assert run(b"(dp1\nS'n'\np2\nL12345678901234567890L\nsg1\n\x86.") == ({"n": 12345678901234567890},) * 2


@pytest.mark.parametrize("line", [
    b"I010", b"I0x10", b"I1_0", b"I 1", b"I+1", b"L1_0L", b"L1LL", b"F1e999", b"F1_0.0", b"Finfinity", b"F 1", b"Np+1", b"Np1_0"])
def test_numbers_that_readers_take_differently_are_refused(line):
    with pytest.raises(Malformed):
        run(line + b"\n.")


def test_numbers_in_text():
    assert run(b"(I-12\nL-3L\nL4\nF1.5e-3\nF-inf\nF2.\nF7\nt.") == (-12, -3, 4, 0.0015, -math.inf, 2.0, 7.0)
    assert math.isnan(run(b"Fnan\n."))


def test_pickles_may_follow_each_other():
    content = pickle.dumps([1], 2) + pickle.dumps("x", 4) + b"more"
    first = PickleMachine(content, {})
    assert first.run() == [1]
    second = PickleMachine(content, {}, start=first.position)
    assert second.run() == "x" and content[second.position :] == b"more"


def test_names_are_looked_up_in_the_table_only():
    seen = []
    found = run(b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R.", {"os.system": lambda command: seen.append(command) or 3})
    assert found == 3 and seen == ["true"]  # the table's function ran, and nothing of os
    mentioned = run(b"\x80\x02cos\nsystem\n.", {"os.system": 5})
    assert type(mentioned) is Name and (mentioned.text, mentioned.meaning) == ("os.system", 5)


def test_without_a_table_nothing_is_outside():
    for content in (b"N\x51.", b"ccollections\nOrderedDict\n."):
        with pytest.raises(Malformed, match="refused"):
            run(content, {}, reader="picture files")


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_hostile_pickles_are_refused(name):
    content, reason = HOSTILE_PICKLES[name]

    def sizes(storage):
        if storage.bytes != 24:
            raise Malformed(f"declared with {storage.bytes}")

    def flat(storage):
        return np.zeros(storage.count, np.float32)

    check_refused(lambda: fill(read_pickle(content, check=sizes)[0], flat, lambda array: array), reason)


@pytest.mark.parametrize("content", [
    b"(" + b"]" * 399_990 + b"l.",
    b"ccollections\nOrderedDict\nq\x00(" + b"h\x00)RNNs" * 66_000 + b"l\x86.",
], ids=["lists", "ordered dicts"])
def test_the_largest_pickles_fit_in_memory(content):
    tracemalloc.start()
    try:
        run(content)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_depth_is_counted_in_containers():
    for depth in (DEEPEST, DEEPEST + 1):
        value = []
        for _ in range(depth - 1):
            value = [value]
        if depth == DEEPEST:
            assert rebuild(value, None) == value
        else:
            with pytest.raises(Malformed, match="nests"):
                rebuild(value, None)


def test_every_cut_is_refused():
    content = pickle.dumps({"a": [1, 2.5, "x" * 50, (None, True)], "b": b"abc", 3: {"d": -1}}, 2)
    for end in range(len(content)):
        with pytest.raises(Malformed):
            run(content[:end])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_arbitrary_bytes_give_data_or_malformed(content):
    try:
        fill(read_pickle(b"\x80\x02" + content)[0], lambda storage: None, lambda array: array)
    except Malformed:
        pass
