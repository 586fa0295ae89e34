"""The tape as SVG: a box for each operation, downward; parameters at the side of the operation that reads them."""

from __future__ import annotations

import itertools

from .page.formats import ms, number, shape, size
from .tape_layout import arrange

BOX, HEIGHT, SIDE, BETWEEN, GAP, MARGIN = 252.0, 56.0, 132.0, 16.0, 22.0, 6.0
LINE = 15.0  # between lines of text
KINDS = {"conv": 1, "linear": 5, "matmul": 5, "norm": 4, "relu": 3, "pool": 2}
"""Part of an operation's name → colour; the first that fits."""


def colour(name: str) -> int:
    """The number of the colour of an operation."""
    return next((number for part, number in KINDS.items() if part in name.lower()), 6)


def draw(graph):
    """Markup of a :class:`~scratchvgg.study.tape.TapeGraph`. Every operation is a ``<g data-node="n12">`` of class ``tape-node``.

    Raises:
        ImportError: naming the extra, without jinja2.
    """
    from .page import svg

    readers: dict[str, list[str]] = {}
    for source, target in graph.edges:
        readers.setdefault(source, []).append(target)
    beside: dict[str, list[str]] = {}  # operation → leaves drawn at its side
    boxes = [node.id for node in graph.operations]
    for node in graph.nodes.values():
        if node.kind == "operation":
            continue
        if node.kind == "input" and node.name != "target":
            boxes.insert(0, node.id)
        else:
            for reader in dict.fromkeys(readers.get(node.id, ())):
                beside.setdefault(reader, []).append(node.id)
    shown = set(boxes)
    lines = [edge for edge in dict.fromkeys(graph.edges) if edge[0] in shown]
    layout = arrange(boxes, lines, {box: (BOX / 2, BOX / 2 + (BETWEEN + SIDE if box in beside else 0)) for box in boxes})
    tops, y = _tops(layout, beside)
    shift = MARGIN - layout.left
    parts = [_edge(layout, edge, tops, shift) for edge in lines]
    for box in boxes:
        x, rank = layout.places[box]
        parts.append(_box(graph.nodes[box], x + shift, tops[rank]))
        if box in beside:
            parts.append(_leaves([graph.nodes[leaf] for leaf in beside[box]], readers, x + shift + BOX / 2, tops[rank]))
    width = round(layout.right + shift + MARGIN)
    return svg.figure(parts, "The operations of the run, from the input down to the result", width, round(y), "fixed tape")


def _tops(layout, beside):
    """(y of each rank's boxes, height of the whole)."""
    tall = [HEIGHT] * layout.ranks
    for node, leaves in beside.items():
        rank = layout.places[node][1]
        tall[rank] = max(tall[rank], 2 * LINE * len(leaves))
    tops, y = [], MARGIN
    for height in tall:
        tops.append(y)
        y += height + GAP
    return tops, y - GAP + MARGIN


def _box(node, x, y):
    words = [shape(node.shape)]
    if node.kept_bytes:
        words.append(f"keeps {size(node.kept_bytes)}")
    times = [f"{arrow} {ms(seconds)} ms" for arrow, seconds in (("↓", node.forward_seconds), ("↑", node.backward_seconds)) if seconds is not None]
    if node.gradient_norm is not None:
        times.append(f"‖g‖ {number(node.gradient_norm, 3)}")
    kept = "; ".join(f"{k.name} {shape(k.shape)}{'' if k.counted else ' (held anyway)'}" for k in node.kept)
    about = f"{node.name}{' of ' + node.layer if node.layer else ''}: {shape(node.shape)} {node.dtype}{'; keeps ' + kept if kept else ''}"
    return _m(
        '<g class="tape-node" data-node="{id}"><title>{about}</title><rect class="tape-box" x="{x:.1f}" y="{y:.1f}" width="{w}" height="{h}" rx="5"/>'
        '<rect class="c{colour}" x="{x:.1f}" y="{y:.1f}" width="5" height="{h}" rx="2"/>'
        '<text x="{tx:.1f}" y="{y1:.1f}"><tspan class="tape-name">{name}</tspan> <tspan class="tape-layer">{layer}</tspan></text>'
        '<text class="tick" x="{tx:.1f}" y="{y2:.1f}">{words}</text><text class="tick" x="{tx:.1f}" y="{y3:.1f}">{times}</text></g>').format(
        id=node.id, about=about, x=x - BOX / 2, y=y, w=BOX, h=HEIGHT, tx=x - BOX / 2 + 13, colour=colour(node.name),
        y1=y + 18, y2=y + 34, y3=y + 49, name=node.name, layer=node.layer, words=" · ".join(words), times=" · ".join(times))


def _leaves(leaves, readers, x, y):
    """Names and shapes of parameters at the right side of a box."""
    left, parts = x + BETWEEN, []
    for number_, leaf in enumerate(leaves):
        top = y + 2 * LINE * number_
        norm = "" if leaf.gradient_norm is None else f"; its gradient has the norm {number(leaf.gradient_norm)}"
        shared = f"; read {len(readers[leaf.id])} times" if len(readers[leaf.id]) > 1 else ""
        parts.append(_m(
            '<g class="tape-leaf" data-node="{id}"><title>{about}</title><path class="tape-edge" d="M{x1:.1f} {ym:.1f}H{x2:.1f}"/>'
            '<text x="{tx:.1f}" y="{y1:.1f}">{name}</text><text class="tick" x="{tx:.1f}" y="{y2:.1f}">{shape}</text></g>').format(
            id=leaf.id, about=f"{leaf.name} {shape(leaf.shape)} {leaf.dtype}{norm}{shared}", x1=left - 3, x2=x, ym=top + 14, tx=left, y1=top + 12,
            y2=top + 25, name=leaf.name.rpartition(".")[2], shape=shape(leaf.shape)))
    return _m("").join(parts)


def _edge(layout, edge, tops, shift):
    """A curve from the bottom of a box to the top of another, through its places between."""
    (x0, rank0), (x1, rank1) = layout.places[edge[0]], layout.places[edge[1]]
    points = [(x0 + shift, tops[rank0] + HEIGHT)]
    for level, x in enumerate(layout.bends.get(edge, ()), rank0 + 1):
        points += [(x + shift, tops[level]), (x + shift, tops[level] + HEIGHT)]
    points.append((x1 + shift, tops[rank1]))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (a, b), (c, d) in itertools.pairwise(points):
        middle = (b + d) / 2
        path += f"V{d:.1f}" if abs(a - c) < 0.05 else f"C{a:.1f} {middle:.1f} {c:.1f} {middle:.1f} {c:.1f} {d:.1f}"
    return _m('<path class="tape-edge" data-from="{}" data-to="{}" d="{}"/>').format(*edge, path)


def _m(text: str):
    from markupsafe import Markup

    return Markup(text)
