"""Streams and events under torch's names, over CuPy's. Work on one stream runs in order; two streams may overlap."""

from __future__ import annotations

from . import driver
from .devices import index_of, on_device


class Event:
    """A mark in a stream's work, for timing and for waiting.

    Args:
        enable_timing: needed on both ends of :meth:`elapsed_time`.
        blocking: let :meth:`synchronize` sleep instead of spinning.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False):
        self._event = driver.require(index_of(None)).cuda.Event(block=blocking, disable_timing=not enable_timing)
        self._timed, self._recorded = enable_timing, False

    def record(self, stream: Stream | None = None) -> None:
        """Mark the present end of ``stream`` (by default the current one)."""
        stream = stream or current_stream()
        with on_device(stream._index):
            self._event.record(stream._stream)
        self._recorded = True

    def wait(self, stream: Stream | None = None) -> None:
        """Let later work of ``stream`` wait for the mark."""
        stream = stream or current_stream()
        with on_device(stream._index):
            stream._stream.wait_event(self._event)

    def query(self) -> bool:
        """Whether everything before the mark is done."""
        return bool(self._event.done)

    def synchronize(self) -> None:
        """Wait until everything before the mark is done."""
        self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to ``end_event``; both must be done.

        Raises:
            ValueError: if one of them was made without ``enable_timing`` or never recorded.
        """
        for what, event in (("start", self), ("end", end_event)):
            if not event._timed:
                raise ValueError(f"elapsed_time: the {what} event was made without enable_timing=True")
            if not event._recorded:
                raise ValueError(f"elapsed_time: the {what} event was never recorded")
        return driver.require().cuda.get_elapsed_time(self._event, end_event._event)


class Stream:
    """A queue of work on one GPU. ``with sv.cuda.stream(s):`` (or ``with s:``) puts work into it; it does not wait for the default stream."""

    def __init__(self, device=None, _stream=None):
        self._index = index_of(device)
        if _stream is None:
            with on_device(self._index):
                _stream = driver.require(self._index).cuda.Stream(non_blocking=True)
        self._stream = _stream

    @property
    def cuda_stream(self) -> int:
        """CUDA's handle."""
        return self._stream.ptr

    def synchronize(self) -> None:
        """Wait until its work is done."""
        with on_device(self._index):  # every GPU's default stream has the same handle
            self._stream.synchronize()

    def query(self) -> bool:
        """Whether its work is done."""
        with on_device(self._index):
            return bool(self._stream.done)

    def record_event(self, event: Event | None = None) -> Event:
        """Mark its present end."""
        with on_device(self._index):
            event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let later work wait for ``event``."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Let later work wait for everything now in ``stream``."""
        self.wait_event(stream.record_event())

    def __enter__(self):
        self._stream.__enter__()
        return self

    def __exit__(self, *error):
        self._stream.__exit__(*error)

    def __eq__(self, other):
        return isinstance(other, Stream) and (self.cuda_stream, self._index) == (other.cuda_stream, other._index)

    def __hash__(self):
        return hash((self.cuda_stream, self._index))

    def __repr__(self):
        return f"<scratchvgg.cuda.Stream device=cuda:{self._index} cuda_stream={self.cuda_stream:#x}>"


def current_stream(device=None) -> Stream:
    """The stream that work of this thread goes into now."""
    index = index_of(device)
    cupy = driver.require(index)
    with on_device(index):
        return Stream(index, cupy.cuda.get_current_stream())


def default_stream(device=None) -> Stream:
    """CUDA's default stream, with which every blocking stream keeps order."""
    index = index_of(device)
    return Stream(index, driver.require(index).cuda.Stream.null)


def stream(stream: Stream | None) -> Stream:
    """``with sv.cuda.stream(s):`` work of this thread goes into ``s``; None changes nothing."""
    return current_stream() if stream is None else stream
