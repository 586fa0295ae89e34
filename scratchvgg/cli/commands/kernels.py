"""scratchvgg kernels"""

from __future__ import annotations

import fnmatch
import json
import sys
from dataclasses import asdict

from ..errors import CommandError
from ..text import table

SUMMARY = "the CUDA kernels: registers, shared memory, spills, occupancy; their source and machine code"
DESCRIPTION = """
Compile the CUDA kernels and show what each takes of a GPU. No GPU is needed: NVRTC compiles for any architecture, and the
results are kept on disk. NAME is a kernel file (relu), the path of one of your own (my_conv.cu), an entry
(relu_forward_f32) or a pattern of entries ('*_f32').

registers are a thread's; shared is a block's static shared memory in bytes; spills are bytes that a thread writes to and
reads from main memory for want of registers; threads is the largest block (__launch_bounds__; ~256 is assumed where there
are none); so many blocks fit on a multiprocessor at a time, which makes the occupancy; "limited by" says what stops more;
code is the number of machine instructions. * marks the hot kernels, those that time depends on.
"""
EXAMPLES = """
scratchvgg kernels --arch sm_90
scratchvgg kernels relu '*max_pool*' --json
scratchvgg kernels --check
scratchvgg kernels --source im2col
scratchvgg kernels --disassemble relu_forward_f32 --arch sm_80
scratchvgg kernels --disassemble relu_forward_f32 --ptx
"""
COLUMNS = "file", "entry", "registers", "shared", "spills", "threads", "blocks", "occupancy", "limited by", "code"


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="files, entries or patterns (default: everything)")
    parser.add_argument("--arch", help="as sm_80, sm_90 (default: that of the GPU here, else sm_90)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a hot kernel (*) spills")
    parser.add_argument("--source", metavar="NAME", help="print the source of a file, or of the file that has an entry")
    parser.add_argument("--disassemble", metavar="NAME", help="print the machine code (SASS) of an entry, or of a file's entries")
    parser.add_argument("--ptx", action="store_true", help="with --disassemble: the PTX of the whole file instead")


def run(args) -> int:
    """Compile and print."""
    from ...cuda import kernel_sources
    from ...cuda.arch import ArchitectureError
    from ...cuda.catalog import select
    from ...cuda.messages import CompileError

    if args.ptx and not args.disassemble:
        raise CommandError("--ptx: goes with --disassemble NAME")
    try:
        if args.source:
            print(*(file.read_text(encoding="utf-8") for file in select([args.source]).files), sep="\n", end="")
            return 0
        arch = _arch(args.arch)
        return _disassemble(args.disassemble, arch, args.ptx) if args.disassemble else _show(args, arch)
    except FileNotFoundError as error:
        raise CommandError(f"{error.filename}: there is no such file") from error
    except KeyError as error:
        raise CommandError(f"{error.args[0]}; the files are {', '.join(kernel_sources())}") from error
    except ArchitectureError as error:
        raise CommandError(f"--arch: {error}") from error
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1


def _arch(asked: str | None) -> str:
    """What was asked for, else the architecture of the first GPU."""
    from ...cuda.arch import DEFAULT, number_of, parse_arch
    from ...cuda.libcuda import ask_driver
    from ...cuda.nvrtc import load_nvrtc

    if asked is None:
        gpus = ask_driver().gpus
        return "sm_{}{}".format(*gpus[0].capability) if gpus else DEFAULT
    try:
        arch = parse_arch(asked)
    except ValueError as error:
        raise CommandError(f"--{error}") from error
    known = load_nvrtc().architectures
    if number_of(arch) not in known:
        raise CommandError(f"--arch: this NVRTC compiles for {', '.join(f'sm_{number}' for number in known)}, not for {arch}")
    return arch


def _disassemble(name: str, arch: str, ptx: bool) -> int:
    from ...cuda.catalog import select
    from ...cuda.compile import compile_kernel_file, ptx_of
    from ...cuda.disassemble import disassemble

    selection, found = select([name]), []
    for file in selection.files:
        compiled = compile_kernel_file(file, arch)
        entries = [entry for entry in compiled.resources if selection.takes(file, entry)]
        found += [ptx_of(file, arch)] if ptx and entries else [disassemble(compiled, entry) for entry in entries]
    if not found:
        raise KeyError(f"no kernel file or entry is called {name!r}")
    print("\n\n".join(found))
    return 0


def _show(args, arch: str) -> int:
    from ...bench.progress import status_line
    from ...cuda.catalog import compile_files, select
    from ...cuda.registry import describe

    selection = select(args.names)
    with status_line() as show:
        batch = compile_files(selection.files, arch, lambda done, total: show(f"compiling for {arch}: {done} of {total} files"))
    rows = [(describe(compiled.file), needs) for compiled in batch.compiled for needs in compiled.resources.values()
            if selection.takes(compiled.file, needs.entry)]
    for pattern in selection.patterns:
        if not batch.failed and not any(fnmatch.fnmatchcase(needs.entry, pattern) for _, needs in rows):
            raise KeyError(f"no kernel file or entry is called {pattern!r}")
    (_print_json if args.json else _print_table)(rows, batch, arch)
    for error in batch.failed.values():
        print(error, file=sys.stderr)
    spilling = [needs.entry for kernel, needs in rows if needs.spills and kernel.is_hot(needs.entry)]
    if args.check and spilling:
        print(f"registers do not suffice in {', '.join(spilling)}", file=sys.stderr)
    return 1 if batch.failed or (args.check and spilling) else 0


def _print_json(rows, batch, arch: str) -> None:
    from ...cuda.catalog import entry_occupancy
    from ...cuda.nvrtc import load_nvrtc

    kernels = [{"file": kernel.file.name, **asdict(needs), "hot": kernel.is_hot(needs.entry),
                "occupancy": asdict(fits) if (fits := entry_occupancy(needs)) else None} for kernel, needs in rows]
    print(json.dumps({
        "arch": arch, "nvrtc": "{}.{}".format(*load_nvrtc().version), "kernels": kernels,
        "failed": {file.name: str(error) for file, error in batch.failed.items()},
        "left_out": {file.name: str(error) for file, error in batch.left_out.items()},
    }))


def _print_table(rows, batch, arch: str) -> None:
    from ...cuda.catalog import USUAL_BLOCK, entry_occupancy
    from ...cuda.nvrtc import load_nvrtc

    lines, above = [], None
    for kernel, needs in rows:
        fits = entry_occupancy(needs)
        filling = [fits.blocks, f"{fits.share:.0%}", fits.limit] if fits else ["-"] * 3
        name, entry = "" if kernel == above else kernel.name, needs.entry + " *" * kernel.is_hot(needs.entry)
        lines.append([name, entry, needs.registers, needs.shared, needs.spills, needs.threads or f"~{USUAL_BLOCK}", *filling,
                      needs.instructions])
        above = kernel
    print(table(lines, list(COLUMNS), left=2))
    spilling = sum(needs.spills > 0 for _, needs in rows)
    print(f"\n{len(rows)} entries of {len({kernel.file for kernel, _ in rows})} files for {arch}, NVRTC {'.'.join(map(str, load_nvrtc().version))}; "
          f"{spilling or 'none'} with spills")
    for file, error in batch.left_out.items():
        print(f"not shown: {file.stem} ({error})")
