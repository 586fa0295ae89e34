"""g++ makes a library of a kernel file; libraries are kept on disk under a hash of everything they were made of.

Two libraries take part: the runtime (``kernels/emulator/*.cpp``: fibers, barriers; one for all kernels) and one for each kernel file.
The hash covers the source, every header it includes, the flags, the compiler's version and the processor (``-march=native``). A library
appears under its name only when it is complete, so two processes that build the same one at once disturb nobody.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...array.machine import processor
from ...weights.folders import cache_folder
from ..sources import kernel_folder
from .scan import entries, includes
from .settings import DEBUG, PORTABLE, SANITIZE, switched_on

EXTRA = "pip install 'scratchvgg[emulator]'"
_ALWAYS = ["-std=c++17", "-fPIC", "-pthread", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas"]
_SANITIZE = [  # calls at every load, store and array index, answered by kernels/emulator/shadow.cpp: no library of the sanitizer's is linked
    "-fsanitize=thread,bounds,alignment", "--param=tsan-instrument-func-entry-exit=0", "--param=tsan-distinguish-volatile=1", "-DEMULATOR_SANITIZE",
]
_KERNEL = ["-fno-gnu-unique", "-fvisibility=hidden"]  # no symbol of one library is ever taken for another's of the same name


class BuildError(RuntimeError):
    """g++ refused a kernel file; the message has its output, with the lines of the source."""


@dataclass(frozen=True)
class Built:
    """A library on disk and the entries in it: name → names of the arguments."""

    path: Path
    entries: dict[str, list[str]]
    sanitized: bool


def build(source: Path) -> Built:
    """The library of the kernel file ``source``, made now if it is not in the cache.

    Raises:
        RuntimeError: if there is no g++.
        ImportError: if the file needs CUDA's headers (half types) and they are not installed.
        BuildError: if g++ finds errors.
    """
    sanitized = switched_on(SANITIZE)
    scheduler = runtime()
    flags = [*_ALWAYS, *_KERNEL, *_optimisation(sanitized), *_search(), "-include", "emulator/entry.h"]
    flags += _SANITIZE if sanitized else []
    key = _key(flags, closure(source), scheduler.name)
    library = library_folder() / f"{source.stem}-{key}.so"
    names = library.with_suffix(".json")
    if not library.exists():
        found = entries(_run([*flags, "-E", "-DEMULATOR_SCAN", "-x", "c++", str(source)], source))
        with _workbench() as bench:
            main = bench / "main.cpp"
            lines = [f'#include "{source}"', *(f"EMULATOR_ENTRY({name})" for name in found)]
            main.write_text("\n".join(lines) + "\n", encoding="utf-8")
            _run([*flags, "-c", str(main), "-o", str(bench / "main.o")], source)
            link = ["-shared", str(bench / "main.o"), f"-L{scheduler.parent}", f"-l:{scheduler.name}", "-Wl,-rpath,$ORIGIN", "-Wl,-z,defs"]
            _run([*link, "-o", str(bench / "out.so")], source)
            (bench / "out.json").write_text(json.dumps(found), encoding="utf-8")
            os.replace(bench / "out.json", names)
            os.replace(bench / "out.so", library)
    return Built(library, json.loads(names.read_text(encoding="utf-8")), sanitized)


def closure(source: Path) -> list[Path]:
    """``source``, every file it includes between quotation marks, directly or not, and the emulator's headers; each once.

    A name is looked for beside the file that includes it, then in the kernel folder; one that is in neither is CUDA's or the system's.
    """
    emulator = kernel_folder() / "emulator"
    found, waiting = [], [emulator / "entry.h", source]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        for name in includes(path.read_text(encoding="utf-8")):
            nearest = next((p for p in (path.parent / name, kernel_folder() / name) if p.is_file()), None)
            if nearest is not None:
                waiting.append(nearest.resolve())
    return found


def library_folder() -> Path:
    """Where libraries are kept: ``emulator`` in the cache folder."""
    folder = cache_folder() / "emulator"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cuda_headers() -> Path | None:
    """The folder of ``cuda_fp16.h``: from the wheel nvidia-cuda-runtime, ``$CUDA_HOME``, ``$CUDA_PATH`` or ``/usr/local/cuda``; None if in none.

    One that has also what ``cuda_fp16.h`` includes goes first: PyTorch brings the wheel without its companions.
    """
    import importlib.util

    package = importlib.util.find_spec("nvidia")
    wheels = [Path(p) for p in package.submodule_search_locations] if package and package.submodule_search_locations else []
    folders = [f for w in wheels for f in (w / "cu13" / "include", w / "cuda_runtime" / "include")]
    toolkits = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), os.path.join(os.sep, "usr", "local", "cuda")]
    folders += [Path(t) / "include" for t in toolkits if t]
    found = [f for f in folders if (f / "cuda_fp16.h").is_file()]
    whole = (f for f in found if (f / "crt").is_dir() and any((f / base / "nv" / "target").is_file() for base in (".", "cccl")))
    return next(whole, found[0] if found else None)


@functools.cache
def compiler() -> tuple[str, str]:
    """The path of g++ (``$CXX`` if set) and what it says of its version.

    Raises:
        RuntimeError: if there is none.
    """
    path = shutil.which(os.environ.get("CXX") or "g++")
    if path is None:
        raise RuntimeError(
            f"the emulator compiles CUDA kernels with g++, and {os.environ.get('CXX') or 'g++'!r} is not on the PATH: install it "
            "(Debian, Ubuntu: apt install g++), or name another one in $CXX"
        )
    return path, subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout


def runtime() -> Path:
    """The library of ``kernels/emulator/*.cpp``, made now if it is not in the cache. Raises what :func:`build` raises."""
    folder = kernel_folder() / "emulator"
    sources = sorted(folder.glob("*.cpp"))
    flags = [*_ALWAYS, "-shared", "-O2", "-g1", "-Wall"]
    flags += ["-DEMULATOR_PORTABLE"] if switched_on(PORTABLE) else []
    library = library_folder() / f"libemulator-{_key(flags, [*sources, *sorted(folder.glob('*.h'))])}.so"
    if not library.exists():
        with _workbench() as bench:
            _run([*flags, *map(str, sources), "-o", str(bench / "out.so")], folder)
            os.replace(bench / "out.so", library)
    return library


def _optimisation(sanitized: bool) -> list[str]:
    if switched_on(DEBUG):
        return ["-O0", "-g3", "-gdwarf-4"]  # with macros: the debugger knows threadIdx
    return ["-O1", "-g1", "-gdwarf-4", "-fno-tree-vectorize"] if sanitized else ["-O2", "-g1"]


def _search() -> list[str]:
    headers = cuda_headers()
    return [f"-I{kernel_folder()}", *([f"-isystem{headers}", f"-isystem{headers / 'cccl'}"] if headers else [])]


def _key(flags, files, *more) -> str:
    digest = hashlib.sha256(repr((flags, compiler(), processor(), more)).encode())
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def _workbench():
    """A folder on the cache's own file system, removed afterwards: what is finished in it moves to its place in one step."""
    class Bench(tempfile.TemporaryDirectory):
        def __enter__(self):
            return Path(super().__enter__())

    return Bench(dir=library_folder(), prefix=".build-", ignore_cleanup_errors=True)


def _run(arguments: list[str], source: Path) -> str:
    done = subprocess.run([compiler()[0], *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if re.search(r"(cuda_fp16\.h|cuda_bf16\.h|nv/target): No such file", done.stderr):
        raise ImportError(f"{source.name} uses CUDA's 16-bit types, whose headers are not installed: {EXTRA}, or set CUDA_HOME to a CUDA toolkit")
    dynamic = source.is_file() and re.search(r"extern\s+__shared__", source.read_text(encoding="utf-8"))
    hint = "\n(the emulator wants DYNAMIC_SHARED(float, s); in the place of extern __shared__ float s[];)" if dynamic else ""
    raise BuildError(f"g++ cannot compile {source}:\n{done.stderr.strip()}{hint}")
