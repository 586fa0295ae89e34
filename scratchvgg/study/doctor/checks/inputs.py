"""The images: are they finite, of the size a net expects, different from each other, and prepared alike in training and in testing?"""

from __future__ import annotations

import numpy as np

from ..case import Case, Pictures
from ..findings import Finding
from ..registry import check

LARGE = 8.0  # standard deviations or means beyond this are those of bytes, not of normalised images
APART = 0.5  # of training's standard deviation, between the means of training and test images
_EXAMINE = "x = (x / 255 - mean) / std, with mean and std of each channel of the training set: sv.data.transforms.Normalize(mean, std)(bytes)"


@check("images", order=10)
def images(case: Case):
    """NaN and infinities; values of bytes; images without content."""
    batch = case.x.detach().float().cpu().numpy()
    x = case.train.images if np.isfinite(batch).all() or not np.isfinite(case.train.images).all() else batch
    finite = np.isfinite(x)
    if not finite.all():
        bad = int((~finite).reshape(len(x), -1).any(1).sum())
        kinds = " and ".join(kind for kind, there in (("NaN", np.isnan(x).any()), ("Inf", np.isinf(x).any())) if there)
        yield Finding(
            "images", "bad", f"The images hold {kinds}",
            f"{bad} of {len(x)} images have values that are not finite ({int((~finite).sum()):,} values). One such image makes the loss NaN, and the "
            "step after it every weight.", "find them with np.isnan(images).reshape(len(images), -1).any(1), and leave them out; a division by a "
            "standard deviation of 0 is the usual source", 100, {"images": bad, "of": len(x)})
        return
    yield from _scale(case, case.train.images)
    yield from _content(case.train.images)


def _scale(case, x):
    mean, std = x.mean((0, 2, 3), dtype=np.float64), x.std((0, 2, 3), dtype=np.float64)
    low, high = float(x.min()), float(x.max())
    numbers = {"mean": mean, "std": std, "min": low, "max": high}
    said = f"mean {_list(mean)}, standard deviation {_list(std)} by channel, values from {low:.3g} to {high:.3g}"
    fine = case.learned
    if max(np.abs(mean).max(), std.max()) > LARGE:
        what = "the bytes 0 to 255" if low >= 0 and high <= 255 else "about a hundred times too large"
        yield Finding("images", "warn" if fine else "bad", f"The images are not normalised: they look like {what}",
                      f"The net receives {said}; expected are means near 0 and deviations near 1.", _try(case), 93, numbers)
    elif low >= 0 and high > low and mean.min() > std.max():
        yield Finding("images", "info" if fine else "warn", "The images are not centred",
                      f"The net receives {said}: every value is positive. Means near 0 let the first layer learn faster.", _try(case), 40, numbers)
    elif std.max() < 0.1:
        yield Finding("images", "info" if fine else "warn", "The images have almost no contrast", f"The net receives {said}.", _try(case), 45,
                      numbers)
    else:
        yield Finding("images", "good", "Input", said, "", 50, numbers)


def _try(case) -> str:
    if case.run is None:
        return _EXAMINE
    return ("set the data set's mean and std to those of its training images in 0…1 (now "
            f"mean {_list(case.run.train_set.mean)}, std {_list(case.run.train_set.std)}), and train again")


def _content(x):
    flat = x.reshape(len(x), -1)
    blank = int((flat.max(1) == flat.min(1)).sum())
    same = len(x) > 1 and bool((flat == flat[0]).all())
    if same:
        yield Finding("images", "bad", "All images are the same", f"{len(x)} images, and no value differs between them.",
                      "look at a batch: the loader, or a transform, hands out one image again and again", 97, {"images": len(x)})
    elif blank > 0.01 * len(x):
        yield Finding("images", "bad" if blank > 0.5 * len(x) else "warn", f"{100 * blank / len(x):.0f} % of the images are blank",
                      f"{blank} of {len(x)} images have one value in all places.", "look at them: a path that is not read, or a crop outside of the "
                      "picture, leaves zeros", 96 if blank > 0.5 * len(x) else 45, {"blank": blank, "of": len(x)})


@check("train and test", order=11)
def train_and_test(case: Case):
    """Training and test images come from one distribution, and the test images are not among those of training."""
    if case.test is None or not len(case.test.images) or not np.isfinite(case.test.images).all() or not np.isfinite(case.train.images).all():
        return
    (mean, std), (other, spread) = _moments(case.train), _moments(case.test)
    shift, ratio = np.abs(other - mean) / np.maximum(std, 1e-6), spread / np.maximum(std, 1e-6)
    said = (f"training: mean {_list(mean)}, deviation {_list(std)}; test: mean {_list(other)}, deviation {_list(spread)}")
    if shift.max() > APART or ratio.max() > 1.5 or ratio.min() < 1 / 1.5:
        severe = case.fits and case.generalises is False
        yield Finding("train and test", "bad" if severe else "warn", "Training and test images are prepared differently", said + ".",
                      "give both the same normalisation (mean and std of the training set)", 88, {"shift": shift, "ratio": ratio})
    else:
        yield Finding("train and test", "good", "Test images are prepared like those of training", said)
    yield from _duplicates(case)
    run = case.run
    if run is not None and run.saved_mean is not None and not np.allclose([run.saved_mean, run.saved_std], [run.train_set.mean, run.train_set.std],
                                                                          atol=0.01):
        yield Finding("train and test", "warn", "The data are not normalised as the checkpoint was trained",
                      f"checkpoint: mean {_list(run.saved_mean)}, std {_list(run.saved_std)}; data now: mean {_list(run.train_set.mean)}, std "
                      f"{_list(run.train_set.std)}.", "preprocessing belongs to the weights: use the checkpoint's", 60)


def _moments(pictures: Pictures):
    return pictures.images.mean((0, 2, 3), dtype=np.float64), pictures.images.std((0, 2, 3), dtype=np.float64)


def _duplicates(case):
    if case.run is None:
        train, test = (part.images if part.raw is None else part.raw for part in (case.train, case.test))
    else:
        train, test = _all_bytes(case.run.train_set), _all_bytes(case.run.test_set)
        if train is None or test is None:
            return
    known = {hash(image.tobytes()) for image in train}
    again = sum(hash(image.tobytes()) in known for image in test)
    if again:
        much = again > 0.02 * len(test)
        yield Finding("train and test", "warn" if much else "info", f"{again} of {len(test)} test images are also training images",
                      f"Byte for byte. The test accuracy says that much less about new images ({100 * again / len(test):.2g} %).",
                      "take them out of the training set" if much else "", 55 if much else 20, {"duplicates": again, "of": len(test)})


def _all_bytes(dataset):
    """The images of a data set that lies in memory, else None."""
    if hasattr(dataset, "images"):
        return dataset.images
    inner = _all_bytes(dataset.dataset) if hasattr(dataset, "indices") and hasattr(dataset, "dataset") else None
    return None if inner is None else inner[dataset.indices]


def _list(values) -> str:
    return "(" + ", ".join(f"{float(value):.3g}" for value in values) + ")"
