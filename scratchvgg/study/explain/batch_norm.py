"""A batch normalisation, number by number, for one channel of M values:

    x̂ = (x − μ) / √(σ² + ε)     y = γ x̂ + β     running ← (1 − m) running + m (μ, σ² M / (M − 1))
    dβ = Σ dy     dγ = Σ dy x̂     dx = γ / √(σ² + ε) · (dy − mean dy − x̂ · mean(dy x̂))          (in evaluation: without the two means)

μ and the biased σ² are the batch's in training and the running estimates in evaluation. The bounds are of first order: a handful of roundings, and
the sum of squares, which is added up in strips of at most 128 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ... import nn
from ...autograd import Tensor, enable_grad
from ...conv.errors import sum_bound, unit_roundoff
from ...nn import functional as F
from ..trace import Call, Trace
from . import engine
from .explanation import Check, Explanation, Heading, Matrices, Note, Table, Text
from .matrices import matrix
from .numbers import Deviation, deviation
from .registry import explains, find, module_of

PIECE = 5  # rows and columns that are shown
ROUNDINGS = "a handful of roundings and a float32 sum of squares"


@dataclass(frozen=True)
class BatchNorm(Explanation):
    """One channel of a batch normalisation, and a piece of one sample's plane.

    Attributes:
        layer, dtype, training, eps, momentum: of the layer; training tells whose statistics were used.
        sample, channel, rows, columns: where the piece lies. count: M.
        mean, var: μ and σ² that were used. unbiased: σ² M / (M − 1). gamma, beta: the engine's γ and β (1 and 0 without).
        before, after, after_engine: running (mean, variance) before the step, after it as worked out here, and the engine's; None without.
        x, y: (R, S) of the piece, the engine's. x_hat: float64.
        arrived, sent: (R, S), the engine's gradients; None without.
        mean_dy, mean_dy_x_hat: the two means. terms: (3, R, S) dy, mean dy, x̂ · mean(dy x̂). dx: γ / √(σ² + ε) times their difference.
        dgamma, dbeta: the sums; dgamma_engine, dbeta_engine: the engine's.
        same: whether the operation, run again on its arrays for what the trace does not keep, gave the same bits.
        deviation (y), running_deviation, dx_deviation, dgamma_deviation, dbeta_deviation: against the engine; y and dx over the whole channel.
    """

    operation: ClassVar[str] = "batch_norm"

    layer: str
    dtype: str
    training: bool
    eps: float
    momentum: float
    sample: int
    channel: int
    rows: np.ndarray
    columns: np.ndarray
    count: int
    mean: float
    var: float
    unbiased: float
    gamma: float
    beta: float
    before: tuple[float, float] | None
    after: tuple[float, float] | None
    after_engine: tuple[float, float] | None
    x: np.ndarray
    x_hat: np.ndarray
    y: np.ndarray
    same: bool
    deviation: Deviation
    running_deviation: Deviation | None
    arrived: np.ndarray | None = None
    mean_dy: float | None = None
    mean_dy_x_hat: float | None = None
    terms: np.ndarray | None = None
    dx: np.ndarray | None = None
    sent: np.ndarray | None = None
    dx_deviation: Deviation | None = None
    dgamma: float | None = None
    dgamma_engine: float | None = None
    dgamma_deviation: Deviation | None = None
    dbeta: float | None = None
    dbeta_engine: float | None = None
    dbeta_deviation: Deviation | None = None

    @property
    def title(self) -> str:
        """Heading of the section."""
        return f"{self.layer}: batch normalisation of channel {self.channel}"

    def blocks(self) -> list:
        """The blocks, in order."""
        whose = f"the batch's, over {self.count:,} values" if self.training else "the running estimates (evaluation)"
        rows = [["mean μ", f"{self.mean:.9g}"], ["variance σ² (biased: divided by M)", f"{self.var:.9g}"],
                ["1 / √(σ² + ε)", f"{1 / (self.var + self.eps) ** 0.5:.9g}"], ["γ", f"{self.gamma:.9g}"], ["β", f"{self.beta:.9g}"]]
        blank = [""] * len(self.columns)
        blocks = [
            Text(f"{self.dtype}, ε = {self.eps:g}; the statistics are {whose}."), Table(rows),
            Text("x̂ = (x − μ) / √(σ² + ε),   y = γ x̂ + β", formula=True),
            Matrices([matrix(self.x, f"x, sample {self.sample}", rows=self.rows, columns=self.columns), matrix(self.x_hat, "x̂", columns=blank),
                      matrix(self.y, "y (engine)", columns=blank)], ("→", "→")),
            Check(self.deviation),
        ]
        if self.after is not None:
            blocks += [
                Heading("Running estimates"),
                Text(f"running ← (1 − {self.momentum:g}) · running + {self.momentum:g} · batch, with the unbiased variance σ² M / (M − 1) = "
                     f"{self.unbiased:.6g}", formula=True),
                Table([[name, f"{self.before[i]:.9g}", f"{self.after[i]:.9g}", f"{self.after_engine[i]:.9g}"] for i, name in
                       enumerate(("mean", "variance"))], ("running", "before", "after", "after (engine)")), Check(self.running_deviation),
                *([] if self.same else [Note("Run again, the operation gave OTHER bits than in the run.")]),
            ]
        return blocks if self.arrived is None else [*blocks, *self._backward(blank)]

    def _backward(self, blank) -> list:
        sums = [[name, f"{ours:+.9g}", "–" if theirs is None else f"{theirs:+.9g}"] for name, ours, theirs in
                (("dγ = Σ dy · x̂", self.dgamma, self.dgamma_engine), ("dβ = Σ dy", self.dbeta, self.dbeta_engine))]
        blocks = [Heading("Backward: three terms"), Table(sums, ("", "shown", "engine")),
                  *(Check(d) for d in (self.dgamma_deviation, self.dbeta_deviation) if d is not None)]
        scale = f"γ / √(σ² + ε) = {self.gamma / (self.var + self.eps) ** 0.5:.6g}"
        if self.training:
            blocks += [
                Text(f"dx = {scale} · (dy − mean dy − x̂ · mean(dy x̂)),   mean dy = {self.mean_dy:.4g},   mean(dy x̂) = {self.mean_dy_x_hat:.4g}",
                     formula=True),
                Text("The second term takes out what would move all values of the channel together, the third what would stretch them: neither can "
                     "change y, because the normalisation undoes it."),
            ]
            blocks.append(Matrices([matrix(self.terms[0], "dy", rows=self.rows, columns=self.columns), matrix(self.terms[1][:1, :1], "mean dy"),
                                    matrix(self.terms[2], "x̂ · mean(dy x̂)", columns=blank)], ("−", "−")))
        else:
            blocks += [Text(f"dx = {scale} · dy: the running estimates do not depend on x, so the two means are missing", formula=True),
                       Matrices([matrix(self.arrived, "dy", rows=self.rows, columns=self.columns)])]
        two = [matrix(self.dx, "dx (shown)", rows=self.rows, columns=self.columns)]
        if self.sent is not None:
            two.append(matrix(self.sent, "dx (engine)", columns=blank))
        return [*blocks, Matrices(two), *([Check(self.dx_deviation)] if self.dx_deviation else [])]


@explains("batch_norm")
def batch_norm(trace: Trace, layer: str, channel: int | None = None, row: int | None = None, column: int | None = None, sample: int = 0, *,
               visit: int = 0) -> BatchNorm:
    """One channel of a batch normalisation layer.

    Args:
        trace: of ``trace(…, arrays=True)``; with ``backward=True`` the gradient is explained too.
        layer: name of a BatchNorm1d or BatchNorm2d, in the mode that it was traced in.
        channel, row, column: the channel, and the middle of the piece that is shown; by default where the sample's output is largest.
        sample, visit: of the batch, and of the layer's runs.

    Raises:
        StudyError: for another kind of layer, a place outside, or a trace without arrays.
    """
    call = find(trace, layer, ("batch_norm",), visit)
    module = module_of(trace, call, nn.BatchNorm1d, nn.BatchNorm2d)
    x, y = (_planes(a) for a in engine.separate(trace, call))
    n = engine.sample_index(y, sample)
    c = engine.channel_of(y[n], channel)
    p, q = engine.pixel(y[n, c], row, column)
    rows, columns = engine.around(p, y.shape[2], PIECE), engine.around(q, y.shape[3], PIECE)
    piece = n, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    values, count = x[:, c].astype(np.float64), x[:, c].size
    used = module.training or module.running_mean is None
    known = None if module.running_mean is None else tuple(float(engine.host(trace, b.array)[c]) for b in (module.running_mean, module.running_var))
    mean, var = (float(values.mean()), float(values.var())) if used else known
    unbiased, momentum = var * count / max(1, count - 1), _momentum(module)
    gamma, beta = (default if tensor is None else float(engine.host(trace, tensor.array)[c]) for tensor, default in
                   ((module.weight, 1.0), (module.bias, 0.0)))
    x_hat = (values - mean) / (var + module.eps) ** 0.5
    again = _again(trace, call, module, used, momentum)
    after = engine_after = running = None
    moves = module.training and known is not None
    unit = 8 * unit_roundoff(y.dtype.name) + sum_bound(128, y.dtype)
    if moves:
        after = tuple((1 - momentum) * old + momentum * new for old, new in zip(known, (mean, unbiased), strict=True))
        engine_after = tuple(float(a[c]) for a in again["running"])
        largest = max(map(abs, (*known, mean, unbiased)))
        running = deviation("the running estimates", after, np.array([a[c] for a in again["running"]]), unit * largest, ROUNDINGS)
    bound = unit * (abs(gamma) * float(np.abs(x_hat).max()) + abs(beta))
    return BatchNorm(
        layer, y.dtype.name, used, module.eps, momentum, n, c, rows, columns, count, mean, var, unbiased, gamma, beta,
        known if moves else None, after, engine_after, x[:, c][piece], x_hat[piece], y[:, c][piece], again["same"],
        deviation("y, the whole channel", gamma * x_hat + beta, y[:, c], bound, ROUNDINGS), running,
        **_backward(trace, call, c, piece, x_hat, gamma / (var + module.eps) ** 0.5, used, unit, again))


def _backward(trace, call, c, piece, x_hat, scale, used, unit, again) -> dict:
    dy = engine.arrived(trace, call)
    if dy is None:
        return {}
    dy = _planes(dy)[:, c].astype(np.float64)
    mean_dy, mean_both = float(dy.mean()), float((dy * x_hat).mean())
    terms = np.stack([dy, np.full_like(dy, mean_dy), x_hat * mean_both])
    dx = scale * (terms[0] - terms[1] - terms[2] if used else dy)
    sizes = np.abs(dy).max() + np.abs(dy).mean() + np.abs(x_hat).max() * np.abs(dy * x_hat).mean()
    bounds = {"dx": 2 * unit * abs(scale) * float(sizes), "dgamma": unit * float(np.abs(dy * x_hat).sum()), "dbeta": unit * float(np.abs(dy).sum())}
    found = {"arrived": _planes(engine.arrived(trace, call))[:, c][piece], "mean_dy": mean_dy, "mean_dy_x_hat": mean_both,
             "terms": terms[(slice(None), *piece)], "dx": dx[piece], "dgamma": float((dy * x_hat).sum()), "dbeta": float(dy.sum())}
    sent = engine.sent_back(trace, call)
    if sent is not None:
        whole = _planes(sent)[:, c]
        found |= {"sent": whole[piece], "dx_deviation": deviation("dx, the whole channel", dx, whole, bounds["dx"], ROUNDINGS)}
    for name, word in (("dgamma", "dγ"), ("dbeta", "dβ")):
        if again.get(name) is not None:
            found |= {f"{name}_engine": float(again[name][c]),
                      f"{name}_deviation": deviation(word, found[name], again[name][c], bounds[name], ROUNDINGS)}
    return found


def _planes(array):
    """(N, C, …) as (N, C, H, W)."""
    return array.reshape(*array.shape, *(1,) * (4 - array.ndim))


def _momentum(module) -> float:
    """The weight of the batch in the traced run, which the counter of batches does not remember."""
    if module.momentum is None and module.num_batches_tracked is not None:
        return 1 / (float(module.num_batches_tracked) + 1)
    return module.momentum or 0.0


def _again(trace: Trace, call: Call, module, used: bool, momentum: float) -> dict:
    """What the trace does not keep: the engine's running estimates after the step and the gradients of γ and β, by running the operation again."""
    backend = trace.output.backend
    leaf = lambda array: Tensor.wrap(backend, array)
    x, weight, bias = leaf(call.sources[0].array), *(None if p is None else leaf(p.array) for p in (module.weight, module.bias))
    running = [None if b is None else leaf(b.array.copy()) for b in (module.running_mean, module.running_var)]
    learned = [t for t in (weight, bias) if t is not None and call.gradients]
    for tensor in learned:
        tensor.requires_grad = True
    with enable_grad():
        y = F.batch_norm(x, *running, weight, bias, used, momentum, module.eps)
    if learned:
        y.backward(leaf(call.gradients[0]))
    grad = lambda t: None if t is None or t.grad is None else engine.host(trace, t.grad.array)
    return {"running": [None if b is None else engine.host(trace, b.array) for b in running], "dgamma": grad(weight), "dbeta": grad(bias),
            "same": bool(np.array_equal(engine.host(trace, y.array), engine.host(trace, call.results[0]), equal_nan=True))}
