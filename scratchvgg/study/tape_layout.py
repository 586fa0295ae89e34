"""Places for the boxes of a graph that flows downward (K. Sugiyama, S. Tagawa, M. Toda, IEEE Trans. SMC 11, 1981, in its simplest form).

1. A box stands one rank below the lowest box that it reads.
2. An edge over several ranks gets a place in each rank between, so that it runs around the boxes.
3. Boxes of a rank are put in the order of the mean place of their neighbours, rank by rank, down and up; the order with the fewest crossings stays.
4. Each box moves to the mean of its neighbours as far as the distances allow (least squares: pool adjacent violators).

A chain comes out as a straight line.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SWEEPS = 8
THREAD = 12.0  # width of an edge that passes a rank


@dataclass(frozen=True)
class Layout:
    """Where things are.

    Attributes:
        places: node → (x of its anchor, rank). bends: edge → x at each rank between its ends.
        left, right: the outermost x that is taken. ranks: how many there are.
    """

    places: dict[str, tuple[float, int]]
    bends: dict[tuple[str, str], list[float]]
    left: float
    right: float
    ranks: int


def arrange(nodes: Sequence[str], edges: Sequence[tuple[str, str]], widths: Mapping[str, tuple[float, float]], gap: float = 24.0) -> Layout:
    """Find places.

    Args:
        nodes: names in an order in which every edge leads forward.
        edges: (from, to).
        widths: name → (left, right) of its anchor.
        gap: between neighbours.
    """
    edges = list(dict.fromkeys(edges))
    rank: dict[str, int] = {}
    above: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        above[target].append(source)
    for node in nodes:
        rank[node] = max((rank[other] + 1 for other in above[node]), default=0)
    for node in reversed(nodes):  # what nothing precedes stands right above its first reader
        if not above[node]:
            rank[node] = max(0, min((rank[target] for source, target in edges if source == node), default=1) - 1)
    rows: list[list] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in nodes:
        rows[rank[node]].append(node)
    up, down, threads = {node: [] for node in nodes}, {node: [] for node in nodes}, {}
    for source, target in edges:
        chain = [source, *((source, target, level) for level in range(rank[source] + 1, rank[target])), target]
        threads[source, target] = chain[1:-1]
        for level, thread in enumerate(chain[1:-1], rank[source] + 1):
            rows[level].append(thread)
            up[thread], down[thread] = [], []
        for first, second in itertools.pairwise(chain):
            down[first].append(second)
            up[second].append(first)
    rows = _ordered(rows, up, down)
    sides = {item: widths[item] if isinstance(item, str) else (THREAD / 2, THREAD / 2) for row in rows for item in row}
    x = _spread(rows, up, down, sides, gap)
    left = min((x[item] - sides[item][0] for item in x), default=0.0)
    right = max((x[item] + sides[item][1] for item in x), default=0.0)
    return Layout({node: (x[node], rank[node]) for node in nodes}, {edge: [x[thread] for thread in chain] for edge, chain in threads.items()}, left,
                  right, len(rows))


def _ordered(rows, up, down):
    best, fewest = [list(row) for row in rows], _crossings(rows, down)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        near, walk = (up, range(1, len(rows))) if sweep % 2 == 0 else (down, range(len(rows) - 2, -1, -1))
        place = {item: i for row in rows for i, item in enumerate(row)}
        for level in walk:
            mean = {item: sum(place[o] for o in near[item]) / len(near[item]) if near[item] else place[item] for item in rows[level]}
            rows[level] = sorted(rows[level], key=mean.__getitem__)
            place.update((item, i) for i, item in enumerate(rows[level]))
        crossings = _crossings(rows, down)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(rows, down) -> int:
    total = 0
    for row, below in itertools.pairwise(rows):
        place = {item: i for i, item in enumerate(below)}
        ends = [place[other] for item in row for other in sorted(down[item], key=place.__getitem__)]
        total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return total


def _spread(rows, up, down, sides, gap):
    x, offsets = {}, []
    for row in rows:
        at, places = 0.0, []
        for i, item in enumerate(row):
            at += sides[row[i - 1]][1] + gap + sides[item][0] if i else 0.0
            places.append(at)
        offsets.append(places)
        x.update(zip(row, (place - (places[-1] if places else 0.0) / 2 for place in places), strict=True))
    for sweep in range(2 * SWEEPS):
        near, walk = (up, range(len(rows))) if sweep % 2 == 0 else (down, range(len(rows) - 1, -1, -1))
        for level in walk:
            wished = [sum(x[o] for o in near[item]) / len(near[item]) if near[item] else x[item] for item in rows[level]]
            x.update(zip(rows[level], _apart(wished, offsets[level]), strict=True))
    return x


def _apart(wished: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """The places nearest to the wished ones (least squares) that are at least as far apart as ``offsets``."""
    blocks: list[list[float]] = []  # mean, count of a run that is pushed together
    for value in (w - o for w, o in zip(wished, offsets, strict=True)):
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, m), (b, n) = blocks[-2:]
            blocks[-2:] = [[(a * m + b * n) / (m + n), m + n]]
    means = [mean for mean, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
