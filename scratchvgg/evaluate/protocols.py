"""The paper's evaluation protocols (Simonyan & Zisserman §3.2, §4.1–4.4) for photographs: from pictures to class posteriors.

Each picture is resized so that its shorter side is the test scale Q, then

    center      one crop in the middle
    five        four corners and the centre
    ten         those and their mirror images (Krizhevsky's)
    multicrop   a regular grid of 5×5 crops and their mirror images (§3.2, after Szegedy and Howard)
    dense       the whole picture through :class:`~scratchvgg.evaluate.DenseVGG`, and its mirror image

The posterior of a picture is the mean of the softmax over its crops; dense: the class score map averaged over space, then the softmax, then the
mean with the mirror image's. Scales, protocols and nets are fused by the mean of their posteriors (§4.2–4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..autograd import as_tensor
from ..data.images import resize_shorter, resized_size, to_array
from .crops import cut, views
from .dense import DenseVGG, feature_size
from .predict import evaluation, softmax


@dataclass(frozen=True)
class Protocol:
    """A way to look at a picture.

    Attributes:
        name: its key in :data:`PHOTO_PROTOCOLS`.
        description: one line.
        run: ``run(model, images, options)`` gives float64 (N, classes) for resized images, uint8 (3, H, W) each.
        passes: ``passes(height, width, crop, flip)`` of a resized picture: its forward passes, in those of one crop.
    """

    name: str
    description: str
    run: Callable
    passes: Callable[[int, int, int, bool], float]


@dataclass(frozen=True)
class Options:
    """What a protocol's ``run`` is told: see :func:`posteriors`; ``normalize`` is the preset's."""

    crop: int
    average: str
    flip: bool
    batch_size: int
    normalize: Callable


AVERAGES: dict[str, Callable] = {
    "scores": lambda scores: softmax(scores.mean((2, 3))),
    "softmax": lambda scores: softmax(scores.transpose(0, 2, 3, 1)).mean((1, 2)),
}
"""How a class score map (N, classes, P, Q) becomes posteriors: the paper's (the mean of the scores, then the softmax), and the other way round."""


def posteriors(model, pictures: Sequence, protocol: str, scale: int | Iterable[int], preset, *, crop: int | None = None,
               average: str = "scores", flip: bool = True, batch_size: int = 16) -> np.ndarray:
    """Class probabilities of pictures by one protocol.

    Args:
        model: the net, on any device and in any floating type; its mode is left as it was.
        pictures: PIL images.
        protocol: a key of :data:`PHOTO_PROTOCOLS`.
        scale: Q, the shorter side in pixels after resizing; several: the mean of their posteriors.
        preset: gives ``normalize`` and ``crop_size`` (see :mod:`scratchvgg.data.presets`).
        crop: side of the crops in pixels, for dense the training crop; None: the preset's.
        average: a key of :data:`AVERAGES`, for dense.
        flip: dense and multicrop: with the mirror images.
        batch_size: crops in a batch at most; dense pictures make batches of about as many pixels.

    Returns:
        float64 (N, classes); rows sum to 1.

    Raises:
        ValueError: for an unknown protocol or average, a scale smaller than the crop, no scale, no picture.
    """
    scales = [scale] if isinstance(scale, (int, np.integer)) else list(scale)
    crop = preset.crop_size if crop is None else crop
    check(protocol, scales, crop, average, batch_size)
    if not len(pictures):
        raise ValueError("posteriors: there is no picture")
    options = Options(crop, average, flip, batch_size, preset.normalize)
    with evaluation(model):
        return fuse([PHOTO_PROTOCOLS[protocol].run(model, [_resized(picture, q) for picture in pictures], options) for q in scales])


def check(protocol: str, scales: Sequence[int], crop: int, average: str = "scores", batch_size: int = 16) -> None:
    """Raise ValueError for what :func:`posteriors` would refuse, before any picture is read."""
    if protocol not in PHOTO_PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PHOTO_PROTOCOLS)}, got {protocol!r}")
    if average not in AVERAGES:
        raise ValueError(f"average: expected one of {', '.join(AVERAGES)}, got {average!r}")
    if crop < 1 or batch_size < 1:
        raise ValueError(f"crop and batch_size: expected 1 or more, got {crop} and {batch_size}")
    if not scales or min(scales) < crop:
        raise ValueError(f"scale: expected at least one, none smaller than the crop of {crop} pixels, got {list(scales)}")


