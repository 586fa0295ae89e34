"""scratchvgg train"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal

from ..errors import CommandError
from ..text import program

SUMMARY = "train a net by a recipe, or go on with a run that stopped"
DESCRIPTION = """
Train a net. A recipe names everything: data, net, augmentation, optimiser, schedule. Every field of it is also an option here.
The run folder gets recipe.toml, metrics.jsonl, curves.png, last.ckpt and best.ckpt. A run that was stopped, or killed at
any moment, goes on with --resume and ends with the same bits as one that was not.
"""
EXAMPLES = """
scratchvgg train                                              the built-in pictures, about a minute
scratchvgg train --data cifar10 --root data --recipe small    CIFAR-10 in some minutes (--download gets it first)
scratchvgg train --resume runs/small-cifar10-1                go on after Ctrl-C, a crash or a power cut
scratchvgg train --epochs 3 --lr 0.2 --augmentation crop:4 flip cutout:8
scratchvgg train --model cifar_vgg --model-options config=A dropout=0.3
scratchvgg train --recipe small --conv tuned                  measure each convolution once, then take the fastest (remembered)
scratchvgg train --data folder --root pictures --image-size 64    pictures/train/CLASS/*.jpg, pictures/test/CLASS/*.jpg
scratchvgg train --record                                     and how every layer does, for scratchvgg study RUN_DIR
scratchvgg train --recipe paper --root pictures               the paper's: net A first, scale jitter, colour shift
scratchvgg train --recipe paper_small --root pictures --no-init-from-a --scale-max none    small, random weights, one scale
scratchvgg train --recipe tiny --device emulator              through the CUDA kernels, on a machine without a GPU
scratchvgg train --recipe tiny --device emulator --sanitize --epochs 1 --train-size 64      and every launch checked
scratchvgg train --recipe small --data cifar10 --root data --device cuda --precision bf16 --cuda-graph
scratchvgg train --recipe my.toml --out runs/mine             your own recipe (copy a recipe.toml to begin)
scratchvgg train --list-recipes
"""


def configure(parser) -> None:
    """Declare the options: the recipe's fields, group by group."""
    parser.usage = "%(prog)s [options]"
    parser.add_argument("--recipe", metavar="NAME|FILE.toml", help="where to start from (default: sample for the built-in set, else small)")
    parser.add_argument("--resume", metavar="RUN_DIR", help="go on with this run; takes no recipe options but --device and --record")
    parser.add_argument("--out", metavar="RUN_DIR", help="the run folder to make (default: runs/RECIPE-DATA-N)")
    parser.add_argument("--list-recipes", action="store_true", help="show the built-in recipes and leave")
    parser.add_argument("--no-init-from-a", dest="init_from", action="store_const", const=None, default=argparse.SUPPRESS,
                        help="begin with random weights, whatever the recipe says")
    parser.add_argument("--sanitize", action="store_true", help="device emulator: check memory, initialisation, races and barriers of every launch")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a progress bar")
    add_recipe_options(parser)


def add_recipe_options(parser) -> None:
    """Every field of a recipe as an option, group by group; what is not given is not in the parsed arguments."""
    from ...train.recipe import FIELDS

    groups = {}
    for field in FIELDS.values():
        group = field.metadata["group"]
        groups.setdefault(group, parser.add_argument_group(f"recipe: {group}") if group not in groups else groups[group])
        _add_option(groups[group], field)


def _add_option(group, field) -> None:
    from ...train.recipe import RecipeError, kind_of, parse_option, parse_text

    kind, element, _ = kind_of(field)

    def convert(text):
        try:
            return parse_option(text) if kind is dict else parse_text(field, text)
        except RecipeError as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{field.name}: ")) from None

    flag, help = "--" + field.name.replace("_", "-"), field.metadata["help"]
    settings = {"dest": field.name, "default": argparse.SUPPRESS, "help": help.replace("%", "%%")}
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
    elif kind is dict:
        group.add_argument(flag, nargs="+", type=convert, metavar="KEY=VALUE", **settings)
    elif kind is list:
        group.add_argument(flag, nargs="*", type=convert, metavar=_METAVARS[element], **settings)
    else:
        choices = field.metadata.get("choices")
        group.add_argument(flag, type=convert, metavar="{" + ",".join(choices) + "}" if choices else _METAVARS[kind], **settings)


_METAVARS = {str: "TEXT", int: "N", float: "X"}


def run(args) -> int:
    """Train, and say how it ended."""
    from ... import train
    from ...train import recipe as recipes

    if args.list_recipes:
        print("\n".join(f"{name:12s} {recipes.load(name).description}" for name in recipes.names()))
        return 0
    changes = {name: value for name, value in vars(args).items() if name in recipes.FIELDS}
    if args.resume is not None:
        moved = {name: changes.pop(name) for name in train.MOVABLE if name in changes}
        given = [f"--{name.replace('_', '-')}" for name in (*changes, *(n for n in ("recipe", "out") if getattr(args, n)))]
        if given:
            raise CommandError(f"--resume goes on with the run's own recipe and folder; leave out {', '.join(given)}")
        folder = train.open_existing(args.resume)
        trainer = train.Trainer(folder.read_recipe().replace(**moved), args.plain)
    else:
        train.check_free(args.out)
        start = args.recipe or ("sample" if changes.get("data", "sample") == "sample" else "small")
        recipe = changed(recipes.load(start), changes)
        train.from_net_a.check(recipe)
        trainer = train.Trainer(recipe, args.plain)  # everything about the recipe is checked before a folder is made
        _sanitized(args, trainer)
        folder = train.create(recipe, args.out)
    with _sanitized(args, trainer):
        return _tell(trainer, trainer.run(folder))


def _sanitized(args, trainer):
    from ...cuda import emulator

    if args.sanitize and trainer.backend.device.type != "emulator":
        raise CommandError(f"--sanitize checks the launches of --device emulator, got {trainer.backend.device}; for a GPU there is compute-sanitizer")
    return emulator.sanitize() if args.sanitize else contextlib.nullcontext()


def changed(recipe, changes: dict):
    """A recipe with parsed options in it. Options of a net are added to the recipe's, unless the net is another one.

    Raises:
        RecipeError: for bad values.
    """
    for name, value in changes.items():
        if isinstance(getattr(recipe, name), dict):
            merged = {key: v for option in value for key, v in option.items()}
            changes[name] = {**({} if "model" in changes else getattr(recipe, name)), **merged}
    if "model" in changes:
        changes.setdefault("model_options", {})
    return recipe.replace(**changes)


def _tell(trainer, outcome) -> int:
    folder = shlex.quote(str(trainer.folder.path))
    if not outcome.finished:
        where = f"after step {trainer.steps} of {trainer.total_steps}" if trainer.folder.last.exists() else "in the training of net A"
        print(f"stopped {where}; everything is saved. Go on with:\n  {program()} train --resume {folder}")
        return 128 + (outcome.signal or signal.SIGINT)
    print(f"test accuracy {outcome.accuracy:.4f} (best {outcome.best:.4f}) after {outcome.seconds:.1f} s at GEMM {outcome.gemm_gflops:.0f} GFLOP/s\n"
          f"{folder}: {', '.join(sorted(p.name for p in trainer.folder.path.iterdir() if p.name != 'lock'))}\n"
          f"next: {program()} eval {folder}")
    return 0
