"""One run of a net, and everything the study can say about it: ``inspect(model, x)``.

The net is run once with its arrays kept (:mod:`.trace`) and, unless told otherwise, some more times to be timed. Every part is made when it
is first asked for: ``r.table``, ``r.tape``, ``r.layer("features.7")``; ``r.save("report.html")`` makes them all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence

import numpy as np

from .. import nn
from ..autograd import Tensor, inference_mode, tensor
from ..data.presets import ImageClassification
from ..nn import functional as F
from . import visits
from .errors import StudyError
from .shown import MAX_MB, Paged, Shown, plain
from .trace import Trace, trace


def inspect(model: nn.Module, x: Tensor, target=None, backward: bool = True, *, repeats: int = 3, name: str | None = None,
            categories: Sequence[str] | None = None, pictures: np.ndarray | None = None, preset: ImageClassification | None = None,
            notes: Sequence[str] = (), progress: Callable[[str], None] = lambda text: None) -> Inspection:
    """Look into a net while it computes.

    Args:
        model: in the mode that is to be studied; it is left as it was.
        x: its input, (N, C, H, W), on its device.
        target: the classes, (N,) or one number for all: then the loss is cross-entropy. Without, backward starts from each image's largest logit.
        backward: look at backward, too.
        repeats: timed runs after one that is not counted; 0 times nothing.
        name: of the net, for headings. categories: names of the classes. pictures: uint8 (N, 3, H, W), what ``x`` was made from.
        preset: the preprocessing, which turns pixels into input. notes: sentences to stand beside the results.
        progress: told what is going on.

    Raises:
        StudyError: if the net cannot take the input, returns anything but a tensor with a row for each image, has no parameter that backward leads
            to, or the target does not fit.
    """
    if repeats < 0:
        raise StudyError(f"repeats: expected 0 or more, got {repeats}")
    if not isinstance(x, Tensor):
        raise StudyError(f"x: expected a Tensor (N, C, H, W), got {type(x).__name__}; scratchvgg.from_numpy makes one of an array")
    if not x.numel():
        raise StudyError(f"x: expected at least one image, got an input of shape {tuple(x.shape)}")
    progress("running the net")
    with _as_study_errors():
        target = _target(target, x, model) if target is not None else None
        with visits.watch(model) as watched:
            run = trace(model, x, target, backward=backward, record=True, arrays=True)
    if run.output.ndim < 2 or run.output.shape[0] != x.shape[0]:
        raise StudyError(f"the net returned a tensor of shape {tuple(run.output.shape)} for an input of shape {tuple(x.shape)}; "
                         f"expected a row of scores for each image, ({x.shape[0]}, classes)")
    found = Inspection(run, watched, x, target, name or type(model).__name__, categories, pictures, preset, list(notes), progress)
    if repeats:
        found.measure(repeats)
    return found


class Inspection(Paged):
    """What :func:`inspect` returns.

    Attributes:
        trace: the run, with its arrays. watched: which layer was called when. x, target: what it was run on.
        name, categories, pictures, preset, notes: as given.
        made: parts of the page that are there already (:func:`scratchvgg.study.parts.parts`).
        timings: of the layers, or None. prediction: for each image the five likeliest classes, as dicts ``index name probability``.
    """

    def __init__(self, run: Trace, watched: visits.Watched, x: Tensor, target: Tensor | None, name: str, categories, pictures, preset, notes,
                 progress):
        self.trace, self.watched, self.x, self.target, self.name = run, watched, x, target, name
        self.categories, self.pictures, self.preset, self.notes = categories, pictures, preset, notes
        self.progress, self.timings = progress, None
        self.made: dict[tuple, Shown] = {}

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.name}, looked into"

    @property
    def model(self) -> nn.Module:
        """The net."""
        return self.trace.model

    @property
    def backward(self) -> bool:
        """Whether backward was run."""
        return bool(self.trace.leaf_gradients) or any(call.gradient_norm is not None for call in self.trace.calls)

    def measure(self, repeats: int) -> None:
        """Time each layer in ``repeats`` runs more, after one that is not counted."""
        from . import timings

        _, self.timings = timings.measure(self.model, self.x, self.target, backward=self.backward, repeats=repeats, progress=self.progress)
        self.made.clear()
        for part in ("table", "tape"):
            self.__dict__.pop(part, None)

    # ---- the parts ----

    @functools.cached_property
    def table(self):
        """The layers: shapes, arithmetic, memory, times (:mod:`.layers`)."""
        from . import layers

        return layers.of_trace(self.trace, self.timings, watched=self.watched)

    @functools.cached_property
    def tape(self):
        """The operations as a graph (:mod:`.tape`)."""
        from . import tape

        return tape.of_trace(self.trace, self.timings)

    @functools.cached_property
    def statistics(self):
        """Activations and gradients of each layer (:mod:`.statistics`)."""
        from . import statistics

        return statistics.of_trace(self.trace)

    @functools.cached_property
    def filters(self):
        """The filters of the first convolution (:mod:`.filters`)."""
        from . import filters

        return filters.of_model(self.model)

    def attribution(self, methods: str = "grad-cam,guided,gradient", image: int = 0):
        """Where the net looked in one of the images (:mod:`.attribution`), for its target, or its likeliest class.

        Raises:
            StudyError: for an unknown method, or a net that it cannot be done with.
        """
        from . import attribution

        target = self.prediction[image][0]["index"] if self.target is None else int(self.target.tolist()[image])
        return attribution.attribute(self.model, self.x[image : image + 1], target, methods=methods, preset=self.preset, categories=self.categories,
                                     progress=self.progress)

    def field(self, layers=None):
        """The pixels of the first image that layers really answer to, beside their theoretical fields (:mod:`.attribution.empirical_field`).

        Args:
            layers: dotted names, or ``"all"``; by default the max-poolings.

        Raises:
            StudyError: for an unknown layer.
        """
        from .attribution import empirical_field

        return empirical_field.measure(self.model, self.x[:1], layers=layers, progress=self.progress)

    @functools.cached_property
    def prediction(self) -> list[list[dict]]:
        """For each image the five likeliest classes."""
        with inference_mode():
            output = self.trace.output.detach()
            shares = output.backend.to_numpy(F.softmax(output.flatten(1).float(), 1).array)
        best = np.argsort(-shares, 1, kind="stable")[:, :5]
        return [[{"index": int(i), "name": self.class_name(int(i)), "probability": float(row[i])} for i in order]
                for row, order in zip(shares, best, strict=True)]

    def class_name(self, index: int) -> str:
        """The name of a class, ``class 7`` where nobody knows names."""
        return self.categories[index] if self.categories else f"class {index}"

    def layer(self, name: str, **where):
        """Everything about one layer: its row, its statistics, its maps, and its arithmetic at one place.

        Args:
            name: dotted, such as ``"features.7"``.
            where: what to show the arithmetic of, as :mod:`.explain` takes it: ``channel``, ``row``, ``column``, ``sample``.

        Raises:
            StudyError: for an unknown layer (with near names), or a place outside of it.
        """
        from .layer_view import LayerView

        return LayerView(self, name, where)

    # ---- all of it ----

    def to_dict(self) -> dict:
        """The layer table's ``layers`` and ``totals``, and beside them every part that can be made."""
        from .parts import parts

        return {"model": self.name, "prediction": self.prediction, "notes": self.notes, **self.table.to_dict(),
                **{part.name: plain(shown.to_dict()) for part, shown in parts(self) if part.name != "layers"}}

    def to_html(self):
        """The parts one below the other."""
        from markupsafe import Markup

        from .parts import parts

        return Markup("").join(Markup("<section><h2>{}</h2>{}</section>").format(part.heading, shown.to_html()) for part, shown in parts(self))

    def __str__(self):
        lines = [f"{self.name}, input {'×'.join(map(str, self.x.shape))}", *self.notes, ""]
        for number, row in enumerate(self.prediction):
            which = f"image {number}: " if len(self.prediction) > 1 else ""
            lines.append(which + ", ".join(f"{c['name']} {100 * c['probability']:.2f} %" for c in row))
        return "\n".join([*lines, "", str(self.table)])

    def html(self, max_mb: float = MAX_MB, names: Sequence[str] | None = None) -> str:
        """As :meth:`Paged.html`; the parts are those of :data:`scratchvgg.study.parts.PARTS`."""
        from .report import page_of

        return page_of(self, max_mb, names)


