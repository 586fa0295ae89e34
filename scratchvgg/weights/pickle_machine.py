"""Reads pickles as data: no class is looked up, nothing of Python is called, nothing can execute.

A pickle is a program for a small stack machine (documented instruction by instruction in the standard library's
``pickletools``). The machine here knows only the instructions that build numbers, strings, lists, tuples and dicts, and
three that mention something outside the pickle. What those may mean is the caller's table, an allow-list:

===========================  =======================================================================================
``GLOBAL``, ``STACK_GLOBAL``  a name, looked up as text in ``names``; one that is not there is refused
``REDUCE``                    calls the plain function that ``names`` has under that name, with the pickle's arguments
``BUILD``                     calls the plain function that ``builds`` has for the object's type
``BINPERSID``                 calls ``persistent`` with what the pickle says about an object stored outside it
===========================  =======================================================================================

Work and memory are bounded by the pickle's own length: an instruction costs one of :data:`MOST_INSTRUCTIONS`, a function pays
for the length of its arguments, and keys are strings and numbers (whose hashes cost nothing).
"""

from __future__ import annotations

import codecs
import math
import pickletools
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping

from .source import Malformed

MOST_INSTRUCTIONS = 400_000  # the steps of a pickle, and the values of a tree; a tensor takes about 35
DEEPEST = 100  # containers inside each other in a finished tree
_LONGEST_INTEGER = 255  # bytes
_LONGEST_LINE = 1_000  # characters of a number or a name
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(rb"-?(?:[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?|inf|nan)")
_SHORT = 64  # characters of a string that cost no more than the step
_MOST_NUMBER_KEYS = 1 << 13  # numbers as keys can be chosen to collide: a dict of n of them may cost n²
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_DICTS = frozenset({dict, OrderedDict})
_CONTAINERS = frozenset({list, tuple, *_DICTS})
_NOTHING = object()  # a place of the memo that was never filled


class Name:
    """A name that the pickle mentions: ``text`` (``"module.name"``) and what the allow-list has for it."""

    __slots__ = ("text", "meaning")

    def __init__(self, text: str, meaning):
        self.text, self.meaning = text, meaning


