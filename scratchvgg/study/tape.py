"""The tape as a graph: every operation of a run with its shape, the bytes it keeps, its layer and its times, and backward's walk over it.

Nodes are the calls of a :class:`~scratchvgg.study.trace.Trace` and the leaves they read (input, target, parameters); edges are the flow of data.
Backward goes through the recorded calls by falling number; when one is done, what it kept is dropped, so memory falls step by step.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

from .page.formats import ms, number, shape, size
from .shown import Shown
from .timings import Timings
from .trace import Kept, Trace


@dataclass(frozen=True)
class Node:
    """An operation, or a tensor that no operation made.

    Attributes:
        id: ``"n12"`` for call number 12, ``"l3"`` for the fourth leaf.
        kind: ``"operation"``, ``"parameter"``, ``"input"`` (also buffers and the target) or ``"constant"``.
        name: the operation's, or the leaf's dotted name. layer: the module at work, empty outside of all.
        shape, dtype: of the (first) output.
        kept: what it holds for backward. kept_bytes: of that, memory that nothing before holds. workspace_bytes: scratch.
        forward_seconds, backward_seconds, gradient_norm: as of the call; of a leaf the norm of its gradient. None where there is none.
        recorded: whether it is on the tape.
    """

    id: str
    kind: str
    name: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    kept: tuple[Kept, ...] = ()
    kept_bytes: int = 0
    workspace_bytes: int = 0
    forward_seconds: float | None = None
    backward_seconds: float | None = None
    gradient_norm: float | None = None
    recorded: bool = False

    def to_dict(self) -> dict:
        """Plain values."""
        kept = [{"name": k.name, "shape": k.shape, "dtype": k.dtype, "bytes": k.bytes, "counted": k.counted} for k in self.kept]
        return {**vars(self), "kept": kept}


@dataclass(frozen=True)
class Step:
    """One step of backward.

    Attributes:
        number: 1, 2, … node: the id of the operation. gradient_norm: of what arrived there.
        freed: bytes that are dropped after it. held: bytes still kept then.
        leaves: (name, norm of its gradient) of the parameters and inputs it leads to.
        seconds: what it took.
    """

    number: int
    node: str
    gradient_norm: float | None
    freed: int
    held: int
    leaves: tuple[tuple[str, float], ...]
    seconds: float


@dataclass(frozen=True)
class TapeGraph(Shown):
    """The graph of a run.

    Attributes:
        nodes: id → node: the operations in order, and the leaves.
        edges: (from, to), in the order of arguments.
        steps: of backward, in order; empty if it was not run.
        runs: times are medians of so many runs; 0 for those of the traced run itself, which is a first one and copies what it shows.
        kept_bytes: held when forward is done.
    """

    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    steps: list[Step] = field(default_factory=list)
    runs: int = 0

    title = "The tape"

    @property
    def kept_bytes(self) -> int:
        """Bytes that are held when forward is done."""
        return sum(node.kept_bytes for node in self.nodes.values())

    @property
    def operations(self) -> list[Node]:
        """The operations, in order."""
        return [node for node in self.nodes.values() if node.kind == "operation"]

    @functools.cached_property
    def _sources(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for source, target in self.edges:
            found.setdefault(target, []).append(source)
        return found

    def sources(self, node: str) -> list[Node]:
        """Where a node's arguments come from, in their order."""
        return [self.nodes[source] for source in self._sources.get(node, ())]

    def to_dict(self) -> dict:
        """``{"nodes", "edges", "steps", "kept_bytes"}``."""
        steps = [{**vars(step), "leaves": dict(step.leaves)} for step in self.steps]
        return {"nodes": [node.to_dict() for node in self.nodes.values()], "edges": self.edges, "steps": steps, "kept_bytes": self.kept_bytes,
                "runs": self.runs}

    @property
    def about_times(self) -> str:
        """Where the times come from, in words."""
        return f"medians of {self.runs} run{'s' * (self.runs > 1)}" if self.runs else "of the traced run alone: caches are cold"

    def to_dot(self) -> str:
        """The graph in the language of Graphviz; a gradient's way is that of the arrows, backward."""
        lines = ["digraph tape {", "  rankdir=TB;", '  node [shape=box, fontname="monospace", fontsize=10];']
        for node in self.nodes.values():
            words = [node.name, *([node.layer] if node.layer else []), shape(node.shape)]
            words += [f"keeps {size(node.kept_bytes)}"] if node.kept_bytes else []
            words += [f"{ms(node.forward_seconds)} ms forward"] if node.forward_seconds is not None else []
            words += [f"{ms(node.backward_seconds)} ms backward"] if node.backward_seconds is not None else []
            words += [f"gradient {number(node.gradient_norm)}"] if node.gradient_norm is not None else []
            look = "" if node.kind == "operation" else ", shape=ellipse" + (", style=dashed" if node.kind == "constant" else "")
            lines.append(f"  {node.id} [label={_quoted(words)}{look}];")
        return "\n".join([*lines, *(f"  {source} -> {target};" for source, target in self.edges), "}", ""])

    def svg(self):
        """The drawing, as markup.

        Raises:
            ImportError: naming the extra, without jinja2.
        """
        from .tape_drawing import draw

        return draw(self)

    def __str__(self):
        from .tables import table

        rows = [[node.id[1:], node.name, node.layer or "–", shape(node.shape), size(node.kept_bytes), ms(node.forward_seconds),
                 ", ".join(other.id[1:] if other.kind == "operation" else other.name or "constant" for other in self.sources(node.id))]
                for node in self.operations]
        text = [f"{len(rows)} operations; {size(self.kept_bytes)} are kept for backward. Times: {self.about_times}.", "",
                table(rows, ["#", "operation", "layer", "output", "keeps", "ms", "from"], left=3)]
        if self.steps:
            rows = [[step.number, self.nodes[step.node].name, self.nodes[step.node].layer or "–", number(step.gradient_norm), ms(step.seconds),
                     size(step.freed), size(step.held), ", ".join(f"{name.rpartition('.')[2]} {number(norm)}" for name, norm in step.leaves)]
                    for step in self.steps]
            text += ["", "Backward, step by step", "",
                     table(rows, ["step", "operation", "layer", "‖gradient‖", "ms", "freed", "still kept", "gradients of"], left=3)]
        return "\n".join(text)

    def to_html(self):
        """The drawing, the steps as a table, and the DOT text.

        Raises:
            ImportError: naming the extra, without jinja2.
        """
        from . import page

        return page.render("sections/tape.html", it=self)


