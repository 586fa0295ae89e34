"""Pictures with labels in the numbering of a net: from folders as ImageNet has them, or from a table."""

from __future__ import annotations

import csv as csv_module
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DataError
from .images import list_pictures

UNLABELLED = -1
FILE_COLUMNS = ("file", "path", "image", "filename")
LABEL_COLUMNS = ("class_index", "label", "class", "target", "wnid", "synset", "class_name")  # the first of them that a table has
SPLITS = ("val", "test", "train")  # of a folder that holds whole splits, the first that is there
_INTEGER = re.compile(r"[+-]?\d{1,9}(\.0*)?")  # "9.0" is what pandas makes of 9 in a column with gaps
_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class LabelledImages:
    """Files and what they show.

    Attributes:
        paths: of N pictures, in natural order (``2.png`` before ``10.png``) from a folder, in the order of its rows from a table.
        labels: int64 (N,): indices into ``names``; −1 where nothing is said.
        names: the classes by index.
    """

    paths: list[str]
    labels: np.ndarray
    names: list[str]

    def __len__(self):
        return len(self.paths)

    def __repr__(self):
        return f"LabelledImages({len(self)} pictures, {int((self.labels >= 0).sum())} labelled, {len(self.names)} classes)"


def open_labelled(folder=None, csv=None, categories: Sequence[str] | None = None, wnids: Sequence[str] | None = None) -> LabelledImages:
    """Pictures in a folder, or those that a table lists.

    A **folder** has a subfolder for each class (one that holds splits, such as ``val``, is entered), or pictures only: they are unlabelled.
    Subfolders named by wnid (``n01440764``), category or index are of that class; other names are numbered in sorted order, provided there
    are as many as ``categories``. Without categories and wnids, all are numbered in sorted order.

    A **table** (comma, tab or semicolon between the columns; UTF-8; a line of headings) has a column :data:`FILE_COLUMNS`, with paths
    relative to the table (or to ``folder``, if that is given too), and a column :data:`LABEL_COLUMNS` with indices, wnids or category
    names; −1 or nothing means unlabelled. A table of files alone is unlabelled. Where it has both an index and a wnid, they must agree.

    Args:
        folder: path of the folder.
        csv: path of the table.
        categories: the class names of the net, by index. Without them names (or wnids) are numbered in sorted order.
        wnids: the WordNet ids of the same classes.

    Raises:
        DataError: naming the file, the line and the reason, if something is missing, unreadable, unknown, ambiguous or listed twice.
        ValueError: if neither a folder nor a table is given, or ``categories`` and ``wnids`` differ in length.
    """
    if folder is None and csv is None:
        raise ValueError("open_labelled: expected a folder or a csv, got neither")
    if categories is not None and wnids is not None and len(categories) != len(wnids):
        raise ValueError(f"wnids: expected one for each of the {len(categories)} categories, got {len(wnids)}")
    classes = _Classes(categories, wnids)
    return _from_folder(Path(folder), classes) if csv is None else _from_table(Path(csv), folder, classes)


class _Classes:
    """Turns what a label says (index, wnid, name) into an index."""

    def __init__(self, categories, wnids):
        self.categories, self.wnids = categories, wnids
        self.count = len(categories) if categories is not None else len(wnids) if wnids is not None else None
        self.by_wnid = {wnid: index for index, wnid in enumerate(wnids or ())}
        self.by_name = {name: index for index, name in enumerate(categories or ())}
        self.ambiguous = {name for name, n in Counter(categories or ()).items() if n > 1}

    def index(self, word: str) -> int:
        """Of an integer, a wnid or a name; ValueError with the reason if it is none of the net's."""
        if not word:
            return UNLABELLED
        if word in self.by_wnid:
            return self.by_wnid[word]
        if word in self.ambiguous:
            raise ValueError(f"{self.categories.count(word)} categories are called {word!r}: say which by index or wnid")
        if word in self.by_name:
            return self.by_name[word]
        if _INTEGER.fullmatch(word):
            index = int(word.partition(".")[0])
            if index < UNLABELLED or (self.count is not None and index >= self.count):
                raise ValueError(f"label {index} is outside the {self.count:,} categories, 0 to {self.count - 1}" if self.count is not None
                                 else f"label {index} is below -1, which means unlabelled")
            return index
        if self.wnids is not None and _WNID.fullmatch(word):
            raise ValueError(f"{word!r} is none of the {len(self.wnids):,} wnids of the net")
        raise ValueError(f"{word!r} is none of the {self.count:,} categories" if self.count is not None else f"{word!r} is no class index")


