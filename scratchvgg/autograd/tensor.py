"""Tensor: an array, the device it lives on, and its place on the tape.

State and autograd are here; the methods that mirror functions (``x.relu()``, ``x + y``) are in ``methods.py``.
"""

from __future__ import annotations

import operator
import weakref

import numpy as np

from ..array import CPU, Device, as_dtype, dlpack, get_backend, get_default_dtype
from .grad_mode import state
from .handle import RemovableHandle
from .methods import TensorMethods
from .node import Leaf, Version
from .printing import tensor_repr
from .size import Size
from .table import ops


class Tensor(TensorMethods):
    """An n-dimensional array that can record what is done to it.

    Args:
        data: as in torch either the sizes of an uninitialised tensor (``Tensor(2, 3)``) or a nested list, whose numbers become
            float32 whatever they are; a NumPy array or Tensor is copied and keeps its type. :func:`tensor` is the one to use.
        dtype: element type.
        device: ``"cpu"`` by default.
        requires_grad: start recording.

    Attributes:
        array: the device's own array. Writing to it directly bypasses the checks; the methods with a trailing ``_`` do not.
        grad: the accumulated gradient (a Tensor) or None.
        requires_grad: whether operations on it are recorded.
        version: counts writes; see :class:`~scratchvgg.autograd.node.Version`.
    """

    def __init__(self, *data, dtype=None, device=None, requires_grad: bool = False):
        backend = get_backend(Device(device or "cpu"))
        if len(data) == 1 and not isinstance(data[0], (int, Size)):
            kept = data[0] if hasattr(data[0], "dtype") else None
            array = as_array(backend, data[0], dtype or (get_default_dtype() if kept is None else None), copy=True)
        else:
            sizes = data[0] if data and isinstance(data[0], Size) else data
            array = backend.empty(tuple(map(operator.index, sizes or (0,))), dtype or get_default_dtype())
        self._start(backend, array, Version())
        self.requires_grad = requires_grad

    def _start(self, backend, array, version):
        self.backend, self.array, self.version = backend, array, version
        self._grad = None
        self._requires_grad = self._inference = self._of_leaf = False
        self._node, self._index, self._seen = None, 0, version.rewritten
        self._hooks = self._accumulator = None

    @classmethod
    def wrap(cls, backend, array) -> Tensor:
        """A Tensor around ``array`` itself (no copy); NumPy scalars become 0-dimensional arrays."""
        self = object.__new__(Tensor)
        self._start(backend, backend.asarray(array), Version())
        self._inference = state.inference
        return self

    # ---- what it is ----------------------------------------------------------------------------------------------

    @property
    def device(self) -> Device:
        """Where the array lives."""
        return self.backend.device

    @property
    def dtype(self):
        """Element type, e.g. ``scratchvgg.float32``."""
        return as_dtype(self.array.dtype)

    @property
    def shape(self) -> Size:
        """Sizes of the dimensions."""
        return Size(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.array.ndim

    # ---- the tape ------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded. May be set on leaves of floating type."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value):
        if self._node is not None and not value:
            raise RuntimeError("requires_grad can only be changed on leaf tensors; use detach() to cut the history off")
        if value and self._inference and not state.inference:
            raise RuntimeError("an inference tensor cannot require grad outside inference_mode; clone() it first")
        if value and not self.dtype.is_floating_point:
            raise RuntimeError(f"only tensors of floating point dtype can require gradients, this one is {self.dtype}")
        self._requires_grad = bool(value)

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient. Assigning checks that it fits: TypeError or RuntimeError otherwise."""
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            for what in ("shape", "dtype", "device"):
                if getattr(value, what) != getattr(self, what):
                    raise RuntimeError(f"grad: this tensor has {what} {getattr(self, what)}, the assigned gradient {getattr(value, what)}")
        self._grad = value

    def requires_grad_(self, requires_grad: bool = True):
        """Set :attr:`requires_grad` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """True if no recorded operation made it."""
        return self._node is None

    @property
    def grad_fn(self):
        """The node that made it, or None."""
        return self._node

    def gradient_edge(self):
        """(node, output index) where this tensor's gradient belongs; a leaf's node is made on first use."""
        if self._node is not None:
            return self._node, self._index
        leaf = None if self._accumulator is None else self._accumulator()
        if leaf is None:
            leaf = Leaf(self)
            self._accumulator = weakref.ref(leaf)
            if self._hooks:
                leaf.hooks[0] = self._hooks
        return leaf, 0

    def is_inference(self) -> bool:
        """True if it was made in :class:`~scratchvgg.autograd.inference_mode`."""
        return self._inference

    def set_history(self, node, index: int) -> None:
        """Enter this tensor as output ``index`` of ``node``."""
        self._requires_grad, self._node, self._index, self._hooks = True, node, index, None

    def share_memory_of(self, base: Tensor) -> None:
        """Note that this tensor is a view of ``base``: they count writes together."""
        self.version, self._seen = base.version, base._seen
        self._of_leaf = base._of_leaf or (base._requires_grad and base.is_leaf)

    def check_recordable(self, operation: str) -> None:
        """Raise if a recorded operation may not use this tensor.

        Raises:
            RuntimeError: for an inference tensor, or an alias whose memory was rewritten through another tensor.
        """
        if self._inference:
            raise RuntimeError(f"{operation}: inference tensors cannot be used in recorded operations; clone() it outside inference_mode")
        if self._requires_grad and self._seen != self.version.rewritten:
            raise RuntimeError(
                f"{operation}: this tensor of shape {tuple(self.shape)} shares memory with one that a recorded in-place operation changed; "
                "its own history is outdated. Use the tensor that the in-place operation returned"
            )

    def check_writable(self, operation: str) -> None:
        """Raise if an in-place operation may not write here.

        Raises:
            RuntimeError: for a leaf that requires grad (or a view of one) while recording, an inference tensor outside
                inference_mode, or expanded memory.
        """
        if self._inference and not state.inference:
            raise RuntimeError(f"{operation}: an inference tensor cannot be changed in place outside inference_mode; clone() it first")
        if state.grad and self._requires_grad and (self.is_leaf or self._of_leaf):
            what = "a leaf tensor" if self.is_leaf else "a view of a leaf tensor"
            raise RuntimeError(f"{operation}: {what} that requires grad is being used in an in-place operation; write inside no_grad(), or to .data")
        if not getattr(self.array.flags, "writeable", True) or 0 in [
            s for s, n in zip(self.array.strides, self.array.shape, strict=True) if n > 1
        ]:
            raise RuntimeError(f"{operation}: this memory cannot be written to (it is expanded or read-only); clone() the tensor first")

    def adopt(self, result: Tensor) -> Tensor:
        """Finish an in-place operation: take over the value and the history of ``result`` and return self."""
        if result.array is not self.array:
            with self.backend.quiet():
                if result._node is not None and result._node.ctx is not None:
                    result._node.ctx.part_from(self.array)
                self.array[...] = result.array
            self.version.value += 1
        if result._requires_grad and state.grad:
            self.version.rewritten += 1
            self._seen = self.version.rewritten
            self.set_history(result._node, result._index)
        return self

    def backward(self, gradient=None, retain_graph: bool = False, inputs=None) -> None:
        """Add the gradient of this tensor to ``.grad`` of the leaves it depends on.

        Args:
            gradient: weights of the elements, same shape; may be left out for a single element.
            retain_graph: keep the tape for another backward.
            inputs: accumulate into these only.

        Raises:
            RuntimeError: without history, for several elements without ``gradient``, or when the tape was freed.
        """
        ops.backward(self, gradient, retain_graph, inputs)

    def retain_grad(self) -> None:
        """Fill ``.grad`` of this non-leaf tensor too when backward passes.

        Raises:
            RuntimeError: if it does not require grad.
        """
        if not self._requires_grad:
            raise RuntimeError("can't retain_grad on a tensor that has requires_grad=False")
        if self._node is not None:
            self._node.retained[self._index] = weakref.ref(self)

    def register_hook(self, hook) -> RemovableHandle:
        """Call ``hook(gradient)`` when this tensor's gradient is complete; a returned Tensor replaces it.

        Raises:
            RuntimeError: if it does not require grad.
        """
        if not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._hooks is None:
            self._hooks = {}
            node, index = self.gradient_edge()
            node.hooks[index] = self._hooks
        return RemovableHandle(self._hooks, hook)

    def detach(self) -> Tensor:
        """The same memory without the history."""
        out = Tensor.wrap(self.backend, self.array)
        out.version, out._seen = self.version, self.version.rewritten
        return out

    def detach_(self) -> Tensor:
        """Forget the history of this very tensor."""
        self._node, self._requires_grad = None, False
        return self

    @property
    def data(self) -> Tensor:
        """As :meth:`detach`. Writes through it are not recorded, but backward notices them."""
        return self.detach()

    @data.setter
    def data(self, value):
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        self.backend, self.array = value.backend, value.array
        self.version.value += 1

    # ---- to other libraries --------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The NumPy array itself: shared memory.

        Raises:
            RuntimeError: if it requires grad; use ``detach().numpy()``. TypeError: if it is not on the CPU; use ``cpu().numpy()``.
        """
        if self._requires_grad:
            raise RuntimeError("can't call numpy() on a tensor that requires grad; use tensor.detach().numpy()")
        if self.device.type != "cpu":
            raise TypeError(f"can't convert a tensor on {self.device} to numpy; use tensor.cpu() to copy it to host memory first")
        return self.backend.to_numpy(self.array)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **options):
        if self._requires_grad:
            raise BufferError("can't export a tensor that requires grad; use tensor.detach()")
        return dlpack.export(self.array, **options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self):
        if self.device.type != "cuda":
            raise AttributeError(f"a tensor on {self.device} has no __cuda_array_interface__")
        if self._requires_grad:
            raise RuntimeError("can't get __cuda_array_interface__ on a tensor that requires grad; use tensor.detach()")
        return self.array.__cuda_array_interface__

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError("only leaf tensors can be deep-copied; detach() this one first")
        out = object.__new__(type(self))
        with self.backend.quiet():
            out._start(self.backend, self.array.copy("K"), Version())
        out._requires_grad = self._requires_grad
        if self.grad is not None:
            out.grad = self.grad.__deepcopy__(memo)
        memo[id(self)] = out
        return out

    def __reduce__(self):
        return _rebuild, (type(self), self.backend.to_numpy(self.array), str(self.device), self._requires_grad)

    def __repr__(self):
        return tensor_repr(self)


def _rebuild(cls, array, device, requires_grad):
    backend = get_backend(Device(device))
    out = object.__new__(cls)
    out._start(backend, backend.asarray(array), Version())
    out._requires_grad = requires_grad
    return out


def as_array(backend, data, dtype=None, copy: bool = False):
    """``data`` (number, nested list, NumPy array, Tensor, or a list of Tensors) as the backend's array.

    Python floats become the default floating type; arrays keep theirs.

    Raises:
        TypeError: for element types that tensors cannot hold.
        ValueError: for ragged nesting.
    """
    if isinstance(data, Tensor):
        data = data.backend.to_numpy(data.array) if data.backend is not backend else data.array
        typed = True
    else:
        typed = isinstance(data, np.ndarray) or hasattr(data, "__array_interface__") or hasattr(data, "__cuda_array_interface__")
        if isinstance(data, (list, tuple)):
            data = _plain(data)
    if not typed:
        data = np.asarray(data)
        if data.dtype == object:
            raise RuntimeError(f"tensor: expected numbers or nested lists of numbers, got {type(data.reshape(-1)[0]).__name__}")
        if data.dtype == np.float64 and dtype is None:
            dtype = get_default_dtype()
    wanted = as_dtype(data.dtype if dtype is None else dtype)
    array = backend.asarray(data, wanted)
    shared = array is data or (isinstance(data, backend.xp.ndarray) and backend.xp.may_share_memory(array, data))
    if not (copy and shared):
        return array
    with backend.quiet():
        return array.copy("K")


def _plain(items):
    """Replace the 0-dimensional and larger Tensors inside a nested list by NumPy arrays."""
    return [_plain(i) if isinstance(i, (list, tuple)) else i.detach().cpu().numpy() if isinstance(i, Tensor) else i for i in items]


def _backend_for(data, device):
    if device is not None:
        return get_backend(Device(device))
    if isinstance(data, Tensor):
        return data.backend
    if hasattr(data, "__cuda_array_interface__"):  # CuPy's, torch's, Numba's
        return get_backend(Device("cuda", data.__dlpack_device__()[1] if hasattr(data, "__dlpack_device__") else None))
    return get_backend(CPU)


def tensor(data, *, dtype=None, device=None, requires_grad: bool = False) -> Tensor:
    """Copy ``data`` into a new tensor (torch.tensor): floats become float32, integers int64, arrays keep their type. It lies on ``device``; if
    that is not given, where a tensor or a GPU array was, else on the CPU."""
    backend = _backend_for(data, device)
    out = Tensor.wrap(backend, as_array(backend, data, dtype, copy=True))
    out.requires_grad = requires_grad
    return out


def as_tensor(data, dtype=None, device=None) -> Tensor:
    """``data`` as a tensor, sharing memory where it can."""
    if isinstance(data, Tensor):
        return data if dtype is None and device is None else data.to(device or data.device, dtype or data.dtype)
    backend = _backend_for(data, device)
    return Tensor.wrap(backend, as_array(backend, data, dtype))


def from_numpy(array: np.ndarray) -> Tensor:
    """A CPU tensor that shares the memory of a NumPy array.

    Raises:
        TypeError: for anything else, or an element type that tensors do not have.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(array).__name__}")
    as_dtype(array.dtype)
    return Tensor.wrap(get_backend(Device("cpu")), array)


def from_dlpack(source, *, device=None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of any object with ``__dlpack__`` (torch, CuPy, JAX, NumPy), on the device where that memory is.

    Args:
        device: the device it must end up on; None leaves it.
        copy: True copies; False forbids it.

    Raises:
        TypeError: for another object, or an element type that tensors do not have. ValueError: if it had to be copied and may not be.
    """
    backend, array = dlpack.take(source)
    as_dtype(array.dtype)
    out = Tensor.wrap(backend, array)
    if device is not None and Device(device) != out.device:
        if copy is False:
            raise ValueError(f"from_dlpack: the memory is on {out.device}; on {Device(device)} it is a copy, which copy=False forbids")
        return out.to(device)
    return out.clone() if copy else out


def Variable(data: Tensor, requires_grad: bool = False) -> Tensor:
    """A tensor that shares the memory of ``data``: code from before PyTorch 0.4 wraps every tensor so."""
    return data.detach().requires_grad_(requires_grad)


def is_tensor(value) -> bool:
    """True for a Tensor."""
    return isinstance(value, Tensor)
