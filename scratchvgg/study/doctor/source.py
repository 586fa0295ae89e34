"""From what the user points at, a run's folder or a net, to a :class:`.case.Case`."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from pathlib import Path

import numpy as np

from ... import models, nn, optim
from ...array import Device, Generator, default_generator, get_backend, get_num_threads, manual_seed, set_num_threads
from ...autograd import Tensor, from_numpy
from ...data import DataError, SampleShapes, transforms
from ...data.dataset import read_batch
from ...nn import functional as F
from ...train import Trainer, checkpoint, open_existing, schedules
from ...train import build as building
from ...weights.errors import WeightsError
from ..errors import StudyError
from .case import Case, Clock, Pictures, Run
from .record import read

PICTURES = 1000
_VALUES = 12_500_000  # of all the pictures together: 48 MiB


@contextlib.contextmanager
def global_state():
    """The default generator and the number of threads are afterwards as they were."""
    state, threads = default_generator.get_state(), get_num_threads()
    try:
        yield
    finally:
        default_generator.set_state(state)
        set_num_threads(threads)


# ---- a run -------------------------------------------------------------------------------------------------------------


def of_run(path, clock: Clock, *, batch: int, datasets=None, data: str | None = None, root=None, device: str | None = None) -> Case:
    """The case of a run's folder. The folder is only read.

    Raises:
        RunError: if it is none. DataError: if the run's data are not where they were. WeightsError: if its checkpoint is damaged or does not fit.
        StudyError: if its record is damaged.
    """
    folder = open_existing(path)
    recipe = folder.read_recipe()
    record = read(folder, recipe.epochs)
    state = checkpoint.load(folder.last) if folder.last.exists() else None
    trainer = _trainer(recipe, datasets, {"data": data, "root": None if root is None else str(root), "device": device})
    trainer.folder = folder
    initial = copy.deepcopy(trainer.model) if recipe.init_from is None else None
    if state is not None:
        _restore(trainer, state, folder)
    recipe, about = trainer.recipe, (state or {}).get("data", {})
    x, y = _first_batch(trainer, batch)
    cost = _cost(trainer.model, x[:8])
    x, y = (part[: _affordable(cost, clock, batch)] for part in (x, y))
    normalize = transforms.Normalize(trainer.train_set.mean, trainer.train_set.std)
    return Case(
        f"run {path}", trainer.model, len(trainer.train_set.classes), x, y, _pictures(trainer.train_set, normalize),
        _pictures(trainer.test_set, normalize, max(50, int(0.1 * clock.seconds / cost))), trainer._loss, lambda net,
        rate: building.optimizer(recipe.replace(lr=rate), net), clock, cost,
        region=trainer._region, clip_norm=recipe.clip_norm, rate=_peak(trainer, record),
        run=Run(recipe, record, trainer, trainer.steps, state is not None, initial, trainer.train_set, trainer.test_set,
                about.get("mean"), about.get("std")))


def _peak(trainer, record) -> float:
    """The greatest learning rate that the run has had so far, by its schedule; the recipe's if it has not begun."""
    recipe, done = trainer.recipe, max(record.last_step, trainer.steps)
    factor = schedules.factor(recipe, trainer.total_steps)
    return recipe.lr * max((factor(step) for step in range(done)), default=1.0)


def _trainer(recipe, datasets, moved) -> Trainer:
    changes = {name: value for name, value in moved.items() if value is not None}
    if recipe.device != "cpu" and "device" not in changes:
        try:
            get_backend(Device(recipe.device))
        except (RuntimeError, ValueError):
            changes["device"] = "cpu"  # the run may have been made on another machine
    if not changes.get("device", recipe.device).startswith("cuda"):
        changes["cuda_graph"] = False
    if recipe.init_from == "A":
        changes["init_from"] = None  # net A need not be trained again
    try:
        return Trainer(recipe.replace(**changes, threads=None, download=False), plain=True, datasets=datasets)
    except DataError as error:
        raise DataError(f"{error} (say where the data are now with --root)") from error


def _restore(trainer, state, folder) -> None:
    try:
        trainer.load_state_dict({**state, "recipe": trainer.recipe.to_dict()})
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{folder.last}: does not fit {folder.recipe}: {error}") from error


def _first_batch(trainer, batch):
    """The first images of the run's first batch, augmented as they were."""
    loader = trainer.loader
    before = loader.state_dict()
    loader.set_epoch(0)
    with contextlib.closing(loader.iterate(0)) as batches:
        images, labels = next(batches)
    loader.load_state_dict(before)
    device = trainer.backend.device
    return images[:batch].to(device), labels[:batch].to(device)


