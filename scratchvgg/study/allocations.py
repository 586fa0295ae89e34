"""How the memory of a training step rises and falls: the arrays that live at each operation, forward and backward.

The step is a real one, fused as always; what is counted is what NumPy asks the allocator for (``tracemalloc`` sees every array, and which are alive
at the worst moment within an operation), on a GPU what the pool hands out. Scratch memory is handed out by the meter, from pages that
``tracemalloc`` does not see, and counted apart: it stays for the next layer and the next step.
"""

from __future__ import annotations

import functools
import math
import mmap
import threading
import tracemalloc
from dataclasses import dataclass, replace

import numpy as np

from .. import conv
from ..array.dtypes import as_dtype
from ..autograd import Tensor, enable_grad, intercept, intercept_backward
from ..nn import Module
from ..nn import functional as F
from ..train.layer_statistics import restored

FULL = 128
"""Images with which the tiles of a convolution are as large as they get."""


@dataclass(frozen=True)
class Step:
    """One training step.

    Attributes:
        labels: what was going on: ``forward conv2d``, ``backward conv2d``, ``recompute conv2d``, ``optimizer``.
        live: bytes that the step's arrays took at most meanwhile, without scratch, parameters, input and optimiser state.
        kept: bytes that the tape held when forward was done.
        scratch: bytes of scratch memory, of all threads.
        passes: the different (problem, dtype, pass) of its convolutions.
    """

    labels: list[str]
    live: list[int]
    kept: int
    scratch: int
    passes: frozenset = frozenset()


