"""Writes small files in CIFAR's original format: Python 2 pickles as the authors made them, and the tar.gz around them."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np


def _text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array_pickle(pixels: np.ndarray, kind: str = "u1", shape=None) -> bytes:
    """The instructions that Python 2 and NumPy 1 wrote for an array of bytes."""
    rows, columns = shape or pixels.shape
    content = pixels.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + _integer(rows) + _integer(columns) + b"\x86"
        b"cnumpy\ndtype\n" + _text(kind) + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", len(content)) + content + b"tb"
    )


def batch_file(pixels: np.ndarray, labels, key: str = "labels", array: bytes | None = None) -> bytes:
    """A batch: a dict of batch_label, labels, data and filenames."""
    numbers = b"".join(_integer(label) for label in labels)
    names = b"".join(_text(f"picture_{place}.png") for place in range(len(labels)))
    return (
        b"\x80\x02}q\x01(" + _text("batch_label") + _text("a batch") + _text(key) + b"]q\x05(" + numbers + b"e"
        + _text("data") + (array or array_pickle(pixels)) + _text("filenames") + b"](" + names + b"eu."
    )


def meta_file(names, key: str = "label_names") -> bytes:
    """The file of class names."""
    shown = b"](" + b"".join(map(_text, names)) + b"e"
    return b"\x80\x02}q\x01(" + _text("num_cases_per_batch") + _integer(4) + _text(key) + shown + b"u."


def cifar10_files(images: int = 4) -> tuple[dict[str, bytes], dict[str, tuple[np.ndarray, list[int]]]]:
    """A whole small CIFAR-10: bytes by file name, and by batch name the pixels (n, 3072) and labels they hold."""
    rng = np.random.default_rng(5)
    truth = {}
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        truth[name] = rng.integers(0, 256, (images, 3072), np.uint8), rng.integers(0, 10, images).tolist()
    files = {name: batch_file(*batch) for name, batch in truth.items()}
    files["batches.meta"] = meta_file([f"class {label}" for label in range(10)])
    return files, truth


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by name into a new folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, folder: str, files: dict[str, bytes], extra=()) -> Path:
    """A tar.gz of ``folder/name`` members, after the ``extra`` pairs (TarInfo, bytes)."""
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for info, content in extra:
            archive.addfile(info, io.BytesIO(content))
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
