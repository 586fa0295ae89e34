"""The examination: make the case, run the checks, put the findings in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...nn import functional as F
from ..errors import StudyError
from . import registry, source
from .case import Case, Clock
from .findings import Diagnosis, Finding

BATCH = 64


def examine(subject, x=None, y=None, *, data=None, root=None, test=None, optimizer=None, loss: Callable = F.cross_entropy,
            options: dict | None = None,
            batch: int = BATCH, seconds: float = 60.0, device: str | None = None, only: Iterable[str] | None = None,
            show: Callable[[str], object] = lambda text: None) -> Diagnosis:
    """Find out why a net does not learn. Neither the run nor the model is changed: experiments are done on copies.

    Args:
        subject: a run's folder; or a net: a module, a checkpoint file or a name of :func:`scratchvgg.models.list_models`.
        x, y: of a net: images as it receives them in training, float (N, C, H, W), and labels (N,), the more the better (1,000 tell whether the
            labels fit the images). Without them pictures of the built-in set stand in.
        data: of a run: (training set, test set), or the name of a data set; by default what its recipe names. root: where the data are now.
        test: of a net: (images, labels) that it was not trained on.
        optimizer: of a net: yours; it is looked at, and experiments use its rule.
        loss: of a net: ``loss(logits, labels)``.
        options: keyword arguments for the builder of a named net.
        batch: images of the probe batch.
        seconds: about how long it may take.
        device: where to compute; by default where the run or the net is.
        only: names of checks (:func:`list_checks`); by default all.
        show: called with a line about what is being done.

    Raises:
        StudyError: for arguments that do not fit together, an unknown net or check. RunError, DataError, WeightsError: for a run that cannot be read.
    """
    chosen = _chosen(only)
    if batch < 2:
        raise StudyError(f"batch: expected 2 or more, got {batch}")
    if not seconds > 0:
        raise StudyError(f"seconds: expected a positive number, got {seconds}")
    clock = Clock(seconds, show)
    with source.global_state():
        show("reading")
        if _is_run(subject):
            if x is not None or y is not None or test is not None or optimizer is not None or options:
                raise StudyError("x, y, test, optimizer and options are for a net; a run has its own (data and root say where its data are)")
            name, sets = (data, None) if isinstance(data, str) else (None, data)
            case = source.of_run(subject, clock, batch=batch, datasets=sets, data=name, root=root, device=device)
        else:
            if data is not None or root is not None:
                raise StudyError("data and root are for a run's folder; give a net its batch as x and y")
            case = source.of_model(subject, x, y, clock, batch=batch, options=options, device=device, optimizer=optimizer, loss=loss, test=test)
        findings, skipped = _run(chosen, case)
    return Diagnosis(case.subject, _facts(case), findings, skipped, clock.spent())


def _is_run(subject) -> bool:
    return isinstance(subject, (str, Path)) and Path(subject).is_dir()


def _chosen(only) -> list[registry.Check]:
    known = registry.list_checks()
    wanted = None if only is None else set(only)
    unknown = sorted((wanted or set()) - {check.name for check in known})
    if unknown:
        raise StudyError(f"only: there is no check {unknown[0]!r}; there are {', '.join(check.name for check in known)}")
    return [check for check in known if wanted is None or check.name in wanted]


def _run(chosen, case: Case) -> tuple[list[Finding], list[tuple[str, str]]]:
    findings, skipped = [], []
    for check in chosen:
        case.clock.show(f"looking at: {check.name}")
        found, why = registry.run(check, case)
        findings += found
        if why is not None:
            skipped.append((check.name, why))
    return findings, skipped


def _facts(case: Case) -> list[tuple[str, str]]:
    facts = []
    if case.run is not None:
        run, record = case.run, case.run.record
        recipe = run.recipe
        steps = max(record.last_step, run.steps)
        facts.append(("trained", f"{recipe.model} on {recipe.data}, {steps} steps, {len(record.epochs)} of {record.planned} epochs"
                      f"{', still running' if record.running else ''}"))
        losses = [loss for _, loss in record.losses]
        if losses:
            facts.append(("loss", f"{losses[0]:.4g} at first, {losses[-1]:.4g} at last; chance is {case.level_text}"))
        if record.train_accuracy is not None:
            tested = "" if record.test_accuracy is None else f", test {100 * record.test_accuracy:.1f} %"
            facts.append(("accuracy", f"training {100 * record.train_accuracy:.1f} %{tested}; chance is {100 / case.classes:.3g} %"))
        facts.append(("learning rate", f"{case.rate:.3g} at most ({recipe.optimizer}, {recipe.schedule})"))
    else:
        facts.append(("batch", f"{len(case.y)} {'images of yours' if case.own_data else 'pictures of the built-in set'}, "
                      f"{'×'.join(map(str, case.x.shape[1:]))}, {case.classes} classes"))
    return facts
