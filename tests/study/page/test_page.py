"""The page: one file, a strict policy, sound markup."""

import base64
import hashlib
import io
import json
import re
from importlib import resources

import numpy as np
import pytest

from scratchvgg.study import page
from scratchvgg.study.page import Section, formats, images, svg

from ..html_check import check

PIL = pytest.importorskip("PIL.Image")


def example(**options):
    body = svg.bars([1, -2, None], ["a", "<b>", "c"], title="bars") + svg.histogram([1, 0, 5], [-1, 0, 1, 2], title="h & m") + images.png(
        np.zeros((2, 3), np.uint8), 'a "black" one', 4)
    return page.document("On <VGG>", [Section("first", "A & B", body, "lead"), Section("second", "C", svg.spark([1, None, 3], title="s"))], **options)


def test_document_is_sound_and_allows_only_itself():
    text = example(data={"a": "</script><b>", "n": float("nan")}, facts=[("layers", "31")], footer=["<foot>"], lead="x < y")
    seen = check(text)
    assert "On <VGG>" in seen and "<foot>" in seen and "x < y" in seen
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    for kind, element in (("style", "style"), ("script", "script")):
        inside = re.search(rf"<{element}>(.*?)</{element}>", text, re.S)[1]
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'" in policy
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    assert json.loads(data) == {"a": "</script><b>", "n": None}


def test_no_template_style_or_script_breaks_the_policy():
    folder = resources.files(page)
    templates = [f for place in ("templates", "templates/sections") for f in folder.joinpath(place).iterdir() if f.name.endswith(".html")]
    assert templates
    for file in templates:
        text = file.read_text("utf-8")
        assert not re.search(r"\sstyle=|\son[a-z]+=|https?:|\|\s*safe", text), file.name
    for file in folder.joinpath("static").iterdir():
        text = file.read_text("utf-8")
        assert "</" not in text and not re.search(r"https?:|@import|innerHTML|eval\(|\.style\b", text), file.name


def test_lines_leave_out_what_cannot_be_drawn():
    drawn = str(svg.lines([{"name": "a<b", "x": [0, 1, 2, 3], "y": [1.0, None, 100.0, 10.0]}, {"name": "c", "x": [0, 3], "y": [0.0, -1.0]}],
                          title="t", x_label="steps", y_label="norm", log_y=True))
    check(drawn)
    assert drawn.count("<polyline") == 2 and drawn.count("<circle") == 1 and ">100<" in drawn and "a&lt;b" in drawn
    assert "nothing to draw" in svg.lines([{"name": "a", "x": [], "y": []}], title="t", x_label="x", y_label="y")
    for low, high in ((0, 1), (3, 3), (-5, 1e6), (1e-9, 2e-9)):
        first, last, ticks = svg._ticks(low, high)
        assert first <= low and high <= last and 2 <= len(ticks) <= 8 and [t for t, _ in ticks] == sorted(t for t, _ in ticks)


def test_pictures_are_what_was_given():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    data = re.search(r'base64,([^"]*)"', images.png(pixels, "x"))[1]
    with PIL.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert np.array_equal(np.asarray(picture), pixels)
    assert 'class="pixels"' in images.png(pixels, "x", 3) and 'width="15"' in images.png(pixels, "x", 3)
    assert "image/jpeg" in images.jpeg(pixels, "x")
    assert images.grey(np.array([[0.0, 1.0], [0.5, np.nan]])).tolist() == [[0, 255], [128, 0]]
    assert images.grey(np.array([[-1.0, 2.0]]), 0, 1).tolist() == [[0, 255]] and images.grey(np.ones((1, 1))).tolist() == [[0]]
    sheet = images.tiles([np.full((2, 2), v, np.uint8) for v in (1, 2, 3)], 2)
    assert sheet.shape == (5, 5) and sheet[0, 0] == 1 and sheet[0, 3] == 2 and sheet[3, 0] == 3 and sheet[2, 0] == sheet[4, 4] == 128
    for bad in (pixels.astype(float), pixels[..., :2], pixels[0, 0]):
        with pytest.raises(ValueError, match="uint8"):
            images.png(bad, "x")
    with pytest.raises(ValueError, match="one size"):
        images.tiles([pixels, pixels[:2]], 2)


def test_numbers_are_written_shortly():
    assert [formats.size(v) for v in (None, 0, 1023, 1536, 28_901_376, 1 << 31, 1 << 45)] == [
        "–", "0 B", "1,023 B", "1.5 KiB", "27.6 MiB", "2.0 GiB", "32,768 GiB"]
    assert [formats.number(v) for v in (None, 3, 1234567, 0.0, 0.03125, 1.23456e-9, 2.5e7, float("nan"), float("-inf"), True)] == [
        "–", "3", "1,234,567", "0", "0.03125", "1.235e-09", "2.500e+07", "NaN", "-inf", "yes"]
    assert formats.shape((2, 3)) == "2×3" and formats.shape(()) == "scalar" and formats.shape(None) == formats.ms(None) == "–"
    assert formats.ms(0.0123) == "12.3" and formats.ms(2.5) == "2,500" and formats.percent(0.256) == "25.6 %" and formats.count(1234) == "1,234"
