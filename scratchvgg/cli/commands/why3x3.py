"""scratchvgg why3x3"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path

from ..errors import CommandError
from ..text import program

SUMMARY = "one large filter or several 3×3: weights, products, times; and the paper's experiment"
DESCRIPTION = """
Why VGG is made of 3×3 convolutions (arXiv 1409.1556, section 2.3): one 5×5 against two 3×3, one 7×7 against three, for any number
of channels: weights, multiply-accumulates, receptive field, ReLUs, what a training step keeps, and the times of both on this
machine, in turn, with the library's choice of algorithms and with im2col on both sides.

--experiment trains the two nets of the paper's comparison, small: a pair of 3×3 or one 5×5 a stage, the same recipe, several
seeds. Ctrl-C loses nothing: --resume DIR goes on.
"""
EXAMPLES = """
scratchvgg why3x3                                       64 channels, 56×56: half a minute
scratchvgg why3x3 --channels 256 --size 28 --batch 4
scratchvgg why3x3 --channels 512 --size 14 --no-times   only what can be counted
scratchvgg why3x3 --experiment                          on the built-in pictures: some minutes
scratchvgg why3x3 --experiment --data cifar10 --root data --seeds 3 --epochs 5 --train-size 10000
scratchvgg why3x3 --experiment --data cifar10 --root data --widths 32 64 128 --out runs/why
scratchvgg why3x3 --experiment --resume runs/why --data cifar10 --root data --widths 32 64 128
"""


def configure(parser) -> None:
    """Declare the options."""
    table = parser.add_argument_group("the table")
    table.add_argument("--channels", type=int, metavar="C", help="of input and output (default: 64)")
    table.add_argument("--size", type=int, metavar="N", help="height and width (default: 56)")
    table.add_argument("--batch", type=int, metavar="N", help="images (default: 1)")
    table.add_argument("--no-times", action="store_true", help="measure no times")
    table.add_argument("--seconds", type=float, metavar="S", help="of each side and pass (default: 0.5)")
    table.add_argument("--rounds", type=int, metavar="N", help="so many rounds instead")
    trained = parser.add_argument_group("the experiment")
    trained.add_argument("--experiment", action="store_true", help="train instead of the table")
    trained.add_argument("--data", metavar="NAME", help="sample (built in), cifar10, cifar100 (default: sample)")
    trained.add_argument("--root", metavar="DIR", help="folder that holds the data set")
    trained.add_argument("--seeds", type=int, metavar="N", help="trainings of each net (default: 3)")
    trained.add_argument("--epochs", type=int, metavar="N", help="default: 3")
    trained.add_argument("--train-size", type=int, metavar="N", help="use only so many training images (default: all; 2000 of sample)")
    trained.add_argument("--test-size", type=int, metavar="N", help="use only so many test images (default: all; 1000 of sample)")
    trained.add_argument("--widths", type=int, nargs="+", metavar="C", help="channels of the stages (default: 16 32 64)")
    trained.add_argument("--lr", type=float, metavar="X", help="peak learning rate (default: 0.1, or 0.05 without batch norm)")
    trained.add_argument("--no-batch-norm", action="store_true", help="as in the paper; wants more epochs")
    trained.add_argument("--out", metavar="DIR", help="folder to make (default: runs/why3x3-DATA-N)")
    trained.add_argument("--resume", metavar="DIR", help="go on in this folder; give the same options")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, with the machine; - prints them in the place of the text")


TABLE, TRAINED = ("channels", "size", "batch", "seconds", "rounds", "no_times"), (
    "data", "root", "seeds", "epochs", "train_size", "test_size", "widths", "lr", "no_batch_norm", "out", "resume")


def run(args) -> int:
    """Count and measure, or train; show."""
    wrong = [name for name in (TABLE if args.experiment else TRAINED) if getattr(args, name) not in (None, False)]
    if wrong:
        flag = f"--{wrong[0].replace('_', '-')}"
        raise CommandError(f"{flag}: it belongs to the {'table; leave out --experiment' if args.experiment else 'experiment; give --experiment'}")
    return _train(args) if args.experiment else _count(args)


def _count(args) -> int:
    from ...bench.progress import status_line
    from ...study.why3x3 import factorisation

    if (args.rounds is not None and args.rounds < 1) or (args.seconds is not None and not args.seconds > 0):
        raise CommandError("--rounds, --seconds: expected positive numbers")
    given = {name: getattr(args, name) for name in ("size", "batch", "seconds", "rounds") if getattr(args, name) is not None}
    with status_line() as progress:
        found = factorisation(64 if args.channels is None else args.channels, measure=not args.no_times, progress=progress, **given)
    _deliver(args, found, found.to_dict())
    return 130 if found.interrupted else 0


def _train(args) -> int:
    from ... import train
    from ...study.why3x3_experiment import Stopped, experiment, report

    if args.out is not None and args.resume is not None:
        raise CommandError("--out, --resume: a new folder or one to go on in, not both")
    if args.resume is not None:
        train.open_existing(args.resume)
    elif args.out is not None:
        train.check_free(args.out)
    data = args.data or "sample"
    sizes = {"train_size": args.train_size, "test_size": args.test_size}
    if data == "sample":
        sizes = {name: size if given is None else given for (name, given), size in zip(sizes.items(), (2000, 1000), strict=True)}
    given = {name: getattr(args, name) for name in ("seeds", "epochs", "lr") if getattr(args, name) is not None}
    quiet = str(args.json) == "-"
    widths = {"widths": tuple(args.widths)} if args.widths else {}
    try:
        with contextlib.redirect_stdout(sys.stderr) if quiet else contextlib.nullcontext():
            found = experiment(data, args.root, out=args.resume or args.out, batch_norm=not args.no_batch_norm, plain=quiet, say=_say, **widths,
                               **sizes, **given)
    except Stopped as stopped:
        print(f"stopped; what is finished is kept. Go on with the same options and\n  {program()} why3x3 --experiment --resume "
              f"{shlex.quote(stopped.folder)}", file=sys.stderr)
        return 128 + stopped.signal
    _deliver(args, found, report(found))
    return 0


def _say(line):
    print(line, flush=True)


def _deliver(args, found, numbers) -> None:
    """Files, and the text."""
    from ...bench import results
    from ...study.shown import plain

    written = []
    if args.json and str(args.json) != "-":
        results.write_json(args.json, numbers)
        written.append(f"{args.json}: the numbers")
    if args.html:
        from ...study.page import Section, document
        from ...weights.atomic import atomic_write

        text = document(found.title, [Section("why", found.title, found.to_html())], data=numbers)
        with atomic_write(args.html, "w") as file:
            file.write(text)
        written.append(f"{args.html}: the page")
    if str(args.json) == "-":
        print(json.dumps(plain(numbers), allow_nan=False))
    else:
        print("\n".join([str(found), *written]), flush=True)
