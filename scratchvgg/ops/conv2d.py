"""conv2d: the face of ``scratchvgg/conv/`` on the tape.

y = x ⋆ w + b. With g = ∂L/∂y:  ∂L/∂x = g ⋆ᵀ w (``grad_input``),  ∂L/∂w = Σ g · x (``grad_weight``),  ∂L/∂b = Σ_{n,p,q} g.
x is kept only if the weight wants a gradient, w only if the input does: the first layer's image gradient is never computed unasked.
Each pass is done by the algorithm that ``conv.choose`` names when it runs.
"""

from __future__ import annotations

from ..array import parallel_for
from ..autograd import Op, ops, unifies
from ..conv import PLAIN, Problem, cache, choose, convolve
from ..conv.epilogue import pieces
from ..conv.geometry import same_padding
from ..cuda.faces.bias_relu_pool import bias_gradient
from ..cuda.faces.planes import channels_last
from ..cuda.launch_size import SUFFIX
from .common import check_tensor, pair
from .precision import column_sums


class Conv2d(Op):
    """Keeps the input and the weight (no columns).

    ``version`` is the weight's counter of writes: with it, what an algorithm derives from the filter is kept while nothing is recorded.
    """

    name = "conv2d"

    @staticmethod
    def forward(ctx, x, w, bias, problem, algorithm, version=None):
        ctx.problem, ctx.algorithm = problem, algorithm
        ctx.save(input=x if ctx.needs_input_grad[1] else None, weight=w if ctx.needs_input_grad[0] else None)
        return forward_pass(ctx, problem, x, w, bias, algorithm, version)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved
        dx = input_gradient(ctx, ctx.problem, g, w, ctx.algorithm) if ctx.needs_input_grad[0] else None
        dw = weight_gradient(ctx, ctx.problem, g, x, ctx.algorithm) if ctx.needs_input_grad[1] else None
        db = channel_sums(ctx.backend, g) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None, None


def forward_pass(ctx, problem, x, w, bias, algorithm, version=None, epilogue=PLAIN, out=None):
    """The convolution and what follows it, by the algorithm chosen now.

    Args:
        algorithm: what ``algorithm=`` asked for, or None.
        version: of the weight's tensor. If the weight is trained, what was derived from it before is dropped; else it is used, or made and kept.
        epilogue, out: see :func:`scratchvgg.conv.convolve`.
    """
    if version is not None and ctx.needs_input_grad[1]:
        cache.drop(version)
        version = None
    chosen = choose(problem, x.dtype, algorithm, prepared=version is not None and cache.on, kernels=ctx.backend.runs_kernels)
    prepared = cache.get(chosen, ctx.backend, problem, w, version)
    return convolve(chosen, ctx.backend, problem, x, w, bias, out, epilogue, prepared)


def input_gradient(ctx, problem, dy, w, algorithm, out=None):
    """∂L/∂x by the algorithm chosen now."""
    return choose(problem, dy.dtype, algorithm, "grad_input", kernels=ctx.backend.runs_kernels).grad_input(ctx.backend, problem, dy, w, out)


def weight_gradient(ctx, problem, dy, x, algorithm, out=None):
    """∂L/∂w by the algorithm chosen now."""
    return choose(problem, dy.dtype, algorithm, "grad_weight", kernels=ctx.backend.runs_kernels).grad_weight(ctx.backend, problem, dy, x, out)


def channel_sums(backend, g):
    """Σ over n, p, q of (N, K, P, Q): by a kernel where there are some, else on the pool.

    There: strips of 128 pixels in g's own type (float32 at least), their sums in float64.
    """
    if backend.runs_kernels and g.dtype.name in SUFFIX:
        return bias_gradient(backend, channels_last(backend, g))
    n, k, p, q = g.shape
    work, image = pieces(n, p, q * k), g.transpose(0, 2, 3, 1)
    sums = backend.xp.zeros((len(work), k), backend.xp.float64)

    def tile(item):
        number, (n0, n1, p0, p1) = item
        sums[number] = column_sums(backend.xp, image[n0:n1, p0:p1].reshape(-1, k))

    parallel_for(tile, enumerate(work))
    return sums.sum(0).astype(g.dtype)


