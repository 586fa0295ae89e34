"""The recipe: settings with which no net learns, whatever its layers and its data."""

from __future__ import annotations

import numpy as np

from ....train import schedules
from ..case import Case
from ..findings import Finding
from ..registry import check
from .loss import LITTLE

USUAL_DECAY = 5e-3  # up to this a weight decay is not to blame; 5e-4 is the paper's
SHRUNK = 0.3  # of their first norm, median over the weights
QUICK = 30  # steps in which decay alone takes a weight down to 1/e
LONG = 0.99  # momentum
LOST = 0.9  # of the targets is the uniform distribution
ASLEEP, AWAKE, FEWEST = 0.01, 1 / 3, 20  # of the peak rate; of the steps; steps that tell


@check("weight decay", order=20)
def weight_decay(case: Case):
    """Decay that shrinks the weights faster than the gradient can make them grow."""
    if case.run is None or case.learned or case.run.initial is None or not case.run.steps:
        return
    recipe = case.run.recipe
    decay, kept = recipe.weight_decay, 1 - (recipe.momentum if recipe.optimizer == "sgd" else 0)
    if decay <= USUAL_DECAY:
        return
    before, now = ({name: float(np.linalg.norm(p.detach().cpu().numpy().astype(np.float64))) for name, p in net.named_parameters() if p.ndim > 1
                    and p.requires_grad} for net in (case.run.initial, case.model))
    ratios = [now[name] / before[name] for name in now if before[name]]
    shrunk, steps = float(np.median(ratios)) if ratios else 1.0, kept / (case.rate * decay) if case.rate else np.inf
    if not shrunk < SHRUNK or (recipe.optimizer != "adam" and steps > QUICK * max(1, case.run.steps // 100)):
        return  # Adam divides what decay adds to the gradient by its size: there is no such time
    alone = "" if recipe.optimizer == "adam" else f" At {case.rate:.3g} decay alone takes a weight to 1/e in {max(1, round(steps))} steps."
    yield Finding("weight decay", "bad", f"Weight decay {decay:g} shrinks the weights to nothing",
                  f"After {case.run.steps} steps they have {shrunk:.2g} of their first norm (median), and nothing was learned.{alone}",
                  "--weight-decay 5e-4", 91, {"weight_decay": decay, "norm_ratio": shrunk, "steps": steps})


@check("targets", order=21)
def targets(case: Case):
    """Label smoothing that leaves nothing of the labels."""
    if case.run is None or case.learned or case.run.recipe.label_smoothing < LOST:
        return
    s, n = case.run.recipe.label_smoothing, case.classes
    yield Finding("targets", "bad", f"Label smoothing {s:g} leaves {'nothing' if s == 1 else 'almost nothing'} of the labels",
                  f"The target of the right class is {1 - s + s / n:.3g}, that of each other one {s / n:.3g}: "
                  f"{'the best answer is the same for every image' if s == 1 else 'hardly anything tells them apart'}.",
                  "--label-smoothing 0.1, or 0", 92, {"label_smoothing": s})


@check("momentum", order=22)
def momentum(case: Case):
    """A momentum that remembers more steps than the run has."""
    if case.run is None or case.run.recipe.optimizer != "sgd" or case.run.recipe.momentum < LONG:
        return
    run, m = case.run, case.run.recipe.momentum
    done, memory = max(run.record.last_step, run.steps), 1 / max(1 - m, 1e-9)
    accuracy = run.record.train_accuracy
    if not done or (case.learned and (accuracy is None or accuracy > LITTLE)):
        return
    yield Finding("momentum", "warn" if case.learned else "bad", f"Momentum {m:g} hardly forgets",
                  f"Each gradient acts on for about {memory:,.0f} steps, and the run has had {done}; where gradients agree, steps grow to "
                  f"{memory:,.0f} times the learning rate.", "--momentum 0.9", 58 if case.learned else 84,
                  {"momentum": m, "memory": memory, "steps": done})


@check("schedule", order=23)
def schedule(case: Case):
    """A learning rate that is almost 0 for most of the run."""
    if case.run is None or case.learned or case.run.recipe.schedule == "plateau" or not case.rate:
        return
    run, recipe = case.run, case.run.recipe
    factor = schedules.factor(recipe, run.trainer.total_steps)
    rates = [recipe.lr * factor(step) for step in range(max(run.record.last_step, run.steps))]
    awake = sum(rate >= ASLEEP * case.rate for rate in rates)
    if len(rates) < FEWEST or awake > AWAKE * len(rates):
        return
    yield Finding("schedule", "bad", f"The learning rate is almost 0 in {100 * (1 - awake / len(rates)):.0f} % of the steps",
                  f"In {awake} of {len(rates)} steps it was above a hundredth of its greatest, {case.rate:.3g}; at last it was {rates[-1]:.2g} "
                  f"(schedule {recipe.schedule}).",
                  "--schedule cosine" + ("; or later milestones: --milestones 0.5 0.75 --gamma 0.1" if recipe.schedule == "step" else ""), 90,
                  {"awake": awake, "steps": len(rates), "last": rates[-1]})
