"""What ``record.jsonl`` tells of the layers, step by step, where a run was made with ``--record``."""

from __future__ import annotations

from ....train import record
from ... import verdicts
from ...errors import StudyError
from ..case import Case
from ..findings import Finding
from ..registry import Skip, check


@check("record of layers", order=42)
def layers(case: Case):
    """The verdicts on the record, and the step at which the first of its layers went wrong."""
    if case.run is None:
        return
    path = case.run.trainer.folder.path
    if not (path / "record.jsonl").exists():
        raise Skip("the run was made without --record")
    try:
        about, lines = record.read(path)
    except ValueError as error:
        raise StudyError(str(error)) from None
    if not lines:
        raise Skip("nothing is recorded yet")
    found = [verdict for verdict in verdicts.of_record(about, lines) if verdict.severity == "bad" and verdict.kind not in _OF_LOSS]
    numbers = {"lines": len(lines), "verdicts": [verdict.to_dict() for verdict in found]}
    if not found or case.learned:  # early steps of a good run may well look bad
        said = "" if found else ": no verdict on a layer is bad"
        yield Finding("record of layers", "good", "Record", f"{len(lines)} steps recorded, to step {lines[-1]['step']}{said}", "", 50, numbers)
        return
    line, early = next(((line, bad) for line in lines if (bad := _bad(line))), (None, None))
    begun = "" if line is None else f" First, at step {line['step']} (learning rate {line['lr']:.3g}): {early[0].text}"
    young = lines[-1]["step"] < LONG and not lines[-1]["end"] and {verdict.kind for verdict in found} == {"update"}
    yield Finding("record of layers", "info" if young else "bad", f"The record: {_short(found)}",
                  f"{found[0].text}{begun if early and early[0].text != found[0].text else ''}",
                  f"scratchvgg study {path} --html run.html draws every layer over the steps", 35,
                  {**numbers, "first_step": line and line["step"]})


def _bad(line: dict) -> list[verdicts.Verdict]:
    return [verdict for verdict in (*verdicts.non_finite(line["layers"], line["end"], line["step"]), *verdicts.of_layers(line["layers"]))
            if verdict.severity == "bad"]


LONG = 100  # steps; before, large steps alone are no bad sign: small first weights grow
_OF_LOSS = ("diverged", "at_chance", "learning")  # metrics.jsonl has more of its steps: "course of the loss"
_WORDS = {
    "non_finite": "NaN or Inf", "same_output": "the same answer to all", "signal": "the signal is lost or blown up",
    "gradient": "the gradient vanishes or explodes", "gradient_norm": "a huge gradient", "dead": "dead channels", "saturated": "saturated layers",
    "update": "steps as large as the weights",
}


def _short(found) -> str:
    return ", ".join(dict.fromkeys(_WORDS.get(verdict.kind, verdict.kind) for verdict in found[:3]))
