"""scratchvgg ablation"""

from __future__ import annotations

import shlex

from ..errors import CommandError
from ..text import program, table
from .train import add_recipe_options, changed

SUMMARY = "the paper's training with and without net A's layers and scale jitter, as a table"
DESCRIPTION = """
Train a net four times by the paper's recipe: beginning with layers of net A or with random weights, on pictures of one scale or
of a jittered one. Then test each as the paper does (dense, one scale and several) and print a table beside the paper's figures.
Net A is trained once and shared. Ctrl-C loses nothing: --resume goes on, finished trainings are kept.
Every field of a recipe is an option.
"""
EXAMPLES = """
scratchvgg ablation --root pictures                             pictures/train/CLASS/*.jpg, pictures/test/CLASS/*.jpg
scratchvgg ablation --root pictures --config B --epochs 10      another net of the paper: B, C, D or E
scratchvgg ablation --root pictures --crop 64 --scale-min 72 --scale-max 144 --model-options crop=64
scratchvgg ablation --data cifar10 --root data --train-size 2000 --seeds 3
scratchvgg ablation --data sample --train-size 500 --epochs 5    the built-in pictures
scratchvgg ablation --resume runs/ablation-folder-1              go on after Ctrl-C; --seeds 3 adds seeds
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.usage = "%(prog)s [options]"
    parser.add_argument("--recipe", metavar="NAME|FILE.toml", help="the full method, with crop and two scales (default: paper_small)")
    parser.add_argument("--config", metavar="B|C|D|E", help="net of the paper; the same as --model-options config=...")
    parser.add_argument("--seeds", type=int, metavar="N", help="repeat everything with N seeds (default: 1)")
    parser.add_argument("--resume", metavar="DIR", help="go on with this ablation; takes no recipe options but --device")
    parser.add_argument("--out", metavar="DIR", help="the folder to make (default: runs/ablation-DATA-N)")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a progress bar")
    add_recipe_options(parser)


def run(args) -> int:
    """Train, test and print the table."""
    from ... import train
    from ...train import ablation
    from ...train import recipe as recipes

    if args.seeds is not None and args.seeds < 1:
        raise CommandError(f"--seeds: expected 1 or more, got {args.seeds}")
    changes = {name: value for name, value in vars(args).items() if name in recipes.FIELDS}
    if args.resume is not None:
        moved = {name: changes.pop(name) for name in ("device",) if name in changes}
        given = [f"--{name.replace('_', '-')}" for name in (*changes, *(n for n in ("recipe", "out", "config") if getattr(args, n)))]
        if given:
            raise CommandError(f"--resume goes on with the ablation's own recipe and folder; leave out {', '.join(given)}")
        folder = train.open_existing(args.resume)
        study = ablation.Ablation(folder.read_recipe().replace(**moved), args.seeds or ablation.read_results(folder)["seeds"], args.plain, _say)
    else:
        train.check_free(args.out)
        if args.config is not None:
            changes["model_options"] = [*changes.get("model_options", []), {"config": args.config}]
        recipe = changed(recipes.load(args.recipe or "paper_small"), {"name": "ablation", **changes})
        study = ablation.Ablation(recipe, args.seeds or 1, args.plain, _say)
        study.check()
        folder = train.create(study.recipe, args.out)
    results = study.run(folder)
    where = shlex.quote(str(folder.path))
    if results is None:
        print(f"stopped; everything is saved. Go on with:\n  {program()} ablation --resume {where}")
        return 128 + study.outcome.signal
    print("\n" + _table(study.recipe, results))
    return 0


def _say(line):
    print(line, flush=True)


def _table(recipe, results) -> str:
    from ...train.ablation import paper_errors

    rows = []
    for result in results:
        paper = paper_errors(recipe, result.scale) if result.init == "A" else None
        low, high = result.train_scale if isinstance(result.train_scale, tuple) else (result.train_scale,) * 2
        rows.append([
            "net A's layers" if result.init == "A" else "random", str(low) if low == high else f"{low}..{high}",
            *(_error(result, test) for test in range(2)), *(["-", "-"] if paper is None else [f"{error:.1f}" for error in paper]),
            f"{sum(result.epochs) / len(result.epochs):g}", f"{sum(result.seconds):.0f} s"])
    first, jittered = results[0], results[1]
    scales = [" and ".join(" ".join(map(str, sorted(result.scales[test]))) for result in (first, jittered)) for test in range(2)]
    return table(rows, ["begins with", "training S", "one scale", "several", "paper", "paper, several", "epochs", "time"], left=2) + (
        f"\n\ntop-1 error in per cent on {first.images} test images, with Wilson's 95 % interval"
        f"{'' if len(first.epochs) == 1 else f'; mean of {len(first.epochs)} seeds, and their range'}\n"
        f"dense evaluation with mirror images; Q = {scales[0]}; several: {scales[1]}\n"
        "paper: the same configuration at full width on ILSVRC-2012, S = 256 and 256..512 (arXiv 1409.1556, Tables 3 and 4); of random weights "
        "it gives no figures\n"
        "the interval is that of the test images alone: two trainings of one arm differ too (--seeds)")


def _error(result, test) -> str:
    rate, low, high = (100 * value for value in result.error(test))
    errors = [100 * wrong / result.images for wrong in result.errors[test]]
    spread = f" ({min(errors):.1f} to {max(errors):.1f})" if len(errors) > 1 else ""
    return f"{rate:.1f} [{low:.1f}, {high:.1f}]{spread}"