def _pictures(dataset, normalize, most: int = PICTURES) -> Pictures:
    """Up to ``most`` pictures, drawn evenly, fewer where they are large."""
    count = min(len(dataset), most, PICTURES, max(32, _VALUES // math.prod(building.image_shape(dataset))))
    raw, labels, *_ = read_batch(dataset, np.sort(Generator(0).permutation(len(dataset))[:count]))
    return Pictures(np.ascontiguousarray(normalize(raw)), np.asarray(labels), np.asarray(raw))


# ---- a net -------------------------------------------------------------------------------------------------------------


def of_model(model, x, y, clock: Clock, *, batch: int, options: dict | None = None, device: str | None = None, optimizer=None,
             loss=F.cross_entropy, test=None, rate: float | None = None) -> Case:
    """The case of a net: a name, a checkpoint file or a module, with a batch (x float (N, C, H, W), y int (N,)) or pictures of the built-in set.

    Raises:
        StudyError: for an unknown net, or a batch that it does not take.
    """
    subject = model if isinstance(model, (str, Path)) else type(model).__name__
    net = model if isinstance(model, nn.Module) else _named(str(model), options or {})
    missing = [] if optimizer is None else _missing(net, optimizer)
    copied = copy.deepcopy(net)
    if device is not None:
        _check_device(device)
        copied.to(device)
    modes = {name: module.training for name, module in net.named_modules()} if net.training else {}
    home = next((p.device for p in net.parameters()), Device("cpu")) if device is None else Device(device)
    own = x is not None
    if own != (y is not None):
        raise StudyError("x and y: give both, or neither")
    train = _given(x, y) if own else _stand_in(copied, str(subject), home)
    pair = Pictures(*_arrays(*test)) if test is not None else None
    classes = _classes(copied, from_numpy(train.images[:2]).to(home))
    cost = _cost(copied, from_numpy(train.images[:2]).to(home))
    batch = _affordable(cost, clock, batch)
    first, labels = from_numpy(train.images[:batch]).to(home), from_numpy(train.labels[:batch]).to(home)
    held = () if optimizer is None else [group["lr"] for group in optimizer.param_groups]
    rate = rate if rate is not None else max(map(float, held), default=None)
    return Case(f"net {subject}", copied, classes, first, labels, train, pair, loss, _sgd if optimizer is None else _like(optimizer), clock, cost,
                own_data=own, given_training=modes, rate=rate, missing=missing)


def _check_device(device: str) -> None:
    try:
        get_backend(Device(device))
    except (RuntimeError, ValueError) as error:
        raise StudyError(str(error)) from None


def _named(name: str, options: dict):
    if Path(name).exists():
        return checkpoint.load_model(name)[0].train()
    try:
        manual_seed(0)
        return models.get_model(name, **options)
    except (ValueError, TypeError) as error:
        if name not in models.list_models() and ("/" in name or "\\" in name or Path(name).suffix):
            raise StudyError(f"{name}: there is no such run folder or file") from None
        raise StudyError(str(error)) from error


def _missing(net, optimizer) -> list[str]:
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return [name for name, parameter in net.named_parameters() if parameter.requires_grad and id(parameter) not in held]


def _sgd(net, rate):
    return optim.SGD([p for p in net.parameters() if p.requires_grad], lr=rate, momentum=0.9)


def _like(optimizer):
    """An optimiser of the user's kind and settings, for a copy of the net."""
    settings = {k: v for k, v in optimizer.defaults.items() if k != "lr"}

    def make(net, rate):
        return type(optimizer)([p for p in net.parameters() if p.requires_grad], lr=rate, **settings)

    return make


def _given(x, y) -> Pictures:
    images, labels = _arrays(x, y)
    return Pictures(images, labels)


def _arrays(x, y):
    images, labels = (np.asarray(a.detach().cpu().numpy() if isinstance(a, Tensor) else a) for a in (x, y))
    if images.ndim != 4 or not len(images):
        raise StudyError(f"x: expected images (N, C, H, W), got {'×'.join(map(str, images.shape)) or 'a scalar'}")
    if labels.shape != images.shape[:1]:
        raise StudyError(f"y: expected {len(images)} labels, one for each image, got the shape {labels.shape}")
    return images.astype(np.float32), labels.astype(np.int64) if labels.dtype.kind in "iub" else labels


def _stand_in(net, name: str, home) -> Pictures:
    """Pictures of the built-in set, as large as the net wants them."""
    wanted = next((module.in_channels for module in net.modules() if isinstance(module, nn.Conv2d)), 3)
    if wanted not in (1, 3):
        raise StudyError(f"the net takes images of {wanted} channels; give a batch: examine(model, x, y)")
    shapes = SampleShapes(size=PICTURES)
    images = transforms.Normalize(SampleShapes.mean, SampleShapes.std)(shapes.images)
    images = images if wanted == 3 else images.mean(1, keepdims=True)
    for side in (32, 224):
        if side == 32 and name.startswith("vgg"):
            continue  # torchvision's heads are made for 224
        times = side // 32
        few = images if times == 1 else images[: max(32, _VALUES // (wanted * side * side))]
        made = np.ascontiguousarray(few.repeat(times, 2).repeat(times, 3))
        with contextlib.suppress(RuntimeError, StudyError):
            _classes(net, from_numpy(made[:2]).to(home))
            return Pictures(made, shapes.labels[: len(made)])
    raise StudyError("the net takes neither 32×32 nor 224×224 images; give a batch: examine(model, x, y)")


def _cost(net, x) -> float:
    """Seconds that one image takes forward, when everything is warm."""
    times = []
    for _ in range(2):
        begun = time.monotonic()
        _classes(net, x)
        times.append((time.monotonic() - begun) / len(x))
        if times[0] > 1:
            break
    return min(times)


def _affordable(cost: float, clock: Clock, batch: int) -> int:
    """Images of a probe batch: a pass forward and backward, about four times as long as one forward, should take a 12th of the time."""
    return max(4, min(batch, int(clock.seconds / 12 / (4 * cost))))


def _classes(net, x) -> int:
    from .probe import look

    modes = [(module, module.training) for module in net.modules()]
    try:
        shape = look(net.eval(), x, None).logits.shape
    except (RuntimeError, ValueError, TypeError) as error:
        raise StudyError(f"the net does not take this batch: {error}") from error
    finally:
        for module, mode in modes:
            module.training = mode
    return shape[1]


