"""The page: templates, styles, figures. Everything that a browser shows of the study is made here, and nothing of it needs the network.

``document`` makes a whole file that opens from a disk: one policy (``Content-Security-Policy``) allows its own style sheet and script, by their
hashes, and pictures that lie in the file; nothing else. So no template may use a ``style`` attribute or an ``on…`` handler. Text is
escaped by jinja2, and by the helpers in :mod:`.svg` and :mod:`.images`.
"""

from .document import Section, document, notebook
from .render import render

__all__ = ["Section", "document", "notebook", "render"]