class PickleMachine:
    """Runs one pickle.

    Args:
        content: the bytes; the pickle begins at ``start`` and may be followed by others.
        names: the allow-list, ``"module.name"`` → a plain function, called with the arguments that the pickle gives, or any other value, for
            a name that is only mentioned (``persistent`` sees it as a :class:`Name`).
        builds: type → function(object, state), for ``BUILD``.
        persistent: function(id) for ``BINPERSID``.
        encoding: of the strings that Python 2 wrote.
        reader: who reads, for messages: "weights" do not need such an instruction.

    Attributes:
        position: after :meth:`run`, the byte after the pickle.
    """

    def __init__(self, content: bytes, names: Mapping[str, object], *, builds: Mapping[type, Callable] | None = None,
                 persistent: Callable | None = None, encoding: str = "utf-8", reader: str = "weights", start: int = 0):
        self.content, self.position, self.names = content, start, names
        self.builds, self.persistent, self.encoding, self.reader = builds or {}, persistent, encoding, reader
        self.stack, self.marks, self.floor, self.memo = [], [], 0, []
        self.left, self.room, self.number_keys = MOST_INSTRUCTIONS, 2 * len(content), 0

    def run(self):
        """The pickle's value. Containers may be shared or even contain themselves: :func:`rebuild` makes a tree of it.

        Raises:
            Malformed: if the pickle is cut or corrupt, asks for what the tables do not have, or is too large.
        """
        try:
            for _ in range(MOST_INSTRUCTIONS):
                code = self.take(1)[0]
                if code == _STOP:
                    break
                _OPERATIONS.get(code, _refuse)(self)
            else:
                raise Malformed(f"its pickle takes more than {MOST_INSTRUCTIONS:,} steps")
        except Malformed:
            raise
        except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
            raise Malformed(f"it is not a readable pickle ({type(error).__name__}: {error})") from None
        value = self.pop()
        if self.stack or self.marks:
            raise Malformed("its pickle ends with more than one value")
        return value

    # ---- what the instructions are made of ----

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes of the pickle."""
        end = self.position + count
        if end > len(self.content):
            raise Malformed("it is not a readable pickle: it is cut short")
        taken = self.content[self.position : end]
        self.position = end
        return taken

    def number(self, layout: struct.Struct):
        """The next number, of a :mod:`struct` layout."""
        return layout.unpack(self.take(layout.size))[0]

    def line(self, longest: int | None = _LONGEST_LINE) -> bytes:
        """The bytes up to the end of the line, without it."""
        end = self.content.find(b"\n", self.position, None if longest is None else self.position + longest + 1)
        if end < 0:
            raise Malformed("it is not a readable pickle: it is cut short, or a line is too long")
        taken = self.content[self.position : end]
        self.position = end + 1
        return taken

    def pop(self):
        """The stack's last value since the last mark."""
        if len(self.stack) <= self.floor:
            raise Malformed("its pickle takes a value that is not there")
        return self.stack.pop()

    def top(self, *kinds: type):
        """The stack's last value, left there; it must be of one of the types ``kinds``."""
        value = self.pop()
        self.stack.append(value)
        if kinds and type(value) not in kinds:
            raise Malformed(f"its pickle treats a {type(value).__name__} as a {kinds[0].__name__}: refused")
        return value

    def above_mark(self) -> list:
        """The values since the last mark; they leave the stack with it."""
        if not self.marks:
            raise Malformed("its pickle ends a container that never began")
        place = self.marks.pop()
        self.floor = self.marks[-1] if self.marks else 0
        items = self.stack[place:]
        del self.stack[place:]
        return items

    def remember(self, index: int) -> None:
        """Keep the stack's last value under ``index``."""
        if not 0 <= index < MOST_INSTRUCTIONS:
            raise Malformed(f"its pickle has a memo of more than {MOST_INSTRUCTIONS:,} entries")
        if index >= len(self.memo):
            self.memo.extend([_NOTHING] * (index + 1 - len(self.memo)))
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Put what is kept under ``index`` on the stack."""
        if not 0 <= index < len(self.memo) or self.memo[index] is _NOTHING:
            raise Malformed(f"its pickle refers to memo entry {index:,}, which was never written")
        self.stack.append(self.memo[index])

    def key(self, value):
        """``value``, if it may be a dict's key."""
        if type(value) not in _SCALARS:
            raise Malformed(f"it has a dict with a {type(value).__name__} as key: refused")
        if type(value) in (int, float):
            self.number_keys += 1
            if self.number_keys > _MOST_NUMBER_KEYS:
                raise Malformed(f"it has more than {_MOST_NUMBER_KEYS:,} numbers as keys of dicts")
        return value

    def pay(self, arguments: tuple) -> None:
        """Count the lengths of a function's arguments and of what is in them, as steps (containers) or as content (strings)."""
        inside = [item for argument in arguments if type(argument) in (list, tuple) for item in argument] if self.affords(arguments) else ()
        if not self.affords(inside):
            raise Malformed("its pickle repeats its content over and over: refused")

    def affords(self, values) -> bool:
        """Count the lengths of ``values``; whether steps and content are left."""
        for value in values:
            if type(value) in (str, bytes):
                self.room -= max(0, len(value) - _SHORT)
            elif type(value) in _CONTAINERS:
                self.left -= len(value)
        return self.room >= 0 and self.left >= 0

    def mention(self, module: str, name: str) -> None:
        """Put the name on the stack, if the allow-list has it."""
        text = f"{module}.{name}"
        if text not in self.names:
            raise Malformed(f"it asks for {text[:_LONGEST_LINE]!r}, which {self.reader} do not need: refused")
        self.stack.append(Name(text, self.names[text]))


# ---- the instructions ------------------------------------------------------------------------------------------------

_U1, _U2, _U4, _U8, _I4, _F8 = (struct.Struct(layout) for layout in ("<B", "<H", "<I", "<Q", "<i", ">d"))
_STOP = ord(".")


def _refuse(m: PickleMachine) -> None:
    code = chr(m.content[m.position - 1])
    name = pickletools.code2op[code].name if code in pickletools.code2op else repr(code)
    raise Malformed(f"it uses the pickle instruction {name}, which {m.reader} do not need: refused")


