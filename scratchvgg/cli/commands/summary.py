"""scratchvgg summary"""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import CommandError
from ..text import table

SUMMARY = "layers, parameters and multiply-accumulates of a net"
DESCRIPTION = """
Show every layer of a net: output shape, parameters, multiply-accumulates (MACs) of convolutions and linear layers, and totals.
"""
EXAMPLES = """
scratchvgg summary vgg16                        at 224×224, 1000 classes
scratchvgg summary vgg19_bn --batch 8 --input-size 256
scratchvgg summary cifar_vgg --options config=A --input-size 32
scratchvgg summary runs/small-cifar10-1         the net of a run
scratchvgg summary vgg11 --json                 for programs
scratchvgg summary list                         the nets there are
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", help="name of a net, a run folder, or 'list'")
    parser.add_argument("--input-size", metavar="N|HxW", help="height and width of the images (default: 224, or 32 for small nets)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images (default: 1); MACs are of the whole batch")
    parser.add_argument("--num-classes", type=int, metavar="N", help="size of the output")
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="keyword arguments of the net's builder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args) -> int:
    """Build, measure and print."""
    from ... import models
    from ...study.summary import summarize
    from ...train.recipe import parse_option

    if args.model == "list":
        print("\n".join(models.list_models()))
        return 0
    name, options, size = args.model, {}, 224
    if Path(name).exists():
        name, options, size = _of_run(name)
    elif name.startswith(("cifar", "small", "fast")):
        size = 32
    for option in args.options:
        options |= parse_option(option)
    if args.num_classes is not None:
        options["num_classes"] = args.num_classes
    height, width = _size(args.input_size) if args.input_size else (size, size)
    if args.batch < 1:
        raise CommandError(f"--batch: expected 1 or more, got {args.batch}")
    try:
        result = summarize(lambda: models.get_model(name, **options), (args.batch, 3, height, width))
    except (ValueError, TypeError, RuntimeError) as error:
        raise CommandError(str(error)) from error
    if args.json:
        print(json.dumps({"model": name, **result}))
        return 0
    rows = [[r["name"], r["type"], "×".join(map(str, r["output_shape"])), f"{r['parameters']:,}", f"{r['macs']:,}"] for r in result["layers"]]
    total = result["totals"]
    print(f"{name}, input {'×'.join(map(str, result['input_shape']))}\n")
    print(table(rows, ["name", "type", "output", "parameters", "MACs"], left=2))
    print(f"\n{total['parameters']:,} parameters ({total['trainable']:,} trainable, {total['parameter_bytes'] / 2**20:,.1f} MiB), "
          f"{total['macs']:,} MACs ({total['macs'] / 1e9:.3f} G) and {total['bias_adds']:,} bias additions")
    return 0


def _of_run(path: str):
    """(net, options, image side) of a run folder or checkpoint."""
    from ...train import checkpoint

    state = checkpoint.load(checkpoint.find(path))
    recipe, about = state["recipe"], state["data"]
    return recipe["model"], {"num_classes": len(about["classes"]), **recipe["model_options"]}, about["shape"][-1]


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise CommandError(f"--input-size: expected a number or HEIGHTxWIDTH, got {text!r}")
    return int(parts[0]), int(parts[-1])
