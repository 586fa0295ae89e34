"""scratchvgg eval"""

from __future__ import annotations

import json

from ..errors import CommandError
from ..text import table
from . import _eval_photographs as photographs

SUMMARY = "test a trained net, class by class, or by the paper's protocols"
DESCRIPTION = """
Test the net of a run on the test set it was trained for: accuracy, loss, accuracy of each class, commonest confusions.
Takes a run folder (its best checkpoint) or a checkpoint file.

With --csv, --folder, --data or --protocol: top-1 and top-5 errors of any VGG on photographs, by the protocols of the VGG paper
(one crop, ten crops, dense, multi-crop, several scales, several nets), beside the paper's figures. The run can be stopped and
goes on with --resume. Needs Pillow: pip install 'scratchvgg[images]'. The guide is docs/evaluation.md.
"""
EXAMPLES = """
scratchvgg eval runs/sample-1                       the best checkpoint
scratchvgg eval runs/sample-1/last.ckpt             the last one
scratchvgg eval runs/small-cifar10-1 --tta flip     average over mirror images
scratchvgg eval runs/small-cifar10-1 --root /data   the data have moved
scratchvgg eval runs/sample-1 --conv reproducible   plain sums of products in every convolution
scratchvgg eval runs/sample-1 --device cuda         on a GPU, wherever it was trained
scratchvgg eval runs/sample-1 --json                for programs
scratchvgg eval --folder imagenet/val --model vgg16 --weights IMAGENET1K_V1
scratchvgg eval --csv labels.tsv --weights some.pth --protocol dense,multicrop,both --scales 256,384,512
scratchvgg eval --csv labels.tsv --model vgg16,vgg19 --weights a.pth,b.pth     each net, and both together
scratchvgg eval runs/small-cifar10-1 --protocol center,dense --scales 32,36    the run's test set, the paper's protocols
scratchvgg eval --resume runs/eval-vgg16-1          go on with an evaluation that stopped
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("run_dir", metavar="RUN_DIR", nargs="?", help="a run folder or a .ckpt file")
    parser.add_argument("--tta", choices=("none", "flip", "shift"), help="test-time averaging (default: the recipe's)")
    parser.add_argument("--root", help="folder that holds the data set, or the pictures of a --csv (default: the recipe's, the table's)")
    parser.add_argument("--test-size", type=int, metavar="N", help="use only the first N test images")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step (default: the recipe's)")
    parser.add_argument("--conv", metavar="NAME", help="convolution algorithm: auto, tuned, reproducible or a name (default: the recipe's)")
    parser.add_argument("--device", help="where to compute: cpu, cuda, emulator (default: cpu)")
    parser.add_argument("--pairs", type=int, metavar="N", help="show the N commonest confusions (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    photographs.configure(parser)


def run(args) -> int:
    """Test and print."""
    if photographs.wanted(args):
        return photographs.run(args)
    if args.run_dir is None:
        raise CommandError("the following arguments are required: RUN_DIR, or --csv, --folder or --data (see scratchvgg eval --help)")
    from ... import data, evaluate
    from ...data import transforms
    from ...train import build, checkpoint, recipe

    path = checkpoint.find(args.run_dir)
    model, state = checkpoint.load_model(path)
    changes = {"root": args.root, "tta": args.tta, "test_size": args.test_size, "eval_batch_size": args.batch_size, "conv": args.conv,
               "train_size": 1, "device": args.device or "cpu"}
    used = recipe.from_dict(state["recipe"]).replace(**{key: value for key, value in changes.items() if value is not None})
    model.to(build.backend(used).device)
    about = state["data"]
    dataset = build.datasets(used)[1]
    loader = data.DataLoader(dataset, used.eval_batch_size, seed=0, transform=transforms.Normalize(about["mean"], about["std"]))
    with build.convolutions(used):
        report = evaluate.evaluate(model, loader, used.tta)
    classes, confused = about["classes"], report.confused(5 if args.pairs is None else args.pairs)
    if args.json:
        print(json.dumps({
            "checkpoint": str(path), "model": used.model, "data": used.data, "images": report.count, "tta": used.tta, "accuracy": report.accuracy,
            "top5_accuracy": report.top5 / report.count, "loss": report.loss, "epoch": state["progress"]["epoch"],
            "classes": dict(zip(classes, [None if a != a else a for a in report.per_class().tolist()], strict=True)),
            "confused": [{"class": classes[c], "taken_for": classes[p], "images": n} for c, p, n in confused],
            "confusion": report.confusion.tolist(),
        }))
        return 0
    print(f"{path}: {used.model} on {used.data}, epoch {state['progress']['epoch']}, test-time averaging: {used.tta}\n")
    totals, right = report.confusion.sum(1), report.confusion.diagonal()
    print(table([[name, n, r, f"{100 * r / n:.2f} %" if n else "-"] for name, n, r in zip(classes, totals, right, strict=True)],
                ["class", "images", "right", "accuracy"]))
    if confused:
        print("\ncommonest confusions:\n" + "\n".join(f"  {n:4d} × {classes[c]} taken for {classes[p]}" for c, p, n in confused))
    print(f"\ntest accuracy {report.accuracy:.4f} ({report.correct} of {report.count}), among the first five {report.top5 / report.count:.4f}, "
          f"loss {report.loss:.4f}")
    return 0
