"""Kernel files to machine code (CUBIN) with NVRTC, kept on disk. No GPU is needed, and no CuPy.

A cached CUBIN is found under a hash of everything it was made from: the source, every header it includes, the flags, the compiler's version.
Beside it lies a JSON file with the log and the CUBIN's checksum, written last: a CUBIN without it, or one that does not match, is built again.
Both appear whole or not at all, and of two processes that want the same one, one builds and the other waits.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from ..weights.atomic import atomic_write
from ..weights.filelock import file_lock
from ..weights.folders import cache_folder
from .arch import parse_arch, supported_arch, target
from .includes import digest_of
from .messages import CompileError
from .nvrtc import NvrtcError, load_nvrtc
from .registry import describe
from .resources import Resources, parse_resources
from .sources import kernel_folder
from .toolkit import include_folders, missing

FLAGS = (
    "-std=c++17",
    "-default-device",  # a function without __host__ or __device__ is the device's: there is no host here
    "-lineinfo",  # so that profilers, the sanitizer and our disassembly can name the source line
    "--no-source-include",  # only the folders below: a header that lies about in the working directory is not taken
    "--ptxas-options=-v",  # registers and spills into the log
    # IEEE arithmetic, as on the CPU: subnormal numbers stay, divisions and roots are rounded correctly. (CuPy's own compilation flushes
    # subnormals to zero.) A multiplication and addition fused into one instruction rounds once instead of twice.
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--fmad=true",
)
FORMAT = 1


@dataclass(frozen=True)
class Compiled:
    """A kernel file as machine code.

    Attributes:
        file: the source.
        arch: what it runs on.
        path: the CUBIN on disk, for ``cupy.RawModule(path=…)``.
        log: what compiler and assembler said, warnings included.
        resources: what each entry takes, by the entry's name.
        cached: whether it was there already.
    """

    file: Path
    arch: str
    path: Path
    log: str
    resources: dict[str, Resources] = field(repr=False)
    cached: bool

    @property
    def cubin(self) -> bytes:
        """The machine code."""
        return self.path.read_bytes()

    @property
    def warnings(self) -> str:
        """What the C++ compiler said; "" if it was content."""
        return self.log.partition("ptxas info")[0].strip()


def cubin_folder() -> Path:
    """Where compiled kernels are kept. Everything in it can be deleted at any time."""
    return cache_folder() / "cubins"


def cubin_path(file, arch: str) -> Path:
    """The machine code of a kernel file on disk, compiled now if it is not there yet. Arguments and errors of :func:`compile_kernel_file`."""
    return compile_kernel_file(file, arch).path


def compile_kernel_file(file, arch: str) -> Compiled:
    """Compile a ``.cu`` file, or take it from the cache.

    Args:
        file: its path. Its own folder and ``kernels/`` are searched for what it includes.
        arch: the GPU it shall run on, as "sm_80" or "sm_90". A file that asks for ``sm_90a`` is compiled for that on "sm_90";
            for a GPU newer than NVRTC the nearest older architecture of its generation is taken.

    Raises:
        CompileError: if it does not compile; the message shows the line.
        ArchitectureError: if the file's kernels do not work on ``arch``, or this NVRTC knows nothing that does.
        ImportError: without NVRTC or CUDA's headers; it says what to install.
        OSError: if the file cannot be read, or the cache not written.
    """
    file, source, arch = _asked(file, arch)
    stem = f"{file.stem}-{arch}-{cache_key(file, arch)[:20]}"
    folder = cubin_folder()
    folder.mkdir(parents=True, exist_ok=True)
    cubin, about = folder / f"{stem}.cubin", folder / f"{stem}.json"
    kept = _read(cubin, about)
    if kept is None:
        with file_lock(folder / f".{stem}.lock"):
            kept = _read(cubin, about)
            if kept is None:
                return _result(file, arch, cubin, _build(file, source, arch, cubin, about), cached=False)
    return _result(file, arch, cubin, kept, cached=True)


def cache_key(file: Path, arch: str) -> str:
    """The hash, in hexadecimal, that a file's machine code is kept under."""
    version = load_nvrtc().version
    parts = FORMAT, arch, FLAGS, version, digest_of(file, _folders(file))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def ptx_of(file, arch: str) -> str:
    """The PTX of a kernel file. Arguments and errors of :func:`compile_kernel_file`."""
    return _compile(*_asked(file, arch)).ptx


def _asked(file, arch: str) -> tuple[Path, str, str]:
    """The file's full path, its text, and what to compile it for."""
    file = Path(file).resolve()
    source = file.read_text(encoding="utf-8")
    return file, source, supported_arch(target(parse_arch(arch), describe(file).arch), load_nvrtc().architectures)


def _folders(file: Path) -> list[Path]:
    headers = include_folders()
    if not headers:
        raise missing("headers", f"compiling {file.name}")
    return [file.parent, kernel_folder(), *headers]


def _compile(file: Path, source: str, arch: str):
    options = [f"-arch={arch}", *FLAGS, *(f"-I{folder}" for folder in _folders(file))]
    try:
        return load_nvrtc().compile(source, str(file), options)
    except NvrtcError as error:
        raise CompileError(file, arch, error.log or error.reason, error.ptx) from None


def _build(file: Path, source: str, arch: str, cubin: Path, about: Path) -> dict:
    program = _compile(file, source, arch)
    resources = parse_resources(program.log, program.ptx, program.cubin)
    facts = {"file": file.name, "arch": arch, "sha256": hashlib.sha256(program.cubin).hexdigest(), "log": program.log,
             "resources": [vars(entry) for entry in resources]}
    with atomic_write(cubin) as out:
        out.write(program.cubin)
    with atomic_write(about, "w") as out:
        json.dump(facts, out, indent=1)
    return facts


def _read(cubin: Path, about: Path) -> dict | None:
    """What is kept of a CUBIN; None if it is not there or not whole."""
    try:
        facts = json.loads(about.read_text(encoding="utf-8"))
        return facts if facts["sha256"] == hashlib.sha256(cubin.read_bytes()).hexdigest() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _result(file: Path, arch: str, cubin: Path, facts: dict, cached: bool) -> Compiled:
    resources = {entry["entry"]: Resources(**entry) for entry in facts["resources"]}
    return Compiled(file, arch, cubin, facts["log"], resources, cached)
