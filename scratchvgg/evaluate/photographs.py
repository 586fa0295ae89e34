"""Photographs scored by the protocols of the VGG paper (§3.2, §4) in one pass: each picture is decoded once, each net sees each view once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from .. import cuda
from ..data import DataError
from ..data.images import resized_size
from ..weights.atomic import atomic_write
from . import protocols as registry
from .dense import DenseVGG
from .plan import Net, Part, Pictures, Plan
from .predictions_log import PredictionsLog, describe
from .tables import Tally, result_rows

SETTINGS = "settings.json"


@dataclass
class Progress:
    """Where a run is: pictures ``done`` of ``total``, the part just computed, seconds that are left (None: not yet known)."""

    done: int
    total: int
    part: str
    seconds_left: float | None


class _Stopwatch:
    """Seconds a picture of each part; those of parts not yet measured are estimated from the measured ones by their cost."""

    def __init__(self, costs: dict[Part, float]):
        self.costs, self.seconds, self.pictures = costs, dict.fromkeys(costs, 0.0), dict.fromkeys(costs, 0)

    def add(self, part: Part, seconds: float, pictures: int) -> None:
        self.seconds[part] += seconds
        self.pictures[part] += pictures

    def rate(self, parts: Sequence[Part]) -> float | None:
        """Pictures a second through all of ``parts``; None if one has not been measured."""
        if not all(self.pictures[part] and self.seconds[part] for part in parts):
            return None
        return 1 / sum(self.seconds[part] / self.pictures[part] for part in parts)

    def left(self, pictures: dict[Part, int]) -> float | None:
        """Seconds for so many more pictures of each part."""
        measured = {part: self.seconds[part] / n for part, n in self.pictures.items() if n}
        if not measured:
            return None
        unit = sum(measured.values()) / sum(self.costs[part] for part in measured)
        return sum(n * measured.get(part, unit * self.costs[part]) for part, n in pictures.items())


def evaluate_photographs(nets: Sequence[Net], pictures: Pictures, plan: Plan, out, *, train_scale=None, about: dict | None = None,
                         report: Callable[[Progress], None] = lambda progress: None, warn: Callable[[str], None] = lambda line: None) -> dict:
    """Score ``pictures`` by every row of ``plan``; go on where an earlier run in the folder ``out`` stopped.

    The folder gets ``settings.json`` (what was asked for), ``predictions.jsonl`` (see :mod:`.predictions_log`) and, at the end, ``result.json``.

    Args:
        nets: of one set of classes.
        pictures: in the order in which they are scored.
        out: a folder; it is made if it is missing.
        train_scale: side S, or pair of sides, of the training pictures, by which the paper's rows are chosen.
        about: more to keep in ``settings.json``; it need not agree when a run goes on.
        report: called after each part of each step. warn: called with a line about each picture that cannot be read.

    Returns:
        What ``result.json`` holds: ``images``, ``labelled``, ``unlabelled``, ``broken``, ``rows`` (:func:`.tables.result_rows`), ``settings``,
        and ``timing`` (of this process; nothing else depends on interruptions).

    Raises:
        ValueError: if there are no pictures, the nets differ in their classes, a label is none of them, or a scale is too small.
        DataError: if ``out`` holds a run of other settings, or one that another process is at.
        FloatingPointError: if a net's outputs are not finite numbers.
    """
    run = _Run(nets, pictures, plan)
    out = Path(out)
    settings = run.settings()
    if (out / SETTINGS).exists():
        agree(settings, read_settings(out)["settings"], out)
    out.mkdir(parents=True, exist_ok=True)
    with PredictionsLog(out / "predictions.jsonl") as log:
        _write_json(out / SETTINGS, {"settings": settings, "about": about or {}})
        for record in log.replay(run.step, len(pictures)):
            run.tally.add(record)
        first, started = run.tally.images, time.perf_counter()
        for indices, loaded in run.steps(first):
            records = run.score(indices, loaded, report)
            log.append(records)
            for record in records:
                run.tally.add(record)
                if "error" in record:
                    warn(f"{record['file']}: skipped: {record['error']}")
        seconds, count = time.perf_counter() - started, len(pictures) - first
    timing = {"images": count, "seconds": seconds, "images_per_second": count / seconds if count else None, "peak_memory_mb": peak_memory(),
              "device_memory_mb": device_memory(nets),
              "rows": {row.key: run.watch.rate(row.parts) for row in run.rows}}
    result = {**run.tally.counts(), "rows": result_rows(run.rows, run.tally, nets, plan, train_scale), "settings": settings, "timing": timing}
    _write_json(out / "result.json", result)
    return result


def check(nets: Sequence[Net], pictures: Pictures, plan: Plan) -> None:
    """Raise ValueError for what :func:`evaluate_photographs` would refuse, before anything is read or written."""
    if len({net.classes for net in nets}) != 1:
        found = ", ".join(f"{net.name} of {net.classes}" for net in nets)
        raise ValueError(f"nets: expected one or more with the same number of classes, got {found or 'none'}")
    if not len(pictures):
        raise ValueError("pictures: there are none")
    if pictures.labels.max() >= nets[0].classes:
        raise ValueError(f"pictures: the labels go up to {pictures.labels.max()}, but {nets[0].name} has the classes 0 to {nets[0].classes - 1}")
    for part in (part for row in plan.rows([net.name for net in nets]) for part in row.parts):
        net = nets[part.net]
        registry.check(part.protocol, [part.scale], plan.crop or net.preset.crop_size, plan.average, plan.batch_size)
        try:
            if part.protocol == "dense":
                DenseVGG(net.model)
        except TypeError as error:
            raise ValueError(f"{net.name}: {error}") from None


class _Run:
    """What stays the same from step to step."""

    def __init__(self, nets, pictures, plan):
        check(nets, pictures, plan)
        self.nets, self.pictures, self.plan = nets, pictures, plan
        self.rows = plan.rows([net.name for net in nets])
        self.parts = list(dict.fromkeys(part for row in self.rows for part in row.parts))
        crops = [plan.crop or net.preset.crop_size for net in nets]
        self.watch = _Stopwatch({part: plan.cost(part, crops[part.net]) for part in self.parts})
        self.step, self.tally = plan.step(min(crops)), Tally([row.key for row in self.rows])

    def settings(self) -> dict:
        """What must agree for a run to go on, as it comes back from JSON."""
        return json.loads(json.dumps({
            "nets": [{"name": net.name, "preset": asdict(net.preset), **net.identity} for net in self.nets], **asdict(self.plan),
            "pictures": {"count": len(self.pictures), "sha256": self.pictures.digest()},
        }))

    def steps(self, first: int) -> Iterator[tuple[range, list]]:
        """Numbers and pictures (or DataError) of each step from picture ``first`` on; the next step is decoded meanwhile, in a thread."""
        todo = [range(i, min(i + self.step, len(self.pictures))) for i in range(first, len(self.pictures), self.step)]
        with ThreadPoolExecutor(1, "decode") as executor:
            coming = executor.submit(self._load, todo[0]) if todo else None
            for number, indices in enumerate(todo):
                loaded = coming.result()
                if number + 1 < len(todo):
                    coming = executor.submit(self._load, todo[number + 1])
                yield indices, loaded

    def _load(self, indices) -> list:
        return [self._picture(i) for i in indices]

    def _picture(self, index):
        try:
            picture = self.pictures.read(index)
            for scale in self.plan.scales:
                resized_size(*picture.size, scale)  # a long, thin picture may be refused here
            return picture
        except DataError as error:
            return error

    def score(self, indices, loaded, report) -> list[dict]:
        """The step's lines for predictions.jsonl."""
        whole = [(i, picture) for i, picture in zip(indices, loaded, strict=True) if not isinstance(picture, DataError)]
        found = self._posteriors([picture for _, picture in whole], indices, report) if whole else {}
        place = {i: n for n, (i, _) in enumerate(whole)}
        records = []
        for i, picture in zip(indices, loaded, strict=True):
            label = int(self.pictures.labels[i])
            record = {"index": i, "file": self.pictures.names[i], "label": label if label >= 0 else None}
            if i in place:
                record["rows"] = {key: describe(posterior[place[i]], label, self.plan.top) for key, posterior in found.items()}
            else:
                record["error"] = str(picture)
            records.append(record)
        return records

    def _posteriors(self, pictures, indices, report) -> dict[str, np.ndarray]:
        """Each row's posteriors, float64 (N, classes), by its key."""
        plan, parts, left = self.plan, {}, dict.fromkeys(self.parts, len(self.pictures) - indices.start)
        for part in self.parts:
            net, started = self.nets[part.net], time.perf_counter()
            parts[part] = registry.posteriors(net.model, pictures, part.protocol, part.scale, net.preset, crop=plan.crop, average=plan.average,
                                              flip=plan.flip, batch_size=plan.batch_size)
            if not np.isfinite(parts[part]).all():
                raise FloatingPointError(f"{net.name}: its outputs are not finite numbers, for instance on {self.pictures.names[indices[0]]}: "
                                         "weights without a classifier, or damaged ones?")
            self.watch.add(part, time.perf_counter() - started, len(pictures))
            left[part] = len(self.pictures) - indices.stop
            done = indices.stop if part == self.parts[-1] else indices.start
            report(Progress(done, len(self.pictures), f"{net.name} {part.protocol}@{part.scale}", self.watch.left(left)))
        return {row.key: registry.fuse([parts[part] for part in row.parts]) for row in self.rows}


