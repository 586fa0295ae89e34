"""One run of a net on one picture, for a question about one class; afterwards the net is as it was."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...array import default_generator
from ...autograd import Tensor, as_tensor, enable_grad, grad
from ...evaluate.predict import softmax
from ...nn import Module, fusion
from ..classes import class_index, near_names
from ..errors import StudyError


@dataclass(frozen=True)
class ClassScore:
    """The class that a map is for.

    Attributes:
        index: its number. name: None if nobody knows it.
        probability: that the net gives it. score: its output before the softmax.
        asked: False if it is simply the likeliest one.
    """

    index: int
    name: str | None
    probability: float
    score: float
    asked: bool = False

    def __str__(self):
        return f"{self.name or f'class {self.index}'} ({100 * self.probability:.2f} %)"

    def to_dict(self) -> dict:
        """Plain values."""
        return {"index": self.index, "name": self.name, "probability": self.probability, "score": self.score}


@contextlib.contextmanager
def undisturbed(model: Module, fused: bool = False) -> Iterator[None]:
    """Evaluation mode, every layer by itself (unless ``fused``), nothing in place, and no parameter asks for a gradient: only the picture does.

    Modes, flags, gradients, buffers and the default generator's state are put back, also after an error.
    """
    modes = [(module, module.training, getattr(module, "inplace", None)) for module in model.modules()]
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers, state = [(buffer, buffer.array.copy()) for buffer in model.buffers()], default_generator.get_state()
    try:
        model.eval()
        for module, _, inplace in modes:
            if inplace is True:
                module.inplace = False
        for parameter, _ in asked:
            parameter.requires_grad_(False)
        with fusion(fused), enable_grad():
            yield
    finally:
        for module, training, inplace in modes:
            module.training = training
            if inplace is True:
                module.inplace = True
        for parameter, asks in asked:
            parameter.requires_grad_(asks)
        for buffer, before in buffers:
            if not (buffer.array == before).all():
                buffer.array[...] = before
        default_generator.set_state(state)


def as_picture(model: Module, x) -> Tensor:
    """``x`` as a fresh leaf (1, C, H, W) on the model's device and in its type.

    Args:
        x: a Tensor or array (C, H, W) or (1, C, H, W), normalised as the net was trained.

    Raises:
        StudyError: for another shape, or integers.
    """
    x = as_tensor(x).detach()
    if not x.dtype.is_floating_point:
        raise StudyError(f"x: expected a normalised picture of real numbers, got {x.dtype}")
    shape = tuple(x.shape)
    x = x.unsqueeze(0) if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[0] != 1:
        raise StudyError(f"x: expected one picture (1, C, H, W) or (C, H, W), got shape {shape}")
    first = next((p for p in model.parameters() if p.dtype.is_floating_point), None)
    x = x if first is None else x.to(first.device, first.dtype)
    return Tensor.wrap(x.backend, x.array.copy())


def numpy(tensor: Tensor) -> np.ndarray:
    """The numbers on the host; 16-bit types become float32."""
    array = tensor.backend.to_numpy(tensor.array)
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def find_class(target, classes: int, categories: Sequence[str] | None, logits: np.ndarray) -> ClassScore:
    """The class that ``target`` means: None is the likeliest, an integer a number, a text a name or a number.

    Args:
        logits: (classes,).

    Raises:
        StudyError: if there is no such class; the message has near names.
    """
    names = list(categories) if categories is not None and len(categories) == classes else None
    wanted = target.item() if isinstance(target, (Tensor, np.ndarray, np.generic)) and np.prod(target.shape) == 1 else target
    if wanted is None:
        index = int(np.argmax(logits))
    elif isinstance(wanted, str):
        index = class_index(wanted, names, classes)
    elif isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool) and 0 <= wanted < classes:
        index = int(wanted)
    else:
        raise StudyError(f"target: expected a class from 0 to {classes - 1}, or its name, got {target!r}")
    p = softmax(logits.astype(np.float64))[index]
    return ClassScore(index, names[index] if names else None, float(p), float(logits[index]), target is not None)


def check_layer(model: Module, layer: str) -> None:
    """Raises:
        StudyError: if the model has no module of that dotted name; the message has near ones.
    """
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        near = difflib.get_close_matches(str(layer), names, 3, 0.5)
        raise StudyError(f"layer: there is no layer {layer!r}{near_names(near) or f'; there are {names[0]} … {names[-1]}' if names else ''}")


@dataclass
class Run:
    """A forward of one picture, on the tape.

    Attributes:
        x: the picture, a leaf (1, C, H, W). logits: (1, classes). target: the class in question.
    """

    x: Tensor
    logits: Tensor
    target: ClassScore

    def gradient_of_score(self, *tensors: Tensor, keep: bool = False) -> tuple[np.ndarray, ...]:
        """∂(score of the class)/∂tensor of each, on the host; ``keep`` the tape for another call.

        Raises:
            StudyError: if the score does not depend on one.
        """
        try:
            answers = grad(self.logits[0, self.target.index], tensors, retain_graph=keep)
        except RuntimeError as error:
            if "was not used" in str(error) or "does not require grad" in str(error):
                raise StudyError(f"the score of the class has no gradient there: {error}") from None
            raise
        return tuple(map(numpy, answers))


def forward(model: Module, x: Tensor, target=None, categories=None) -> Run:
    """Run the net on the leaf ``x`` within :func:`undisturbed`.

    Raises:
        StudyError: if it does not return (1, classes), or does not know the class. RuntimeError: what the net raises.
    """
    x.requires_grad_(True)
    logits = model(x)
    check_logits(logits)
    return Run(x, logits, find_class(target, logits.shape[1], categories, numpy(logits.detach())[0]))


def check_logits(logits) -> None:
    """Raises:
        StudyError: unless it is a Tensor (N, classes) of finite numbers.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise StudyError(f"model: expected a classifier that returns (N, classes), got {got}")
    if not np.isfinite(numpy(logits.detach())).all():
        raise StudyError("model: its output is not finite: these weights have no usable classifier (NaN or infinite)")


@contextlib.contextmanager
def hooked(model: Module, wanted: Callable[[str, Module], bool], hook: Callable[[str, Module, object], object]) -> Iterator[None]:
    """Call ``hook(name, module, output)`` after each run of a module that is ``wanted``; what it returns replaces the output, None does not."""
    handles = []
    try:
        for name, module in model.named_modules():
            if wanted(name, module):
                handles.append(module.register_forward_hook(lambda m, args, output, name=name: hook(name, m, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()
