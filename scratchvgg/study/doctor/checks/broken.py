"""NaN and infinities: in the weights, in the loss, and where they began."""

from __future__ import annotations

import contextlib
import math
import time

from ....train import NonFiniteError, diagnose
from ..case import Case
from ..findings import Finding
from ..registry import check

SHARE = 0.3  # of the time, for going through the run's next steps once more


@check("NaN in the weights", order=13)
def weights(case: Case):
    """Parameters and buffers that are not finite."""
    found = diagnose.non_finite_parameters(case.model)
    if found:
        of = sum(1 for _ in (*case.model.parameters(), *case.model.buffers()))
        yield Finding("NaN in the weights", "bad", "The weights hold NaN or Inf", f"{len(found)} of {of} tensors, first {found[0]}. Nothing that is "
                      "computed with them is a number, and training does not bring them back.",
                      "begin again from the last checkpoint before, or from new weights; a smaller learning rate, --clip-norm 1", 81,
                      {"tensors": found})


@check("first NaN", order=14)
def first(case: Case):
    """The step at which a run broke: by the record, else by doing the steps behind the last checkpoint again."""
    if case.run is None:
        return
    record = case.run.record
    end, bad = record.end, next((step for step, loss in record.losses if not math.isfinite(loss)), None)
    if end is not None:
        text, step, how = end["reason"], end["step"], f"The record ends there, at learning rate {end['lr']:g}"
    elif record.finished or record.running or not case.run.checkpoint:
        if bad is None:
            return
        text, step, how = "the loss was not finite", bad, "By metrics.jsonl"
    else:
        step, text, count = _again(case)
        if text is None:
            yield _unbroken(case, count) if bad is None else Finding(
                "first NaN", "bad", f"The loss was NaN or infinite at step {bad}", "By metrics.jsonl; later steps of the run were not finite either.",
                "a smaller --lr, a longer --warmup, or --clip-norm 1", 80, {"step": bad})
            return
        how = f"Found by going on from the last checkpoint (step {case.run.steps}) once more"
    yield Finding("first NaN", "bad", f"The run broke at step {step}: NaN or Inf", f"{how}: {text}.",
                  "a smaller --lr, a longer --warmup, or --clip-norm 1" + ("" if case.run.recipe.precision != "fp16" else "; or --precision bf16"),
                  80,
                  {"step": step, "reason": text})


def _again(case: Case) -> tuple[int, str | None, int]:
    """(step, what broke, or None; steps done): the run's own next steps, on a trainer of its own state, which is put back."""
    trainer, deadline, count = case.run.trainer, case.clock.share(SHARE), 0
    kept = _state(trainer)
    try:
        trainer.model.train()
        trainer.loader.set_epoch(trainer.epoch)
        with contextlib.closing(trainer.loader.iterate(trainer.batch)) as batches:
            for images, labels in batches:
                case.clock.show(f"going on from the last checkpoint: step {trainer.steps + 1}")
                trainer.step(images, labels)
                count += 1
                broken = diagnose.non_finite_parameters(trainer.model)
                if broken:
                    return trainer.steps, f"after the step {broken[0]} holds NaN or Inf", count
                if time.monotonic() > deadline:
                    break
    except NonFiniteError as error:
        return trainer.steps + 1, str(error).partition(": ")[2].partition(". The last good")[0].strip(), count
    finally:
        _put_back(trainer, kept)
    return trainer.steps, None, count


def _state(trainer) -> dict:
    """What a step changes, copied."""
    import copy

    return {"model": [t.detach().array.copy() for t in (*trainer.model.parameters(), *trainer.model.buffers())],
            "optimizer": copy.deepcopy(trainer.optimizer.state_dict()), "schedule": trainer.schedule.state_dict(), "steps": trainer.steps,
            "scaler": trainer.scaler.state_dict(), "loader": trainer.loader.state_dict(),
            "average": None if trainer.average is None else copy.deepcopy(trainer.average.state_dict())}


def _put_back(trainer, state: dict) -> None:
    for tensor, before in zip((*trainer.model.parameters(), *trainer.model.buffers()), state["model"], strict=True):
        tensor.detach().array[...] = before
    for parameter in trainer.model.parameters():
        parameter.grad = None
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.loader.load_state_dict(state["loader"])
    if state["average"] is not None:
        trainer.average.load_state_dict(state["average"])
    trainer.steps = state["steps"]


def _unbroken(case: Case, count: int) -> Finding:
    record, steps = case.run.record, case.run.steps
    done = (f"{len(record.epochs)} of {record.planned} epochs are done; its last checkpoint is of step {steps}, its last line of step "
            f"{record.last_step}.")
    if steps + count > record.last_step + case.run.recipe.log_every:
        return Finding("first NaN", "info", "The run was stopped; it did not break", f"{done} Its next {count} steps, done once more, gave no NaN.",
                       "go on with it: scratchvgg train --resume RUN_DIR", 30, {"steps": count})
    return Finding("first NaN", "info", "The run has not ended", f"{done} Stopped or broken, that is not known: there was time for "
                   f"{count} of its next steps only, and they gave no NaN.",
                   "scratchvgg train --resume RUN_DIR goes on, or says where it breaks; more time for the doctor: --seconds 300", 30,
                   {"steps": count})
