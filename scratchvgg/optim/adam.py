"""Adam (Kingma & Ba 2015), AMSGrad (Reddi et al. 2018) and AdamW (Loshchilov & Hutter 2019).

With gradient g, weight w, moments m and v, step number t, rates β₁ and β₂, weight decay λ and learning rate γ, one step is

    g ← g + λw (Adam)  or  w ← w − γλw (AdamW)        m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²
    w ← w − γ/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)

AMSGrad takes the largest v so far in the last line. ``maximize`` starts from −g.
"""

from __future__ import annotations

import math

from ..array import CPU, get_backend
from ..autograd import Tensor
from .optimizer import Optimizer, check_at_least_zero, number, refuse_differentiable, scalar


class Adam(Optimizer):
    """torch's ``optim.Adam``.

    Args:
        params: Tensors, named Tensors or parameter groups.
        lr: learning rate, a number or a 0-dimensional Tensor.
        betas: (β₁, β₂), both floats or both Tensors of one element.
        eps: ε.
        weight_decay: λ.
        amsgrad: normalise by the largest second moment so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: decay as AdamW does.
        foreach, capturable, fused: torch's choices between implementations; kept in the groups, without effect here.

    Raises:
        ValueError: for a negative lr, eps or weight decay, or betas outside [0, 1).
        RuntimeError: for ``differentiable=True``.
    """

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False,
        *, foreach=None, maximize=False, capturable=False, differentiable=False, fused=None, decoupled_weight_decay=False,
    ):
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            check_at_least_zero(name, value)
        for place, beta in enumerate(betas):
            check_at_least_zero(f"betas[{place}]", beta)
            if not number(beta) < 1:
                raise ValueError(f"betas[{place}]: expected less than 1, got {beta}")
        if not (all(isinstance(b, float) for b in betas) or all(isinstance(b, Tensor) for b in betas)):
            raise ValueError(f"betas: expected two floats or two Tensors, got {betas!r}")
        refuse_differentiable(differentiable)
        super().__init__(
            params,
            {"lr": lr, "betas": tuple(number(b) for b in betas), "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
             "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
             "decoupled_weight_decay": decoupled_weight_decay},
        )

    def plan(self, group, parameter):
        xp = parameter.backend.xp
        lr, decay, eps = (scalar(group[key], parameter) for key in ("lr", "weight_decay", "eps"))
        beta1, beta2 = (number(b) for b in group["betas"])
        decoupled, maximize = group["decoupled_weight_decay"], group["maximize"]
        t = self._next_step(parameter)
        step_size = lr / (1 - beta1**t)
        root = math.sqrt(1 - beta2**t)
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

        def rule(scratch, w, g, m, v, largest=None):
            s = scratch(0)
            if decay != 0 and decoupled:
                w *= 1 - lr * decay
            elif decay != 0:
                xp.multiply(w, decay, out=s)
                g = (xp.subtract if maximize else xp.add)(s, g, out=scratch(1))
            if maximize and (decay == 0 or decoupled):
                g = xp.negative(g, out=scratch(1))
            xp.subtract(g, m, out=s)  # m ← m + (1 − β₁)(g − m)
            s *= 1 - beta1
            m += s
            v *= beta2
            xp.multiply(g, g, out=s)
            s *= 1 - beta2
            v += s
            if largest is not None:
                v = xp.maximum(largest, v, out=largest)
            xp.sqrt(v, out=s)
            s /= root
            s += eps
            xp.divide(m, s, out=s)
            s *= step_size
            w -= s

        return rule, tuple(self._buffer(parameter, name) for name in names)

    def _next_step(self, parameter) -> float:
        state = self.state[parameter]
        if "step" not in state:
            state["step"] = Tensor.wrap(get_backend(CPU), get_backend(CPU).zeros((), "float32"))
        elif not isinstance(state["step"], Tensor):
            state["step"] = Tensor(float(state["step"]))
        state["step"].array += 1
        return float(state["step"].array)


class AdamW(Adam):
    """Adam whose weight decay does not pass through the moments: torch's ``optim.AdamW``. Arguments as :class:`Adam`."""

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False,
        *, maximize=False, foreach=None, capturable=False, differentiable=False, fused=None,
    ):
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict):
        """As :meth:`Optimizer.load_state_dict`; a state of Adam loads too, and decays decoupled from then on."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