def of_step(model: Module, x: Tensor, target: Tensor, like: int | None = None) -> Step:
    """Run forward, cross entropy and backward of ``model`` on a batch once, and watch the memory. The model is left as it was.

    Args:
        target: the classes (N,); of a net that scores every place of a map, those of all places of an image.
        like: convolutions are done by the algorithms that a batch of so many images would take, whose temporaries are those of that batch.
    """
    meter, passes = (_Pool if x.device.type == "cuda" else _Arrays)(x.backend), []
    choosing = [False]
    known = [t.array for t in (x, target, *model.parameters(), *model.buffers())]
    stage = ["forward"]

    def forward(op, args, options, proceed):
        meter.mark(f"{stage[0]} {op.name}")
        return proceed(args, options)

    def backward(node, grads, proceed):
        meter.mark(f"backward {node.name}")
        return proceed(grads)

    def choice(problem, dtype, which, chosen):
        if choosing[0]:
            return chosen
        passes.append((problem, dtype, which))
        choosing[0] = True
        try:
            usual = conv.choose(problem, dtype, None, which, kernels=x.backend.runs_kernels)
            if like is None or chosen is not usual:  # the layer asked for one by name
                return chosen
            return conv.choose(replace(problem, N=problem.N // len(x) * like), dtype, None, which, kernels=x.backend.runs_kernels)
        finally:
            choosing[0] = False

    with restored(model), enable_grad(), meter, intercept(forward), intercept_backward(backward), conv.intercept_choices(choice):
        output = model(x)
        places = output.shape[2:]
        loss = F.cross_entropy(output, target.reshape(-1, *[1] * len(places)).expand(-1, *places) if places else target)
        kept = kept_bytes(loss, known)
        stage[0] = "recompute"
        loss.backward()
        meter.mark("optimizer")
        meter.mark("")
        for parameter in model.parameters():
            parameter.grad = None
    return Step(meter.labels[:-1], meter.live, kept, meter.scratch, frozenset(passes))


def kept_bytes(root: Tensor, known=()) -> int:
    """Bytes of the distinct arrays that the tape below ``root`` holds for backward, and of the inputs of its checkpoints.

    Args:
        known: arrays whose memory is there anyway.
    """
    known, nodes, seen, total = list(known), [root.grad_fn], set(), 0
    while nodes:
        node = nodes.pop()
        if node is None or node in seen or not hasattr(node, "ctx"):
            continue
        seen.add(node)
        nodes += [edge[0] for edge in node.edges if edge is not None]
        for array in _held(node):
            if not any(_shares(array, other) for other in known):
                known.append(array)
                total += array.nbytes
    return total


def _held(node):
    if node.ctx is not None:
        yield from (array for _, array in node.ctx.arrays())
    elif node.away is not None and node.away.call is not None:
        yield from (tensor.array for tensor in node.away.call[1] if isinstance(tensor, Tensor))


def _shares(a, b) -> bool:
    return a is b or (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.may_share_memory(a, b))


class _Meter:
    """Moments of a step. ``now()`` and ``most()`` say what is in use, ``reset()`` lets the peak begin anew."""

    def __init__(self, backend):
        self.backend, self.labels, self.live, self.base = backend, [], [], 0

    def mark(self, label: str) -> None:
        """Something else begins."""
        if self.labels:
            self.live.append(self.most() - self.base)
        self.reset()
        self.labels.append(label)


class _Arrays(_Meter):
    """NumPy's arrays. Where kernels run, scratch must come from the backend (it checks whose memory a kernel touches) and is only counted."""

    def __enter__(self):
        self.started, self.buffers, self.lock = not tracemalloc.is_tracing(), {}, threading.Lock()
        if self.started:
            tracemalloc.start()
        self.plain = self.backend.workspace
        self.backend.workspace = self._counting if self.backend.runs_kernels else self._workspace
        self.base = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *error):
        del self.backend.workspace
        if self.started:
            tracemalloc.stop()

    @property
    def scratch(self) -> int:
        """Bytes of all buffers so far."""
        return sum(size for size, _ in self.buffers.values())

    def now(self) -> int:
        """Bytes in use."""
        return tracemalloc.get_traced_memory()[0]

    def most(self) -> int:
        """The most since :meth:`reset`."""
        return tracemalloc.get_traced_memory()[1] - (self.scratch if self.backend.runs_kernels else 0)

    def reset(self) -> None:
        """From here."""
        tracemalloc.reset_peak()

    def _workspace(self, tag, shape, dtype):
        dtype, key = as_dtype(dtype).numpy, (tag, threading.get_ident())
        size = math.prod(shape) * dtype.itemsize
        held, buffer = self.buffers.get(key, (0, None))
        if held < size or buffer is None:
            buffer = np.frombuffer(mmap.mmap(-1, max(1, size)), np.uint8)
            with self.lock:
                self.buffers[key] = size, buffer
        return buffer[:size].view(dtype).reshape(shape)

    def _counting(self, tag, shape, dtype):
        array, key = self.plain(tag, shape, dtype), (tag, threading.get_ident())
        with self.lock:
            self.buffers[key] = max(self.buffers.get(key, (0, None))[0], array.nbytes), None
        return array


class _Pool(_Meter):
    """A GPU's memory pool; scratch is part of what lives there."""

    scratch = 0

    def __enter__(self):
        self.base = self.now()
        return self

    def __exit__(self, *error):
        pass

    def now(self) -> int:
        """Bytes in use."""
        from ..cuda import devices

        return devices.memory_allocated(self.backend.device)

    def most(self) -> int:
        """The most since :meth:`reset`."""
        from ..cuda import devices

        return devices.max_memory_allocated(self.backend.device)

    def reset(self) -> None:
        """From here."""
        from ..cuda import devices

        devices.reset_peak_memory_stats(self.backend.device)


@functools.lru_cache(512)
def declared_scratch(passes: frozenset, batch: int, kernels: bool) -> int:
    """The largest scratch of one thread that the algorithms declare for the convolutions of :attr:`Step.passes` at another batch size."""
    most = 0
    for problem, dtype, which in passes:
        problem = replace(problem, N=min(batch, FULL))
        most = max(most, conv.choose(problem, dtype, None, which, kernels=kernels).workspace(problem, dtype, which))
    return most
