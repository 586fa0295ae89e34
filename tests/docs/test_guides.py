"""docs/guides keeps its word: every script runs from any folder, says what its notebook shows, and fails if a number in it is wrong."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scratchvgg.cuda.toolkit import find_headers

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "guides"
SCRIPTS = sorted(FOLDER.glob("[0-9]_*.py"))
NO_EMULATOR = shutil.which(os.environ.get("CXX") or "g++") is None or find_headers() is None
EVERY_GUIDE = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
WRONG = {  # what the guide says → something else
    "1": ("p + r - pad, q + s - pad", "p + r - pad, q + s"),  # a filter that is not over its pixel
    "2": ('np.eye(3)[target]) / len(x)', 'np.eye(3)[target])'),  # a sum for a mean
    "3": ("head = 4 * 64 + 4 * 10", "head = 4 * 64 + 4 * 11"),
    "4": ("(1 - 2 / (3 * side)) ** 2", "(1 - 2 / side) ** 2"),  # a border three times as wide
    "5": ("seen[threadIdx.y + r][threadIdx.x + s]", "seen[threadIdx.y + s][threadIdx.x + r]"),  # a transposed filter
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}

spec = importlib.util.spec_from_file_location("build_guides", FOLDER / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


def run(script, folder, **environment):
    """The script in a process of its own, in another folder, as a reader would."""
    return subprocess.run(
        [sys.executable, "-u", script], cwd=folder, env=ENVIRONMENT | environment, capture_output=True, encoding="utf-8", check=False
    )


def notebook(script):
    return json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))


def test_there_are_five_guides_with_notebooks_and_an_index_of_them():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [script.stem[0] for script in SCRIPTS] == list("12345") == sorted(WRONG)
    assert set(re.findall(r"\]\((\w+\.\w+)\)", index)) == {path.name for s in SCRIPTS for path in (s, s.with_suffix(".ipynb"))} | {"build.py"}
    assert sorted(FOLDER.glob("*.ipynb")) == [s.with_suffix(".ipynb") for s in SCRIPTS]


@EVERY_GUIDE
def test_the_notebook_is_that_of_the_script(script):
    """Cells equal; version 4.5 with all that it asks for; small; nothing of the run in it."""
    shown, text = notebook(script), script.read_text(encoding="utf-8")
    outputs = {i: cell["outputs"] for i, cell in enumerate(shown["cells"]) if cell.get("outputs")}
    assert build.notebook(text, outputs) == script.with_suffix(".ipynb").read_text(encoding="utf-8"), "run docs/guides/build.py"
    assert (shown["nbformat"], shown["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in shown["cells"]}) == len(shown["cells"])
    assert {cell["cell_type"] for cell in shown["cells"]} == {"markdown", "code"} and not any(cell["metadata"] for cell in shown["cells"])
    assert outputs and all(out["output_type"] in ("stream", "execute_result", "display_data") for made in outputs.values() for out in made)
    assert script.with_suffix(".ipynb").stat().st_size < 150_000 and len(text.splitlines()) <= 200
    assert text.count("\nassert ") + text.count("    assert ") >= 5


@EVERY_GUIDE
def test_it_runs_elsewhere_and_says_what_the_notebook_shows(script, tmp_path):
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    if "emulator" in script.name and NO_EMULATOR:
        assert done.stdout.startswith("Nothing can be run here: ")
        pytest.skip("no g++ on this machine, or no CUDA headers")
    streams = [out["text"] for cell in notebook(script)["cells"] for out in cell.get("outputs", []) if out["output_type"] == "stream"]
    assert done.stdout == "".join(line for lines in streams for line in lines)
    assert not list(tmp_path.iterdir()), "a guide leaves nothing behind"


@EVERY_GUIDE
def test_a_wrong_number_is_found(script, tmp_path):
    if "emulator" in script.name and NO_EMULATOR:
        pytest.skip("no g++ on this machine, or no CUDA headers")
    right, wrong = WRONG[script.stem[0]]
    text = script.read_text(encoding="utf-8")
    assert text.count(right) == 1
    copy = tmp_path / script.name
    copy.write_text(text.replace(right, wrong), encoding="utf-8")
    done = run(copy, tmp_path)
    assert done.returncode == 1 and "\nAssertionError" in done.stderr, done.stderr


def test_without_a_compiler_the_fifth_says_so_and_ends_well(tmp_path):
    done = run(SCRIPTS[4], tmp_path, CXX="no-such-compiler")
    assert done.returncode == 0 and done.stdout.startswith("Nothing can be run here: ") and "'no-such-compiler'" in done.stdout
    assert len(done.stdout.splitlines()) == 1 and not done.stderr


SHOWS = '''# %% [markdown]
# # Title
#
# Text.

# %%
import os
print("a")
os.write(1, b"C\\n")
2 + 2

# %%
class Shown:
    def __repr__(self): return "plain"
    def _repr_html_(self): return "<b>&amp;</b>"
    def _repr_png_(self): return b"\\x89PNG"
Shown()

# %%
silent = 1
'''


def test_the_builder_keeps_what_cells_show(tmp_path):
    script = tmp_path / "shows.py"
    script.write_text(SHOWS)
    assert build.main([str(script)]) == 0
    first = script.with_suffix(".ipynb").read_bytes()
    text, prints, faces, silent = json.loads(first)["cells"]
    assert text == {"cell_type": "markdown", "id": "cell-0", "metadata": {}, "source": ["# Title\n", "\n", "Text."]}
    stream, value = prints["outputs"]
    assert stream == {"name": "stdout", "output_type": "stream", "text": ["a\n", "C\n"]}
    assert value == {"data": {"text/plain": ["4"]}, "execution_count": 1, "metadata": {}, "output_type": "execute_result"}
    assert faces["outputs"][0]["data"] == {"text/plain": ["plain"], "text/html": ["<b>&amp;</b>"], "image/png": "iVBORw=="}
    assert silent["outputs"] == [] and silent["execution_count"] == 3
    assert build.main([str(script)]) == 0 and script.with_suffix(".ipynb").read_bytes() == first


def test_the_builder_shows_open_figures(tmp_path):
    pytest.importorskip("matplotlib")
    script = tmp_path / "draws.py"
    script.write_text("# %%\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nNone\n\n# %%\nlen(plt.get_fignums())\n")
    assert build.main([str(script)]) == 0
    drawn, closed = notebook(script)["cells"]
    assert drawn["outputs"][0]["output_type"] == "display_data" and drawn["outputs"][0]["data"]["image/png"].startswith("iVBORw0KGgo")
    assert closed["outputs"][0]["data"] == {"text/plain": ["0"]}


def test_the_builder_names_the_line_that_fails_and_writes_nothing(tmp_path, capfd):
    script = tmp_path / "wrong.py"
    script.write_text("# %% [markdown]\n# Text.\n\n# %%\nx = 1\n\nassert x == 2\n")
    assert build.main([str(script)]) == 1
    said = capfd.readouterr()
    assert 'wrong.py", line 7' in said.err and "AssertionError" in said.err and "wrong.py: failed" in said.out
    assert not script.with_suffix(".ipynb").exists()


@pytest.mark.parametrize(("text", "line"), [("x = 1\n", 1), ("# %% [markdown]\n# Text.\nx = 1\n", 3)])
def test_the_builder_refuses_what_is_no_percent_script(text, line):
    with pytest.raises(ValueError, match=f"line {line}: expected"):
        build.split(text)
