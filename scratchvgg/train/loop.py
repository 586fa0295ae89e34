"""The training loop: batch → forward → loss → backward → clip → optimiser → schedule → average, and what keeps it safe."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

from .. import __version__, conv, evaluate
from ..array import default_generator, get_num_threads, manual_seed, set_num_threads
from ..data import transforms
from ..nn import functional as F
from ..nn.utils import clip_grad_norm_
from ..optim import EMA
from . import build, checkpoint, curves, diagnose, from_net_a, machine, metrics, precision, record, schedules
from .algorithms import PinnedAlgorithms
from .errors import NonFiniteError, RunError
from .graphed import GraphedStep
from .interrupt import Interrupt
from .meter import Meter, mean
from .progress import Rate, clock, reporter
from .recipe import Recipe, RecipeError
from .run_folder import RunFolder, create, open_existing

MOVABLE = ("device", "record", "record_every")
"""Fields of a recipe that may change when a run is resumed: where it computes and what is noted of it, not what is computed."""


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        finished: False if a signal stopped it.
        accuracy, best: test accuracy after the last tested epoch, and the best one (None before the first test).
        gemm_gflops: the machine's rate of float32 matrix products, measured when this sitting began.
        seconds: time spent training and testing, all sittings together.
        signal: the number of the signal that stopped it, or None.
    """

    finished: bool
    accuracy: float | None
    best: float | None
    gemm_gflops: float
    seconds: float
    signal: int | None


class _Stop(Exception):
    """A signal came; the step is finished."""


