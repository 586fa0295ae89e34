"""scratchvgg predict"""

from __future__ import annotations

import json

from ..errors import CommandError
from ..text import table

SUMMARY = "say what is in a picture"
DESCRIPTION = """
Classify pictures with a net trained here. Each picture is scaled (shorter side) and cut to the size the net was trained on.
Needs Pillow: pip install 'scratchvgg[images]'.
"""
EXAMPLES = """
scratchvgg predict cat.jpg --checkpoint runs/small-cifar10-1
scratchvgg predict *.png --checkpoint runs/small-cifar10-1 --top 3 --tta flip
scratchvgg predict cat.jpg --checkpoint runs/small-cifar10-1 --json
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture files")
    parser.add_argument("--checkpoint", metavar="RUN_DIR", required=True, help="a run folder (its best checkpoint) or a .ckpt file")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="show the N likeliest classes (default: 5)")
    parser.add_argument("--tta", choices=("none", "flip", "shift"), default="none", help="test-time averaging (default: none)")
    parser.add_argument("--conv", metavar="NAME", help="convolution algorithm: auto, tuned, reproducible or a name (default: the recipe's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args) -> int:
    """Classify and print."""
    import numpy as np

    from ... import evaluate
    from ...data import read_image
    from ...data.transforms import Normalize
    from ...train import build, load_model, recipe

    if args.top < 1:
        raise CommandError(f"--top: expected 1 or more, got {args.top}")
    model, state = load_model(args.checkpoint)
    about = state["data"]
    images = np.stack([read_image(path, tuple(about["shape"][1:])) for path in args.images])
    used = recipe.from_dict({**state["recipe"], **({"conv": args.conv} if args.conv else {})})
    with build.convolutions(used):
        probabilities = evaluate.predict(model, Normalize(about["mean"], about["std"])(images), args.tta)
    results = []
    for path, row in zip(args.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[: args.top]
        results.append({"image": path, "classes": [{"name": about["classes"][i], "probability": float(row[i])} for i in best]})
    if args.json:
        print(json.dumps({"predictions": results}))
        return 0
    for result in results:
        print(f"{result['image']}")
        print(table([["  " + c["name"], f"{100 * c['probability']:.2f} %"] for c in result["classes"]], ["  class", "probability"]) + "\n")
    return 0
