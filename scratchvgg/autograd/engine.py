"""Backward: walk the tape from the largest number down, adding gradients where paths meet.

A node's gradient is complete when it comes off the heap, because all its consumers have larger numbers. What a node kept is
dropped the moment it is used (unless ``retain_graph``), so memory falls while backward runs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from contextlib import contextmanager, nullcontext

from . import anomaly
from .grad_mode import no_grad, state
from .node import Leaf
from .table import ops
from .tensor import Tensor

_interceptors: list[Callable] = []


@contextmanager
def intercept_backward(interceptor: Callable):
    """Let ``interceptor(node, grads, proceed)`` stand around the backward of every recorded operation: timing and inspection attach here.

    ``grads`` are the arrays that arrived, one for each output of the operation; ``proceed(grads)`` computes the gradients of its arguments (an
    array or a tuple), which the interceptor must return. A leaf (``AccumulateGrad``) has nothing to compute: there ``proceed`` returns ().
    """
    _interceptors.append(interceptor)
    try:
        yield
    finally:
        _interceptors.remove(interceptor)


def _onion(node, grads, compute, depth):
    if depth < 0:
        return compute(grads)
    return _interceptors[depth](node, grads, lambda g: _onion(node, g, compute, depth - 1))


class _Buffer:
    """Gradients on their way to one node: one slot per output; ``owned`` slots may be added to in place."""

    __slots__ = ("slots", "owned")

    def __init__(self, outputs):
        self.slots, self.owned = [None] * outputs, [False] * outputs

    def add(self, index, grad, fresh):
        held = self.slots[index]
        if held is None:
            self.slots[index], self.owned[index] = grad, fresh
        elif self.owned[index]:
            held += grad
            self.slots[index] = held  # += makes a new object of a NumPy scalar
        else:
            self.slots[index], self.owned[index] = held + grad, True


def run_backward(roots, *, retain_graph: bool, inputs=None):
    """Push gradients from ``roots`` down the tape.

    Args:
        roots: pairs (Tensor, gradient array).
        retain_graph: keep what the nodes saved, for another backward.
        inputs: Tensors whose gradients to return instead of adding anything to ``.grad``; None accumulates into all leaves.

    Returns:
        None, or one array or None per tensor of ``inputs``.

    Raises:
        RuntimeError: when the tape was freed by an earlier backward.
    """
    buffers: dict[object, _Buffer] = {}
    heap: list[tuple[int, object]] = []

    def push(node, index, grad, fresh):
        if node not in buffers:
            buffers[node] = _Buffer(len(node.outputs))
            heapq.heappush(heap, (-node.number, node))
        buffers[node].add(index, grad, fresh)

    wanted: dict[object, list[tuple[int, int]]] = {}  # node -> (output index, place in the answer)
    needed = None
    if inputs is not None:
        for place, tensor in enumerate(inputs):
            node, index = tensor.gradient_edge()
            wanted.setdefault(node, []).append((index, place))
        needed = _nodes_leading_to([t.gradient_edge()[0] for t, _ in roots], set(wanted))
    answer = None if inputs is None else [None] * len(inputs)

    for tensor, grad in roots:
        push(*tensor.gradient_edge(), grad, False)
    home = roots[0][0].backend if roots else None
    with no_grad(), home.quiet() if roots else nullcontext():
        while heap:
            _, node = heapq.heappop(heap)
            buffer = buffers.pop(node)
            _run_hooks(node, buffer)
            for index, place in wanted.get(node, ()):
                answer[place] = buffer.slots[index]
            if isinstance(node, Leaf):
                if _interceptors:
                    _onion(node, buffer.slots, lambda grads: (), len(_interceptors) - 1)
                if inputs is None and buffer.slots[0] is not None:
                    _accumulate(node.tensor, buffer.slots[0], buffer.owned[0])
                continue
            if needed is not None and node not in needed:
                continue
            backend = node.outputs[0][2]
            with nullcontext() if backend is home else backend.quiet():  # gradients may pass from device to device
                _step(node, buffer.slots, push, needed, wanted)
            if not retain_graph:
                node.free()
    return answer


def _step(node, grads, push, needed, wanted):
    """Run one node's backward and send the results along its edges."""
    ctx = node.fetch()
    if ctx is None:
        raise RuntimeError(
            f"trying to backward through {node.name} a second time: what it had saved was freed by the first backward; "
            "pass retain_graph=True to the first one to keep it"
        )
    for index, (shape, dtype, backend) in enumerate(node.outputs):
        if grads[index] is None:
            grads[index] = backend.zeros(shape, dtype)
    if _interceptors:
        results = _onion(node, grads, lambda g: node.op.backward(ctx, *g), len(_interceptors) - 1)
    else:
        results = node.op.backward(ctx, *grads)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(node.edges):
        raise RuntimeError(f"{node.name}: backward returned {len(results)} gradients for {len(node.edges)} arguments")
    if state.anomaly:
        anomaly.check_backward(node, ctx.xp, results)
    arrived = {id(g) for g in grads}
    handed_out: set[int] = set()
    for argument, (edge, grad) in enumerate(zip(node.edges, results, strict=True)):
        if edge is None or grad is None:
            continue
        target, index = edge
        if needed is not None and target not in needed and target not in wanted:
            continue
        shape, dtype, _ = target.outputs[index]
        if grad.shape != shape:
            raise RuntimeError(f"{node.name}: the gradient of argument {argument} has shape {tuple(grad.shape)}, expected {tuple(shape)}")
        if grad.dtype != dtype:
            grad = grad.astype(dtype)
        writable = getattr(grad.flags, "writeable", True)  # NumPy's broadcast of a number is not
        fresh = writable and grad.size > 0 and id(grad) not in arrived and id(grad) not in handed_out and not any(
            type(g) is type(grad) and ctx.xp.may_share_memory(grad, g) for g in grads if g is not None
        )
        handed_out.add(id(grad))
        push(target, index, grad, fresh)


