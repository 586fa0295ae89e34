"""What every page and fragment of the study must be: well formed, within its policy, readable for everybody."""

import html.parser
import re

EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class _Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.faults, self.links, self.text, self.tags = [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        if len(given) != len(attributes):
            self.faults.append(f"<{tag}>: an attribute stands twice")
        for name, value in attributes:
            if name == "style" or name.startswith("on"):
                self.faults.append(f"<{tag} {name}>: the policy forbids it")
            if name in ("src", "href", "action", "srcset", "xlink:href") and not (value or "").startswith(("#", "data:image/")):
                self.faults.append(f"<{tag} {name}={value!r}>: leads out of the page")
        if "id" in given:
            self.ids.append(given["id"])
        if given.get("href", "").startswith("#"):
            self.links.append(given["href"][1:])
        if tag == "img" and not given.get("alt"):
            self.faults.append("<img> without alt")
        if tag == "th" and "scope" not in given:
            self.faults.append("<th> without scope")
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:] or 'nothing'}")
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def check(markup) -> str:
    """Assert that ``markup`` is sound; returns its visible text."""
    reader = _Reader()
    reader.feed(str(markup))
    reader.close()
    assert not reader.faults, "; ".join(dict.fromkeys(reader.faults))
    assert not reader.open, f"never closed: {reader.open}"
    assert len(set(reader.ids)) == len(reader.ids), f"ids twice: {sorted(i for i in set(reader.ids) if reader.ids.count(i) > 1)}"
    if "html" in reader.tags:
        assert set(reader.links) <= set(reader.ids), f"links to nowhere: {set(reader.links) - set(reader.ids)}"
    text = re.sub(r"\s+", " ", " ".join(reader.text))
    assert "Undefined" not in text and not re.search(r"\bnan\b|\bNone\b", text), "a value that is missing shows"
    return text
