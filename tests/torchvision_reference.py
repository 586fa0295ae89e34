"""torchvision's own code as a reference, where it is installed: ``pip install --no-deps torchvision==0.28.0`` beside a CPU build of torch."""

import functools

import pytest

_OPERATORS = ("nms", "qnms")
_kept = []  # a library's operators live as long as it does


@functools.cache
def _declare_operators(torch) -> None:
    """What torchvision's compiled part would bring: its Python part asks for the names when it is imported."""
    for operator in _OPERATORS:
        library = torch.library.Library("torchvision", "FRAGMENT")
        try:
            library.define(f"{operator}(Tensor d, Tensor s, float t) -> Tensor")
        except RuntimeError:  # declared already
            continue
        _kept.append(library)


def torchvision():
    """The module; skips the test where it, or torch, is not installed."""
    _declare_operators(pytest.importorskip("torch"))
    return pytest.importorskip("torchvision", exc_type=ImportError)
