"""scratchvgg doctor"""

from __future__ import annotations

from pathlib import Path

from ..errors import CommandError

SUMMARY = "why a net does not learn: the likeliest cause, its evidence, what to try"
DESCRIPTION = """
Examine a run, or a net: the course of the loss, the images and labels, every layer's signal and gradient on one batch, batch
norm and dropout, and what a few learning rates do to a copy of the weights. Findings come with their numbers and with what to
try, the likeliest cause first. Nothing is changed. A net without a run is examined with pictures of the built-in set; in Python,
scratchvgg.study.doctor.examine(model, x, y) takes your own batch.
Exit status: 0 if nothing is bad, 1 if something is, 2 for bad input.
"""
EXAMPLES = """
scratchvgg doctor runs/small-cifar10-1                       a run, finished, stopped or broken
scratchvgg doctor runs/small-cifar10-1 --root /data          its data set has moved
scratchvgg doctor runs/sample-1 --seconds 20 --json found.json --html found.html
scratchvgg doctor cifar_vgg --options config=D batch_norm=false    a net with new weights
scratchvgg doctor runs/sample-1 --only 'learning rate' 'labels'
scratchvgg doctor list                                       the checks there are
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("subject", metavar="RUN_DIR|MODEL", help="a run's folder, a checkpoint file, the name of a net, or 'list'")
    parser.add_argument("--data", metavar="NAME", help="a run's data set, if it is not the one of its recipe")
    parser.add_argument("--root", metavar="FOLDER", help="where a run's data are now")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="keyword arguments of a named net's builder")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="about how long it may take (default: 60); experiments fill it")
    parser.add_argument("--batch", type=int, default=64, metavar="N", help="images of the probe batch, at most (default: 64)")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="these checks only")
    parser.add_argument("--device", help="where to compute: cpu, cuda, emulator (default: where the run was made, else cpu)")
    parser.add_argument("--json", metavar="FILE", help="also write the findings as JSON")
    parser.add_argument("--html", metavar="FILE", help="also write them as a page")


def run(args) -> int:
    """Examine and print."""
    from ...bench.progress import status_line
    from ...study import doctor
    from ...train.recipe import parse_option

    if args.subject == "list":
        print("\n".join(f"{check.name:28s}{(check.run.__doc__ or '').splitlines()[0]}" for check in doctor.list_checks()))
        return 0
    options = {}
    for option in args.options:
        options |= parse_option(option)
    _writable(args.json, "--json")
    _writable(args.html, "--html")
    with status_line() as show:
        found = doctor.examine(args.subject, data=args.data, root=args.root, options=options, seconds=args.seconds, batch=args.batch,
                               device=args.device, only=args.only, show=show)
    print(found)
    if args.json:
        found.save_json(args.json)
    if args.html:
        found.save_html(args.html)
    return 0 if found.healthy else 1


def _writable(path: str | None, option: str) -> None:
    """Said before the minute of work, not after it."""
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise CommandError(f"{option}: there is no folder {Path(path).absolute().parent}")
