"""The parameters: does each get a gradient, is each held by the optimiser, does each move?"""

from __future__ import annotations

import numpy as np

from ..case import Case
from ..findings import Finding
from ..registry import Skip, check


@check("parameters without gradient", order=37)
def without_gradient(case: Case):
    """Parameters that are frozen, cut off from the loss, or not in the optimiser."""
    if case.broken_input:
        raise Skip("the batch cannot be trained on")
    named = dict(case.model.named_parameters())
    frozen = [name for name, parameter in named.items() if not parameter.requires_grad]
    trained = [name for name in named if name not in frozen]
    cut = [name for name in trained if name not in case.now.gradients]
    if not trained:
        yield Finding("parameters without gradient", "bad", "No parameter is trained", f"All {len(frozen)} have requires_grad False.",
                      "model.requires_grad_(True)", 91, {"frozen": frozen})
        return
    if cut:
        yield Finding("parameters without gradient", "bad" if len(cut) > len(trained) // 2 else "warn", f"{_some(cut)} got no gradient",
                      f"{len(cut)} of {len(trained)} parameters with requires_grad True do not take part in the loss.",
                      "is the output detached (.detach(), .numpy(), no_grad()) or the layer never called?",
                      90 if len(cut) > len(trained) // 2 else 58,
                      {"cut": cut})
    if case.missing:
        most = len(case.missing) > len(trained) // 2
        yield Finding("parameters without gradient", "bad" if most else "warn", f"The optimiser does not hold {_some(case.missing)}",
                      f"{len(case.missing)} of {len(trained)} trainable parameters are not in it: they never change.",
                      "optim.SGD(model.parameters(), …), made after the model is whole (and after layers were replaced)", 90 if most else 59,
                      {"missing": case.missing})
    if frozen and case.run is None:  # a run's are frozen by the net's builder
        yield Finding("parameters without gradient", "info", f"Frozen: {_some(frozen)}",
                      f"requires_grad is False in {len(frozen)} of {len(named)} parameters.", "", 15, {"frozen": frozen})
    if not cut and not case.missing:
        yield Finding("parameters without gradient", "good", "Every trained parameter gets a gradient", f"{len(trained)} parameters")


@check("weights that do not move", order=38)
def still(case: Case):
    """The checkpoint's weights beside those of the run's beginning."""
    run = case.run
    if run is None or run.initial is None or not run.steps:
        raise Skip("there are no two states to compare")
    before = dict(run.initial.named_parameters())
    change, trained = {}, []
    for name, parameter in case.model.named_parameters():
        if not parameter.requires_grad or not before[name].requires_grad:
            continue
        a, b = (t.detach().cpu().numpy().astype(np.float64) for t in (before[name], parameter))
        trained.append(name)
        if a.ndim > 1 and np.isfinite(b).all():
            change[name] = float(np.linalg.norm(b - a) / max(np.linalg.norm(a), 1e-30))
        elif (a == b).all() and a.ndim > 1:
            change[name] = 0.0
    if not change:
        raise Skip("no weight is trained")
    median, fixed = float(np.median(list(change.values()))), [name for name, value in change.items() if value == 0]
    numbers = {"median": median, "fixed": fixed, "change": change}
    said = f"In {run.steps} steps the weights moved by {median:.1e} of their size (median; ‖w − w₀‖ / ‖w₀‖)"
    if median < 1e-5:
        yield Finding("weights that do not move", "warn" if case.learned else "bad", "The weights have hardly moved", f"{said}.",
                      "a much greater learning rate", 70, numbers)
    elif fixed:
        yield Finding("weights that do not move", "warn", f"{_some(fixed)} did not move at all",
                      f"{len(fixed)} of {len(change)} weights are those of step 0.",
                      "are they in the optimiser, and does a gradient reach them?", 57, numbers)
    else:
        yield Finding("weights that do not move", "good", "The weights move", said[0].lower() + said[1:], "", 50, numbers)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
