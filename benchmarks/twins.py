"""The same net in torch: modules of the same names, classes and options, and the same weights."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import torch

from scratchvgg import nn
from scratchvgg.models import get_model


def build(net: str):
    """A VGG of ``scratchvgg.models`` by name and options: ``vgg16``, ``cifar_vgg:config=A,batch_norm=False``. Dropout is off unless given.

    Raises:
        ValueError: for an unknown net or malformed options.
    """
    name, _, rest = net.partition(":")
    options = {"dropout": 0.0}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{net!r}: expected options as key=value, got {item!r}")
        try:
            options[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            options[key] = value
    return get_model(name, **options)


class TwinVGG(torch.nn.Module):
    """A VGG of ours in torch: the same children, called in order, flattened before the classifier."""

    def __init__(self, net: nn.Module):
        super().__init__()
        for name, child in net.named_children():
            self.add_module(name, twin_module(child))

    def forward(self, x):
        """Logits of a batch of images."""
        for name, child in self.named_children():
            x = child(x.flatten(1) if name == "classifier" else x)
        return x


def twin_module(module: nn.Module) -> torch.nn.Module:
    """torch's module of the same class, its constructor's arguments read off the attributes of ours; weights are not filled in.

    Raises:
        TypeError: if torch has no such class.
    """
    if isinstance(module, nn.Sequential):
        return torch.nn.Sequential(*(twin_module(child) for child in module))
    theirs = getattr(torch.nn, type(module).__name__, None)
    if theirs is None:
        raise TypeError(f"torch.nn has no {type(module).__name__}")
    names = [n for n in inspect.signature(theirs.__init__).parameters if n not in ("self", "device", "dtype") and hasattr(module, n)]
    options = {n: getattr(module, n) for n in names}
    if "bias" in options:
        options["bias"] = options["bias"] is not None
    with torch.device("meta"):
        return theirs(**options)


def twin(net: nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """``net`` in torch, its weights and buffers copied and cast to ``dtype``."""
    twin = TwinVGG(net).to_empty(device="cpu")
    state = {name: torch.from_numpy(np.ascontiguousarray(tensor.detach().numpy())) for name, tensor in net.state_dict().items()}
    twin.load_state_dict(state)
    return twin.to(dtype).train(net.training)
