"""Where CUDA's parts are on this machine: NVRTC, the headers, nvcc, the disassemblers. Finding loads nothing and needs no GPU.

The order of preference: NVIDIA's Python packages (``nvidia-cuda-nvrtc`` and its like; an installation of PyTorch or CuPy brings some of them), a
conda environment, ``CUDA_HOME`` or ``CUDA_PATH``, the ``PATH`` or the system's library path, ``/usr/local/cuda``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INSTALL = {
    "nvrtc": "pip install 'scratchvgg[kernels]'",
    "headers": "pip install 'scratchvgg[kernels]'",
    "nvdisasm": "pip install 'scratchvgg[kernels]'",
    "cuobjdump": "install NVIDIA's CUDA toolkit (nvdisasm serves here)",
    "nvcc": "install NVIDIA's CUDA toolkit (only for inspection; NVRTC compiles the kernels)",
    "compute-sanitizer": "install NVIDIA's CUDA toolkit (only for checks on a GPU; --sanitize does them on the emulator)",
}
PROGRAMS = "nvcc", "nvdisasm", "cuobjdump", "compute-sanitizer"


@dataclass(frozen=True)
class Part:
    """A part of CUDA: its file or folder, and why it was looked for there."""

    path: Path
    where: str


def find_nvrtc() -> list[Part]:
    """The NVRTC libraries there are, the preferred one first."""
    found = [Part(library, where) for where, root in _roots() for library in _newest_first(root, "lib*/libnvrtc.so.*", "targets/*/lib/libnvrtc.so.*")]
    loader = _from_loader("nvrtc")
    found += [Part(loader, "system library path")] if loader else []
    return list({part.path.resolve(): part for part in reversed(found)}.values())[::-1]


def find_headers() -> Part | None:
    """The folder of ``cuda_bf16.h`` and its like."""
    for where, root in _roots():
        for folder in (root / "include", *sorted(root.glob("targets/*/include"))):
            if (folder / "cuda_bf16.h").is_file():
                return Part(folder, where)
    return None


def include_folders() -> list[Path]:
    """What to give the compiler as ``-I`` for CUDA's own headers, C++'s for CUDA (CCCL) included. Empty without headers."""
    headers = find_headers()
    if headers is None:
        return []
    apart = [root / "include" for _, root in _roots() if root.name in ("cuda_cccl", "cuda_nvcc", "cuda_crt")]  # the packages of CUDA 12
    return [folder for folder in (headers.path, headers.path / "cccl", *apart) if folder.is_dir()]


def find_program(name: str) -> Part | None:
    """One of :data:`PROGRAMS`."""
    on_path = shutil.which(name)
    for where, root in _roots():
        if where == "/usr/local/cuda" and on_path:
            break
        if (root / "bin" / name).is_file():
            return Part(root / "bin" / name, where)
    return Part(Path(on_path), "PATH") if on_path else None


def missing(part: str, why: str) -> ImportError:
    """The error of someone who needs ``part`` (a key of :data:`INSTALL`) and has not got it."""
    names = {"nvrtc": "NVRTC (CUDA's compiler as a library)", "headers": "CUDA's headers"}
    return ImportError(f"{why} needs {names.get(part, part)}, which was not found: {INSTALL[part]}")


def _roots() -> Iterator[tuple[str, Path]]:
    """Folders with a ``bin``, ``lib`` or ``include`` of CUDA's, each with why it is one."""
    for base in _package_folders():
        yield from (("Python packages", folder) for folder in sorted(base.glob("cu[1-9][0-9]"), reverse=True))
        yield from (("Python packages", folder) for folder in sorted(base.glob("cuda_*")))
    if os.environ.get("CONDA_PREFIX"):
        yield "conda", Path(os.environ["CONDA_PREFIX"])
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable])
    nvcc = shutil.which("nvcc")
    if nvcc:
        yield "PATH", Path(nvcc).resolve().parents[1]
    yield "/usr/local/cuda", Path("/usr/local/cuda")


def _package_folders() -> list[Path]:
    """The ``nvidia`` folders of site-packages. They are looked for by name, because importing them runs their code."""
    return [folder for entry in sys.path if (folder := Path(entry or ".") / "nvidia").is_dir()]


def _newest_first(root: Path, *patterns: str) -> list[Path]:
    """Libraries ``name.so.MAJOR`` and longer; of one library's many names the shortest."""
    names = {}
    for path in sorted((p for pattern in patterns for p in root.glob(pattern)), key=lambda p: len(p.name)):
        if re.search(r"\.so\.\d+", path.name):
            names.setdefault(path.resolve(), path)
    return sorted(names.values(), key=lambda p: [int(n) for n in re.findall(r"\d+", p.name.partition(".so.")[2])], reverse=True)


def _from_loader(name: str) -> Path | None:
    """What the system's loader knows by that name (Linux: the cache of ``ldconfig`` and ``LD_LIBRARY_PATH``)."""
    for folder in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")):
        for library in _newest_first(Path(folder), f"lib{name}.so.*"):
            return library
    from ctypes.util import find_library

    found = find_library(name)
    return Path(found) if found else None
