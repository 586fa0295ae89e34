"""What a batch of another size would record, from traces at batches 1 and 2.

Whatever a net computes for a batch, an array has one extent that is proportional to it, or none, and the others stay. If every extent of every
array is either the same in the two traces or twice as large in the second, those of any batch follow: shapes, bytes kept, and with them
multiply–accumulates. Scratch memory does not (tiles are cut to fit the caches), so it is not carried over.
"""

from __future__ import annotations

import math
from dataclasses import replace

from .trace import Call, Kept


def at_batch(one: list[Call], two: list[Call], batch: int) -> list[Call] | None:
    """The calls of a run of ``batch`` images, without times, norms and scratch memory.

    Args:
        one, two: calls of the same net on one image and on two.

    Returns:
        None if the two runs did not do the same things, or sizes are not those of the shapes.
    """
    if [(c.op, c.layer, len(c.kept), len(c.sources), len(c.outputs)) for c in one] != [
        (c.op, c.layer, len(c.kept), len(c.sources), len(c.outputs)) for c in two
    ]:
        return None
    try:
        return [_call(a, b, batch) for a, b in zip(one, two, strict=True)]
    except _Bent:
        return None


class _Bent(Exception):
    """Sizes that are neither constant nor proportional."""


def _call(a, b, batch):
    return Call(
        a.index, a.op, a.layer, workspace_bytes=None,
        sources=tuple(replace(s, shape=_shape(s.shape, t.shape, batch)) for s, t in zip(a.sources, b.sources, strict=True)),
        outputs=tuple((_shape(s, t, batch), dtype) for (s, dtype), (t, _) in zip(a.outputs, b.outputs, strict=True)),
        kept=tuple(_kept(k, m, batch) for k, m in zip(a.kept, b.kept, strict=True)), node=a.node,
    )


def _kept(a: Kept, b: Kept, batch):
    shape = _shape(a.shape, b.shape, batch)
    if a.counted != b.counted or a.bytes * math.prod(b.shape) != b.bytes * math.prod(a.shape):
        raise _Bent
    return replace(a, shape=shape, bytes=a.bytes * math.prod(shape) // max(1, math.prod(a.shape)))


def extents(one, two, batch: int) -> tuple[int, ...] | None:
    """The shape at ``batch`` from those at 1 and 2; None if an extent neither stays nor doubles, or there is no shape."""
    if one is None or two is None or len(one) != len(two) or any(b not in (a, 2 * a) for a, b in zip(one, two, strict=True)):
        return None
    return tuple(a if a == b else batch * a for a, b in zip(one, two, strict=True))


def _shape(one, two, batch):
    shape = extents(one, two, batch)
    if shape is None:
        raise _Bent
    return shape
