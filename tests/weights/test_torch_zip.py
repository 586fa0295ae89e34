"""Files of torch.save are read bit for bit without torch; whatever torch.save would not write is refused."""

import io
import os
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from scratchvgg.array import as_dtype
from scratchvgg.weights import torch_legacy, torch_zip
from scratchvgg.weights.source import Malformed, open_source

from .torch_files import DTYPES, HOSTILE_PICKLES, check_equal, check_refused, number, read, sample_tree, saved, storage, tensor, text, tree, zip_file

GOOD = zip_file(tree(a=tensor((2, 3), (3, 1)), b=tensor((3,), (2,), 1)))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
def test_what_torch_writes(tmp_path, protocol, mmap):
    torch = pytest.importorskip("torch")
    torch.save(sample_tree(), tmp_path / "x.pth", pickle_protocol=protocol)
    theirs = torch.load(tmp_path / "x.pth", weights_only=False)
    for verify in (True, False):
        check_equal(read(torch_zip, tmp_path / "x.pth", verify, mmap), theirs)
    check_equal(read(torch_zip, (tmp_path / "x.pth").read_bytes()), theirs)


def test_every_kind_of_value_at_the_top():
    torch = pytest.importorskip("torch")
    for value in (torch.ones(2, 3), torch.nn.Parameter(torch.ones(2)), [torch.ones(1)], (), {}, 3, "x", None, b"",
                  torch.nn.Linear(2, 2).state_dict()):
        check_equal(read(torch_zip, saved(value)), value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_bits_of_every_type(dtype):
    torch = pytest.importorskip("torch")
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    size = getattr(torch, dtype).itemsize
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, 24 * size, np.uint8)
    value = torch.from_numpy(bits).view(getattr(torch, dtype)).reshape(2, 3, 4)
    ours = read(torch_zip, saved({"a": value, "b": value.permute(2, 0, 1), "c": value[1, :, 2]}))
    assert ours["a"].tobytes() == bits.tobytes() and ours["a"].dtype.name == dtype
    check_equal(ours, {"a": value, "b": value.permute(2, 0, 1), "c": value[1, :, 2]})


def test_only_bfloat16_needs_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr(as_dtype("bfloat16"), "_numpy", None)
    assert read(torch_zip, GOOD)["a"].shape == (2, 3)
    with pytest.raises(ImportError, match=r"scratchvgg\[bfloat16\]"):
        read(torch_zip, zip_file(tree(a=storage(12, kind="torch\nBFloat16Storage"))))


@pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])
def test_shared_storages_share_memory(tmp_path, mmap):
    torch = pytest.importorskip("torch")
    x = torch.zeros(3, 4)
    tied = torch.nn.Parameter(torch.zeros(2))
    torch.save({"x": x, "row": x[1], "t": x.T, "other": torch.zeros(3, 4), "tied": tied, "too": tied}, tmp_path / "x.pth")
    before = (tmp_path / "x.pth").read_bytes()
    ours = read(torch_zip, tmp_path / "x.pth", mmap=mmap)
    ours["row"][2] = 5
    assert ours["x"][1, 2] == 5 and ours["t"][2, 1] == 5 and not ours["other"].any()
    assert ours["tied"] is ours["too"]
    assert (tmp_path / "x.pth").read_bytes() == before


def test_tensors_are_made_once_each_of_writable_aligned_arrays():
    made = []
    ours = read(torch_zip, GOOD, as_tensor=lambda array: made.append(array) or len(made))
    assert ours == {"a": 1, "b": 2} and [array.shape for array in made] == [(2, 3), (3,)]
    assert all(array.flags.writeable and array.flags.aligned for array in made)


def test_a_mapped_file_costs_no_memory(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(1 << 22), "b": torch.zeros(1 << 21)}, tmp_path / "x.pth")
    tracemalloc.start()
    for verify in (True, False):
        read(torch_zip, tmp_path / "x.pth", verify)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_files_by_hand_are_what_torch_reads():
    """The attacks below differ from files that torch itself accepts in one point each."""
    torch = pytest.importorskip("torch")
    check_equal(read(torch_zip, GOOD), torch.load(io.BytesIO(GOOD)))
    swapped = zip_file(tree(a=tensor((6,), (1,))), [("data/0", np.arange(6, dtype=">f4").tobytes())], byteorder=b"big")
    assert read(torch_zip, swapped)["a"].tolist() == torch.load(io.BytesIO(swapped))["a"].tolist() == [0, 1, 2, 3, 4, 5]
    old = zip_file(tree(a=tensor((6,), (1,))), byteorder=None)
    check_equal(read(torch_zip, old), torch.load(io.BytesIO(old)))


@pytest.mark.parametrize("rest", [b"\x89NN", b"\x89ccollections\nOrderedDict\n)RN", b""])
def test_older_forms_of_a_tensor(rest):
    name = "_rebuild_tensor_v2" if rest else "_rebuild_tensor"
    assert read(torch_zip, zip_file(tree(a=tensor((6,), (1,), name=name, rest=rest))))["a"].shape == (6,)


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_hostile_pickles_are_refused(tmp_path, name):
    content, reason = HOSTILE_PICKLES[name]
    (tmp_path / "x.pth").write_bytes(zip_file(content) if b"storage" in content else zip_file(content, []))
    check_refused(lambda: read(torch_zip, tmp_path / "x.pth"), reason)


