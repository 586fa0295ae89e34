"""The formats of weights files: which there are, which one a file is in, and reading and writing any of them.

A file is known by its content, never by its name; a new file's format follows from its suffix.

===============  ==============================  ======================================================================================
format           suffix for saving               what it keeps
===============  ==============================  ======================================================================================
``npz``          ``.npz`` and all not named here  any tree, bit for bit; a CRC-32 for each array; NumPy's own ``.npz`` files are read too
``torch``        ``.pth`` ``.pt``                any tree, bit for bit; a CRC-32 for each storage; tied weights stay tied
``safetensors``  ``.safetensors``                a flat dict of arrays; no checksum
``torch-legacy``  read only                      PyTorch's format before 1.6 (torchvision's VGG files); no checksum
``keras``        read only                       VGG weights in Keras's HDF5; no checksum; needs the extra ``keras``
===============  ==============================  ======================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from . import archive, keras, safetensors, torch_legacy, torch_write, torch_zip
from .describe import describe
from .reading import reading
from .source import Source


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what :func:`identify` answers.
        suffixes: of paths that are saved in it.
        matches: whether a :class:`Source` is in it, by its content.
        read: ``read(source, as_tensor, verify) -> tree``.
        write: ``write(path_or_file, tree)``; None for formats that are only read.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable
    read: Callable
    write: Callable | None = None


FORMATS = (
    Format("npz", (".npz",), archive.matches, archive.read, archive.write),
    Format("torch", (".pth", ".pt"), torch_zip.matches, torch_zip.read, torch_write.write),
    Format("safetensors", (".safetensors",), safetensors.matches, safetensors.read, safetensors.write),
    Format("torch-legacy", (), torch_legacy.matches, torch_legacy.read),
    Format("keras", (".h5", ".hdf5", ".keras"), keras.matches, keras.read),
)
_BY_NAME = {form.name: form for form in FORMATS}
_BY_SUFFIX = {suffix: form for form in FORMATS for suffix in form.suffixes}


def identify(f) -> str:
    """The name of the format of a file (a path or an open binary file): "npz", "torch", "torch-legacy", "safetensors" or "keras".

    Only the beginning is looked at: reading it may still find it damaged.

    Raises:
        WeightsError: if it is none of them, with what it seems to be. OSError: if it cannot be opened.
    """
    with reading(f) as source:
        return _format_of(source).name


def load(f, as_tensor=None, *, verify: bool = True, mmap: bool = True):
    """Read a file in any of the formats, without running anything that is in it.

    Args:
        f: a path or an open binary file.
        as_tensor: called with each array that was a tensor; None leaves plain arrays.
        verify: compare the checksums (npz and torch have them), which reads the whole file once.
        mmap: map the file, so that arrays are read when they are touched; writing to them changes this process's copy only.
            False reads them now.

    Returns:
        The tree: for safetensors and NumPy's own npz files a flat dict of arrays; for Keras ``{layer: {"kernel": array, "bias": array}}``.

    Raises:
        WeightsError: naming the file and the reason, if it is damaged, foreign or hostile. ImportError: naming the extra that the content
            needs. OSError: if it cannot be opened.
    """
    with reading(f, mmap) as source:
        return _format_of(source).read(source, as_tensor, verify)


def save(f, tree, format: str | None = None) -> None:
    """Write ``tree`` in the format named by ``format``, else by the suffix of ``f``; npz for other suffixes and open files.

    Args:
        f: a path, replaced atomically, or an open binary file.
        tree: what the format can hold; arrays and Tensors count alike.
        format: "npz", "torch" or "safetensors".

    Raises:
        TypeError: for what the format cannot hold, with its place in the tree; nothing is written.
        ValueError: for an unknown format, one that is only read, or a tree too deep. OSError: if the folder cannot be written to.
    """
    if format is not None and format not in _BY_NAME:
        raise ValueError(f"save: unknown format {format!r}, expected one of {_writable()}")
    f = f if hasattr(f, "write") else os.fsdecode(f)
    suffix = os.path.splitext(f)[1].lower() if isinstance(f, str) else ""
    form = _BY_SUFFIX.get(suffix, _BY_NAME["npz"]) if format is None else _BY_NAME[format]
    if form.write is None:
        raise ValueError(f"save: {form.name} files are only read; written are {_writable()}")
    try:
        form.write(f, tree)
    except RecursionError:
        raise ValueError("save: the tree is nested too deeply, or holds itself") from None


def _format_of(source: Source) -> Format:
    for form in FORMATS:
        if form.matches(source):
            return form
    raise describe(source)


def _writable() -> str:
    return ", ".join(f"{form.name} ({' '.join(form.suffixes)})" for form in FORMATS if form.write)
