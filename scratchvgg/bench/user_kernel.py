"""An engineer's own convolution kernel: one ``.cu`` file with one entry, checked as our algorithms are, timed beside them.

    #include "common.cuh"
    #include "conv_shape.cuh"

    // grid: ceil(N*P*Q, 128), K
    // block: 128
    extern "C" __global__ void my_conv(const float* x, const float* w, const float* bias, float* y, ConvShape g) { … }

x (N, H, W, C), w (K, R, S, C / groups), bias (K,) and y (N, P, Q, K), dense, all of one element type: float, double, f16 or bf16. y is not
initialised. The comment lines say the launch (:mod:`scratchvgg.bench.launch_lines`). The guide is ``docs/your-own-kernel.md``.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from pathlib import Path

from ..array import Device
from ..array.dtypes import as_dtype
from ..conv import Algorithm, Problem
from ..conv.check import Report, check
from ..conv.device.memory import dense, filled
from ..conv.errors import sum_bound, terms
from ..conv.problems import GRID, ONE
from ..cuda.structs import conv_shape
from . import launch_lines

TYPES = {"float": "float32", "double": "float64", "f16": "float16", "half": "float16", "__half": "float16", "bf16": "bfloat16",
         "__nv_bfloat16": "bfloat16"}
SIGNATURE = 'extern "C" __global__ void name(const T* x, const T* w, const T* bias, T* y, ConvShape g)'
ORDERS = {"threads in forward order": "forward", "threads in reverse order": "reverse", "threads shuffled": "7"}
WATCHED = "every access watched"
PROBLEMS = (
    *GRID, Problem(1, 64, 3, 4, 64, 1, 1), Problem(1, 16, 5, 4, 16, 3, 3, (1, 1), ONE), Problem(1, 32, 9, 17, 32, 3, 3, (1, 1), ONE),
    Problem(1, 64, 3, 3, 128, 3, 3, (1, 1), ONE),
)
"""The grid of ``conv.check``, and channels in multiples that tiles like."""

_BOUNDS = r"(?:__launch_bounds__\s*\([^)]*\)\s*)?"
_ENTRY = re.compile(rf'extern\s+"C"\s+__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(([^)]*)\)')


class KernelFileError(ValueError):
    """A kernel file that cannot be asked to do a convolution; the message says what was expected."""


class UserKernel(Algorithm):
    """The entry of a kernel file as an algorithm that knows the forward pass only.

    Args:
        file: its path.

    Attributes:
        file: the same, in full.
        dtype: the element type of all its arrays, a name.
        lines: the comment lines by key.

    Raises:
        FileNotFoundError: if there is no such file.
        KernelFileError: if it has not exactly one entry, or one of another signature.
        LaunchLineError: if a comment line is missing or wrong.
    """

    kernels = True

    def __init__(self, file):
        self.file = Path(file).resolve()
        if not self.file.is_file():
            raise FileNotFoundError(f"{file}: there is no such file")
        text = self.file.read_text(encoding="utf-8")
        self.name, self.dtype = _entry(text, self.file.name)
        self.lines = launch_lines.read(text, self.file.name)
        self._functions: dict[Device, Callable] = {}

    def supports(self, problem, dtype):
        return as_dtype(dtype).name == self.dtype and bool(self.lines["supports"].values(_fields(problem))[0])

    def workspace(self, problem, dtype, which="forward"):
        return 0

    def error_bound(self, problem, dtype, which="forward"):
        return sum_bound(terms(problem, which), dtype)

    def forward(self, backend, problem, x, w, bias=None, out=None):
        bias = backend.zeros((problem.K,), x.dtype) if bias is None else backend.xp.ascontiguousarray(bias)
        with filled(backend, problem.y_shape, x.dtype, out) as (y, result):
            if y.size:
                self.launch(backend, problem, dense(backend, x), dense(backend, w), bias, y)
        return result

    def grad_input(self, backend, problem, dy, w, out=None):
        """None: a user's kernel knows the forward pass."""

    def grad_weight(self, backend, problem, dy, x, out=None):
        """None: a user's kernel knows the forward pass."""

    def launch(self, backend, problem, x, w, bias, y) -> None:
        """Launch the entry as its comment lines say.

        Args:
            x, w, bias, y: dense arrays of the device, of the shapes above.

        Raises:
            LaunchLineError: if the lines give no launch.
            BuildError, CompileError: if the file does not compile.
            EmulatorError: if the emulator finds a fault.
        """
        grid, block, shared = self._launch_of(problem)
        function = self.function(backend)
        if backend.device.type != "emulator" and shared > 48 << 10:
            function.max_dynamic_shared_size_bytes = shared
        function(grid, block, (x, w, bias, y, conv_shape(problem)), shared_mem=shared)

    @functools.lru_cache(1024)  # noqa: B019 - a few of these objects live as long as the process
    def _launch_of(self, problem) -> tuple:
        grid, block, (shared,) = (self.lines[key].values(_fields(problem)) for key in ("grid", "block", "shared"))
        return grid, block, shared

    def function(self, backend) -> Callable:
        """The compiled entry on a device, called as a ``cupy.RawKernel``."""
        if backend.device.type == "emulator":
            from ..cuda import emulator

            return emulator.load(self.file).get_function(self.name)  # which keeps one for each of its settings
        if backend.device not in self._functions:
            self._functions[backend.device] = load_on_gpu(backend, self.file, self.name)
        return self._functions[backend.device]


