"""torch's zip format written without torch: torch reads it bit for bit, in every mode that it has."""

import io
import pickletools
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from scratchvgg.weights import WeightsError, load, zip_writer
from scratchvgg.weights.torch_write import STORAGES, write

MODES = [{}, {"mmap": True}, {"weights_only": False}, {"weights_only": False, "mmap": True}]
COMPLEX = ("complex64", "complex128")


def bits(dtype: str, shape=(2, 3)) -> np.ndarray:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    dtype = np.dtype(dtype)
    raw = np.random.default_rng(0).integers(0, 2 if dtype.kind == "b" else 256, int(np.prod(shape)) * dtype.itemsize, np.uint8)
    return raw.view(dtype).reshape(shape)


def bytes_of(tensor) -> bytes:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_torch_reads_every_type(tmp_path, mode):
    torch = pytest.importorskip("torch")
    tree = {dtype: bits(dtype) for dtype in STORAGES} | {"scalar": np.array(2.5), "empty": np.zeros((0, 3), np.float32), "numpy": np.float32(3)}
    write(tmp_path / "x.pth", tree)
    read = torch.load(tmp_path / "x.pth", **mode)
    assert list(read) == list(tree)
    for name, array in tree.items():
        assert str(read[name].dtype) == f"torch.{np.asarray(array).dtype.name}" and tuple(read[name].shape) == np.shape(array)
        assert bytes_of(read[name]) == array.tobytes() and not read[name].requires_grad


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_torch_reads_every_kind_of_value(tmp_path, mode):
    torch = pytest.importorskip("torch")
    tree = {"list": [1, -1, 255, 256, 1 << 16, 1 << 31, -(1 << 31), 1 << 40, -(1 << 70), True, False, None, 0.1, float("inf"), -0.0],
            "tuple": ((), (1,), (1, (2, 3))), "text": ["", "ü", "\ud800", "a\nb"], "bytes": [b"", b"\0\xff", b"abc"],
            3: {(1, "a"): []}, "ordered": OrderedDict(b=1, a=OrderedDict())}
    write(tmp_path / "x.pth", tree)
    read = torch.load(tmp_path / "x.pth", **mode)
    assert repr(read) == repr(tree)


def test_strides_are_kept_where_memory_has_no_gaps(tmp_path):
    torch = pytest.importorskip("torch")
    base = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    last = np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    gaps = np.arange(120, dtype=np.float32).reshape(10, 12)
    tree = {"last": last, "fortran": np.asfortranarray(base), "gaps": gaps[:, ::5], "reversed": np.arange(5.0)[::-1],
            "broadcast": np.broadcast_to(np.int8(7), (100, 100)), "big": np.arange(4, dtype=">f8"), "ones": np.ones((1, 3, 1), np.float32)[::1]}
    write(tmp_path / "x.pth", tree)
    read = torch.load(tmp_path / "x.pth")
    for name, array in tree.items():
        assert np.array_equal(read[name].numpy(), array), name
    assert read["last"].is_contiguous(memory_format=torch.channels_last) and read["fortran"].stride() == (1, 2, 6, 24)
    assert read["gaps"].untyped_storage().nbytes() == 30 * 4  # what lies in the gaps is not in the file
    assert np.array_equal(load(tmp_path / "x.pth")["last"], last)


def test_memory_that_is_shared_stays_shared(tmp_path):
    torch = pytest.importorskip("torch")
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    flat = np.zeros(10, np.float32)
    tree = {"row": base[1], "all": base, "tied": base, "transposed": base.T, "columns": base[:, ::2], "other": base.copy(),
            "as int": base.view(np.int32), "left": flat[:5], "right": flat[5:]}
    write(tmp_path / "x.pth", tree)
    read = torch.load(tmp_path / "x.pth")
    place = {name: tensor.untyped_storage().data_ptr() for name, tensor in read.items()}
    assert len({place[name] for name in ("row", "all", "tied", "transposed", "columns")}) == 1
    assert len({place[name] for name in ("all", "other", "as int", "left", "right")}) == 5
    assert all(np.array_equal(read[name].numpy(), array) for name, array in tree.items())
    read["tied"][1, 0] = -1
    assert read["row"][0] == -1 and read["transposed"][0, 1] == -1
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        assert sum(info.file_size for info in archive.infolist() if "/data/" in info.filename) == 3 * 96 + 2 * 20


