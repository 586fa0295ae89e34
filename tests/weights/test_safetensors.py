"""safetensors files: the library's bytes both ways, and headers that lie."""

import io
import json
import struct

import numpy as np
import pytest

from scratchvgg.weights import WeightsError, load
from scratchvgg.weights.safetensors import DTYPES, metadata, write

ml_dtypes = pytest.importorskip("ml_dtypes")


def sample() -> dict:
    rng = np.random.default_rng(0)
    tree = {name: rng.integers(0, 2 if name == "bool" else 256, 12 * np.dtype(name).itemsize, np.uint8).view(name).reshape(3, 4)
            for name in DTYPES.values()}  # random bits: NaN payloads among them
    tree |= {"scalar": np.array(2.5), "empty": np.zeros((0, 3), np.float32), 'odd "name"\n\x01é\u2028': np.arange(3, dtype=np.int8)}
    return tree


def strided() -> dict:
    base = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    return {"transposed": base.T, "fortran": np.asfortranarray(base), "steps": base[:, ::2, ::-1], "channels last": base.transpose(0, 2, 3, 1),
            "tied": base, "tied too": base, "big endian": base.astype(">f4"), "broadcast": np.broadcast_to(np.float32(7), (3, 4))}


def same(mine, theirs) -> bool:
    return mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()


# ---- against the library ---------------------------------------------------------------------------------------------


