"""The archive returns what was put in, bit for bit, and believes no file."""

import json
import math
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchvgg.weights.archive import INDEX, load_tree, save_tree
from scratchvgg.weights.atomic import atomic_write, remove_leftovers
from scratchvgg.weights.errors import WeightsError


def same(a, b):
    """Equal types, structure and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def round_trip(tmp_path, tree):
    save_tree(tmp_path / "x.npz", tree)
    return load_tree(tmp_path / "x.npz")


def sample():
    return {
        "state": {0: {"momentum": np.arange(6, dtype=np.float32).reshape(2, 3)}, 1: {}},
        "names": ["a/b", "ü", ""], "a/b": np.ones(2), "a|b": np.zeros(2), "none": None, "pair": (1, 2.5, (True, False)),
        "numbers": [0.1, -0.0, math.inf, -math.inf, math.nan, 1 << 80, 1e-320],
    }


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64", ">f4", "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4, 5)])
def test_arrays_keep_type_shape_and_bits(tmp_path, dtype, shape):
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, math.prod(shape) * np.dtype(dtype).itemsize, np.uint8)
    array = bits.view(dtype).reshape(shape)  # random bits: NaN payloads and subnormals among them
    assert same(round_trip(tmp_path, {"a": array}), {"a": array})


def test_trees_keep_structure_and_float_bits(tmp_path):
    nan = struct.unpack(">d", bytes.fromhex("7ff8000000abcdef"))[0]
    tree = sample() | {"payload": nan}
    assert same(round_trip(tmp_path, tree), tree)


_leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(_leaf, lambda t: st.lists(t) | st.lists(t).map(tuple) | st.dictionaries(st.text() | st.integers(), t), max_leaves=12))
def test_any_tree(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    save_tree(path, tree)
    assert same(load_tree(path), tree)


def test_memory_order_is_kept(tmp_path):
    logical = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    last = np.ascontiguousarray(logical.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    tree = round_trip(tmp_path, {"last": last, "fortran": np.asfortranarray(logical), "gaps": logical[:, ::2, ::-1]})
    assert tree["last"].strides == last.strides and np.array_equal(tree["last"], logical)
    assert tree["fortran"].flags.f_contiguous and np.array_equal(tree["fortran"], logical)
    assert tree["gaps"].flags.c_contiguous and np.array_equal(tree["gaps"], logical[:, ::2, ::-1])


def test_tensors_are_arrays_unless_asked(tmp_path):
    from scratchvgg.autograd import Tensor, from_numpy, tensor

    save_tree(tmp_path / "t", [tensor([1.0, 2.0], requires_grad=True), np.ones(1)])
    assert same(load_tree(tmp_path / "t"), [np.array([1, 2], np.float32), np.ones(1)])
    first, second = load_tree(tmp_path / "t", as_tensor=from_numpy)
    assert isinstance(first, Tensor) and first.tolist() == [1, 2] and isinstance(second, np.ndarray)


def test_bfloat16(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, -2, 3], ml_dtypes.bfloat16)
    assert same(round_trip(tmp_path, [array]), [array])


def test_numpy_opens_it(tmp_path):
    save_tree(tmp_path / "x.npz", {"features": {"0.weight": np.arange(3.0)}})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        assert archive["features/0.weight"].tolist() == [0, 1, 2]


def test_equal_trees_give_equal_files(tmp_path):
    save_tree(tmp_path / "a", sample())
    save_tree(tmp_path / "b", sample())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), np.array(["text"]), 1j, b"bytes"])
def test_what_cannot_be_stored_is_named_and_nothing_is_written(tmp_path, value):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(TypeError, match=r"\['model'\]\[1\]"):
        save_tree(tmp_path / "x", {"model": [0, value]})
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_bytes() == b"old"


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tree(tmp_path / "absent")


def test_numpy_opens_it_and_data_can_be_mapped(tmp_path):
    tree = {"net": {"a/b": np.arange(6.0), "a\\b": np.ones(3, np.int8), "": np.zeros(2), "..": np.ones(1),
                    "x" * 2000: np.ones(1), "ü\n:": np.ones(1)}}
    assert same(round_trip(tmp_path, tree), tree)
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["net/a|b"].tolist() == list(range(6)) and len(archive.files) == 7
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert archive.testzip() is None
    mapped = load_tree(tmp_path / "x.npz", mmap=True)
    assert same(mapped, tree) and all(array.flags.aligned and array.flags.writeable for array in mapped["net"].values())
    for array in mapped["net"].values():
        array += 1
    assert same(load_tree(tmp_path / "x.npz"), tree)


def test_what_python_zipped_before_is_read(tmp_path):
    """Archives written with Python's zipfile: sizes in the local headers, data at any offset."""
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(INDEX), json.dumps({"format": "scratchvgg", "version": 1, "tree": {"dict": {"a": {"array": "a.npy"}}}}))
        for name, large in (("a.npy", True), ("unused.npy", False)):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=large) as member:
                np.lib.format.write_array(member, np.arange(5.0), version=(1, 0))
    for mmap in (True, False):
        assert same(load_tree(tmp_path / "x", mmap=mmap), {"a": np.arange(5.0)})


