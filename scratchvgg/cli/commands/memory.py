"""scratchvgg memory"""

from __future__ import annotations

import json

from ..errors import CommandError
from .summary import net_of

SUMMARY = "memory of a training step before it is run, what fits, and the measured peak"
DESCRIPTION = """
Predict what a training step takes: parameters, gradients, optimiser, what is kept for backward, scratch, and the peak of it all.
Two small steps (one image, two images) are run and watched; a larger batch follows from them. The process itself (interpreter
and libraries, about 50 MiB) is not counted.

--recompute   the stages of the net are computed again in backward instead of kept (autograd.checkpoint): the same gradients
--budget      the largest batch that fits, as usual and with recomputation
--measure     run it: the peak of a fresh process beside the prediction
"""
EXAMPLES = """
scratchvgg memory vgg16 --batch 8                     at 224×224, SGD with momentum
scratchvgg memory vgg16 --batch 8 --measure           and what it really takes
scratchvgg memory vgg16 --batch 32 --recompute
scratchvgg memory vgg16_bn --budget 8GiB              which batch fits
scratchvgg memory cifar_vgg --batch 128 --optimizer adam --options config=A
scratchvgg memory vgg11 --size 160 --dtype float64 --json
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="name of a net ('scratchvgg summary list' shows them) or a run folder")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images (default: 1)")
    parser.add_argument("--size", "--input-size", dest="input_size", metavar="N|HxW", help="of the images (default: 224, or 32 for small nets)")
    parser.add_argument("--optimizer", choices=("sgd", "plain-sgd", "adam", "adamw"), default="sgd",
                        help="sgd has momentum (default), plain-sgd has none")
    parser.add_argument("--dtype", choices=("float32", "float64", "float16", "bfloat16"), default="float32", help="of everything (default: float32)")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda, emulator")
    parser.add_argument("--recompute", action="store_true", help="compute the stages again in backward")
    parser.add_argument("--budget", metavar="SIZE", help="say which batch fits: 8GiB, 512MiB, 16GB")
    parser.add_argument("--measure", action="store_true", help="measure the peak in a process of its own")
    parser.add_argument("--num-classes", type=int, metavar="N", help="size of the output")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="keyword arguments of the net's builder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(size_option="--size")


def run(args) -> int:
    """Predict, measure, print."""
    from ...bench.progress import status_line
    from ...study.shown import plain

    if args.batch < 1:
        raise CommandError(f"--batch: expected 1 or more, got {args.batch}")
    with status_line() as progress:
        try:
            ledger, plan = _answers(args, progress)
        except (ValueError, TypeError, RuntimeError) as error:
            raise CommandError(str(error)) from error
    if args.json:
        print(json.dumps(plain(ledger.to_dict() | {"plan": None if plan is None else plan.to_dict()}), ensure_ascii=False))
        return 0
    print(ledger)
    if plan is not None:
        print(f"\n{plan}")
    return 0


def _answers(args, progress):
    """(ledger, plan or None)"""
    from dataclasses import replace

    from ... import models
    from ...study import ledger as ledgers
    from ...study import peak_memory, planner

    name, options, size = net_of(args)
    budget = None if args.budget is None else planner.parse_bytes(args.budget)
    about = {"dtype": args.dtype, "device": args.device}

    def build():
        return models.get_model(name, **options)

    progress("a step of one image and one of two")
    profile = ledgers.profile(build, size, recompute=args.recompute, name=name, at=None if budget else args.batch, **about)
    ledger = profile.ledger(args.batch, args.optimizer)
    if args.measure:
        progress("whole steps in a process of their own")
        measured = peak_memory.measure(name, args.batch, size, optimizer=args.optimizer, recompute=args.recompute, options=options, **about)
        ledger = replace(ledger, measured=measured)
    if budget is None:
        return ledger, None
    batches = sorted({1, 2, 4, 8, 16, 32, 64, 128, 256, args.batch})
    known = {} if args.recompute else {"plain": profile}
    return ledger, planner.plan(build, size, budget=budget, optimizer=args.optimizer, batches=batches, progress=progress, **about, **known)