def _proto(m: PickleMachine) -> None:
    if (version := m.number(_U1)) > 5:
        raise Malformed(f"its pickle protocol is {version}; protocols up to 5 are read")


def _frame(m: PickleMachine) -> None:
    count = m.number(_U8)
    if m.position + count > len(m.content):
        raise Malformed(f"it is not a readable pickle: it is cut short, {count:,} bytes should follow")


def _long(size: struct.Struct) -> Callable:
    def push(m: PickleMachine) -> None:
        count = m.number(size)
        if count > _LONGEST_INTEGER:
            raise Malformed(f"it holds an integer of {count:,} bytes")
        m.stack.append(int.from_bytes(m.take(count), "little", signed=True))
    return push


def _integer(line: bytes) -> int:
    """As writers write it; readers differ in what else they take for a number (octal, for example)."""
    if not _INTEGER.fullmatch(line):
        raise Malformed(f"its pickle has {line[:_SHORT]!r} where an integer belongs")
    return int(line)


def _integer_line(m: PickleMachine) -> None:
    line = m.line()
    m.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _integer(line))


def _float_line(m: PickleMachine) -> None:
    line = m.line()
    number = float(line) if _FLOAT.fullmatch(line) else math.nan
    if not math.isfinite(number) and line not in (b"nan", b"inf", b"-inf"):
        raise Malformed(f"its pickle has {line[:_SHORT]!r} where a floating-point number belongs")
    m.stack.append(number)


def _bytes(size: struct.Struct) -> Callable:
    return lambda m: m.stack.append(m.take(m.number(size)))


def _text(size: struct.Struct) -> Callable:
    return lambda m: m.stack.append(m.take(m.number(size)).decode("utf-8", "surrogatepass"))


def _python2_text(size: struct.Struct) -> Callable:
    return lambda m: m.stack.append(m.take(m.number(size)).decode(m.encoding))


def _quoted(m: PickleMachine) -> None:
    line = m.line(None)
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Malformed("its pickle has a string without quotation marks")
    m.stack.append(codecs.escape_decode(line[1:-1])[0].decode(m.encoding))


def _constant(value) -> Callable:
    return lambda m: m.stack.append(value)


def _empty(kind: type) -> Callable:
    return lambda m: m.stack.append(kind())


def _last(count: int) -> Callable:
    return lambda m: m.stack.append(tuple([m.pop() for _ in range(count)][::-1]))


def _mark(m: PickleMachine) -> None:
    m.floor = len(m.stack)
    m.marks.append(m.floor)


def _dict(m: PickleMachine) -> None:
    items = m.above_mark()
    m.stack.append({})
    _update(m, items)


def _append(m: PickleMachine) -> None:
    item = m.pop()
    m.top(list).append(item)


def _appends(m: PickleMachine) -> None:
    items = m.above_mark()
    m.top(list).extend(items)


def _set_item(m: PickleMachine) -> None:
    value, key = m.pop(), m.pop()
    m.top(dict, OrderedDict)[m.key(key)] = value


