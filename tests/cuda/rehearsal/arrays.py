"""CuPy's ndarray, played by NumPy: what CuPy refuses is refused here, what waits for the GPU is counted.

Refused: names and arguments that CuPy has not; arrays of the host beside arrays of the device (they must be moved first); conversion to a host
array without ``get``; arrays of a GPU that is not the current one; writing into memory that the same launch reads at other places (NumPy copies
it first, a GPU races). A wait for the GPU (``item``, ``bool``, ``get``, masks as indices …) is noted in :data:`waits`; inside :func:`no_waits`,
and while a graph is recorded, it is an error.
"""

from __future__ import annotations

import operator
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from .names import stored

waits: list[str] = []
"""Every wait for the GPU so far: what caused it."""
NUMBERS = (bool, int, float, complex, np.generic)


class Refused(TypeError):
    """CuPy would not do this, or not do it right."""


class _State(threading.local):
    device = 0
    forbidden: str | None = None  # why waiting is an error now
    recording = False


state = _State()


def wait(cause: str) -> None:
    """Note a wait for the GPU."""
    if state.forbidden:
        raise Refused(f"{cause} waits for the GPU, {state.forbidden}")
    waits.append(cause)


def send(cause: str) -> None:
    """A copy from the host, which CuPy refuses while a graph is recorded: replays would read memory that holds something else by then."""
    if state.recording:
        raise Refused(f"{cause}: the current stream is capturing, so H2D transfers are disallowed")


@contextmanager
def no_waits(why: str = "which must not happen here"):
    """Waiting is an error inside."""
    before, state.forbidden = state.forbidden, why
    try:
        yield
    finally:
        state.forbidden = before


def host(value, what: str):
    """What NumPy computes with in the place of ``value``: the array behind a device array; anything of the host but numbers is refused."""
    if isinstance(value, DeviceArray):
        if value.device.id != state.device:
            raise Refused(f"{what}: an array of device {value.device.id}, the current device is {state.device}")
        return value.held
    if isinstance(value, np.ndarray):
        raise Refused(f"{what}: Unsupported type {type(value)}: an array on the host, of shape {value.shape}")
    if isinstance(value, (list, tuple)):
        return type(value)(host(v, what) for v in value)
    return value


