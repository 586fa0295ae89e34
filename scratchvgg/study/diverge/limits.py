"""How far rounding may take a layer's result from the truth: beyond this a layer *departs*.

- Convolutions and linear layers: the bound that the algorithm itself declares, relative to S = Σ |x|·|w|, times the largest S; of PyTorch, whose
  algorithm nobody knows, that of a plain sum of products (:mod:`scratchvgg.conv.errors`, after Higham). Where a side's type is
  narrower than the weights', rounding those counts too.
- ReLU, max-pool and other layers that only select: :data:`EXACT` roundings.
- Everything else (batch norm, averages, LRN, cross entropy): the inputs are changed at random by one rounding each, the float64 truth carries that
  through, and what comes out, with a rounding of the result, is allowed :data:`TIMES` times; in gradients of parameters, which add up over all
  pixels, √(pixels / :data:`MANY`) times more beyond so many.
"""

from __future__ import annotations

import math

import numpy as np

from ... import conv, nn
from ...array import CPU, get_backend
from ...array.dtypes import as_dtype
from ...conv.errors import sum_bound, unit_roundoff
from ...ops.conv2d import conv_problem
from .chain import Step
from .decisions import decides
from .sides import GRAD_INPUT, OUTPUT, Ours, Runner

EXACT, TIMES, MANY = 4, 64, 1 << 16
LOOSEST = {"float16": 5e-2, "bfloat16": 5e-2}  # a declared bound above this, or 1 % elsewhere, is not believed
_TINY = 2.0**-24  # the change of the inputs that is carried through
_PASS = {OUTPUT: "forward", GRAD_INPUT: "grad_input", "weight": "grad_weight"}
_SELECT = (nn.Dropout, nn.Identity, nn.Flatten)

Sizes = dict[str, float]


def sums(step: Step) -> bool:
    """Whether the layer adds up products, so that S is known."""
    return type(step.module) is nn.Linear or (type(step.module) is nn.Conv2d and step.module.padding_mode == "zeros")


def selects(step: Step) -> bool:
    """Whether the layer computes nothing."""
    return decides(step) or isinstance(step.module, _SELECT)


def forward_sizes(truth: Ours, step: Step, x: np.ndarray, results: dict, target) -> Sizes:
    """What :func:`allowed` needs of the forward pass: the largest S, or what a rounding of the input does to the result."""
    if sums(step):
        return {OUTPUT: _sum(step, "forward", x)}
    if selects(step):
        return {}
    changed = truth.forward(step, _shaken(x), target)
    return {name: float(np.abs(changed[name] - value).max(initial=0.0)) / _TINY for name, value in results.items()}


def backward_sizes(truth: Ours, step: Step, x: np.ndarray, g: np.ndarray, results: dict, target) -> Sizes:
    """The same of the backward pass."""
    if sums(step):
        sizes = {GRAD_INPUT: _sum(step, "grad_input", g), "weight": _sum(step, "grad_weight", g, x)}
        return sizes | ({"bias": bias_size(g)} if "bias" in results else {})
    if selects(step):
        return {}
    changed = truth.backward(step, _shaken(x), _shaken(g, 1), target)
    return {name: float(np.abs(changed[name] - value).max(initial=0.0)) / _TINY for name, value in results.items()}


def bias_size(g: np.ndarray) -> float:
    """Largest Σ |g| of a channel: what a bias's gradient is added up from."""
    return float(np.abs(g).sum((0, *range(2, g.ndim)), dtype=np.float64).max(initial=0.0))


def allowed(runner: Runner, step: Step, quantity: str, sizes: Sizes, largest: float, batch: int, weights: str) -> float:
    """The error, relative to the largest true number, that rounding explains.

    Args:
        sizes: of :func:`forward_sizes` or :func:`backward_sizes`. largest: max |truth|.
        batch: images. weights: the type that the model's weights have.
    """
    u = unit_roundoff(runner.dtype)
    if selects(step):
        return EXACT * u
    size = sizes[quantity] / largest
    if not sums(step):
        added = batch * math.prod(step.before[1:]) if quantity in _parameters(step) else 1
        return TIMES * max(1.0, math.sqrt(added / MANY)) * u * (size + 1)
    bound = _declared(runner, step, quantity, batch)
    if as_dtype(runner.dtype).itemsize < as_dtype(weights).itemsize and quantity in (OUTPUT, GRAD_INPUT):
        bound += u
    if runner.dtype == "float64":
        bound *= 2  # the truth is float64 too
    return bound * size + _smallest(runner.dtype) / largest


def _parameters(step) -> tuple[str, ...]:
    return () if step.module is None else tuple(step.module._parameters)


def _declared(runner, step, quantity, batch) -> float:
    module, dtype = step.module, runner.dtype
    if type(module) is nn.Linear:
        terms = {OUTPUT: module.in_features + 1, GRAD_INPUT: module.out_features, "weight": batch, "bias": batch}[quantity]
        return sum_bound(terms, dtype)
    problem = _problem(step, batch)
    if quantity == "bias":
        return sum_bound(batch * problem.P * problem.Q, dtype)
    algorithm = runner.taken.get(_PASS[quantity]) or conv.get("im2col")
    return min(algorithm.error_bound(problem, dtype, _PASS[quantity]), LOOSEST.get(dtype, 1e-2))


def _smallest(dtype) -> float:
    """The smallest number above 0: results below it are lost."""
    return {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149}.get(dtype, 2.0**-1074)


def _problem(step, batch):
    module = step.module
    return conv_problem((batch, *step.before), module.weight.shape, module.stride, module.padding, module.dilation, module.groups)


def _sum(step: Step, which: str, first: np.ndarray, second: np.ndarray | None = None) -> float:
    """max S of a pass, in float32: of forward from x, of grad_input from g, of grad_weight from g and x."""
    module = step.module
    first = np.abs(first, dtype=np.float32)
    weight = module.weight.detach().cpu().numpy()
    if type(module) is nn.Conv2d:
        algorithm, backend, problem = conv.get("im2col"), get_backend(CPU), _problem(step, len(first))
        if which == "grad_weight":
            return float(algorithm.grad_weight(backend, problem, first, np.abs(second, dtype=np.float32)).max(initial=0.0))
        size = getattr(algorithm, which)(backend, problem, first, np.abs(weight, dtype=np.float32))
        return float((size + _bias(module)[:, None, None] if which == "forward" else size).max(initial=0.0))
    if which == "grad_weight":
        second = np.abs(second, dtype=np.float32)
        return max(float((first[:, i : i + 256].T @ second).max(initial=0.0)) for i in range(0, first.shape[1], 256))
    parts = [np.abs(weight[i : i + 256], dtype=np.float32) for i in range(0, len(weight), 256)] if which == "forward" else None
    if parts is not None:
        return float((np.concatenate([first @ part.T for part in parts], 1) + _bias(module)).max(initial=0.0))
    total = np.zeros((len(first), weight.shape[1]), np.float32)
    for i in range(0, len(weight), 256):
        total += first[:, i : i + 256] @ np.abs(weight[i : i + 256], dtype=np.float32)
    return float(total.max(initial=0.0))


def _bias(module) -> np.ndarray:
    return np.zeros(1, np.float32) if module.bias is None else np.abs(module.bias.detach().cpu().numpy(), dtype=np.float32)


def _shaken(array: np.ndarray, seed: int = 0) -> np.ndarray:
    """Every number changed by one rounding, up or down, float64; signs and zeros stay."""
    signs = np.random.default_rng(seed).integers(0, 2, array.shape, np.int8) * 2.0 - 1.0
    return array.astype(np.float64) * (1.0 + _TINY * signs)
