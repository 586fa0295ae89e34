"""CIFAR from a folder, from the archive, by download; damaged and hostile files."""

import hashlib
import os
import pickle

import numpy as np
import pytest

import scratchvgg.data.cifar as cifar
from scratchvgg.data import CIFAR10, CIFAR100, DataError
from scratchvgg.weights.download import DownloadError

from .cifar_files import batch_file, cifar10_files, meta_file, write_archive, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "root" / CIFAR10.folder, cifar10_files()[0])


def check(dataset, truth, names):
    assert np.array_equal(dataset.images.reshape(-1, 3072), np.concatenate([truth[name][0] for name in names]))
    assert dataset.labels.tolist() == [label for name in names for label in truth[name][1]]


def test_reads_a_folder_in_all_its_places(folder):
    truth = cifar10_files()[1]
    for root in (folder, folder.parent, str(folder)):
        train, test = CIFAR10(root, verify=False), CIFAR10(root, train=False, verify=False)
        check(train, truth, CIFAR10.train_files)
        check(test, truth, ["test_batch"])
    assert train.images.dtype == np.uint8 and train.images.shape == (20, 3, 32, 32) and train.labels.dtype == np.int64
    assert train.classes == [f"class {label}" for label in range(10)]
    assert len(train) == 20 and len(train.mean) == len(train.std) == 3
    train.images[0] = 0  # ours to write


def test_the_planes_are_red_green_blue(tmp_path):
    pixels = np.repeat(np.array([200, 100, 50], np.uint8), 1024)[None]
    files = {name: batch_file(pixels, [3]) for name in cifar10_files()[0]} | {"batches.meta": meta_file("abcdefghij")}
    image, label = CIFAR10(write_folder(tmp_path / "x", files), train=False, verify=False)[0]
    assert image[:, 5, 7].tolist() == [200, 100, 50] and label == 3 and type(label) is int


def test_an_items_transform(folder):
    dataset = CIFAR10(folder, transform=lambda image: image.astype(np.float32) / 255, verify=False)
    assert dataset[0][0].dtype == np.float32
    assert np.array_equal(dataset.batch(np.array([3, 1]))[0], np.stack([dataset[3][0], dataset[1][0]]))


def test_reads_the_archive_without_unpacking(tmp_path):
    files, truth = cifar10_files()
    archive = write_archive(tmp_path / CIFAR10.archive, CIFAR10.folder, files)
    for root in (tmp_path, archive):
        check(CIFAR10(root, verify=False), truth, CIFAR10.train_files)
    assert [item.name for item in tmp_path.iterdir()] == [CIFAR10.archive]


def test_files_must_have_the_official_md5(folder):
    with pytest.raises(DataError, match=r"data_batch_1 has the MD5 .* instead of c99cafc152244af753f735de768cd75f"):
        CIFAR10(folder)
    with pytest.raises(DataError, match="test_batch has the MD5"):
        CIFAR10(folder, train=False)


def test_missing_data_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError) as caught:
        CIFAR10(tmp_path / "nowhere")
    for part in ("nowhere", "download=True", CIFAR10.url, "170,498,071 bytes", CIFAR10.archive_md5):
        assert part in str(caught.value)


def test_a_missing_batch_is_named(folder):
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3"):
        CIFAR10(folder, verify=False)


def test_a_file_too_large_is_not_read(folder):
    with open(folder / "test_batch", "r+b") as file:
        file.truncate(1 << 36)  # sparse
    with pytest.raises(DataError, match="test_batch: it has 68,719,476,736 bytes"):
        CIFAR10(folder, train=False)


PIXELS = np.zeros((2, 3072), np.uint8)
GOOD = batch_file(PIXELS, [1, 2])


@pytest.mark.parametrize(("content", "reason"), [
    (GOOD[:500], "not a readable pickle"),
    (b"", "not a readable pickle"),
    (b"<!DOCTYPE html>", "pickle"),
    (pickle.dumps({"labels": [1, 2]}, 2), "'data' is not an array"),
    (pickle.dumps({"data": "text", "labels": [1, 2]}, 2), "'data' is not an array"),
    (batch_file(PIXELS, [1, 2], key="fine_labels"), "'labels' is not a list of 2 integers"),
    (batch_file(PIXELS, [1, 2, 3]), "'labels' is not a list of 2 integers"),
    (batch_file(PIXELS, [1, 10]), "labels from 1 to 10, expected 0 to 9"),
    (batch_file(PIXELS, [-1, 1]), "labels from -1 to 1"),
    (batch_file(PIXELS.reshape(4, 1536), [1, 2, 3, 4]), r"shape \(n, 3072\)"),
    (pickle.dumps({"data": PIXELS.astype(np.int32), "labels": [1, 2]}, 2), "another type"),
    (pickle.dumps({"data": PIXELS, "labels": [True, 2]}, 2), "2 integers"),
])
def test_damaged_batches_are_named(folder, content, reason):
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=f"test_batch: .*{reason}"):
        CIFAR10(folder, train=False, verify=False)


