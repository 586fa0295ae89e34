"""scratchvgg diverge"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

from ..errors import CommandError

SUMMARY = "two implementations of a net in lockstep: where do they part, and who is off?"
DESCRIPTION = """
Run two sides of a net in lockstep from the same weights and batch, with a float64 truth between them, and say for every layer,
forward and backward, how far each side is from the truth: the layer by itself (given the same numbers), and in the whole net.
The sides differ in what is given as a pair A,B: convolution algorithms, devices, element types; --against torch makes B PyTorch;
or name two models (two runs, two files of the same net). One value of a pair holds for both sides.
Rounding or a bug: a layer departs if its own error is more than rounding explains; the first one is named. ReLU and pool
decisions that flip on rounding make deep gradients differ by some per cent between two right sides: they are counted, and the
gradients are compared with frozen decisions too.

Exit status 0: no layer departs, 1: one does. VGG-16 at 224×224 with two images takes 6 GiB, and 35 to 45 s on two free cores.
"""
EXAMPLES = """
scratchvgg diverge vgg16 --against torch --batch 2
scratchvgg diverge vgg16 --algorithms im2col,winograd           winograd: 4x4 or 2x2, as the library would choose
scratchvgg diverge cifar_vgg --devices cpu,emulator --batch 1 --options config=A
scratchvgg diverge vgg11 --dtypes float32,bfloat16 --against torch      B is PyTorch in bfloat16
scratchvgg diverge runs/a runs/b --input-size 32                the same net after two trainings
scratchvgg diverge vgg16 --plugin my_conv.py --algorithms im2col,my_conv
scratchvgg diverge cifar_vgg --against torch --mode train --batch 8     batch norm with the batch's statistics
scratchvgg diverge vgg16 --against torch --html diverge.html --json diverge.json
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="one or two of: name of a net, run folder, file of weights")
    sides = parser.add_argument_group("the sides")
    sides.add_argument("--against", choices=("torch",), help="B is the same net in PyTorch (pip install 'scratchvgg[torch]')")
    sides.add_argument("--algorithms", metavar="A,B", help="of convolutions: names (im2col), the first part of names (winograd), or modes (auto)")
    sides.add_argument("--devices", metavar="A,B", help="cpu, cuda, emulator (default: cpu)")
    sides.add_argument("--dtypes", metavar="A,B", help="float16, bfloat16, float32, float64 (default: float32)")
    sides.add_argument("--plugin", action="append", default=[], metavar="FILE", help="Python file with a convolution algorithm of yours; repeatable")
    work = parser.add_argument_group("what they compute")
    work.add_argument("--batch", type=int, default=2, metavar="N", help="images (default: 2)")
    work.add_argument("--input-size", metavar="N|HxW", help="height and width (default: 224, or 32 for small nets)")
    work.add_argument("--image", nargs="+", default=[], metavar="FILE", help="pictures (default: a run's own, else numbers from N(0, 1))")
    work.add_argument("--num-classes", type=int, metavar="N", help="size of the output, with random weights")
    work.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="keyword arguments of the net's builder, with random weights")
    work.add_argument("--seed", type=int, default=0, metavar="N", help="of random weights and numbers (default: 0)")
    work.add_argument("--mode", choices=("eval", "train"), default="eval", help="of batch norm (default: eval); dropout is off in both")
    work.add_argument("--forward-only", action="store_true", help="no gradients")
    work.add_argument("--no-frozen", action="store_true", help="do not compare gradients with frozen decisions")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers; - prints them in the place of the text")


