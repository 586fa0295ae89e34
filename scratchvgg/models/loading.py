"""A net with weights from anywhere, and with them what it needs to look at a picture: its preprocessing and the names of its classes."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from .. import hub, nn
from .. import weights as files
from ..autograd import from_numpy
from ..data.presets import ImageClassification
from ..weights import layouts
from ..weights.errors import WeightsError
from .categories import imagenet_categories
from .matching import best_match
from .pretrained import PRETRAINED, WeightsEnum, entries, find_entry, net_of
from .registry import get_model, get_model_builder

_CHECKPOINT = {"format", "model", "recipe", "data"}  # parts of what a training of scratchvgg writes (train/checkpoint.py)


@dataclass(frozen=True)
class LoadedNet:
    """A net that is ready to classify.

    Attributes:
        model: in evaluation mode, on the CPU.
        preset: makes the model's input of a picture.
        categories: names of the classes; None if nobody knows them.
        name: of the net, as :func:`~scratchvgg.models.get_model` takes it.
        weights: where they came from: an entry (``"VGG16_Weights.IMAGENET1K_V1"``) or a path.
        metrics: published accuracies in %, ``{"acc@1": 71.592, "acc@5": 90.382}``; None if there are none.
    """

    model: nn.Module
    preset: ImageClassification
    categories: list[str] | None
    name: str
    weights: str
    metrics: dict[str, float] | None = None


def load_net(name: str | None = None, weights=None, *, progress: bool = True, verify: bool = True) -> LoadedNet:
    """A net, its weights, and what belongs to them.

    The number of classes is the file's. The preprocessing is the entry's; that of the run for a run folder or checkpoint of scratchvgg; Caffe's
    (pixels 0…255 less a mean) for a Keras file; the entry's also for a file that *is* an entry's, by its digest; else ImageNet's usual.

    Args:
        name: of the net, such as ``"vgg16"``; None takes the net that fits the file.
        weights: an entry or its name (``"IMAGENET1K_V1"``, ``"DEFAULT"``, ``"VGG16_Weights.IMAGENET1K_V1"``), which is downloaded unless it is
            in the cache; a file in any format that :func:`scratchvgg.load` reads; a run folder; or a URL. None is ``"DEFAULT"``.
        progress: show downloads on stderr.
        verify: check digests and checksums of what lies on the disk.

    Raises:
        WeightsError: if the file cannot be read or does not fit; the message names the net that it fits.
        FileNotFoundError: if there is no such file. DownloadError: if it cannot be had. ValueError: for an unknown net.
    """
    if name is None and weights is None:
        raise ValueError("load_net: name a net, or give weights")
    if name is not None:
        get_model_builder(name)
    entry, path = resolve(name, "DEFAULT" if weights is None else weights, progress)
    tree, entry = read(entry, path, progress, verify)
    source = repr(entry) if path is None else str(path)
    if _is_checkpoint(tree):
        return _load_run(tree, name, source)
    state, layout = _state_of(tree, source)
    classes, options = _count_classes(state, source), {}
    if name is None:
        match = best_match(state)
        name, options = (net_of(entry), {}) if entry else (match.name, match.options)
    with nn.init.skip():
        model = get_model(name, num_classes=classes, **options)
    take_over(model, state, name, source)
    preset, categories, metrics = ImageClassification(), imagenet_categories() if classes == 1000 else None, None
    if entry is not None:
        preset, categories = entry.transforms(), entry.meta["categories"]
        metrics = entry.meta["_metrics"]["ImageNet-1K"]
        metrics = None if math.isnan(metrics["acc@1"]) else dict(metrics)
    elif layout is not None and layout.preprocessing:
        preset = ImageClassification(mean=layout.preprocessing[0], std=layout.preprocessing[1])
    return LoadedNet(model.eval(), preset, categories, name, source, metrics)


def build_pretrained(name: str, make: Callable, weights, progress: bool, options: dict) -> nn.Module:
    """What ``vgg16(weights=…)`` does: ``make(**options)`` with the weights and their number of classes.

    Raises:
        ValueError: if ``options`` ask for another number of classes. Else as :func:`load_net`.
    """
    entry, path = resolve(name, weights, progress)
    if entry is not None:
        _agree(name, options, len(imagenet_categories()), repr(entry))
    tree, entry = read(entry, path, progress)
    source = repr(entry) if path is None else str(path)
    state, _ = _state_of(tree, source)
    _agree(name, options, _count_classes(state, source), source)
    with nn.init.skip():
        model = make(**options)
    take_over(model, state, name, source)
    return model


def _agree(name, options, classes, source) -> None:
    """Have ``options`` ask for ``classes``, or nothing."""
    if options.setdefault("num_classes", classes) != classes:
        raise ValueError(
            f"{name}: num_classes={options['num_classes']}, but {source} has {classes} classes; leave num_classes out and replace the last layer: "
            f"model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, {options['num_classes']})"
        )


# ---- where from ------------------------------------------------------------------------------------------------------


def resolve(name: str | None, weights, progress: bool = True) -> tuple[WeightsEnum | None, Path | None]:
    """What ``weights`` means for the net ``name`` (None: any net): an entry, or a file. A URL is downloaded to the cache.

    Raises:
        TypeError: for another net's entry, or another type. WeightsError: for the name of another net's entry.
        FileNotFoundError: if there is no such file. DownloadError: if a URL cannot be had.
    """
    if not isinstance(weights, (str, os.PathLike, WeightsEnum)):
        raise TypeError(f"weights: expected an entry such as VGG16_Weights.DEFAULT, its name, or the path of a file, got {weights!r}")
    entry = find_entry(weights, name) if isinstance(weights, str) else weights if isinstance(weights, WeightsEnum) else None
    if entry is not None:
        if name not in (None, net_of(entry)):
            wrong = f"weights: expected {_expected(name)}, got {entry!r}, which is for {net_of(entry)}"
            raise (WeightsError if isinstance(weights, str) else TypeError)(wrong)
        return entry, None
    text = os.fspath(weights)
    scheme = urlsplit(text).scheme
    if scheme in ("http", "https"):
        folder = hub.get_dir() / "checkpoints" / hashlib.sha256(text.encode()).hexdigest()[:16]  # other addresses have files of the same name
        return None, hub.download(text, folder, progress)
    path = Path(url2pathname(urlsplit(text).path) if scheme == "file" else text).expanduser()
    if path.is_dir():
        found = [path / run for run in ("best.ckpt", "last.ckpt") if (path / run).is_file()]
        if not found:
            raise FileNotFoundError(f"weights: the folder {path} has no checkpoint in it (best.ckpt, last.ckpt)")
        path = found[0]
    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {str(path)!r}; expected {_expected(name)}")
    return None, path


def _expected(name) -> str:
    if name in PRETRAINED:
        cls = PRETRAINED[name]
        return f"an entry of {cls.__name__} ({', '.join(cls.__members__)}) or a file of weights"
    if name is None:
        return "an entry's full name such as 'VGG16_Weights.IMAGENET1K_V1', or a file of weights"
    return f"a file of weights: nobody published weights of {name} that scratchvgg could download"


def read(entry: WeightsEnum | None, path: Path | None, progress: bool = True, verify: bool = True):
    """(the tree of a file, the entry that it is of, or None).

    An entry's digest is checked over the whole file, else the checksums inside it are, unless ``verify`` is False.

    Raises:
        WeightsError: if the file cannot be read, or bears the name of an entry's file and is another one. DownloadError: if it cannot be had.
    """
    if entry is None:
        entry = _whose(path, verify)
    elif verify or not (path := hub.get_dir() / "checkpoints" / entry.file).is_file():
        path = entry.path(progress)
    return files.load(path, verify=verify and entry is None), entry


def _whose(path: Path, verify: bool) -> WeightsEnum | None:
    """The entry whose file lies at ``path``. Only files of the right name, or about the right size, are read for it."""
    size = path.stat().st_size / (1 << 20)
    likely = [entry for entry in entries() if path.name == entry.file or (verify and abs(size - entry.meta["_file_size"]) < 1e-2)]
    if not verify or not likely:
        return next(iter(likely), None)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for entry in likely:
        if digest.startswith(entry.digits):
            return entry
        if path.name == entry.file:
            raise WeightsError(f"cannot read {path}: it bears the name of {entry!r}, whose SHA-256 begins with {entry.digits}, but has "
                               f"{digest[:8]}: it is damaged, or another file (rename it, then)")
    return None


# ---- into the net ----------------------------------------------------------------------------------------------------


def take_over(model: nn.Module, state: Mapping[str, np.ndarray], name: str, source: str) -> None:
    """Make the arrays of ``state`` the parameters and buffers of ``model``, without a copy where type and memory order agree: in VGG-16, of
    494 MB in linear layers, and not of 59 MB in convolutions.

    Args:
        state: under the model's names.
        name, source: of the net and the weights, for messages.

    Raises:
        WeightsError: if names or shapes differ; the message says which, and which net would fit.
    """
    own = model.state_dict()
    wrong = {"missing": [key for key in own if key not in state and not key.endswith("num_batches_tracked")],
             "too many": [key for key in state if key not in own],
             "of another shape": [f"{key}: {tuple(state[key].shape)} instead of {tuple(own[key].shape)}" for key in own
                                  if key in state and not _same_shape(state[key], own[key])]}
    if any(wrong.values()):
        counts = [f"{_count(keys)} {what} ({', '.join(keys[:2])}{', …' if len(keys) > 2 else ''})" for what, keys in wrong.items() if keys]
        raise WeightsError(f"{source} {_fits(state, name)}: {'; '.join(counts)}")
    try:
        taken = {key: from_numpy(value) for key, value in state.items() if _as_mine(value, own[key].array)}
        copied = {key: from_numpy(value) for key, value in state.items() if key not in taken}
    except TypeError as error:  # complex numbers
        raise WeightsError(f"{source}: {error}") from error
    model.load_state_dict(taken, strict=False, assign=True)
    model.load_state_dict(copied, strict=False)


def _as_mine(value: np.ndarray, mine: np.ndarray) -> bool:
    """Whether ``value`` can stand for ``mine``: convolutions' weights lie with their channels last in memory, files have them in C order."""
    return (value.dtype, value.strides, value.shape) == (mine.dtype, mine.strides, mine.shape) and value.flags.aligned and value.flags.writeable


