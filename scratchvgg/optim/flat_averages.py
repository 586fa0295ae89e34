"""Averages of the weights by CUDA kernels: one launch for all tensors that an optimiser keeps in one buffer, one for each of the others."""

from __future__ import annotations

import numpy as np

from ..cuda.faces.ema import ema_step
from .flat import FlatParameters, home_of


class FlatAverages:
    """Does the blending of :class:`~scratchvgg.optim.ema.EMA` on devices that run kernels.

    Args:
        owner: has ``tensors`` and ``averages``, both by name. Averages of tensors in one flat buffer become views of one too.
    """

    def __init__(self, owner):
        self.owner = owner
        self._buffers: dict[int, tuple] = {}  # home → (home, the averages of its parameters, the same as a view for each)
        self._weights: dict = {}  # backend → (the number on the device, what it is)

    def blend(self, weight: float, names, write_back: bool) -> list[str]:
        """averages ← averages + weight (tensors − averages); with ``write_back`` tensors ← averages.

        Returns:
            The names that are left for the array path: on devices without kernels, and tensors that are not dense.
        """
        tensors, averages = self.owner.tensors, self.owner.averages
        todo = {name: tensors[name] for name in names if tensors[name].backend.runs_kernels and tensors[name].dtype.is_floating_point}
        left = [name for name in names if name not in todo]
        for home, group in _by_home(todo):
            with home.backend.quiet():
                average = self._average_of(home, group)
                ema_step(home.backend, average, home.buffer, self._on_device(home.backend, weight), write_back=write_back)
            for name in group:
                del todo[name]
        for name, t in todo.items():
            average, w = _line(averages[name]), _line(t.array)
            if average is None or w is None or averages[name].strides != t.array.strides:
                left.append(name)
                continue
            with t.backend.quiet():
                ema_step(t.backend, average, w, self._on_device(t.backend, weight), write_back=write_back)
        return left

    def _average_of(self, home, group):
        """The flat averages of a home, to which those of its tensors are moved when they lie elsewhere."""
        held = self._buffers.get(id(home))
        if held is None or held[0] is not home:
            held = self._buffers[id(home)] = home, home.backend.zeros(home.buffer.shape, home.dtype), {}
            held[2].update(zip(map(id, home.parameters), home.split(held[1]), strict=True))
        for name, t in group.items():
            view = held[2][id(t)]
            if self.owner.averages[name] is not view:
                view[...] = self.owner.averages[name]
                self.owner.averages[name] = view
        return held[1]

    def _on_device(self, backend, weight: float):
        held = self._weights.get(backend)
        if held is None or held[1] != weight:
            array = backend.empty((1,), "float64") if held is None else held[0]
            array[...] = backend.asarray(np.array([weight]))
            held = self._weights[backend] = array, weight
        return held[0]


def _by_home(tensors):
    """(home, {name: Tensor}) of each flat buffer all of whose parameters are among ``tensors``."""
    homes: dict[int, tuple[FlatParameters, dict]] = {}
    for name, t in tensors.items():
        home = home_of(t)
        if home is not None:
            homes.setdefault(id(home), (home, {}))[1][name] = t
    return [(home, group) for home, group in homes.values() if {id(t) for t in group.values()} == {id(p) for p in home.parameters}]


def _line(array):
    """A dense array's memory as (size,), a view; None if it has gaps."""
    turned = array.transpose(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return turned.reshape(-1) if turned.flags.c_contiguous else None
