"""A trace: every operation of one run of a net in order, with the layer that called it, what it took, made and keeps, and what came back.

The tape is the hook. An interceptor stands around every operation (:func:`scratchvgg.autograd.intercept`) and around the backward of every
recorded one (:func:`scratchvgg.autograd.intercept_backward`): every array in a trace is the one that the engine used, and nothing is computed again.
While a net is traced its layers run one by one: hooks tell which layer is at work, and where there are hooks nothing is fused.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from .. import conv
from ..autograd import Tensor, enable_grad, intercept, intercept_backward, no_grad
from ..nn import Module, ReLU
from ..nn import functional as F
from ..train.layer_statistics import restored
from .errors import StudyError


@dataclass(frozen=True)
class Source:
    """Where an argument of an operation comes from.

    Attributes:
        call: index of the :class:`Call` that made it, or None.
        name: of a parameter, buffer or input (``"input"``, ``"target"``); empty for the output of a call and for constants.
        shape, dtype: of the tensor.
        array: the array itself if the trace keeps arrays, else None.
    """

    call: int | None
    name: str
    shape: tuple[int, ...]
    dtype: str
    array: object = None


@dataclass(frozen=True)
class Kept:
    """An array that an operation keeps for its backward.

    Attributes:
        name: what the operation calls it.
        shape, dtype, bytes: of the array.
        counted: False if its memory belongs to a parameter, an input, or an array that an earlier operation keeps already.
        array: the array itself if the trace keeps arrays.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    counted: bool
    array: object = None


@dataclass
class Call:
    """One operation of the run.

    Attributes:
        index: place in :attr:`Trace.calls`.
        op: the operation's name, as in ``grad_fn``.
        layer: dotted name of the innermost module at work, empty outside of all.
        sources: of its tensor arguments, in order.
        outputs: (shape, dtype) of each output.
        results: the output arrays if the trace keeps arrays.
        kept: what backward needs; empty if nothing was recorded.
        workspace_bytes: the scratch memory it asked for, largest block of each tag.
        forward_seconds, backward_seconds: with the device synchronised; None where it did not run.
        gradients: the arrays that arrived at its outputs, if the trace keeps arrays.
        gradient_norm: 2-norm of what arrived at its outputs; None without backward.
        node: number of its node on the tape, or None.
        algorithms: pass → name of the convolution algorithm that did it.
    """

    index: int
    op: str
    layer: str
    sources: tuple[Source, ...] = ()
    outputs: tuple[tuple[tuple[int, ...], str], ...] = ()
    results: tuple = ()
    kept: tuple[Kept, ...] = ()
    workspace_bytes: int = 0
    forward_seconds: float = 0.0
    backward_seconds: float | None = None
    gradients: tuple = ()
    gradient_norm: float | None = None
    node: int | None = None
    algorithms: dict[str, str] = field(default_factory=dict)

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept because of this operation: memory that parameters, inputs or earlier operations hold is not counted again."""
        return sum(array.bytes for array in self.kept if array.counted)


@dataclass
class Trace:
    """One run.

    Attributes:
        calls: the operations in order.
        modules: dotted name → module, in the order of their first call; leaves and containers alike.
        output: what the net returned. loss: the loss, or None.
        leaf_gradients: name of parameter or input → 2-norm of its gradient.
    """

    model: Module
    calls: list[Call]
    modules: dict[str, Module]
    output: Tensor
    loss: Tensor | None
    leaf_gradients: dict[str, float]

    def of_layer(self, name: str) -> list[Call]:
        """The calls that the module of that dotted name made itself, not its children.

        Raises:
            KeyError: for a layer that did not run; the message lists near names.
        """
        found = [call for call in self.calls if call.layer == name]
        if not found and name not in self.modules:
            import difflib

            near = difflib.get_close_matches(name, self.modules, 3)
            raise KeyError(f"no layer {name!r} took part in the run{f'; near: {chr(44).join(near)}' if near else ''}")
        return found


def trace(model: Module, x: Tensor, target: Tensor | None = None, *, backward: bool = False, record: bool | None = None, arrays: bool = False,
          loss: Callable = F.cross_entropy) -> Trace:
    """Run ``model`` once and record it. Nothing of it is changed: gradients, running statistics and the random numbers' state are put back.

    Args:
        model: in the mode that is to be studied.
        x: the input, on the model's device.
        target: with it, ``loss(output, target)`` is computed too; without, backward starts from the output's sum of the largest logits.
        backward: run backward as well.
        record: put the run on the tape even without backward, so that :attr:`Call.kept` is known; by default only for ``backward``.
        arrays: keep all arrays (they are copied where a layer would write over them: ReLUs are run out of place).

    Raises:
        StudyError: if the net does not return a tensor, or nothing in it requires a gradient for backward.
        RuntimeError: what the net raises, for instance if the image is too small.
    """
    recorder = _Recorder(model, {"input": x} | ({} if target is None else {"target": target}), arrays)
    with contextlib.ExitStack() as stack:
        stack.enter_context(restored(model, x))
        stack.enter_context(enable_grad() if backward or record else no_grad())
        stack.enter_context(_hooked(model, recorder))
        if arrays:
            stack.enter_context(_out_of_place(model))
        stack.enter_context(recorder.watched_workspace(x.backend))
        with intercept(recorder.forward), conv.intercept_choices(recorder.choice):
            output = model(x)
            if not isinstance(output, Tensor):
                raise StudyError(f"the net returned a {type(output).__name__}; the study looks into nets that return one tensor")
            value = loss(output, target) if target is not None else None
            root = value if value is not None else (top(output) if backward else None)
        if backward:
            if not root.requires_grad:
                raise StudyError("backward: nothing in the net requires a gradient; run it without backward")
            with intercept_backward(recorder.backward), conv.intercept_choices(recorder.choice):
                root.backward()
    return Trace(model, recorder.calls, recorder.modules, output, value, recorder.leaf_norms)


def top(output: Tensor) -> Tensor:
    """The sum over the batch of each row's largest logit: what "the gradient of the prediction" means without a target."""
    return output.flatten(1).max(1)[0].sum()