def _same_shape(value, mine) -> bool:
    return tuple(value.shape) == tuple(mine.shape) or (mine.ndim == 0 and tuple(value.shape) == (1,))


def _count(keys) -> str:
    return f"{len(keys)} entr{'y' if len(keys) == 1 else 'ies'}"


def _fits(state, name) -> str:
    match = best_match(state)
    if match.exact and match.name != name:
        return f"fits {match.name}, not {name}"
    return f"does not fit {name}" + (f" (the nearest net is {match.name})" if match.matched and match.name != name else "")


def _state_of(tree, source):
    """(the weights in a tree under torchvision's names and in its shapes, the layout they were in or None)."""
    try:
        state = layouts.find_state_dict(tree)
        return layouts.to_torchvision(state), layouts.find_layout(state)
    except (WeightsError, ValueError, IndexError) as error:  # names of a layout with shapes that it cannot have
        raise WeightsError(f"{source}: {error}") from error


def _count_classes(state, source) -> int:
    """Rows of the last layer's matrix: of the one with the highest number in its name, for files may hold their entries in any order."""
    matrices = [key for key, value in state.items() if key.endswith("weight") and value.ndim == 2]
    if not matrices:
        raise WeightsError(f"{source} has no linear layer ({len(state)} entries), so no number of classes: it is no whole net")
    return state[max(matrices, key=lambda key: [int(number) for number in re.findall(r"\d+", key)])].shape[0]


