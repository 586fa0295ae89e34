"""Class probabilities of a batch, with test-time averaging over mirror images and shifts."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from ..autograd import Tensor, as_tensor, inference_mode


@contextmanager
def evaluation(model):
    """Evaluation mode without recording; afterwards every module is in the mode it had."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with inference_mode():
            yield model
    finally:
        for module, training in before.items():
            module.training = training


def _none(model, images):
    logits = model(Tensor.wrap(images.backend, images.array))
    return (logits.float() if logits.dtype.itemsize == 2 else logits).array


def _flip(model, images):
    return 0.5 * (_none(model, images) + _none(model, mirrored(images)))


def _shift(model, images):
    down, up = (_flip(model, shifted(images, step)) for step in (1, -1))
    return 0.5 * _flip(model, images) + 0.25 * (down + up)


PROTOCOLS = {"none": _none, "flip": _flip, "shift": _shift}


def predict_logits(model, images, tta: str = "none"):
    """The net's output before the softmax, averaged over the views of ``tta``.

    Args:
        images: Tensor or array (N, C, H, W), normalised as the net was trained.
        tta: ``"none"``: the images as they are; ``"flip"``: the mean of image and mirror image; ``"shift"``: half of that and half of
            the same of the images shifted by one pixel along the diagonal, both ways (borders reflected; airbench94's).

    Returns:
        A Tensor (N, classes) on the net's device, to which the images are brought; float32 if the net computes in 16 bits.

    Raises:
        ValueError: for an unknown ``tta``.
    """
    if tta not in PROTOCOLS:
        raise ValueError(f"tta: expected one of {', '.join(PROTOCOLS)}, got {tta!r}")
    images, first = as_tensor(images), next(model.parameters(), None)
    images = images if first is None else images.to(first.device)
    with evaluation(model):
        return Tensor.wrap(images.backend, PROTOCOLS[tta](model, images))


def predict(model, images, tta: str = "none") -> np.ndarray:
    """Probabilities (N, classes), float32 on the host: the softmax of :func:`predict_logits`, whose arguments it takes."""
    logits = predict_logits(model, images, tta)
    return softmax(logits.backend.to_numpy(logits.array))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis, in the type of ``logits``."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mirrored(images: Tensor) -> Tensor:
    """Left and right exchanged (a view)."""
    return Tensor.wrap(images.backend, images.array[..., ::-1])


def shifted(images: Tensor, step: int) -> Tensor:
    """Shifted by ``step`` pixels down and right (up and left if negative); the border that comes in is a reflection."""
    xp, array = images.backend.xp, images.array
    for axis in (2, 3):
        n, pad = array.shape[axis], [(0, 0)] * 4
        pad[axis] = (step, 0) if step > 0 else (0, -step)
        start = 0 if step > 0 else -step
        array = xp.pad(array, pad, mode="reflect")[(slice(None),) * axis + (slice(start, start + n),)]
    return Tensor.wrap(images.backend, array)
