"""The options by which the commands of the study are told what to look at: net, weights, pictures."""

from __future__ import annotations

from ..errors import CommandError


def add_options(parser, *, images: bool = True) -> None:
    """Declare MODEL and the options; :func:`subject` reads them."""
    parser.add_argument("model", metavar="MODEL", help="name of a net (scratchvgg summary list), a run folder, or a file of weights")
    group = parser.add_argument_group("what is looked at")
    if images:
        group.add_argument("--image", nargs="+", default=[], metavar="FILE", help="pictures (default: one of the built-in set, enlarged)")
    group.add_argument("--weights", metavar="W", help="a file of any format, an entry (IMAGENET1K_V1), or a URL (default: random weights)")
    group.add_argument("--batch", type=int, metavar="N", help="images in the batch, the pictures in turn (default: one of each)")
    group.add_argument("--input-size", metavar="N|HxW", help="height and width (default: 224, or 32 for small nets)")
    group.add_argument("--num-classes", type=int, metavar="N", help="size of the output, with random weights")
    group.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="keyword arguments of the net's builder, with random weights")
    group.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, emulator (default: cpu)")
    group.add_argument("--conv", metavar="NAME", help="convolution algorithm: auto, tuned, reproducible or a name (default: auto)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of random weights (default: 0)")


def subject(args, training: bool = False):
    """What the options name, as a :class:`scratchvgg.study.subject.Subject`.

    Raises:
        CommandError, and what :func:`scratchvgg.study.subject.load` raises.
    """
    from ...study import subject as subjects
    from ...train.recipe import parse_option

    options = {}
    for option in args.options:
        options |= parse_option(option)
    return subjects.load(args.model, args.weights, getattr(args, "image", []), batch=args.batch, size=parse_size(args.input_size), options=options,
                         num_classes=args.num_classes, device=args.device, training=training, seed=args.seed)


def convolutions(args):
    """The context of ``--conv``.

    Raises:
        CommandError: for an unknown algorithm.
    """
    import contextlib

    from ... import conv

    try:
        conv.current() if args.conv is None else conv.check_setting(args.conv, "--conv")
    except ValueError as error:
        raise CommandError(str(error)) from None
    return contextlib.nullcontext() if args.conv is None else conv.using(args.conv)


def parse_size(text: str | None, option: str = "--input-size") -> tuple[int, int] | None:
    """(height, width) of ``224`` or ``224x320``; None of None.

    Raises:
        CommandError: for another text.
    """
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise CommandError(f"{option}: expected a number or HEIGHTxWIDTH, got {text!r}")
    return int(parts[0]), int(parts[-1])
