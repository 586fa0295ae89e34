"""The GPU: CuPy arrays, our own kernels compiled to cubins.

CuPy computes on its *current* device, so everything here that touches memory first makes this backend's GPU the current one; operations do so by
:meth:`CupyBackend.quiet`, which the tape enters around each forward and backward.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from ..array import Backend, Device, as_dtype, whole_tiles
from ..array.order import memory_order, undo
from . import driver
from .memory import capture, install_allocator

_STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel may use without asking
_VIEWS = 256  # of one scratch buffer that are remembered


class CupyBackend(Backend):
    """One GPU.

    Raises:
        RuntimeError: without CuPy, a driver, or that many GPUs; the message says what is missing.
    """

    runs_kernels = True

    def __init__(self, device: Device):
        super().__init__(device)
        self.xp = driver.require(device.index)
        self._gpu = self.xp.cuda.Device(device.index)
        self._functions: dict[str, object] = {}
        self._local = threading.local()
        install_allocator(self.xp)

    @property
    def stream(self):
        """CuPy's current stream on this GPU, in this thread."""
        with self._gpu:
            return self.xp.cuda.get_current_stream()

    def empty(self, shape, dtype, layout="contiguous"):
        return self._make(self.xp.empty, shape, dtype, layout)

    def zeros(self, shape, dtype, layout="contiguous"):
        return self._make(self.xp.zeros, shape, dtype, layout)

    def _make(self, make, shape, dtype, layout):
        dtype = as_dtype(dtype).numpy
        with self._gpu:
            if layout == "channels_last":
                n, c, h, w = shape
                return make((n, h, w, c), dtype).transpose(0, 3, 1, 2)
            return make(tuple(shape), dtype)

    def workspace(self, tag, shape, dtype):
        """Scratch memory of the calling thread and its current stream, or of the CUDA graph being recorded: two streams must not share it."""
        with self._gpu:
            owner = self._local.__dict__ if capture.workspaces is None else capture.workspaces
            buffers, views = owner.setdefault((self.device, self.xp.cuda.get_current_stream().ptr), ({}, {}))
            key, known = (tuple(shape), dtype), views.setdefault(tag, {})
            if key in known:
                return known[key]
            dtype = as_dtype(dtype).numpy
            size = math.prod(shape) * dtype.itemsize
            buffer = buffers.get(tag)
            if buffer is None or buffer.nbytes < size or len(known) >= _VIEWS:
                known.clear()
            if buffer is None or buffer.nbytes < size:
                buffer = buffers[tag] = self.xp.empty(size, np.uint8)
            known[key] = view = buffer[:size].view(dtype).reshape(shape)
            return view

    def asarray(self, value, dtype=None):
        """Host arrays are copied over, in their memory order; an array of another GPU is copied from there."""
        dtype = None if dtype is None else as_dtype(dtype).numpy
        if isinstance(value, self.xp.ndarray):
            if value.device.id != self.device.index:
                value = self._brought(value)
            if dtype in (None, value.dtype):
                return value
            with self._gpu:
                return value.astype(dtype)
        with self._gpu:
            if isinstance(value, np.ndarray) and not value.flags.c_contiguous:
                axes = memory_order(value)
                value = self.xp.asarray(np.ascontiguousarray(value.transpose(axes))).transpose(undo(axes))
                return value.astype(dtype or value.dtype, copy=False)
            return self.xp.asarray(value, dtype)

    def _brought(self, array):
        """A copy of another GPU's array in its memory order. CuPy copies dense arrays only, and lets neither GPU wait for the other."""
        axes, cuda, there = memory_order(array), self.xp.cuda, self.xp.cuda.Device(array.device.id)
        with there:
            dense, source, ready = self.xp.ascontiguousarray(array.transpose(axes)), cuda.get_current_stream(), cuda.Event(disable_timing=True)
            ready.record(source)
        with self._gpu:
            target, done = cuda.get_current_stream(), cuda.Event(disable_timing=True)
            target.wait_event(ready)
            copy = self.xp.asarray(dense).reshape([array.shape[axis] for axis in axes])
            done.record(target)
        with there:
            source.wait_event(done)  # its memory may be given to others then
        with self._gpu:
            return copy.transpose(undo(axes))

    def to_numpy(self, array):
        """A copy on the host, in the array's memory order; waits for the device."""
        if not isinstance(array, self.xp.ndarray):
            return np.asarray(array)
        axes = memory_order(array)
        with self._gpu:
            return self.xp.asnumpy(array.transpose(axes)).transpose(undo(axes))

    def launch(self, kernel, grid, block, args, shared_mem=0):
        """Queue a kernel on the current stream.

        Args:
            kernel: entry name, such as ``"relu_forward_f32"``.
            args: arrays of this GPU, NumPy scalars, or structured NumPy arrays of one element (passed by value).

        Raises:
            TypeError: for an argument that CUDA would misread: a Python number, a host array, an array of another device.
        """
        self._check(kernel, args)
        with self._gpu:
            function = self._functions.get(kernel)
            if function is None:
                function = self._functions[kernel] = self._load(kernel)
            if shared_mem > _STATIC_SHARED:
                function.max_dynamic_shared_size_bytes = shared_mem
            function(grid, block, tuple(args), shared_mem=shared_mem)

    def _check(self, kernel, args):
        for place, value in enumerate(args):
            wrong = None
            if isinstance(value, self.xp.ndarray):
                if value.device.id != self.device.index:
                    wrong = f"an array of cuda:{value.device.id}, the kernel runs on {self.device}"
            elif isinstance(value, np.ndarray):
                if value.size != 1 or value.dtype.names is None:
                    wrong = f"an array on the host (shape {value.shape}, {value.dtype}); {self.device} cannot read it"
            elif not isinstance(value, np.generic) or isinstance(value, np.void):
                wrong = f"{type(value).__name__} {value!r}; np.int32(…) or np.float32(…) says how wide it is"
            if wrong:
                raise TypeError(f"kernel {kernel}: argument {place} is {wrong}")

    def _load(self, kernel):
        from . import compile, registry

        major, minor = divmod(int(self._gpu.compute_capability), 10)
        cubin = compile.cubin_path(registry.get(kernel).file, f"sm_{major}{minor}")
        return self.xp.RawModule(path=str(cubin)).get_function(kernel)

    def quiet(self):
        """Makes this GPU the current one. Tiles, which serve the CPU's caches, are whole inside: a device wants few large launches."""
        return _OnDevice(self._gpu)

    def address(self, array):
        return array.data.ptr

    def synchronize(self):
        """Wait for everything queued on this GPU."""
        with self._gpu:
            self.xp.cuda.runtime.deviceSynchronize()


class _OnDevice:
    __slots__ = ("_gpu", "_whole")

    def __init__(self, gpu):
        self._gpu, self._whole = gpu, whole_tiles()

    def __enter__(self):
        self._gpu.__enter__()
        self._whole.__enter__()

    def __exit__(self, *error):
        self._whole.__exit__(*error)
        self._gpu.__exit__(*error)
