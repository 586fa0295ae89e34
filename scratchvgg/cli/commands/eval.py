"""scratchvgg eval"""

from __future__ import annotations

import json

from ..text import table

SUMMARY = "test a trained net, class by class"
DESCRIPTION = """
Test the net of a run on the test set it was trained for: accuracy, loss, accuracy of each class, commonest confusions.
Takes a run folder (its best checkpoint) or a checkpoint file.
"""
EXAMPLES = """
scratchvgg eval runs/sample-1                       the best checkpoint
scratchvgg eval runs/sample-1/last.ckpt             the last one
scratchvgg eval runs/small-cifar10-1 --tta flip     average over mirror images
scratchvgg eval runs/small-cifar10-1 --root /data   the data have moved
scratchvgg eval runs/sample-1 --conv reproducible   plain sums of products in every convolution
scratchvgg eval runs/sample-1 --device cuda         on a GPU, wherever it was trained
scratchvgg eval runs/sample-1 --json                for programs
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN_DIR", help="a run folder or a .ckpt file")
    parser.add_argument("--tta", choices=("none", "flip", "shift"), help="test-time averaging (default: the recipe's)")
    parser.add_argument("--root", help="folder that holds the data set (default: the recipe's)")
    parser.add_argument("--test-size", type=int, metavar="N", help="use only the first N test images")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step (default: the recipe's)")
    parser.add_argument("--conv", metavar="NAME", help="convolution algorithm: auto, tuned, reproducible or a name (default: the recipe's)")
    parser.add_argument("--device", help="where to compute: cpu, cuda, emulator (default: cpu)")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="show the N commonest confusions (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args) -> int:
    """Test and print."""
    from ... import data, evaluate
    from ...data import transforms
    from ...train import build, checkpoint, recipe

    path = checkpoint.find(args.checkpoint)
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
    classes, confused = about["classes"], report.confused(args.pairs)
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
