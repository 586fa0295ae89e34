"""Labels from folders and tables, in the numbering of a net; what cannot be told is refused by line and name."""

import os
import subprocess
import sys

import numpy as np
import pytest

from scratchvgg.data import DataError, LabelledImages, open_labelled

WNIDS = ["n01440764", "n01443537", "n02012849", "n03126707"]
NAMES = ["tench", "goldfish", "crane", "crane bird"]


@pytest.fixture
def tree(tmp_path):
    """``make(*paths)``: empty files, for nothing is decoded here."""

    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return make


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    for file in ("a.png", "b.png", "c d.png"):
        (tmp_path / file).touch()
    (tmp_path / name).write_bytes(text.encode(encoding))
    return tmp_path / name


def shown(found, root):
    return [(os.path.relpath(path, root), label) for path, label in zip(found.paths, found.labels.tolist(), strict=True)]


# ---- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [".", "val"])
def test_imagenets_layout(tree, root):
    place = tree("val/n02012849/ILSVRC2012_val_10.JPEG", "val/n02012849/ILSVRC2012_val_9.JPEG", "val/n01440764/x.JPEG", "val/notes.txt",
                 "val/.x/y.png", "train/n01440764/no.JPEG")
    found = open_labelled(place / root, categories=NAMES, wnids=WNIDS)
    assert shown(found, place / "val") == [
        ("n01440764/x.JPEG", 0), ("n02012849/ILSVRC2012_val_9.JPEG", 2), ("n02012849/ILSVRC2012_val_10.JPEG", 2)]
    assert found.labels.dtype == np.int64 and found.names == NAMES and len(found) == 3
    assert repr(found) == "LabelledImages(3 pictures, 3 labelled, 4 classes)"
    assert open_labelled(place / "val", wnids=WNIDS).names == WNIDS


def test_pictures_without_folders_are_unlabelled(tree):
    place = tree("10.png", "9.png", "x.txt")
    assert shown(open_labelled(place, categories=NAMES, wnids=WNIDS), place) == [("9.png", -1), ("10.png", -1)]
    assert open_labelled(place).names == []


def test_folders_named_by_category_or_index(tree):
    place = tree("goldfish/a.png", "tench/b.png")
    assert shown(open_labelled(place, categories=NAMES), place) == [("goldfish/a.png", 1), ("tench/b.png", 0)]
    place = tree("numbers/10/a.png", "numbers/2/b.png", "numbers/011/c.png") / "numbers"
    assert shown(open_labelled(place, categories=[f"c{i}" for i in range(12)]), place) == [("011/c.png", 11), ("10/a.png", 10), ("2/b.png", 2)]


def test_other_folders_are_numbered_in_sorted_order(tree):
    place = tree("b/1.png", "a/2.png", "c/d/3.png", "10/4.png")
    expected = [("10/4.png", 0), ("a/2.png", 1), ("b/1.png", 2), ("c/d/3.png", 3)]
    found = open_labelled(place)
    assert shown(found, place) == expected and found.names == ["10", "a", "b", "c"]
    (place / "10").rename(place / "9x")
    found = open_labelled(place, categories=NAMES)
    assert [label for _, label in shown(found, place)] == [0, 1, 2, 3] and found.names == NAMES


def test_folders_that_the_net_does_not_know(tree):
    place = tree("n01440764/a.png", "n99999999/b.png")
    with pytest.raises(DataError, match=r"'n99999999' is none of the 4 wnids"):
        open_labelled(place, categories=NAMES, wnids=WNIDS)
    place = tree("two/dog/a.png", "two/cat/b.png") / "two"
    with pytest.raises(DataError, match=r"expected folders named by wnid, category or index, but 'cat' is none of the 4 categories"):
        open_labelled(place, categories=NAMES)
    place = tree("many/7/a.png", "many/1/b.png") / "many"
    with pytest.raises(DataError, match=r"label 7 is outside the 4 categories, 0 to 3"):
        open_labelled(place, categories=NAMES)


