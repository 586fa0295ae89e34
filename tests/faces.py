"""A library as one object that has every public name, so that one function can be called with ours and with torch's."""

from __future__ import annotations

import functools


class Face:
    """Public names, looked up in one place after another."""

    def __init__(self, *places):
        self._places = places

    def __getattr__(self, name):
        for place in self._places:
            if hasattr(place, name):
                return getattr(place, name)
        raise AttributeError(f"{name!r} is in none of {self._places}")


@functools.cache
def torch_face() -> Face:
    """torch: functional forms first (their dropout and batch_norm are the public ones), methods last."""
    import torch

    return Face(torch.nn.functional, torch, torch.Tensor, torch.autograd)