def test_the_records_are_torchs(tmp_path):
    """The same members in the same order, aligned, with CRCs; offsets are where torch computes them without looking."""
    torch = pytest.importorskip("torch")
    from torch.utils.serialization import config

    tree = {"a": np.arange(5.0), "b": [np.arange(300, dtype=np.int16), np.zeros(0, np.float32)]}
    write(tmp_path / "ours.pth", tree)
    torch.save({"a": torch.arange(5.0), "b": [torch.arange(300, dtype=torch.int16), torch.zeros(0)]}, tmp_path / "archive.pth")
    with zipfile.ZipFile(tmp_path / "ours.pth") as ours, zipfile.ZipFile(tmp_path / "archive.pth") as theirs:
        assert ours.namelist() == theirs.namelist() and ours.testzip() is None
        for name in ("version", "byteorder", ".format_version", ".storage_alignment"):
            assert ours.read(f"archive/{name}") == theirs.read(f"archive/{name}")
        assert len(ours.read("archive/.data/serialization_id")) == 40
        pickle = ours.read("archive/data.pkl")
        for info in ours.infolist():
            header = (tmp_path / "ours.pth").read_bytes()[info.header_offset : info.header_offset + 30]
            lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            assert (info.header_offset + 30 + lengths) % 64 == 0
    assert {op.proto for op, _, _ in pickletools.genops(pickle)} <= {0, 1, 2}
    with config.patch("load.calculate_storage_offsets", True):
        read = torch.load(tmp_path / "ours.pth", mmap=True)
    assert read["a"].tolist() == [0, 1, 2, 3, 4] and read["b"][0][299] == 299


def test_ours_reads_its_own_and_torchs(tmp_path):
    torch = pytest.importorskip("torch")
    tree = {dtype: bits(dtype) for dtype in STORAGES if dtype not in COMPLEX}
    write(tmp_path / "ours.pth", {"net": OrderedDict(tree), "epoch": 3, "names": ("a", "b"), "lr": 0.1})
    torch.save({"net": {name: torch.load(tmp_path / "ours.pth")["net"][name] for name in tree}, "epoch": 3}, tmp_path / "theirs.pth")
    for name in ("ours.pth", "theirs.pth"):
        for mmap in (True, False):
            read = load(tmp_path / name, mmap=mmap)
            assert read["epoch"] == 3 and all(read["net"][d].dtype == a.dtype and read["net"][d].tobytes() == a.tobytes() for d, a in tree.items())


def test_equal_trees_give_equal_files_and_open_files_do():
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        write(file, {"a": np.arange(3.0)})
    assert first.getvalue() == second.getvalue() and load(first)["a"].tolist() == [0, 1, 2]


def test_no_flipped_bit_goes_unseen():
    file = io.BytesIO()
    write(file, {"a": np.arange(3.0), "b": [1, "x"]})
    whole, seen = file.getvalue(), 0
    for place in range(0, len(whole)):
        bad = bytearray(whole)
        bad[place] ^= 0x10
        try:
            tree = load(io.BytesIO(bytes(bad)))
            assert tree["a"].tolist() == [0, 1, 2] and tree["b"] == [1, "x"] and list(tree) == ["a", "b"]
        except WeightsError:
            seen += 1
    assert seen > len(whole) / 3


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), np.array(["text"]), 1j, np.zeros(2, np.uint16), 1 << 3000])
def test_what_cannot_be_stored_is_named_and_nothing_is_written(tmp_path, value):
    (tmp_path / "x.pth").write_bytes(b"old")
    with pytest.raises(TypeError, match=r"\['model'\]\[1\]"):
        write(tmp_path / "x.pth", {"model": [0, value]})
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"] and (tmp_path / "x.pth").read_bytes() == b"old"


def test_zip64(tmp_path, monkeypatch):
    """With the limit of 32 bits lowered, sizes and offsets go into zip64 fields: Python's zipfile, torch and our reader find them there."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(zip_writer, "_LIMIT", 300)
    tree = {"a": np.arange(1000, dtype=np.float32), "b": np.arange(3)}
    write(tmp_path / "x.pth", tree)
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        assert archive.testzip() is None and any(info.extra for info in archive.infolist())
    for read in (torch.load(tmp_path / "x.pth"), load(tmp_path / "x.pth")):
        assert all(np.array_equal(np.asarray(read[name]), array) for name, array in tree.items())


@pytest.mark.slow
def test_a_storage_beyond_32_bits(tmp_path):
    torch = pytest.importorskip("torch")
    large = np.broadcast_to(np.arange(1 << 16, dtype=np.uint16).view(np.int16), ((1 << 15) + 1, 1 << 16))  # 4 GiB + 128 KiB, in 128 KiB of memory
    write(tmp_path / "x.pth", {"large": large, "after": np.arange(3)})
    for read in (torch.load(tmp_path / "x.pth", mmap=True), load(tmp_path / "x.pth")):
        assert np.asarray(read["after"]).tolist() == [0, 1, 2] and tuple(read["large"].shape) == large.shape
        assert np.array_equal(np.asarray(read["large"][-1]), large[-1])
