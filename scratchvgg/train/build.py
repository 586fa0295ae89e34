"""From a recipe to the things it names: data, augmentation, net, optimiser, average."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np

from .. import conv, data, models, nn, optim
from ..array import Device, Generator, get_backend
from ..data import transforms
from ..data.dataset import read_batch
from ..data.scale_jitter import CenterCrops, ScaleJitter
from ..nn.normalization import BatchNorm1d, BatchNorm2d
from .recipe import Recipe, RecipeError, did_you_mean

WHITENING_IMAGES = 5000
COLOUR_IMAGES = 10_000  # that the components of RGB are measured on
RESIDENT = 8 << 30  # bytes of images that a device takes in


def datasets(recipe: Recipe):
    """(training set, test set), cut to the recipe's sizes; with ``crop``, windows of pictures at the recipe's scales.

    Raises:
        RecipeError: for an unknown data set, or scales that the crop does not fit. DataError: if files are missing or damaged.
    """
    if recipe.data not in data.dataset_names():
        raise RecipeError(f"data: unknown data set {recipe.data!r}{did_you_mean(recipe.data, data.dataset_names())} "
                          f"(there are {', '.join(data.dataset_names())})")
    training, test = _dataset(recipe, True, recipe.train_size), _dataset(recipe, False, recipe.test_size)
    if recipe.crop is None:
        return training, test
    (least, most), memory = scales(recipe), recipe.cache_mb << 20
    return ScaleJitter(training, recipe.crop, least, most, memory), CenterCrops(test, recipe.crop, (least + most) // 2, memory=memory)


def scales(recipe: Recipe) -> tuple[int, int]:
    """(Smin, Smax) of a recipe with ``crop``. Q, the scale of its tests, lies in the middle: Q = S for a fixed scale (paper, section 4.1).

    Raises:
        RecipeError: unless crop ≤ Smin ≤ Smax.
    """
    least = recipe.scale_min or recipe.crop * 8 // 7
    most = recipe.scale_max or least
    if not recipe.crop <= least <= most:
        raise RecipeError(f"scale_min, scale_max: expected crop ≤ scale_min ≤ scale_max, got crop {recipe.crop}, scales {least} to {most}")
    return least, most


def _dataset(recipe, train, size):
    if recipe.crop is None and (recipe.scale_min or recipe.scale_max):
        raise RecipeError("scale_min, scale_max: they are the scales of the pictures that windows are cut from, and need crop, the windows' side")
    options = {}
    if recipe.data == "sample" and size is not None:
        options["size"] = size  # draw no more than needed
    if recipe.data == "folder":
        options["size"] = recipe.image_size if recipe.crop is None else None
    dataset = data.open_dataset(recipe.data, recipe.root, train, recipe.download, **options)
    if size is not None and size < len(dataset):
        every = np.arange(len(dataset))  # folders are sorted by class: a part of one is drawn at random
        return data.Subset(dataset, Generator(0).permutation(len(dataset))[:size] if recipe.data == "folder" else every[:size])
    return dataset


AUGMENTATIONS: dict[str, Callable[[float | None, int], Callable]] = {
    "crop": lambda amount, side: transforms.RandomCrop(side, int(4 if amount is None else amount)),
    "translate": lambda amount, side: transforms.RandomTranslate(int(2 if amount is None else amount)),
    "flip": lambda amount, side: transforms.RandomHorizontalFlip(0.5 if amount is None else amount),
    "alternating_flip": lambda amount, side: transforms.AlternatingFlip(),
    "cutout": lambda amount, side: transforms.Cutout(int(8 if amount is None else amount)),
    "jitter": lambda amount, side: transforms.ColorJitter(*[0.2 if amount is None else amount] * 3),
}


def _rgb_shift(amount, dataset):
    chosen = Generator(0).permutation(len(dataset))[:COLOUR_IMAGES]
    parts = np.array_split(chosen, -(-len(chosen) // 500))
    components = transforms.rgb_components(read_batch(dataset, part)[0] for part in parts)
    return transforms.RGBShift(*components, dataset.std, 0.1 if amount is None else amount)


NORMALIZED_AUGMENTATIONS: dict[str, Callable[[float | None, object], Callable]] = {"rgb_shift": _rgb_shift}
"""Those that come behind the normalisation, wherever the recipe names them: they change colours by fractions of a level."""


def augmentation(recipe: Recipe, dataset) -> Callable:
    """The transform of training batches: the recipe's changes in order, then normalisation.

    Raises:
        RecipeError: for an unknown name or an amount that is no number.
    """
    side, before, after = image_shape(dataset)[-1], [], []
    known = [*AUGMENTATIONS, *NORMALIZED_AUGMENTATIONS]
    for entry in recipe.augmentation:
        name, colon, text = entry.partition(":")
        if name not in known:
            raise RecipeError(f"augmentation: unknown change {name!r}{did_you_mean(name, known)} (there are {', '.join(known)})")
        try:
            amount = float(text) if colon else None
            if name in AUGMENTATIONS:
                before.append(AUGMENTATIONS[name](amount, side))
            else:
                after.append(NORMALIZED_AUGMENTATIONS[name](amount, dataset))
        except ValueError as error:
            raise RecipeError(f"augmentation: {entry!r}: {error}") from None
    return transforms.Compose([*before, transforms.Normalize(dataset.mean, dataset.std), *after])


def loader(backend, dataset, batch_size: int, **options) -> data.DataLoader:
    """A loader of batches for a device: the same batches everywhere. If the device runs kernels, the data set lies there as bytes and the
    kernels augment it, unless it is larger than :data:`RESIDENT`, draws its items, or the transform is one that only the CPU has."""
    if backend.runs_kernels and not hasattr(dataset, "random_batch") and math.prod(image_shape(dataset)) * len(dataset) <= RESIDENT:
        with contextlib.suppress(ValueError):
            return data.DeviceLoader(dataset, batch_size, device=backend.device, **options)
    return data.DataLoader(dataset, batch_size, **options)


def image_shape(dataset) -> tuple[int, ...]:
    """(C, H, W) of the data set's images."""
    return tuple(np.shape(dataset[0][0]))