def test_a_name_that_two_classes_have(tree):
    place = tree("crane/a.png", "tench/b.png")
    with pytest.raises(DataError, match="2 categories are called 'crane': say which by index or wnid"):
        open_labelled(place, categories=["tench", "crane", "crane"])


def test_missing_and_empty_folders(tree):
    with pytest.raises(DataError, match="nowhere: there is no such folder"):
        open_labelled(tree() / "nowhere")
    with pytest.raises(DataError, match="no pictures"):
        open_labelled(tree())
    with pytest.raises(DataError, match="no pictures"):
        open_labelled(tree("a/x.txt"))
    with pytest.raises(ValueError, match="neither"):
        open_labelled()
    with pytest.raises(ValueError, match="wnids: expected one for each of the 4 categories, got 2"):
        open_labelled(tree(), categories=NAMES, wnids=WNIDS[:2])


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables(tmp_path, separator, ending, encoding):
    size = "(3, 4)" if separator != "," else '"(3, 4)"'
    lines = [["File", "size", "Class_Index"], ["a.png", size, "2"], [], ["c d.png", "", "0"], ["b.png", "", ""]]
    path = table(tmp_path, ending.join(separator.join(cells) for cells in lines), encoding=encoding)
    found = open_labelled(csv=path, categories=NAMES, wnids=WNIDS)
    assert shown(found, tmp_path) == [("a.png", 2), ("c d.png", 0), ("b.png", -1)] and found.names == NAMES


@pytest.mark.parametrize("heading", ["file", "path", "image", "filename"])
@pytest.mark.parametrize(("label", "cells"), [
    ("class_index", ("3", "1.0", "-1")), ("label", ("3", "01", "")), ("class", ("n03126707", "n01443537", "")), ("target", ("3", "goldfish", "-1")),
    ("wnid", ("n03126707", "n01443537", "")), ("synset", ("n03126707", "n01443537", "")), ("class_name", ("crane bird", "goldfish", "")),
])
def test_columns(tmp_path, heading, label, cells):
    path = table(tmp_path, f"{label},{heading}\n{cells[0]},a.png\n{cells[1]} , b.png\n{cells[2]},c d.png\n")
    assert open_labelled(csv=path, categories=NAMES, wnids=WNIDS).labels.tolist() == [3, 1, -1]


def test_the_index_comes_before_the_name(tmp_path):
    path = table(tmp_path, "file,class_name,wnid,class_index\na.png,whatever,n02012849,2\nb.png,,,-1\n")
    assert open_labelled(csv=path, categories=NAMES, wnids=WNIDS).labels.tolist() == [2, -1]


def test_a_table_of_files_alone(tmp_path):
    path = table(tmp_path, "file\na.png\nc d.png\n")
    assert shown(open_labelled(csv=path, categories=NAMES), tmp_path) == [("a.png", -1), ("c d.png", -1)]


def test_tables_without_a_net(tmp_path):
    found = open_labelled(csv=table(tmp_path, "file,label\na.png,dog\nb.png,cat\nc d.png,\n"))
    assert found.labels.tolist() == [1, 0, -1] and found.names == ["cat", "dog"]
    found = open_labelled(csv=table(tmp_path, "file,label\na.png,2\nb.png,0\n"))
    assert found.labels.tolist() == [2, 0] and found.names == ["0", "1", "2"]
    found = open_labelled(csv=table(tmp_path, "file,wnid\na.png,n02\nb.png,n01\n"))
    assert found.labels.tolist() == [1, 0] and found.names == ["n01", "n02"]


