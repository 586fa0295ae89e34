"""Run the sections in order of worth, each in a process of its own with a time limit, and write one JSON file and one readable report.

Both files are written anew every few seconds, so a run that is cut short leaves what it has. Without a GPU nothing is measured and nothing is
written; --rehearse walks through everything on the emulator, to test this script.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from scratchvgg.cuda import driver

from . import child
from .parent import Parent
from .sections import SECTIONS

BUDGET = 520  # seconds: all of it in less than nine minutes


def main(arguments=None) -> int:
    """The command; its exit status: 0, or 1 if something failed or was found wrong, 2 for a wrong use, 128 + n if signal n ended it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_report", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog="sections, in order:\n" + "\n".join(f"  {name:14s} {s.what} (at most {s.limit} s)" for name, s in SECTIONS.items()))
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help=f"for everything (default: {BUDGET})")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help="these sections")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the two files go (default: benchmarks/results/gpu-NAME-DATE)")
    parser.add_argument("--cifar", type=Path, metavar="DIR", help="folder with CIFAR-10 (default: $SCRATCHVGG_CIFAR10; without it the built-in set)")
    parser.add_argument("--strict", action="store_true", help="exit status 1 without a GPU")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the emulator, nothing is timed; needs --out")
    parser.add_argument("--section", help=argparse.SUPPRESS)  # a child: run one section and keep its results in --json
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    args.cifar = args.cifar and args.cifar.resolve()
    if args.section:
        return child.run(SECTIONS[args.section].run, args)
    if args.rehearse and not args.out:
        parser.error("--rehearse needs --out: a rehearsal does not belong among the results")
    found = driver.probe()
    if not found.count and not args.rehearse:
        print(f"not measured on a GPU: {found.reason}")
        return int(args.strict)
    return Parent(args, SECTIONS, args.out or _folder()).run(args.only or list(SECTIONS))


def _folder() -> Path:
    from scratchvgg.cuda import get_device_name

    return Path("benchmarks") / "results" / f"gpu-{'-'.join(get_device_name(0).lower().split())}-{time.strftime('%Y%m%d-%H%M%S')}"


if __name__ == "__main__":
    sys.exit(main())
