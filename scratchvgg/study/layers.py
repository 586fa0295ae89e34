"""The layer table: what each layer makes, keeps, costs and sees, and how near to this machine's peaks it runs.

Everything comes from a trace of a run that was recorded for backward: shapes, the arrays that the tape keeps, the scratch memory that was asked for,
times. :data:`CONVENTIONS` says how things are counted; they stand under every table.
"""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from ..array.dtypes import as_dtype
from ..autograd import Tensor
from ..nn import Module
from ..nn import functional as F
from ..weights.atomic import atomic_write
from . import receptive, timings, visits
from .page.formats import count, ms, shape, size
from .peaks import Peaks, device_peaks
from .shown import Shown
from .tables import table as text_table
from .timings import Spread, Timings
from .trace import Call, Trace
from .trace import trace as record

CONVENTIONS = (
    "MACs: multiply-accumulates of convolutions and linear layers, for the whole batch; zeros of the padding count, bias additions stand apart.",
    "kept: bytes held until backward because of this layer (ReLU's output, pooling's winners, dropout's mask, normalisation's statistics); "
    "what a parameter, the image or an earlier layer holds already is not counted again.",
    "scratch: largest block of each kind of working memory, over all threads; it is used again by the next layer.",
    "field, stride: receptive field and effective stride in pixels of the image, padding included; linear layers as convolutions over the whole map; "
    "– where it is undefined.",
    "FLOP/B: 2 · MACs over the bytes of operands, weights and results, each moved once.",
)
NOISE = 0.1
TIMES = (
    "layers run one by one for these times, unfused, device synchronised; median of {runs} runs and (quartiles), the first run left out.",
    "% GEMM, % copy: rate of arithmetic and of those bytes, against a large matrix product ({gemm:.0f} GFLOP/s {dtype}) and a large copy "
    "({copy:.1f} GB/s), both measured here {where}; above 100 % the cache helped, or Winograd spared multiplications.",
    "bound: what the roofline allows less of, arithmetic where a layer does more than {ridge:.1f} FLOP a byte, memory below.",
)


