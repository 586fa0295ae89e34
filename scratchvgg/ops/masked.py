"""Gradients that pass or do not pass: ReLU's mask and a max-pool's winners."""

from __future__ import annotations


def masked(xp, g, keep, out, gaps: bool = False):
    """out = g where ``keep`` (bool), else 0. The mask is ones or zeros on g's bits: unlike g · 0, it makes no NaN of Inf.

    ``gaps``: the memory of ``out`` is not dense; copying into it is then faster than computing into it.
    """
    bits = xp.dtype(f"i{g.dtype.itemsize}")
    mask = xp.negative(keep.view(xp.int8)).astype(bits)
    target = out.view(bits)
    xp.bitwise_and(mask, g.view(bits), out=mask if gaps else target)
    if gaps:
        target[...] = mask
