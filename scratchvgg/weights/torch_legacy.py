"""Files of ``torch.save`` before torch 1.6, the form of torchvision's classic VGG files: five pickles, then the storages.

    magic number · protocol version 1001 · facts on the machine · the tree · the storages' keys, in order
    then each storage in that order: its number of elements (int64), its elements

The format has no checksum. Every length is compared with the file's before a storage is read; its elements lie at any address
and are therefore read into fresh memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pickle_machine import PickleMachine
from .source import Malformed, Source
from .torch_tensors import LARGEST_PICKLE, Storage, fill, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def matches(source: Source) -> bool:
    """Whether the file begins as a pickle does, or is a tar archive (torch's first format: :func:`read` refuses it by name)."""
    head = source.bytes(0, min(source.size, 512))
    pickle = len(head) > 2 and head[0] == 0x80 and 1 < head[1] < 6 and head[2] != 0  # no instruction is 0, a safetensors header's length is
    return pickle or head[257:262] == b"ustar"


def read(source: Source, as_tensor: Callable | None = None, verify: bool = True):
    """The tree in the file, as :func:`scratchvgg.weights.torch_zip.read` gives it.

    Args:
        as_tensor: what to make of each tensor's array; the array itself by default.
        verify: the format has nothing to verify; lengths are always compared.

    Raises:
        Malformed: if the file is cut, corrupt, a tar archive, no file of torch's, or declares what it does not hold.
        ImportError: if there are bfloat16 tensors and ml_dtypes is not installed.
    """
    content = source.bytes(0, min(source.size, LARGEST_PICKLE))
    if content[257:262] == b"ustar":
        raise Malformed("it is a tar archive, torch's format before version 0.1.10: refused; load it with torch and save it again")
    magic, place = _plain(content, 0)
    if magic != MAGIC:
        raise Malformed("it is a pickle, but not one that torch.save wrote (it does not begin with torch's magic number)")
    version, place = _plain(content, place)
    if version != VERSION or type(version) is not int:
        raise Malformed(f"its protocol version is {version if type(version) is int else type(version).__name__}, expected {VERSION}")
    machine, place = _plain(content, place)
    _check_machine(machine)
    tree, storages, place = read_pickle(content, place)
    keys, place = _plain(content, place)
    starts = _locate(source, place, keys, storages)

    def flat(storage: Storage) -> np.ndarray:
        return source.array(starts[storage.key], storage.dtype.numpy, (storage.count,))

    return fill(tree, flat, as_tensor or (lambda array: array))


def _plain(content: bytes, start: int) -> tuple:
    """(value, byte after it) of a pickle that may hold plain data only."""
    machine = PickleMachine(content, {}, start=start)
    return machine.run(), machine.position


def _check_machine(facts) -> None:
    sizes = facts.get("type_sizes") if type(facts) is dict else None
    if type(sizes) is not dict or facts.get("protocol_version") != VERSION or (sizes.get("short"), sizes.get("int")) != (2, 4):
        raise Malformed("it does not say, as torch's files do, on which kind of machine it was written")
    if facts.get("little_endian") is not True:
        raise Malformed("it was written on a big-endian machine: refused; load it with torch and save it again")


def _locate(source: Source, place: int, keys, storages: dict[str, Storage]) -> dict[str, int]:
    """The byte at which each storage's elements begin, after all the lengths were compared."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise Malformed("its list of storages is not a list of keys")
    if len(set(keys)) != len(keys) or set(keys) != set(storages):
        raise Malformed(f"its list of {len(keys):,} storages does not name each of the {len(storages):,} that its tensors need once")
    starts = {}
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(source.bytes(place, 8), "little", signed=True)
        if count != storage.count:
            raise Malformed(f"storage {key!r} is declared with {storage.count:,} elements and has {count:,}")
        starts[key] = place + 8
        place += 8 + storage.bytes
        if place > source.size:
            raise Malformed(f"storage {key!r} is truncated: it declares {storage.bytes:,} bytes, the file has {source.size - starts[key]:,} more")
    if place != source.size:
        raise Malformed(f"{source.size - place:,} bytes follow its last storage")
    return starts
