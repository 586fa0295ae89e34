"""argparse with one-line errors, suggestions, and examples at the end of the help."""

from __future__ import annotations

import argparse
import difflib

from .errors import CommandError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are :class:`CommandError`.

    Args:
        prog: the command as typed.
        description: what it does.
        examples: lines for the end of the help.
    """

    def __init__(self, prog: str, description: str, examples: str):
        super().__init__(prog=prog, description=description.strip(), epilog="examples:\n" + _indented(examples), allow_abbrev=False,
                         formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=120))

    def error(self, message):
        """Raise instead of printing the usage and leaving."""
        raise CommandError(f"{message} (see {self.prog} --help)")

    def parse_args(self, args=None, namespace=None):
        """As argparse, with a suggestion for an unknown option."""
        parsed, unknown = self.parse_known_args(args, namespace)
        self.refuse(unknown)
        return parsed

    def refuse(self, unknown: list[str]) -> None:
        """Raise for the first of the words that nobody took, with a suggestion."""
        if unknown:
            word = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(word, self._option_string_actions, 1)
            self.error(f"unknown {'option' if word.startswith('-') else 'argument'} {word!r}{f'; did you mean {near[0]}?' if near else ''}")


class SubParser(Parser):
    """The parser of one of several things that a command does: it refuses unknown words itself, for its options are the ones to suggest."""

    def parse_known_args(self, args=None, namespace=None):
        """As argparse, but nothing is left over."""
        parsed, unknown = super().parse_known_args(args, namespace)
        self.refuse(unknown)
        return parsed, []


def _indented(text: str) -> str:
    return "\n".join("  " + line.strip() for line in text.strip().splitlines())
