"""What every optimiser shares: parameter groups, state, the step and its state dict (in torch's layout)."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy

from ..array import CPU, get_backend
from ..autograd import Tensor, as_array, enable_grad
from .blocks import BlockRunner


class Optimizer:
    """Base of the optimisers.

    A subclass writes :meth:`plan`, which says how one parameter is updated; or, as in torch, its own :meth:`step`.

    Args:
        params: Tensors, ``(name, Tensor)`` pairs, or dicts ``{"params": ..., option: value}``, one per parameter group.
        defaults: the options of groups that do not give their own.

    Attributes:
        param_groups: list of dicts: ``"params"`` and one entry per option. Change options there (schedules do).
        state: parameter → dict of what the optimiser remembers about it.

    Raises:
        TypeError: for a Tensor in place of a sequence, a set, or something that is not a Tensor.
        ValueError: for no parameters, one that appears twice, or one that is the result of an operation.
    """

    def __init__(self, params, defaults: dict):
        if isinstance(params, Tensor):
            raise TypeError("params: expected a sequence of Tensors or of dicts, got a single Tensor; write [tensor]")
        groups = list(params)
        if not groups:
            raise ValueError("params: the optimizer got an empty parameter list")
        self.defaults = defaults
        self.state: defaultdict = defaultdict(dict)
        self.param_groups: list[dict] = []
        self.steps = 0
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict) -> None:
        """Optimise more parameters: ``{"params": tensors, option: value, ...}``; missing options take the defaults.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group: expected a dict, got {type(param_group).__name__}")
        group = _checked_group(param_group)
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                raise ValueError("param_group: either all parameter groups have names or none has")
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        if any(id(p) in taken for p in group["params"]):
            raise ValueError("param_group: some parameters are in another parameter group already")
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for p in self._parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach_()
                with p.backend.quiet():
                    p.grad.array[...] = 0
                p.grad.version.value += 1

    def plan(self, group: dict, parameter: Tensor) -> tuple[Callable, tuple]:
        """How to update one parameter that has a gradient.

        Returns:
            ``(rule, arrays)``; ``rule(scratch, p, g, *arrays)`` is called on matching blocks of the parameter, its gradient and the
            arrays, and writes the new values over ``p`` and the arrays. ``scratch(0)``, ``scratch(1)`` … are arrays like ``p``.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither plan() nor step()")

    def step(self, closure: Callable | None = None):
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss again, with gradients, before the update.

        Returns:
            What ``closure`` returned, or None.

        Raises:
            RuntimeError: for a gradient whose shape or dtype is not its parameter's; nothing is changed then.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        work = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        for _, p in work:
            if p.grad.shape != p.shape or p.grad.dtype is not p.dtype:
                raise RuntimeError(
                    f"step: a parameter of shape {tuple(p.shape)} and {p.dtype} has a gradient of shape {tuple(p.grad.shape)} and {p.grad.dtype}"
                )
        self.update(work)
        for _, p in work:
            p.version.value += 1
        self.steps += 1
        return loss

    def update(self, work: list) -> None:
        """Change the parameters of ``work``, a list of (group, parameter with a gradient), by :meth:`plan`."""
        runner = BlockRunner()
        for group, p in work:
            rule, arrays = self.plan(group, p)
            runner.add(p.backend, rule, (p.array, p.grad.array, *arrays))
        runner.run()

    def state_dict(self) -> dict:
        """``{"state": {index: {name: value}}, "param_groups": [{..., "params": [index, ...]}]}``; Tensors are shared, not copied."""
        index: dict[int, int] = {}
        for p in self._parameters():
            index.setdefault(id(p), len(index))
        groups = [{**g, "params": [index[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": {index.get(id(k), k): v for k, v in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over what :meth:`state_dict` gave, here or in torch (with its Tensors as Tensors or NumPy arrays).

        Values are copied into the dtype, device and memory order of their parameters; ``step`` keeps its dtype.

        Raises:
            ValueError: if the groups or their sizes do not match this optimiser's.
        """
        saved = [{k: deepcopy(v) for k, v in g.items()} for g in state_dict["param_groups"]]
        ours = [len(g["params"]) for g in self.param_groups]
        theirs = [len(g["params"]) for g in saved]
        if len(ours) != len(theirs):
            raise ValueError(f"loaded state dict has a different number of parameter groups: {len(theirs)}, the optimizer has {len(ours)}")
        if ours != theirs:
            raise ValueError(f"loaded state dict has parameter groups of other sizes: {theirs}, the optimizer's have {ours}")
        by_index = {
            i: p for s, g in zip(saved, self.param_groups, strict=True) for i, p in zip(s["params"], g["params"], strict=True)
        }
        state = defaultdict(dict)
        for k, values in state_dict["state"].items():
            p = by_index.get(k)
            state[k if p is None else p] = values if p is None else {name: _like(p, name, v, self.state_dtype(p, name)) for name, v in values.items()}
        for s, g in zip(saved, self.param_groups, strict=True):
            s["params"] = g["params"]
            if "param_names" in g:
                s.setdefault("param_names", g["param_names"])
        self.state, self.param_groups = state, [{**self.defaults, **s} for s in saved]

    def state_dtype(self, parameter: Tensor, name: str):
        """The element type of the state ``name`` of a parameter: its own, unless a subclass says otherwise."""
        return parameter.dtype

    def _parameters(self):
        return [p for group in self.param_groups for p in group["params"]]

    def _buffer(self, parameter: Tensor, name: str):
        """The state ``name`` of a parameter as an array like it, made of zeros on first use."""
        state = self.state[parameter]
        if state.get(name) is None:
            with parameter.backend.quiet():
                kind = self.state_dtype(parameter, name).numpy
                state[name] = Tensor.wrap(parameter.backend, parameter.backend.xp.zeros_like(parameter.array, dtype=kind))
        return state[name].array

    def __repr__(self):
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}" if not number else f"\nParameter Group {number}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def number(value) -> float:
    """An option that may be a number or a Tensor of one element, as a Python float."""
    return float(value.backend.to_numpy(value.array).reshape(())) if isinstance(value, Tensor) else float(value)


