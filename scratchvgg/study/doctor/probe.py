"""Looking and trying: one pass through a net with everything noted, and training steps on a copy of it."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ...array import default_generator
from ...autograd import Tensor, no_grad
from ...nn import AdaptiveAvgPool2d, Module
from ...nn import functional as F
from ...nn.utils import clip_grad_norm_
from ...train import layer_statistics


@dataclass
class Look:
    """One pass forward and backward.

    Attributes:
        loss: mean over the batch; None without labels. logits: float (N, classes).
        layers: of each layer in the order of execution, see :func:`scratchvgg.train.layer_statistics.probe`.
        gradients: name of a parameter → 2-norm of its gradient; those that got none are not in it.
        tiled: (layer, side before, side after) of poolings that make their input larger.
    """

    loss: float | None
    logits: np.ndarray
    layers: list[dict]
    gradients: dict[str, float]
    tiled: list[tuple[str, int, int]]

    @property
    def variation(self) -> float:
        """How much the answer depends on the image: the standard deviation of the logits over the batch, over the size of the logits.
        0 if every image gets the same answer; NaN if the logits are not finite, or of one image only."""
        if not np.isfinite(self.logits).all() or len(self.logits) < 2:
            return math.nan
        size = math.sqrt(float(np.square(self.logits).mean()))
        return math.sqrt(float(self.logits.var(0).mean())) / size if size > 0 else 0.0

    @property
    def gradient_norm(self) -> float:
        """2-norm of all parameters' gradients together."""
        return math.sqrt(sum(norm**2 for norm in self.gradients.values()))

    def accuracy(self, labels: np.ndarray) -> float:
        """Share of right answers."""
        return float((self.logits.argmax(1) == labels).mean())


def look(model: Module, x: Tensor, y: Tensor | None, loss: Callable = F.cross_entropy) -> Look:
    """Run ``model`` as it is, forward and backward, and put back whatever that changed. Without ``y`` there is no backward."""
    found: dict = {"gradients": {}, "tiled": []}

    def run():
        output = model(x)
        found["logits"] = output.detach().float().cpu().numpy().astype(np.float64).reshape(len(output), -1)
        if y is None:
            return output.detach().sum()
        found["loss"] = loss(output, y)
        return found["loss"]

    with contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, AdaptiveAvgPool2d):
                stack.callback(module.register_forward_hook(_tiling(name, found["tiled"])).remove)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                stack.callback(parameter.register_hook(_norm_into(found["gradients"], name)).remove)
        layers = layer_statistics.probe(model, run)
    value = found.get("loss")
    return Look(None if value is None else value.item(), found["logits"], layers, found["gradients"], found["tiled"])


def _tiling(name, found):
    def hook(module, inputs, output):
        before, after = inputs[0].shape[-1], output.shape[-1]
        if after > before:
            found.append((name, before, after))

    return hook


def _norm_into(norms, name):
    def hook(gradient):
        norms[name] = layer_statistics.moments(gradient.backend, gradient.array)["norm"]
        norms[name] = math.nan if norms[name] is None else norms[name]

    return hook


def answers(model: Module, images, device, batch: int) -> np.ndarray:
    """The logits (N, classes) of arrays of images, a batch at a time, in the mode the model is in; running statistics are put back."""
    from ...autograd import from_numpy

    with kept(model), no_grad():
        parts = [model(from_numpy(images[i : i + batch]).to(device)).float().cpu().numpy() for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.float64)


@contextlib.contextmanager
def kept(model: Module) -> Iterator[None]:
    """Buffers, the modes of all layers and the default generator are afterwards as they were."""
    buffers, modes = [(b, b.array.copy()) for b in model.buffers()], [(m, m.training) for m in model.modules()]
    state = default_generator.get_state()
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.array[...] = before
        for module, mode in modes:
            module.training = mode
        default_generator.set_state(state)


@dataclass
class Trial:
    """What some steps at one learning rate did to the loss of one batch.

    Attributes:
        rate: the learning rate. losses: before each step and after the last, as far as it went.
        ratio, largest: median and maximum over the weights of ‖Δw‖ / ‖w‖ in the first step.
    """

    rate: float
    losses: list[float]
    ratio: float = math.nan
    largest: float = math.nan

    @property
    def first(self) -> float:
        """The loss before any step."""
        return self.losses[0]

    @property
    def last(self) -> float:
        """Mean of the last two losses; infinite if one was not finite."""
        tail = self.losses[-2:]
        return sum(tail) / len(tail) if all(map(math.isfinite, self.losses)) else math.inf

    @property
    def drop(self) -> float:
        """By how much the loss fell; negative where it rose."""
        return self.first - self.last

    @property
    def diverged(self) -> bool:
        """The loss became infinite or NaN, or rose by a third and half a nat."""
        return not self.last <= max(1.33 * self.first, self.first + 0.5)


class Bench:
    """A copy of a net to try things on: each trial begins from the net's own weights.

    Args:
        model: is not touched. x, y: the batch. loss: of (logits, labels).
        optimizer: ``optimizer(net, rate)``. clip_norm: bound of the gradient's norm, or None. prepare: called with the copy once, e.g. to set modes.
    """

    def __init__(self, model: Module, x: Tensor, y: Tensor, loss: Callable, optimizer: Callable, clip_norm: float | None = None,
                 prepare: Callable[[Module], object] = Module.train):
        self._net, self._x, self._y, self._loss, self._optimizer, self._clip = copy.deepcopy(model), x, y, loss, optimizer, clip_norm
        prepare(self._net)
        self._tensors = [*self._net.parameters(), *self._net.buffers()]
        self._start = [tensor.detach().array for tensor in (*model.parameters(), *model.buffers())]  # which nobody changes

    def _begin(self):
        for tensor, before in zip(self._tensors, self._start, strict=True):
            tensor.detach().array[...] = before
        for parameter in self._net.parameters():
            parameter.grad = None

    def trial(self, rate: float, steps: int, deadline: float = math.inf, least: int = 1, enough: float = -math.inf) -> Trial:
        """At most ``steps`` updates on the batch. It ends early when the loss is not finite or below ``enough``, or when the clock (monotonic) passes
        ``deadline`` after ``least`` steps."""
        self._begin()
        state = default_generator.get_state()
        optimizer = self._optimizer(self._net, rate)
        result = Trial(rate, [])
        try:
            for step in range(steps + 1):
                loss = self._loss(self._net(self._x), self._y)
                result.losses.append(loss.item())
                over = step >= least and time.monotonic() > deadline
                if step == steps or over or not math.isfinite(result.losses[-1]) or result.losses[-1] < enough:
                    break
                optimizer.zero_grad()
                loss.backward()
                if self._clip is not None:
                    clip_grad_norm_(self._net.parameters(), self._clip)
                optimizer.step()
                if step == 0:
                    result.ratio, result.largest = self._ratios()
        finally:
            default_generator.set_state(state)
        return result

    def _ratios(self) -> tuple[float, float]:
        """Median and maximum of ‖w − w₀‖ / ‖w₀‖ over weights of two or more dimensions."""
        ratios = []
        for tensor, before in zip(self._tensors, self._start, strict=True):
            size = layer_statistics.moments(tensor.backend, before)["norm"] if before.ndim > 1 and tensor.requires_grad else None
            if size:
                change = layer_statistics.distance(tensor.backend, tensor.detach().array, before)
                ratios.append(math.inf if change is None else change / size)
        return (float(np.median(ratios)), max(ratios)) if ratios else (math.nan, math.nan)
