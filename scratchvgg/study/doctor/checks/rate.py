"""The learning rate: what it does to one batch, beside others."""

from __future__ import annotations

import math

from .. import rates
from ..case import Case
from ..findings import Finding
from ..registry import Skip, check

SMALL_UPDATE = 1e-5  # ‖Δw‖ / ‖w‖ of a step below which nothing is learned in thousands of steps; about 1e-3 is usual
ADAPTIVE = 0.1  # of it, for Adam, whose first step is as large as any
NOTHING, USUAL, WILD = 1e-7, 3e-3, 0.3  # a float32 weight does not change; is well; is thrown about
REACH, LONG = 0.01, 100  # of its size, by which a weight must be able to move in a run of so many steps or more
BARELY, SLOW = 0.1, 0.3  # of what the best rate's loss fell
STILL = 1e-4  # of the loss: a change below this is none
HEART, FEWEST, FEW = 100, 20, 5  # steps for learning one batch by heart; that tell that it goes slowly; that tell anything
_BIAS = " Where it falls, the last bias learns how often each class occurs in the batch; the image has no part in that."


@check("learning rate", order=60)
def learning_rate(case: Case):
    """The range test, and the run's own rate in it."""
    if case.broken_input:
        raise Skip("the batch cannot be trained on")
    try:
        trials = case.trials
    except Skip:
        if case.run is None or case.learned or not _exploded(case) or case.blocked:
            raise
        yield _by_record(case)
        return
    own, best, advised = rates.at(trials, case.rate), rates.best(trials), _advised(trials, case.rate)
    steps = max(len(trial.losses) for trial in trials) - 1
    begin = "these weights" if case.start is case.model else "the run's first weights"
    said = f"Loss of one batch after {steps} steps at each rate, from {begin}: {rates.table(trials)}"
    numbers = {"trials": [{"rate": trial.rate, "losses": trial.losses, "update_ratio": trial.ratio} for trial in trials],
               "best": best and best.rate, "advised": advised, "own": case.rate, "update_ratio": own and own.ratio}
    if own is None:
        yield _without_own(case, trials, said, numbers)
        return
    exploded = _exploded(case)
    rate, said = f"{case.rate:.3g}", f"{said}. A step at {case.rate:.3g} moves the weights by {own.ratio:.2g} of their size; 0.001 to 0.01 is usual."
    advised = advised if advised is not None or not 0 < own.ratio < math.inf else float(f"{case.rate * USUAL / own.ratio:.1g}")
    advice = f"--lr {advised:.3g}" if advised is not None else ""
    if case.rate == 0:
        yield Finding("learning rate", "bad", "The learning rate is 0", said, advice, 94, numbers)
    elif case.learned and own.diverged:
        yield Finding("learning rate", "info", f"The learning rate {rate} needs its warm-up", said, "", 15, numbers)
    elif not case.learned and _too_high(case, own, best, trials, exploded):
        yield Finding("learning rate", "bad", _title_too_high(case, rate), f"{said}{exploded}",
                      f"{advice or '--lr a tenth of it'}, a longer warm-up (--warmup 0.3), --clip-norm 1", 94 if exploded else 85, numbers)
    elif not case.learned and case.blocked and own.largest > NOTHING:
        yield Finding("learning rate", "info", "No learning rate helps before the signal passes through the net", f"{said}{_BIAS}", "", 14,
                      numbers)
    elif not case.learned and _too_low(case, own, best, trials):
        yield Finding("learning rate", "bad", f"The learning rate {rate} is too low", said, advice, 86, numbers)
    elif not case.learned and best is None:
        yield _nothing_falls(case, trials, said, numbers)
    elif not case.learned and own.drop < SLOW * best.drop:
        side = "greater" if best.rate > case.rate else "smaller"
        yield Finding("learning rate", "warn", f"A {side} learning rate than {rate} would learn faster", said, advice, 50, numbers)
    else:
        yield Finding("learning rate", "good", "Learning rate", f"{rate}: {said[0].lower()}{said[1:].rstrip('.')}", "", 50, numbers)


def _advised(trials, own: float | None) -> float | None:
    """A rate to try: the smallest that does at least a third as well as the best; where none did well, the one whose steps have the usual size."""
    found = rates.advised(trials)
    if found is not None:
        return found.rate
    steady = [trial for trial in trials if not trial.diverged and trial.ratio > 0 and trial.rate != own]
    return min(steady, key=lambda trial: abs(math.log(trial.ratio / USUAL))).rate if steady else None


def _title_too_high(case: Case, rate: str) -> str:
    peak = case.rate if case.run is None else case.run.recipe.lr
    return f"The learning rate {peak:.3g} is too high{f', at {rate} in the warm-up already' if case.rate < 0.9 * peak else ''}"


def _by_record(case: Case) -> Finding:
    """Of a run that exploded, where there was no time to try a rate."""
    return Finding("learning rate", "bad", _title_too_high(case, f"{case.rate:.3g}"), f"A signal passes through the run's first weights, and the "
                   f"loss of its first batch is {case.beginning.loss:.3g}.{_exploded(case)} There was no time to try other rates.",
                   "--lr a tenth of it, a longer warm-up (--warmup 0.3), --clip-norm 1; more time for the doctor: --seconds 300", 94,
                   {"own": case.rate, "trials": []})


