"""What is looked at: a net, its weights, and a batch of pictures prepared as these weights want it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import models, nn
from ..array import manual_seed
from ..autograd import Tensor, from_numpy
from ..data import CIFAR10
from ..data.presets import ImageClassification
from .classes import class_index
from .errors import StudyError

DRAWN = "a drawn picture of the built-in set"
OF_A_RUN = 4  # test pictures, unless a number is asked for
LARGEST = 4096  # pixels a side that a study is willing to run a net on


@dataclass
class Subject:
    """A net in front of its input.

    Attributes:
        model: on the device, in the mode that was asked for.
        name: of the net. weights: where they came from; None for random ones.
        x: the net's input (N, 3, H, W).
        pictures: uint8 (N, 3, H, W), what ``x`` was normalised from. titles: their names.
        categories: names of the classes, or None.
        preset: the preprocessing.
        notes: sentences that belong beside every result, such as that the weights are random.
        labels: the pictures' classes (N,), or None where nobody knows them.
    """

    model: nn.Module
    name: str
    weights: str | None
    x: Tensor
    pictures: np.ndarray
    titles: list[str]
    categories: list[str] | None
    preset: ImageClassification
    notes: list[str]
    labels: list[int] | None = None

    def class_name(self, index: int) -> str:
        """The name of a class, ``class 7`` where nobody knows names."""
        return self.categories[index] if self.categories else f"class {index}"

    def class_index(self, text: str) -> int:
        """The class that a name or a number means; whether the net has so many is found out when it runs.

        Raises:
            StudyError: for neither; the message lists near names.
        """
        return class_index(text, self.categories)


def load(name: str, weights=None, images: Sequence[str] = (), *, batch: int | None = None, size: tuple[int, int] | int | None = None,
         options: dict | None = None, num_classes: int | None = None, device: str = "cpu", training: bool = False, seed: int = 0) -> Subject:
    """Put a net in front of pictures.

    Args:
        name: of a net (:func:`scratchvgg.models.list_models`), or the path of a run folder, a checkpoint or a file of weights.
        weights: as :func:`scratchvgg.models.load_net` takes them; None draws random ones from ``seed``, unless ``name`` is a path.
        images: picture files; without any, the first of the run's own test pictures if ``name`` is a run whose data can be found, else a picture
            of the built-in set, enlarged.
        batch: images of the batch, the pictures in turn; by default one of each.
        size: height and width; by default the preset's.
        options, num_classes: for the net's builder, with random weights only.
        training: put the model into training mode.

    Raises:
        StudyError: for what does not fit together. WeightsError, DataError, FileNotFoundError: for files that cannot be used.
    """
    loaded, notes = _net(name, weights, options or {}, num_classes, seed)
    preset, size = loaded.preset, _size(size)
    if batch is not None and batch < 1:
        raise StudyError(f"batch: expected 1 or more, got {batch}")
    shape = size or (preset.crop_size,) * 2
    tested = _tested(Path(name), batch or OF_A_RUN, notes) if not images and size is None and weights is None and Path(name).exists() else None
    labels = None
    if images:
        crops = [_cut(path, preset, shape) for path in images]
        titles = [str(path) for path in images]
    elif tested is not None:
        crops, labels = tested
        titles = [f"test picture {number}" for number in range(len(crops))]
    else:
        crops, titles = [_drawn(shape, seed)], [DRAWN]
        notes.append(f"No picture was given: the input is {DRAWN}, enlarged to {shape[0]}×{shape[1]}.")
    chosen = [i % len(crops) for i in range(batch or len(crops))]
    labels = None if labels is None else [labels[i] for i in chosen]
    pictures = np.stack([crops[i] for i in chosen])
    model = loaded.model.train(training)
    _place(model, device)
    x = from_numpy(preset.normalize(pictures)).to(next(model.parameters()).device)
    return Subject(model, loaded.name, None if weights is None and not Path(name).exists() else loaded.weights, x, pictures,
                   [titles[i] for i in chosen], loaded.categories, preset, notes, labels)


def _net(name, weights, options, num_classes, seed):
    """(LoadedNet, notes)"""
    path = Path(name)
    if path.exists():
        if weights is not None:
            raise StudyError(f"weights: {name} brings its own; leave out one of them")
        name, weights = None, path
    if weights is not None:
        if options or num_classes is not None:
            raise StudyError("options, num_classes: they are for random weights; a file of weights says itself which net it is of")
        try:
            return models.load_net(name, weights), []
        except (ValueError, TypeError) as error:
            raise StudyError(str(error)) from error
    if path.suffix or len(path.parts) > 1:
        raise StudyError(f"{name}: there is no such run folder or file of weights")
    if num_classes is not None and num_classes < 1:
        raise StudyError(f"num_classes: expected 1 or more, got {num_classes}")
    try:
        manual_seed(seed)
        model = models.get_model(name, **options, **({} if num_classes is None else {"num_classes": num_classes}))
    except (ValueError, TypeError, RuntimeError) as error:
        raise StudyError(str(error)) from error
    side = models.usual_side(name)
    preset = ImageClassification() if side == 224 else ImageClassification(side, side, CIFAR10.mean, CIFAR10.std)
    note = f"The weights are random (as {name} begins its training, seed {seed}): times, shapes and arithmetic are real, what the net sees is not."
    return models.LoadedNet(model, preset, None, name, "random weights"), [note]


def _cut(path, preset, shape) -> np.ndarray:
    """uint8 (3, H, W): the centre of a picture at the preset's scale."""
    from ..data.images import center_crop, read_picture, resize_shorter, to_array

    short = min(shape)
    scaled = dataclasses.replace(preset, crop_size=short, resize_size=max(short, round(preset.resize_size * short / preset.crop_size)))
    if shape[0] == shape[1]:
        return scaled.crop(path)
    picture = resize_shorter(read_picture(path), max(scaled.resize_size, max(shape)))
    return to_array(center_crop(picture, shape))


