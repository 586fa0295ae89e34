"""The module ``cupy``, played by NumPy: ``xp`` of the rehearsal's backend. See :mod:`tests.cuda.rehearsal.arrays`."""

from __future__ import annotations

import functools

import numpy as np

from .arrays import NUMBERS, DeviceArray, Refused, call_ufunc, check_overlap, device, host, send, state, wait
from .fake_cuda import FakeCuda
from .names import signature, stored

CREATES = {"arange", "empty", "eye", "full", "identity", "indices", "linspace", "logspace", "ones", "tri", "zeros"}
WAITS = {"argwhere", "bincount", "extract", "flatnonzero", "nonzero", "unique", "array_equal", "allclose", "histogram", "digitize"}
WIDENS = {"where", "clip"}  # without a version for bfloat16: CuPy computes in float32, and that is the result
SCATTERED = ("int32", "uint32", "uint64", "float16", "float32", "float64")  # the types that CuPy's atomic addition has


class Ufunc:
    """An elementwise function and its methods."""

    def __init__(self, name):
        self.name = self.__name__ = name

    def __call__(self, *args, **options):
        return call_ufunc(self.name, args, options)

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        """Along an axis."""
        if self.name not in ("add", "multiply"):
            raise Refused(f"{self.name}.reduce: CuPy has it for add and multiply only")
        return device(getattr(np, self.name).reduce(host(array, f"{self.name}.reduce"), axis, dtype, None, keepdims))

    def at(self, array, index, values=None):
        """Unbuffered, by atomics."""
        if self.name not in ("add", "subtract", "maximum", "minimum"):
            raise Refused(f"{self.name}.at is not in CuPy")
        if array.dtype.name not in SCATTERED:
            raise Refused(f"{self.name}.at: CuPy cannot add atomically to {array.dtype}")
        index = tuple(i.held if isinstance(i, DeviceArray) else i for i in (index if isinstance(index, tuple) else (index,)))
        getattr(np, self.name).at(host(array, f"{self.name}.at"), index, host(values, f"{self.name}.at"))


class Module:
    """A namespace of CuPy: only names that it has, only arguments that it takes."""

    def __init__(self, prefix: str = ""):
        self._prefix = prefix

    def __getattr__(self, name):
        full = self._prefix + name
        if any(known.startswith(full + ".") for known in stored() if not known.startswith("ndarray.")):
            found = Module(full + ".")
        elif full not in stored() or name.startswith("_"):
            raise AttributeError(f"module 'cupy' has no attribute {full!r}")
        else:
            found = self._make(full)
        setattr(self, name, found)
        return found

    def _make(self, full):
        theirs = functools.reduce(getattr, full.split("."), np)
        if stored()[full] == "value":
            return theirs
        if stored()[full] == "ufunc":
            return Ufunc(full)
        if stored()[full] == "grid":
            return _Grid(theirs)
        parameters = None if stored()[full] == "function" else signature(stored()[full])

        @functools.wraps(theirs)
        def call(*args, **options):
            if parameters is not None:
                try:
                    parameters.bind(*args, **options)
                except TypeError as error:
                    raise Refused(f"cupy.{full}: {error}") from None
            return _call(full, theirs, args, options)

        return call


class _Grid:
    def __init__(self, theirs):
        self._theirs = theirs

    def __getitem__(self, key):
        return device(self._theirs[key])


def _call(full, theirs, args, options):
    if full in WAITS or (full == "where" and len(args) == 1):
        wait(f"cupy.{full}")
    first = args[0] if args else None
    if full in CREATES:
        made = device(theirs(*args, **options))
        if full == "empty" and made.size:
            made.held.reshape(-1).view(np.uint8)[...] = 0xFF  # NaN, or an integer that nobody means
        return made
    if not _has_device_array(first) and full != "where":
        raise Refused(f"cupy.{full}: the first argument is {type(first).__name__}, not a device array")
    if full == "copyto":
        check_overlap(full, host(args[0], full), [host(args[1], full)])
    out = options.get("out")
    if out is not None:
        check_overlap(full, host(out, full), [host(a, full) for a in args if isinstance(a, DeviceArray)])
    result = theirs(*host(args, full), **{key: host(value, full) for key, value in options.items()})
    if full in WIDENS and isinstance(result, np.ndarray) and result.dtype.name == "bfloat16":
        result = result.astype(np.float32)
    return device(result) if out is None else out


def _has_device_array(value) -> bool:
    return isinstance(value, DeviceArray) or (isinstance(value, (list, tuple)) and any(map(_has_device_array, value)))


class Cupy(Module):
    """The module itself, with ``gpus`` pretended GPUs."""

    __version__ = "14.2.0"
    ndarray = DeviceArray

    def __init__(self, gpus: int = 1):
        super().__init__()
        self.cuda = FakeCuda(gpus)
        self.copied_in = 0

    def asarray(self, a, dtype=None, order=None, *, copy=None, blocking=False):
        """An array of the current device: host arrays and lists are copied over, device arrays stay what they are where they can."""
        if isinstance(a, DeviceArray):
            if a.device.id == state.device and dtype in (None, a.dtype) and not copy:
                return a
            if a.device.id != state.device and not (a.flags.c_contiguous or a.flags.f_contiguous):
                raise Refused("CuPy cannot copy non-contiguous array between devices.")
            return DeviceArray(a.held.astype(dtype or a.dtype, order="K"))
        if np.ndim(a):  # a single number is a kernel's argument
            send("cupy.asarray of a host array")
        self.copied_in += 1
        return DeviceArray(np.array(a, dtype, order="C", copy=True))

    def array(self, obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
        """A copy, as :meth:`asarray`."""
        return self.asarray(obj, dtype, copy=copy)

    def asnumpy(self, a, stream=None, order="C", out=None, *, blocking=True):
        """A copy on the host."""
        if isinstance(a, DeviceArray):
            wait("asnumpy()")
            return np.array(a.held, order="C", copy=True)
        return np.asarray(a)

    def ascontiguousarray(self, a, dtype=None):
        """The array itself if it is contiguous already."""
        held = host(a, "ascontiguousarray")
        return a if held.flags.c_contiguous and dtype in (None, held.dtype) else DeviceArray(np.ascontiguousarray(held, dtype).reshape(held.shape))

    def where(self, condition, x=None, y=None):
        """Elementwise choice; numbers may stand for x and y."""
        for value in (condition, x, y):
            if not isinstance(value, (DeviceArray, type(None), *NUMBERS)):
                raise Refused(f"where: Unsupported type {type(value)}")
        return _call("where", np.where, tuple(v for v in (condition, x, y) if v is not None), {})

    def may_share_memory(self, a, b, max_work=None):
        """By bounds."""
        if not (isinstance(a, DeviceArray) and isinstance(b, DeviceArray)):
            raise Refused("may_share_memory: not a device array")
        return a.device.id == b.device.id and bool(np.may_share_memory(a.held, b.held))

    def get_default_memory_pool(self):
        """The pool."""
        return self.cuda.pool
