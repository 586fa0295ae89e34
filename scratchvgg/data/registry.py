"""Data sets by name, for recipes and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .cifar import CIFAR10, CIFAR100
from .dataset import Dataset
from .errors import DataError
from .folder import ImageFolder
from .sample import SampleShapes

DEFAULT_ROOT = "data"
_OPENERS: dict[str, Callable[..., Dataset]] = {}


def register_dataset(name: str, opener: Callable[..., Dataset]) -> None:
    """Make ``open_dataset(name)`` call ``opener(root, train, download, **options)``."""
    _OPENERS[name] = opener


def dataset_names() -> tuple[str, ...]:
    """The names that :func:`open_dataset` knows."""
    return tuple(_OPENERS)


def open_dataset(name: str, root=None, train: bool = True, download: bool = False, **options) -> Dataset:
    """Open a data set: "sample", "cifar10", "cifar100" or "folder".

    Args:
        name: which one.
        root: where its files are; ``data`` by default. "sample" needs none.
        train: the training or the test split; "folder" takes ``root/train`` or ``root/test`` (or ``root/val``).
        download: get missing files (CIFAR).
        options: passed on to the class, such as ``size``.

    Raises:
        ValueError: for an unknown name.
        DataError: if the files are missing or damaged.
    """
    if name not in _OPENERS:
        raise ValueError(f"open_dataset: expected one of {', '.join(_OPENERS)}, got {name!r}")
    return _OPENERS[name](Path(DEFAULT_ROOT if root is None else root), train, download, **options)


def _open_folder(root: Path, train: bool, download: bool, **options) -> ImageFolder:
    names = ("train",) if train else ("test", "val")
    for name in names:
        if (root / name).is_dir():
            return ImageFolder(root / name, **options)
    raise DataError(f"{root.absolute()}: expected the subfolder {' or '.join(names)} with a folder for each class in it")


register_dataset("sample", lambda root, train, download, **options: SampleShapes(train, **options))
register_dataset("cifar10", CIFAR10)
register_dataset("cifar100", CIFAR100)
register_dataset("folder", _open_folder)
