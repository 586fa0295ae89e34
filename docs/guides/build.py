"""Run the guides of this folder and write each one's notebook, outputs and all: ``python docs/guides/build.py [GUIDE.py …]``.

A guide is a script in the percent format: ``# %% [markdown]`` begins a cell of text in comments, ``# %%`` a cell of code. Cells run in order in one
namespace, as in Jupyter, each guide in a process of its own and in an empty folder. Kept are what a cell prints (Python, or a CUDA thread on the
emulator), the value of its last expression (text, and HTML or PNG if it has them), and its open matplotlib figures. An assert that fails stops the
build. The same outputs make the same bytes: nothing of the time, the machine or the run is written.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}


def split(text: str) -> list[tuple[str, str, int]]:
    """Cells of a percent script: ("markdown" or "code", source, line of the script on which the source begins).

    Raises:
        ValueError: if something stands before the first marker, or a line of a markdown cell is no comment.
    """
    cells: list[tuple[str, list[str], int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line in ("# %%", "# %% [markdown]"):
            cells.append(("code" if line == "# %%" else "markdown", [], number + 1))
        elif not cells:
            raise ValueError(f"line {number}: expected '# %%' or '# %% [markdown]' first, got {line!r}")
        elif cells[-1][0] == "code" or not line:
            cells[-1][1].append(line)
        elif line == "#" or line.startswith("# "):
            cells[-1][1].append(line[2:])
        else:
            raise ValueError(f"line {number}: expected a comment in a markdown cell, got {line!r}")
    return [(kind, "\n".join(lines).strip("\n"), first) for kind, lines, first in cells]


def notebook(text: str, outputs: dict[int, list[dict]]) -> str:
    """The notebook (format 4.5) of the script ``text`` as JSON; ``outputs`` has those of the code cells by their place in :func:`split`."""
    cells, count = [], 0
    for place, (kind, source, _) in enumerate(split(text)):
        cell: dict = {"cell_type": kind, "id": f"cell-{place}", "metadata": {}, "source": source.splitlines(keepends=True)}
        if kind == "code":
            count += 1
            made = [{**out, "execution_count": count} if out["output_type"] == "execute_result" else out for out in outputs.get(place, [])]
            cell |= {"execution_count": count, "outputs": made}
        cells.append(cell)
    return json.dumps({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def execute(text: str, name: str) -> dict[int, list[dict]]:
    """Run the code cells here; ``name`` stands in tracebacks. Returned are the outputs of each cell that has some, by its place in :func:`split`."""
    names: dict = {"__name__": "__main__"}
    outputs = {}
    for place, (kind, source, first) in enumerate(split(text)):
        if kind == "code":
            with _captured() as printed:
                value = _run("\n" * (first - 1) + source, name, names)  # the script's own line numbers
            made = [{"name": "stdout", "output_type": "stream", "text": printed[0].splitlines(keepends=True)}] if printed[0] else []
            if value is not None:
                made.append({"data": _faces(value), "metadata": {}, "output_type": "execute_result"})
            outputs[place] = made + _figures()
    return {place: made for place, made in outputs.items() if made}


def _run(source: str, name: str, names: dict):
    """Execute a cell and return the value of its last line, if that is an expression."""
    tree = ast.parse(source, name)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    return None if last is None else eval(compile(last, name, "eval"), names)


@contextlib.contextmanager
def _captured():
    """Collect what goes to file descriptor 1: Python's prints and C's printf. The list that it yields has the text afterwards."""
    printed: list[str] = []
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield printed
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        printed.append(file.read().decode())


def _faces(value) -> dict:
    data: dict = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_html_") and (html := value._repr_html_()):
        data["text/html"] = str(html).splitlines(keepends=True)
    if hasattr(value, "_repr_png_") and (png := value._repr_png_()):
        data["image/png"] = base64.b64encode(png).decode()
    return data


def _figures() -> list[dict]:
    """Show and close the open figures, as Jupyter does at the end of a cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    shown = []
    for number in pyplot.get_fignums() if pyplot else ():
        file = io.BytesIO()
        pyplot.figure(number).savefig(file, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        data = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ["<Figure>"]}
        shown.append({"data": data, "metadata": {}, "output_type": "display_data"})
        pyplot.close(number)
    return shown


def main(arguments: list[str] | None = None) -> int:
    """Write notebooks; with ``--outputs FILE`` (used by this program itself) run one guide here and write what it showed."""
    parser = argparse.ArgumentParser(prog="build.py", description="Run guides and write their notebooks beside them.")
    parser.add_argument("guides", nargs="*", type=Path, help="scripts (default: all of this folder)")
    parser.add_argument("--outputs", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.outputs:
        (guide,) = options.guides
        options.outputs.write_text(json.dumps([*execute(guide.read_text(encoding="utf-8"), str(guide)).items()]))
        return 0
    for guide in options.guides or sorted(HERE.glob("[0-9]_*.py")):
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "outputs.json")
            path = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
            command = [sys.executable, "-u", __file__, str(guide.resolve()), "--outputs", str(made)]
            if subprocess.run(command, cwd=folder, env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": path}).returncode:
                print(f"{guide.name}: failed, its notebook stays as it was")
                return 1
            target = guide.with_suffix(".ipynb")
            target.write_text(notebook(guide.read_text(encoding="utf-8"), dict(json.loads(made.read_text()))), encoding="utf-8")
        print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
