"""A source gives the file's bytes, never writes to it, and allocates nothing before what is asked for was compared with its length."""

import gzip
import io
import os
import tempfile
import tracemalloc
import zlib

import numpy as np
import pytest

from scratchvgg.weights.source import Malformed, extent, name_of, open_source, window

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 10_000, np.uint8))
MAPPED = pytest.mark.parametrize("mmap", [True, False], ids=["mapped", "read"])


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(CONTENT)
    return file


@MAPPED
def test_bytes_arrays_and_checksums(path, mmap):
    with open_source(path, mmap) as source:
        assert (source.name, source.size) == (str(path), 10_000)
        assert source.bytes(3, 7) == CONTENT[3:10] and source.bytes(10_000, 0) == b""
        assert source.crc32(5, 9_000) == zlib.crc32(CONTENT[5:9_005])
        for start in (0, 1, 4, 7):
            array = source.array(start, np.float32, (2, 3))
            assert array.tobytes() == CONTENT[start : start + 24] and array.flags.aligned and array.flags.writeable
        assert np.array_equal(source.array(8, "<u2", (3, 2), (1, 4)), np.frombuffer(CONTENT, "<u2", 8, 8).reshape(2, 4).T[:3])
        assert source.array(9_999, np.float64, (0, 3)).shape == (0, 3)
        assert source.array(10_000, np.float64, (0,)).shape == (0,)
        assert source.array(16, np.int64, ()).tobytes() == CONTENT[16:24]


@MAPPED
def test_arrays_outlive_the_file_and_never_write_to_it(path, mmap):
    with open_source(path, mmap) as source:
        array = source.array(64, np.uint8, (100,))
    path.unlink()
    array += 1
    assert array.tobytes() == bytes((x + 1) % 256 for x in CONTENT[64:164])
    path.write_bytes(CONTENT)
    with open_source(path, mmap) as source:
        array = source.array(64, np.uint8, (100,))
        array[:] = 0
        assert path.read_bytes() == CONTENT
        assert source.bytes(64, 100) == (bytes(100) if mmap else CONTENT[64:164])


