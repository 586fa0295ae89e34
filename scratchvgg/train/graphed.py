"""The device work of a training step as one CUDA graph: recorded once, then replayed with a single launch."""

from __future__ import annotations

from contextlib import contextmanager

from .. import cuda
from ..autograd import Tensor

WARM_UP = 3  # steps done launch by launch first: they compile kernels, choose algorithms, and make and send the optimiser's buffers


class GraphedStep:
    """Calls ``work(images, labels)`` until everything is warm, then replays it.

    What changes from step to step is kept out of the graph: the batch is copied to the arrays that the recording saw, learning rates are
    numbers on the device, and dropout's counters move on (see :class:`scratchvgg.cuda.CUDAGraph`).

    Args:
        work: forward, loss, backward and ``optimizer.step()``; it must not wait for the device.
        optimizer: its groups' ``lr`` are numbers on the host; a schedule may change them between steps.

    Attributes:
        replays: how many steps were replayed.
    """

    def __init__(self, work, optimizer):
        self._work, self._optimizer, self.replays = work, optimizer, 0
        self._calls, self._graph, self._stream, self._trained = 0, None, cuda.Stream(), None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """One step; later batches must have the shape of the one that was recorded. Where a parameter begins or ceases to be trained, the work is
        recorded again."""
        backend, groups = images.backend, self._optimizer.param_groups
        trained = [p.requires_grad for group in groups for p in group["params"]]
        if trained != self._trained:  # other gradients are computed: begin anew
            self._calls, self._graph, self._trained, self._recorded = 0, None, trained, False
            self._rates = [Tensor.wrap(backend, backend.zeros((), "float64")) for _ in groups]
        self._calls += 1
        with backend.quiet():
            for held, group in zip(self._rates, groups, strict=True):
                held.array[...] = group["lr"]
        if self._calls <= WARM_UP:
            self._stream.wait_stream(cuda.current_stream())
            with cuda.stream(self._stream), self._rates_on_device():
                self._work(images, labels)
            cuda.current_stream().wait_stream(self._stream)
            return
        if self._graph is None:
            self._record(images, labels)
        with backend.quiet():
            for held, new in zip(self._inputs, (images, labels), strict=True):
                held.array[...] = new.array
        self._graph.replay()
        self.replays += 1
        if self._recorded:  # recording counted the first
            self._optimizer.steps += 1
            for parameter in (p for group in groups for p in group["params"]):
                parameter.version.value += 1
        self._recorded = True

    def _record(self, images, labels):
        with images.backend.quiet():
            self._inputs = [Tensor.wrap(images.backend, t.array.copy("K")) for t in (images, labels)]
        self._graph = cuda.CUDAGraph()
        with self._rates_on_device(), cuda.graph(self._graph, stream=self._stream):
            self._work(*self._inputs)

    @contextmanager
    def _rates_on_device(self):
        """The groups' learning rates are our numbers on the device: in the warm-up too, because nothing can be sent there in a recording."""
        groups = self._optimizer.param_groups
        rates = [group["lr"] for group in groups]
        try:
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = rate
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