def test_numpys_own_files(tmp_path):
    from scratchvgg.weights import load

    tree = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "b": np.array([True, False]),
            "s": np.float16(2), "u": np.arange(3, dtype=np.uint16), "folder/w": np.zeros((0, 4))}
    np.savez(tmp_path / "x.npz", *[np.ones(2)], big=np.arange(3, dtype=">f4"), **tree)
    for mmap in (True, False):
        read = load(tmp_path / "x.npz", mmap=mmap)
        assert list(read) == ["big", *tree, "arr_0"] and read["big"].dtype == np.float32 and read["big"].tolist() == [0, 1, 2]
        assert all(same(read[name], np.asarray(value)) for name, value in tree.items()) and read["f"].flags.f_contiguous
        read["w"][0] = 7  # writable


@pytest.mark.parametrize(("save", "message"), [
    (lambda path: np.savez_compressed(path, a=np.ones(3)), "compressed"),
    (lambda path: np.savez(path, a=np.array([{}])), "expected an array of numbers"),
    (lambda path: np.savez(path, a=np.array(["text"])), "expected an array of numbers"), (lambda path: np.savez(path), "no weights file"),
    (lambda path: np.savez(path, a=np.zeros(1, [("x", "f4")])), "expected an array of numbers"),
])
def test_numpys_own_files_that_are_refused(tmp_path, save, message):
    save(tmp_path / "x.npz")
    with pytest.raises(WeightsError, match=message):
        load_tree(tmp_path / "x.npz")


def test_a_flipped_bit_counts_only_where_it_is_verified(tmp_path):
    from scratchvgg.weights import load

    save_tree(tmp_path / "x.npz", {"a": np.zeros(1000)})
    whole = bytearray((tmp_path / "x.npz").read_bytes())
    whole[4000] ^= 1
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(WeightsError, match="CRC"):
        load(tmp_path / "x.npz")
    assert np.count_nonzero(load(tmp_path / "x.npz", verify=False)["a"]) == 1


def test_trees_too_large_to_be_read_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="put numbers into arrays"):
        save_tree(tmp_path / "x", list(range(600_000)))
    assert not list(tmp_path.iterdir())
    save_tree(tmp_path / "x", list(range(500_000)))
    assert load_tree(tmp_path / "x")[-1] == 499_999


def test_an_index_of_too_many_values(tmp_path):
    with pytest.raises(WeightsError, match="more than 524,288 values"):
        load_tree(_archive(tmp_path / "x", "[" + "[]," * 300_000 + "[]]"))


# ---- hostile files ---------------------------------------------------------------------------------------------------


def test_every_truncation_is_an_error(tmp_path):
    save_tree(tmp_path / "x", sample())
    whole = (tmp_path / "x").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="cut"):
            load_tree(tmp_path / "cut")