@contextlib.contextmanager
def _hooked(model: Module, recorder: _Recorder) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda m, args, name=name: recorder.enter(name, m), prepend=True))
        handles.append(module.register_forward_hook(lambda m, args, result: recorder.leave()))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _out_of_place(model: Module) -> Iterator[None]:
    """Every ReLU leaves its input as it was."""
    changed = [module for module in model.modules() if isinstance(module, ReLU) and module.inplace]
    for module in changed:
        module.inplace = False
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True


class _Recorder:
    """What the interceptors and hooks write into."""

    def __init__(self, model: Module, given: dict[str, Tensor], arrays: bool):
        self.arrays, self.calls, self.modules, self.leaf_norms = arrays, [], {}, {}
        self.layers: list[str] = []
        self.of_node: dict[int, Call] = {}  # node number → call
        self.made: dict[int, tuple[weakref.ref, int]] = {}  # id of an array → (the array, call); ids are given again when arrays go
        named = [*given.items(), *model.named_parameters(), *model.named_buffers()]
        self.names = {id(tensor.array): name for name, tensor in named}
        self.leaves = {id(tensor): name for name, tensor in named}
        self.owned = [weakref.ref(tensor.array) for _, tensor in named]  # memory that is there without the tape, or counted
        self.working: list[Call] = []
        self.scratch: dict[tuple, int] = {}

    # ---- layers ----

    def enter(self, name: str, module: Module) -> None:
        self.layers.append(name)
        self.modules.setdefault(name, module)

    def leave(self) -> None:
        self.layers.pop()

    # ---- forward ----

    def forward(self, op, args, options, proceed):
        call = Call(len(self.calls), op.name, self.layers[-1] if self.layers else "")
        call.sources = tuple(self._source(a) for a in args if isinstance(a, Tensor))
        self.calls.append(call)
        backend = next((a.backend for a in args if isinstance(a, Tensor)), None)
        self.working.append(call)
        self.scratch = {}
        if backend is not None:
            backend.synchronize()
        start = time.perf_counter()
        try:
            result = proceed(args, options)
            if backend is not None:
                backend.synchronize()
        finally:
            self.working.pop()
        call.forward_seconds = time.perf_counter() - start
        call.workspace_bytes = sum(self.scratch.values())
        outputs = result if isinstance(result, tuple) else (result,)
        for tensor in outputs:
            self.made[id(tensor.array)] = weakref.ref(tensor.array), call.index
        call.outputs = tuple((tuple(t.array.shape), t.array.dtype.name) for t in outputs)
        call.results = tuple(t.array for t in outputs) if self.arrays else ()
        node = outputs[0].grad_fn
        if node is not None and node.number not in self.of_node and node.ctx is not None:
            call.node, self.of_node[node.number] = node.number, call
            call.kept = tuple(self._kept(node.ctx))
        return result

    def choice(self, problem, dtype, which, chosen):
        if self.working:
            self.working[-1].algorithms[which] = chosen.name
        return chosen

    def _source(self, tensor: Tensor) -> Source:
        reference, call = self.made.get(id(tensor.array), (None, None))
        call = call if reference is not None and reference() is tensor.array else None
        name = "" if call is not None else self.names.get(id(tensor.array), "")
        return Source(call, name, tuple(tensor.array.shape), tensor.array.dtype.name, tensor.array if self.arrays else None)

    def _kept(self, ctx) -> Iterator[Kept]:
        """The arrays among what an operation saved and among the attributes it set."""
        for name, value in ctx.arrays():
            owners = (reference() for reference in self.owned)
            counted = not any(other is not None and ctx.xp.may_share_memory(value, other) for other in owners)
            if counted:
                self.owned.append(weakref.ref(value))
            yield Kept(name, tuple(value.shape), value.dtype.name, value.nbytes, counted, value if self.arrays else None)

    # ---- backward ----

    def backward(self, node, grads, proceed):
        call = self.of_node.get(node.number)
        if call is None:
            tensor = getattr(node, "tensor", None)
            if tensor is not None and id(tensor) in self.leaves and grads[0] is not None:
                self.leaf_norms[self.leaves[id(tensor)]] = norm(node.outputs[0][2], [grads[0]])
            return proceed(grads)
        backend = node.outputs[0][2]
        call.gradient_norm = norm(backend, grads)
        call.gradients = tuple(grads) if self.arrays else ()
        self.working.append(call)
        self.scratch = {}
        backend.synchronize()
        start = time.perf_counter()
        try:
            result = proceed(grads)
            backend.synchronize()
        finally:
            self.working.pop()
        call.backward_seconds = time.perf_counter() - start
        call.workspace_bytes = max(call.workspace_bytes, sum(self.scratch.values()))
        return result

    # ---- scratch memory ----

    @contextlib.contextmanager
    def watched_workspace(self, backend) -> Iterator[None]:
        """Note the largest block of each tag and thread that is asked for."""
        plain = backend.workspace

        def noting(tag, shape, dtype):
            array = plain(tag, shape, dtype)
            key = tag, threading.get_ident()
            self.scratch[key] = max(self.scratch.get(key, 0), array.nbytes)
            return array

        backend.workspace = noting
        try:
            yield
        finally:
            del backend.workspace


def norm(backend, grads) -> float:
    """2-norm of arrays together, summed in float64."""
    total = 0.0
    for grad in grads:
        if grad is not None:
            flat = backend.to_numpy(grad).reshape(-1).astype(np.float64)
            total += float(flat @ flat)
    return total**0.5
