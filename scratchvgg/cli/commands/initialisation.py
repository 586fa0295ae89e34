"""scratchvgg initialisation"""

from __future__ import annotations

import shlex

from ..errors import CommandError
from ..text import program
from .train import add_recipe_options, changed

SUMMARY = "why a deep net sits at ln(classes): VGG-16 from N(0, 0.01), from Kaiming's initialisation, and with batch norm"
DESCRIPTION = """
Train one VGG three times from different beginnings, and measure in every layer how large the signal and the gradient are:
N(0, 0.01) without batch norm, Kaiming's initialisation without it, and N(0, 0.01) with it. Says which of them train, which sits
at ln(classes), and why, in words, numbers and figures. Each is a run folder that scratchvgg study shows layer by layer.
Ctrl-C loses nothing: --resume goes on. Every field of a recipe is an option.
"""
EXAMPLES = """
scratchvgg initialisation                                        a quarter of VGG-16, built-in pictures: some minutes
scratchvgg initialisation --html initialisation.html             and a page with figures
scratchvgg initialisation --data cifar10 --root data --width 1   the whole VGG-16 on CIFAR-10: for a patient machine
scratchvgg initialisation --config A --epochs 3 --lr 0.05
scratchvgg initialisation --resume runs/initialisation-sample-1  go on after Ctrl-C, or show again what is done
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.usage = "%(prog)s [options]"
    parser.add_argument("--width", type=float, metavar="X", help="factor of every number of channels (default: 0.25)")
    parser.add_argument("--config", metavar="A|B|C|D|E", help="net of the paper (default: D, which is VGG-16)")
    parser.add_argument("--quick", action="store_true", help="ten steps each, to see that it works")
    parser.add_argument("--resume", metavar="DIR", help="go on in this folder; takes no other recipe options but --device")
    parser.add_argument("--out", metavar="DIR", help="the folder to make (default: runs/initialisation-DATA-N)")
    parser.add_argument("--html", metavar="FILE", help="write a page with figures")
    parser.add_argument("--json", metavar="FILE", help="write all numbers, with the machine")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a progress bar")
    add_recipe_options(parser)


def run(args) -> int:
    """Train what is missing, and say what happened."""
    from ... import train
    from ...bench import machine, results
    from ...study import initialisation
    from ...train import recipe as recipes

    changes = {name: value for name, value in vars(args).items() if name in recipes.FIELDS}
    if args.resume is not None:
        moved = {name: changes.pop(name) for name in ("device",) if name in changes}
        given = [f"--{name.replace('_', '-')}" for name in (*changes, *(n for n in ("out", "width", "config", "quick") if getattr(args, n)))]
        if given:
            raise CommandError(f"--resume goes on with the folder's own recipe; leave out {', '.join(given)}")
        folder = train.open_existing(args.resume)
    else:
        train.check_free(args.out)
        moved = {}
        try:
            recipe = initialisation.recipe(initialisation.WIDTH if args.width is None else args.width, args.config or "D", args.quick)
        except ValueError as error:
            raise CommandError(str(error)) from None
        recipe = changed(recipe, changes)
        _check(recipe)
        train.Trainer(initialisation.variant(recipe, "normal"), args.plain)  # everything about it is checked before a folder is made
        folder = train.create(recipe, args.out)
    stopped = initialisation.run(folder, args.plain, lambda label: print(f"\n{label}", flush=True), **moved)
    if stopped is not None:
        print(f"stopped; everything is saved. Go on with:\n  {program()} initialisation --resume {shlex.quote(str(folder.path))}")
        return 128 + stopped.signal
    found = initialisation.of_folder(folder, machine.describe() if args.json else None)
    print(f"\n{found}\n\n{shlex.quote(str(folder.path))}: {', '.join(initialisation.VARIANTS)}")
    if args.json:
        results.write_json(args.json, found.to_dict())
    if args.html:
        _page(found, args.html)
    return 0


def _check(recipe) -> None:
    fixed = {"model": "cifar_vgg", "record": True, "init_std": None, "init_from": None}
    for name, value in fixed.items():
        if getattr(recipe, name) != value:
            raise CommandError(f"--{name.replace('_', '-')}: the demonstration chooses it itself")


def _page(found, path) -> None:
    from ...study.page import Section, document
    from ...weights.atomic import atomic_write

    text = document("Initialisation", [Section("initialisation", "Three beginnings", found.to_html())], lead="Measured by training with --record.",
                    data=found.to_dict())
    with atomic_write(path, "w") as file:
        file.write(text)
