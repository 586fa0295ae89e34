"""The folder of a run: born whole, never overwritten, trained in by one process at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from ..weights.atomic import remove_leftovers, sync_folder
from . import recipe as recipes
from .errors import RunError
from .recipe import Recipe


class RunFolder:
    """Paths of a run. Make one with :func:`create` or :func:`open_existing`.

    Attributes:
        path: the folder; ``recipe``, ``metrics``, ``record``, ``csv``, ``curves``, ``last`` and ``best`` are files in it.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.recipe, self.metrics, self.csv = self.path / "recipe.toml", self.path / "metrics.jsonl", self.path / "metrics.csv"
        self.record = self.path / "record.jsonl"
        self.curves, self.last, self.best = self.path / "curves.png", self.path / "last.ckpt", self.path / "best.ckpt"

    def read_recipe(self) -> Recipe:
        """The recipe the run was started with."""
        return recipes.load(str(self.recipe))

    @contextlib.contextmanager
    def locked(self):
        """Hold the folder against other processes; the lock dies with the process. Clears what killed writers left.

        Raises:
            RunError: if another process holds it.
        """
        with open(self.path / "lock", "a+", encoding="ascii") as file:
            if not _try_lock(file):
                file.seek(0)
                raise RunError(f"{self.path}: process {file.read().strip() or '?'} is training in this folder")
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            remove_leftovers(self.path)
            yield self


def check_free(out) -> None:
    """Raise RunError if ``out`` is a path that :func:`create` would refuse (None never is)."""
    path = None if out is None else Path(out)
    if path is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} exists already; go on with it (--resume {path}) or choose another folder (--out)")


def create(recipe: Recipe, out=None, parent="runs") -> RunFolder:
    """A new run folder with ``recipe.toml`` in it.

    Args:
        out: the folder; it must not exist or be empty. By default ``parent``/name-data-1, -2, …

    Raises:
        RunError: if ``out`` is taken.
        OSError: if it cannot be made.
    """
    if out is not None:
        return _born(Path(out), recipe)
    stem = recipe.name if recipe.name == recipe.data else f"{recipe.name}-{recipe.data}"
    number = 1
    while True:
        with contextlib.suppress(RunError):
            path = Path(parent) / f"{stem}-{number}"
            if not path.exists():
                return _born(path, recipe)
        number += 1


def _born(path: Path, recipe: Recipe) -> RunFolder:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with open(temporary / "recipe.toml", "w", encoding="utf-8") as file:
            file.write(recipe.to_toml())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(temporary)
        try:
            os.rename(temporary, path)  # refuses a folder that is not empty
        except OSError:
            check_free(path)
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(path.parent)
    return RunFolder(path)


def open_existing(path) -> RunFolder:
    """The run folder at ``path``.

    Raises:
        RunError: if it is none.
    """
    folder = RunFolder(path)
    if not folder.recipe.is_file():
        what = "is no run folder (it has no recipe.toml)" if folder.path.is_dir() else "does not exist"
        raise RunError(f"{path} {what}")
    return folder


def _try_lock(file) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: one process at a time is up to the user
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