def test_paths(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = table(tmp_path, f"file,label\na.png,1\n{tmp_path}/b.png,2\n", "elsewhere/t.csv")
    assert open_labelled(csv=path).paths == [str(tmp_path / "elsewhere" / "a.png"), str(tmp_path / "b.png")]
    assert open_labelled(tmp_path, path).paths == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_a_picture_that_is_not_there_is_not_found_out_here(tmp_path):
    path = table(tmp_path, "file,label\na.png,1\nmissing.png,2\n")
    assert len(open_labelled(csv=path)) == 2
    with pytest.raises(DataError, match=r"not one of its 2 pictures is there, such as .*missing\.png"):
        open_labelled(csv=table(tmp_path, "file,label\nmissing.png,1\ngone.png,2\n"))


WRONG = {
    "": "expected a column file, path, image or filename, found nothing",
    "a.png,3\nb.png,2\n": r"expected a column file, path, image or filename, found 'a\.png', '3'",
    "file,clas\na.png,3\n": "expected a column class_index, label, .* or class_name, found 'file', 'clas'",
    "file,label,file\na.png,3,a.png\n": "the column 'file' is there 2 times",
    "file,label\n": "it lists no pictures",
    "file,label\na.png,4\n": "line 2: label 4 is outside the 4 categories, 0 to 3",
    "file,label\na.png,-2\n": "line 2: label -2 is outside the 4 categories",
    "file,label\na.png,1\n\nb.png,1.5\n": r"line 4: '1\.5' is none of the 4 categories",
    "file,label\na.png,shark\n": "line 2: 'shark' is none of the 4 categories",
    "file,wnid\na.png,n99999999\n": "line 2: 'n99999999' is none of the 4 wnids",
    "file,wnid,label\na.png,n01443537,2\n": "line 2: the label '2' and the wnid 'n01443537', which is class 1, do not agree",
    "file,label\na.png,1\nb.png,1\na.png,2\n": r"line 4: a\.png is listed already on line 2",
    "file,label\na.png\n": "line 2: it has 1 columns, the headings 2",
    "file,label\n,1\n": "line 2: the column 'file' is empty",
    'file,label\n"a.png,1\n': "unexpected end of data",
    "file,label\na.png,99999999999999999999999\n": "none of the 4 categories",
}


@pytest.mark.parametrize(("text", "reason"), WRONG.items(), ids=list(WRONG.values()))
def test_wrong_tables_are_named(tmp_path, text, reason):
    path = table(tmp_path, text)
    with pytest.raises(DataError, match=rf"t\.csv.*{reason}") as caught:
        open_labelled(csv=path, categories=NAMES, wnids=WNIDS)
    assert "\n" not in str(caught.value)


def test_a_wrong_label_without_a_net(tmp_path):
    with pytest.raises(DataError, match="line 2: label -2 is below -1, which means unlabelled"):
        open_labelled(csv=table(tmp_path, "file,label\na.png,-2\n"))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: there is no such file"):
        open_labelled(csv=tmp_path / "none.csv")
    with pytest.raises(DataError, match="Is a directory"):
        open_labelled(csv=tmp_path)
    for encoding in ("utf-16", "latin-1"):
        with pytest.raises(DataError, match="not UTF-8"):
            open_labelled(csv=table(tmp_path, "file,label\nä.png,1\n", encoding=encoding))
    with pytest.raises(DataError, match="field larger than field limit"):
        open_labelled(csv=table(tmp_path, "file,label\n" + "x" * 200_000 + ",1\n"))


def test_many_rows_are_quick(tmp_path):
    text = "file,class_index,wnid\na.png,1,n01443537\n" + "".join(f"val/{i}.JPEG,{i % 4},{WNIDS[i % 4]}\n" for i in range(50_000))
    found = open_labelled(csv=table(tmp_path, text), categories=NAMES, wnids=WNIDS)
    assert len(found) == 50_001 and np.bincount(found.labels).tolist() == [12_500, 12_501, 12_500, 12_500]


def test_no_picture_is_decoded():
    code = ("import sys; sys.modules['PIL'] = None; from scratchvgg.data import open_labelled; import tempfile, pathlib; "
            "d = pathlib.Path(tempfile.mkdtemp()); (d / 'a').mkdir(); (d / 'a/x.png').touch(); sys.exit(len(open_labelled(d)) != 1)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert LabelledImages([], np.zeros(0, np.int64), []).names == []
