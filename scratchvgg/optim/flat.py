"""Parameters, gradients and velocities of a whole model, each in one buffer: a step is one kernel, an all-reduce one message.

::

    parameters   conv1.weight | conv1.bias | conv2.weight | …        p.array is a view of its stretch, in its own memory order
    gradients    ∂L/∂ …       | …                                    p.grad.array too, from the step on
    velocities   …                                                   state[p]["momentum_buffer"].array too

Tensors keep their identity, names, shapes and memory order; a state dict looks as it does without. Each stretch begins at a multiple of
256 bytes, the gaps hold zeros and stay so.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np

from ..array import as_dtype
from ..autograd import Tensor
from ..cuda.faces.sgd import OPTIONS, sgd_step
from .blocks import BlockRunner

_ALIGNMENT = 256  # bytes


class FlatParameters:
    """Moves Tensors of one device and element type into one buffer, group after group.

    Tensors that shared memory with a parameter before, such as its ``detach()``, share it no longer.

    Args:
        groups: lists of Tensors; each becomes one segment.

    Attributes:
        buffer: (total,), all parameters. gradients: the same for gradients, made by :meth:`gather`.
        ends: where each segment stops.

    Raises:
        ValueError: for no parameters, one that appears twice, or several devices or element types.
    """

    def __init__(self, groups: Sequence[Sequence[Tensor]]):
        self.parameters = [p for group in groups for p in group]
        if not self.parameters or len({id(p) for p in self.parameters}) != len(self.parameters):
            raise ValueError("groups: expected Tensors, each once")
        self.backend, self.dtype = self.parameters[0].backend, self.parameters[0].dtype
        if any(p.backend is not self.backend or p.dtype is not self.dtype for p in self.parameters):
            raise ValueError(f"groups: expected Tensors of one device and element type, {self.backend.device} and {self.dtype}")
        step, at, self._starts, self.ends = _ALIGNMENT // self.dtype.itemsize, 0, [], []
        for group in groups:
            for p in group:
                self._starts.append(at)
                at += -(-math.prod(p.shape) // step) * step
            self.ends.append(at)
        self.buffer = self.backend.zeros((at,), self.dtype)
        self.views = self.split(self.buffer)
        self.gradients = None
        for p, view in zip(self.parameters, self.views, strict=True):
            view[...] = p.array
            p.array, p.flat_home = view, weakref.ref(self)

    def split(self, buffer) -> list:
        """The stretch of each parameter in a buffer like :attr:`buffer`, in the parameter's shape and memory order."""
        views = []
        for p, start in zip(self.parameters, self._starts, strict=True):
            order = sorted(range(p.array.ndim), key=lambda axis: -abs(p.array.strides[axis]))
            stretch = buffer[start : start + math.prod(p.shape)].reshape([p.shape[axis] for axis in order])
            views.append(stretch.transpose(np.argsort(order).tolist()) if order else stretch)
        return views

    def holds(self) -> bool:
        """Whether the parameters are still where they were put (a move to another device, or averaged weights, take them elsewhere)."""
        return all(p.array is view for p, view in zip(self.parameters, self.views, strict=True))

    def gather(self):
        """The gradients in one buffer (total,): those that lie elsewhere are copied, and ``p.grad`` is a view of its stretch from then on."""
        if self.gradients is None:
            self.gradients = self.backend.zeros(self.buffer.shape, self.dtype)
            self._gradient_views = self.split(self.gradients)
        for p, view in zip(self.parameters, self._gradient_views, strict=True):
            if p.grad.array is not view:
                view[...] = p.grad.array
                p.grad.array = view
        return self.gradients


def home_of(parameter: Tensor) -> FlatParameters | None:
    """The :class:`FlatParameters` whose buffer ``parameter`` lies in now."""
    home = getattr(parameter, "flat_home", lambda: None)()
    return home if home is not None and home.holds() else None


class FlatSGD:
    """The step of :class:`~scratchvgg.optim.SGD` on flat buffers: one launch for each element type, or array operations without kernels.

    Results are those of the array path, bit for bit (16-bit parameters with float32 masters are more exact). Where a step does not cover all
    parameters, or an option is beyond it, :meth:`step` leaves the parameters to the array path.

    Args:
        optimizer: its groups and state are read anew in every step.
        master_weights: keep float32 copies of 16-bit parameters, which take the steps; they are state entries ``"master"``.
    """

    def __init__(self, optimizer, master_weights: bool = False):
        self.optimizer, self.master_weights = optimizer, master_weights
        self._packs: dict[tuple, _Pack] = {}

    def step(self, work: list) -> list:
        """Update what can be updated flat.

        Args:
            work: (group, parameter) of every parameter that has a gradient.

        Returns:
            The rest of ``work``.
        """
        kinds: dict[tuple, list[list[Tensor]]] = {}
        everything = self.optimizer.param_groups
        for number, group in enumerate(everything):
            for p in group["params"]:
                kinds.setdefault((p.backend, p.dtype), [[] for _ in everything])[number].append(p)
        have = {id(p) for _, p in work}
        done: set[int] = set()
        for kind, groups in kinds.items():
            parameters = [p for group in groups for p in group]
            if all(id(p) in have for p in parameters) and self._takes(*kind, groups):
                with kind[0].quiet():
                    self._pack(kind, groups).step()
                done |= {id(p) for p in parameters}
        return [(group, p) for group, p in work if id(p) not in done]

    def _takes(self, backend, dtype, groups):
        if not dtype.is_floating_point or len({id(p) for group in groups for p in group}) != sum(map(len, groups)):
            return False
        if dtype.itemsize == 2 and not (self.master_weights and backend.runs_kernels):
            return False
        state = self.optimizer.state
        for options, group in zip(self.optimizer.param_groups, groups, strict=True):
            begun = {state[p].get("momentum_buffer") is not None for p in group} if options["momentum"] else {False}
            if len(begun) > 1:  # some have a velocity and some have none yet
                return False
        return True

    def _pack(self, kind, groups):
        pack = self._packs.get(kind)
        if pack is None or not pack.fits(groups):
            pack = self._packs[kind] = _Pack(self.optimizer, groups, kind[1].itemsize == 2)
        return pack


