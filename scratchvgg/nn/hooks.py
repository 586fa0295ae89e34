"""What happens around ``forward`` when a module has hooks.

A backward hook needs the gradients of all inputs and outputs of one call together. Two identity operations, the gates,
hold them: one around the inputs, one around the outputs::

    x ──► [gate in] ──► forward ──► [gate out] ──► y
    grad_input ◄── [gate in] ◄── ... ◄── [gate out] ◄── grad_output

A Tensor argument that no gradient reaches has zeros in grad_input, anything else None.
"""

from __future__ import annotations

import warnings

from ..autograd import Op, RemovableHandle, Tensor, is_grad_enabled


def register(hooks, hook, with_kwargs: bool = False, prepend: bool = False) -> RemovableHandle:
    """Enter ``hook`` into an ordered dict of hooks."""
    handle = RemovableHandle(hooks, (hook, with_kwargs))
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def call(module, args: tuple, kwargs: dict):
    """Pre-hooks, forward, hooks.

    Raises:
        RuntimeError: if a hook returns something that cannot take the place of what it was given.
    """
    args, kwargs = _before(module, args, kwargs)
    gates = _Gates(module) if module._backward_hooks or module._backward_pre_hooks else None
    if gates:
        args = gates.enter(args)
    result = module.forward(*args, **kwargs)
    for hook, with_kwargs in list(module._forward_hooks.values()):
        replaced = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
        if replaced is not None:
            result = replaced
    return gates.leave(result) if gates else result


def _before(module, args, kwargs):
    for hook, with_kwargs in list(module._forward_pre_hooks.values()):
        if with_kwargs:
            replaced = hook(module, args, kwargs)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(f"forward pre-hook with kwargs: expected None or a tuple (args, kwargs), got {replaced!r}")
                args, kwargs = replaced
        else:
            replaced = hook(module, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
    return args, kwargs


class Gate(Op):
    """The identity on several tensors; its backward may replace the gradients."""

    name = "module_gate"

    @staticmethod
    def forward(ctx, *arrays, passing):
        ctx.passing = passing
        return arrays

    @staticmethod
    def backward(ctx, *grads):
        replaced = ctx.passing(tuple(Tensor.wrap(ctx.backend, g) for g in grads))
        return tuple(None if g is None else g.array for g in replaced)


class _Gates:
    """The two gates of one call of one module."""

    def __init__(self, module):
        self.module = module
        self.hooks = [hook for hook, _ in module._backward_hooks.values()]
        self.pre_hooks = [hook for hook, _ in module._backward_pre_hooks.values()]
        self.grad_output = None
        self.inputs, self.places_in, self.places_out = 0, [], []
        self.outputs = 1

    def enter(self, args):
        """The arguments behind the first gate."""
        self.inputs = len(args)
        tensors = {i: a for i, a in enumerate(args) if isinstance(a, Tensor)}
        args, self.places_in = _through(args, self._pass_input)
        self.untracked = {i: (t.backend, t.array.shape, t.array.dtype) for i, t in tensors.items() if i not in self.places_in}
        return args

    def leave(self, result):
        """The result behind the second gate."""
        if isinstance(result, Tensor):
            (result,), self.places_out = _through((result,), self._pass_output)
        elif isinstance(result, tuple):
            self.outputs = len(result)
            result, self.places_out = _through(result, self._pass_output)
        else:
            warnings.warn(
                f"backward hooks of {type(self.module).__name__} see only a Tensor or a tuple of Tensors, forward returned "
                f"{type(result).__name__}", stacklevel=4,
            )
        return result

    def _pass_output(self, grads):
        grad_output = _spread(grads, self.places_out, self.outputs)
        for hook in self.pre_hooks:
            grad_output = _replace("backward pre-hook", "grad_output", hook(self.module, grad_output), grad_output)
        self.grad_output = grad_output
        if not self.places_in:
            nothing = (None,) * self.inputs
            for hook in self.hooks:
                replaced = hook(self.module, nothing, grad_output)
                if replaced is not None and any(g is not None for g in replaced):
                    raise RuntimeError("backward hook: no input of the module requires grad, so there is no grad_input to replace")
        return [grad_output[place] for place in self.places_out]

    def _pass_input(self, grads):
        if self.grad_output is None:  # the gradient came from elsewhere, not through this module's output
            return grads
        zeros = [Tensor.wrap(backend, backend.zeros(shape, dtype)) for backend, shape, dtype in self.untracked.values()]
        grad_input = _spread([*grads, *zeros], [*self.places_in, *self.untracked], self.inputs)
        for hook in self.hooks:
            grad_input = _replace("backward hook", "grad_input", hook(self.module, grad_input, self.grad_output), grad_input)
        self.grad_output = None
        return [grad_input[place] for place in self.places_in]


def _through(values: tuple, passing):
    """``values`` with its recorded Tensors sent through one gate, and their places; unchanged where nothing is recorded."""
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not places or not is_grad_enabled():
        return values, []
    values = list(values)
    passed = Gate.apply(*(values[i] for i in places), passing=passing)
    for place, out in zip(places, passed, strict=True):
        out.share_memory_of(values[place])
        values[place] = out
    return tuple(values), places


def _spread(grads, places, length):
    out = [None] * length
    for grad, place in zip(grads, places, strict=True):
        out[place] = grad
    return tuple(out)


def _replace(kind, what, replaced, held):
    if replaced is None:
        return held
    replaced = replaced if isinstance(replaced, tuple) else (replaced,)
    if len(replaced) != len(held):
        raise RuntimeError(f"{kind}: returned {len(replaced)} gradients for {what}, expected {len(held)}")
    return replaced
