"""Legacy files of torch.save are read bit for bit without torch; whatever torch.save would not write is refused."""

import io
import os
import struct
import tarfile

import numpy as np
import pytest

from scratchvgg.weights import torch_legacy, torch_zip
from scratchvgg.weights.source import Malformed, open_source

from .torch_files import (
    HOSTILE_PICKLES,
    check_equal,
    check_refused,
    legacy_file,
    number,
    read,
    sample_tree,
    saved,
    storage,
    tensor,
    text,
    tree,
)

PLAIN = storage(6, more=b"N")
PICKLE = tree(a=tensor((2, 3), (3, 1), stored=PLAIN), b=tensor((3,), (2,), 1, stored=PLAIN))
GOOD = legacy_file(PICKLE)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
def test_what_torch_writes(tmp_path, protocol, mmap):
    torch = pytest.importorskip("torch")
    tree = sample_tree()
    del tree["storage"]  # torch writes it but cannot read it again
    torch.save(tree, tmp_path / "x.pth", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    theirs = torch.load(tmp_path / "x.pth", weights_only=False)
    check_equal(read(torch_legacy, tmp_path / "x.pth", mmap=mmap), theirs)
    check_equal(read(torch_legacy, (tmp_path / "x.pth").read_bytes()), theirs)


@pytest.mark.parametrize("length", range(1, 9))
def test_arrays_are_aligned_wherever_they_lie(tmp_path, length):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save({"k" * length: torch.arange(5.0, dtype=torch.float64), "b": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    ours = read(torch_legacy, path)
    assert all(array.flags.aligned and array.flags.writeable for array in ours.values())
    assert ours["k" * length].tolist() == [0, 1, 2, 3, 4] and ours["b"].tolist() == [0, 1, 2]


def test_shared_storages_share_memory():
    torch = pytest.importorskip("torch")
    x = torch.zeros(3, 4)
    ours = read(torch_legacy, saved({"x": x, "row": x[1], "t": x.T, "other": torch.zeros(3, 4)}, legacy=True))
    ours["row"][2] = 5
    assert ours["x"][1, 2] == 5 and ours["t"][2, 1] == 5 and not ours["other"].any()


def test_files_by_hand_are_what_torch_reads():
    torch = pytest.importorskip("torch")
    check_equal(read(torch_legacy, GOOD), torch.load(io.BytesIO(GOOD)))


def test_views_of_storages():
    """What torch wrote before 0.4 for a storage inside another: its base, and (its own key, first element, elements)."""
    view = storage(6, more=b"(" + text("1") + b"K\x02K\x03t")
    pickle = tree(a=tensor((3,), (1,), stored=view), b=tensor((6,), (1,), stored=PLAIN))
    content = legacy_file(pickle, storages=[(6, np.arange(6, dtype="<f4").tobytes())])
    ours = read(torch_legacy, content)
    assert ours["a"].tolist() == [2, 3, 4] and np.shares_memory(ours["a"], ours["b"])
    torch = pytest.importorskip("torch")
    check_equal(ours, torch.load(io.BytesIO(content)))


def test_what_python_2_wrote():
    """The strings, numbers and OrderedDicts of torchvision's first files."""
    inside = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu\x8a\x01\x06NtQ"
    value = b"ctorch._utils\n_rebuild_tensor\n(" + inside + b"K\x00(\x8a\x01\x02K\x03t(K\x03K\x01ttR"
    pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x11features.0.weightq\x03" + value + b"ea\x85R."
    ours = read(torch_legacy, legacy_file(pickle))
    assert list(ours) == ["features.0.weight"] and ours["features.0.weight"].tobytes() == bytes(range(24))


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_hostile_pickles_are_refused(tmp_path, name):
    content, reason = HOSTILE_PICKLES[name]
    (tmp_path / "x.pth").write_bytes(legacy_file(content) if b"storage" in content else legacy_file(content, (), ()))
    check_refused(lambda: read(torch_legacy, tmp_path / "x.pth"), reason)


def test_nothing_runs(tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch = pytest.importorskip("torch")
    hostile = saved({"a": torch.ones(1), "b": Command()}, legacy=True)
    check_refused(lambda: read(torch_legacy, hostile), "system', which weights do not need: refused")
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(hostile), weights_only=False)  # the file is live: an ordinary unpickler does run it
    assert (tmp_path / "ran").exists()


def test_the_other_pickles_may_hold_plain_data_only():
    for content in (b"cos\nsystem\n" + text("true") + b"\x85R.", storage(6) + b"."):
        check_refused(lambda content=content: read(torch_legacy, b"\x80\x02" + content), "refused")
        check_refused(lambda content=content: read(torch_legacy, legacy_file(PICKLE, facts=b"\x80\x02" + content)), "refused")


def view(key, start, count):
    return tree(a=tensor((1,), (1,), stored=storage(6, more=b"(" + key + number(start) + number(count) + b"t")))


FACTS = {"protocol_version": number(1001), "little_endian": b"\x88", "type_sizes": b"}(" + text("short") + b"K\x02" + text("int") + b"K\x04u"}
DATA = bytes(range(24))


@pytest.mark.parametrize(("options", "reason"), [
    ({"magic": 5}, "magic number"),
    ({"version": 1002}, "protocol version is 1002"),
    ({"facts": b"\x80\x02]."}, "kind of machine"),
    ({"facts": tree()}, "kind of machine"),
    ({"facts": tree(**FACTS | {"little_endian": b"\x89"})}, "big-endian"),
    ({"facts": tree(**FACTS | {"little_endian": b"K\x01"})}, "big-endian"),
    ({"facts": tree(**FACTS | {"type_sizes": b"}" + text("int") + b"K\x08s"})}, "kind of machine"),
    ({"keys": []}, "does not name each"),
    ({"keys": ["0", "0"]}, "does not name each"),
    ({"keys": ["1"]}, "does not name each"),
    ({"keys": ["0", "1"], "storages": [(6, DATA), (6, DATA)]}, "does not name each"),
    ({"storages": []}, "declares bytes"),
    ({"storages": [(7, DATA)]}, "declared with 6 elements and has 7"),
    ({"storages": [(-1, DATA)]}, "declared with 6 elements and has -1"),
    ({"storages": [(1 << 62, DATA)]}, "declared with 6 elements"),
    ({"storages": [(6, DATA[:-1])]}, "truncated"),
    ({"storages": [(6, DATA + b"0")]}, "1 bytes follow"),
    ({"pickle": view(text("1"), 5, 2)}, "view of 2 elements from element 5"),
    ({"pickle": view(text("1"), -1, 2)}, "not described"),
    ({"pickle": view(text("1"), 0, 1 << 70)}, "view of"),
    ({"pickle": tree(a=storage(6, more=b"K\x01"))}, "not described"),
    ({"pickle": tree(a=storage(1 << 60)), "storages": [(1 << 60, DATA)]}, "truncated"),
    ({"pickle": tree(a=storage(1 << 38)), "storages": [(1 << 38, DATA)]}, "truncated"),
])
def test_hostile_files_are_refused(options, reason):
    content = legacy_file(**({"pickle": PICKLE} | options))
    check_refused(lambda: read(torch_legacy, content), reason)


def test_lists_of_storages_that_are_none():
    head = GOOD[: GOOD.index(b"\x80\x02](")]
    data = struct.pack("<q", 6) + DATA
    for keys in (b"N", b"}", b"(" + text("0") + b"t", b"]K\x00a", b"]]a"):
        check_refused(lambda keys=keys: read(torch_legacy, head + b"\x80\x02" + keys + b"." + data), "list of keys")


def test_the_first_format_is_refused_by_name(tmp_path):
    with tarfile.open(tmp_path / "x.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    with open_source(tmp_path / "x.pth") as source:
        assert torch_legacy.matches(source)
    check_refused(lambda: read(torch_legacy, tmp_path / "x.pth"), "tar archive")


def test_every_cut_is_refused():
    torch = pytest.importorskip("torch")
    content = saved({"a": torch.randn(30, 30), "b": [torch.ones(5)]}, legacy=True)
    for end in [*range(1, len(content), 97), len(content) - 1]:
        with pytest.raises(Malformed):
            read(torch_legacy, content[:end])


def test_matches():
    torch = pytest.importorskip("torch")
    safetensors = struct.pack("<Q", 0x280) + b"{" + b" " * 0x27E + b"}"  # its first bytes are those of a pickle of protocol 2
    for content, answer in [(GOOD, True), (saved(torch.ones(2), legacy=True, pickle_protocol=4), True), (safetensors, False), (b"\x80", False),
                            (b"\x89HDF\r\n\x1a\n", False), (b"\x80\x02N.", True)]:
        with open_source(io.BytesIO(content)) as source:
            assert torch_legacy.matches(source) is answer
            assert not torch_zip.matches(source)