def scalar(value, parameter: Tensor):
    """An option as a factor for ``parameter``: a Python float, or, for a Tensor on an accelerator, its array (no trip to the host)."""
    if isinstance(value, Tensor) and value.device.type != "cpu":
        return value.array.reshape(()).astype(parameter.array.dtype, copy=False)
    return number(value)


def check_at_least_zero(name: str, value) -> None:
    """Raise ValueError unless ``value``, a number or a Tensor of one element, is 0 or more (NaN is refused)."""
    if isinstance(value, Tensor) and value.array.size != 1:
        raise ValueError(f"{name}: a Tensor must have 1 element, got shape {tuple(value.shape)}")
    if not number(value) >= 0:
        raise ValueError(f"{name}: expected 0 or more, got {value}")


def refuse_differentiable(differentiable: bool) -> None:
    """Raise RuntimeError if a step is asked for that gradients flow through."""
    if differentiable:
        raise RuntimeError("differentiable=True asks for gradients through step(); this engine computes first derivatives only")


def _checked_group(param_group):
    if "params" not in param_group:
        raise KeyError("params: the parameter group has no such entry")
    params = param_group["params"]
    if isinstance(params, set):
        raise TypeError("params: expected an ordered collection such as a list; the order of a set changes between runs")
    params = [params] if isinstance(params, Tensor) else list(params)
    names = [p[0] for p in params if isinstance(p, tuple)]
    if names and len(names) != len(params):
        raise ValueError("params: either all parameters have names or none has")
    params = [p[1] if isinstance(p, tuple) else p for p in params]
    for p in params:
        if not isinstance(p, Tensor):
            raise TypeError(f"params: the optimizer can only optimize Tensors, got {type(p).__name__}")
        if not p.is_leaf:
            raise ValueError("params: can't optimize a non-leaf Tensor, the result of an operation")
    if len({id(p) for p in params}) != len(params):
        warnings.warn("params: a parameter appears twice in one group and will be updated twice in each step", stacklevel=4)
    return {**param_group, "params": params, **({"param_names": names} if names else {})}


def _like(parameter, name, value, dtype):
    """A loaded state value as the parameter wants it."""
    if not isinstance(value, Tensor) and not hasattr(value, "__array_interface__"):
        return deepcopy(value)
    backend = get_backend(CPU) if name == "step" else parameter.backend
    array = as_array(backend, value)
    if name == "step" or array.shape != parameter.array.shape:
        return Tensor.wrap(backend, array.copy("K"))
    with parameter.backend.quiet():
        fresh = parameter.backend.xp.empty_like(parameter.array, dtype=dtype.numpy)
        fresh[...] = array
    return Tensor.wrap(parameter.backend, fresh)