class _Pack:
    """The buffers of one element type: weights, gradients, velocities, masters, and the table of options on the device."""

    def __init__(self, optimizer, groups, master: bool):
        self.optimizer, self.groups = optimizer, groups
        self.flat = flat = FlatParameters(groups)
        self.backend = flat.backend
        self.wide = as_dtype("float32") if master else flat.dtype
        self.velocities, self.master = None, self.backend.zeros(flat.buffer.shape, self.wide) if master else None
        if master:
            self._masters, self._seen = flat.split(self.master), [None] * len(flat.parameters)
        self.ends = self.backend.asarray(np.array(flat.ends, np.int64))
        self.table, self._written = self.backend.zeros((len(groups), len(OPTIONS)), "float64"), None

    def fits(self, groups):
        return self.flat.holds() and [[id(p) for p in g] for g in groups] == [[id(p) for p in g] for g in self.groups]

    def step(self):
        gradients, first = self.flat.gather(), self._adopt_velocities()
        if not self.backend.runs_kernels:
            return self._step_arrays(gradients, first)
        self._adopt_masters()
        self._write_options(first)
        signals = {name: None if t is None else t.array.reshape(1) for name, t in self.optimizer.scaling.items()}
        with self.backend.quiet():
            sgd_step(self.backend, self.flat.buffer, gradients, self.velocities, self.ends, self.table, master=self.master, **signals)
        if self.master is not None:
            self._seen = [p.version.value + 1 for p in self.flat.parameters]  # the optimiser counts this write

    def _step_arrays(self, gradients, first):
        """The array rule of each group over its whole segment."""
        runner, start = BlockRunner(), 0
        for options, group, end, fresh in zip(self.optimizer.param_groups, self.groups, self.flat.ends, first, strict=True):
            if group:
                velocity = () if self.velocities is None or not options["momentum"] else (self.velocities[start:end],)
                rule = self.optimizer.rule(options, group[0], fresh)
                runner.add(self.backend, rule, (self.flat.buffer[start:end], gradients[start:end], *velocity))
            start = end
        runner.run()

    def _adopt_velocities(self) -> list[bool]:
        """Bring every velocity into the buffer; whether it is the first step of each group."""
        state, first = self.optimizer.state, []
        if self.velocities is None and any(options["momentum"] for options in self.optimizer.param_groups):
            self.velocities = self.backend.zeros(self.flat.buffer.shape, self.wide)
            self._velocity_views = {id(p): v for p, v in zip(self.flat.parameters, self.flat.split(self.velocities), strict=True)}
        for options, group in zip(self.optimizer.param_groups, self.groups, strict=True):
            first.append(False)
            for p in group if options["momentum"] else ():
                view, held = self._velocity_views[id(p)], state[p].get("momentum_buffer")
                first[-1] = held is None
                if held is None or held.array is not view:
                    view[...] = 0 if held is None else held.array
                    state[p]["momentum_buffer"] = Tensor.wrap(self.backend, view)
        return first

    def _adopt_masters(self):
        """Masters of parameters that somebody else wrote to, or that were loaded."""
        for place, p in enumerate(self.flat.parameters if self.master is not None else ()):
            view, held = self._masters[place], self.optimizer.state[p].get("master")
            if held is not None and held.array is not view:
                view[...] = held.array
            elif held is None or self._seen[place] != p.version.value:
                view[...] = p.array
            else:
                continue
            self.optimizer.state[p]["master"] = Tensor.wrap(self.backend, view)

    def _write_options(self, first):
        """The groups' options as the kernel reads them. Numbers are sent when they change; an lr on this device is copied there."""
        lines, on_device = [], []
        for row, (options, fresh) in enumerate(zip(self.optimizer.param_groups, first, strict=True)):
            lr = options["lr"]
            if isinstance(lr, Tensor) and lr.backend is self.backend:
                on_device.append((row, lr.array.reshape(())))
                lr = 0.0
            keep = 1.0 if fresh else 1 - options["dampening"]
            values = lr, options["momentum"], keep, options["weight_decay"], options["nesterov"], options["maximize"]
            lines.append([float(v.item() if isinstance(v, Tensor) else v) for v in values])
        if lines != self._written:
            self.table[...] = self.backend.asarray(np.array(lines, np.float64))
            self._written = lines
        for row, value in on_device:
            self.table[row, 0] = value
