"""A lock between processes, held on a small file beside the thing it guards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold ``path`` alone until the block ends; waits while another process has it.

    The system frees the lock of a process that dies.
    The file is removed by its holder. A waiter that then holds a removed file notices (it is no longer the file at
    ``path``) and starts again, so two processes never hold two files.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        _lock(handle)
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except FileNotFoundError:
            pass
        os.close(handle)
    try:
        yield
    finally:
        if os.name != "nt":  # Windows does not remove an open file: there it stays, empty
            os.unlink(path)
        os.close(handle)


def _lock(handle: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
