"""Two sides in lockstep, the truth between them.

Two passes are made over the chain of layers, forward and back.

The first asks every layer alone: the truth's numbers, rounded to a type that both sides hold, go into the layer on both sides and into its float64
twin. So a layer answers for its own error only, and no decision flips, for all see the same input. This is what locates a bug.

The second is the net as it runs: each side computes on with what it computed. Errors add up, decisions flip (:mod:`.decisions`); and once more
with the truth's decisions on both sides. This is what a difference of logits or gradients is made of.

Layers run one by one, so nothing is fused: fused operations are compared with their parts in the tests of ``nn.fusion``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...train.diagnose import non_finite_parameters
from ..errors import StudyError
from . import decisions, limits
from .chain import LOSS, Step, check_alike, steps_of
from .numbers import Gap, measure
from .result import Divergence, Layer, Own
from .sides import GRAD_INPUT, OUTPUT, Ours, Runner, Side, rounded

MODES = ("eval", "train")
AGREES = 1e-9  # relative: two float64 computations of the same
JUDGE = "PyTorch in float64"
_PRECISION = ("bfloat16", "float16", "float32", "float64")


def compare(a: Side, b: Side, x, target=None, *, mode: str = "eval", backward: bool = True, frozen: bool = True,
            progress: Callable[[str], None] = lambda text: None) -> Divergence:
    """Run two sides in lockstep from the same weights and batch.

    Args:
        a, b: the sides. Of two models the truth is computed with the weights and options of ``a``'s.
        x: the batch (N, C, H, W), a Tensor or array.
        target: labels (N,); by default 0, 1, 2 …
        mode: of batch norm, ``"eval"`` or ``"train"``; dropout is off in both, for its random numbers differ from library to library.
        backward: compare gradients of the cross entropy too.
        frozen: compare the whole net's gradients with frozen decisions too, if any decision flips.
        progress: told what is going on.

    Raises:
        StudyError: for two different nets, nets that are no chain of layers, NaN or Inf in the batch or in A's weights, and arguments that do not
            fit. ImportError: without PyTorch.
    """
    started = time.perf_counter()
    if mode not in MODES:
        raise StudyError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    x = _array("x", x)
    if x.ndim != 4 or not x.size or x.dtype.kind not in "fV":
        raise StudyError(f"x: expected images (N, C, H, W) of a floating type, got shape {x.shape}, {x.dtype}")
    if not np.isfinite(x.astype(np.float64)).all():
        raise StudyError("x: holds NaN or Inf: there is no truth to compare with")
    broken = non_finite_parameters(a.model)
    if broken:
        raise StudyError(f"weights: {broken[0]} of A's model holds NaN or Inf: there is no truth to compare with")
    steps = steps_of(a.model, x)
    others = steps
    if b.model is not a.model:
        others = steps_of(b.model, x)
        check_alike(steps, others)
    classes = steps[-1].after[0]
    target = np.arange(len(x)) % classes if target is None else _array("target", target)
    if target.shape != (len(x),) or target.dtype.kind not in "iu" or not ((target >= 0) & (target < classes)).all():
        raise StudyError(f"target: expected {len(x)} labels from 0 to {classes - 1}, got {target.dtype} of shape {target.shape}")
    run = _Run(a, b, steps, others, x, target.astype(np.int64), mode, progress)
    run.alone(backward)
    run.whole(backward, frozen)
    truth = f"the layers of {'A, with their weights,' if b.model is not a.model else 'the net'} in float64, convolutions im2col"
    return Divergence(
        run.about("a"), run.about("b"), truth, run.layers, tuple(x.shape), mode, backward, run.ulp_dtype, (a.dtype, b.dtype), run.notes(),
        time.perf_counter() - started)


def _array(name, value) -> np.ndarray:
    value = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if value.dtype == object:
        raise StudyError(f"{name}: expected numbers, got {type(value).__name__}")
    return value


class _Chain:
    """One pass through the whole net: what went into each step."""

    def __init__(self, runner: Runner | None, steps: list[Step], x):
        self.runner, self.steps, self.inputs, self.value = runner, steps, [], x
        self.gradient = np.ones((), np.float64)


class _Run:
    def __init__(self, a, b, steps, others, x, target, mode, progress):
        training = mode == "train"
        loss = Step(LOSS, None, steps[-1].after, ())
        self.steps, self.others = [*steps, loss], [*others, loss]
        self.a, self.b = a.runner(training), b.runner(training)
        self.truth = Ours(Side(a.model, "cpu", "float64", "reproducible"), training)
        self.judge: Runner | None = None
        self.x, self.target, self.progress = x, target, progress
        self.ulp_dtype = min(a.dtype, b.dtype, key=_PRECISION.index)
        self.common = rounded([a.dtype, b.dtype])
        self.weights = next((p.dtype.name for p in a.model.parameters()), "float32")
        self.layers = [Layer(s.name, s.type, (len(x), *s.after) if s.module is not None else ()) for s in self.steps]
        self.dropouts = [s.name for s in steps if isinstance(s.module, nn.Dropout) and s.module.p > 0]
        if b.model is not a.model:
            for layer, left, right in zip(self.layers, steps, others, strict=False):
                layer.notes = _differences(left.module, right.module)

    def about(self, side: str) -> str:
        """The side, and the convolution algorithms that ran, with the number of passes."""
        counts = Counter(name for layer in self.layers for name in layer.algorithms[side].values())
        ran = ", ".join(f"{name} {number}" for name, number in counts.most_common())
        return (self.a if side == "a" else self.b).about() + (f" (passes by {ran})" if ran else "")

    def notes(self) -> list[str]:
        """What belongs beside the numbers."""
        lines = []
        if self.truth.training and self.dropouts:
            lines.append(f"dropout is off ({', '.join(self.dropouts)}): its random numbers are not the same in two libraries")
        if "float64" in (self.a.dtype, self.b.dtype):
            lines.append("the truth is float64 itself: of a float64 side it tells only whether it is right to about twice its rounding")
        return lines

    # ---- each layer alone ----------------------------------------------------------------------------------------

    def alone(self, backward: bool) -> None:
        """Own errors of every layer."""
        inputs, given = [], self.common(self.x)
        for i, (step, other, layer) in enumerate(zip(self.steps, self.others, self.layers, strict=True)):
            self.progress(f"{step.name} alone, forward ({i + 1} of {len(self.steps)})")
            given = step.shaped(given)
            inputs.append(given)
            right = self.truth.forward(step, given, self.target)
            left = self._forward(self.a, step, given, layer.algorithms["a"])
            reached = self._forward(self.b, other, given, layer.algorithms["b"])
            sizes = limits.forward_sizes(self.truth, step, given, right, self.target)
            self._own(layer, step, right, left, reached, sizes)
            self._second_opinion(layer, step, right, lambda judge, step=step, given=given: judge.forward(step, given, self.target))
            given = self.common(right[OUTPUT])
        gradient = np.ones((), np.float64)
        for i in reversed(range(len(self.steps) if backward else 0)):
            step, other, layer = self.steps[i], self.others[i], self.layers[i]
            self.progress(f"{step.name} alone, backward ({i + 1} of {len(self.steps)})")
            gradient = gradient.reshape(len(self.x), *step.after) if step.module is not None else gradient
            right = self.truth.backward(step, inputs[i], gradient, self.target)
            left = self._backward(self.a, step, inputs[i], gradient, layer.algorithms["a"])
            reached = self._backward(self.b, other, inputs[i], gradient, layer.algorithms["b"])
            sizes = limits.backward_sizes(self.truth, step, inputs[i], gradient, right, self.target)
            self._own(layer, step, right, left, reached, sizes)
            self._second_opinion(layer, step, right, lambda judge, i=i, g=gradient: judge.backward(self.steps[i], inputs[i], g, self.target))
            gradient = self.common(_near_one(right[GRAD_INPUT]))

    def _forward(self, runner, step, x, noted):
        results = runner.forward(step, x, self.target)
        noted.update({which: algorithm.name for which, algorithm in runner.taken.items()})
        return results, dict(runner.taken)

    def _backward(self, runner, step, x, g, noted):
        results = runner.backward(step, x, g, self.target)
        noted.update({which: algorithm.name for which, algorithm in runner.taken.items() if which != "forward"})
        return results, dict(runner.taken)

    def _own(self, layer, step, right, left, reached, sizes):
        (a, self.a.taken), (b, self.b.taken) = left, reached
        for name, truth in right.items():
            gap = measure(truth, a[name], b[name], self.ulp_dtype, sizes.get(name, 0.0) if name == "bias" else 0.0)
            layer.own[name] = Own(gap, *(limits.allowed(runner, step, name, sizes, gap.largest, len(self.x), self.weights)
                                         for runner in (self.a, self.b)))

    def _second_opinion(self, layer, step, right, ask):
        """Where a side departs and PyTorch is one of them: is the truth, which is this library's, also PyTorch's in float64?"""
        wrong = [name for name, own in layer.own.items() if own.departs and name in right]
        asked = any(note.startswith(JUDGE) for note in layer.notes)
        if not wrong or asked or not any(side.library == "torch" for side in (self.a.side, self.b.side)):
            return
        if self.judge is None:
            self.judge = Side(self.truth.side.model, "cpu", "float64", library="torch").runner(self.truth.training)
        judged = ask(self.judge)
        apart = max(measure(right[name], judged[name], judged[name], "float64").error_a for name in wrong)
        says = "agrees with the truth there" if apart < AGREES else "does not agree with the truth there: it may be the truth that is wrong"
        layer.notes.append(f"{JUDGE} {says} ({apart:.1e})")

    # ---- the whole net -------------------------------------------------------------------------------------------

    def whole(self, backward: bool, frozen: bool) -> None:
        """Errors of the net as it runs, decisions that flip, and the same with frozen decisions."""
        truth = _Chain(self.truth, self.steps, self.x)
        free = {"a": _Chain(self.a, self.steps, self.x), "b": _Chain(self.b, self.others, self.x)}
        held = dict(free)  # a side's frozen run is its free one until a decision flips
        taken: list = []
        for i, (step, layer) in enumerate(zip(self.steps, self.layers, strict=True)):
            self.progress(f"whole net, forward: {step.name} ({i + 1} of {len(self.steps)})")
            for chain in {id(c): c for c in (truth, *free.values(), *held.values())}.values():
                chain.value = step.shaped(chain.value)
                chain.inputs.append(chain.value)
            taken.append(self._decide(step, layer, truth, free) if decisions.decides(step) else None)
            if frozen and backward and layer.flips:
                for side in "ab":
                    if layer.flips[side] and held[side] is free[side]:
                        held[side] = _Chain(free[side].runner, free[side].steps, free[side].value)
                        held[side].inputs = list(free[side].inputs)
            right = self.truth.forward(step, truth.value, self.target)[OUTPUT]
            for side, chain in free.items():
                if held[side] is not chain:
                    held[side].value = (decisions.forward(step, held[side].value, taken[-1]) if taken[-1] is not None
                                        else chain.runner.forward(chain.steps[i], held[side].value, self.target)[OUTPUT])
                chain.value = chain.runner.forward(chain.steps[i], chain.value, self.target)[OUTPUT]
            truth.value = right
            layer.whole[OUTPUT] = measure(right, free["a"].value, free["b"].value, self.ulp_dtype)
        if backward:
            self._whole_backward(truth, free, held, taken)

    def _decide(self, step, layer, truth, free):
        right = decisions.decide(step, truth.value)
        own = {side: decisions.decide(step, chain.value) for side, chain in free.items()}
        layer.flips = {side: int((own[side] != right).sum()) for side in "ab"} | {"between": int((own["a"] != own["b"]).sum()), "of": int(right.size)}
        return right

    def _whole_backward(self, truth, free, held, taken):
        apart = any(held[side] is not free[side] for side in "ab")
        chains = {id(c): c for c in (truth, *free.values(), *held.values())}.values()
        for i in reversed(range(len(self.steps))):
            step, layer = self.steps[i], self.layers[i]
            self.progress(f"whole net, backward: {step.name} ({i + 1} of {len(self.steps)})")
            found, arrived = {}, truth.gradient
            for chain in chains:
                x, g = chain.inputs.pop(), chain.gradient
                g = g.reshape(len(self.x), *step.after) if step.module is not None else g
                if taken[i] is not None and chain not in free.values():
                    found[id(chain)] = {GRAD_INPUT: decisions.backward(step, x, g, taken[i])}
                else:
                    found[id(chain)] = chain.runner.backward(chain.steps[i], x, g, self.target)
                chain.gradient = found[id(chain)][GRAD_INPUT]
            right, added = found[id(truth)], limits.bias_size(arrived) if limits.sums(step) else 0.0
            for target, sides in ((layer.whole, free), (layer.frozen, held if apart else None)):
                for name in right if sides else ():
                    a, b = (found[id(sides[side])][name] for side in "ab")
                    target[name] = measure(right[name], a, b, self.ulp_dtype, added if name == "bias" else 0.0)


def _near_one(gradient: np.ndarray) -> np.ndarray:
    """A gradient times a power of two, so that its largest number is near 1: what 16-bit types lose below is no error of a layer."""
    most = float(np.abs(gradient).max(initial=0.0))
    return gradient * 2.0 ** -np.frexp(most)[1] if most and np.isfinite(most) else gradient


def _differences(left: nn.Module, right: nn.Module) -> list[str]:
    """What can be read off two layers: options and weights that are not the same."""
    lines = []
    options = [module.extra_repr().split(", ") for module in (left, right)]
    apart = [", ".join(part for part in mine if part not in theirs) or "nothing" for mine, theirs in (options, options[::-1])]
    if options[0] != options[1]:
        lines.append(f"Options differ: {apart[0]} in A, {apart[1]} in B")
    for name, tensor in [*left._parameters.items(), *left._buffers.items()]:
        other = getattr(right, name)
        if tensor is None or other is None or not tensor.is_floating_point():
            continue
        a, b = (t.detach().cpu().numpy() for t in (tensor, other))
        gap: Gap = measure(a.astype(np.float64), a, b, "float32")
        if gap.difference:
            share = 100 * (1 - gap.equal)
            lines.append(f"Its {name.replace('_', ' ')} differs: by {gap.difference:.1e} of the largest at most, in "
                         f"{f'{share:.2g}' if share < 10 else f'{share:.0f}'} % of the numbers")
    return lines
