"""How alike two maps are: by the order of their pixels, and by their local structure."""

from __future__ import annotations

import numpy as np

WINDOW = 7  # pixels


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of the ranks of all pixels, ties sharing their mean rank. −1 to 1; NaN if one of the maps is even.

    Raises:
        ValueError: for different shapes.
    """
    if a.shape != b.shape:
        raise ValueError(f"rank_correlation: expected equal shapes, got {a.shape} and {b.shape}")
    x, y = (r - r.mean() for r in (_ranks(a), _ranks(b)))
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(np.asarray(values, np.float64).ravel(), return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place.ravel()]


def ssim(a: np.ndarray, b: np.ndarray, window: int = WINDOW) -> float:
    """Structural similarity of two maps (H, W) with values in 0…1: the mean over all windows (even, ``window`` pixels a side) of

        (2 μa μb + c₁) (2 σab + c₂) / ((μa² + μb² + c₁) (σa² + σb² + c₂)),    c₁ = 0.01², c₂ = 0.03²

    (Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004). 1 for equal maps.

    Raises:
        ValueError: for different shapes.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"ssim: expected two maps (H, W) of one shape, got {a.shape} and {b.shape}")
    a, b, window = a.astype(np.float64), b.astype(np.float64), min(window, *a.shape)
    mean_a, mean_b = _means(a, window), _means(b, window)
    var_a, var_b = _means(a * a, window) - mean_a**2, _means(b * b, window) - mean_b**2
    both, c1, c2 = _means(a * b, window) - mean_a * mean_b, 0.01**2, 0.03**2
    return float(np.mean((2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def _means(values: np.ndarray, window: int) -> np.ndarray:
    """Of each window that lies inside: (H − w + 1, W − w + 1)."""
    return np.lib.stride_tricks.sliding_window_view(values, (window, window)).mean((2, 3))


def edges(picture: np.ndarray) -> np.ndarray:
    """The magnitude of Sobel's gradient of a picture uint8 (H, W, 3) in grey, float64 (H, W): a map that knows no net at all."""
    grey = np.pad(picture.astype(np.float64).mean(2), 1, mode="edge")
    across, down = grey[:, 2:] - grey[:, :-2], grey[2:] - grey[:-2]
    return np.hypot(across[:-2] + 2 * across[1:-1] + across[2:], down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:])
