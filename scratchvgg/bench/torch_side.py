"""PyTorch as the other side of a measurement: same arrays, same threads, in its better memory format."""

from __future__ import annotations

import functools
import inspect

import numpy as np

from .. import nn
from ..array import get_num_threads

LAYOUTS = {"NCHW": "contiguous_format", "channels_last": "channels_last"}


def require():
    """The torch module, its threads set to ours.

    Raises:
        ImportError: without PyTorch; the message names the extra.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("comparing with PyTorch needs torch: pip install 'scratchvgg[torch]'") from None
    if torch.get_num_threads() != get_num_threads():
        torch.set_num_threads(get_num_threads())
    return torch


def describe() -> dict:
    """Version, threads and precision settings."""
    torch = require()
    return {"version": torch.__version__, "threads": torch.get_num_threads(), "onednn": torch.backends.mkldnn.is_available(),
            "float32_matmul_precision": torch.get_float32_matmul_precision()}


def headline(about: dict) -> str:
    """A line for the top of a table."""
    return (f"PyTorch {about['version']}, {about['threads']} threads, oneDNN {'on' if about['onednn'] else 'off'}, "
            f"float32 matmul precision {about['float32_matmul_precision']}")


def convolutions(problem, which: str, operands, dtype: str) -> dict:
    """Memory format → a call that computes the pass (``forward`` with bias and ReLU) and returns torch's tensor.

    The same numbers as ``operands``, laid out beforehand. Asymmetric padding is not torch's.
    """
    torch = require()
    element = getattr(torch, dtype)
    (top, _), (left, _) = problem.padding

    def arrays(layout):
        def tensor(a):
            t = torch.from_numpy(np.ascontiguousarray(a)).to(element)
            return t.contiguous(memory_format=getattr(torch, LAYOUTS[layout])) if t.ndim == 4 else t

        return [tensor(a) for a in (operands.x, operands.w, operands.bias, operands.dy)]

    def forward(x, w, bias, dy):
        with torch.inference_mode():
            return torch.relu_(torch.nn.functional.conv2d(x, w, bias, problem.stride, (top, left), problem.dilation, problem.groups))

    def backward(x, w, bias, dy):
        mask = [which == "grad_input", which == "grad_weight", False]
        with torch.inference_mode():
            results = torch.ops.aten.convolution_backward(dy, x, w, None, problem.stride, (top, left), problem.dilation, False, [0, 0],
                                                          problem.groups, mask)
        return results[mask.index(True)]

    call = forward if which == "forward" else backward
    return {layout: functools.partial(call, *arrays(layout)) for layout in LAYOUTS}


def twin(net: nn.Module, dtype: str = "float32", layout: str = "NCHW", share_linear: nn.Module | None = None):
    """``net`` in plain ``torch.nn``: modules of the same names, classes and options, and the same weights and buffers.

    Args:
        share_linear: an earlier twin whose linear layers to use instead of copying them (123 of VGG-16's 138 million weights).

    Raises:
        TypeError: if torch has no module of some class.
    """
    torch = require()

    class Twin(torch.nn.Module):
        def __init__(self, children):
            super().__init__()
            for name, child in children.items():
                self.add_module(name, child)

        def forward(self, x):
            for name, child in self.named_children():
                x = child(x.flatten(1) if name == "classifier" else x)
            return x

    result = Twin({name: _module(torch, child) for name, child in net.named_children()})
    for name, tensor in net.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        module = result.get_submodule(owner)
        if share_linear is not None and isinstance(module, torch.nn.Linear):
            setattr(module, leaf, getattr(share_linear.get_submodule(owner), leaf))
            continue
        array = np.array(tensor.detach().numpy(), order="C")
        value = torch.from_numpy(array).to(getattr(torch, dtype) if array.dtype.kind == "f" else None)
        if value.ndim == 4:
            value = value.contiguous(memory_format=getattr(torch, LAYOUTS[layout]))
        setattr(module, leaf, torch.nn.Parameter(value) if leaf in module._parameters else value)
    return result.train(net.training)


def _module(torch, module):
    """torch's module of the same class, its constructor's arguments read off the attributes of ours; without memory for weights."""
    if isinstance(module, nn.Sequential):
        return torch.nn.Sequential(*(_module(torch, child) for child in module))
    theirs = getattr(torch.nn, type(module).__name__, None)
    if theirs is None:
        raise TypeError(f"torch.nn has no {type(module).__name__}")
    names = [n for n in inspect.signature(theirs.__init__).parameters if n not in ("self", "device", "dtype") and hasattr(module, n)]
    options = {n: getattr(module, n) for n in names}
    if "bias" in options:
        options["bias"] = options["bias"] is not None
    with torch.device("meta"):
        return theirs(**options)
