"""Resizing. Along each axis an output is a weighted sum of a few inputs, its *taps*; backward is the same with transposed taps.

Output i of an axis looks at the input coordinate u = scale · (i + ½) − ½, or scale · i with ``align_corners``, where scale is
in/out, 1/scale_factor, or (in − 1)/(out − 1) with ``align_corners``:

    nearest            ⌊scale · i⌋              nearest-exact   ⌊scale · (i + ½)⌋
    linear             the two neighbours of max(u, 0), by distance
    cubic              the four neighbours of u, Keys's kernel with a = −¾; the border repeats
    antialias          the filter (triangle, or Keys with a = −½) widened by scale if that is above 1, cut at the border, weights summing to 1
"""

from __future__ import annotations

import math

from ..autograd import Op, ops
from .common import check_tensor, is_number
from .precision import check_floating, widen

MODES = {"nearest": None, "nearest-exact": None, "area": None, "linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}


class Interpolate(Op):
    """Keeps the taps: (positions, weights), each (out, K), of every axis that changes."""

    name = "interpolate"

    @staticmethod
    def forward(ctx, x, taps):
        xp, ctx.sizes = ctx.xp, x.shape[2:]
        ctx.taps = [None if t is None else t(xp) for t in taps]
        y = widen(xp, x)
        for axis in range(x.ndim - 1, 1, -1):
            y = _weighted_sums(xp, y, axis, ctx.taps[axis - 2])
        return y.copy("K") if y is x else y.astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx, g):
        xp, gx = ctx.xp, widen(ctx.xp, g)
        for axis, (taps, size) in enumerate(zip(ctx.taps, ctx.sizes, strict=True), 2):
            gx = _weighted_sums(xp, gx, axis, None if taps is None else _transposed(xp, *taps, size))
        return gx, None


def _weighted_sums(xp, x, axis, taps):
    """Σ_k weights[:, k] · x[positions[:, k]] along ``axis``."""
    if taps is None:
        return x
    positions, weights = taps
    if weights is None:
        return x.take(positions[:, 0], axis)
    along = (-1,) + (1,) * (x.ndim - 1 - axis)
    y = 0
    for k in range(positions.shape[1]):
        part = x.take(positions[:, k], axis)
        part *= weights[:, k].astype(x.dtype).reshape(along)
        y = xp.add(y, part, out=part)
    return y


def _transposed(xp, positions, weights, size):
    """The taps with which each of ``size`` inputs collects from the outputs that used it."""
    outputs, k = positions.shape
    weights = xp.ones((outputs, k)) if weights is None else weights
    used = xp.flatnonzero(weights.reshape(-1))
    source = positions.reshape(-1)[used]
    order = xp.argsort(source, kind="stable")
    source, used = source[order], used[order]
    counts = xp.bincount(source, minlength=size)
    rank = xp.arange(source.size) - (xp.cumsum(counts) - counts)[source]
    shape = size, max(1, int(counts.max()))
    back, amounts = xp.zeros(shape, xp.int64), xp.zeros(shape)
    back[source, rank], amounts[source, rank] = used // k, weights.reshape(-1)[used]
    return back, amounts


def _nearest(size, out, scale, exact):
    """Coordinates are computed in float32 whatever the input is, as in torch: rounding decides which side of a tie is taken."""

    def taps(xp):
        place = xp.floor((xp.arange(out, dtype=xp.float32) + xp.float32(0.5 if exact else 0)) * xp.float32(scale))
        return xp.minimum(place, size - 1).astype(xp.int64)[:, None], None

    return taps


def _linear(size, out, scale, align):
    def taps(xp):
        u = xp.arange(out) * scale if align else xp.maximum((xp.arange(out) + 0.5) * scale - 0.5, 0)
        low = xp.minimum(u.astype(xp.int64), size - 1)
        high = xp.minimum(low + 1, size - 1)
        part = xp.clip(u - low, 0, 1)
        return xp.stack((low, high), 1), xp.stack((1 - part, part), 1)

    return taps


def _cubic(size, out, scale, align):
    def taps(xp):
        u = xp.arange(out) * scale if align else (xp.arange(out) + 0.5) * scale - 0.5
        base = xp.floor(u)
        offsets = xp.arange(-1, 3)
        positions = xp.clip(base.astype(xp.int64)[:, None] + offsets, 0, size - 1)
        return positions, _keys(xp, (u - base)[:, None] - offsets, -0.75)

    return taps