def _from_folder(root: Path, classes: _Classes) -> LabelledImages:
    root = _split(root)
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        paths = list_pictures(root)
        labels, names = np.full(len(paths), UNLABELLED, np.int64), list(classes.categories or classes.wnids or ())
    else:
        numbers, names = _number_folders(root, folders, classes)
        found = [list_pictures(root / name) for name in folders]
        paths = [path for part in found for path in part]
        labels = np.repeat(np.array(numbers, np.int64), [len(part) for part in found])
    if not paths:
        raise DataError(f"{root}: there are no pictures in this folder")
    return LabelledImages(paths, labels, names)


def _split(root: Path) -> Path:
    """``root``, or the split in it if it holds nothing but splits."""
    if not root.is_dir():
        raise DataError(f"{root.absolute()}: there is no such folder")
    try:
        names = {entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")}
    except OSError as error:
        raise DataError(f"{root}: {error.strerror}") from None
    return root / next(name for name in SPLITS if name in names) if names and names <= set(SPLITS) else root


def _number_folders(root: Path, folders: list[str], classes: _Classes) -> tuple[list[int], list[str]]:
    """(index of each folder, class names)."""
    names = list(classes.categories or classes.wnids or folders)
    known = any(name in classes.by_wnid or name in classes.by_name or _INTEGER.fullmatch(name) for name in folders)
    if classes.count is None or (not known and len(names) == len(folders)):
        return list(range(len(folders))), names
    try:
        return [classes.index(name) for name in folders], names
    except ValueError as error:
        raise DataError(f"{root}: expected folders named by wnid, category or index, but {error}") from None


def _from_table(path: Path, folder, classes: _Classes) -> LabelledImages:
    rows = _rows(path)
    _, headings = next(rows, (1, []))
    columns = [heading.strip().lower() for heading in headings]
    file_column = _column(path, columns, FILE_COLUMNS)
    label_column = None if len(columns) == 1 else _column(path, columns, LABEL_COLUMNS)
    wnid_column = next((columns.index(name) for name in ("wnid", "synset") if name in columns and classes.by_wnid), None)
    base = path.parent if folder is None else Path(folder)
    lines, words = {}, []
    for line, row in rows:
        if len(row) != len(columns):
            raise DataError(f"{path}, line {line}: it has {len(row)} columns, the headings {len(columns)}")
        row = [cell.strip() for cell in row]
        file = os.path.join(base, row[file_column])
        if not row[file_column]:
            raise DataError(f"{path}, line {line}: the column {columns[file_column]!r} is empty")
        if file in lines:
            raise DataError(f"{path}, line {line}: {row[file_column]} is listed already on line {lines[file]}")
        lines[file] = line
        words.append((row[label_column] if label_column is not None else "", row[wnid_column] if wnid_column is not None else ""))
    if not lines:
        raise DataError(f"{path}: it lists no pictures")
    if not any(os.path.exists(file) for file in lines):
        raise DataError(f"{path}: not one of its {len(lines):,} pictures is there, such as {next(iter(lines))}")
    labels, names = _number_words(path, words, list(lines.values()), classes)
    return LabelledImages(list(lines), labels, names)


def _number_words(path: Path, words: list[tuple[str, str]], lines: list[int], classes: _Classes) -> tuple[np.ndarray, list[str]]:
    """(labels int64 (N,), class names) from (label, wnid or nothing) of each row."""
    said = {word for word, _ in words if word}
    if classes.count is None and not all(_INTEGER.fullmatch(word) for word in said):
        classes = _Classes(sorted(said), None)
    labels = np.empty(len(words), np.int64)
    for place, ((word, wnid), line) in enumerate(zip(words, lines, strict=True)):
        try:
            labels[place] = classes.index(word)
            if wnid and classes.index(wnid) != labels[place]:
                raise ValueError(f"the label {word!r} and the wnid {wnid!r}, which is class {classes.index(wnid)}, do not agree")
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
    names = list(classes.categories or classes.wnids or map(str, range(int(labels.max(initial=-1)) + 1)))
    return labels, names


def _column(path: Path, columns: list[str], wanted: tuple[str, ...]) -> int:
    for name in wanted:
        if columns.count(name) > 1:
            raise DataError(f"{path}: the column {name!r} is there {columns.count(name)} times")
        if name in columns:
            return columns.index(name)
    raise DataError(f"{path}: expected a column {', '.join(wanted[:-1])} or {wanted[-1]}, found {', '.join(map(repr, columns)) or 'nothing'}")


def _rows(path: Path):
    """(line number, cells) of each line that is not empty, the headings first. What separates the cells is read from the headings."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            headings = file.readline()
            file.seek(0)
            reader = csv_module.reader(file, delimiter=max("\t,;", key=headings.count), strict=True)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: it is not UTF-8 text") from None
    except csv_module.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
