"""Module: a tree of layers with their parameters and buffers, all in ordered containers (their order is part of a checkpoint)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from ..autograd import RemovableHandle, Tensor
from . import hooks, state
from .moving import Moving
from .parameter import Parameter

_CONTAINERS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


class Module(Moving):
    """The base of all layers and nets, with torch's interface.

    A subclass calls ``super().__init__()``, assigns :class:`Parameter` and Module attributes (they register themselves), and
    defines ``forward``.

    Attributes:
        training: True in training mode (dropout drops, batch norm uses the batch's statistics).
    """

    _may_be_missing: tuple[str, ...] = ()  # entries that a state dict of an older format lacks

    def __init__(self):
        set_plainly = super().__setattr__
        set_plainly("training", True)
        for name in ("_parameters", "_buffers", "_modules"):
            set_plainly(name, {})
        set_plainly("_non_persistent_buffers_set", set())
        for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"):
            set_plainly(name, OrderedDict())

    def forward(self, *args, **kwargs):
        """Compute the output; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args, **kwargs):
        if self._forward_pre_hooks or self._forward_hooks or self._backward_pre_hooks or self._backward_hooks:
            return hooks.call(self, args, kwargs)
        return self.forward(*args, **kwargs)

    # ---- attributes ----------------------------------------------------------------------------------------------

    def __getattr__(self, name):
        for container in ("_parameters", "_buffers", "_modules"):
            held = self.__dict__.get(container)
            if held is not None and name in held:
                return held[name]
        forgotten = "" if "_modules" in self.__dict__ else " (super().__init__() was not called)"
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'{forgotten}")

    def __setattr__(self, name, value):
        held = self.__dict__.get
        if isinstance(value, Parameter):
            self._started("parameters")
            self._forget(name, keep="_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._started("module")
            if name in self._parameters:
                raise TypeError(_wrong_kind(value, "parameter", name, "Parameter or None"))
            self._forget(name, keep="_modules")
            self._modules[name] = value
        elif name in (held("_parameters") or ()):
            if value is not None:
                raise TypeError(_wrong_kind(value, "parameter", name, "Parameter or None"))
            self._parameters[name] = None
        elif name in (held("_modules") or ()):
            if value is not None:
                raise TypeError(_wrong_kind(value, "child module", name, "Module or None"))
            self._modules[name] = None
        elif name in (held("_buffers") or ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(_wrong_kind(value, "buffer", name, "Tensor or None"))
            self._buffers[name] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name):
        for container in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(container, ()):
                del self.__dict__[container][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self):
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _started(self, what):
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")

    def _forget(self, name, keep):
        self.__dict__.pop(name, None)
        for container in _CONTAINERS:
            if container != keep:
                held = self.__dict__[container]
                held.discard(name) if isinstance(held, set) else held.pop(name, None)

    def _check_name(self, what, name, container):
        self._started(what)
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string, got {type(name).__name__}")
        if "." in name or not name:
            raise KeyError(f"{what} name must not be empty nor contain '.', got {name!r}")
        if hasattr(self, name) and name not in container:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; None keeps the place (a layer without bias).

        Raises:
            KeyError: for a taken or malformed name. TypeError: not a Parameter. ValueError: a Parameter with a history.
        """
        self._check_name("parameter", name, self.__dict__.get("_parameters", ()))
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"cannot assign '{type(param).__name__}' object to parameter '{name}' (Parameter or None required)")
        if param is not None and not param.is_leaf:
            raise ValueError(f"cannot assign a non-leaf tensor to parameter '{name}': parameters are leaves")
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that moves and is saved with the module but is not trained (running statistics).

        Args:
            persistent: False leaves it out of ``state_dict``.

        Raises:
            KeyError: for a taken or malformed name. TypeError: not a Tensor.
        """
        self._check_name("buffer", name, self.__dict__.get("_buffers", ()))
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (Tensor or None required)")
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child.

        Raises:
            KeyError: for a taken or malformed name. TypeError: not a Module.
        """
        self._check_name("module", name, self.__dict__.get("_modules", ()))
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._modules[name] = module

    register_module = add_module

    # ---- walking the tree ----------------------------------------------------------------------------------------

    def named_modules(self, memo=None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module (name ``prefix``) and all below, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children, each once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct children, each once."""
        return (child for _, child in self.named_children())

    def _named_members(self, container, prefix, recurse, remove_duplicate):
        seen = set()
        owners = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, owner in owners:
            for name, value in owner.__dict__[container].items():
                if value is not None and id(value) not in seen:
                    if remove_duplicate:
                        seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), in the order of registration."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (value for _, value in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer), in the order of registration."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (value for _, value in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path such as ``"features.3"``; ``""`` is this one.

        Raises:
            AttributeError: if there is none.
        """
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path; AttributeError if there is none."""
        return self._get_member(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path; AttributeError if there is none."""
        return self._get_member(target, "_buffers", "buffer")

    def _get_member(self, target, container, what):
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if name not in owner.__dict__[container]:
            raise AttributeError(f"{type(owner).__name__} has no {what} `{name}`")
        return owner.__dict__[container][name]

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Call ``fn`` on every module, children first; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- modes ---------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Training mode for this module and all below.

        Raises:
            ValueError: if ``mode`` is not a bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Module:
        """Evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Freeze (False) or thaw all parameters."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, or fill them with zeros."""
        for param in self.parameters():
            if param.grad is not None:
                if set_to_none:
                    param.grad = None
                else:
                    param.grad.detach_().zero_()

    # ---- saving --------------------------------------------------------------------------------------------------

    def state_dict(self, *, destination=None, prefix: str = "", keep_vars: bool = False):
        """All parameters and persistent buffers by dotted name, in order; the tensors share memory with the module.

        Args:
            destination: a dict to add to.
            prefix: before every name.
            keep_vars: give the Parameters themselves, not detached tensors.
        """
        return state.collect(self, destination, prefix, keep_vars)

    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        """Copy values into the parameters and buffers.

        Args:
            state_dict: names to Tensors or arrays. Batch norms may lack ``num_batches_tracked`` (old checkpoints do).
            strict: every name must match.
            assign: take over the given tensors instead of copying.

        Returns:
            A named pair ``(missing_keys, unexpected_keys)``.

        Raises:
            RuntimeError: one report of all missing and unexpected names and wrong shapes; nothing is changed then.
            TypeError: not a dict.
        """
        return state.load(self, state_dict, strict, assign)

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; a returned value replaces the arguments.

        Args:
            prepend: run before the hooks already there.
            with_kwargs: the hook is ``hook(module, args, kwargs)`` and returns None or ``(args, kwargs)``.
        """
        return hooks.register(self._forward_pre_hooks, hook, with_kwargs, prepend)

    def register_forward_hook(self, hook, *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args, output)`` (or ``hook(module, args, kwargs, output)``) after forward; a value replaces the output."""
        return hooks.register(self._forward_hooks, hook, with_kwargs, prepend)

    def register_full_backward_pre_hook(self, hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of all outputs are known; a returned tuple replaces them."""
        return hooks.register(self._backward_pre_hooks, hook, False, prepend)

    def register_full_backward_hook(self, hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the inputs are known; a tuple replaces grad_input."""
        return hooks.register(self._backward_hooks, hook, False, prepend)

    # ---- printing ------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands in the parentheses of the module's repr."""
        return ""

    def __repr__(self):
        extra = self.extra_repr()
        children = [f"({name}): {indent(repr(child))}" for name, child in self._modules.items()]
        if not children and "\n" not in extra:
            return f"{self._get_name()}({extra})"
        lines = [*(extra.split("\n") if extra else ()), *children]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


def indent(text: str) -> str:
    """``text`` with all lines but the first moved right by two."""
    return text.replace("\n", "\n  ")


def _wrong_kind(value, what, name, expected):
    return f"cannot assign '{type(value).__name__}' as {what} '{name}' ({expected} expected)"