def _antialias(size, out, scale, cubic):
    def taps(xp):
        stretch = max(scale, 1.0)
        support = (2 if cubic else 1) * stretch
        centre = (xp.arange(out) + 0.5) * scale
        first = xp.maximum((centre - support + 0.5).astype(xp.int64), 0)
        last = xp.minimum((centre + support + 0.5).astype(xp.int64), size)
        positions = first[:, None] + xp.arange(max(1, int((last - first).max())))
        distance = (positions - centre[:, None] + 0.5) / stretch
        weights = _keys(xp, distance, -0.5) if cubic else xp.maximum(1 - xp.abs(distance), 0)
        weights *= positions < last[:, None]
        weights /= weights.sum(1, keepdims=True)
        return xp.minimum(positions, last[:, None] - 1), weights

    return taps


def _keys(xp, distance, a):
    """R. Keys's cubic convolution kernel (1981)."""
    d = xp.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return xp.where(d <= 1, near, xp.where(d < 2, far, 0))


def _axis_taps(mode, size, out, factor, align, antialias):
    """Taps of one axis as a function of xp."""
    if (out == size and mode.endswith(("nearest", "linear")) and not antialias) or (out == 2 * size and mode == "nearest"):
        factor = None  # torch takes these two shortcuts whatever the factor was
    if align:
        scale = (size - 1) / (out - 1) if out > 1 else 0.0
    else:
        scale = size / out if factor is None else 1 / factor
    if mode.startswith("nearest"):
        return _nearest(size, out, scale, mode == "nearest-exact")
    if antialias:
        return _antialias(size, out, scale, mode == "bicubic")
    return (_cubic if mode == "bicubic" else _linear)(size, out, scale, align)


def _sizes(input, size, scale_factor, recompute):
    """(output sizes, factors or Nones), one of each per axis."""
    axes = input.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: give either size or scale_factor, got {size} and {scale_factor}")
    given = scale_factor if size is None else size
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,) * axes
    if len(values) != axes or not all(is_number(v) for v in values):
        raise ValueError(f"interpolate: expected a number or {axes} of them for input of shape {tuple(input.shape)}, got {given}")
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor has no meaning with size")
        if not all(isinstance(v, int) for v in values):
            raise TypeError(f"interpolate: size must be made of ints, got {size}")
        return values, (None,) * axes
    out = tuple(math.floor(n * f) for n, f in zip(input.shape[2:], values, strict=True))
    return out, (None,) * axes if recompute else values


@ops.register
def interpolate(
    input, size=None, scale_factor=None, mode: str = "nearest", align_corners=None, recompute_scale_factor=None, antialias: bool = False
):
    """Resize the positions of (N, C, L), (N, C, H, W) or (N, C, D, H, W).

    Args:
        size: output size, an int or one per axis.
        scale_factor: or the factor; sizes are rounded down.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"area"`` (adaptive average), ``"linear"``, ``"bilinear"``, ``"bicubic"`` or
            ``"trilinear"``, each for its number of axes.
        align_corners: for the linear and cubic modes: let the centres of the corner pixels coincide.
        recompute_scale_factor: take coordinates from the rounded size instead of ``scale_factor``.
        antialias: bilinear and bicubic: filter before making smaller.

    Raises:
        ValueError: contradicting arguments. NotImplementedError: a mode that does not fit the dimensions, integers (uint8 can be nearest).
        RuntimeError: empty sizes.
    """
    check_tensor("interpolate", "input", input)
    if mode not in MODES or input.ndim not in (3, 4, 5) or MODES[mode] not in (None, input.ndim) or (mode == "area" and input.ndim == 5):
        raise NotImplementedError(f"interpolate: mode {mode!r} does not exist for input of shape {tuple(input.shape)}")
    simple = MODES[mode] is None
    if simple and align_corners is not None:
        raise ValueError(f"interpolate: align_corners has no meaning with mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias needs mode 'bilinear' or 'bicubic', got {mode!r}")
    out, factors = _sizes(input, size, scale_factor, recompute_scale_factor)
    if min(out) < 1 or 0 in input.shape[1:]:
        raise RuntimeError(f"interpolate: input and output sizes must be positive, got {tuple(input.shape)} and {out}")
    if mode == "area":
        if input.ndim == 4:
            return ops.adaptive_avg_pool2d(input, out)
        return ops.squeeze(ops.adaptive_avg_pool2d(ops.unsqueeze(input, 2), (1, *out)), 2)
    if not simple or input.dtype.name != "uint8":
        check_floating("interpolate", input)
    return Interpolate.apply(
        input,
        [
            None if n == m and f in (None, 1) and mode != "nearest-exact" else _axis_taps(mode, n, m, f, bool(align_corners), antialias)
            for n, m, f in zip(input.shape[2:], out, factors, strict=True)
        ],
    )
