"""Stochastic gradient descent with momentum.

With gradient g, weight w, velocity v, momentum μ, dampening τ, weight decay λ and learning rate γ, one step is

    g ← g + λw        v ← μv + (1 − τ)g  (the first time v ← g)        d = g + μv (Nesterov) or v        w ← w − γd

as in torch (Sutskever et al. 2013 scale v by γ instead: the same until γ changes). ``maximize`` starts from −g.

On devices that run kernels all parameters lie in one buffer and a step is one launch (``flat.py``): the same numbers, bit for bit.
"""

from __future__ import annotations

from ..array.dtypes import float32
from .flat import FlatSGD
from .optimizer import Optimizer, check_at_least_zero, number, refuse_differentiable, scalar


class SGD(Optimizer):
    """Stochastic gradient descent, torch's ``optim.SGD``.

    Args:
        params: Tensors, named Tensors or parameter groups.
        lr: learning rate, a number or a 0-dimensional Tensor.
        momentum, dampening, weight_decay: μ, τ and λ above.
        nesterov: look ahead along the velocity.
        maximize: climb instead of descend.
        foreach, fused: torch's choices between implementations; kept in the groups, without effect here.
        flat: pack parameters, gradients and velocities into one buffer each in the first step (True), leave them where they are (False),
            or pack them on devices that run kernels (None).
        master_weights: 16-bit parameters get float32 copies, state entries ``"master"``, that take the steps, and float32 velocities; the
            parameter is its master rounded. Without, a step smaller than half the distance to the next 16-bit number changes nothing.

    Attributes:
        grad_scale, found_inf: set by a gradient scaler for one step, Tensors of one float32 on the parameters' device: gradients are divided
            by the first, and where the second is not 0 nothing changes.

    Raises:
        ValueError: for a negative lr, momentum or weight decay, or Nesterov without momentum or with dampening.
        RuntimeError: for ``differentiable=True``.
    """

    def __init__(
        self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False,
        *, maximize=False, foreach=None, differentiable=False, fused=None, flat=None, master_weights=False,
    ):
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            check_at_least_zero(name, value)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(f"nesterov: needs momentum > 0 and dampening 0, got momentum {momentum} and dampening {dampening}")
        refuse_differentiable(differentiable)
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
             "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused},
        )

        self.flat, self.master_weights, self._flat = flat, bool(master_weights), FlatSGD(self, master_weights)
        self.grad_scale = self.found_inf = None

    @property
    def scaling(self) -> dict:
        """What a gradient scaler left for this step."""
        return {"grad_scale": self.grad_scale, "found_inf": self.found_inf}

    def update(self, work):
        kernels = bool(work) and all(p.backend.runs_kernels for _, p in work)
        flat, scaled = kernels if self.flat is None else self.flat, self.grad_scale is not None or self.found_inf is not None
        rest = self._flat.step(work) if flat and (kernels or not scaled) else work
        if rest and self.found_inf is not None and number(self.found_inf):
            return
        for _, p in rest if self.grad_scale is not None else ():
            if not self._has_master(p):
                with p.backend.quiet():
                    p.grad.array[...] /= number(self.grad_scale)
        super().update(rest)

    def plan(self, group, parameter):
        first = group["momentum"] != 0 and self.state[parameter].get("momentum_buffer") is None
        velocity = () if group["momentum"] == 0 else (self._buffer(parameter, "momentum_buffer"),)
        rule = self.rule(group, parameter, first)
        if not self._has_master(parameter):
            return rule, velocity
        return self._rounding(parameter.backend, rule), (self._buffer(parameter, "master"), *velocity)

    def state_dtype(self, parameter, name):
        return float32 if self._has_master(parameter) else parameter.dtype

    def _has_master(self, parameter):
        return self.master_weights and parameter.dtype.itemsize == 2

    def _rounding(self, backend, rule):
        """``rule`` on the float32 master m of a 16-bit weight w. Where w is not m rounded, somebody else wrote w, and m follows."""
        xp, scale = backend.xp, None if self.grad_scale is None else number(self.grad_scale)

        def rounding(scratch, w, g, m, *v):
            xp.copyto(m, w, where=m.astype(w.dtype) != w)
            slope = g.astype(m.dtype)
            if scale is not None:
                slope /= scale
            rule(lambda i: backend.workspace(f"optim.wide.{i}", m.shape, m.dtype), m, slope, *v)
            w[...] = m

        return rounding

    def rule(self, group, parameter, first: bool):
        """The update of one block for :class:`~scratchvgg.optim.blocks.BlockRunner`; ``first`` where the velocity begins."""
        xp = parameter.backend.xp
        lr, momentum, decay = (scalar(group[key], parameter) for key in ("lr", "momentum", "weight_decay"))
        keep, nesterov, maximize = 1 - group["dampening"], group["nesterov"], group["maximize"]

        def rule(scratch, w, g, v=None):
            d, s = g, scratch(0)
            if decay != 0:
                xp.multiply(w, decay, out=s)
                d = (xp.subtract if maximize else xp.add)(s, g, out=s)
            elif maximize:
                d = xp.negative(g, out=s)
            if first:
                v[...] = d
            elif v is not None:
                v *= momentum
                v += d if keep == 1 else xp.multiply(d, keep, out=scratch(1))
            if v is not None:
                d = xp.add(d, xp.multiply(v, momentum, out=scratch(1)), out=s) if nesterov else v
            w -= xp.multiply(d, lr, out=s)

        return rule