def _run_hooks(node, buffer):
    """Tensor hooks (which may replace the gradient) and ``retain_grad``."""
    for index, hooks in list(node.hooks.items()):
        grad = buffer.slots[index]
        if grad is None:
            continue
        backend = node.outputs[index][2]
        for hook in list(hooks.values()):
            replaced = hook(Tensor.wrap(backend, grad))
            if replaced is not None:
                if not isinstance(replaced, Tensor) or replaced.shape != tuple(grad.shape):
                    raise RuntimeError(f"hook of {node.name}: expected None or a Tensor of shape {tuple(grad.shape)}, got {replaced!r}")
                grad = replaced.array
                buffer.owned[index] = False
        buffer.slots[index] = grad
    for index, reference in node.retained.items():
        tensor = reference()
        if tensor is not None and buffer.slots[index] is not None:
            _accumulate(tensor, buffer.slots[index], False)


def _accumulate(tensor, grad, fresh):
    with tensor.backend.quiet():
        if tensor.grad is None:
            tensor.grad = Tensor.wrap(tensor.backend, grad if fresh else grad.copy("K"))
        else:
            tensor.grad.array[...] += grad
            tensor.grad.version.value += 1


def _nodes_leading_to(roots, targets):
    """The nodes on a path from ``roots`` to ``targets`` (targets themselves only if something below them is wanted too)."""
    leads: dict[object, bool] = {}
    stack = [(root, False) for root in roots]
    while stack:
        node, done = stack.pop()
        children = [edge[0] for edge in node.edges if edge is not None]
        if done:
            leads[node] = any(child in targets or leads[child] for child in children)
        elif node not in leads:
            leads[node] = False
            stack.append((node, True))
            stack.extend((child, False) for child in children)
    return {node for node, value in leads.items() if value}


@ops.register
def backward(tensors, grad_tensors=None, retain_graph: bool = False, inputs=None) -> None:
    """Add the gradients of ``tensors`` to the ``.grad`` of the leaves they depend on (torch's ``autograd.backward``).

    Args:
        tensors: a Tensor or a sequence of them.
        grad_tensors: the gradient of each; None for a tensor of one element.
        retain_graph: keep the tape for another backward.
        inputs: accumulate into these only.

    Raises:
        RuntimeError: for a tensor without history, or one of several elements without a gradient, or a freed tape.
    """
    roots = _roots(_sequence(tensors), grad_tensors)
    if inputs is None:
        run_backward(roots, retain_graph=retain_graph)
        return
    inputs = _sequence(inputs)
    for tensor, grad in zip(inputs, run_backward(roots, retain_graph=retain_graph, inputs=inputs), strict=True):
        if grad is not None:
            _accumulate(tensor, grad, False)


def grad(outputs, inputs, grad_outputs=None, retain_graph: bool | None = None, create_graph: bool = False, allow_unused: bool = False):
    """The gradients of the sum of ``outputs`` with respect to ``inputs``, as a tuple of Tensors; ``.grad`` stays untouched.

    Args:
        grad_outputs: weights of the outputs; None for outputs of one element.
        retain_graph: keep the tape for another backward.
        allow_unused: return None for an input that the outputs do not depend on, instead of raising.

    Raises:
        RuntimeError: for an unused input, a tensor that does not require grad, or ``create_graph=True`` (this engine computes first derivatives).
    """
    if create_graph:
        raise RuntimeError("grad: create_graph=True asks for gradients of gradients; this engine computes first derivatives only")
    inputs = _sequence(inputs)
    for place, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise RuntimeError(f"grad: input {place} does not require grad")
    answers = run_backward(_roots(_sequence(outputs), grad_outputs), retain_graph=bool(retain_graph), inputs=inputs)
    if not allow_unused and any(a is None for a in answers):
        place = next(i for i, a in enumerate(answers) if a is None)
        raise RuntimeError(f"grad: input {place} was not used in the graph of the outputs; pass allow_unused=True to get None for it")
    return tuple(None if a is None else Tensor.wrap(t.backend, a.copy("K")) for t, a in zip(inputs, answers, strict=True))


def _sequence(tensors):
    return tuple(tensors) if isinstance(tensors, (tuple, list)) else (tensors,)


def _roots(tensors, grads):
    grads = (grads,) * len(tensors) if grads is None else _sequence(grads)
    if len(grads) != len(tensors):
        raise RuntimeError(f"backward: got {len(tensors)} tensors and {len(grads)} gradients")
    return [(t, _root_gradient(t, g)) for t, g in zip(tensors, grads, strict=True)]


def _root_gradient(tensor, gradient):
    if not tensor.requires_grad:
        raise RuntimeError("backward: the tensor does not require grad and has no grad_fn")
    if gradient is None:
        if tensor.array.size != 1:
            raise RuntimeError(f"backward: grad can be implicitly created only for scalar outputs, this one has shape {tuple(tensor.shape)}")
        with tensor.backend.quiet():
            return tensor.backend.xp.ones_like(tensor.array)
    if not isinstance(gradient, Tensor):
        raise TypeError(f"backward: gradient must be a Tensor or None, got {type(gradient).__name__}")
    if gradient.shape != tensor.shape:
        raise RuntimeError(f"backward: the gradient has shape {tuple(gradient.shape)}, the tensor {tuple(tensor.shape)}")
    with tensor.backend.quiet():
        return gradient.array.astype(tensor.array.dtype, copy=False)