def test_a_hostile_batch_does_not_run(folder):
    target = folder / "ran"
    command = f"touch {target}".encode()
    (folder / "test_batch").write_bytes(b"\x80\x02cos\nsystem\nU" + bytes([len(command)]) + command + b"\x85R.")
    with pytest.raises(DataError, match=r"os\.system"):
        CIFAR10(folder, train=False, verify=False)
    assert not target.exists()


def test_damaged_names_are_named(folder):
    (folder / "batches.meta").write_bytes(meta_file("abc"))
    with pytest.raises(DataError, match=r"batches\.meta: 'label_names' is not a list of 10 names"):
        CIFAR10(folder, verify=False)


def test_cifar100_takes_the_fine_labels(tmp_path):
    names = [f"fine {label}" for label in range(100)]
    files = {"train": batch_file(PIXELS, [99, 0], key="fine_labels"), "test": batch_file(PIXELS, [50, 51], key="fine_labels"),
             "meta": meta_file(names, key="fine_label_names")}
    write_folder(tmp_path / CIFAR100.folder, files)
    assert CIFAR100(tmp_path, verify=False).labels.tolist() == [99, 0]
    assert CIFAR100(tmp_path, train=False, verify=False).classes == names
    with pytest.raises(DataError, match="train has the MD5"):
        CIFAR100(tmp_path)


@pytest.fixture
def small_official(tmp_path, monkeypatch):
    """CIFAR10 with a small official archive on the local file system."""
    files, truth = cifar10_files()
    archive = write_archive(tmp_path / "source.tar.gz", CIFAR10.folder, files | {"readme.html": b"<html>"})
    monkeypatch.setattr(CIFAR10, "url", archive.as_uri())
    monkeypatch.setattr(CIFAR10, "archive_size", archive.stat().st_size)
    monkeypatch.setattr(CIFAR10, "archive_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "md5", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})
    return truth


def test_download_unpacks_and_is_done_once(small_official, tmp_path, monkeypatch):
    root = tmp_path / "new" / "data"
    check(CIFAR10(root, download=True), small_official, CIFAR10.train_files)
    assert sorted(item.name for item in root.iterdir()) == [CIFAR10.folder, CIFAR10.archive]
    assert sorted(item.name for item in (root / CIFAR10.folder).iterdir()) == sorted(CIFAR10.md5)
    monkeypatch.setattr(cifar, "fetch", None)
    check(CIFAR10(root, train=False, download=True), small_official, ["test_batch"])


def test_download_of_a_changed_archive_fails(small_official, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "archive_md5", "0" * 32)
    with pytest.raises(DownloadError, match="MD5"):
        CIFAR10(tmp_path / "new", download=True)
    assert not (tmp_path / "new" / CIFAR10.archive).exists()


def test_download_does_not_overwrite_a_broken_folder(small_official, tmp_path):
    broken = write_folder(tmp_path / "new" / CIFAR10.folder, {"mine": b"keep"})
    with pytest.raises(DataError, match="incomplete"):
        CIFAR10(tmp_path / "new", download=True)
    assert (broken / "mine").read_bytes() == b"keep"


@pytest.mark.skipif("SCRATCHVGG_CIFAR10" not in os.environ, reason="set SCRATCHVGG_CIFAR10 to the folder of the real files")
def test_the_real_files():
    root = os.environ["SCRATCHVGG_CIFAR10"]
    train, test = CIFAR10(root), CIFAR10(root, train=False)
    assert np.bincount(train.labels).tolist() == [5000] * 10 and np.bincount(test.labels).tolist() == [1000] * 10
    assert train.classes[6] == "frog" and train.labels[0] == 6
    pixels = train.images / np.float32(255)
    assert np.allclose(pixels.mean((0, 2, 3), dtype=np.float64), train.mean, atol=5e-5)
    assert np.allclose(pixels.std((0, 2, 3), dtype=np.float64), train.std, atol=5e-5)
