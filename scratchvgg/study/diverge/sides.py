"""A side: a net, where and in what it computes, layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ... import conv, nn
from ...array import Device, as_dtype, get_backend
from ...autograd import enable_grad, from_numpy, grad, no_grad
from ...conv.candidates import REPRODUCIBLE, predicted
from ..errors import StudyError
from .chain import Step

LIBRARIES = ("scratchvgg", "torch")
DTYPES = ("float16", "bfloat16", "float32", "float64")
OUTPUT, GRAD_INPUT = "output", "grad_input"
STATISTICS = ("running_mean", "running_var")


@dataclass
class Side:
    """What is compared.

    Attributes:
        model: the net whose weights are used; it is not changed.
        device: ``"cpu"``, ``"cuda"``, ``"emulator"``.
        dtype: of activations, weights and gradients.
        algorithm: of all convolutions: a name, the first part of names (``"winograd"``: the cheapest of its kind that the problem allows), a mode of
            :mod:`scratchvgg.conv`, or None for what is in force. Where a named one does not support a problem, im2col does it.
        library: ``"torch"`` builds the same layers in PyTorch.
        name: what to call it.

    Raises:
        StudyError: for an unknown library, type or algorithm, or a device that is not there.
    """

    model: nn.Module
    device: str = "cpu"
    dtype: str = "float32"
    algorithm: str | None = None
    library: str = "scratchvgg"
    name: str = ""

    def __post_init__(self):
        if self.library not in LIBRARIES:
            raise StudyError(f"library: expected one of {', '.join(LIBRARIES)}, got {self.library!r}")
        try:
            self.dtype = as_dtype(self.dtype).name
        except TypeError as error:
            raise StudyError(f"dtype: {error}") from None
        if self.dtype not in DTYPES:
            raise StudyError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r}")
        if self.library == "torch" and self.algorithm is not None:
            raise StudyError(f"algorithm: PyTorch chooses its own, got {self.algorithm!r}")
        if self.library == "scratchvgg":
            try:
                kernels = get_backend(Device(self.device)).runs_kernels
            except RuntimeError as error:
                raise StudyError(f"device: {error}") from None
            if self.algorithm is not None:
                family(self.algorithm, kernels)

    def runner(self, training: bool) -> Runner:
        """What runs its layers, batch norm in training or evaluation mode.

        Raises:
            ImportError: naming the extra, without PyTorch. StudyError: if PyTorch has no such device.
        """
        if self.library == "torch":
            from .torch_side import TorchRunner

            return TorchRunner(self, training)
        return Ours(self, training)


def family(name: str, kernels: bool) -> list[str] | None:
    """The algorithms that a name means: itself, or all that begin with it; None for a mode, which the chooser knows.

    Raises:
        StudyError: if it means none.
    """
    if name in conv.MODES:
        return None
    known = sorted(conv.algorithms(kernels))
    names = [name] if name in known else [other for other in known if other.startswith(name)]
    if not names or not name:
        raise StudyError(f"algorithm: no convolution algorithm {name!r}; there are {', '.join((*conv.MODES, *known))}")
    return names


class Runner:
    """Runs single layers for arrays on the host.

    Attributes:
        side: what it runs. training: the mode of batch norm.
        taken: pass → the convolution algorithm that did it last (an :class:`~scratchvgg.conv.Algorithm`); empty where nobody knows.
    """

    def __init__(self, side: Side, training: bool):
        self.side, self.training, self.taken = side, training, {}

    @property
    def dtype(self) -> str:
        """The side's type."""
        return self.side.dtype

    def about(self) -> str:
        """Library, device, precision: a line for the head of a report."""
        raise NotImplementedError

    def forward(self, step: Step, x: np.ndarray, target) -> dict[str, np.ndarray]:
        """``output``, and ``running_mean`` and ``running_var`` where training moves them."""
        raise NotImplementedError

    def backward(self, step: Step, x: np.ndarray, g: np.ndarray, target) -> dict[str, np.ndarray]:
        """``grad_input``, and a gradient for each parameter under its name (``weight``, ``bias``)."""
        raise NotImplementedError


