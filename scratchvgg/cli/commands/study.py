"""scratchvgg study"""

from __future__ import annotations

from pathlib import Path

from ..errors import CommandError
from . import _study_input

SUMMARY = "look into a net while it computes: every number, on one page"
DESCRIPTION = """
Run a net once, forward and (with --backward) back, and show everything about it: the likeliest classes, a table of the layers
(shapes, arithmetic, memory, measured times), activations and gradients, the tape, single values worked out from the engine's
arrays, filters, feature maps, and where the net looked. The terminal shows the table; --html writes one file with all of it that
opens from the disk, needs no network and embeds its data. Without --weights the weights are random, and the page says so.

Of a run folder (scratchvgg train) it shows the history first: losses, and of each layer what was recorded with train --record,
with verdicts; then its net on the first pictures of its test set.

--parts chooses among: prediction layers memory statistics tape numbers filters maps attribution field (of a run also: history).
"""
EXAMPLES = """
scratchvgg study vgg16 --image photo.jpg --backward --html report.html
scratchvgg study vgg16 --image photo.jpg --weights IMAGENET1K_V1 --backward --target tabby --html report.html
scratchvgg study vgg11_bn --mode train --batch 4 --backward        batch statistics and dropout as in training
scratchvgg study vgg16 --layer features.7 --layer classifier.6     single layers, in the terminal
scratchvgg study vgg16 --json table.json --csv table.csv           the table for programs
scratchvgg study runs/small-cifar10-1 --html run.html              a training: history, verdicts, and its net
"""


def configure(parser) -> None:
    """Declare the options."""
    _study_input.add_options(parser)
    group = parser.add_argument_group("what is done")
    group.add_argument("--backward", action="store_true", help="run backward too")
    group.add_argument("--target", metavar="CLASS", help="name or number of the class of all pictures (default: each one's likeliest)")
    group.add_argument("--mode", choices=("eval", "train"), default="eval", help="mode of the net (default: eval)")
    group.add_argument("--repeats", type=int, default=3, metavar="N", help="timed runs, 0 for no times (default: 3)")
    group = parser.add_argument_group("what is shown")
    group.add_argument("--layer", action="append", default=[], metavar="NAME", help="show one layer's arithmetic in the terminal (may be repeated)")
    group.add_argument("--parts", metavar="P[,P]", help="only these parts of the page (default: all)")
    group.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    group.add_argument("--max-mb", type=float, default=5.0, metavar="X", help="largest page in megabytes; pictures are left out to fit (default: 5)")
    group.add_argument("--json", type=Path, metavar="FILE", help="write all numbers: layers, totals, and the parts")
    group.add_argument("--csv", type=Path, metavar="FILE", help="write the table of layers")


def run(args) -> int:
    """Run, print, write."""
    from ...bench.progress import status_line
    from ...study import parts
    from ...study.page.render import environment

    names = args.parts.split(",") if args.parts else None
    of_run = (Path(args.model) / "recipe.toml").is_file()
    if not args.max_mb > 0:
        raise CommandError(f"--max-mb: expected a positive number, got {args.max_mb}")
    if args.repeats < 0:
        raise CommandError(f"--repeats: expected 0 or more, got {args.repeats}")
    parts.chosen([name for name in names if not (of_run and name == "history")] if names else None)
    if args.html is not None:
        environment()  # or say at once what is missing
    _check_places(args)
    with status_line() as progress, _study_input.convolutions(args):
        found = _of_run(args, progress) if of_run else _inspect(args, progress)
        _write(args, found, names)
        text = _text(found, args)
    print(text)
    for path in (args.html, args.json, args.csv):
        if path is not None:
            print(f"written: {path} ({path.stat().st_size / 1e6:.2f} MB)")
    return 0


def _check_places(args) -> None:
    """Find out now, not after the work, that there is no place for a result."""
    given = {option: path for option, path in (("--html", args.html), ("--json", args.json), ("--csv", args.csv)) if path is not None}
    for path in given.values():
        if not path.resolve().parent.is_dir():
            raise CommandError(f"{path}: there is no folder {path.resolve().parent}")
        if path.is_dir():
            raise CommandError(f"{path}: expected a file, this is a folder")
    if len({path.resolve() for path in given.values()}) < len(given):
        raise CommandError(f"{', '.join(given)}: expected different files")


def _inspect(args, progress):
    from ...study import inspection

    progress("building the net")
    subject = _study_input.subject(args, training=args.mode == "train")
    return inspection.inspect_subject(subject, args.target, backward=args.backward, repeats=args.repeats, progress=progress)


def _of_run(args, progress):
    from ...study.run_page import RunPage

    return RunPage(args.model, lambda: _inspect(args, progress))


def _write(args, found, names) -> None:
    if args.html is not None:
        found.save(args.html, args.max_mb, names)
    if args.json is not None:
        found.save_json(args.json)
    if args.csv is not None:
        found.table.save_csv(args.csv)


def _text(found, args) -> str:
    return "\n\n".join([str(found), *(str(found.layer(name)) for name in args.layer)])
