"""Kernel files as modules: ``load("my.cu").get_function("add_f32")(grid, block, args)``, the look of ``cupy.RawModule``."""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path

from .build import Built, build, closure, library_folder
from .launch import Kernel
from .settings import DEBUG, PORTABLE, SANITIZE, setting

_modules: dict[tuple, Module] = {}


class Module:
    """The kernels of one file, compiled for the emulator.

    Attributes:
        built: the library on disk.
        files, stamps: what it was made of, and when those files last changed.
    """

    def __init__(self, built: Built, files: list[Path]):
        self.built, self.files, self.stamps = built, files, _stamps(files)
        self._library = ctypes.CDLL(str(built.path))
        self._kernels: dict[str, Kernel] = {}

    @property
    def names(self) -> list[str]:
        """The entries, in the order of the file."""
        return list(self.built.entries)

    def get_function(self, name: str) -> Kernel:
        """The entry ``name``.

        Raises:
            KeyError: if the file has no such entry; the message lists those it has.
        """
        if name not in self.built.entries:
            known = ", ".join(self.names) or 'none (an entry reads extern "C" __global__ void name(...))'
            raise KeyError(f"no kernel {name!r} here; there are {known}")
        if name not in self._kernels:
            self._kernels[name] = Kernel(self.built, self._library, name)
        return self._kernels[name]


def load(source) -> Module:
    """Compile a kernel file, or CUDA C++ text, and load it. Nothing is compiled twice; an edited file is.

    Args:
        source: the path of a ``.cu`` file, or the text of one (anything with a line break in it).

    Raises:
        FileNotFoundError: if there is no such file.
        RuntimeError, ImportError, BuildError: see :func:`~scratchvgg.cuda.emulator.build.build`.
    """
    path = _saved(source) if isinstance(source, str) and "\n" in source else Path(os.path.abspath(source))
    switches = tuple(setting(name) for name in (SANITIZE, PORTABLE, DEBUG))
    held = _modules.get((path, switches))
    if held is None and not path.is_file():
        raise FileNotFoundError(f"no kernel file {str(path)!r}")
    if held is None or held.stamps != _stamps(held.files):
        files = closure(path)
        held = _modules[path, switches] = Module(build(path), files)
    return held


def _stamps(files) -> list[int]:
    return [os.stat(f).st_mtime_ns if os.path.exists(f) else 0 for f in files]


def _saved(text: str) -> Path:
    """A file with this text in the cache folder: the debugger and error messages need lines to point at."""
    path = library_folder() / "sources" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.cu"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(f".{id(text)}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    return path
