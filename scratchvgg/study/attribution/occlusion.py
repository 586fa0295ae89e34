"""Occlusion: M. D. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", arXiv 1311.2901, section 4.2.

A patch of even colour is laid over the picture, place by place, and the net is asked again. No gradient is needed, and a number means what it
says: by so much the class becomes less likely without this part. A pixel's number is the mean over the patches that covered it.
"""

from __future__ import annotations

import numpy as np

from ...autograd import Tensor, inference_mode
from ...evaluate.predict import softmax
from ..errors import StudyError
from .result import Attribution, largest, show_picture
from .scope import as_picture, check_logits, find_class, numpy, undisturbed

SCORES = ("probability", "logit")


def occlusion(model, x, target=None, *, patch: int | None = None, stride: int | None = None, fill="mean", score: str = "probability",
              batch_size: int = 8, preset=None, categories=None, progress=None) -> Attribution:
    """How much less likely a class is with each part of the picture covered; ``raw`` (rows, columns) has the drop of each patch.

    Args:
        patch: side of the patch in pixels; by default a seventh of the shorter side (32 of 224).
        stride: pixels from patch to patch, by default half a patch. The last patch of a row or column ends at the border.
        fill: the patch's colour as the net sees it: ``"mean"`` of this picture's colours, a number, or one per channel (0 after the usual
            normalisation is the mean colour of the training pictures).
        score: what drops, ``"probability"`` or ``"logit"`` (the score before the softmax, which shows more where the net is sure).
        batch_size: covered pictures that go through the net at once.
        progress: called with a line of text before each batch.
        Others as :func:`~scratchvgg.study.attribution.gradient.saliency`.

    Raises:
        StudyError: also for a patch that is larger than the picture, a stride that leaves gaps, another fill or score.
    """
    if score not in SCORES or not _is_count(batch_size):
        raise StudyError(f"score, batch_size: expected one of {', '.join(SCORES)}, and 1 or more, got {score!r}, {batch_size!r}")
    with undisturbed(model, fused=True), inference_mode():
        image = as_picture(model, x)
        _, channels, height, width = image.shape
        patch = max(1, min(height, width) // 7) if patch is None else patch
        stride = max(1, patch // 2) if stride is None else stride
        if not _is_count(patch) or not _is_count(stride) or patch > min(height, width) or stride > patch:
            raise StudyError(f"patch, stride: expected 1 ≤ stride ≤ patch ≤ {min(height, width)} (the shorter side), got {patch} and {stride}")
        backend = image.backend
        colour = backend.asarray(_colour(fill, numpy(image)[0])).astype(image.array.dtype)
        plain = model(image)
        check_logits(plain)
        chosen = find_class(target, plain.shape[1], categories, numpy(plain)[0])
        before = _score(numpy(plain), chosen.index, score)[0]
        tops, lefts = _places(height, patch, stride), _places(width, patch, stride)
        places = [(top, left) for top in tops for left in lefts]
        drops = np.empty(len(places), before.dtype)
        for start in range(0, len(places), batch_size):
            if progress:
                progress(f"occlusion: {start:,} of {len(places):,} patches")
            part = places[start : start + batch_size]
            covered = backend.empty((len(part), channels, height, width), image.array.dtype)
            covered[...] = image.array
            for row, (top, left) in zip(covered, part, strict=True):
                row[:, top : top + patch, left : left + patch] = colour
            logits = model(Tensor.wrap(backend, covered))
            drops[start : start + len(part)] = before - _score(numpy(logits), chosen.index, score)
    sums, counts = np.zeros((height, width), before.dtype), np.zeros((height, width), before.dtype)
    for drop, (top, left) in zip(drops, places, strict=True):
        sums[top : top + patch, left : left + patch] += drop
        counts[top : top + patch, left : left + patch] += 1
    map = sums / counts
    picture, stretched = show_picture(numpy(image)[0], preset)
    fill = fill if isinstance(fill, str) else np.asarray(fill).tolist()
    about = f"by how much the class's {score} drops when a patch of {patch}×{patch} pixels covers the place (blue: it rises)"
    return Attribution("occlusion", map, chosen, picture, about, stretched, signed=True, top=largest(map),
                       raw=drops.reshape(len(tops), len(lefts)),
                       settings={"patch": patch, "stride": stride, "fill": fill, "score": score})


def _places(side: int, patch: int, stride: int) -> list[int]:
    places = list(range(0, side - patch + 1, stride))
    return places if places[-1] == side - patch else [*places, side - patch]


def _score(logits, index, score):
    return logits[:, index] if score == "logit" else softmax(logits)[:, index]


def _colour(fill, image) -> np.ndarray:
    """(C, 1, 1)."""
    if isinstance(fill, str) and fill == "mean":
        return image.mean((1, 2), dtype=np.float64).astype(image.dtype).reshape(-1, 1, 1)
    try:
        colour = np.asarray(fill, image.dtype)
        return np.broadcast_to(colour.reshape(-1, 1, 1) if colour.ndim else colour, (len(image), 1, 1)).copy()
    except (ValueError, TypeError):
        raise StudyError(f"fill: expected 'mean', a number, or {len(image)} of them, one per channel, got {fill!r}") from None


def _is_count(value) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1
