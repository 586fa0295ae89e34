"""CUDA graphs under torch's names: a sequence of launches is recorded once and replayed as one.

Addresses are baked in. A graph therefore allocates from a pool of its own, which lives as long as it does: nothing else can be given the memory
that a replay writes. Inputs are copied into the arrays that were there at the capture, and nothing inside may wait for the device. Dropout
goes on in the stream of random numbers with every replay; other random numbers on the device cannot be recorded.
"""

from __future__ import annotations

from ..array import default_generator
from . import driver
from .devices import index_of
from .memory import capture
from .streams import Stream, current_stream


class CUDAGraph:
    """A recorded sequence of device work: ``with sv.cuda.graph(g): step()``, then ``g.replay()`` as often as needed.

    Run the work a few times before, on the capturing stream too: compiling kernels and first allocations cannot be recorded.
    """

    def __init__(self):
        self._graph = self._pool = self._capture = self._moved = None
        self._start = self._words = 0  # of random numbers: where the recording began, and how many it used
        self._workspaces: dict = {}

    def capture_begin(self, pool=None) -> None:
        """Record, instead of running, what this thread puts into the current stream, which must not be the default one.

        Args:
            pool: the :meth:`pool` of another graph that never runs at the same time, to share its memory.

        Raises:
            RuntimeError: on the default stream, or if something was already recorded.
        """
        if self._graph is not None:
            raise RuntimeError("CUDAGraph: this graph is already recorded; reset() it first")
        cupy, stream = driver.require(index_of(None)), current_stream()
        if stream.cuda_stream in (0, 1, 2):  # the null, legacy and per-thread default streams
            raise RuntimeError("CUDAGraph: the default stream cannot be recorded; capture inside `with sv.cuda.stream(sv.cuda.Stream()):`")
        self._pool, self._moved = pool or cupy.cuda.MemoryPool(), cupy.zeros((1,), "uint64")
        allocator = cupy.cuda.using_allocator(self._pool.malloc)
        allocator.__enter__()
        try:
            stream._stream.begin_capture()
        except BaseException:
            allocator.__exit__(None, None, None)
            raise
        self._capture, capture.workspaces, capture.moved = (stream._stream, allocator), self._workspaces, self._moved.data.ptr
        self._start = default_generator.offset

    def capture_end(self) -> None:
        """Stop recording."""
        stream, allocator = self._capture
        self._capture = capture.workspaces = capture.moved = None
        self._words, default_generator.offset = default_generator.offset - self._start, self._start  # nothing ran yet
        try:
            self._graph = stream.end_capture()
        finally:
            allocator.__exit__(None, None, None)

    def replay(self) -> None:
        """Run what was recorded, on the current stream.

        Raises:
            RuntimeError: if nothing was recorded.
        """
        if self._graph is None:
            raise RuntimeError("CUDAGraph: nothing was recorded; use `with sv.cuda.graph(g):` first")
        if self._words:
            self._moved.fill((default_generator.offset - self._start) % (1 << 64))
            default_generator.offset += self._words
        self._graph.launch(current_stream()._stream)

    def reset(self) -> None:
        """Forget what was recorded and give up its memory."""
        self._graph = self._pool = self._moved = None
        self._workspaces.clear()

    def pool(self):
        """Its memory, for :meth:`capture_begin` of another graph."""
        return self._pool


class graph:
    """``with sv.cuda.graph(g):`` records into ``g`` what the block does, on a stream of its own unless one is given.

    Args:
        cuda_graph: the graph to fill.
        pool: as in :meth:`CUDAGraph.capture_begin`.
        stream: the capturing stream.
    """

    def __init__(self, cuda_graph: CUDAGraph, pool=None, stream: Stream | None = None):
        self._graph, self._shared, self._stream = cuda_graph, pool, stream or Stream()

    def __enter__(self):
        self._stream.wait_stream(current_stream())
        self._stream.__enter__()
        try:
            self._graph.capture_begin(self._shared)
        except BaseException:
            self._stream.__exit__(None, None, None)
            raise

    def __exit__(self, *error):
        try:
            self._graph.capture_end()
        finally:
            self._stream.__exit__(*error)
        current_stream().wait_stream(self._stream)
