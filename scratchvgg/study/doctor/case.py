"""The case: all that is known about a net that does not learn, and what can be measured about it. Checks read it and change nothing."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ...autograd import Tensor
from ...nn import BatchNorm1d, BatchNorm2d, Module
from . import signal
from .probe import Bench, Look, Trial, answers, look
from .record import Record
from .registry import Skip

BELOW = 0.98  # of ln(classes): a training loss below shows that something was learned
SIGMAS = 3.0  # an accuracy counts as above chance if it is so many standard deviations above


class Clock:
    """The time that an examination may take.

    Args:
        seconds: of all. show: called with one line of text on what is being done.
    """

    def __init__(self, seconds: float, show: Callable[[str], object] = lambda text: None):
        self.seconds, self.begun, self.show = seconds, time.monotonic(), show

    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(0.0, self.seconds - self.spent())

    def share(self, part: float) -> float:
        """Deadline (monotonic clock) of an experiment that may take ``part`` of all the time, or of what is left if that is less."""
        return time.monotonic() + min(part * self.seconds, self.left())


@dataclass
class Pictures:
    """Images as arrays.

    Attributes:
        images: float32 (M, C, H, W), as the net receives them, not augmented. labels: int64 (M,).
        raw: the array they were made from, before normalisation; None if it is the same.
    """

    images: np.ndarray
    labels: np.ndarray
    raw: np.ndarray | None = None


@dataclass
class Run:
    """What there is of a training run besides its record.

    Attributes:
        recipe: of the run. record: its course.
        trainer: a Trainer of the recipe, with the state of the last checkpoint if there is one. steps: that the checkpoint had done.
        checkpoint: whether there is one.
        initial: the net as the run began; None if it began with layers of another net.
        train_set, test_set: its data.
        saved_mean, saved_std: the normalisation that the checkpoint names, or None.
    """

    recipe: object
    record: Record
    trainer: object
    steps: int
    checkpoint: bool
    initial: Module | None
    train_set: object
    test_set: object
    saved_mean: tuple | None = None
    saved_std: tuple | None = None


@dataclass
class Case:
    """A net, a batch, and what is known.

    Attributes:
        subject: what it is called. model: a copy, or a net that was loaded for this; checks put back what they change.
        given_training: modes of the layers as the model was given, name → training; empty if it was given in evaluation mode or is a run's.
        classes: outputs of the net. x, y: the probe batch as in training, on the model's device.
        train, test: more pictures, as evaluated.
        own_data: the data are the user's; False for pictures of the built-in set that stand in.
        loss: of (logits, labels). region: makes a context for forward passes (mixed precision).
        cost: seconds that one image takes forward.
        optimizer: ``optimizer(net, rate)`` as the run has it. clip_norm: of the run. rate: that the run used, or None.
        run: the run, or None. missing: parameters that the user's optimiser does not hold.
    """

    subject: str
    model: Module
    classes: int
    x: Tensor
    y: Tensor
    train: Pictures
    test: Pictures | None
    loss: Callable
    optimizer: Callable
    clock: Clock
    cost: float
    own_data: bool = True
    given_training: dict[str, bool] = field(default_factory=dict)
    region: Callable = contextlib.nullcontext
    clip_norm: float | None = None
    rate: float | None = None
    run: Run | None = None
    missing: list[str] = field(default_factory=list)

    # ---- plain facts -------------------------------------------------------------------------------------------------

    @property
    def level(self) -> float:
        """ln(classes), the loss of a net that knows nothing."""
        return math.log(self.classes)

    @property
    def floor(self) -> float:
        """The least mean loss that a net can have: the entropy of the run's smoothed targets, else 0."""
        s, n = 0.0 if self.run is None else self.run.recipe.label_smoothing, self.classes
        parts = [1 - s + s / n, *[s / n] * (n - 1)]
        return -sum(part * math.log(part) for part in parts if part > 0)

    @property
    def below_chance(self) -> bool:
        """The training loss shows that something was learned: it is below :data:`BELOW` of what
        chance has above the least there is."""
        return self.training_loss < self.floor + BELOW * (self.level - self.floor)

    @property
    def level_text(self) -> str:
        """``2.303 = ln 10``"""
        return f"{self.level:.3f} = ln {self.classes}"

    @property
    def labels_fit(self) -> bool:
        """Every label of the batch is one that the net has an output for."""
        y = self.y.cpu().numpy()
        return y.dtype.kind in "iu" and y.ndim == 1 and bool(len(y)) and y.min() >= 0 and int(y.max()) < self.classes

    @cached_property
    def norms(self) -> dict[str, Module]:
        """The net's batch norms by name."""
        return {name: module for name, module in self.model.named_modules() if isinstance(module, (BatchNorm1d, BatchNorm2d))}

    def as_trained(self, model: Module) -> Module:
        """Put a net into the mode it is trained in: training, except for layers that the user had set to evaluation."""
        model.train()
        for name, module in model.named_modules():
            if name in self.given_training:
                module.training = self.given_training[name]
        return model

    # ---- how well it does ----------------------------------------------------------------------------------------------

    def above_chance(self, accuracy: float | None, labels: np.ndarray) -> bool | None:
        """Whether an accuracy on these labels is more than luck: 3 standard deviations above always naming the commonest class."""
        if accuracy is None or not len(labels):
            return None
        chance = np.unique(labels, return_counts=True)[1].max() / len(labels)
        return accuracy > chance + SIGMAS * math.sqrt(max(chance * (1 - chance), 1e-12) / len(labels))

    @cached_property
    def test_accuracy(self) -> float | None:
        """On pictures that it was not trained on: by the record, else measured; None without such pictures."""
        if self.run is not None and self.run.record.test_accuracy is not None:
            return self.run.record.test_accuracy
        return None if self.run is None else self.measured_test_accuracy

    @cached_property
    def measured_test_accuracy(self) -> float | None:
        """Of the model at hand, in evaluation mode, on :attr:`test`."""
        if self.test is None or not len(self.test.labels):
            return None
        return float((self.test_logits.argmax(1) == self.test.labels).mean())

    @cached_property
    def test_logits(self) -> np.ndarray:
        """Of the model at hand, in evaluation mode, on :attr:`test`."""
        with self.mode(self.model, False):
            return answers(self.model, self.test.images, self.x.device, max(1, len(self.y)))

    @property
    def generalises(self) -> bool | None:
        """Test accuracy is above chance; None if nobody knows."""
        if self.run is not None and self.run.record.test_accuracy is not None:
            labels = np.asarray(getattr(self.run.test_set, "labels", self.test.labels))
            return self.above_chance(self.run.record.test_accuracy, labels)
        return self.above_chance(self.test_accuracy, self.test.labels) if self.test is not None else None

    @property
    def training_loss(self) -> float:
        """The last of the record, else that of the probe batch."""
        losses = self.run.record.losses if self.run is not None else []
        return losses[-1][1] if losses else self.now.loss if self.labels_fit else math.nan

    @property
    def fits(self) -> bool:
        """The net does better than chance on its training pictures, in accuracy and in loss (weights never trained may be right by luck on pictures
        that differ in few ways): by the record, else on the probe batch."""
        if not self.below_chance:
            return False
        if self.run is not None and self.run.record.train_accuracy is not None:
            labels = np.asarray(getattr(self.run.train_set, "labels", self.train.labels))
            return bool(self.above_chance(self.run.record.train_accuracy, labels))
        return self.labels_fit and bool(self.above_chance(self.now.accuracy(self.y.cpu().numpy()), self.y.cpu().numpy()))

    @property
    def learned(self) -> bool:
        """It does better than chance on pictures it has not seen, or, where there are none, on those it has."""
        return self.fits if self.generalises is None else self.generalises and self.below_chance

    @property
    def fresh(self) -> bool:
        """The weights are, as far as one can see, those of the beginning: a run without a step, or a net that answers by chance with batch norms
        that have seen nothing, or without any."""
        if self.run is not None:
            return self.run.steps == 0
        return not self.fits and all(norm.num_batches_tracked is None or not norm.num_batches_tracked.item() for norm in self.norms.values())

    # ---- measurements --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def mode(self, model: Module, training: bool):
        """A context in which a net is in the mode it is trained in, or in evaluation mode, and computes in the run's precision."""
        modes = [(module, module.training) for module in model.modules()]
        self.as_trained(model) if training else model.eval()
        try:
            with self.region():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def look_at(self, model: Module, training: bool = True, x: Tensor | None = None) -> Look:
        """One pass of the probe batch (or ``x``) through a net, in the mode it is trained in or in evaluation mode."""
        with self.mode(model, training):
            return look(model, self.x if x is None else x, self.y if self.labels_fit and x is None else None, self.loss)

    @cached_property
    def now(self) -> Look:
        """The model as it is, in the mode it is trained in."""
        self.clock.show("one pass through the net")
        return self.look_at(self.model)

    @cached_property
    def evaluated(self) -> Look:
        """The model as it is, in evaluation mode, on the same batch."""
        return self.look_at(self.model, False)

    @cached_property
    def beginning(self) -> Look:
        """The net as the run began."""
        if self.run is None or self.run.initial is None:
            raise Skip("the weights of the run's beginning are not known")
        return self.look_at(self.run.initial)

    # ---- experiments ---------------------------------------------------------------------------------------------------

    @property
    def start(self) -> Module:
        """What experiments begin with: the net as the run began, else the model as it is."""
        return self.run.initial if self.run is not None and self.run.initial is not None else self.model

    @cached_property
    def blocked(self) -> bool:
        """Where experiments begin, no signal comes through the net or no gradient comes back, whatever the learning rate."""
        return signal.blocked(self.now if self.start is self.model else self.beginning)

    @property
    def broken_input(self) -> bool:
        """Nothing can be learned from this batch: labels without an output, or values that are not finite."""
        return not self.labels_fit or not bool(np.isfinite(self.x.cpu().numpy()).all())

    def bench(self, model: Module, count: int) -> Bench:
        """A copy of a net to try steps on, with the first ``count`` images of the probe batch."""
        if self.broken_input:
            raise Skip("the batch cannot be trained on")

        def loss(logits, labels):
            return self.loss(logits.float(), labels)

        return Bench(model, self.x[:count].detach(), self.y[:count].detach(), loss, self.optimizer, self.clip_norm, self.as_trained)

    @cached_property
    def trials(self) -> list[Trial]:
        """The range test, by rising rate."""
        from .rates import range_test

        return range_test(self)
