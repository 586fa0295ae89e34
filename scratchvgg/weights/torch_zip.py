"""Files of ``torch.save`` since torch 1.6: a zip archive of one pickle and the storages that its tensors lie in.

    NAME/data.pkl       the tree; storages are mentioned by key
    NAME/byteorder      "little" or "big"; older files have none, and are little-endian
    NAME/data/KEY       one storage: its elements, nothing else
    NAME/version, NAME/.format_version, NAME/.storage_alignment, NAME/.data/serialization_id

On a mapped file a tensor is a window on the archive: the members are stored at multiples of 64 bytes for that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from .source import Malformed, Source
from .torch_tensors import LARGEST_PICKLE, Storage, fill, read_pickle
from .zip_reader import START, ZipReader

_TAIL = 1 << 20  # bytes at the end of a file in which its directory is looked for
_TORCHSCRIPT = "it is a TorchScript archive, which holds a program; save the state_dict() of the model with torch.save instead"


def matches(source: Source) -> bool:
    """Whether the file is a zip archive with a pickle where torch has it (TorchScript's archives count: :func:`read` names them)."""
    if source.size < 30 or source.bytes(0, 4) != START:
        return False
    first = source.bytes(30, min(int.from_bytes(source.bytes(26, 2), "little"), source.size - 30))
    return first.endswith(b"data.pkl") or b"/data.pkl" in _tail(source)


def read(source: Source, as_tensor: Callable | None = None, verify: bool = True):
    """The tree in the file: dicts, lists, tuples and plain scalars; tensors and parameters are ``as_tensor(array)``, with the file's
    strides; tensors that share a storage share memory.

    Args:
        as_tensor: what to make of each tensor's array; the array itself by default.
        verify: compare every member with its CRC-32 first.

    Raises:
        Malformed: if the archive is cut, corrupt, TorchScript, or declares what it does not hold.
        ImportError: if there are bfloat16 tensors and ml_dtypes is not installed.
    """
    try:
        archive = ZipReader(source)
    except Malformed as error:  # TorchScript compresses its code
        raise Malformed(_TORCHSCRIPT) if b"/constants.pkl" in _tail(source) else error from None
    folder = _folder(archive)
    if verify:
        archive.check_all()
    swap = _byte_order(archive, folder) != sys.byteorder

    def member(storage: Storage):
        found = archive.members.get(f"{folder}data/{storage.key}")
        if found is None:
            raise Malformed(f"storage {storage.key!r} is missing")
        if found.size != storage.bytes:
            raise Malformed(f"storage {storage.key!r} is declared with {storage.bytes:,} bytes and has {found.size:,}")
        return found

    def flat(storage: Storage) -> np.ndarray:
        array = source.array(member(storage).start, storage.dtype.numpy, (storage.count,))
        if swap:
            array.view(f"u{storage.dtype.itemsize}").byteswap(inplace=True)
        return array

    content = archive.bytes(f"{folder}data.pkl", LARGEST_PICKLE, verify=False)  # verified above, if at all
    tree, storages, end = read_pickle(content, check=member)
    if end != len(content):
        raise Malformed("something follows the pickle in data.pkl")
    unused = {name for name in archive.members if name.startswith(f"{folder}data/")} - {f"{folder}data/{key}" for key in storages}
    if unused:
        raise Malformed(f"no tensor uses the storage {min(unused)!r}: refused")
    return fill(tree, flat, as_tensor or (lambda array: array))


def _tail(source: Source) -> bytes:
    count = min(_TAIL, source.size)
    return source.bytes(source.size - count, count)


def _folder(archive: ZipReader) -> str:
    """The one folder, with its slash, that all members are in."""
    pickles = [name for name in archive.members if name.split("/")[-1].lower() == "data.pkl"]
    if any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in archive.members):
        raise Malformed(_TORCHSCRIPT)
    if len(pickles) != 1:
        raise Malformed(f"it has {len(pickles)} pickles named data.pkl, expected one")
    folder = pickles[0].removesuffix("data.pkl")
    if folder.count("/") != 1 or not pickles[0].endswith("/data.pkl") or not all(name.startswith(folder) for name in archive.members):
        raise Malformed(f"its members are not all in one folder with {pickles[0]!r}")
    return folder


def _byte_order(archive: ZipReader, folder: str) -> str:
    name = f"{folder}byteorder"
    order = archive.bytes(name, 16, verify=False).decode("ascii", "replace") if name in archive.members else "little"
    if order not in ("little", "big"):
        raise Malformed(f"its byte order is {order!r}, expected 'little' or 'big'")
    return order