def read_settings(out) -> dict:
    """``settings`` and ``about`` of the run in the folder ``out``.

    Raises:
        DataError: if it is none.
    """
    try:
        found = json.loads((Path(out) / SETTINGS).read_text("utf-8"))
        return {"settings": dict(found["settings"]), "about": dict(found["about"])}
    except FileNotFoundError:
        raise DataError(f"{out}: no evaluation to go on with (there is no {SETTINGS} in it)") from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{Path(out) / SETTINGS}: it is damaged") from None


def agree(now: dict, before: dict, out) -> None:
    """Raise DataError if the settings ``now`` are not those that the run in ``out`` was begun with."""
    for name in sorted({*now, *before}):
        if now.get(name) != before.get(name):
            raise DataError(f"{out}: this run was begun with {name} {_shown(before.get(name))}, not {_shown(now.get(name))}: "
                            "go on with the same, or begin anew in another folder")


def _shown(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_json(path, content) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


def peak_memory() -> float | None:
    """The most memory that this process has held, in MB (10⁶ bytes); None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def device_memory(nets: Sequence[Net]) -> float | None:
    """The most memory that live arrays have taken on the GPUs that ``nets`` are on, in MB; None on the CPU."""
    devices = {parameter.device for net in nets for parameter in islice(net.model.parameters(), 1)}
    return sum(cuda.max_memory_allocated(device) for device in devices if device.type == "cuda") / 1e6 or None
