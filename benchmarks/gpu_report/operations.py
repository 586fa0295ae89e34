"""Our other operations beside PyTorch's: forward alone, and forward with backward, as a program calls them, tape included."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import scratchvgg as sv

from .child import each
from .common import clock, clocks_noted, free, torch_gpu


@dataclass(frozen=True)
class Operation:
    """``call(F, x, *more)`` with F the ``nn.functional`` of either library; the shape of ``x`` in VGG-16 with 64 images, and those of further
    arrays that are differentiated too."""

    call: Callable
    shape: tuple[int, ...]
    more: tuple[tuple[int, ...], ...] = ()


OPERATIONS = {
    "relu": Operation(lambda F, x: F.relu(x), (64, 64, 224, 224)),
    "max_pool2d, 2×2": Operation(lambda F, x: F.max_pool2d(x, 2), (64, 64, 224, 224)),
    "max_pool2d, 3×3, stride 2": Operation(lambda F, x: F.max_pool2d(x, 3, 2), (64, 64, 112, 112)),
    "avg_pool2d, 2×2": Operation(lambda F, x: F.avg_pool2d(x, 2), (64, 64, 112, 112)),
    "adaptive_avg_pool2d to 7×7": Operation(lambda F, x: F.adaptive_avg_pool2d(x, 7), (64, 512, 14, 14)),
    "batch_norm, training": Operation(lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), (64, 128, 112, 112), ((128,), (128,))),
    "local_response_norm": Operation(lambda F, x: F.local_response_norm(x, 5), (64, 64, 112, 112)),
    "linear, 25088 to 4096": Operation(lambda F, x, w, b: F.linear(x, w, b), (64, 25088), ((4096, 25088), (4096,))),
    "log_softmax, 1000": Operation(lambda F, x: F.log_softmax(x, 1), (4096, 1000)),
}


def small(operation: Operation) -> Operation:
    """The same on arrays of a few hundred elements."""
    def cut(shape):
        return tuple(min(n, 8) for n in shape)

    return Operation(operation.call, cut(operation.shape), tuple(map(cut, operation.more)))


def operations(kept, keep, args):
    """Each operation in float32 and bfloat16 on both sides, the same numbers in the same memory."""
    torch = torch_gpu(args)
    keep(torch=torch and torch.__version__, cudnn=torch and torch.backends.cudnn.version())

    def measure(name, precision):
        free(torch)
        operation = small(OPERATIONS[name]) if args.rehearse else OPERATIONS[name]
        tensors = arrays(operation, precision, "cuda")
        theirs = [torch.from_dlpack(t) for t in tensors] if torch else []
        for backward in (False, True):
            sides = {"ours": call_of(sv, operation, tensors, backward)} | (
                {"torch": call_of(torch, operation, theirs, backward)} if torch else {})
            timed = clock(args, sides, 0.1)
            row = {"operation": name, "mode": "forward and backward" if backward else "forward", "shape": operation.shape, "precision": precision,
                   "times": {side: timing.summary() for side, timing in timed.items()}, "ratio": timed.ratio("torch", "ours") if torch else None}
            keep(rows=[*kept.get("rows", []), row])

    with clocks_noted(kept, keep):
        each(kept, keep, ((f"{name} {precision}", f"{name}, {precision}", functools.partial(measure, name, precision))
                          for precision in ("float32", "bfloat16") for name in OPERATIONS))


def arrays(operation: Operation, precision: str, device: str) -> list:
    """Its arrays, normal numbers, images channels last."""
    tensors = [sv.randn(*shape, device=device).to(getattr(sv, precision)) for shape in (operation.shape, *operation.more)]
    return [t.contiguous(memory_format=sv.channels_last) if t.ndim == 4 else t for t in tensors]


def call_of(library, operation: Operation, tensors, backward: bool):
    """A call of it by scratchvgg or torch; it returns the result, or the gradients of all arrays for a gradient equal to the result."""
    F, leaves = library.nn.functional, [t.detach().requires_grad_() for t in tensors]

    def forward():
        with library.no_grad():
            return operation.call(F, *tensors)

    def both():
        for leaf in leaves:
            leaf.grad = None
        y = operation.call(F, *leaves)
        y.backward(y.detach())
        return [leaf.grad for leaf in leaves]

    return both if backward else forward