# ---- trainings of scratchvgg -----------------------------------------------------------------------------------------


def _is_checkpoint(tree) -> bool:
    return isinstance(tree, Mapping) and tree.keys() >= _CHECKPOINT and isinstance(tree["recipe"], Mapping) and isinstance(tree["data"], Mapping)


def _load_run(tree, name, source) -> LoadedNet:
    """The net of a training, with the average of its weights if the recipe has ``ema``: what its own tests tested."""
    recipe, data = tree["recipe"], tree["data"]
    try:
        trained, classes, side = recipe["model"], list(data["classes"]), int(data["shape"][-1])
        state = {**tree["model"], **(tree["average"]["averages"] if recipe.get("ema") is not None else {})}
        with nn.init.skip():
            model = get_model(trained, **{"num_classes": len(classes), **recipe["model_options"]})
        preset = ImageClassification(side, _scale_of_tests(recipe, side), tuple(data["mean"]), tuple(data["std"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(f"{source}: no training checkpoint: {error}") from error
    if name not in (None, trained):
        raise WeightsError(f"{source} is of {trained}, not of {name}")
    take_over(model, state, trained, source)
    return LoadedNet(model.eval(), preset, classes, trained, source)


def _scale_of_tests(recipe, side: int) -> int:
    """The shorter side of the pictures that the run's own tests cut their windows from: the middle of its training scales."""
    if recipe.get("crop") is None:
        return side
    least = recipe["scale_min"] or side * 8 // 7
    return (least + (recipe["scale_max"] or least)) // 2
