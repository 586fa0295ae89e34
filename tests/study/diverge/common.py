"""Nets, batches, and implementations that are wrong on purpose."""

import contextlib

import numpy as np

import scratchvgg as sv
from scratchvgg import conv
from scratchvgg.conv import registry


def net(widths=(4, 4, "M", 6, "M"), num_classes=3, **options):
    """A small net whose batch norms have something to do."""
    model = sv.models.small_vgg(widths=widths, num_classes=num_classes, **options)
    rng = np.random.default_rng(1)
    for module in model.modules():
        if isinstance(module, sv.nn.BatchNorm2d):
            for name, low, high in (("running_mean", -0.3, 0.3), ("running_var", 0.5, 1.5), ("weight", 0.5, 1.5), ("bias", -0.3, 0.3)):
                tensor = getattr(module, name)
                tensor.detach().array[...] = rng.uniform(low, high, tensor.shape)
    return model


def images(n=3, size=12, seed=0):
    """Numbers from N(0, 1), float32."""
    return np.random.default_rng(seed).standard_normal((n, 3, size, size), np.float32)


class Wrong(type(conv.get("im2col"))):
    """im2col with a fault in one pass, in convolutions of so many output channels."""

    name = "wrong"

    def __init__(self, which="forward", channels=6, fault="tap"):
        self.which, self.channels, self.fault = which, channels, fault

    def _spoil(self, which, problem, result):
        if which == self.which and self.channels == problem.K:
            if self.fault == "nan":
                result[0, 0, 0, 0] = np.nan
            else:
                result[:, 0] = result[:, 1] if result.shape[1] > 1 else 2 * result[:, 0]
        return result

    def forward(self, backend, problem, x, w, bias=None, out=None, **options):
        if self.which == "forward" and self.fault == "tap" and self.channels == problem.K:  # one tap of nine is its neighbour
            w = w.copy()
            w[:, :, 0, 0] = w[:, :, 0, 1]
        return self._spoil("forward" if self.fault == "nan" else "", problem, super().forward(backend, problem, x, w, bias, out, **options))

    def grad_input(self, backend, problem, dy, w, out=None):
        return self._spoil("grad_input", problem, super().grad_input(backend, problem, dy, w, out))

    def grad_weight(self, backend, problem, dy, x, out=None):
        return self._spoil("grad_weight", problem, super().grad_weight(backend, problem, dy, x, out))


@contextlib.contextmanager
def registered(algorithm):
    """Have an algorithm in the registry for the time of a block."""
    before = registry.snapshot()
    registry._ALGORITHMS[False][algorithm.name] = algorithm
    try:
        yield
    finally:
        registry.restore(before)


def departing(found) -> dict[str, set]:
    """Layer → the quantities in which a side departs."""
    every = {layer.name: {name for name, own in layer.own.items() if own.departs} for layer in found.layers}
    return {name: quantities for name, quantities in every.items() if quantities}