def fuse(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of posteriors (N, classes): of scales, protocols or nets (§4.4).

    Raises:
        ValueError: for none, or different shapes.
    """
    arrays = [np.asarray(a) for a in arrays]
    if not arrays or len({a.shape for a in arrays}) > 1:
        raise ValueError(f"fuse: expected arrays of one shape, got {[a.shape for a in arrays]}")
    return np.mean(arrays, axis=0, dtype=np.float64)


def cost(protocol: str, size: tuple[int, int], scale: int | Iterable[int], crop: int = 224, flip: bool = True) -> float:
    """What a picture of ``size`` (height, width), before resizing, costs: forward passes in those of one crop, summed over the scales.

    Crops that coincide count once. Dense is counted by area: the convolutions are all but a hundredth of VGG's work.

    Raises:
        ValueError: as :func:`posteriors`.
    """
    scales = [scale] if isinstance(scale, (int, np.integer)) else list(scale)
    check(protocol, scales, crop)
    height, width = size
    return sum(PHOTO_PROTOCOLS[protocol].passes(*resized_size(width, height, q)[::-1], crop, flip) for q in scales)


# ---- how the protocols run -------------------------------------------------------------------------------------------


def _by_crops(layout: str) -> Callable:
    """The mean of the softmax over the crops of ``layout``; batches run across pictures."""

    def run(model, images, options):
        result = 0
        for batch in _batches(_crops(layout, images, options), options.batch_size):
            rows, weights, crops = zip(*batch, strict=True)
            found = softmax(_scores(model, options.normalize(np.stack(crops))))
            if isinstance(result, int):
                result = np.zeros((len(images), found.shape[1]))
            np.add.at(result, list(rows), np.array(weights)[:, None] * found)
        return result

    return run


def _crops(layout, images, options) -> Iterator[tuple[int, float, np.ndarray]]:
    """(picture, share in its mean, crop) of every crop."""
    for row, image in enumerate(images):
        chosen = views(layout, *image.shape[1:], options.crop, options.flip)
        total = sum(view.weight for view in chosen)
        for view, crop in zip(chosen, cut(image, chosen, options.crop), strict=True):
            yield row, view.weight / total, crop


def _dense(model, images, options):
    """Pictures of equal size run together."""
    net, average = DenseVGG(model, _window(model, options.crop)), AVERAGES[options.average]
    groups: dict[tuple, list[int]] = {}
    for row, image in enumerate(images):
        groups.setdefault(image.shape, []).append(row)
    result = {}
    for (_, h, w), rows in groups.items():
        for some in _batches(rows, max(1, options.batch_size * options.crop**2 // (h * w))):
            batch = options.normalize(np.stack([images[row] for row in some]))
            sides = [batch, batch[..., ::-1]][: 1 + options.flip]
            result |= zip(some, fuse([average(_scores(net, side)) for side in sides]), strict=True)
    return np.stack([result[row] for row in range(len(images))])


def _window(model, crop):
    """None where the classifier's weights say it; else the features of a training crop."""
    pooled = getattr(getattr(model, "avgpool", None), "output_size", None)
    return feature_size(model, crop) if pooled in (1, (1, 1)) else None


def _scores(net, images: np.ndarray) -> np.ndarray:
    """The net's output as float64 on the host; it computes in its own type, on its own device."""
    first = next(net.parameters(), None)
    images = as_tensor(np.ascontiguousarray(images))
    output = net(images if first is None else images.to(first.device, first.dtype))
    return output.backend.to_numpy(output.array).astype(np.float64)


def _resized(picture, scale) -> np.ndarray:
    return to_array(resize_shorter(picture, scale))


def _batches(items: Iterable, most: int) -> Iterator[list]:
    """Consecutive items together, up to ``most``."""
    items = iter(items)
    while batch := list(islice(items, most)):
        yield batch


def _count(layout):
    return lambda height, width, crop, flip: float(len(views(layout, height, width, crop, flip)))


def _area(height, width, crop, flip):
    return (1 + flip) * height * width / crop**2


PHOTO_PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("center", "one crop in the middle", _by_crops("center"), _count("center")),
        Protocol("five", "four corners and the centre", _by_crops("five"), _count("five")),
        Protocol("ten", "four corners and the centre, each with its mirror image", _by_crops("ten"), _count("ten")),
        Protocol("multicrop", "a 5x5 grid of crops and their mirror images (the paper's 50 a scale)", _by_crops("multicrop"), _count("multicrop")),
        Protocol("dense", "the whole picture and its mirror image, class scores averaged over space (the paper's)", _dense, _area),
    )
}

FUSED = {"both": ("dense", "multicrop")}
"""Protocols that are the mean of others' posteriors: the paper's Table 5 (multi-crop and dense)."""
