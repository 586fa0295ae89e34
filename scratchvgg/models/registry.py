"""Nets by name."""

from __future__ import annotations

import difflib
import fnmatch
import functools
from collections.abc import Callable

_BUILDERS: dict[str, Callable] = {}
_SIDES: dict[str, int] = {}


def register_model(builder: Callable | None = None, *, side: int = 224) -> Callable:
    """Decorator, plain or with options: enter a function that builds a net under its own name.

    Args:
        side: height and width in pixels of the images that the net is made for.

    Raises:
        ValueError: if the name is taken.
    """
    if builder is None:
        return functools.partial(register_model, side=side)
    if builder.__name__ in _BUILDERS:
        raise ValueError(f"a model named {builder.__name__!r} is registered already")
    _BUILDERS[builder.__name__], _SIDES[builder.__name__] = builder, side
    return builder


def usual_side(name: str) -> int:
    """Height and width in pixels of the images that a net is made for: 32 for those of small images; 224 also for an unknown name."""
    return _SIDES.get(name, 224)


def list_models(module=None, include=None, exclude=None) -> list[str]:
    """The names that :func:`get_model` takes, sorted.

    Args:
        module: only nets whose file lies in this package, such as ``scratchvgg.models``.
        include, exclude: shell patterns, or lists of them, that names must or must not match: ``list_models(include="vgg*", exclude="*_bn")``.
    """
    include, exclude = ([patterns] if isinstance(patterns, str) else list(patterns) for patterns in (include or "*", exclude or ()))
    return sorted(
        name for name, builder in _BUILDERS.items()
        if _matches(name, include) and not _matches(name, exclude) and (module is None or builder.__module__.rpartition(".")[0] == module.__name__)
    )


def _matches(name, patterns) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def get_model_builder(name: str) -> Callable:
    """The function that builds ``name``.

    Raises:
        ValueError: for an unknown name; the message suggests near ones.
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(str(name).lower(), _BUILDERS, 3) or list_models()
        raise ValueError(f"Unknown model {name!r}; known are, among others: {', '.join(near)}")
    return _BUILDERS[name]


def get_model(name: str, **config):
    """Build a net by name: ``get_model("vgg16_bn", num_classes=10)``.

    Raises:
        ValueError: for an unknown name.
    """
    return get_model_builder(name)(**config)