def _too_high(case: Case, own, best, trials, exploded: str) -> bool:
    """The loss of one batch rises, or steps as large as the weights bring nothing, while smaller rates do better, or the run exploded."""
    if exploded and not case.blocked and (own.diverged or (own.largest > WILD and own.drop < SLOW * own.first)):
        return True
    if own.diverged:
        return any(not trial.diverged for trial in trials if trial.rate < own.rate)
    wild = bool(exploded) or own.largest > WILD
    return wild and best is not None and best.rate < own.rate and own.drop < SLOW * best.drop


def _too_low(case: Case, own, best, trials) -> bool:
    """Its steps are tiny, or all steps of the run together are; the loss does not move, and at a greater rate they would not be tiny."""
    adaptive = case.run is not None and case.run.recipe.optimizer != "sgd"
    least = SMALL_UPDATE * (ADAPTIVE if adaptive else 1)
    greater = any(trial.rate > own.rate and not trial.diverged and trial.largest > 10 * least for trial in trials)
    done = 0 if case.run is None else max(case.run.record.last_step, case.run.steps)
    short = done >= LONG and own.largest * done < REACH
    return (own.largest < least or (short and best is not None)) and greater and own.drop < (BARELY * best.drop if best else STILL * own.first)


def _without_own(case: Case, trials, said, numbers) -> Finding:
    if case.blocked and not case.fits:
        return Finding("learning rate", "info", "No learning rate helps before the signal passes through the net", f"{said}.{_BIAS}", "",
                       14, numbers)
    if rates.best(trials) is None and not case.fits:
        return _nothing_falls(case, trials, said, numbers)
    best = rates.best(trials)
    work = [trial.rate for trial in trials if best is not None and trial.drop >= best.drop / 3]
    title = "Learning rate" if not work else f"The learning rate {work[0]:.3g} works" if len(work) == 1 else \
        f"Learning rates from {work[0]:.3g} to {work[-1]:.3g} work"
    return Finding("learning rate", "good", title, said[0].lower() + said[1:], "", 50, numbers)


def _nothing_falls(case: Case, trials, said, numbers) -> Finding:
    steps = max(len(trial.losses) for trial in trials) - 1
    if steps < FEW or len(trials) < 3:
        raise Skip(f"there was time for {steps} steps at {len(trials)} rates only")
    deaf = all(math.isfinite(trial.last) and abs(trial.drop) < STILL * trial.first for trial in trials)
    if deaf:
        return Finding("learning rate", "bad", "The loss of one batch does not move, whatever the learning rate", said, "it is not the rate: see the "
                       "other findings", 40, numbers)
    return Finding("learning rate", "warn", f"No learning rate makes the loss of one batch fall by 2 % in {steps} steps", said,
                   ("" if case.norms else "deep nets without batch norm begin slowly: --model-options batch_norm=true; ") +
                   "more time for the doctor: --seconds 300",
                   40, numbers)


def _exploded(case: Case) -> str:
    """A sentence about the run's loss if it exploded or broke."""
    if case.run is None:
        return ""
    record = case.run.record
    high = record.above(10 * case.level)
    if high is not None:
        return f" In the run the loss was {high[1]:.3g} at step {high[0]} (chance is {case.level:.3f})."
    return f" The run broke at step {record.end['step']}, at learning rate {record.end['lr']:.3g}." if record.end else ""


@check("one batch", order=61)
def one_batch(case: Case):
    """The classic test: a net that cannot learn one small batch by heart cannot learn anything."""
    if case.broken_input:
        raise Skip("the batch cannot be trained on")
    if case.learned and case.fits:
        return  # it has learned more than that
    advised = rates.advised(case.trials)
    if case.blocked or advised is None:
        return  # told by others
    case.clock.show("learning one batch by heart")
    count, target = min(16, len(case.y)), 0.5 * case.level
    trial = case.bench(case.start, count).trial(advised.rate, HEART, case.clock.share(0.2), enough=target)
    numbers = {"losses": trial.losses, "rate": advised.rate, "images": count}
    last, done = trial.losses[-1], len(trial.losses) - 1
    said = f"{count} images at learning rate {advised.rate:.3g}: loss {trial.first:.3g} → {last:.3g} in {done} steps"
    if last < max(target, trial.first - 0.5 * case.level):
        yield Finding("one batch", "good", "It can learn one batch by heart", said, "", 50, numbers)
    elif done >= HEART and not last < 0.9 * trial.first:
        yield Finding("one batch", "warn", "It cannot even learn one batch by heart", f"{said}.",
                      "something between input and loss may be broken: a dead layer, labels of another batch, dropout that leaves nothing", 66,
                      numbers)
    elif done < FEWEST:
        raise Skip(f"there was time for {done} steps only")
    else:
        yield Finding("one batch", "info", "It learns one batch slowly", f"{said}.", "", 12, numbers)