class Ours(Runner):
    """This library. Layers share the memory of the model's weights where type and device are the same."""

    def __init__(self, side, training):
        super().__init__(side, training)
        self.backend = get_backend(Device(side.device))
        self.names = None if side.algorithm is None else family(side.algorithm, self.backend.runs_kernels)
        self._converted: dict[int, tuple] = {}

    def about(self):
        """As above."""
        algorithm = "convolutions " + (self.side.algorithm or conv.current())
        return f"scratchvgg, {self.backend.device}, {self.dtype}, {algorithm}"

    def forward(self, step, x, target):
        """As above."""
        layer = self._layer(step)
        with no_grad(), conv.cache_filters(False), self._choosing():
            y = self._call(layer, self._tensor(x), target)
        moved = {name: getattr(layer, name) for name in STATISTICS if self.training and getattr(layer, name, None) is not None}
        return {OUTPUT: _host(y), **{name: _host(buffer) for name, buffer in moved.items()}}

    def backward(self, step, x, g, target):
        """As above."""
        layer = self._layer(step)
        given = self._tensor(x).requires_grad_(True)
        parameters = {name: p for name, p in layer._parameters.items() if p is not None} if layer is not None else {}
        with enable_grad(), self._choosing():
            y = self._call(layer, given, target)
            results = grad([y], [given, *parameters.values()], [self._tensor(g)])
        return {name: _host(result) for name, result in zip([GRAD_INPUT, *parameters], results, strict=True)}

    def _call(self, layer, x, target):
        if layer is None:
            return nn.functional.cross_entropy(x, from_numpy(target).to(self.backend.device))
        return layer(x)

    def _tensor(self, array):
        return from_numpy(np.asarray(array).astype(as_dtype(self.dtype).numpy)).to(self.backend.device)

    def _layer(self, step: Step):
        """The layer by itself: no hooks, nothing in place, its own statistics, the model's weights as leaves that want a gradient."""
        module = step.module
        if module is None:
            return None
        layer = copy.copy(module)
        layer.__dict__.update({name: {} for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")})
        held = self._converted.get(id(module))
        if held is None:
            held = tuple({name: None if t is None else self._convert(t) for name, t in tensors.items()}
                         for tensors in (module._parameters, module._buffers))
            self._converted[id(module)] = held
        parameters, buffers = held
        layer.__dict__["_parameters"] = {name: None if p is None else p.detach().requires_grad_(True) for name, p in parameters.items()}
        layer.__dict__["_buffers"] = {name: None if b is None else b.clone() for name, b in buffers.items()}
        layer.__dict__["training"] = self.training and isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        if getattr(module, "inplace", False):
            layer.inplace = False
        return layer

    def _convert(self, tensor):
        tensor = tensor.detach()
        return tensor.to(device=self.backend.device, dtype=self.dtype if tensor.is_floating_point() else None)

    @contextmanager
    def _choosing(self):
        self.taken = {}
        mode = self.side.algorithm if self.names is None and self.side.algorithm else conv.current()
        with conv.using(mode), conv.intercept_choices(self._choose):
            yield

    def _choose(self, problem, dtype, which, chosen):
        if self.names is not None:
            known = conv.algorithms(chosen.kernels)
            able = [known[name] for name in self.names if known[name].supports(problem, dtype)]
            chosen = min(able, key=lambda a: (predicted(a, problem, dtype, which), a.name), default=known[REPRODUCIBLE])
        self.taken[which] = chosen
        return chosen


def _host(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def rounded(dtypes: Mapping[str, None] | list[str]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that rounds float64 numbers to ones that all these types hold."""
    narrow = sorted({name for name in dtypes if name != "float64"}, key=lambda name: -as_dtype(name).itemsize)

    def apply(array: np.ndarray) -> np.ndarray:
        for name in narrow:
            array = array.astype(as_dtype(name).numpy)
        return array.astype(np.float32) if narrow else array

    return apply