def test_the_bytes_are_those_of_the_library(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    for extra in (None, {"format": "pt", "a": "ü"}):
        write(tmp_path / "ours", sample(), metadata=extra)
        library.save_file(sample(), tmp_path / "theirs", metadata=extra)
        ours, theirs = (tmp_path / "ours").read_bytes(), (tmp_path / "theirs").read_bytes()
        length = int.from_bytes(ours[:8], "little")
        assert json.loads(ours[8 : 8 + length]) == json.loads(theirs[8 : 8 + length])
        assert ours[8 + length :] == theirs[8 + length :] and ours[:8] == theirs[:8]


def test_each_reads_what_the_other_writes(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    write(tmp_path / "ours", sample())
    library.save_file(sample(), tmp_path / "theirs")
    for tree in (library.load_file(tmp_path / "ours"), load(tmp_path / "theirs"), load(tmp_path / "theirs", mmap=False), load(tmp_path / "ours")):
        assert set(tree) == set(sample()) and all(same(tree[name], value) for name, value in sample().items())
    assert list(load(tmp_path / "ours")) == list(library.load_file(tmp_path / "ours"))


def test_arrays_that_are_not_contiguous(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    write(tmp_path / "x", strided())
    for tree in (library.load_file(tmp_path / "x"), load(tmp_path / "x")):
        for name, value in strided().items():
            assert same(tree[name], value.astype(value.dtype.newbyteorder("="))), name


def test_larger_than_the_buffer(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 1_500_000)).astype(np.float32)
    write(tmp_path / "x", {"a": array[:, ::-1], "b": array.T, "c": array})
    tree = load(tmp_path / "x")
    assert np.array_equal(tree["a"], array[:, ::-1]) and np.array_equal(tree["b"], array.T) and np.array_equal(tree["c"], array)


def test_torch_face(tmp_path):
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    names = ("float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool")
    tree = {name: torch.arange(24).reshape(2, 3, 4).to(getattr(torch, name)) for name in names}
    library.save_file(tree, tmp_path / "theirs", metadata={"format": "pt"})
    ours = load(tmp_path / "theirs")
    assert metadata(tmp_path / "theirs") == {"format": "pt"}
    write(tmp_path / "ours", ours)
    again = library.load_file(tmp_path / "ours")
    assert set(again) == set(tree) and all(torch.equal(again[name], value) and again[name].dtype == value.dtype for name, value in tree.items())


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_arrays_are_writable_windows(tmp_path):
    write(tmp_path / "x", {"a": np.arange(6, dtype=np.float32)})
    before = (tmp_path / "x").read_bytes()
    array = load(tmp_path / "x")["a"]
    array += 1
    assert array.flags.aligned and list(array) == [1, 2, 3, 4, 5, 6] and (tmp_path / "x").read_bytes() == before


def test_unaligned_headers_are_read(tmp_path):
    header = json.dumps({"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}).encode()
    while len(header) % 8 != 3:
        header += b" "
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header + np.array([1.5, -2]).tobytes())
    array = load(tmp_path / "x")["a"]
    assert array.flags.aligned and array.tolist() == [1.5, -2]


def test_metadata_and_open_files(tmp_path):
    file = io.BytesIO()
    write(file, {"a": np.ones(2)}, metadata={"k": "v"})
    assert metadata(file) == {"k": "v"} and load(file)["a"].tolist() == [1, 1]
    write(tmp_path / "x", {})
    assert metadata(tmp_path / "x") == {} and load(tmp_path / "x") == {}


# ---- what cannot be stored -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tree", "message"), [
    ([np.ones(1)], "got a list"), ({"net": {"w": np.ones(1)}}, r"\['net'\] is a dict"), ({"epoch": 3}, r"\['epoch'\] is a int"),
    ({3: np.ones(1)}, "3 cannot name"), ({"__metadata__": np.ones(1)}, "cannot name"),
    ({"c": np.ones(1, np.complex64)}, r"complex64 array at \['c'\]"),
    ({"o": np.array(["text"])}, r"at \['o'\]"),
])
def test_refusals_name_the_key_and_write_nothing(tmp_path, tree, message):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(TypeError, match=message):
        write(tmp_path / "x", tree)
    assert (tmp_path / "x").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


# ---- hostile files ---------------------------------------------------------------------------------------------------


def file_of(header, data=b"", length=None) -> bytes:
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


EIGHT = b"\0" * 8
HOSTILE = {
    "header past the end": (file_of("{}", length=1000), "header should have 1,000 bytes"),
    "truncated data": (file_of({"a": entry()}, EIGHT[:7]), "truncated or corrupt"),
    "trailing bytes": (file_of({"a": entry()}, EIGHT + b"x"), "truncated or corrupt"),
    "gap": (file_of({"a": entry(offsets=(4, 12))}, EIGHT + b"1234"), "gap or an overlap"),
    "overlap": (file_of({"a": entry(), "b": entry(offsets=(4, 12))}, EIGHT + b"1234"), "gap or an overlap"),
    "twice the same bytes": (file_of({"a": entry(), "b": entry()}, EIGHT), "gap or an overlap"),
    "duplicate name": (file_of('{"a": 1, "a": ' + json.dumps(entry()) + "}", EIGHT), "twice"),
    "duplicate field": (file_of('{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', EIGHT), "twice"),
    "wrong size": (file_of({"a": entry(shape=(3,))}, EIGHT), "needs 12 bytes"),
    "overflow": (file_of({"a": entry(shape=(1 << 32, 1 << 32), offsets=(0, 0))}), "needs"),
    "negative": (file_of({"a": entry(shape=(-1, -2))}, EIGHT), "whole numbers"),
    "negative offsets": (file_of({"a": entry(offsets=(-8, 0))}, EIGHT), "whole numbers"),
    "backwards": (file_of({"a": entry(offsets=(8, 0))}, EIGHT), "needs"),
    "float shape": (file_of({"a": entry(shape=(2.0,))}, EIGHT), "whole numbers"),
    "true shape": (file_of({"a": entry(dtype="I64", shape=(True,))}, EIGHT), "whole numbers"),
    "many axes": (file_of({"a": entry(shape=[1] * 33 + [2])}, EIGHT), "34 axes"),
    "float8": (file_of({"a": entry("F8_E4M3", (8,))}, EIGHT), "F8_E4M3.*does not have"),
    "dtype no string": (file_of({"a": entry(["F32"])}, EIGHT), "cannot read"),
    "missing field": (file_of({"a": {"dtype": "F32", "shape": [2]}}, EIGHT), "should hold"),
    "extra field": (file_of({"a": entry() | {"x": 1}}, EIGHT), "should hold"),
    "no entry": (file_of({"a": 3}, EIGHT), "should hold"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "strings"),
    "metadata no dict": (file_of({"__metadata__": ["a"]}), "strings"),
    "nan": (file_of('{"a": NaN}'), "NaN"),
    "surrogate": (file_of('{"\\ud800": ' + json.dumps(entry()) + "}", EIGHT), "cannot read"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "cannot read"),
    "not JSON": (file_of("{nonsense"), "cannot read"),
    "deep": (file_of('{"a":' + "[" * 100_000), "nested too deeply"),
    "huge number": (file_of('{"a": ' + "9" * 10_000), "cannot read"),
    "wide shape": (file_of({"a": entry(shape=[9_999_999_999_999_999] * 100_000)}), "100,000 axes"),
    "huge header": (file_of("{" + " " * (1 << 22)), "at most 2,097,152"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers(tmp_path, name):
    content, message = HOSTILE[name]
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load(tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(caught.value)


def test_every_truncation_is_an_error(tmp_path):
    write(tmp_path / "x", {"a": np.arange(5.0), "b": np.arange(3, dtype=np.int8)})
    whole = (tmp_path / "x").read_bytes()
    for length in range(len(whole)):
        with pytest.raises(WeightsError, match="the open file"):
            load(io.BytesIO(whole[:length]))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    from scratchvgg.weights import safetensors

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(safetensors, "_verify", lambda *_: (_ for _ in ()).throw(OSError("reads back otherwise")))
    with pytest.raises(OSError, match="otherwise"):
        write(tmp_path / "x", {"a": np.ones(1)})
    assert (tmp_path / "x").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_write_that_went_wrong_is_noticed(tmp_path, monkeypatch):
    from scratchvgg.weights import safetensors

    monkeypatch.setattr(safetensors, "pieces", lambda array: [array.tobytes()[:-1]])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        write(tmp_path / "x", {"a": np.ones(1)})
    assert not list(tmp_path.iterdir())
