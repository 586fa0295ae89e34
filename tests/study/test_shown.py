"""Results as JSON and for notebooks."""

import builtins
import json

import numpy as np
import pytest

from scratchvgg.study.shown import Shown, plain


class Count(Shown):
    title = "A <count>"

    def to_dict(self):
        return {"count": np.int64(3), "bad": [np.nan, np.float32(0.5), -np.inf], "array": np.arange(2.0), 7: (True, np.bool_(False), None)}

    def to_html(self):
        from markupsafe import Markup

        return Markup("<p>three</p>")


def test_json_says_everything(tmp_path):
    Count().save_json(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"count": 3, "bad": [None, 0.5, None], "array": [0.0, 1.0], "7": [True, False, None]}
    with pytest.raises(TypeError, match="object"):
        plain({"a": object()})


def test_notebooks_get_styles_and_escaped_titles(monkeypatch):
    markup = Count()._repr_html_()
    assert markup.startswith('<div class="scratchvgg"><style>') and "<h3>A &lt;count&gt;</h3><p>three</p></div>" in markup
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *args: real(name, *args) if name != "markupsafe" else (_ for _ in ()).throw(ImportError))
    assert Count()._repr_html_() is None
