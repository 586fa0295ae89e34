"""Data sets by name."""

import numpy as np
import pytest

from scratchvgg.data import CIFAR10, DataError, ImageFolder, SampleShapes, dataset_names, open_dataset, register_dataset, registry

from .cifar_files import cifar10_files, write_folder


def test_the_names():
    assert dataset_names() == ("sample", "cifar10", "cifar100", "folder")


def test_sample():
    dataset = open_dataset("sample", train=False, size=20)
    assert isinstance(dataset, SampleShapes)
    assert np.array_equal(dataset.images, SampleShapes(False, 20).images)


def test_cifar(tmp_path, monkeypatch):
    write_folder(tmp_path / "data" / CIFAR10.folder, cifar10_files()[0])
    assert len(open_dataset("cifar10", tmp_path / "data", train=False, verify=False)) == 4
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset("cifar10", verify=False)) == 20
    with pytest.raises(DataError, match="no CIFAR100 here"):
        open_dataset("cifar100")


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_folder(tmp_path, test_name):
    for split, classes in (("train", ["a", "b"]), (test_name, ["a", "b", "c"])):
        for name in classes:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "x.png").write_bytes(b"")
    assert open_dataset("folder", tmp_path).classes == ["a", "b"]
    dataset = open_dataset("folder", tmp_path, train=False, size=8)
    assert isinstance(dataset, ImageFolder) and dataset.classes == ["a", "b", "c"] and dataset.size == (8, 8)


def test_folder_without_splits(tmp_path):
    with pytest.raises(DataError, match="expected the subfolder test or val"):
        open_dataset("folder", tmp_path, train=False)


def test_unknown_names_are_rejected():
    with pytest.raises(ValueError, match="expected one of sample, cifar10, cifar100, folder, got 'mnist'"):
        open_dataset("mnist")


def test_a_new_name(monkeypatch):
    monkeypatch.setattr(registry, "_OPENERS", dict(registry._OPENERS))
    register_dataset("mine", lambda root, train, download: (str(root), train, download))
    assert open_dataset("mine", "here", False, True) == ("here", False, True)
