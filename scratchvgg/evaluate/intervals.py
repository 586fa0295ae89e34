"""How far a measured rate may be from the true one."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate: all p that a normal test at ``level`` would not reject after ``k`` successes in ``n`` trials.

    With p̂ = k / n and z the normal quantile of (1 + level) / 2:

        (p̂ + z²/2n ± z √(p̂ (1 − p̂)/n + z²/4n²)) / (1 + z²/n)

    It stays within 0..1 and holds for few trials and rates near the ends (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927, p. 209).

    Args:
        k, n: successes and trials.
        level: probability that the interval holds the true rate, between 0 and 1.

    Returns:
        (low, high), fractions; (0, 1) without trials.

    Raises:
        ValueError: unless 0 ≤ k ≤ n and 0 < level < 1.
    """
    if not 0 <= k <= n or not 0 < level < 1:
        raise ValueError(f"wilson: expected 0 <= k <= n and 0 < level < 1, got k={k}, n={n}, level={level}")
    if n == 0:
        return 0.0, 1.0
    z, rate = NormalDist().inv_cdf((1 + level) / 2), k / n
    middle, half = rate + z * z / (2 * n), z * math.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + side * half) / (1 + z * z / n) for side in (-1, 1))
    return (low if k else 0.0), (high if k < n else 1.0)