def test_no_flipped_bit_goes_unseen(tmp_path):
    """Each byte of the file flipped in turn: an error, or (in fields that only other programs read) the very same tree."""
    tree = sample()
    save_tree(tmp_path / "x", tree)
    whole = (tmp_path / "x").read_bytes()
    seen = 0
    for place in range(len(whole)):
        (tmp_path / "bad").write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert same(load_tree(tmp_path / "bad"), tree)
        except WeightsError:
            seen += 1
    assert seen > len(whole) / 2


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04\x95", b"<html>404</html>", os.urandom(1000)])
def test_foreign_files(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(WeightsError, match="truncated or no weights file"):
        load_tree(tmp_path / "x")


def _archive(path, tree, members=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(INDEX, tree if isinstance(tree, (str, bytes)) else json.dumps({"format": "scratchvgg", "version": 1, "tree": tree}))
        for name, content in members:
            archive.writestr(name, content)
    return path


def _npy(header: str, data=b"") -> bytes:
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


HOSTILE = {
    "huge": ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }", "claims"),
    "huge, empty": ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 10000000000000000000000), }", "integers from 0 on", b""),
    "negative": ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }", "integers from 0 on"),
    "objects": ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "expected an array of numbers"),
    "record": ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "expected an array of numbers"),
    "code": ("{'descr': __import__('os').getpid(), 'fortran_order': False, 'shape': (1,), }", "malformed"),
    "deep": ("{'descr': " + "(" * 9000, "malformed"),
    "signs": ("{'descr': " + "-" * 9000 + "1}", "malformed"),
    "wrong size": ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "claims 8 bytes of data and has 4"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays(tmp_path, name):
    header, message, *data = HOSTILE[name]
    path = _archive(tmp_path / "x", {"array": "a.npy"}, [("a.npy", _npy(header, *data or [b"\0" * 4]))])
    with pytest.raises(WeightsError, match=message):
        load_tree(path)


@pytest.mark.parametrize("tree", [
    "[" * 100_000, "{}", "[]", '{"format": "other", "version": 1, "tree": 0}', '{"format": "scratchvgg", "version": 99, "tree": 0}', b"\xff",
    '{"format": "scratchvgg", "version": 1, "tree": 0}'.encode("utf-16"), '{"format": "scratchvgg", "version": 1, "tree": 0, "tree": 1}',
    '{"format": "scratchvgg", "version": 1, "tree": ' + '{"tuple": [' * 5000 + "]}" * 5000 + "}",
])
def test_hostile_index(tmp_path, tree):
    with pytest.raises(WeightsError):
        load_tree(_archive(tmp_path / "x", tree))


@pytest.mark.parametrize("tree", [
    {"array": "absent.npy"}, {"pickle": 1}, {"dict": 3}, {"items": [[[], 1]]}, {"float": "zz"}, {}, {"array": INDEX}, {"array": 3},
    {"array": "a.npy", "dtype": "object"}, {"array": "a.npy", "dtype": "bfloat16"}, {"array": "a.npy", "axes": [1]}, {"array": "a.npy", "axes": "a"},
    {"items": [[1, 0], [1, 0]]},
], ids=str)
def test_hostile_entries(tmp_path, tree):
    with pytest.raises(WeightsError):
        load_tree(_archive(tmp_path / "x", tree, [("a.npy", _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"\0" * 4))]))


def test_compressed_members_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="compressed"):
        load_tree(_archive(tmp_path / "x", 1, [("bomb.npy", b"\0" * 10_000)], zipfile.ZIP_DEFLATED))


def test_other_zip_files_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.npy", _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"\0" * 4))
        archive.writestr("notes.txt", "no array")
    with pytest.raises(WeightsError, match="'notes.txt' is no array: a zip file, but not written by scratchvgg or numpy.savez"):
        load_tree(tmp_path / "x.zip")


# ---- atomic writing --------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_killed_writer_leaves_the_old_file_and_a_leftover(tmp_path):
    path = tmp_path / "x"
    save_tree(path, {"version": "old"})
    code = f"""
import os, signal, numpy as np
from scratchvgg.weights import archive
write = archive._write_array
def die(zipped, name, array):
    write(zipped, name, array)
    os.kill(os.getpid(), signal.SIGKILL)
archive._write_array = die
archive.save_tree({str(path)!r}, {{"a": np.ones(100_000), "b": np.ones(10)}})
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert load_tree(path) == {"version": "old"}
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