class Trainer:
    """Trains the net of a recipe: ``Trainer(recipe).run(create(recipe))``.

    Args:
        recipe: what to do.
        plain: plain lines even in a terminal.
        datasets: (training set, test set) that are open already, of the same recipe.

    Raises:
        RecipeError: if the recipe asks for what there is not, such as a device. DataError: if data are missing or damaged.
    """

    def __init__(self, recipe: Recipe, plain: bool = False, datasets: tuple | None = None):
        self.recipe, self._plain = recipe, plain
        self._net_a = from_net_a.recipe_of(recipe) if recipe.init_from == "A" else None
        if recipe.threads is not None:
            set_num_threads(recipe.threads)
        build.convolutions(recipe)
        self.backend = build.backend(recipe)
        record.check(recipe)
        self.train_set, self.test_set = datasets or build.datasets(recipe)
        self.loader = build.loader(
            self.backend, self.train_set, min(recipe.batch_size, len(self.train_set)), shuffle=True, seed=recipe.seed, drop_last=True,
            transform=build.augmentation(recipe, self.train_set),
        )
        normalize = transforms.Normalize(self.train_set.mean, self.train_set.std)
        self.test_loader = build.loader(self.backend, self.test_set, recipe.eval_batch_size, seed=0, transform=normalize)
        self.total_steps = recipe.epochs * len(self.loader)
        manual_seed(recipe.seed)
        self.model = build.model(recipe, len(self.train_set.classes))
        build.initialize(recipe, self.model)
        build.whiten(recipe, self.model, self.train_set)
        self.model.to(self.backend.device)
        self.optimizer = build.optimizer(recipe, self.model)
        self.schedule = schedules.course(recipe, self.optimizer, self.total_steps)
        self.average = build.average(recipe, self.model, self.total_steps)
        self.scaler = precision.scaler(recipe.precision, self.backend.device)
        batch, classes = self.loader.batch_size, len(self.train_set.classes)
        self.recorder = record.Recorder(recipe, self.model, classes, batch, self.total_steps) if recipe.record else None
        self._graphed = GraphedStep(lambda x, t: self._update(self._forward(x, t)), self.optimizer) if recipe.cuda_graph else None
        self.algorithms = PinnedAlgorithms()
        self.epoch = self.batch = self.steps = 0
        self.meter = Meter(self.backend)
        self.lr = self.accuracy = self.best = self.best_epoch = None
        self.seconds, self._started, self._test_seconds = 0.0, time.monotonic(), 0.0
        self._shown = math.nan, math.nan  # loss and accuracy, as last read
        self.report, self.rate = reporter(self.total_steps, plain), Rate()
        self._plots = recipe.plot

    # ---- the run -------------------------------------------------------------------------------------------------

    def run(self, folder: RunFolder) -> Outcome:
        """Train to the end, or until SIGINT or SIGTERM; goes on from the folder's ``last.ckpt`` if there is one.

        Raises:
            NonFiniteError: if the loss becomes NaN or infinite; the message names the layer.
            RunError: if another process trains in the folder, or its checkpoint does not fit the recipe.
            WeightsError: if its checkpoint is damaged.
        """
        self.folder = folder
        with folder.locked():
            origin = self._begin_from_another()
            if isinstance(origin, Outcome):
                return origin
            message = "\n".join(filter(None, (self._restore(), origin)))
            with (contextlib.closing(self.log), record.opened(self.recorder), self.report, build.convolutions(self.recipe), self.algorithms,
                  Interrupt() as self._interrupt):
                self.report.message(message)
                try:
                    while not self.finished:
                        self._train_epoch()
                        self._end_epoch()
                except _Stop:
                    self.save()
        stop = None if self.finished else self._interrupt.signal
        return Outcome(stop is None, self.accuracy, self.best, self.gemm_gflops, self._elapsed(), stop)

    @property
    def finished(self) -> bool:
        """All epochs are done, or the schedule has ended the training."""
        return self.epoch >= self.recipe.epochs or self.schedule.over

    def _begin_from_another(self) -> str | Outcome | None:
        """In a run that has not begun: take layers from the net that ``init_from`` names, after training net A in the run's own folder if that
        is what it says. Returns what to say about it, or how net A's training ended if a signal stopped it."""
        source = self.recipe.init_from
        if source is None or self.folder.last.exists() or (source == "A" and self._net_a is None):
            return None
        if source == "A":
            path, before = self.folder.path / from_net_a.FOLDER, default_generator.get_state()
            trainer = Trainer(self._net_a, self._plain, (self.train_set, self.test_set))
            outcome = trainer.run(open_existing(path) if path.exists() else create(self._net_a, path))
            default_generator.set_state(before)
            if not outcome.finished:
                return outcome
            net, source = trainer.model, path
        else:
            net = from_net_a.load_source(source)
        copied = from_net_a.copy_layers(net, self.model)
        if not copied:
            raise RecipeError(f"init_from: none of the layers of {source} fits {self.recipe.model}")
        self.average = build.average(self.recipe, self.model, self.total_steps)
        return f"from {source}: {', '.join(copied)}; the other layers begin at random"

    def _train_epoch(self) -> None:
        self.model.train()
        build.start_epoch(self.recipe, self.model, self.epoch)
        self.loader.set_epoch(self.epoch)
        self.rate.restart()
        with contextlib.closing(self.loader.iterate(self.batch)) as batches:
            for images, labels in batches:
                self.step(images, labels)
                self.batch += 1
                self._after_step(len(labels))

    def step(self, images, labels) -> None:
        """One update from one batch."""
        images, labels = images.to(self.backend.device), labels.to(self.backend.device)
        before = default_generator.get_state()
        self.lr = self.schedule.get_last_lr()[0]
        records = self.recorder is not None and self.recorder.cadence.due(self.steps + 1)
        if records:
            with self.algorithms.paused():
                self.recorder.begin(self.steps + 1, *self._probe(images[: record.IMAGES], labels[: record.IMAGES]))
        if self._graphed is None:
            loss = self._forward(images, labels)
            self._check_finite(images, labels, before)
            self._update(loss)
        else:
            self._graphed(images, labels)
            self._check_finite(images, labels, before)
        if records:
            self.recorder.end(self.steps + 1, self._progress(1), self.lr)
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        self.steps += 1

    def _forward(self, images, labels):
        with self._region():
            logits = self.model(images)
            loss = self._loss(logits, labels)
        self.meter.add(loss, logits.detach().float(), labels)
        if self.recorder is not None:
            self.recorder.saw(loss, logits, labels)
        return loss

    def _probe(self, images, labels):
        """(what gives the loss of a batch without leaving a trace, the factor it is multiplied by), for the recorder."""
        def run():
            with self._region():
                return self.scaler.scale(self._loss(self.model(images), labels))

        return run, self.scaler.get_scale()

    def _region(self):
        return precision.region(self.recipe.precision, self.backend.device)

    def _update(self, loss) -> None:
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        recording = self.recorder is not None and self.recorder.active
        if recording or self.recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
        if recording:
            self.recorder.gradients()
        if self.recipe.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _check_finite(self, images, labels, before) -> None:
        if not math.isfinite(value := self.meter.read()):
            default_generator.set_state(before)
            with self._region():
                where = diagnose.first_non_finite(self.model, images, labels, self._loss)
            if self.recorder is not None:
                default_generator.set_state(before)
                run, scale = self._probe(images, labels)
                with self.algorithms.paused():
                    self.recorder.broken(self.steps + 1, self._progress(1), self.lr, run, scale, f"the loss is {value}: {where}")
            self._stop_non_finite(f"the loss is {value}", where)

    def _progress(self, batches: int = 0) -> float:
        """Epochs done, with so many batches more than are counted yet."""
        return self.epoch + (self.batch + batches) / len(self.loader)

    def _loss(self, logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def _after_step(self, images: int) -> None:
        self.rate.add(images)
        logs = self.steps % self.recipe.log_every == 0
        if logs:
            self.meter.read(now=True)
        loss, accuracy = self._shown = mean(self.meter.interval) if self.meter.interval[2] else self._shown
        text = (f"epoch {self._progress():5.2f}  loss {loss:.4f}  accuracy {100 * accuracy:5.2f} %  "
                f"lr {self.lr:.4f}  {self.rate.value():,.0f} images/s")
        tests = math.ceil((self.recipe.epochs - self.epoch) / self.recipe.eval_every)
        left = (self.total_steps - self.steps) * self.loader.batch_size / self.rate.value() + tests * self._test_seconds
        self.report.step(self.steps, text, left)
        if logs:
            self.log.write("step", step=self.steps, epoch_progress=round(self._progress(), 4), loss=loss,
                           accuracy=accuracy, lr=self.lr, images_per_second=round(self.rate.value(), 1), seconds=round(self._elapsed(), 2))
            self.meter.restart("interval")
        self._check_signal()
        every = self.recipe.checkpoint_steps
        if time.monotonic() - self._saved >= self.recipe.checkpoint_seconds or (every and self.steps % every == 0):
            self.save()

    def _end_epoch(self) -> None:
        self.meter.read(now=True)
        loss, accuracy = mean(self.meter.epoch)
        speed, result = self.rate.value(), self.test() if self._tests_now() else None
        self.epoch, self.batch = self.epoch + 1, 0
        self.meter.restart("epoch")
        better = result is not None and (self.best is None or result.accuracy > self.best)
        if result is not None:
            self.accuracy = result.accuracy
        if better:
            self.best, self.best_epoch = result.accuracy, self.epoch
        rate = machine.gemm_rate()
        self.log.write(
            "epoch", epoch=self.epoch, step=self.steps, train_loss=loss, train_accuracy=accuracy,
            test_loss=result and result.loss, test_accuracy=result and result.accuracy, lr=self.lr, images_per_second=round(speed, 1),
            seconds=round(self._elapsed(), 2), gemm_gflops=round(rate, 1))
        tested = f"test loss {result.loss:.4f}  accuracy {100 * result.accuracy:5.2f} %{' (best)' if better else ''}  " if result else ""
        self.report.message(
            f"epoch {self.epoch}/{self.recipe.epochs}  train loss {loss:.4f}  accuracy {100 * accuracy:5.2f} %  {tested}"
            f"{speed:,.0f} images/s  {clock(self._elapsed())} elapsed")
        if result is not None and (news := self.schedule.after_test(result.accuracy)):
            self.report.message(news)
        if better:
            self.save(self.folder.best)  # before last.ckpt: a run killed in between does this epoch again
        self.save()
        self._illustrate()

    def _tests_now(self) -> bool:
        return (self.epoch + 1) % self.recipe.eval_every == 0 or self.epoch + 1 == self.recipe.epochs

    def test(self) -> evaluate.Report:
        """Test on the whole test set, with the recipe's test-time averaging and its average of the weights."""
        start = time.monotonic()
        with self.average.averaged() if isinstance(self.average, EMA) else contextlib.nullcontext(), self._region():
            result = evaluate.evaluate(self.model, self._until_signal(self.test_loader), self.recipe.tta)
        self._test_seconds = time.monotonic() - start
        return result

    def _until_signal(self, batches):
        for batch in batches:
            self._check_signal()
            yield batch

    def _check_signal(self):
        if self._interrupt.signal is not None:
            raise _Stop

    # ---- state ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """All that :meth:`load_state_dict` needs to go on bit for bit; see :mod:`scratchvgg.train.checkpoint`."""
        return {
            "version": __version__, "recipe": self.recipe.to_dict(), "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(), "scaler": self.scaler.state_dict(),
            "progress": {
                "epoch": self.epoch, "batch": self.batch, "step": self.steps, "sums": self.meter.state_dict(), "lr": self.lr,
                "accuracy": self.accuracy, "best": self.best, "best_epoch": self.best_epoch, "seconds": self._elapsed(),
                "metrics": self.log.position(), "record": None if self.recorder is None else self.recorder.position(),
            },
            "random": {"default": default_generator.get_state(), "loader": self.loader.state_dict()},
            "threads": get_num_threads(), "algorithms": self.algorithms.chosen,
            "data": {"name": self.recipe.data, "classes": list(self.train_set.classes), "mean": list(self.train_set.mean),
                     "std": list(self.train_set.std), "shape": list(build.image_shape(self.train_set))},
        }

    def load_state_dict(self, state: dict) -> None:
        """Return to a state that :meth:`state_dict` gave.

        Raises:
            RunError: if it belongs to another recipe.
        """
        ours = self.recipe.to_dict()
        theirs = {**Recipe().to_dict(), **state["recipe"]}  # an older version knew fewer options
        changed = [key for key in ours if ours[key] != theirs[key] and key not in MOVABLE]
        if changed:
            raise RunError(f"{self.folder.last} was made with another recipe: {', '.join(changed)} differ from {self.folder.recipe}")
        set_num_threads(state["threads"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        progress = state["progress"]
        self.epoch, self.batch, self.steps = progress["epoch"], progress["batch"], progress["step"]
        self.meter.load_state_dict(progress["sums"])
        for name in ("lr", "accuracy", "best", "best_epoch", "seconds"):
            setattr(self, name, progress[name])
        default_generator.set_state(state["random"]["default"])
        self.loader.load_state_dict(state["random"]["loader"])
        self.algorithms.chosen.update(state["algorithms"])

    def save(self, path=None) -> None:
        """Write a checkpoint (``last.ckpt`` by default).

        Raises:
            NonFiniteError: if a weight is NaN or infinite; the old checkpoint stays.
        """
        broken = diagnose.non_finite_parameters(self.model)
        if broken:
            self._stop_non_finite("the last step broke the weights", f"{broken[0]} holds NaN or Inf")
        checkpoint.save(path or self.folder.last, self.state_dict())
        self._saved = time.monotonic()

    def _restore(self) -> str:
        """Load ``last.ckpt`` or begin, and open the metrics file. Returns what to say about it."""
        state = checkpoint.load(self.folder.last) if self.folder.last.exists() else None
        if state is not None:
            self.load_state_dict(state)
        self._started = self._saved = time.monotonic()
        self.log = metrics.MetricsLog(self.folder.metrics, 0 if state is None else state["progress"]["metrics"])
        if self.recorder is not None:
            self.recorder.open(self.folder.record, 0 if state is None else state["progress"].get("record") or 0)
        about = machine.describe()
        self.gemm_gflops = about["gemm_gflops"]
        self.log.write("run", version=__version__, recipe=self.recipe.name, step=self.steps, conv=self.recipe.conv or conv.current(), machine=about)
        if state is None:
            self.save()
        parameters = sum(p.numel() for p in self.model.parameters())
        lines = [f"{self.recipe.model}, {parameters:,} parameters; {self.recipe.data}, {len(self.train_set):,} training and {len(self.test_set):,} "
                 f"test images; {about['threads']} threads, GEMM {about['gemm_gflops']:.0f} GFLOP/s; {self.folder.path}"]
        if state is not None:
            lines.append(f"going on after step {self.steps} of {self.total_steps}")
            if state["version"] != __version__:
                lines.append(f"note: the checkpoint was made by version {state['version']}, this is {__version__}: bits may differ")
        return "\n".join(lines)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._started

    def _stop_non_finite(self, what: str, where: str):
        kept = f" The last good state is kept in {self.folder.last}." if self.folder.last.exists() else ""
        raise NonFiniteError(f"{what} at step {self.steps + 1} (epoch {self.epoch + 1}, lr {self.schedule.get_last_lr()[0]:g}): {where}.{kept} "
                             "A smaller --lr, a longer --warmup or --clip-norm 1 may help")

    def _illustrate(self) -> None:
        if self.recipe.csv:
            metrics.write_csv(self.folder.csv, metrics.read(self.folder.metrics, "epoch"))
        if self._plots:
            try:
                curves.draw(self.folder.metrics, self.folder.curves, f"{self.recipe.name}: {self.recipe.model} on {self.recipe.data}")
            except ImportError as error:
                self._plots = False
                self.report.message(f"no curves.png: {error}")
