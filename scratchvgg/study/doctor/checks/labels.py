"""The labels: are there outputs for them, do all classes occur, and have they anything to do with the images?"""

from __future__ import annotations

import numpy as np

from ..case import SIGMAS, Case
from ..findings import Finding
from ..patches import NoTest, relation
from ..registry import Skip, check

FEWEST = 200  # images that the test of the relation needs


@check("labels", order=12)
def labels(case: Case):
    """Labels without an output; one class only; classes that never occur."""
    y, classes = case.train.labels, case.classes
    if y.dtype.kind not in "iu":
        yield Finding("labels", "bad", "The labels are no integers", f"They are {y.dtype}; a label is an output's number, 0 to {classes - 1}.",
                      "labels.astype('int64'), or argmax(1) of one-hot rows", 99)
        return
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        off = low == 1 and high == classes
        outside = int(((y < 0) | (y >= classes)).sum())
        yield Finding("labels", "bad", "The labels count from 1, the net's outputs from 0" if off else "There are labels without an output",
                      f"Labels run from {low} to {high}, the net has {classes} outputs, 0 to {classes - 1}; {outside} of {len(y)} lie outside.",
                      "labels - 1" if off else f"a net with num_classes={high + 1}, or other labels", 99,
                      {"min": low, "max": high, "classes": classes, "outside": outside})
        return
    counts = np.bincount(y, minlength=classes)
    if (counts > 0).sum() == 1 and classes > 1 and len(y) > 1:
        yield Finding("labels", "bad", "All labels are the same", f"{len(y)} labels, all of them {low}: there is nothing to tell apart.",
                      "shuffle=True in the loader if the data are sorted by class; else look at how the labels are read", 98, {"label": low})
        return
    share, missing = counts.max() / len(y), int((counts == 0).sum())
    said = f"{len(y)} labels looked at, {int((counts > 0).sum())} of {classes} classes, the commonest {100 * share:.0f} %"
    if share > 0.5 and classes > 2:
        yield Finding("labels", "warn", f"{100 * share:.0f} % of the labels are of one class",
                      f"{said}. Always answering {int(counts.argmax())} is right so often.",
                      "weight the loss: F.cross_entropy(…, weight=1 / counts)", 50,
                      {"share": share})
    elif missing and case.own_data and len(y) >= 20 * classes:
        severe = counts[0] == 0 and missing == 1
        yield Finding("labels", "warn" if severe else "info", "No label is 0: do they count from 1?" if severe else f"{missing} classes never occur",
                      f"{said}.", "labels - 1, and one output less" if severe else f"a net with {classes - missing} outputs would do", 45)
    else:
        yield Finding("labels", "good", "Labels", said)


@check("shuffled labels?", order=50)
def shuffled(case: Case):
    """Whether labels have to do with images: by what the net has learned, else by a classifier on patches against permuted labels."""
    run = case.run
    if case.generalises and case.learned and (run is not None or case.own_data):
        yield Finding("shuffled labels?", "good", "Labels belong to the images",
                      f"the net is right on {100 * case.test_accuracy:.1f} % of images it has not seen" if case.test_accuracy else "the net "
                      "generalises")
        return
    if not case.own_data:
        raise Skip("the pictures are not yours")
    if not case.labels_fit or not np.isfinite(case.train.images).all():
        raise Skip("labels or images are broken")
    if len(case.train.labels) < FEWEST:
        raise Skip(f"that takes {FEWEST} images, there are {len(case.train.labels)}")
    try:
        found = relation(case.train.images, case.train.labels)
    except NoTest as reason:
        raise Skip(str(reason)) from None
    numbers = {"accuracy": found.accuracy, "permuted_mean": found.mean, "permuted_max": found.most, "p": found.p, "images": found.images}
    said = (f"A linear classifier on {found.features} patch features, fitted to {found.images - found.tested} images, is right on "
            f"{100 * found.accuracy:.1f} % "
            f"of {found.tested} others; with the labels permuted {found.permutations} times, on {100 * found.mean:.1f} % (at most "
            f"{100 * found.most:.1f} %); p = {found.p:.2g}")
    if found.p < 0.01:
        yield Finding("shuffled labels?", "good", "Labels belong to the images", said[0].lower() + said[1:], "", 50, numbers)
        return
    memorised = case.fits and case.generalises is False
    seen = " The net has learned its training images by heart, and is at chance on others." if memorised else ""
    certain = (found.p > 0.05 or memorised) and found.images >= 400
    yield Finding(
        "shuffled labels?", "bad" if certain else "warn",
        "The labels have nothing to do with the images: shuffled?" if certain else "The labels may have nothing to do with the images",
        f"{said}.{seen} (With the right labels this is above 30 % on CIFAR-10 and on the built-in set.)",
        "look at some images beside their labels. Was one array shuffled, sorted or filtered without the other? Are file names and labels in the "
        "same order?", 92 if certain else 60, numbers)


@check("class order", order=51)
def class_order(case: Case):
    """Test labels that are right, but numbered otherwise than those of training."""
    if not case.labels_fit or case.test is None or not len(case.test.labels):
        raise Skip("there are no test images")
    if not case.fits:
        raise Skip("the net does not know its training images either")
    y, logits = case.test.labels, case.test_logits
    inside = (y >= 0) & (y < case.classes)
    if not inside.all():
        yield Finding("class order", "bad", "There are test labels without an output",
                      f"{int((~inside).sum())} of {len(y)} test labels lie outside of 0 to {case.classes - 1}.", "count labels from 0", 97)
        return
    if not np.isfinite(logits).all():
        raise Skip("the net's answers are not finite")
    table = np.zeros((case.classes, case.classes), np.int64)
    np.add.at(table, (logits.argmax(1), y), 1)
    straight = np.trace(table) / len(y)
    renamed, order = _assign(table)
    if renamed / len(y) > straight + 0.2 and renamed / len(y) > 1 / case.classes + SIGMAS * 2 / np.sqrt(len(y)):
        shift = {(b - a) % case.classes for a, b in order.items()}
        how = f"each is {shift.pop()} higher (modulo {case.classes})" if len(shift) == 1 else ", ".join(f"{a}→{b}" for a, b in sorted(order.items()))
        yield Finding("class order", "bad", "Test labels are numbered otherwise than training labels",
                      f"Test accuracy is {100 * straight:.1f} %, but {100 * renamed / len(y):.1f} % with the classes renamed: {how}.",
                      "use one list of classes for both (folders: the same names in train and test)", 95,
                      {"straight": straight, "renamed": renamed / len(y)})
    elif straight > 0:
        yield Finding("class order", "good", "Classes are numbered alike in training and test",
                      f"{100 * straight:.1f} % as they are, {100 * renamed / len(y):.1f} % with any renaming")


def _assign(table) -> tuple[int, dict[int, int]]:
    """(hits, answer → label) of a one-to-one renaming, greedily from the largest entry: a lower bound of the best."""
    left, hits, order = table.astype(np.int64), 0, {}
    for _ in range(len(table)):
        a, b = np.unravel_index(int(left.argmax()), left.shape)
        if left[a, b] <= 0:
            break
        hits, order[int(a)] = hits + int(left[a, b]), int(b)
        left[a, :], left[:, b] = -1, -1
    return hits, order
