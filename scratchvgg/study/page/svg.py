"""Figures as SVG. Colours are classes (``c1`` … fill, ``l1`` … stroke), so that the style sheet can turn them for a dark page.

Every figure has a ``<title>`` for readers that cannot see it, and scales with its box; text in it is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import formats

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 8, 26
SERIES = 6  # colours
LONGEST = 26  # characters of a bar's label


def bars(values: Sequence[float], labels: Sequence[str] | None = None, *, title: str, unit: str = "", width: int = WIDTH):
    """Horizontal bars, one a value, from zero; each is labelled (a long label is cut), and hovering says all of it and the number."""
    values = [0.0 if v is None or not math.isfinite(v) else float(v) for v in values]
    labels = list(labels) if labels is not None else [str(i) for i in range(len(values))]
    row, gutter = 16, min(150, 10 + 6 * max((len(label) for label in labels), default=0))
    most = max((abs(v) for v in values), default=0) or 1.0
    parts = []
    for number, (value, label) in enumerate(zip(values, labels, strict=True)):
        y = number * row
        text = f"{formats.number(value)}{' ' + unit if unit else ''}"
        length = (width - gutter - 70) * abs(value) / most
        parts.append(_m('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(gutter - 6, y + 12, _short(label)))
        parts.append(_m('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="11"><title>{}: {}</title></rect>').format(
            "c1" if value >= 0 else "c2", gutter, y + 3, max(length, 0.5), label, text))
        parts.append(_m('<text class="tick" x="{:.1f}" y="{}">{}</text>').format(gutter + length + 4, y + 12, text))
    return _figure(parts, title, width, max(1, len(values)) * row + 4)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def histogram(counts: Sequence[float], edges: Sequence[float], *, title: str, width: int = 180, height: int = 70, log: bool = True):
    """Columns over their bins. ``edges`` has one entry more than ``counts``. With ``log`` heights are log(1 + count): rare values stay visible."""
    heights = [math.log1p(c) if log else float(c) for c in counts]
    most, step = max(heights, default=0) or 1.0, width / max(1, len(counts))
    parts, low, high = [], edges[0], edges[-1]
    for number, (tall, n) in enumerate(zip(heights, counts, strict=True)):
        y = (height - 14) * tall / most
        parts.append(_m('<rect class="c1" x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{:.1f}"><title>{} … {}: {}</title></rect>').format(
            number * step, height - 14 - y, max(step - 0.5, 0.4), y, formats.number(edges[number]), formats.number(edges[number + 1]),
            formats.count(int(n))))
    if low < 0 < high:
        zero = width * (0 - low) / (high - low)
        parts.append(_m('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(zero, height - 14))
    parts.append(_m('<text class="tick" x="0" y="{}">{}</text>').format(height - 2, formats.number(low, 3)))
    parts.append(_m('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(width, height - 2, formats.number(high, 3)))
    return _figure(parts, title, width, height, "small")


def spark(values: Sequence[float], *, title: str, width: int = 90, height: int = 22):
    """A line without axes, to stand in a table."""
    shown = [(i, v) for i, v in enumerate(values) if v is not None and math.isfinite(v)]
    if not shown:
        return _figure([], title, width, height, "spark")
    low, high = min(v for _, v in shown), max(v for _, v in shown)
    points = " ".join(f"{1 + (width - 2) * i / max(1, len(values) - 1):.1f},{height - 2 - (height - 4) * (v - low) / ((high - low) or 1):.1f}"
                      for i, v in shown)
    return _figure([_m('<polyline class="l1" points="{}"/>').format(points)], title, width, height, "spark")


def lines(series: Sequence[dict], *, title: str, x_label: str, y_label: str, log_y: bool = False, width: int = 420, height: int = 220):
    """Curves with axes and a legend below.

    Args:
        series: ``{"name": str, "x": numbers, "y": numbers}``, each with an optional ``"dash": True``; points that are None or not finite (with
            ``log_y``: not above 0) are left out, and break the line.
        log_y: powers of ten on the vertical axis.
    """
    value = (lambda v: math.log10(v)) if log_y else float
    usable = lambda v: v is not None and math.isfinite(v) and (not log_y or v > 0)
    xs = [x for s in series for x in s["x"]]
    ys = [value(y) for s in series for y in s["y"] if usable(y)]
    if not xs or not ys:
        return _figure([_m('<text class="tick" x="{}" y="{}" text-anchor="middle">nothing to draw</text>').format(width / 2, height / 2)],
                       title, width, height)
    x0, x1, (y0, y1, ticks) = min(xs), max(xs), _log_ticks(min(ys), max(ys)) if log_y else _ticks(min(ys), max(ys))
    columns = 3 if max(len(s["name"]) for s in series) <= 15 else 2
    legend = 14 * -(-len(series) // columns)
    right, bottom = width - RIGHT, height - BOTTOM - legend
    across = lambda x: LEFT + (right - LEFT) * (x - x0) / ((x1 - x0) or 1)
    down = lambda y: bottom - (bottom - TOP) * (y - y0) / ((y1 - y0) or 1)
    parts = []
    for tick, text in ticks:
        parts.append(_m('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/><text class="tick" x="{}" y="{:.1f}" '
                        'text-anchor="end">{}</text>').format(LEFT, right, LEFT - 4, down(tick) + 3.5, text, y=down(tick)))
    for tick, text in _ticks(x0, x1)[2]:
        if x0 <= tick <= x1:
            parts.append(_m('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(across(tick), bottom + 12, text))
    for number, s in enumerate(series):
        look = f"l{number % SERIES + 1}{' dash' if s.get('dash') or number >= SERIES else ''}"
        for piece in _pieces(s["x"], s["y"], usable):
            points = " ".join(f"{across(x):.1f},{down(value(y)):.1f}" for x, y in piece)
            if len(piece) == 1:
                parts.append(_m('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="1.5"/>').format(look, across(piece[0][0]), down(value(piece[0][1]))))
            parts.append(_m('<polyline class="{}" points="{}"><title>{}</title></polyline>').format(look, points, s["name"]))
        row, column = divmod(number, columns)
        x, y = LEFT + column * (right - LEFT) / columns, height - legend + 8 + 14 * row
        parts.append(_m('<line class="{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick" x="{}" y="{}">{}</text>').format(
            look, x, x + 14, x + 18, y + 3.5, s["name"], y=y))
    parts.append(_m('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(right, bottom + 23, x_label))
    parts.append(_m('<text class="tick" x="{}" y="{}" transform="rotate(-90 10 {})" text-anchor="middle">{}</text>').format(
        10, (TOP + bottom) / 2, (TOP + bottom) / 2, y_label))
    return _figure(parts, title, width, height)


def figure(parts, title: str, width: float, height: float, css: str = ""):
    """An ``<svg>`` around markup of your own; ``title`` is read out."""
    return _figure(parts, title, width, height, css)


def _figure(parts, title, width, height, css=""):
    return _m('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img"><title>{}</title>{}</svg>').format(
        f"chart {css}".strip(), width, height, width, height, title, _m("").join(parts))


def _m(text: str):
    from markupsafe import Markup

    return Markup(text)


def _pieces(xs, ys, usable):
    """The runs of points that can be drawn."""
    pieces, piece = [], []
    for x, y in zip(xs, ys, strict=True):
        if usable(y):
            piece.append((x, y))
        elif piece:
            pieces.append(piece)
            piece = []
    return [*pieces, piece] if piece else pieces


def _ticks(low: float, high: float):
    """(lower end, upper end, [(place, text)]) of about four round numbers."""
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    raw = (high - low) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, last * step, [(i * step, formats.number(round(i * step, 12) + 0.0, 4)) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float):
    """The same for logarithms: powers of ten, at most six of them."""
    first, last = math.floor(low), math.ceil(high)
    last = max(last, first + 1)
    every = -(-(last - first) // 6)
    return first, last, [(p, f"1e{p}" if not -3 < p < 4 else f"{10.0**p:g}") for p in range(first, last + 1, every)]
