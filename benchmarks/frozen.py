"""Nets whose ReLU and max-pool decisions are fixed beforehand.

Where a ReLU's input is within rounding of 0, or two candidates of a pool are within rounding of each other, two right float32
implementations decide differently, and deep gradients then differ by 1e-2. With the decisions of a float64 run put in their place, the
net is a smooth function and what remains is rounding.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch

from scratchvgg.autograd import Op, intercept
from scratchvgg.nn import fusion


def record(net: torch.nn.Module) -> list:
    """Let a torch net note its decisions: the returned list fills, in the order of the calls, with a mask (bool) per ReLU and the winners'
    places in the H × W plane (int64) per max-pool, as arrays."""
    decisions: list = []
    for module in net.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda m, inputs, output: decisions.append((output > 0).numpy()))
        elif isinstance(module, torch.nn.MaxPool2d):
            module.register_forward_hook(lambda m, inputs, output: decisions.append(_winners(m, inputs[0])))
    return decisions


def _winners(pool, x):
    pool_options = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
    return torch.nn.functional.max_pool2d(x.detach(), *pool_options, return_indices=True)[1].numpy()


class FrozenReLU(Op):
    """x where the mask is set, else 0."""

    @staticmethod
    def forward(ctx, x, mask):
        ctx.mask = mask
        return x * mask

    @staticmethod
    def backward(ctx, g):
        return g * ctx.mask, None


class FrozenMaxPool(Op):
    """The element of each H × W plane that ``winners`` (N, C, P, Q) names."""

    @staticmethod
    def forward(ctx, x, winners):
        n, c = x.shape[:2]
        ctx.shape, ctx.winners = x.shape, winners.reshape(n, c, -1)
        return ctx.xp.take_along_axis(x.reshape(n, c, -1), ctx.winners, 2).reshape(winners.shape)

    @staticmethod
    def backward(ctx, g):
        n, c, h, w = ctx.shape
        gx = ctx.xp.zeros((n, c, h * w), g.dtype)
        image, channel = ctx.xp.arange(n)[:, None, None], ctx.xp.arange(c)[:, None]
        gx[image, channel, ctx.winners] = g.reshape(n, c, -1)  # windows of VGG do not overlap
        return gx.reshape(ctx.shape), None


@contextmanager
def record_ours():
    """Yield a list that fills with the decisions of our nets in the ``with`` block, as :func:`record` notes torch's, on the host."""
    decisions = []

    def look(op, args, options, proceed):
        if op.name == "relu":
            y = proceed(args, options)
            decisions.append(y.backend.to_numpy(y.array) > 0)
            return y
        if op.name == "max_pool2d":
            y, winners = proceed(args, {**options, "return_indices": True})
            decisions.append(y.backend.to_numpy(winners.array))
            return y
        return proceed(args, options)

    with fusion(False), intercept(look):
        yield decisions


@contextmanager
def frozen(decisions):
    """Within the ``with`` block our ReLUs and max-pools follow ``decisions`` (of :func:`record`), in the order of the calls.

    Raises:
        RuntimeError: if there were more or fewer decisions to take.
    """
    left = list(decisions)[::-1]
    frozen_ops = {"relu": FrozenReLU, "max_pool2d": FrozenMaxPool}

    def look(op, args, options, proceed):
        if op.name not in frozen_ops:
            return proceed(args, options)
        if not left:
            raise RuntimeError(f"{op.name}: the recorded run took fewer decisions")
        return frozen_ops[op.name].apply(args[0], args[0].backend.asarray(left.pop()))

    with fusion(False), intercept(look):  # every ReLU and every pool by itself
        yield
    if left:
        raise RuntimeError(f"{len(left)} of {len(decisions)} recorded decisions were not asked for")


class _Masked(torch.nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = torch.from_numpy(mask)

    def forward(self, x):
        return x * self.mask


class _Chosen(torch.nn.Module):
    def __init__(self, winners):
        super().__init__()
        self.winners = torch.from_numpy(winners)

    def forward(self, x):
        return x.flatten(2).gather(2, self.winners.flatten(2)).view(self.winners.shape)


def freeze_torch(net: torch.nn.Module, decisions) -> torch.nn.Module:
    """Put the decisions in the place of a torch net's ReLUs and max-pools; ``net`` itself is changed and returned."""
    left = list(decisions)[::-1]
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(parent, name, _Masked(left.pop()))
            elif isinstance(child, torch.nn.MaxPool2d):
                setattr(parent, name, _Chosen(left.pop()))
    return net
