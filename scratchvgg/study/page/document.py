"""A whole page in one file, and a fragment for notebooks."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from ..shown import Shown, plain
from .render import markup as safe
from .render import render


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: what an address ends with to point here: letters and hyphens.
        heading: shown above it and in the contents.
        body: markup.
        lead: a sentence under the heading; plain text.
    """

    name: str
    heading: str
    body: object
    lead: str = ""


def document(title: str, sections: Sequence[Section], *, lead: str = "", facts: Sequence[tuple[str, str]] = (), data: dict | None = None,
             footer: Sequence[str] = ()) -> str:
    """The HTML of a page that needs nothing but itself.

    Args:
        title: of the page; plain text, as everything here but the bodies of sections.
        lead: a sentence or two below it.
        facts: (name, value) pairs at the head.
        data: all numbers of the page, embedded as JSON in the element ``data``.
        footer: lines at the foot.

    Raises:
        ImportError: naming the extra, without jinja2.
    """
    markup = safe()
    style, script = _collected("css"), _collected("js")
    text = json.dumps(plain(data or {}), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":  # the parser must meet no end of the element within it
        text = text.replace(character, f"\\u{ord(character):04x}")
    policy = (f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}; base-uri 'none'; form-action 'none'")
    return str(render("document.html", title=title, lead=lead, facts=list(facts), sections=list(sections), footer=list(footer), policy=policy,
                      style=markup(style), script=markup(script), data=markup(text)))


def notebook(shown: Shown):
    """A result with the styles it needs, for ``_repr_html_``: no script, so what needs one shows all of itself.

    Raises:
        ImportError: naming the extra, without jinja2.
    """
    markup = safe()
    return markup('<div class="scratchvgg"><style>{}</style><h3>{}</h3>{}</div>').format(
        markup(_collected("css")), shown.title, shown.to_html())


@functools.cache
def _collected(suffix: str) -> str:
    """``page.<suffix>`` and then the other files of that kind in ``static/``, by name."""
    folder = resources.files(__package__).joinpath("static")
    names = sorted((f.name for f in folder.iterdir() if f.name.endswith(f".{suffix}")), key=lambda name: (name != f"page.{suffix}", name))
    return "\n" + "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)


def _allowed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