@contextlib.contextmanager
def _as_study_errors():
    """What a net says about an input that does not fit it is the user's to mend."""
    try:
        yield
    except StudyError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise StudyError(f"the net cannot be run on this input: {error}") from error


def _target(target, x: Tensor, model) -> Tensor:
    if isinstance(target, Tensor):
        return target
    values = np.broadcast_to(np.asarray(target), (x.shape[0],)) if np.ndim(target) == 0 else np.asarray(target)
    if values.dtype.kind not in "iu" or values.shape != (x.shape[0],):
        raise StudyError(f"target: expected a class, or one for each of the {x.shape[0]} images, got {target!r}")
    return tensor(values.astype(np.int64)).to(x.device)


def inspect_subject(subject, target: str | None = None, *, backward: bool = True, repeats: int = 3,
                    progress: Callable[[str], None] = lambda text: None) -> Inspection:
    """:func:`inspect` for a :class:`~scratchvgg.study.subject.Subject`. Where no class is named, each image's own is taken if the subject knows it
    (:attr:`Subject.labels`), else its likeliest: the loss says then how sure the net is.

    Raises:
        StudyError: as :func:`inspect`, and for an unknown class.
    """
    notes = list(subject.notes)
    if target is not None:
        classes = np.full(len(subject.x), subject.class_index(target))
    elif subject.labels is not None:
        classes = np.asarray(subject.labels)
    else:
        progress("running the net")
        with _as_study_errors(), inference_mode():
            training = subject.model.training
            output = subject.model.eval()(subject.x)
            subject.model.train(training)
            classes = output.backend.to_numpy(output.detach().flatten(1).array).argmax(1)
        if backward:
            notes.append("No class was named: the target is what the net itself finds likeliest.")
    return inspect(subject.model, subject.x, classes, backward, repeats=repeats, name=subject.name, categories=subject.categories,
                   pictures=subject.pictures, preset=subject.preset, notes=notes, progress=progress)
