"""Archives give the files asked for, and nothing else touches memory or disk."""

import gzip
import tarfile

import pytest

from scratchvgg.data import DataError
from scratchvgg.data.archive import read_members

from .cifar_files import write_archive

FILES = {"a": b"first", "b": b"second" * 100}


def member(name, kind=tarfile.REGTYPE, size=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info, b"x" * size


def read(path, names=("a", "b"), limit=10_000):
    return read_members(path, "folder", names, limit)


def test_reads_the_files_asked_for(tmp_path):
    path = write_archive(tmp_path / "x.tar.gz", "folder", FILES | {"c": b"other"}, [member("folder/readme.html", size=5)])
    assert read(path) == FILES
    assert read(path, ["b"]) == {"b": FILES["b"]}


@pytest.mark.parametrize(("entry", "reason"), [
    (member("../outside", size=3), "points out"),
    (member("folder/../../outside", size=3), "points out"),
    (member("/etc/outside", size=3), "points out"),
    (member("folder\\..\\..\\outside", size=3), "points out"),
    (member("C:/outside", size=3), "points out"),
    (member("folder/a", tarfile.SYMTYPE, link="/etc/passwd"), "link or a device"),
    (member("folder/a", tarfile.LNKTYPE, link="folder/b"), "link or a device"),
    (member("folder/a", tarfile.CHRTYPE), "link or a device"),
    (member("folder/a", tarfile.FIFOTYPE), "link or a device"),
])
def test_unsafe_members_are_refused(tmp_path, entry, reason):
    path = write_archive(tmp_path / "x.tar.gz", "folder", FILES, [entry])
    with pytest.raises(DataError, match=reason) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_huge_declared_size_is_refused(tmp_path):
    header = tarfile.TarInfo("folder/a")
    header.size = 1 << 40
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024))
    with pytest.raises(DataError, match="declares 1,099,511,627,776 bytes"):
        read(path)


def test_a_bomb_in_a_header_is_cut_off(tmp_path):
    header = tarfile.TarInfo("folder/a")
    header.type, header.size = tarfile.XHDTYPE, 40 << 20
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * (40 << 20), 1))
    with pytest.raises(DataError, match="far more"):
        read(path)


def test_too_many_members_are_refused(tmp_path):
    path = write_archive(tmp_path / "x.tar.gz", "folder", FILES, [member(f"folder/{number}") for number in range(100)])
    with pytest.raises(DataError, match="more than 64 members"):
        read(path)


def test_a_missing_member_is_named(tmp_path):
    with pytest.raises(DataError, match="lacks folder/b"):
        read(write_archive(tmp_path / "x.tar.gz", "folder", {"a": b"1"}))
    with pytest.raises(DataError, match="lacks folder/a, folder/b"):
        read(write_archive(tmp_path / "y.tar.gz", "elsewhere", FILES))


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar"), gzip.compress(b"\xff" * 2000)])
def test_what_is_no_archive_is_named(tmp_path, content):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar\.gz"):
        read(path)


def test_a_truncated_archive_is_a_data_error(tmp_path):
    whole = write_archive(tmp_path / "x.tar.gz", "folder", FILES).read_bytes()
    for length in range(0, len(whole) - 40, 13):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.tar\.gz"):
            read(tmp_path / "cut.tar.gz")


def test_a_missing_archive_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "nothing.tar.gz")
