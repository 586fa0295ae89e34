"""scratchvgg explain"""

from __future__ import annotations

from pathlib import Path

from ..errors import CommandError
from . import _study_input

SUMMARY = "one value of a layer, worked out number by number, forward and back"
DESCRIPTION = """
Run a net once and work out single numbers of a layer by hand, from the arrays that the engine used. The engine's own result
stands beside them, and a line says how far apart the two are:

  convolution          patch, im2col column, filter, products, sum and bias; dW as an outer product, dcol, the col2im scatter
  max-pooling          the window, the winner, and the gradient that is routed to it
  batch normalisation  mean, variance, running estimates, and the three terms of the gradient
  ReLU, dropout        the mask, and where dropout's random numbers come from
  linear               the products of a row; dW and dX
  loss                 log-sum-exp, softmax, and softmax − target

Without --layer it lists the layers that can be explained. Without --channel and --pixel it takes the place of the largest
output. Weights are random unless --weights says otherwise.
"""
EXAMPLES = """
scratchvgg explain vgg16                                                  the layers there are
scratchvgg explain vgg16 --layer features.0 --channel 5 --pixel 10,12     one pixel of conv1_1
scratchvgg explain vgg16_bn --mode train --batch 2 --layer features.1     batch statistics
scratchvgg explain small_vgg --layer features.3 --layer loss --json n.json    several, and all their numbers
scratchvgg explain vgg16 --image cat.jpg --weights some.pth --layer features.28 --html conv5_3.html
scratchvgg explain vgg16 --dot tape.dot                                   the tape, for Graphviz
"""


def configure(parser) -> None:
    """Declare the options."""
    _study_input.add_options(parser)
    group = parser.add_argument_group("what is explained")
    group.add_argument("--layer", action="append", default=[], metavar="NAME", help="a layer such as features.0, or loss (may be repeated)")
    group.add_argument("--channel", type=int, metavar="K", help="output channel (of a linear layer: feature)")
    group.add_argument("--pixel", metavar="R,C", help="row and column of the output")
    group.add_argument("--sample", type=int, default=0, metavar="N", help="picture of the batch (default: 0)")
    group.add_argument("--target", metavar="CLASS", help="name or number of the class of all pictures (default: each one's likeliest)")
    group.add_argument("--mode", choices=("eval", "train"), default="eval", help="mode of the net (default: eval)")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--backward", action="store_true", help="gradients too (this is the default)")
    which.add_argument("--forward-only", action="store_true", help="no gradients")
    group = parser.add_argument_group("what is written")
    group.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    group.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    group.add_argument("--dot", type=Path, metavar="FILE", help="write the tape of the run as a graph, for Graphviz")


def run(args) -> int:
    """Run the net, print and write."""
    from ...bench.progress import status_line
    from ...study import explain, inspection, tape

    row, column = _pixel(args.pixel)
    for path in (args.json, args.html, args.dot):
        if path is not None and not path.resolve().parent.is_dir():
            raise CommandError(f"{path}: there is no folder {path.resolve().parent}")
    if not args.layer and (args.json or args.html):
        raise CommandError("--json, --html: say with --layer what to write")
    with status_line() as progress, _study_input.convolutions(args):
        progress("building the net")
        subject = _study_input.subject(args, training=args.mode == "train")
        found = inspection.inspect_subject(subject, args.target, backward=not args.forward_only, repeats=0, progress=progress)
        progress("working out")
        where = {"channel": args.channel, "row": row, "column": column, "sample": args.sample}
        for name in args.layer:
            _check(args, explain.takes(found.trace, name), name)
        results = [explain.layer(found.trace, name, **where) for name in args.layer]
        graph = tape.of_trace(found.trace, found.timings) if args.dot else None
    heading = f"{found.name}, input {'×'.join(map(str, found.x.shape))}"
    written = _write(args, heading, found.notes, results, graph)
    print("\n".join([heading, *found.notes, ""]))
    print("\n\n\n".join(map(str, results)) if results else _list(found.trace))
    for path in written:
        print(f"written: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0


def _pixel(text) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise CommandError(f"--pixel: expected a row and a column such as 10,12, got {text!r}")
    return int(parts[0]), int(parts[1])


def _check(args, takes: frozenset[str], name: str) -> None:
    """Refuse what one layer alone has no use for."""
    if len(args.layer) == 1:
        for option, given, word in (("--channel", args.channel, "channel"), ("--pixel", args.pixel, "row")):
            if given is not None and takes and word not in takes:
                raise CommandError(f"{option}: {name} has none")


def _list(trace) -> str:
    from ...study import explain
    from ..text import table

    known, rows, seen = explain.explained(), [], set()
    for call in trace.calls:
        name = call.layer or (explain.LOSS if call.op == "cross_entropy" else "")
        if call.op in known and name and name not in seen:
            seen.add(name)
            rows.append([name, call.op, "×".join(map(str, call.outputs[0][0])) or "scalar", call.algorithms.get("forward", "")])
    return table(rows, ["layer", "operation", "output", "algorithm"], left=2) + "\n\nChoose one with --layer."


def _write(args, heading, notes, results, graph) -> list[Path]:
    import json

    from ...study import page
    from ...study.shown import plain
    from ...weights.atomic import atomic_write

    numbers = {"net": heading, "notes": list(notes), "layers": [{"title": it.title, **it.to_dict()} for it in results]}
    texts = []
    if args.json is not None:
        texts.append((args.json, json.dumps(plain(numbers), ensure_ascii=False, allow_nan=False, indent=1) + "\n"))
    if args.html is not None:
        sections = [page.Section(f"layer-{i}", it.layer, it.to_html(), it.title) for i, it in enumerate(results)]
        texts.append((args.html, page.document(f"By the numbers: {heading}", sections, lead=" ".join(notes))))
    if args.dot is not None:
        texts.append((args.dot, graph.to_dot()))
    for path, text in texts:
        with atomic_write(path, "w") as file:
            file.write(text)
    return [path for path, _ in texts]