def of_trace(trace: Trace, timings: Timings | None = None) -> TapeGraph:
    """The graph of a run; with its steps if backward was run, with what is kept if it was recorded.

    Args:
        timings: of the same net (:func:`scratchvgg.study.timings.measure`), for medians in the place of the trace's own times.
    """
    trace, runs = _timed(trace, timings)
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    leaves: dict[object, str] = {}
    parameters = {name for name, _ in trace.model.named_parameters()}

    def leaf(source, place) -> str:
        key = source.name or place
        if key not in leaves:
            leaves[key] = made = f"l{len(leaves)}"
            kind = "parameter" if source.name in parameters else "input" if source.name else "constant"
            nodes[made] = Node(made, kind, source.name or "constant", "", source.shape, source.dtype,
                               gradient_norm=trace.leaf_gradients.get(source.name))
        return leaves[key]

    for call in trace.calls:
        made, (out, dtype) = f"n{call.index}", call.outputs[0] if call.outputs else ((), "")
        nodes[made] = Node(made, "operation", call.op, call.layer, out, dtype, call.kept, call.kept_bytes, call.workspace_bytes,
                           call.forward_seconds, call.backward_seconds, call.gradient_norm, call.node is not None)
        for place, source in enumerate(call.sources):
            edges.append((f"n{source.call}" if source.call is not None else leaf(source, (call.index, place)), made))
    return TapeGraph(nodes, edges, _steps(trace), runs)


def _timed(trace, timings):
    """(trace with the medians of its calls, number of runs)"""
    if timings is None or any(len(run) != len(trace.calls) for run in timings.forward):
        return trace, 0
    calls = []
    for call in trace.calls:
        forward, backward = timings.of_calls([call.index]), timings.of_calls([call.index], backward=True)
        known = backward is not None and call.backward_seconds is not None
        calls.append(replace(call, forward_seconds=forward.median, backward_seconds=backward.median if known else call.backward_seconds))
    return replace(trace, calls=calls), len(timings.forward)


def _steps(trace: Trace) -> list[Step]:
    walked = sorted((call for call in trace.calls if call.backward_seconds is not None), key=lambda call: -call.node)
    held, steps = sum(call.kept_bytes for call in trace.calls), []
    last = {source.name: call.index for call in walked for source in call.sources if source.call is None}
    for count, call in enumerate(walked, 1):
        held -= call.kept_bytes
        names = dict.fromkeys(source.name for source in call.sources if source.call is None and source.name in trace.leaf_gradients)
        done = tuple((name, trace.leaf_gradients[name]) for name in names if last[name] == call.index)
        steps.append(Step(count, f"n{call.index}", call.gradient_norm, call.kept_bytes, held, done, call.backward_seconds))
    return steps


def _quoted(lines) -> str:
    """A DOT string of these lines."""
    escaped = (str(line).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for line in lines)
    return '"' + "\\n".join(escaped) + '"'