def device(value):
    """A result of NumPy as CuPy gives it: arrays of the device, also for single numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        return DeviceArray(np.asarray(value))
    if isinstance(value, (list, tuple)):
        return type(value)(*map(device, value)) if hasattr(value, "_fields") else type(value)(map(device, value))
    return value


def check_overlap(what: str, target: np.ndarray, sources) -> None:
    """Raise if ``target`` shares memory with a source, unless both are the very same elements."""
    for source in sources:
        if isinstance(source, np.ndarray) and np.may_share_memory(target, source) and np.shares_memory(target, source):
            same = source.__array_interface__["data"] == target.__array_interface__["data"] and source.strides == target.strides
            if not (same and source.shape == target.shape):
                raise Refused(f"{what}: it writes into memory that it reads at other places: a GPU runs both at once")


class DeviceArray:
    """An array of the pretended GPU. ``held`` is the NumPy array that plays it."""

    __slots__ = ("__weakref__", "device", "held")
    __hash__ = None

    def __init__(self, held: np.ndarray):
        self.held, self.device = held, SimpleNamespace(id=state.device)

    # ---- what CuPy forbids ---------------------------------------------------------------------------------------

    def __array__(self, *args, **options):
        raise Refused("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        """NumPy's own functions on a device array are CuPy's, as long as nothing else of the host takes part."""
        if method != "__call__":
            raise Refused(f"np.{ufunc.__name__}.{method} of a device array")
        return _call_ufunc(ufunc.__name__, inputs, options)

    # ---- what it tells -------------------------------------------------------------------------------------------

    dtype = property(lambda self: self.held.dtype)
    ndim = property(lambda self: self.held.ndim)
    size = property(lambda self: self.held.size)
    strides = property(lambda self: self.held.strides)
    nbytes = property(lambda self: self.held.nbytes)
    itemsize = property(lambda self: self.held.itemsize)
    data = property(lambda self: SimpleNamespace(ptr=self.held.__array_interface__["data"][0]))
    T = property(lambda self: self._view(self.held.T))
    base = property(lambda self: self._view(self.held.base) if isinstance(self.held.base, np.ndarray) else None)
    flags = property(lambda self: SimpleNamespace(**{name: getattr(self.held.flags, name) for name in ("c_contiguous", "f_contiguous", "owndata")}))
    __cuda_array_interface__ = property(lambda self: {**self.held.__array_interface__, "version": 3, "stream": None})

    @property
    def shape(self):
        return self.held.shape

    def __len__(self):
        return len(self.held)

    def __repr__(self):
        return f"DeviceArray({self.held!r}, device={self.device.id})"

    def _view(self, held):
        out = DeviceArray(held)
        out.device = self.device
        return out

    # ---- what waits ----------------------------------------------------------------------------------------------

    def get(self):
        """A copy on the host."""
        wait("get()")
        return self.held.copy("K")

    def _number(self, convert):
        wait(f"{convert.__name__}() of an array")
        return convert(self.held)

    def item(self):
        return self._number(np.ndarray.item)

    def tolist(self):
        return self._number(np.ndarray.tolist)

    def tobytes(self, order="C"):
        return self._number(np.ndarray.tobytes)

    def nonzero(self):
        wait("nonzero()")
        return device(self.held.nonzero())

    def __bool__(self):
        return self._number(bool)

    def __int__(self):
        return self._number(int)

    def __float__(self):
        return self._number(float)

    def __index__(self):
        return self._number(operator.index)

    # ---- elements ------------------------------------------------------------------------------------------------

    def __iter__(self):
        return (self[i] for i in range(len(self.held)))

    def __getitem__(self, index):
        return self._view(np.asarray(self.held[_index(index, True)]))

    def __setitem__(self, index, value):
        if not isinstance(value, DeviceArray) and not isinstance(value, NUMBERS):
            raise Refused(f"x[...] = {type(value).__name__}: a device array takes numbers and device arrays")
        index, value = _index(index, False), host(value, "x[...] = value")
        target = self.held[index]
        if isinstance(target, np.ndarray) and np.may_share_memory(target, self.held):
            check_overlap("x[...] = value", target, [value])
        host(self, "x[...] = value")
        self.held[index] = value

    def __getattr__(self, name):
        if f"ndarray.{name}" not in stored() or name.startswith("_"):
            raise AttributeError(f"CuPy's ndarray has no attribute {name!r}")
        method = getattr(self.held, name)

        def call(*args, **options):
            if extra := {"where", "initial", "mean", "casting"} & set(options) - ({"casting"} if name == "astype" else set()):
                raise Refused(f"ndarray.{name} takes no {', '.join(sorted(extra))} in CuPy")
            out = options.get("out")
            result = method(*host(args, f"ndarray.{name}"), **{k: host(v, f"ndarray.{name}") for k, v in options.items()})
            if out is None and isinstance(result, np.ndarray) and np.may_share_memory(result, self.held):
                return self._view(result)
            host(self, f"ndarray.{name}")
            return device(result) if out is None else out

        return call


def _index(index, reading: bool):
    """An index for NumPy. Index arrays of the host are moved (CuPy does); a mask that is read makes the host wait for its count."""
    items = index if isinstance(index, tuple) else (index,)
    out = []
    for item in items:
        if isinstance(item, DeviceArray):
            if item.dtype.kind == "b" and reading:
                wait("x[mask]")
            out.append(host(item, "x[index]"))
        else:
            out.append(item)
    return tuple(out) if isinstance(index, tuple) else out[0]


def _call_ufunc(name: str, inputs, options):
    """An elementwise function of CuPy: inputs are device arrays and numbers; out, dtype and casting are all it takes beside."""
    if extra := set(options) - {"out", "dtype", "casting"}:
        raise Refused(f"{name}: Wrong arguments {sorted(extra)}: CuPy's elementwise functions take out, dtype and casting")
    ufunc = getattr(np, name)
    for a in inputs:
        if not isinstance(a, (DeviceArray, *NUMBERS)):
            raise Refused(f"{name}: Unsupported type {type(a)}")
    out = options.pop("out", None)
    out = out[0] if isinstance(out, tuple) and len(out) == 1 else out
    if out is None and len(inputs) > ufunc.nin:
        inputs, out = inputs[: ufunc.nin], inputs[ufunc.nin]
    plain = [host(a, name) for a in inputs]
    if out is None:
        return device(ufunc(*plain, **options))
    target = host(out, name)
    if not isinstance(target, np.ndarray):
        raise Refused(f"{name}: out must be a device array, got {type(out)}")
    if target.ndim == 0 and ufunc.signature is None and np.broadcast_shapes(*(np.shape(a) for a in plain)) != ():
        raise Refused(f"{name}: out is too small")
    check_overlap(name, target, plain)
    ufunc(*plain, out=target, **options)
    return out


def _operators():
    names = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide", "mod": "remainder", "pow": "power",
        "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift", "matmul": "matmul",
    }
    for symbol, name in names.items():
        setattr(DeviceArray, f"__{symbol}__", lambda self, other, name=name: _call_ufunc(name, (self, other), {}))
        setattr(DeviceArray, f"__r{symbol}__", lambda self, other, name=name: _call_ufunc(name, (other, self), {}))
        setattr(DeviceArray, f"__i{symbol}__", lambda self, other, name=name: _call_ufunc(name, (self, other), {"out": self}))
    for symbol, name in {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}.items():
        setattr(DeviceArray, f"__{symbol}__", lambda self, other, name=name: _call_ufunc(name, (self, other), {}))
    for symbol, name in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
        setattr(DeviceArray, f"__{symbol}__", lambda self, name=name: _call_ufunc(name, (self,), {}))


_operators()
call_ufunc = _call_ufunc
