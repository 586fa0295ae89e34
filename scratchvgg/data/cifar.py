"""CIFAR-10 and CIFAR-100 in their original python format (A. Krizhevsky, "Learning multiple layers of features from tiny
images", 2009): pickles of ``data`` uint8 (n, 3072) in R, G, B planes and a list of labels.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from ..weights.download import fetch
from . import plain_pickle
from .archive import read_members
from .dataset import ArrayDataset
from .errors import DataError


class CIFAR10(ArrayDataset):
    """60,000 photographs of 32×32 pixels in ten classes: 50,000 for training, 10,000 for test.

    Args:
        root: the folder ``cifar-10-batches-py``, a folder that holds it, the archive ``cifar-10-python.tar.gz``, or a
            folder that holds the archive (which is then read without being unpacked).
        train: the training or the test split.
        download: get and unpack the official archive into ``root`` if nothing is there.
        transform: called with each uint8 image (3, 32, 32) that ``[i]`` returns.
        verify: compare each file with its official MD5. Without it, files in the same format but with other content are taken.

    Attributes:
        images: uint8 (N, 3, 32, 32). labels: int64 (N,). classes: the names. mean, std: of the training images, in 0..1.

    Raises:
        DataError: if the data is missing (the message says how to get it), damaged or not what it should be.
        DownloadError: if ``download`` is asked for and fails.
    """

    name = "cifar10"
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    folder = "cifar-10-batches-py"
    archive = "cifar-10-python.tar.gz"
    archive_size, archive_md5 = 170_498_071, "c58f30108f718f92721af3b95e74349a"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    label_key, names_key, meta = "labels", "label_names", "batches.meta"
    count = 10
    train_files = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
    test_files = ("test_batch",)
    md5 = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f", "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751", "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb", "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }
    largest = 32 << 20  # bytes of a file; the real ones have 31,035,999 or less

    def __init__(self, root, train: bool = True, download: bool = False, transform=None, *, verify: bool = True):
        self.root, self.train = Path(root), train
        wanted = (*(self.train_files if train else self.test_files), self.meta)
        contents = self._read(wanted, download)
        for name in wanted if verify else ():
            found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
            if found != self.md5[name]:
                raise DataError(f"{self.root}: {name} has the MD5 {found} instead of {self.md5[name]}: damaged or changed")
        classes = self._classes(contents.pop(self.meta))
        batches = [self._batch(name, contents.pop(name)) for name in wanted[:-1]]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        super().__init__(images.reshape(-1, 3, 32, 32), labels, classes, transform)

    def __repr__(self):
        return f"{type(self).__name__}(root={str(self.root)!r}, train={self.train}, size={len(self)})"

    def _read(self, names, download: bool) -> dict[str, bytes]:
        """The files' bytes, from wherever ``root`` has them."""
        for folder in (self.root, self.root / self.folder):
            if (folder / self.meta).is_file():
                return {name: self._file(folder / name) for name in names}
        if download and not self.root.is_file():
            self._download()
            return {name: self._file(self.root / self.folder / name) for name in names}
        for archive in (self.root, self.root / self.archive):
            if archive.is_file():
                return read_members(archive, self.folder, names, limit=2 * self.archive_size)
        raise DataError(
            f"{self.root.absolute()}: no {type(self).__name__} here. Use download=True (--download on the command line), "
            f"or get {self.url} ({self.archive_size:,} bytes, MD5 {self.archive_md5}) and put it there"
        )

    def _file(self, path: Path) -> bytes:
        try:
            size = path.stat().st_size
            if size > self.largest:
                raise DataError(f"{path}: it has {size:,} bytes, more than any file of {type(self).__name__}")
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from None

    def _download(self) -> None:
        """Fetch the archive, then make the folder of files appear at once, complete."""
        archive = fetch(self.url, self.root / self.archive, size=self.archive_size, md5=self.archive_md5)
        contents = read_members(archive, self.folder, self.md5, limit=2 * self.archive_size)
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".unpack-") as place:
            made = Path(place, self.folder)
            made.mkdir()
            for name, content in contents.items():
                (made / name).write_bytes(content)
            try:
                os.rename(made, self.root / self.folder)
            except OSError:  # another process was faster, or a folder without its files stands there
                if not (self.root / self.folder / self.meta).is_file():
                    raise DataError(f"{self.root / self.folder}: the folder exists but is incomplete; remove it") from None

    def _load(self, name: str, content: bytes) -> dict:
        try:
            return plain_pickle.loads(content)
        except DataError as error:
            raise DataError(f"{self.root}: {name}: {error}") from None

    def _classes(self, content: bytes) -> list[str]:
        names = self._load(self.meta, content).get(self.names_key)
        if not isinstance(names, list) or len(names) != self.count or not all(isinstance(name, (str, bytes)) for name in names):
            raise DataError(f"{self.root}: {self.meta}: {self.names_key!r} is not a list of {self.count} names")
        return [name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names]

    def _batch(self, name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
        batch = self._load(name, content)
        pixels, labels = batch.get("data"), batch.get(self.label_key)
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3072:
            raise DataError(f"{self.root}: {name}: 'data' is not an array of unsigned bytes of shape (n, 3072)")
        if not isinstance(labels, list) or len(labels) != len(pixels) or not all(type(label) is int for label in labels):
            raise DataError(f"{self.root}: {name}: {self.label_key!r} is not a list of {len(pixels)} integers")
        if labels and not 0 <= min(labels) <= max(labels) < self.count:
            raise DataError(f"{self.root}: {name}: labels from {min(labels)} to {max(labels)}, expected 0 to {self.count - 1}")
        return pixels, np.array(labels, np.int64)


class CIFAR100(CIFAR10):
    """60,000 photographs of 32×32 pixels in a hundred (fine) classes; everything else as :class:`CIFAR10`."""

    name = "cifar100"
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    folder = "cifar-100-python"
    archive = "cifar-100-python.tar.gz"
    archive_size, archive_md5 = 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    label_key, names_key, meta = "fine_labels", "fine_label_names", "meta"
    count = 100
    train_files, test_files = ("train",), ("test",)
    md5 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
           "meta": "7973b15100ade9c7d40fb424638fde48"}
    largest = 160 << 20  # the training file has 155,249,918 bytes