def _tested(path: Path, count: int, notes: list[str]):
    """(pictures, labels) from the beginning of a run's test set; None, with a note, if its data are not there; None for a file of weights."""
    from ..data import DataError
    from ..train import RecipeError, build, checkpoint, recipe
    from ..weights.errors import WeightsError

    try:
        about = recipe.from_dict(checkpoint.load(checkpoint.find(path))["recipe"])
    except WeightsError:
        return None
    try:
        tests = build.datasets(about.replace(train_size=1))[1]
    except (DataError, RecipeError, OSError) as error:
        notes.append(f"The run's test pictures cannot be had: {error}")
        return None
    found = [tests[i] for i in range(min(count, len(tests)))]
    return [np.asarray(image) for image, _ in found], [int(label) for _, label in found]


def _drawn(shape, seed) -> np.ndarray:
    """The first picture of the built-in test set, each pixel repeated, uint8 (3, H, W)."""
    from ..data import SampleShapes

    picture = SampleShapes(train=False, size=1, seed=seed)[0][0]
    times = -(-max(shape) // picture.shape[-1])
    large = picture.repeat(times, 1).repeat(times, 2)
    top, left = ((large.shape[1] - shape[0]) // 2, (large.shape[2] - shape[1]) // 2)
    return np.ascontiguousarray(large[:, top : top + shape[0], left : left + shape[1]])


def _size(size) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and 1 <= side <= LARGEST for side in pair):
        raise StudyError(f"size: expected height and width from 1 to {LARGEST}, got {size!r}")
    return pair


def _place(model, device) -> None:
    from ..array import Device, get_backend

    try:
        target = Device(device)
        get_backend(target)
    except (RuntimeError, ValueError) as error:
        raise StudyError(f"device: {error}") from None
    model.to(target)
