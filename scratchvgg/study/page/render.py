"""Templates become markup."""

from __future__ import annotations

import functools
from importlib import resources

from . import formats

NEEDS = "pages need jinja2: pip install 'scratchvgg[study]'"


@functools.cache
def environment():
    """jinja2's environment over ``templates/``: text is escaped, a value that is missing is an error.

    Raises:
        ImportError: naming the extra, without jinja2.
    """
    try:
        import jinja2
    except ImportError:
        raise ImportError(NEEDS) from None
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(formats.FILTERS)
    return made


def _source(name: str) -> str | None:
    file = resources.files(__package__).joinpath("templates", *name.split("/"))
    return file.read_text("utf-8") if file.is_file() else None


def render(template: str, **values):
    """The markup of ``templates/<template>`` with ``values``, and ``svg`` and ``images``, the modules of figures.

    Raises:
        ImportError: naming the extra, without jinja2.
    """
    from . import images, svg

    text = environment().get_template(template).render(svg=svg, images=images, **values)
    return markup()(text)


def markup():
    """markupsafe's ``Markup``, which comes with jinja2.

    Raises:
        ImportError: naming the extra.
    """
    try:
        from markupsafe import Markup
    except ImportError:
        raise ImportError(NEEDS) from None
    return Markup