@pytest.mark.skipif(not hasattr(os, "preadv") or not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
@MAPPED
def test_checksums_of_a_large_file_take_little_memory(tmp_path, mmap):
    from benchmarks.memory import status

    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(1 << 28)
    with open_source(path, mmap) as source:
        source.crc32(0, 1 << 20)
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")
        before = status("VmRSS")
        found = source.crc32(0, 1 << 28)
        assert status("VmHWM") - before < 32 << 20
    assert found == zlib.crc32(bytes(1 << 28))


def test_a_large_file_is_read_by_several_threads(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, (40 << 20) + 3, np.uint8).tobytes()
    (tmp_path / "large").write_bytes(content)
    for mmap in (True, False):
        with open_source(tmp_path / "large", mmap) as source:
            array = source.array(1, np.float32, (10 << 20,))  # at an odd address: read
            assert array.tobytes() == content[1 : 1 + (40 << 20)] and array.flags.aligned and array.flags.writeable
            assert source.crc32(3, len(content) - 3) == zlib.crc32(content[3:])
    (tmp_path / "large").write_bytes(content[:-1])
    with open_source(tmp_path / "large", False) as source:
        os.truncate(tmp_path / "large", 1 << 20)
        with pytest.raises(Malformed, match="became shorter"):
            source.array(0, np.uint8, (40 << 20,))


def test_a_file_is_mapped_and_not_copied(tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(1 << 30)  # 1 GiB, of which the disk has none
    tracemalloc.start()
    with open_source(path) as source:
        array = source.array(0, np.float32, (1 << 28,))
    assert array[-1] == 0 and tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_open_files(path):
    with open(path, "rb") as file:
        file.seek(100)
        with open_source(file) as source:
            assert source.bytes(0, 10) == CONTENT[:10] and source.name == str(path)
    with open_source(io.BytesIO(CONTENT)) as source:
        assert source.array(1, np.uint16, (5,)).tobytes() == CONTENT[1:11] and source.name == "the open file"
        assert source.crc32(0, 10_000) == zlib.crc32(CONTENT)


def test_a_compressed_file_that_was_opened_gives_its_content(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(CONTENT))
    with gzip.open(tmp_path / "x.gz") as file, open_source(file) as source:
        assert source.size == 10_000 and source.bytes(0, 10_000) == CONTENT


def test_what_was_written_but_not_flushed_is_read():
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        with open_source(file) as source:
            assert source.bytes(0, 10_000) == CONTENT


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_files_that_give_a_little_at_a_time(piece):
    class Slow(io.BytesIO):
        def readinto(self, target):
            return super().readinto(memoryview(target)[:piece])

    class OnlyReads:
        def __init__(self):
            self.file = io.BytesIO(CONTENT)
            self.seek = self.file.seek

        def read(self, count):
            return self.file.read(min(count, piece))

    for file in (Slow(CONTENT), OnlyReads()):
        with open_source(file) as source:
            assert source.bytes(5, 3_000) == CONTENT[5:3_005] and source.size == 10_000


def test_a_file_that_shrinks_is_noticed():
    file = io.BytesIO(CONTENT)
    with open_source(file) as source:
        file.truncate(500)
        with pytest.raises(Malformed, match="ended early"):
            source.bytes(0, 1000)


@MAPPED
@pytest.mark.parametrize(("start", "count"), [(0, 10_001), (9_999, 2), (10_001, 0), (-1, 5), (5, -1), (0, 1 << 70), (1 << 70, 1)])
def test_bytes_outside_the_file_are_refused(path, mmap, start, count):
    with open_source(path, mmap) as source:
        for ask in (source.bytes, source.crc32, lambda start, count: source.array(start, np.uint8, (count,))):
            with pytest.raises(Malformed):
                ask(start, count)


@MAPPED
@pytest.mark.parametrize(("shape", "strides", "reason"), [
    ((10_001,), None, "has 10,000"),
    ((1 << 40,), None, "has 10,000"),
    ((1 << 62, 1 << 62), None, "has 10,000"),
    ((1 << 38,), (0,), "stride of 0"),
    ((3,), (5_000,), "has 10,000"),
    ((2, 2), (1 << 62, 1 << 62), "has 10,000"),
    ((-1,), None, "shape"),
    ((2,), (-1,), "strides"),
    ((2.0,), None, "shape"),
    ((True,), None, "shape"),
    ((1 << 80,), None, "shape"),
    ((1,) * 33, None, "shape"),
    ((2, 3), (1,), "1 strides"),
    ((0, 3), (1,), "1 strides"),
    ((3, 3), (1, 1), "overlapping"),
    ((0, (1 << 63) - 1, 9), None, "cannot be represented"),
])
def test_arrays_that_do_not_fit_are_refused_before_anything_is_allocated(path, mmap, shape, strides, reason):
    with open_source(path, mmap) as source:
        tracemalloc.start()
        with pytest.raises(Malformed, match=reason):
            source.array(0, np.uint8, shape, strides)
        assert tracemalloc.get_traced_memory()[1] < 100_000
        tracemalloc.stop()
        with pytest.raises(Malformed, match="objects"):
            source.array(0, object, (1,))


@pytest.mark.parametrize(("shape", "strides", "places"), [
    ((), None, 1), ((), (), 1), ((2, 3), None, 6), ((2, 3), (3, 1), 6), ((2, 3), (1, 2), 6), ((2, 3), (100, 10), 121), ((0, 5), (0, 0), 0),
    ((1, 1), (0, 1 << 60), 1), ((4, 1), (1, 0), 4),
])
def test_extent(shape, strides, places):
    assert extent(shape, strides) == places


def test_windows_share_memory():
    flat = np.arange(10.0)
    view = window(flat, 1, (2, 3), (4, 1))
    assert view.tolist() == [[1, 2, 3], [5, 6, 7]] and np.shares_memory(view, flat)
    assert window(flat, 3, (1, 2), (1 << 62, 1)).tolist() == [[3, 4]]  # the stride along an axis of 1 says nothing
    with pytest.raises(Malformed, match="storage has 10"):
        window(flat, 8, (3,))
    with pytest.raises(Malformed, match="storage has 10"):
        window(flat, -1, (3,))


@pytest.mark.parametrize(("kind", "reason"), [("directory", "directory"), ("pipe", "pipe"), ("device", "device"), ("empty", "empty")])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind, reason):
    path = tmp_path / "it"
    if kind == "device":
        path = "/dev/zero"
    else:
        {"directory": os.mkdir, "pipe": os.mkfifo, "empty": os.mknod}[kind](path)
    with pytest.raises(Malformed, match=reason), open_source(path):
        pass


def test_files_that_cannot_be_read_at_any_place(path):
    reader, writer = os.pipe()
    os.close(writer)
    with open(reader, "rb") as pipe, open(path) as opened_as_text:
        for file, reason in [(pipe, "pipe"), (opened_as_text, "as text"), (io.StringIO("x"), "as text"), (Unseekable(), "seek")]:
            with pytest.raises(Malformed, match=reason), open_source(file):
                pass


class Unseekable(io.RawIOBase):
    """A stream such as a socket's."""

    def readable(self):
        return True


@pytest.mark.parametrize("it", [3, None, 2.5, [1]])
def test_neither_path_nor_file(it):
    with pytest.raises(TypeError, match="expected a path or an open binary file"), open_source(it):
        pass


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError), open_source(tmp_path / "missing"):
        pass


def test_names(path):
    assert name_of(path) == name_of(str(path)) == name_of(os.fsencode(path)) == str(path)
    assert name_of(io.BytesIO()) == "the open file"
