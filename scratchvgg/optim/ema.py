"""Averages of the weights along the training run: EMA for evaluation, Lookahead for training itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..autograd import Tensor, as_array
from .blocks import BlockRunner
from .flat_averages import FlatAverages


class _Averages:
    """Tensors of a model, each with an array of its own that remembers an average."""

    def __init__(self, model_or_params):
        if isinstance(model_or_params, Tensor):
            raise TypeError("model_or_params: expected a module or a sequence of Tensors, got a single Tensor; write [tensor]")
        if hasattr(model_or_params, "named_parameters"):
            named = [*model_or_params.named_parameters(), *model_or_params.named_buffers()]
        else:
            named = [(str(i), t) for i, t in enumerate(model_or_params)]
        for name, t in named:
            if not isinstance(t, Tensor):
                raise TypeError(f"model_or_params: expected Tensors, got {type(t).__name__} as {name}")
        if not named:
            raise ValueError("model_or_params: there is nothing to average")
        self.tensors: dict[str, Tensor] = dict(named)
        self.averages = {}
        for name, t in named:
            with t.backend.quiet():
                self.averages[name] = t.array.copy("K")
        self.updates = 0
        self._kernels = FlatAverages(self)

    def state_dict(self) -> dict:
        """``{"updates": n, "averages": {name: Tensor}}``; the Tensors share memory with the averages."""
        wrapped = {name: Tensor.wrap(self.tensors[name].backend, a) for name, a in self.averages.items()}
        return {"updates": self.updates, "averages": wrapped}

    def load_state_dict(self, state_dict: dict) -> None:
        """Copy in what :meth:`state_dict` gave (Tensors or NumPy arrays).

        Raises:
            RuntimeError: if names or shapes are not this model's; nothing is changed then.
        """
        new = state_dict["averages"]
        if set(new) != set(self.averages):
            raise RuntimeError(f"averages: names differ in {sorted(set(new) ^ set(self.averages))}")
        arrays = {name: as_array(self.tensors[name].backend, value) for name, value in new.items()}
        for name, array in arrays.items():
            if array.shape != self.averages[name].shape:
                raise RuntimeError(f"averages: {name!r} has shape {array.shape}, the model's {self.averages[name].shape}")
        for name, array in arrays.items():
            with self.tensors[name].backend.quiet():
                self.averages[name][...] = array
        self.updates = int(state_dict["updates"])

    def _blend(self, weight: float, names, write_back: bool = False) -> None:
        """averages ← averages + weight (tensors − averages); with ``write_back`` tensors ← averages."""
        runner = BlockRunner()
        for name in self._kernels.blend(weight, names, write_back):
            t = self.tensors[name]
            runner.add(t.backend, _lerp_rule(t.backend.xp, weight, write_back), (self.averages[name], t.array))
        runner.run()
        if write_back:
            for name in names:
                self.tensors[name].version.value += 1


def _lerp_rule(xp, weight, write_back):
    def rule(scratch, average, w):
        s = xp.subtract(w, average, out=scratch(0))
        s *= weight
        average += s
        if write_back:
            w[...] = average

    return rule


class EMA(_Averages):
    """Exponential moving average of a model's parameters, for evaluation.

    After each optimiser step ``update()`` does  average ← d · average + (1 − d) · weight.  Buffers (batch-norm statistics are averages
    already) are copied as they are.

    Args:
        model_or_params: a module, or Tensors.
        decay: d, in [0, 1].
        warmup: use min(d, (1 + n)/(10 + n)) at update n, so that the start is soon forgotten.

    Raises:
        ValueError: for a decay outside [0, 1] or nothing to average. TypeError: for things that are not Tensors.

    Example::

        ema = EMA(model, decay=0.999)
        ...                       # training: optimizer.step(); ema.update()
        with ema.averaged():
            accuracy(model, loader)
    """

    def __init__(self, model_or_params, decay: float = 0.999, warmup: bool = False):
        if not 0 <= decay <= 1:
            raise ValueError(f"decay: expected between 0 and 1, got {decay}")
        super().__init__(model_or_params)
        self.decay, self.warmup = decay, warmup
        self._copied = {n for n, t in self.tensors.items() if not t.dtype.is_floating_point}
        if hasattr(model_or_params, "named_buffers"):
            self._copied |= {name for name, _ in model_or_params.named_buffers()}
        self._inside = False

    def update(self) -> None:
        """Take the present weights into the average.

        Raises:
            RuntimeError: inside :meth:`averaged`.
        """
        if self._inside:
            raise RuntimeError("update: the model holds the averages now; leave averaged() first")
        n = self.updates
        decay = min(self.decay, (1 + n) / (10 + n)) if self.warmup else self.decay
        self._blend(1 - decay, [name for name in self.tensors if name not in self._copied])
        for name in self._copied:
            with self.tensors[name].backend.quiet():
                self.averages[name][...] = self.tensors[name].array
        self.updates += 1

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the ``with`` block the model has the averages; afterwards, also after an exception, its own weights again.

        Arrays are exchanged, nothing is copied.

        Raises:
            RuntimeError: inside another ``averaged()``.
        """
        if self._inside:
            raise RuntimeError("averaged: the model holds the averages already")
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def copy_to_model(self) -> None:
        """Write the averages over the weights for good."""
        for name, t in self.tensors.items():
            with t.backend.quiet():
                t.array[...] = self.averages[name]
            t.version.value += 1

    def _swap(self):
        self._inside = not self._inside
        for name, t in self.tensors.items():
            t.array, self.averages[name] = self.averages[name], t.array
            t.version.value += 1


class Lookahead(_Averages):
    """Lookahead with a decay that grows (Zhang et al. 2019, as airbench uses it).

    Every ``every`` steps, with T = ``total_steps`` and d = ``decay``^``every`` · (t/T)^``power``:
    average ← d · average + (1 − d) · weight, then weight ← average. The last step, T, copies the average into the weights.

    Args:
        model_or_params: a module (its floating-point buffers take part) or Tensors.
        total_steps: T, the length of the run in optimiser steps.
        every, decay, power: as above; airbench's values are the defaults.

    Raises:
        ValueError: for steps that are not positive or a decay outside [0, 1].
    """

    def __init__(self, model_or_params, total_steps: int, every: int = 5, decay: float = 0.95, power: float = 3):
        if total_steps < 1 or every < 1:
            raise ValueError(f"total_steps and every: expected 1 or more, got {total_steps} and {every}")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay: expected between 0 and 1, got {decay}")
        super().__init__(model_or_params)
        self.total_steps, self.every, self.decay, self.power = total_steps, every, decay, power
        self._floating = [n for n, t in self.tensors.items() if t.dtype.is_floating_point]

    def update(self) -> None:
        """Call it after every optimiser step."""
        self.updates += 1
        if self.updates % self.every == 0:
            d = self.decay**self.every * (self.updates / self.total_steps) ** self.power
            self._blend(1 - d, self._floating, write_back=True)
        if self.updates == self.total_steps:
            self._blend(0.0, self._floating, write_back=True)
