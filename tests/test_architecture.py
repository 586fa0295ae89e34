"""The house keeps its shape: imports only downward and without circles, small files, documented names, nothing done at import."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scratchvgg"
FLOORS = {
    "array": 1,
    "weights": 1.5,  # files, locks and cache folders, which cuda needs
    "autograd": 2, "cuda": 2,
    "conv": 3, "data": 3,
    "ops": 4, "serialization": 4,
    "nn": 5, "hub": 5,
    "models": 6, "optim": 6, "utils": 6,
    "amp": 7, "evaluate": 7,
    "train": 8,
    "bench": 9,
    "study": 9.5,  # it times layers with the bench's clock
    "cli": 10,
    "__main__": 11,
}  # fmt: skip
LONGEST = 450

FILES = sorted(PACKAGE.rglob("*.py"))
EVERY_FILE = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


def module_name(path):
    """scratchvgg/ops/relu.py → ("ops", "relu"); scratchvgg/ops/__init__.py → ("ops",)."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_name(path): path for path in FILES}


def imports(path, inside_functions=True):
    """The modules of the package that a file imports, as tuples like :func:`module_name`'s."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {n for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in ast.walk(f)}
    here = module_name(path)
    package = here if path.name == "__init__.py" else here[:-1]
    found = set()
    for node in ast.walk(tree):
        if node in inner and not inside_functions:
            continue
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")[1:]) for alias in node.names if alias.name.split(".")[0] == "scratchvgg"}
        elif isinstance(node, ast.ImportFrom):
            written = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + written
            elif written[:1] == ("scratchvgg",):
                base = written[1:]
            else:
                continue
            names = [alias.name for alias in node.names if (base, alias.name) != ((), "__version__")]
            found |= {base + (name,) if base + (name,) in MODULES else base for name in names}
    return found - {here}


def floor(module):
    return FLOORS[module[0]]


@EVERY_FILE
def test_imports_go_down(path):
    here = module_name(path)
    if here == ():  # the package's face shows what all floors have
        return
    upward = {
        ".".join(target) or "the package's face"
        for target in imports(path)
        if target == () or (target[0] != here[0] and floor(target) >= floor(here))
    }
    assert not upward, f"{'.'.join(here)} (floor {floor(here)}) imports {sorted(upward)}"


def test_every_folder_has_a_floor():
    assert {module[0] for module in MODULES if module} <= set(FLOORS)


def test_no_import_circles():
    graph = {module: imports(path, inside_functions=False) & set(MODULES) - {()} for module, path in MODULES.items() if module}
    state = {}

    def visit(module, trail):
        if state.get(module) == "done":
            return
        assert state.get(module) != "open", "circle: " + " → ".join(".".join(m) for m in trail[trail.index(module) :])
        state[module] = "open"
        for target in sorted(graph[module]):
            visit(target, [*trail, target])
        state[module] = "done"

    for module in sorted(graph):
        visit(module, [module])


@EVERY_FILE
def test_files_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@EVERY_FILE
def test_public_names_are_documented(path):
    """Own docstring or an inherited one (forward of a Module, the passes of an Algorithm)."""
    name = ".".join(("scratchvgg", *module_name(path)))
    if name.endswith("__main__"):
        return
    module = importlib.import_module(name)
    assert module.__doc__ or not path.read_text(encoding="utf-8"), "the file says nothing about itself"
    own = [o for n, o in vars(module).items() if not n.startswith("_") and getattr(o, "__module__", None) == name]
    bare = [o.__name__ for o in own if (inspect.isclass(o) or inspect.isfunction(o)) and not inspect.getdoc(o)]
    for cls in filter(inspect.isclass, own):
        if cls.__name__ != "TensorMethods":  # one-liners, documented where they are computed
            bare += [f"{cls.__name__}.{n}" for n, m in vars(cls).items() if not n.startswith("_") and _is_method(m) and not _documented(cls, n)]
    assert not bare, f"no docstring: {', '.join(bare)}"


def _is_method(member):
    return inspect.isfunction(member) or isinstance(member, (property, staticmethod, classmethod))


def _documented(cls, name):
    return any(getattr(vars(base).get(name), "__doc__", None) for base in cls.__mro__)


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_nothing_is_left_for_later(word):
    assert [str(p.relative_to(ROOT)) for p in FILES if re.search(rf"\b{word}\b", p.read_text(encoding="utf-8"))] == []


def test_array_code_of_operations_does_not_name_numpy():
    """``ops/`` computes with ``ctx.xp``: an array may live on a GPU. Type checks of arguments and arithmetic
    of shapes are not array code; ``index.py`` turns what the user put between brackets into host arrays."""
    allowed = {"ndarray", "integer", "floating", "generic", "number", "bool_", "broadcast_shapes"}
    used = {}
    for path in set((PACKAGE / "ops").glob("*.py")) - {PACKAGE / "ops" / "index.py"}:
        names = {
            n.attr for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "np"
        }
        if names - allowed:
            used[path.name] = sorted(names - allowed)
    assert used == {}


IMPORT_EVERYTHING = """
import importlib, os, pkgutil, sys, threading, warnings
import numpy
done = []
FORBIDDEN = {"os.mkdir", "os.remove", "os.rename", "os.putenv", "os.fork"}
def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        done.append((event, args[0]))
    elif event.split(".")[0] in ("socket", "subprocess", "shutil", "tempfile") or event in FORBIDDEN:
        done.append((event, args[:1]))
before = (dict(os.environ), numpy.geterr(), str(numpy.random.get_state()), list(warnings.filters), sys.stdout, os.getcwd())
sys.addaudithook(watch)
import scratchvgg
for module in pkgutil.walk_packages(scratchvgg.__path__, "scratchvgg."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = (dict(os.environ), numpy.geterr(), str(numpy.random.get_state()), list(warnings.filters), sys.stdout, os.getcwd())
assert not done, done
assert before == after
assert threading.active_count() == 1, threading.enumerate()
heavy = {"torch", "cupy", "matplotlib", "PIL", "rich", "ml_dtypes"} & set(sys.modules)
assert not heavy, heavy
assert not os.listdir(".")
"""


def test_importing_everything_does_nothing(tmp_path):
    command = [sys.executable, "-B", "-c", IMPORT_EVERYTHING]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
