"""Activations and gradients of every layer in one run: mean, deviation, share of zeros, dead channels, norms, histograms.

The numbers are those of :mod:`scratchvgg.train.layer_statistics`, of the arrays that the engine used in the trace.
"""

from __future__ import annotations

from ..train import layer_statistics as look
from . import verdicts
from .errors import StudyError
from .page import formats
from .shown import Shown
from .tables import table
from .trace import Trace

NOTES = (
    "activation: what the layer puts out; gradient: of the loss (without a target: of the largest logits' sum) with respect to that.",
    "zeros: share of exact zeros; dead: share of the channels that are zero in all images and places; norm: 2-norm of all values together.",
    f"Histograms: {look.BINS} bins from the least to the greatest value, heights by the logarithm of the count, over at most {look.SAMPLE:,} values "
    "spread evenly over the array.",
)


class LayerStatistics(Shown):
    """What :func:`of_trace` found.

    Attributes:
        layers: in the order of execution, ``{"name", "type", "shape", "activation", "gradient", "weight", "weight_gradient"}``; the middle two
            as :func:`scratchvgg.train.layer_statistics.statistics` gives them, the last two ``{"mean", "std", "norm"}`` and ``{"norm"}``; None
            where there is none.
        verdicts: on them, the worst first.
    """

    title = "Activations and gradients"

    def __init__(self, layers: list[dict]):
        self.layers = layers
        self.verdicts = verdicts.ordered(verdicts.non_finite(layers) + verdicts.of_layers(layers))

    def __getitem__(self, name: str) -> dict:
        """The numbers of a layer.

        Raises:
            KeyError: for a layer that has none.
        """
        found = [layer for layer in self.layers if layer["name"] == name]
        if not found:
            raise KeyError(f"no statistics of a layer {name!r}; there are {', '.join(layer['name'] for layer in self.layers)}")
        return found[0]

    def to_dict(self) -> dict:
        """``{"layers", "verdicts"}``."""
        return {"layers": self.layers, "verdicts": [verdict.to_dict() for verdict in self.verdicts]}

    def rows(self) -> list[list[str]]:
        """Cells of the table, one row a layer: name, type, activation's mean, std, least, greatest, zeros, dead; gradient's mean, std, norm,
        zeros."""
        rows = []
        for layer in self.layers:
            a, g = layer["activation"], layer["gradient"] or {}
            rows.append([
                layer["name"], layer["type"], *(formats.number(a[key], 3) for key in ("mean", "std", "min", "max")),
                formats.percent(a["zeros"]), formats.percent(a["dead_channels"]),
                *(formats.number(g.get(key), 3) for key in ("mean", "std", "norm")), formats.percent(g.get("zeros"))])
        return rows

    def __str__(self):
        heads = ["layer", "type", "mean", "std", "least", "greatest", "zeros", "dead", "grad mean", "grad std", "grad norm", "zeros"]
        return f"{table(self.rows(), heads, left=2)}\n\n{verdicts.text_of(self.verdicts)}"

    def to_html(self):
        """Verdicts, and a table with histograms."""
        from . import layer_figures
        from .page import render

        return render("sections/statistics.html", it=self, rows=self.rows(), columns=layer_figures.columns, notes=NOTES)


def of_trace(trace: Trace) -> LayerStatistics:
    """The statistics of each leaf module that put out a floating array: of its first run, if it ran more than once.

    Args:
        trace: made with ``arrays=True``; with ``backward=True`` there are gradients too.

    Raises:
        StudyError: if the trace keeps no arrays.
    """
    if trace.calls and not any(call.results for call in trace.calls):
        raise StudyError("statistics: the trace keeps no arrays; make it with trace(…, arrays=True)")
    backend = trace.output.backend
    layers = []
    for name, module in trace.modules.items():
        calls = trace.of_layer(name)
        if list(module.children()) or not calls:
            continue
        call = calls[0]
        array, kind = call.results[0], type(module).__name__
        if not call.outputs[0][1].startswith(("float", "bfloat")) or array.ndim < 2:
            continue
        arrived = call.gradients[0] if call.gradients and call.gradients[0] is not None else None
        weight = getattr(module, "weight", None)
        norm = trace.leaf_gradients.get(f"{name}.weight" if name else "weight")
        layers.append({
            "name": name or kind, "type": kind, "shape": list(array.shape),
            "activation": look.statistics(backend, array, True, look.BOUNDS.get(kind)),
            "gradient": None if arrived is None else look.statistics(backend, arrived, True),
            "weight": None if weight is None else look.moments(backend, weight.array),
            "weight_gradient": None if norm is None else {"norm": look.significant(norm)},
        })
    return LayerStatistics(layers)
