"""Numbers that say how a layer is doing: statistics of an array, and of every layer of a net in one forward and backward pass.

An activation or a gradient gives a dict of

=====================  =========================================================================================================
``count``              how many values; ``channels``: of them (axis 1)
``mean`` ``std``       of the values; std is the population's, √(Σ(x − mean)² / count)
``min`` ``max``
``norm``               2-norm, √Σx²
``zeros``              share of exact zeros, 0 to 1
``finite``             share of values that are neither NaN nor infinite; all the other numbers are about the finite ones (null without any)
``dead_channels``      share of the channels (axis 1) that are exactly zero in all images and places: behind a ReLU, dead units
``constant_channels``  share of the channels whose values are all the same
``image_std``          of (N > 1, channels): how much a channel varies from image to image, √(mean over the channels of its variance); else null
``saturated``          of a layer whose function has two bounds (:data:`BOUNDS`): share of values within :data:`NEAR_BOUND` of the way from
                       one; else null
``histogram``          null, or ``{"low", "high", "counts"}``: :data:`BINS` bins of equal width from low to high, counted over a sample of
                       at most :data:`SAMPLE` values that are spread evenly over the array
=====================  =========================================================================================================

Sums are accumulated in float64 over pieces of float32.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np

from .. import nn
from ..array import default_generator, parallel_for, ranges
from ..autograd import Tensor, enable_grad

BINS = 32
SAMPLE = 16_384
NEAR_BOUND = 0.01
BOUNDS = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Hardtanh": (-1.0, 1.0)}
"""Type of a layer → the bounds of its values. A ReLU's 0 is no bound here: that is what ``zeros`` and ``dead_channels`` are about."""
_PIECE = 1 << 16  # values: 256 KiB of float32, which stay in a core's cache while all is computed from them
_UNSEEN = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)  # their values are those of the layer before, or a part of them


def statistics(backend, array, histogram: bool = False, bounds: tuple[float, float] | None = None) -> dict:
    """The dict above of one array.

    Args:
        backend: of the array's device.
        array: (N, channels, ...) or (N, channels), of a floating type; any memory order.
        histogram: make one.
        bounds: of the layer's function, for ``saturated``.
    """
    with backend.quiet():
        view = _by_channel(backend.xp, array)
        low, high, mean, squares, zeros = (_pieces if backend.xp is np else _reduced)(backend.xp, view)
        finite = int(array.size)
        dead, constant = np.mean((low == 0) & (high == 0)), np.mean(low == high)
        least, most = low.min(), high.max()
        if not (math.isfinite(least) and math.isfinite(most) and math.isfinite(squares)):
            good = view[backend.xp.isfinite(view)].astype("float64").reshape(1, 1, -1)
            finite = int(good.size)
            (least,), (most,), mean, squares, zeros = _reduced(backend.xp, good) if finite else ([None], [None], None, None, 0)
        values = {
            "count": int(array.size), "channels": int(array.shape[1]),
            "mean": mean, "std": finite and math.sqrt(squares / finite), "min": least, "max": most,
            "norm": finite and math.sqrt(squares + finite * mean**2), "zeros": zeros / array.size, "finite": finite / array.size,
            "dead_channels": dead, "constant_channels": constant, "image_std": None, "saturated": None,
        }
        if array.ndim == 2 and len(array) > 1:
            values["image_std"] = math.sqrt(float(array.astype("float64").var(0).mean()))
        if not finite:
            values["std"] = values["norm"] = None
        if bounds is not None:
            edge = NEAR_BOUND * (bounds[1] - bounds[0])
            values["saturated"] = int(((view <= bounds[0] + edge) | (view >= bounds[1] - edge)).sum()) / array.size
        values = {key: value if key in ("count", "channels") else significant(value) for key, value in values.items()}
        values["histogram"] = _histogram(backend, view, values["min"], values["max"]) if histogram and finite else None
    return values


