"""Small figures of layers: a histogram that fits into a table's cell, and a map of layers × steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .page import formats, svg

COLUMNS = 60  # of a map: more steps than that are thinned out
_WIDTH, _ROW = 480, 13  # pixels: of all columns together, if they are many; of a row


def columns(histogram: dict, *, title: str, width: int = 96, height: int = 26):
    """A histogram (``{"low", "high", "counts"}``) as one outline; heights are log(1 + count): rare values stay visible. A line stands at 0."""
    heights = [math.log1p(count) for count in histogram["counts"]]
    most, step = max(heights) or 1.0, width / len(heights)
    path = "".join(f"V{height - (height - 1) * tall / most:.1f}H{step * (i + 1):.4g}" for i, tall in enumerate(heights))
    parts = [_m('<path class="c1" d="M0 {0}{1}V{0}Z"/>').format(height, _m(path))]
    low, high = histogram["low"], histogram["high"]
    if low < 0 < high:
        parts.append(_m('<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(-width * low / (high - low), height))
    return svg.figure(parts, f"{title}: {formats.number(low, 3)} to {formats.number(high, 3)}", width, height, "small")


def heat_map(names: Sequence[str], steps: Sequence[int], rows: Sequence[Sequence[float | None]], *, title: str, log: bool = False,
             unit: str = "", limits: tuple[float, float] | None = None):
    """Colours of a number by layer (downwards) and step (to the right): dark is little, light is much; a gap is left where there is no number.

    Args:
        names: of the layers. steps: of the columns; at most :data:`COLUMNS` are drawn, evenly chosen, with the first and the last.
        rows: per layer, a number for each step.
        log: colours by the logarithm (numbers that are not above 0 are drawn as the least).
        limits: of the colours; by default the least and the greatest number.
    """
    from . import colours

    chosen = range(len(steps)) if len(steps) <= COLUMNS else sorted({round(i * (len(steps) - 1) / (COLUMNS - 1)) for i in range(COLUMNS)})
    value = (lambda v: math.log10(v) if v > 0 else -math.inf) if log else float
    shown = [v for row in rows for v in row if v is not None]
    known = [value(v) for v in shown if math.isfinite(value(v))]
    if not known:
        return svg.figure([_m('<text class="tick" x="0" y="12">nothing to draw</text>')], title, 200, 16)
    low, high = (value(limit) for limit in limits) if limits else (min(known), max(known))
    cell = min(_WIDTH // COLUMNS * 3, _WIDTH // len(chosen))
    gutter = 12 + 6.2 * max(map(len, names))
    table, parts = colours.heat(), []
    for place, (name, row) in enumerate(zip(names, rows, strict=True)):
        y = place * _ROW
        parts.append(_m('<text class="tick" x="{:.0f}" y="{}" text-anchor="end">{}</text>').format(gutter - 6, y + 10, name))
        for column, index in enumerate(chosen):
            if row[index] is None:
                continue
            share = min(1.0, max(0.0, (value(row[index]) - low) / ((high - low) or 1)))
            red, green, blue = (int(c) for c in table[round(share * (len(table) - 1))])
            parts.append(_m('<rect x="{:.0f}" y="{}" width="{}" height="{}" fill="#{:02x}{:02x}{:02x}"><title>{}</title></rect>').format(
                gutter + column * cell, y, cell, _ROW - 1, red, green, blue, f"{name}, step {steps[index]}: {formats.number(row[index], 3)}{unit}"))
    bottom, right = len(names) * _ROW, gutter + len(chosen) * cell
    parts.append(_m('<text class="tick" x="{:.0f}" y="{}">step {}</text><text class="tick" x="{:.0f}" y="{}" text-anchor="end">{}</text>').format(
        gutter, bottom + 12, steps[0], right, bottom + 12, formats.count(steps[-1])))
    parts.append(_key(gutter, bottom + 20, low, high, log, unit, table))
    return svg.figure(parts, title, max(right, gutter + 330) + 4, bottom + 34, "fixed" if len(chosen) > 20 else "")


def _key(x, y, low, high, log, unit, table):
    cells = [_m('<rect x="{:.1f}" y="{}" width="6.2" height="8" fill="#{:02x}{:02x}{:02x}"/>').format(x + 6 * i, y, *map(int, table[i * 255 // 15]))
             for i in range(16)]
    ends = [formats.number(10.0**end if log else end, 3) + unit for end in (low, high)]
    text = _m('<text class="tick" x="{:.0f}" y="{}">{} … {}{}</text>').format(x + 102, y + 8, *ends, ", by the logarithm" if log else "")
    return _m("").join([*cells, text])


def _m(text: str):
    from markupsafe import Markup

    return Markup(text)
