"""Files that are either the old version or the whole new one, whatever is pulled out of the wall."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

SUFFIX = ".tmp"


@contextlib.contextmanager
def atomic_write(path, mode: str = "wb"):
    """Open a temporary file beside ``path`` for writing; on leaving the block it takes ``path``'s place.

    The bytes are on the disk before the name changes (flush, fsync, rename, fsync of the folder). If the block raises, the
    temporary file is removed and ``path`` stays as it was. A process killed in the block leaves a ``.*.tmp`` behind
    (:func:`remove_leftovers`), never half a file under the real name.

    Raises:
        OSError: if the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{SUFFIX}")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(temporary, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder) -> None:
    """Make the names in ``folder`` durable (a rename is not, until then). Does nothing where folders cannot be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder) -> None:
    """Delete the temporary files that killed writers left in ``folder``. Only for a folder that nobody else is writing to."""
    for leftover in Path(folder).glob(f".*{SUFFIX}"):
        leftover.unlink(missing_ok=True)
