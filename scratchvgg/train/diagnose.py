"""Where a NaN began: the batch is run again, layer by layer."""

from __future__ import annotations

import numpy as np

from ..autograd import Tensor


def first_non_finite(model, images, labels, loss_function) -> str:
    """One line that names the first layer, in the order of execution, whose output holds NaN or Inf; else the first gradient that does.

    Args:
        model: the net, in the mode and with the weights and random state it had. Its gradients are overwritten.
        images, labels: the batch. loss_function: called as ``loss_function(logits, labels)``.
    """
    bad = _describe(images)
    if bad:
        return f"the batch of images itself holds {bad}"
    found: list[str] = []
    names = dict(model.named_modules())
    handles = [module.register_forward_hook(_watch(name, found)) for name, module in names.items() if not list(module.children())]
    try:
        loss = loss_function(model(images), labels)
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    if not np.isfinite(loss.item()):
        return "every layer's output is finite, the loss itself is not"
    return _gradients(model, loss)


def _watch(name: str, found: list[str]):
    def hook(module, inputs, output):
        bad = None if found else _describe(output)
        if bad:
            owner = f"layer {name} ({type(module).__name__})" if name else type(module).__name__
            broken = [key for key, p in [*module.named_parameters(), *module.named_buffers()] if _describe(p)]
            has = "has" if len(broken) == 1 else "have"
            cause = f"its {' and '.join(broken)} {has} it already" if broken else "its weights and its input are finite"
            found.append(f"{owner} is the first whose output holds {bad}; {cause}")

    return hook


def _gradients(model, loss) -> str:
    for parameter in model.parameters():
        parameter.grad = None
    loss.backward()
    for name, parameter in reversed(list(model.named_parameters())):  # backward comes from the end
        bad = parameter.grad is not None and _describe(parameter.grad)
        if bad:
            return f"the loss is finite, the gradient of {name} is the first that holds {bad}"
    return "the batch is finite when it is run again"


def _describe(tensor: Tensor) -> str | None:
    """ "NaN", "Inf" or "NaN and Inf", with how many; None if all is finite."""
    xp, array = tensor.backend.xp, tensor.array
    if array.dtype.kind not in "fV":
        return None
    with tensor.backend.quiet():
        nan, inf = int(xp.isnan(array).sum()), int(xp.isinf(array).sum())
    kinds = [kind for kind, n in (("NaN", nan), ("Inf", inf)) if n]
    return f"{' and '.join(kinds)} ({nan + inf} of {array.size} values)" if kinds else None


def non_finite_parameters(model) -> list[str]:
    """Names of the parameters and buffers that hold NaN or Inf."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, t in named if t.dtype.is_floating_point and not t.detach().isfinite().all()]
