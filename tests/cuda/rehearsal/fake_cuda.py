"""The part of ``cupy.cuda`` that the library uses, without a GPU: devices to choose, streams that run at once, graphs that are never replayed."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from types import SimpleNamespace

from .arrays import state, wait

_handles = itertools.count(0x1000)


class Pool:
    """A memory pool that only counts."""

    def __init__(self):
        self.used, self.held = {}, {}

    def malloc(self, size: int):
        """Take ``size`` bytes, rounded up as CuPy does; :meth:`free` gives them back."""
        size = -(-size // 512) * 512
        self.used[state.device] = self.used.get(state.device, 0) + size
        self.held[state.device] = max(self.held.get(state.device, 0), self.used[state.device])
        return SimpleNamespace(size=size, device=state.device)

    def free(self, memory) -> None:
        """Give back."""
        self.used[memory.device] -= memory.size

    def used_bytes(self) -> int:
        return self.used.get(state.device, 0)

    def total_bytes(self) -> int:
        return self.held.get(state.device, 0)

    def free_all_blocks(self) -> None:
        self.held[state.device] = self.used_bytes()


class Stream:
    """A stream: work on it has always been done."""

    def __init__(self, cuda, non_blocking=False, ptr=None):
        self._cuda, self.ptr, self.done = cuda, next(_handles) if ptr is None else ptr, True
        self._before, self._capture = [], None

    def __enter__(self):
        self._before.append(self._cuda.current)
        self._cuda.current = self
        return self

    def __exit__(self, *_):
        self._cuda.current = self._before.pop()

    def synchronize(self):
        wait("stream.synchronize()")

    def wait_event(self, event):
        """Order is kept anyway."""

    def begin_capture(self, mode=None):
        """From now on waiting is an error, and so is sending arrays."""
        self._capture, state.forbidden, state.recording = state.forbidden, "while a graph is recorded", True

    def end_capture(self):
        """The graph."""
        state.forbidden, state.recording = self._capture, False
        return SimpleNamespace(launched=[], launch=lambda stream: self._cuda.launched.append(stream))


class Event:
    """A mark with a number in place of a time."""

    def __init__(self, cuda, block, disable_timing):
        self._cuda, self.done, self.at = cuda, True, None

    def record(self, stream=None):
        self.at = next(_handles)

    def synchronize(self):
        wait("event.synchronize()")


class CUDARuntimeError(RuntimeError):
    """CUDA's errors."""


class FakeCuda:
    """``cupy.cuda`` with a number of GPUs."""

    def __init__(self, gpus: int):
        self.gpus, self.pool, self.allocator, self.launched = gpus, Pool(), None, []
        self.null = self.current = Stream(self, ptr=0)
        cuda = self

        class Device:
            """A GPU; as a context it becomes the current one."""

            compute_capability = "90"

            def __init__(self, index):
                if not 0 <= index < gpus:
                    raise CUDARuntimeError(f"cudaErrorInvalidDevice: {index}")
                self.id, self._before = index, []

            def use(self):
                state.device = self.id

            def __enter__(self):
                self._before.append(state.device)
                state.device = self.id
                return self

            def __exit__(self, *_):
                state.device = self._before.pop()

        class PlainStream(Stream):
            """``cupy.cuda.Stream``."""

            null = cuda.null

            def __init__(self, non_blocking=False):
                super().__init__(cuda, non_blocking)

        self.Device, self.Stream, self.MemoryPool = Device, PlainStream, Pool
        self.Event = lambda block=False, disable_timing=False: Event(cuda, block, disable_timing)
        self.runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, getDeviceCount=lambda: gpus, getDevice=lambda: state.device,
            deviceSynchronize=lambda: wait("synchronize()"),
            memGetInfo=lambda: (60 << 30, 80 << 30), getDeviceProperties=lambda index: {
                "name": b"A pretended GPU", "major": 9, "minor": 0, "totalGlobalMem": 80 << 30, "multiProcessorCount": 132, "warpSize": 32,
                "sharedMemPerBlockOptin": 232448})

    def get_current_stream(self):
        return self.current

    def get_elapsed_time(self, start, end):
        return float(end.at - start.at)

    def set_allocator(self, allocator):
        self.allocator = allocator

    @contextmanager
    def using_allocator(self, allocator):
        """As CuPy's."""
        before, self.allocator = self.allocator, allocator
        try:
            yield
        finally:
            self.allocator = before