@dataclass(frozen=True)
class Row:
    """One layer, each time it is called. Bytes and seconds are of the whole batch.

    Attributes:
        name, type: dotted name and class; of an operation outside of the leaves, the name of what called it and the operation's.
        output_shape: with the batch; None if the layer did not return a tensor.
        parameters: numbers it owns, counted where they are first used.
        macs, bias_adds, kept_bytes, workspace_bytes, intensity: see :data:`CONVENTIONS`. None: unknown, undefined.
        moved_bytes: of operands, weights and results.
        receptive_field, effective_stride: (height, width) in pixels, or None.
        forward, backward: seconds; None if it was not timed.
        backward_flops: 2 · MACs of the gradients that were computed.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int
    macs: int
    bias_adds: int
    kept_bytes: int
    workspace_bytes: int | None
    receptive_field: tuple[int, int] | None
    effective_stride: tuple[int, int] | None
    moved_bytes: int
    backward_flops: int
    forward: Spread | None = None
    backward: Spread | None = None

    @property
    def intensity(self) -> float | None:
        """FLOP a byte; None for a layer that multiplies nothing."""
        return 2 * self.macs / self.moved_bytes if self.macs else None

    @property
    def gflops(self) -> float | None:
        """2 · MACs a nanosecond, forward."""
        return 2e-9 * self.macs / self.forward.median if self.macs and self.forward and self.forward.median else None

    @property
    def backward_gflops(self) -> float | None:
        """The same of backward."""
        return 1e-9 * self.backward_flops / self.backward.median if self.backward_flops and self.backward and self.backward.median else None

    def to_dict(self, peaks: Peaks | None = None) -> dict:
        """Plain values, those of the times too if there are any; with ``peaks``, shares of them."""
        row = {
            "name": self.name, "type": self.type, "output_shape": None if self.output_shape is None else list(self.output_shape),
            "parameters": self.parameters, "macs": self.macs, "bias_adds": self.bias_adds, "kept_bytes": self.kept_bytes,
            "workspace_bytes": self.workspace_bytes, "receptive_field": _square(self.receptive_field),
            "effective_stride": _square(self.effective_stride), "moved_bytes": self.moved_bytes, "arithmetic_intensity": self.intensity,
        }
        if self.forward is not None:
            rate = self.moved_bytes / self.forward.median * 1e-9 if self.forward.median else None
            row |= {
                "forward_seconds": self.forward.median, "forward_quartiles": [self.forward.low, self.forward.high], "gflops": self.gflops,
                "gemm_share": None if self.gflops is None or peaks is None else self.gflops / peaks.gemm,
                "copy_share": None if rate is None or peaks is None else rate / peaks.copy,
                "bound": None if not self.moved_bytes or peaks is None else "compute" if (self.intensity or 0) > peaks.ridge else "memory",
            }
            if self.backward is not None:
                row |= {"backward_seconds": self.backward.median, "backward_quartiles": [self.backward.low, self.backward.high],
                        "backward_gflops": self.backward_gflops,
                        "backward_gemm_share": None if self.backward_gflops is None or peaks is None else self.backward_gflops / peaks.gemm}
        return row


@dataclass(frozen=True)
class LayerTable(Shown):
    """The table of a net.

    Attributes:
        rows: in the order of execution.
        totals: ``parameters trainable parameter_bytes macs bias_adds kept_bytes workspace_bytes`` (of the last: the largest).
        input_shape: (N, C, H, W). mode: ``"training"`` or ``"evaluation"``: what the run was made in.
        peaks: of the device, if there are times and it has some. times: all samples. notes: lines that hold for this table only.
    """

    rows: list[Row]
    totals: dict
    input_shape: tuple[int, ...]
    mode: str
    peaks: Peaks | None = None
    times: Timings | None = None
    notes: list[str] = field(default_factory=list)
    title = "Layers"

    @property
    def footer(self) -> list[str]:
        """How things are counted."""
        lines = [f"one run in {self.mode} mode; layers unfused (a fused run keeps less and is faster)", *CONVENTIONS]
        if self.times is not None:
            runs = next((row.forward.runs for row in self.rows if row.forward), 0)
            lines += [TIMES[0].format(runs=runs)]
            if self.peaks is not None:
                lines += [line.format(gemm=self.peaks.gemm, copy=self.peaks.copy, dtype=self.peaks.dtype, ridge=self.peaks.ridge,
                                      where=f"on {self.peaks.threads} threads" if self.peaks.threads else "on this GPU") for line in TIMES[1:]]
            lines += self._whole()
        return lines + self.notes

    def _whole(self):
        t, sums = self.times, self.totals
        busy = [] if t is None or (t.others or 0) < NOISE else [
            f"other processes took {100 * t.others:.0f} % of the cores meanwhile: THE TIMES AND THE PEAKS ARE NOT CLEAN"]
        if t is None or t.whole_forward is None:
            return busy
        line = (f"the whole net, layers fused: forward without recording {_spread(t.whole_forward)} ms "
                f"(the rows, recorded, add up to {ms(sums['forward_seconds'])})")
        if t.whole_step is not None:
            both = sums["forward_seconds"] + sums["backward_seconds"]
            line += f"; forward and backward {_spread(t.whole_step)} ms (the rows: {ms(both)})"
        return [line, *busy]

    def to_dict(self) -> dict:
        """``{"input_shape", "mode", "layers", "totals", "machine", "whole", "conventions"}``."""
        t = self.times
        return {
            "input_shape": list(self.input_shape), "mode": self.mode, "layers": [row.to_dict(self.peaks) for row in self.rows], "totals": self.totals,
            "machine": None if self.peaks is None else asdict(self.peaks) | {"ridge": self.peaks.ridge},
            "whole": None if t is None or t.whole_forward is None else {
                "forward": asdict(t.whole_forward), "step": None if t.whole_step is None else asdict(t.whole_step)},
            "conventions": self.footer,
        }

    def __str__(self):
        text = text_table([cells(row) for row in self.rows], HEADERS, left=3)
        if self.times is not None:
            text += "\n\n" + text_table([measured_cells(row, self.peaks) for row in self.rows if row.forward], MEASURED_HEADERS, left=2)
        total = self.totals
        text += (f"\n\n{total['parameters']:,} parameters ({total['trainable']:,} trainable, {size(total['parameter_bytes'])}), "
                 f"{total['macs']:,} MACs ({total['macs'] / 1e9:.3f} G) and {total['bias_adds']:,} bias additions\n"
                 f"kept for backward {size(total['kept_bytes'])}, largest scratch {size(total['workspace_bytes'])}\n\n")
        return text + "\n".join(textwrap.fill(line, 140, initial_indent="- ", subsequent_indent="  ") for line in self.footer)

    def to_html(self):
        from . import page

        return page.render("sections/layers.html", it=self, headers=HEADERS, measured_headers=MEASURED_HEADERS,
                           rows=[cells(row) for row in self.rows],
                           measured=[measured_cells(row, self.peaks) for row in self.rows if row.forward] if self.times else [])

    def to_csv(self) -> str:
        """A line a layer; tuples as ``64x56x56``."""
        rows = [{key: "x".join(map(str, value)) if isinstance(value, list) else value for key, value in row.to_dict(self.peaks).items()}
                for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def save_csv(self, path) -> None:
        """Write :meth:`to_csv` to a file, atomically.

        Raises:
            OSError: if the folder cannot be written to.
        """
        with atomic_write(path, "w") as file:
            file.write(self.to_csv())


HEADERS = ["name", "type", "output", "parameters", "MACs", "bias adds", "kept", "scratch", "field", "stride", "FLOP/B"]
MEASURED_HEADERS = ["name", "type", "forward ms", "(quartiles)", "GFLOP/s", "% GEMM", "% copy", "bound", "backward ms", "(quartiles)", "GFLOP/s",
                    "% GEMM"]


def cells(row: Row) -> list[str]:
    """A row as text, under :data:`HEADERS`."""
    intensity = "–" if row.intensity is None else f"{row.intensity:.1f}"
    return [row.name, row.type, shape(row.output_shape), count(row.parameters), count(row.macs), count(row.bias_adds), size(row.kept_bytes),
            size(row.workspace_bytes), _side(row.receptive_field), _side(row.effective_stride), intensity]


def measured_cells(row: Row, peaks: Peaks | None) -> list[str]:
    """The times of a row as text, under :data:`MEASURED_HEADERS`."""
    values = row.to_dict(peaks)

    def number(key, scale=1.0):
        return "–" if values.get(key) is None else f"{scale * values[key]:.0f}"

    def between(spread):
        return "–" if spread is None else f"({ms(spread.low)}–{ms(spread.high)})"

    return [row.name, row.type, ms(row.forward.median), between(row.forward), number("gflops"), number("gemm_share", 100), number("copy_share", 100),
            values["bound"] or "–", ms(row.backward.median) if row.backward else "–", between(row.backward), number("backward_gflops"),
            number("backward_gemm_share", 100)]


def _spread(spread):
    return f"{ms(spread.median)} ({ms(spread.low)}–{ms(spread.high)})"


def _square(sides):
    return None if sides is None else sides[0] if sides[0] == sides[1] else list(sides)


def _side(sides):
    return "–" if sides is None else str(sides[0]) if sides[0] == sides[1] else shape(sides)


# ---- making one ------------------------------------------------------------------------------------------------------------


def table(model: Module, x: Tensor, target: Tensor | None = None, *, measure: bool = False, backward: bool = False, repeats: int = 5,
          loss: Callable = F.cross_entropy, progress: Callable[[str], None] = lambda text: None) -> LayerTable:
    """The layer table of a run of ``model`` on ``x``; the model is left as it was.

    Args:
        model: in the mode that is meant; dropout has a mask in training only.
        x: (N, C, H, W) on the model's device.
        target, loss: of the backward pass, see :func:`~scratchvgg.study.trace.trace`.
        measure: time it, ``repeats`` times, against the device's peaks. backward: that pass too.
        progress: told what is going on.

    Raises:
        RuntimeError: what the net raises, for instance if the image is too small.
    """
    with visits.watch(model) as watched:
        run = record(model, x, target, record=True, loss=loss)
    if not measure:
        return of_trace(run, watched=watched)
    run, times = timings.measure(model, x, target, backward=backward, repeats=repeats, loss=loss, progress=progress)
    return of_trace(run, times, watched=watched)


def of_trace(trace: Trace, timings: Timings | None = None, *, watched: visits.Watched | None = None, peaks: Peaks | None = None) -> LayerTable:
    """The table of a trace that was made with ``record`` or ``backward``; nothing is run.

    Args:
        timings: of :func:`scratchvgg.study.timings.measure`, for times with a spread; without them the trace's own times are not shown.
        watched: what :func:`scratchvgg.study.visits.watch` saw beside the trace; without it visits are told from the operations.
        peaks: of the device, for shares of them; measured if there are timings (of the emulator there are none).
    """
    if timings is not None and peaks is None:
        peaks = device_peaks(trace.output.backend, trace.output.dtype.name)
    source = next((s for call in trace.calls for s in call.sources if s.name == "input"), None)
    return assemble(trace.model, trace.calls, trace.modules, visits.of_trace(trace, watched), () if source is None else source.shape, timings, peaks)


def assemble(model: Module, calls: list[Call], modules: dict, visited: list[visits.Visit], input_shape, times: Timings | None = None,
             peaks: Peaks | None = None, notes=()) -> LayerTable:
    """The table of calls and the visits that they belong to."""
    fields, seen, rows = receptive.of_calls(calls, modules), set(), []
    for visit in visited:
        rows.append(_row(visit, [calls[i] for i in visit.calls], [fields[i] for i in visit.calls], _own(visit, modules, seen), times))
        if not visit.calls:  # it passes its input on, and with it the field
            rows[-1] = _passed_on(rows)
    parameters = list(model.parameters())
    totals = {
        "parameters": sum(p.numel() for p in parameters), "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "parameter_bytes": sum(p.nbytes for p in parameters), **{key: sum(getattr(r, key) for r in rows) for key in ("macs", "bias_adds")},
        "kept_bytes": sum(call.kept_bytes for call in calls),
        "workspace_bytes": None if any(r.workspace_bytes is None for r in rows) else max((r.workspace_bytes for r in rows), default=0),
    }
    if times is not None:
        for which in ("forward", "backward"):
            totals[f"{which}_seconds"] = sum(getattr(r, which).median for r in rows if getattr(r, which))
    return LayerTable(rows, totals, tuple(input_shape), "training" if model.training else "evaluation", peaks if times else None, times, list(notes))


def _own(visit, modules, seen):
    """Numbers of the parameters that nobody before this visit owned."""
    module = visit.module if visit.module is not None else modules.get(visit.name)
    own = [] if module is None else [p for p in module.parameters(recurse=visit.module is not None) if id(p) not in seen]
    seen.update(map(id, own))
    return sum(p.numel() for p in own)


def _row(visit, calls, fields, parameters, times):
    last, name = (fields[-1] if fields else None), visit.name or visit.type
    return Row(
        name, visit.type, visit.output_shape, parameters, sum(map(macs, calls)), sum(map(bias_adds, calls)), sum(c.kept_bytes for c in calls),
        None if any(c.workspace_bytes is None for c in calls) else max((c.workspace_bytes for c in calls), default=0),
        last and last.size, last and last.stride, sum(map(_moved, calls)), sum(2 * macs(c) * _gradients(c) for c in calls),
        times and times.of_calls(visit.calls), times and times.of_calls(visit.calls, backward=True),
    )


def _passed_on(rows):
    idle, before = rows[-1], rows[-2] if len(rows) > 1 else None
    known = before is not None and before.receptive_field is not None
    return replace(idle, receptive_field=before.receptive_field if known else None, effective_stride=before.effective_stride if known else None)


def macs(call: Call) -> int:
    """Multiply–accumulates of an operation: a weight for each output it takes part in (of a transposed convolution: each input)."""
    if call.op not in ("conv2d", "conv_transpose2d", "linear"):
        return 0
    weight, array = call.sources[1].shape, call.sources[0].shape if call.op == "conv_transpose2d" else call.outputs[0][0]
    return math.prod(array) * (weight[-1] if call.op == "linear" else math.prod(weight[1:]))


def bias_adds(call: Call) -> int:
    """Additions of a bias."""
    has_bias = call.op in ("conv2d", "conv_transpose2d", "linear") and len(call.sources) == 3
    return math.prod(call.outputs[0][0]) if has_bias else 0


def _moved(call):
    """Bytes of operands and results."""
    arrays = [(s.shape, s.dtype) for s in call.sources] + list(call.outputs)
    return sum(math.prod(extents) * as_dtype(dtype).itemsize for extents, dtype in arrays) if call.op not in visits.RELABELLING else 0


def _gradients(call):
    """How many of the two large products backward has computed: of the input and of the weight."""
    if call.backward_seconds is None:
        return 0
    return len({"grad_input", "grad_weight"} & set(call.algorithms)) or (2 if call.sources[0].call is not None else 1)
