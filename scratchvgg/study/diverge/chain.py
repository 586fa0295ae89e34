"""A net as a chain of layers: what lockstep needs, and what every VGG is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ... import nn
from ...autograd import Tensor, from_numpy, no_grad
from ..errors import StudyError

LOSS = "loss"


@dataclass(frozen=True)
class Step:
    """One layer of the chain.

    Attributes:
        name: dotted name, with ``#2`` at a module's second call; ``"loss"`` for cross entropy at the end.
        module: the layer; None for the loss.
        before, after: shape of one image on its way in and out. What one step gives the next takes as the same numbers in another shape.
    """

    name: str
    module: nn.Module | None
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def type(self) -> str:
        """Name of the module's class."""
        return "cross_entropy" if self.module is None else type(self.module).__name__

    def shaped(self, x: np.ndarray) -> np.ndarray:
        """The output of the step before, in the shape of this step's input."""
        return x if x.shape[1:] == self.before else x.reshape(len(x), *self.before)


def steps_of(model: nn.Module, x: np.ndarray) -> list[Step]:
    """The layers of a net in the order in which an image passes them.

    Found by running one image through; the net is left as it was.

    Args:
        x: (N, C, H, W); the first image is used.

    Raises:
        StudyError: if the net does anything to the numbers between its layers, so that layers alone do not make the net.
    """
    found: list[Step] = []
    last = [x[:1]]
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    device = next((p.device for p in model.parameters()), "cpu")

    def enter(module, args):
        given = args[0]
        if len(args) != 1 or not isinstance(given, Tensor) or not _same(last[0], given):
            behind = f"behind {found[-1].name}" if found else "with the image"
            raise StudyError(f"diverge takes nets whose layers follow one another; this one does something else {behind}, before {names[id(module)]}")
        last[0] = given

    def leave(module, args, result):
        name = names[id(module)]
        calls = sum(step.module is module for step in found)
        if not isinstance(result, Tensor):
            raise StudyError(f"diverge: {name} returns {type(result).__name__}, expected one tensor")
        found.append(Step(f"{name}#{calls + 1}" if calls else name, module, tuple(args[0].shape[1:]), tuple(result.shape[1:])))
        last[0] = result

    names = {id(module): name or type(module).__name__ for name, module in leaves}
    modes = [(module, module.training) for module in model.modules()]
    handles = []
    try:
        for _, module in leaves:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        model.eval()
        with no_grad():
            parameter = next(model.parameters(), None)
            image = from_numpy(np.array(x[:1])).to(device)
            try:
                output = model(image if parameter is None else image.to(parameter.dtype))
            except (RuntimeError, ValueError) as error:
                raise error if isinstance(error, StudyError) else StudyError(f"diverge: {type(model).__name__} on {x.shape}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    if not found or not isinstance(output, Tensor) or not _same(last[0], output):
        raise StudyError("diverge takes nets whose output is that of their last layer")
    if len(found[-1].after) != 1:
        raise StudyError(f"diverge: expected an output of shape (N, classes), got (N, {', '.join(map(str, found[-1].after))})")
    return found


def _same(before, now) -> bool:
    """Whether two arrays of one image hold the same numbers in the same order."""
    if math.prod(before.shape) != math.prod(now.shape):
        return False
    if isinstance(before, Tensor) and before.array is now.array:
        return True
    return bool(np.array_equal(_host(before).reshape(-1), _host(now).reshape(-1).astype(np.float64), equal_nan=True))


def _host(array) -> np.ndarray:
    array = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    return array.astype(np.float64)


def check_alike(a: list[Step], b: list[Step]) -> None:
    """Whether two chains can run in lockstep.

    Raises:
        StudyError: at the first layer that differs in name, class or shape.
    """
    for left, right in zip(a, b, strict=False):
        if (left.name, left.type, left.before, left.after) != (right.name, right.type, right.before, right.after):
            raise StudyError(f"two different nets: {_describe(left)} in one, {_describe(right)} in the other")
    if len(a) != len(b):
        longer = a if len(a) > len(b) else b
        raise StudyError(f"two different nets: only one of them has {longer[min(len(a), len(b))].name}")


def _describe(step: Step) -> str:
    return f"{step.name} is {step.type} {'×'.join(map(str, step.before))} → {'×'.join(map(str, step.after))}"