def test_nothing_runs(tmp_path):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch = pytest.importorskip("torch")
    hostile = saved({"a": torch.ones(1), "b": Command()})
    check_refused(lambda: read(torch_zip, hostile), "asks for '(posix|nt).system', which weights do not need: refused")
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO(hostile), weights_only=False)  # the file is live: an ordinary unpickler does run it
    assert (tmp_path / "ran").exists()


PICKLE = tree(a=tensor((6,), (1,)))
DATA = bytes(range(24))


@pytest.mark.parametrize(("options", "reason"), [
    ({"records": []}, "storage '0' is missing"),
    ({"records": [("data/0", DATA[:-1])]}, "declared with 24 bytes and has 23"),
    ({"records": [("data/0", DATA + b"0")]}, "declared with 24 bytes and has 25"),
    ({"records": [("data/0", DATA), ("data/1", DATA)]}, "no tensor uses"),
    ({"records": [("data/0", DATA), ("other/data.pkl", PICKLE)]}, "2 pickles"),
    ({"records": [("data/0", DATA), ("DATA.PKL", PICKLE)]}, "2 pickles"),
    ({"records": [("data/0", DATA), ("code/a.py", b"")]}, "TorchScript"),
    ({"records": [("data/0", DATA), ("constants.pkl", b"")]}, "TorchScript"),
    ({"byteorder": b"middle"}, "byte order is 'middle'"),
    ({"byteorder": b"\xff" * 16}, "byte order"),
    ({"byteorder": b"little" * 100}, "at most 16"),
    ({"folder": ""}, "one folder"),
    ({"folder": "a/b/"}, "one folder"),
    ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
    ({"pickle": PICKLE + b"more"}, "follows the pickle"),
    ({"pickle": b""}, "cut short"),
    ({"pickle": b"\x80\x02N." + bytes(1 << 24)}, "at most 16,777,216"),
])
def test_hostile_archives_are_refused(options, reason):
    content = zip_file(**({"pickle": PICKLE} | options))
    check_refused(lambda: read(torch_zip, content), reason)


def test_members_outside_the_folder_are_refused():
    target = io.BytesIO(GOOD)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("elsewhere/data/0", b"")
    check_refused(lambda: read(torch_zip, target.getvalue()), "one folder")


def test_two_pickles_of_one_name_are_refused():
    target = io.BytesIO(GOOD)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(target, "a") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
    check_refused(lambda: read(torch_zip, target.getvalue()), "occurs twice")


@pytest.mark.parametrize("member", ["data/0", "data.pkl", "version"])
def test_a_flipped_bit_is_found(member):
    content = bytearray(GOOD)
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        info = archive.getinfo(f"archive/{member}")
    content[info.header_offset + 30 + len(info.filename) + info.file_size - 1] ^= 1
    check_refused(lambda: read(torch_zip, bytes(content)), "is corrupt")
    if member == "data/0":
        assert read(torch_zip, bytes(content), verify=False)["a"].shape == (2, 3)


def test_files_without_checksums_are_read_unverified():
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(False)
    try:
        content = saved({"a": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(True)
    check_refused(lambda: read(torch_zip, content), "without checksums.*verify=False")
    assert read(torch_zip, content, verify=False)["a"].tolist() == [1, 1, 1]


def test_every_cut_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    content = saved({"a": torch.randn(30, 30), "b": [torch.ones(5)]})
    for end in [*range(1, len(content), 97), len(content) - 1]:
        with pytest.raises(Malformed):
            read(torch_zip, content[:end])


def test_huge_declarations_cost_nothing():
    check_refused(lambda: read(torch_zip, zip_file(tree(a=storage(1 << 60)))), "declared with", megabytes=1)
    check_refused(lambda: read(torch_zip, zip_file(tree(a=tensor((1 << 40,), (1,), stored=storage(1 << 40))))), "declared with", megabytes=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_name():
    torch = pytest.importorskip("torch")
    target = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), target)
    with open_source(target) as source:
        assert torch_zip.matches(source)
    check_refused(lambda: read(torch_zip, target.getvalue()), "TorchScript archive")


def test_whole_models_are_refused():
    torch = pytest.importorskip("torch")
    check_refused(lambda: read(torch_zip, saved(torch.nn.Linear(2, 2))), "asks for 'torch.nn.modules.linear.Linear'")


def test_expanded_tensors_are_refused():
    torch = pytest.importorskip("torch")
    check_refused(lambda: read(torch_zip, saved(torch.ones(1).expand(1 << 30))), "stride of 0")


def test_matches(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    for content, answer in [(GOOD, True), (GOOD[:200], True), ((tmp_path / "x.npz").read_bytes(), False), (b"PK", False), (b"x" * 100, False)]:
        with open_source(io.BytesIO(content)) as source:
            assert torch_zip.matches(source) is answer
            assert not torch_legacy.matches(source)


def test_keys_are_any_strings_and_numbers():
    content = b"\x80\x02}(" + number(-5) + b"K\x01" + text("ü") + b"NNNG" + bytes(8) + b"\x88u."
    assert read(torch_zip, zip_file(content, [])) == {-5: 1, "ü": None, None: None, 0.0: True}