def load_on_gpu(backend, file: Path, name: str):
    """The entry ``name`` of ``file`` as a CuPy function on the GPU of ``backend``."""
    from ..cuda import get_device_capability
    from ..cuda.compile import cubin_path

    major, minor = get_device_capability(backend.device)
    with backend.quiet():
        return backend.xp.RawModule(path=str(cubin_path(file, f"sm_{major}{minor}"))).get_function(name)


def _fields(problem) -> dict[str, int]:
    shape = conv_shape(problem)[0]
    return {name: int(shape[name]) for name in shape.dtype.names}


def _entry(text: str, file: str) -> tuple[str, str]:
    """Name and element type of the file's one entry."""
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    found = _ENTRY.findall(bare)
    if len(found) != 1:
        have = f"{len(found)} entries: {', '.join(name for name, _ in found)}" if found else "no entry"
        raise KernelFileError(f"{file} has {have}; expected exactly one, written out as\n  {SIGNATURE}")
    name, arguments = found[0]
    types = [_type(argument) for argument in arguments.split(",")]
    element = types[0].removeprefix("const ").removesuffix("*")
    if types != [f"const {element}*"] * 3 + [f"{element}*", "ConvShape"] or element not in TYPES:
        raise KernelFileError(f"{file}: the entry is {name}({', '.join(types)}); expected\n  {SIGNATURE}\n  with T one of {', '.join(TYPES)}")
    return name, TYPES[element]


def _type(argument: str) -> str:
    """``const float* __restrict__ x`` → ``const float*``."""
    words = re.findall(r"\w+|\*|&", argument.replace("__restrict__", " "))
    pointer = "".join(w for w in words if w in "*&")
    names = [w for w in words if w not in ("*", "&", "const")]
    const = "const " if "const" in words and pointer and words.index("const") < words.index(pointer[0]) else ""
    return const + (names[0] if names else "") + pointer


def check_kernel(kernel: UserKernel, device="emulator", *, draws: int = 40, sanitized_draws: int = 10,
                 progress: Callable[[str], None] = lambda text: None) -> tuple[Report, str]:
    """Check a kernel against the seven loops on small problems that it supports.

    On the emulator with every access watched, then with threads and blocks in several orders; on a GPU as it runs there.

    Args:
        kernel: what to check.
        device: ``"emulator"`` or a GPU.
        draws, sanitized_draws: random problems after the grid, in each order and under the sanitizer.
        progress: told what is going on.

    Returns:
        The report of the first way that found something wrong, else of that with most problems; and that way in words ("threads in reverse
        order").

    Raises:
        ValueError: if it supports none of the problems.
        BuildError, CompileError: if the file does not compile.
    """
    from ..array import get_backend
    from ..cuda import emulator

    backend = get_backend(Device(device))
    kernel.function(backend)  # compiles: what is wrong with the file is said once, and not as a wrong result
    common = {"device": device, "passes": ("forward",), "dtypes": (kernel.dtype,), "layouts": ("channels_last",)}
    ways = [("on the GPU", None)]
    if backend.device.type == "emulator":
        # Watched first: what writes far outside of its arrays is stopped there, and would end Python elsewhere.
        ways = [(WATCHED, emulator.sanitize)] + [(how, functools.partial(emulator.order, which)) for how, which in ORDERS.items()]
    reports = []
    for way, enter in ways:
        problems = PROBLEMS if enter is not emulator.sanitize else sorted(PROBLEMS, key=lambda g: g.macs)[:-2]
        drawn = draws if enter is not emulator.sanitize else sanitized_draws
        with enter() if enter else contextlib.nullcontext():
            report = check(kernel, problems, drawn, progress=_telling(progress, kernel, way), **common)
        reports.append(report)
        if not report:
            return report, way
    most = max(range(len(ways)), key=lambda i: reports[i].problems)
    return reports[most], ways[most][0]


def _telling(progress, kernel, way):
    return lambda done, total: progress(f"checking {kernel.name}, {way}: {done} of {total} problems")
