"""Modules that hold modules, in order."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable

from .fusion import run
from .module import Module, indent


class _Numbered(Module):
    """A list of children named "0", "1", …"""

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __bool__(self):
        return bool(self._modules)

    def _key(self, index) -> str:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"index {place} is out of range for {len(self)} modules")
        return list(self._modules)[place]

    def _like(self, items):
        """A module of the same kind with the given (key, child) pairs."""
        return type(self)([child for _, child in items])

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._like(list(self._modules.items())[index])
        return self._modules[self._key(index)]

    def __setitem__(self, index, module):
        setattr(self, self._key(index), module)

    def __delitem__(self, index):
        keys = list(self._modules)[index] if isinstance(index, slice) else [self._key(index)]
        for key in keys:
            del self._modules[key]
        self._renumber(list(self._modules.values()))

    def _renumber(self, children):
        for child in children:
            if not isinstance(child, Module):
                raise TypeError(f"{type(child).__name__} is not a Module subclass")
        self._modules = {str(i): child for i, child in enumerate(children)}

    def append(self, module: Module):
        """Add a module at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]):
        """Add modules at the end; returns self."""
        for module in list(modules):
            self.append(module)
        return self

    def _insert(self, index, module):
        children = list(self._modules.values())
        children.insert(index, module)
        self._renumber(children)

    def pop(self, index=-1) -> Module:
        """Take the module at ``index`` out and return it."""
        module = self[index]
        del self[index]
        return module

    def __iadd__(self, others):
        return self.extend(others)


class Sequential(_Numbered):
    """Modules called one after the other; runs of them that :mod:`scratchvgg.nn.fusion` knows are done at once.

    Args:
        args: modules, or one OrderedDict of named modules.
    """

    def __init__(self, *args):
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else ((str(i), m) for i, m in enumerate(args))
        for name, module in named:
            self.add_module(name, module)

    def _like(self, items):
        return type(self)(OrderedDict(items))

    def __add__(self, other):
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return Sequential(*self, *other)

    def insert(self, index: int, module: Module):
        """Put a module before ``index``; returns self.

        Raises:
            IndexError: out of range. TypeError: not a Module.
        """
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        self._insert(index, module)
        return self

    def forward(self, input):
        """Call the modules in turn."""
        return run(self, input)


class ModuleList(_Numbered):
    """A list of modules; it has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        self.extend(modules or ())

    def __add__(self, other):
        return ModuleList([*self, *other])

    def insert(self, index: int, module: Module) -> None:
        """Put a module before ``index``."""
        self._insert(index, module)

    def __repr__(self):
        if not len(self):
            return f"{self._get_name()}()"
        blocks: list[list] = []  # [first, last, repr]: equal neighbours share a line
        for i, text in enumerate(map(repr, self)):
            if blocks and blocks[-1][2] == text:
                blocks[-1][1] = i
            else:
                blocks.append([i, i, text])
        lines = [f"({a}): {indent(t)}" if a == b else f"({a}-{b}): {b - a + 1} x {indent(t)}" for a, b, t in blocks]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(Module):
    """Modules by name; it has no forward of its own."""

    def __init__(self, modules=None):
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, key):
        return key in self._modules

    def __bool__(self):
        return bool(self._modules)

    def clear(self) -> None:
        """Remove everything."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Take the module ``key`` out and return it."""
        return self._modules.pop(key)

    def keys(self):
        """The names."""
        return self._modules.keys()

    def items(self):
        """(name, module) pairs."""
        return self._modules.items()

    def values(self):
        """The modules."""
        return self._modules.values()

    def update(self, modules) -> None:
        """Add modules from a mapping or an iterable of (name, module) pairs."""
        for key, module in modules.items() if hasattr(modules, "items") else modules:
            self[key] = module
