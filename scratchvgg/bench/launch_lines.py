"""The comment lines of a kernel file that say how it is launched: a small arithmetic over the fields of ``ConvShape``.

    // grid: ceil(N*P*Q, 128), ceil(K, 64)     one to three sizes
    // block: 128                              one to three sizes
    // shared: 0                               bytes of dynamic shared memory; 0 if the line is missing
    // supports: R == 3 and stride_h == 1      everything, if the line is missing

Whole numbers, ``+ - * / %`` (``/`` rounds down, as ``//``), comparisons, ``and or not``, ``ceil(a, b)`` (a / b rounded up), ``min`` and ``max``.
Nothing of it is executed as Python: the syntax tree is walked, and what is not in this list is refused.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass, field

from ..cuda.structs import CONV_SHAPE

FIELDS = CONV_SHAPE.names
MOST = {"grid": 3, "block": 3, "shared": 1, "supports": 1}
_DEFAULT = {"shared": "0", "supports": "True"}
_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv, ast.FloorDiv: operator.floordiv,
           ast.Mod: operator.mod}
_COMPARE = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_UNARY = {ast.USub: operator.neg, ast.Not: operator.not_}
_CALLS = {"ceil": (2, lambda a, b: -(-a // b)), "min": (2, min), "max": (2, max)}


class LaunchLineError(ValueError):
    """A comment line that is missing or says nothing that can be computed; the message shows it."""


@dataclass(frozen=True)
class Line:
    """One of the comment lines.

    Attributes:
        key: ``grid``, ``block``, ``shared`` or ``supports``.
        text: what follows the colon.
        where: file and line number, for messages.
    """

    key: str
    text: str
    where: str
    trees: tuple[ast.expr, ...] = field(repr=False, default=())

    def values(self, shape: dict[str, int]) -> tuple[int, ...]:
        """The line's numbers for a problem.

        Args:
            shape: each field of ``ConvShape``.

        Raises:
            LaunchLineError: for a division by zero, or a result that cannot be launched.
        """
        try:
            found = tuple(_value(tree, shape) for tree in self.trees)
        except ZeroDivisionError:
            raise self.error("divides by zero for this problem") from None
        if self.key != "supports" and any(v < (0 if self.key == "shared" else 1) for v in found):
            raise self.error(f"gives {', '.join(map(str, found))} for {', '.join(f'{k}={v}' for k, v in shape.items())}")
        return found

    def error(self, what: str) -> LaunchLineError:
        """``what``, with the line."""
        return LaunchLineError(f"{self.where}: // {self.key}: {self.text}\n  {what}")


def read(text: str, name: str) -> dict[str, Line]:
    """The lines of a kernel file.

    Args:
        text: of the file.
        name: of the file, for messages.

    Returns:
        One line for each key.

    Raises:
        LaunchLineError: for a line that is missing, there twice, or says something else than this arithmetic.
    """
    found: dict[str, Line] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"\s*//\s*(grid|block|shared|supports):\s*(.*?)\s*$", line)
        if match is None:
            continue
        key, said = match.groups()
        if key in found:
            raise Line(key, said, f"{name}, line {number}").error(f"there is another one, {found[key].where}")
        found[key] = _parsed(key, said, f"{name}, line {number}")
    for key in MOST:
        if key not in found and key not in _DEFAULT:
            example = "ceil(N*P*Q, 128), ceil(K, 64)" if key == "grid" else "128"
            raise LaunchLineError(f"{name}: no comment line says the {key}; expected one as // {key}: {example}")
        if key not in found:
            found[key] = _parsed(key, _DEFAULT[key], name)
    return found


def _parsed(key: str, text: str, where: str) -> Line:
    line = Line(key, text, where)
    try:
        tree = ast.parse(f"({text},)", mode="eval").body
    except SyntaxError as error:
        raise line.error(f"cannot be read: {error.msg}") from None
    if not isinstance(tree, ast.Tuple) or not 1 <= len(tree.elts) <= MOST[key] or not text:
        raise line.error(f"expected {'one value' if MOST[key] == 1 else 'one to three sizes'}, separated by commas")
    for part in tree.elts:
        _check(part, line)
    return Line(key, text, where, tuple(tree.elts))


def _check(tree, line: Line) -> None:
    """Refuse what is not in the arithmetic."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return
    if isinstance(tree, ast.Name):
        if tree.id not in FIELDS:
            raise line.error(f"{tree.id!r} is no field of ConvShape; there are {', '.join(FIELDS)}")
        return
    if isinstance(tree, ast.Call):
        name = getattr(tree.func, "id", "")
        if name not in _CALLS or tree.keywords or len(tree.args) != _CALLS[name][0]:
            raise line.error(f"{ast.unparse(tree)!r}: expected ceil(a, b), min(a, b) or max(a, b)")
    elif not ((isinstance(tree, ast.BinOp) and type(tree.op) in _BINARY) or (isinstance(tree, ast.UnaryOp) and type(tree.op) in _UNARY)
              or (isinstance(tree, ast.Compare) and all(type(o) in _COMPARE for o in tree.ops)) or isinstance(tree, ast.BoolOp)):
        raise line.error(f"{ast.unparse(tree)!r}: expected whole numbers, fields of ConvShape, + - * / %, comparisons, and, or, not, ceil, min, max")
    for part in _parts(tree):
        _check(part, line)


def _parts(tree) -> list:
    """The operands of a node."""
    if isinstance(tree, ast.Call):
        return tree.args
    if isinstance(tree, ast.BinOp):
        return [tree.left, tree.right]
    if isinstance(tree, ast.Compare):
        return [tree.left, *tree.comparators]
    return tree.values if isinstance(tree, ast.BoolOp) else [tree.operand]


def _value(tree, shape) -> int:
    if isinstance(tree, ast.Constant):
        return int(tree.value)
    if isinstance(tree, ast.Name):
        return int(shape[tree.id])
    if isinstance(tree, ast.BoolOp):  # in turn, as in Python: what is decided is not computed
        decides = isinstance(tree.op, ast.Or)
        return int(any(_value(v, shape) for v in tree.values) if decides else all(_value(v, shape) for v in tree.values))
    values = [_value(part, shape) for part in _parts(tree)]
    if isinstance(tree, ast.Call):
        return _CALLS[tree.func.id][1](*values)
    if isinstance(tree, ast.BinOp):
        return _BINARY[type(tree.op)](*values)
    if isinstance(tree, ast.Compare):
        return int(all(_COMPARE[type(o)](a, b) for o, a, b in zip(tree.ops, values, values[1:], strict=False)))
    return int(_UNARY[type(tree.op)](*values))
