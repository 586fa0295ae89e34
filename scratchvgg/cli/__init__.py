"""Floor 10: the command line. One file per command in ``commands/``; this file finds and runs them."""

from __future__ import annotations

import difflib
import os
import sys

from ..array import keep_freed_memory
from .errors import CommandError, is_user_error
from .parser import Parser
from .registry import command_names, load_command


def main(argv: list[str] | None = None) -> int:
    """Run ``scratchvgg`` with the arguments ``argv`` (default: the process's) and return the exit status.

    0 means done, 1 that the work failed, 2 that the input was bad (one line on stderr says what), 128 + n that signal n stopped it.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _dispatch(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of our output has gone, as in `scratchvgg summary vgg16 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        from .. import __version__

        print(f"scratchvgg {__version__}")
        return 0
    name, names = argv[0], command_names()
    try:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            what = "option" if name.startswith("-") else "command"
            raise CommandError(f"there is no {what} {name!r}{f'; did you mean {near[0]!r}?' if near else ''} (commands: {', '.join(names)})")
        command = load_command(name)
        parser = Parser(prog=f"scratchvgg {name}", description=command.DESCRIPTION, examples=command.EXAMPLES)
        command.configure(parser)
        args = parser.parse_args(argv[1:])
        keep_freed_memory()
        return command.run(args) or 0
    except Exception as error:
        if not is_user_error(error):
            raise
        prefix = f"scratchvgg {name}" if name in names else "scratchvgg"
        print(f"{prefix}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return getattr(error, "exit_status", 2)


def overview() -> str:
    """The text of ``scratchvgg --help``."""
    lines = [f"  {name:15s} {load_command(name).SUMMARY}" for name in command_names()]
    return "\n".join([
        "usage: scratchvgg COMMAND [options]     (scratchvgg COMMAND --help explains with examples)", "",
        "VGG with nothing hidden: train, test and look into VGG nets on NumPy.", "", "commands:", *lines, "", "begin with:",
        "  scratchvgg train                      train a small VGG on the built-in pictures, about a minute",
        "  scratchvgg eval runs/sample-1         test it, class by class",
        "  scratchvgg summary vgg16              layers, parameters and multiply-accumulates", "",
        "options:", "  -h, --help     this text", "  -V, --version  the version",
    ])