def run(args) -> int:
    """Load, compare, show."""
    from ...bench.progress import status_line
    from ...study.diverge import compare

    if len(args.models) > 2:
        raise CommandError(f"expected one model or two, got {len(args.models)}")
    if len(args.models) == 1 and not any((args.against, args.algorithms, args.devices, args.dtypes)):
        raise CommandError("what is to be compared? name a second model, or give --against torch, --algorithms A,B, --devices A,B or --dtypes A,B")
    _load_plugins(args.plugin)
    options = {"algorithm": _pair("algorithms", args.algorithms), "device": _pair("devices", args.devices, "cpu"),
               "dtype": _pair("dtypes", args.dtypes, "float32")}
    plain = str(args.json) == "-"
    with nullcontext(lambda text: None) if plain else status_line() as progress:
        progress("loading")
        models, x, labels, notes = _models(args)
        a, b = _sides(args, models, options)
        found = compare(a, b, x, labels, mode=args.mode, backward=not args.forward_only, frozen=not args.no_frozen, progress=progress)
    found.notes += notes
    written = _write(args, found, " and ".join(args.models))
    if plain:
        from ...study.shown import plain as values

        print(json.dumps(values(found.to_dict()), allow_nan=False))
    else:
        print("\n".join([str(found), *written]), flush=True)
    return 0 if found.agrees else 1


def _load_plugins(files) -> None:
    from ...conv.plugin import PluginError, load_plugin

    for file in files:
        try:
            load_plugin(file)
        except (PluginError, FileNotFoundError) as error:
            raise CommandError(str(error)) from error


def _pair(name: str, text: str | None, default: str | None = None) -> tuple[str | None, str | None]:
    """``a,b`` or ``a``, which is both."""
    if text is None:
        return default, default
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(words) > 2:
        raise CommandError(f"--{name}: expected A,B or one for both, got {text!r}")
    return words[0], words[-1]


def _models(args):
    """(the models, the batch, its labels or None, what must be said beside the numbers)"""
    import numpy as np

    from ...study import subject
    from ...train.recipe import parse_option
    from ._study_input import parse_size

    if args.batch < 1:
        raise CommandError(f"--batch: expected 1 or more, got {args.batch}")
    options = {}
    for option in args.options:
        options |= parse_option(option)
    loaded = [subject.load(name, None, args.image, batch=args.batch, size=parse_size(args.input_size), options=options, num_classes=args.num_classes,
                           seed=args.seed) for name in args.models]
    first = loaded[0]
    random = [it.name for it in loaded if it.weights is None]
    notes = [f"the weights of {' and '.join(dict.fromkeys(random))} are random (seed {args.seed})"] if random else []
    x, labels = first.x.numpy(), first.labels
    if not args.image and subject.DRAWN in first.titles:  # a run that knows its data brings its own test pictures
        x = np.random.default_rng(args.seed).standard_normal(x.shape, np.float32)
        notes.append(f"the input is drawn from N(0, 1) (seed {args.seed})")
    return [it.model for it in loaded], x, labels, notes


def _sides(args, models, options):
    from ...study.diverge import Side

    given = [{key: pair[i] for key, pair in options.items()} for i in range(2)]
    if args.against == "torch":
        if args.algorithms and "," in args.algorithms:
            raise CommandError("--algorithms: PyTorch chooses its own; with --against torch give that of A only")
        given[1] |= {"library": "torch", "algorithm": None}
    a, b = (Side(model, **side) for model, side in zip((models[0], models[-1]), given, strict=True))
    if a.model is b.model and given[0] == given[1]:
        raise CommandError(f"both sides are the same: {given[0]['device']}, {given[0]['dtype']}, {given[0]['algorithm'] or 'no algorithm named'}")
    return a, b


def _write(args, found, name) -> list[str]:
    """The files; returns a line about each."""
    written = []
    if args.json and str(args.json) != "-":
        found.save_json(args.json)
        written.append(f"{args.json}: the numbers")
    if args.html:
        from ...study.page import Section, document
        from ...weights.atomic import atomic_write

        text = document(f"Divergence: {name}", [Section("diverge", found.title, found.to_html())], data=found.to_dict())
        with atomic_write(args.html, "w") as file:
            file.write(text)
        written.append(f"{args.html}: the page")
    return written