@ops.register
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm: str | None = None):
    """Two-dimensional convolution (cross-correlation), torch's ``conv2d``.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (K, C / groups, R, S).
        bias: (K,) or None.
        stride, dilation: an int or (vertical, horizontal).
        padding: an int, a pair, ``"valid"`` (none) or ``"same"`` (output size = input size; stride 1 only).
        algorithm: the name of one in ``scratchvgg.conv.algorithms()``, for all three passes; None lets the library choose each.

    Returns:
        (N, K, P, Q) with P = ⌊(H + 2·padding − dilation·(R − 1) − 1) / stride⌋ + 1, Q alike.

    Raises:
        RuntimeError: sizes or element types that do not fit, stride, dilation or groups below 1, negative padding or an unknown word.
        ValueError: an unknown algorithm.
        TypeError: an argument of the wrong kind.
    """
    batched, problem = conv_operands("conv2d", input, weight, bias, stride, padding, dilation, groups)
    y = Conv2d.apply(batched, weight, bias, problem, algorithm, version=weight.version)
    return y if input.ndim == 4 else y.squeeze(0)


def conv_operands(name, input, weight, bias, stride, padding, dilation, groups):
    """Check everything that the function ``name`` was given.

    Returns:
        (input as (N, C, H, W), problem).
    """
    for argument, value in (("input", input), ("weight", weight), *((("bias", bias),) if bias is not None else ())):
        check_tensor(name, argument, value)
    if input.ndim not in (3, 4):
        raise RuntimeError(f"{name}: expected input of shape (N, C, H, W) or (C, H, W), got {tuple(input.shape)}")
    if weight.ndim != 4:
        raise RuntimeError(f"{name}: expected weight of shape (out, in / groups, height, width), got {tuple(weight.shape)}")
    batched = input if input.ndim == 4 else input.unsqueeze(0)
    problem = conv_problem(batched.shape, weight.shape, stride, padding, dilation, groups, name)
    check_operands(name, input, weight, bias, weight.shape[0])
    return batched, problem


def conv_problem(x_shape, w_shape, stride, padding, dilation, groups, name="conv2d") -> Problem:
    """Check the geometry and gather it."""
    n, c, h, w = x_shape
    k, deep, r, s = w_shape
    stride, dilation = pair(name, "stride", stride), pair(name, "dilation", dilation)
    if min(stride) < 1:
        raise RuntimeError(f"{name}: stride must be positive, got {stride}")
    if min(dilation) < 1:
        raise RuntimeError(f"{name}: dilation must be positive, got {dilation}")
    if groups < 1:
        raise RuntimeError(f"{name}: groups must be positive, got {groups}")
    if deep * groups != c:
        raise RuntimeError(
            f"{name}: weight of shape {tuple(w_shape)} with groups={groups} expects {deep * groups} input channels, "
            f"got input {tuple(x_shape)} with {c}"
        )
    if k % groups:
        raise RuntimeError(f"{name}: {k} output channels cannot be cut into {groups} groups")
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"{name}: padding must be 'same', 'valid' or integers, got {padding!r}")
        if padding == "same" and stride != (1, 1):
            raise RuntimeError(f"{name}: padding='same' needs stride 1, got {stride}")
        around = same_padding((r, s), dilation) if padding == "same" else ((0, 0), (0, 0))
    else:
        vertical, horizontal = pair(name, "padding", padding)
        if min(vertical, horizontal) < 0:
            raise RuntimeError(f"{name}: negative padding is not supported, got {padding}")
        around = (vertical, vertical), (horizontal, horizontal)
    problem = Problem(n, c, h, w, k, r, s, stride, around, dilation, groups)
    if h + sum(around[0]) < problem.rows or w + sum(around[1]) < problem.columns:
        raise RuntimeError(
            f"{name}: the padded input ({h + sum(around[0])} x {w + sum(around[1])}) is smaller than "
            f"the filter's reach ({problem.rows} x {problem.columns})"
        )
    return problem


def check_operands(name, input, weight, bias, channels_out):
    """Raise RuntimeError unless the element types agree and the bias has one number per output channel."""
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected floating point input, got {input.dtype}")
    mixed = not unifies(name, input, weight, bias)
    for argument, other in (("weight", weight), ("bias", bias)):
        if mixed and other is not None and other.dtype is not input.dtype:
            raise RuntimeError(f"{name}: input is {input.dtype} and {argument} is {other.dtype}; they must be the same")
    if bias is not None and tuple(bias.shape) != (channels_out,):
        raise RuntimeError(f"{name}: expected bias of shape ({channels_out},), got {tuple(bias.shape)}")