def _update(m: PickleMachine, items: list) -> None:
    target = m.top(dict, OrderedDict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[m.key(key)] = value


def _stack_global(m: PickleMachine) -> None:
    name, module = m.pop(), m.pop()
    if type(name) is not str or type(module) is not str:
        raise Malformed("its pickle has a name that is no string")
    m.mention(module, name)


def _reduce(m: PickleMachine) -> None:
    arguments, function = m.pop(), m.pop()
    if type(function) is not Name or not callable(function.meaning):
        what = function.text if type(function) is Name else f"a {type(function).__name__}"
        raise Malformed(f"it calls {what}: refused")
    if type(arguments) is not tuple:
        raise Malformed(f"it calls {function.text} with a {type(arguments).__name__} of arguments: refused")
    m.pay(arguments)
    try:
        m.stack.append(function.meaning(*arguments))
    except TypeError as error:
        raise Malformed(f"it calls {function.text} with arguments that do not fit ({error}): refused") from None


def _build(m: PickleMachine) -> None:
    state = m.pop()
    target = m.top()
    build = m.builds.get(type(target))
    if build is None:
        raise Malformed(f"it sets the state of a {type(target).__name__}: refused")
    m.pay((state,))
    build(target, state)


def _persistent(m: PickleMachine) -> None:
    if m.persistent is None:
        raise Malformed(f"it uses the pickle instruction BINPERSID, which {m.reader} do not need: refused")
    m.stack.append(m.persistent(m.pop()))


_OPERATIONS: dict[int, Callable[[PickleMachine], None]] = {ord(code): operation for code, operation in {
    # numbers and constants
    "N": _constant(None), "\x88": _constant(True), "\x89": _constant(False), "I": _integer_line,
    "J": lambda m: m.stack.append(m.number(_I4)), "K": lambda m: m.stack.append(m.number(_U1)), "M": lambda m: m.stack.append(m.number(_U2)),
    "L": lambda m: m.stack.append(_integer(m.line().removesuffix(b"L"))), "\x8a": _long(_U1), "\x8b": _long(_U4),
    "F": _float_line, "G": lambda m: m.stack.append(m.number(_F8)),
    # strings
    "S": _quoted, "T": _python2_text(_U4), "U": _python2_text(_U1), "B": _bytes(_U4), "C": _bytes(_U1), "\x8e": _bytes(_U8),
    "V": lambda m: m.stack.append(m.line(None).decode("raw-unicode-escape")), "X": _text(_U4), "\x8c": _text(_U1), "\x8d": _text(_U8),
    # containers
    "(": _mark, "]": _empty(list), "}": _empty(dict), ")": _empty(tuple),
    "t": lambda m: m.stack.append(tuple(m.above_mark())), "l": lambda m: m.stack.append(m.above_mark()), "d": _dict,
    "\x85": _last(1), "\x86": _last(2), "\x87": _last(3),
    "a": _append, "e": _appends, "s": _set_item, "u": lambda m: _update(m, m.above_mark()),
    # the memo
    "p": lambda m: m.remember(_integer(m.line())), "q": lambda m: m.remember(m.number(_U1)), "r": lambda m: m.remember(m.number(_U4)),
    "\x94": lambda m: m.remember(len(m.memo)),
    "g": lambda m: m.recall(_integer(m.line())), "h": lambda m: m.recall(m.number(_U1)), "j": lambda m: m.recall(m.number(_U4)),
    # what is outside the pickle
    "c": lambda m: m.mention(m.line().decode(), m.line().decode()), "\x93": _stack_global, "R": _reduce, "b": _build, "Q": _persistent,
    # its frame
    "\x80": _proto, "\x95": _frame,
}.items()}


# ---- the finished tree -----------------------------------------------------------------------------------------------


def rebuild(value, leaf: Callable):
    """``value`` with a new container for each of its lists, tuples, dicts and OrderedDicts, and ``leaf(object)`` for whatever is no container
    and no plain scalar. What was shared stays shared; ``leaf`` sees each object once.

    Raises:
        Malformed: if a container contains itself, lies deeper than 100 others, or would count more than 400,000 values written out
            (a few lists that each hold the one before ten times do).
    """
    done: dict[int, tuple[object, int]] = {}  # id → (what it became, values in it); None while it is being made

    def visit(old, depth: int) -> tuple[object, int]:
        kind = type(old)
        if kind in _SCALARS:
            return old, 1
        if id(old) in done:
            if done[id(old)] is None:
                raise Malformed("it holds a container that contains itself: refused")
            return done[id(old)]
        if kind not in _CONTAINERS:
            done[id(old)] = leaf(old), 1
            return done[id(old)]
        if depth == DEEPEST:
            raise Malformed(f"it nests more than {DEEPEST} containers: refused")
        done[id(old)] = None
        visited = [visit(item, depth + 1) for item in (old.values() if kind in _DICTS else old)]
        total = 1 + sum(count for _, count in visited)
        items = [item for item, _ in visited]
        new = kind(zip(old, items, strict=True)) if kind in _DICTS else kind(items)
        if kind is OrderedDict and hasattr(old, "_metadata"):
            new._metadata, count = visit(old._metadata, depth + 1)
            total += count
        if total > MOST_INSTRUCTIONS:
            raise Malformed(f"it would be a tree of {total:,} values: refused")
        done[id(old)] = new, total
        return done[id(old)]

    return visit(value, 0)[0]