def model(recipe: Recipe, classes: int):
    """The net, initialised from the default generator.

    Raises:
        RecipeError: for an unknown net or an option that its builder does not take.
    """
    known = models.list_models()
    if recipe.model not in known:
        raise RecipeError(f"model: unknown net {recipe.model!r}{did_you_mean(recipe.model, known)} (there are {', '.join(known)})")
    try:
        return models.get_model(recipe.model, **{"num_classes": classes, **recipe.model_options})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model_options of {recipe.model}: {error}") from error


def initialize(recipe: Recipe, net) -> None:
    """Draw all weights of convolutions and linear layers from N(0, ``init_std``²), biases 0, if the recipe says so (paper, section 3.1)."""
    if recipe.init_std is None:
        return
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, recipe.init_std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def convolutions(recipe: Recipe):
    """A context in which convolutions are done by the recipe's ``conv``; without one, by what is in force already.

    Raises:
        RecipeError: if the recipe, or the environment, names an unknown algorithm.
    """
    try:
        if recipe.conv is not None:
            conv.check_setting(recipe.conv, "conv")
        else:
            conv.current()
    except ValueError as error:
        raise RecipeError(str(error)) from None
    return contextlib.nullcontext() if recipe.conv is None else conv.using(recipe.conv)


def backend(recipe: Recipe):
    """The backend of the recipe's device.

    Raises:
        RecipeError: if there is no such device here; the message says what is missing.
    """
    try:
        found = get_backend(Device(recipe.device))
    except RuntimeError as error:
        raise RecipeError(f"device: {error}") from None
    if recipe.cuda_graph and found.device.type != "cuda":
        raise RecipeError(f"cuda_graph: only a GPU records graphs, but device is {recipe.device!r}")
    if recipe.cuda_graph and recipe.optimizer != "sgd":
        raise RecipeError(f"cuda_graph: needs optimizer sgd, whose options live on the device; {recipe.optimizer} counts its steps on the host")
    return found


def whiten(recipe: Recipe, net, dataset) -> None:
    """Set a net's whitening layer, if it has one, from the first 5,000 training images (normalised, not augmented)."""
    if hasattr(net, "init_whitening"):
        images = data.dataset.read_batch(dataset, np.arange(min(WHITENING_IMAGES, len(dataset))))[0]
        net.init_whitening(transforms.Normalize(dataset.mean, dataset.std)(images))


def optimizer(recipe: Recipe, net) -> optim.Optimizer:
    """The optimiser with up to three groups: weights; biases and norm scales; norm biases (``bias_lr_scale`` times faster, and
    decayed so many times less, so that learning rate × decay is the same for all)."""
    norm_biases = {id(m.bias) for m in net.modules() if isinstance(m, (BatchNorm1d, BatchNorm2d)) and m.bias is not None}
    groups: dict[tuple[float, float], list] = {}
    for parameter in net.parameters():
        if not parameter.requires_grad:
            continue
        scale = recipe.bias_lr_scale if id(parameter) in norm_biases else 1.0
        decay = recipe.weight_decay if parameter.ndim > 1 or recipe.decay_all else 0.0
        groups.setdefault((scale, decay / scale if scale else decay), []).append(parameter)
    parameters = [{"params": p, "lr": recipe.lr * scale, "weight_decay": decay} for (scale, decay), p in groups.items()]
    if recipe.optimizer == "sgd":
        return optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov and recipe.momentum > 0)
    rule = {"adam": optim.Adam, "adamw": optim.AdamW}[recipe.optimizer]
    return rule(parameters, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def average(recipe: Recipe, net, total_steps: int):
    """The recipe's average of the weights: an EMA, a Lookahead, or None.

    Raises:
        RecipeError: if it asks for both.
    """
    if recipe.ema is not None and recipe.lookahead is not None:
        raise RecipeError("ema and lookahead: choose one of them")
    if recipe.ema is not None:
        return optim.EMA(net, recipe.ema, warmup=True)
    return None if recipe.lookahead is None else optim.Lookahead(net, total_steps, recipe.lookahead)


def start_epoch(recipe: Recipe, net, epoch: int) -> None:
    """Hold the bias of a whitening layer from epoch ``whiten_epochs`` on."""
    layer = getattr(net, "whitening", None)
    if layer is not None and layer.bias is not None:
        layer.bias.requires_grad_(epoch < recipe.whiten_epochs)