def moments(backend, array) -> dict:
    """``{"mean", "std", "norm"}`` of an array of any shape: what is noted of a weight and of its gradient."""
    with backend.quiet():
        flat = _by_channel(backend.xp, array.reshape(-1))
        _, _, mean, squares, _ = (_pieces if backend.xp is np else _reduced)(backend.xp, flat)
        std, norm = _root(squares / array.size), _root(squares + array.size * mean**2)
        return {"mean": significant(mean), "std": significant(std), "norm": significant(norm)}


def distance(backend, a, b) -> float:
    """‖a − b‖, 2-norm of the difference of two arrays of a shape."""
    with backend.quiet():
        return moments(backend, a - b)["norm"]


def edges(histogram: dict) -> list[float]:
    """The :data:`BINS` + 1 edges of a histogram's bins."""
    return np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1).tolist()


def significant(value, digits: int = 6):
    """A number to so many significant digits, as JSON keeps it; NaN and infinities become None."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")


def _root(value):
    return math.sqrt(value) if value >= 0 else math.nan  # NaN stays NaN


def _by_channel(xp, array):
    """A view (A, channels, B) of the values in the order of the memory; a copy if they do not lie side by side, or are shorter than float32."""
    if array.dtype.itemsize < 4:
        array = array.astype("float32")
    if array.ndim < 2:
        array = array.reshape(-1, 1, 1)
    order = sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]) if array.shape[axis] > 1 else -math.inf, axis))
    lies, place = xp.ascontiguousarray(array.transpose(order)), order.index(1)
    return lies.reshape(math.prod(lies.shape[:place]), lies.shape[place], -1)


def _pieces(xp, view):
    """(least, greatest) of each channel, (mean, Σ(x − mean)², zeros) of all of a NumPy array: piece by piece, each read once from memory."""
    rows, channels, places = view.shape
    step = max(1, _PIECE // max(1, channels * places))
    cuts = [(r, c) for r in ranges(rows, step) for c in ranges(channels, max(1, _PIECE // places))]
    found = [None] * len(cuts)

    def work(number):
        (r, r_end), (c, c_end) = cuts[number]
        flat = np.ascontiguousarray(view[r:r_end, c:c_end]).reshape(-1)
        ones = np.ones(flat.size, flat.dtype)
        around = flat.dtype.type(flat @ ones / flat.size)  # nearly the mean
        rest = flat - around
        squares, shift = float(rest @ rest), float(rest @ ones) / flat.size
        if math.isinf(squares):  # beyond float32
            squares = float(np.square(rest, dtype=np.float64).sum())
        ends = (_fold(end, flat, c_end - c, places) for end in (np.minimum, np.maximum))
        found[number] = *ends, float(around) + shift, squares - flat.size * shift**2, np.count_nonzero(flat == 0), flat.size

    parallel_for(work, range(len(cuts)))
    low, high = np.full(channels, np.inf), np.full(channels, -np.inf)
    count, mean, squares, zeros = 0, 0.0, 0.0, 0
    for (_, (c, c_end)), (least, most, of_piece, around, nothing, size) in zip(cuts, found, strict=True):
        low[c:c_end], high[c:c_end] = np.minimum(low[c:c_end], least), np.maximum(high[c:c_end], most)
        off = of_piece - mean  # Chan, Golub, LeVeque, 1979: two samples' sums of squares, combined
        squares += around + off**2 * count * size / (count + size)
        mean += off * size / (count + size)
        count, zeros = count + size, zeros + int(nothing)
    return low, high, mean, squares, zeros


def _fold(end, flat, channels, places):
    """The least or greatest value of each channel of (rows, channels, places); rows are taken several at once, so that the inner loop is long."""
    if places > 1:
        return end.reduce(flat.reshape(-1, channels, places), (0, 2))
    rows = flat.size // channels
    together = math.gcd(rows, -(-512 // channels))
    return end.reduce(end.reduce(flat.reshape(-1, together * channels), 0).reshape(together, channels), 0)


def _reduced(xp, view):
    """The same in plain reductions, on the device; what comes to the host is one small array."""
    mean = view.mean(dtype="float64")
    rest = view - mean
    host = xp.concatenate([xp.stack([mean, (rest * rest).sum(), (view == 0).sum().astype("float64")]),
                           view.min((0, 2)).astype("float64"), view.max((0, 2)).astype("float64")])
    host = host.get() if hasattr(host, "get") else host
    channels = view.shape[1]
    return host[3 : 3 + channels], host[3 + channels :], float(host[0]), float(host[1]), int(host[2])


def _histogram(backend, view, low, high) -> dict:
    size = view.size
    chosen = min(SAMPLE, size)
    step = round(size * 0.6180339887498949) or 1  # multiples of the golden ratio fall evenly into the whole range, and into no channel's period
    while math.gcd(step, size) != 1:
        step += 1
    places = (np.arange(chosen, dtype=np.int64) * step) % size if chosen < size else slice(None)
    flat = view.reshape(-1)
    values = backend.to_numpy(flat[places] if isinstance(places, slice) else flat[backend.asarray(places)]).astype(np.float64)
    values = values[np.isfinite(values)]
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(np.clip(values, low, high), BINS, (low, high))
    return {"low": low, "high": high, "counts": counts.tolist()}


# ---- all layers of a net ---------------------------------------------------------------------------------------------


def probe(model, run: Callable[[], Tensor], *, scale: float = 1.0, histogram: bool = False) -> list[dict]:
    """Run a net forward and backward once, and look at every layer. Nothing is changed: parameters' gradients, buffers (running statistics)
    and the random numbers' state are put back, also after an error.

    Layers run one by one here, unfused, because hooks look at them.

    Args:
        model: in the mode that is to be looked at, usually training.
        run: runs the model on a batch and returns the loss, a Tensor of one element that may be multiplied by ``scale``.
        scale: what arriving gradients are divided by.
        histogram: make histograms.

    Returns:
        In the order of execution, of each module without children whose output is a floating Tensor (not of Identity, Flatten and Dropout, which
        add nothing): ``{"name", "type", "activation", "gradient"}``; the gradient is that of the loss with respect to the layer's output, or None
        if none arrived. A module that runs more than once appears once, with its first run.
    """
    seen: dict[str, dict] = {}
    with restored(model), contextlib.ExitStack() as hooks, enable_grad():
        for name, module in model.named_modules():
            if not list(module.children()) and not isinstance(module, _UNSEEN):
                handle = module.register_forward_hook(_look(name, seen, scale, histogram))
                hooks.callback(handle.remove)
        loss = run()
        if loss.requires_grad:
            loss.backward()
    return list(seen.values())


def _look(name, seen, scale, histogram):
    def forward(module, inputs, output):
        name_ = name or type(module).__name__
        if name_ in seen or not isinstance(output, Tensor) or not output.dtype.is_floating_point or output.ndim < 2:
            return
        kind = type(module).__name__
        seen[name_] = {"name": name_, "type": kind, "activation": statistics(output.backend, output.array, histogram, BOUNDS.get(kind)),
                       "gradient": None}
        if output.requires_grad:
            output.register_hook(lambda gradient: arrive(seen[name_], gradient))

    def arrive(layer, gradient):
        array = gradient.array if scale == 1.0 else gradient.array.astype("float32") * np.float32(1 / scale)
        layer["gradient"] = statistics(gradient.backend, array, histogram)

    return forward


@contextlib.contextmanager
def restored(model, *inputs: Tensor) -> Iterator[None]:
    """Gradients of parameters and inputs, buffers and the default generator are afterwards as they were."""
    gradients, state = [(leaf, leaf.grad) for leaf in (*model.parameters(), *inputs)], default_generator.get_state()
    buffers = [(buffer, buffer.array.copy()) for buffer in model.buffers()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, before in gradients:
            parameter.grad = before
        for buffer, before in buffers:
            buffer.array[...] = before
        default_generator.set_state(state)
