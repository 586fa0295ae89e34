"""scratchvgg summary"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import CommandError
from ._study_input import parse_size

SUMMARY = "every layer of a net: shapes, parameters, MACs, memory kept, receptive fields, times"
DESCRIPTION = """
Show every layer of a net in the order of execution: output shape, parameters, multiply-accumulates (MACs) of convolutions
and linear layers, bytes kept for backward, scratch memory, receptive field and stride, arithmetic intensity, and totals.

--measure times each layer, with the share of this machine's peaks; --backward times the backward pass too.
"""
EXAMPLES = """
scratchvgg summary vgg16                        at 224×224, 1000 classes
scratchvgg summary vgg16 --measure --backward   with times, about a minute
scratchvgg summary vgg19_bn --batch 8 --input-size 256
scratchvgg summary cifar_vgg --options config=A --input-size 32
scratchvgg summary runs/small-cifar10-1         the net of a run
scratchvgg summary vgg11 --json                 for programs
scratchvgg summary vgg11 --csv layers.csv       for a spreadsheet; --csv - prints it
scratchvgg summary list                         the nets there are
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="name of a net, a run folder, or 'list'")
    parser.add_argument("--input-size", metavar="N|HxW", help="height and width of the images (default: 224, or 32 for small nets)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images (default: 1); all numbers are of the whole batch")
    parser.add_argument("--num-classes", type=int, metavar="N", help="size of the output")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="keyword arguments of the net's builder")
    parser.add_argument("--measure", action="store_true", help="time every layer, one by one, and the whole net")
    parser.add_argument("--backward", action="store_true", help="the backward pass too (with --measure)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="runs that are timed (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--csv", metavar="FILE", help="write the table there; '-' prints it instead")


def run(args) -> int:
    """Build, run, print."""
    from ... import models
    from ...study.shown import plain
    from ...study.summary import overview

    if args.model == "list":
        print("\n".join(models.list_models()))
        return 0
    for name in ("batch", "repeats"):
        if getattr(args, name) < 1:
            raise CommandError(f"--{name}: expected 1 or more, got {getattr(args, name)}")
    if args.backward and not args.measure:
        raise CommandError("--backward: times are measured with --measure; give both")
    if args.csv and args.csv != "-" and not Path(args.csv).resolve().parent.is_dir():
        raise CommandError(f"--csv: there is no folder {Path(args.csv).resolve().parent}")
    name, options, (height, width) = net_of(args)
    shape = args.batch, 3, height, width

    def build():
        return models.get_model(name, **options)

    try:
        table = _measured(build, shape, args) if args.measure else overview(build, shape)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CommandError(str(error)) from error
    if args.csv and args.csv != "-":
        table.save_csv(args.csv)
    if args.json:
        print(json.dumps(plain({"model": name, **table.to_dict()}), ensure_ascii=False))
    elif args.csv == "-":
        print(table.to_csv(), end="")
    else:
        print(f"{name}, input {'×'.join(map(str, table.input_shape))}\n\n{table}")
    return 0


def net_of(args):
    """(name, options of its builder, (height, width)) of the arguments ``model``, ``options``, ``num_classes`` and ``input_size``.

    Raises:
        CommandError, RecipeError, RunError: for what cannot be read.
    """
    from ... import models
    from ...train.recipe import parse_option

    name, options = args.model, {}
    if Path(name).exists():
        name, options, size = _of_run(name)
    else:
        size = models.usual_side(name)
    for option in args.options:
        options |= parse_option(option)
    if args.num_classes is not None:
        if args.num_classes < 1:
            raise CommandError(f"--num-classes: expected 1 or more, got {args.num_classes}")
        options["num_classes"] = args.num_classes
    return name, options, parse_size(args.input_size, getattr(args, "size_option", "--input-size")) or (size, size)


def _measured(build, shape, args):
    """With weights and images that are random numbers: zeros would lie in the cache."""
    from ...autograd import ops
    from ...bench.progress import status_line
    from ...study import layers

    with status_line() as progress:
        return layers.table(build().train(), ops.randn(*shape), measure=True, backward=args.backward, repeats=args.repeats, progress=progress)


def _of_run(path: str):
    """(net, options, image side) of a run folder or checkpoint."""
    from ...train import checkpoint

    state = checkpoint.load(checkpoint.find(path))
    recipe, about = state["recipe"], state["data"]
    return recipe["model"], {"num_classes": len(about["classes"]), **recipe["model_options"]}, about["shape"][-1]
