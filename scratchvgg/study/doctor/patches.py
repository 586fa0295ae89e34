"""Have labels anything to do with images? A classifier that needs no training of a net, and a permutation test.

Features: responses of filters that are patches of the images themselves, whitened (A. Coates, H. Lee, A. Ng, AISTATS 2011), rectified on both sides,
averaged over each quarter of the image and maximal over all of it. A ridge regression on half of the images classifies the other half; the same with
labels permuted says what luck does. The predictions are linear in the labels, so one factorisation serves all permutations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...autograd import from_numpy, no_grad
from ...nn import functional as F

FILTERS, SIDE, PATCHES = 48, 6, 4000
SMOOTHING = 0.1  # added to the patches' variances before whitening: weak directions are noise
THRESHOLD = 0.5
RIDGE = 0.1  # of the features' mean eigenvalue
PERMUTATIONS = 200
LARGEST = 64  # pixels a side; larger images are averaged down


class NoTest(Exception):
    """The test cannot be made; the message says why."""


@dataclass(frozen=True)
class Relation:
    """How much better than luck labels can be told from images.

    Attributes:
        accuracy: on the half that was not fitted. mean, most: of the permutations' accuracies.
        p: (1 + permutations at least as good) / (1 + permutations).
        images, tested, features, permutations: how many.
    """

    accuracy: float
    mean: float
    most: float
    p: float
    images: int
    tested: int
    features: int
    permutations: int = PERMUTATIONS


def relation(images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Relation:
    """The test on images float (N, C, H, W) and labels (N,), N at least 20.

    Raises:
        NoTest: if the images are smaller than a patch, or there is one class only.
    """
    if min(images.shape[2:]) < SIDE or len(np.unique(labels)) < 2:
        raise NoTest("the images are too small" if min(images.shape[2:]) < SIDE else "all labels are the same")
    rng = np.random.default_rng(seed)
    return permutation_test(features(_reduced(images), rng), labels, rng)


def permutation_test(features: np.ndarray, labels: np.ndarray, rng) -> Relation:
    """The test on features float64 (N, F); they are not changed. ``rng`` divides the images into halves and permutes the labels."""
    order = rng.permutation(len(labels))
    fitted, tested = np.array_split(order, 2)
    features = features - features[fitted].mean(0)
    features /= features[fitted].std(0) + 1e-6
    gram = features[fitted] @ features[fitted].T
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(fitted) + 1e-9
    predict = np.linalg.solve(gram, features[fitted] @ features[tested].T).T  # (tested, fitted): scores are predict · one-hot labels
    one_hot = np.eye(int(labels.max()) + 1)

    def accuracy(y):
        targets = one_hot[y[fitted]]
        return float(((predict @ (targets - targets.mean(0))).argmax(1) == y[tested]).mean())

    found = accuracy(labels)
    luck = np.array([accuracy(rng.permutation(labels)) for _ in range(PERMUTATIONS)])
    return Relation(found, float(luck.mean()), float(luck.max()), float((1 + (luck >= found).sum()) / (1 + PERMUTATIONS)), len(labels), len(tested),
                    features.shape[1])


def _reduced(images) -> np.ndarray:
    """Each image with mean 0 and deviation 1; averaged over squares if it is large."""
    times = max(1, min(images.shape[2:]) // LARGEST)
    n, c, h, w = images.shape
    h, w = h // times * times, w // times * times
    small = images[:, :, :h, :w].reshape(n, c, h // times, times, w // times, times).mean((3, 5), dtype=np.float32)
    small = small - small.mean((1, 2, 3), keepdims=True)
    return small / (small.std((1, 2, 3), keepdims=True) + 1e-5)


def features(x: np.ndarray, rng) -> np.ndarray:
    """float64 (N, 10 · FILTERS) of images (N, C, H, W), at least SIDE pixels a side; ``rng`` picks the patches."""
    filters = _filters(x, rng)
    parts = []
    with no_grad():
        for i in range(0, len(x), 50):
            response = F.conv2d(from_numpy(x[i : i + 50]), from_numpy(filters)).numpy()
            both = np.concatenate([np.maximum(response - THRESHOLD, 0), np.maximum(-response - THRESHOLD, 0)], 1)
            h, w = max(1, both.shape[2] // 2), max(1, both.shape[3] // 2)
            quarters = [both[:, :, a, b].mean((2, 3)) for a in (slice(0, h), slice(-h, None)) for b in (slice(0, w), slice(-w, None))]
            parts.append(np.concatenate([*quarters, both.max((2, 3))], 1))
    return np.concatenate(parts).astype(np.float64)


def _filters(x, rng) -> np.ndarray:
    """Whitened patches as filters, float32 (FILTERS, C, SIDE, SIDE)."""
    n, channels, height, width = x.shape
    picks = zip(rng.integers(0, n, PATCHES), rng.integers(0, height - SIDE + 1, PATCHES), rng.integers(0, width - SIDE + 1, PATCHES), strict=True)
    patches = np.stack([x[i, :, a : a + SIDE, b : b + SIDE].ravel() for i, a, b in picks]).astype(np.float64)
    patches -= patches.mean(1, keepdims=True)
    patches /= np.sqrt(patches.var(1, keepdims=True) + 0.01)
    patches -= patches.mean(0)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    whiten = (vectors / np.sqrt(np.maximum(values, 0) + SMOOTHING)) @ vectors.T
    chosen = patches[:FILTERS] @ whiten
    chosen /= np.linalg.norm(chosen, axis=1, keepdims=True) + 1e-9
    return (chosen @ whiten).reshape(-1, channels, SIDE, SIDE).astype(np.float32)
