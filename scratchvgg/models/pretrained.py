"""Weights that others trained: torchvision's entries, each with its address, preprocessing, classes and accuracy.

Names and figures are torchvision's (0.28, ``torchvision/models/vgg.py``): ``VGG16_Weights.IMAGENET1K_V1``, ``.DEFAULT``, ``.url``, ``.transforms()``,
``.meta["categories"]``. The eight hexadecimal digits in a file's name begin its SHA-256.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .. import hub
from ..data.presets import ImageClassification
from .categories import imagenet_categories


@dataclass(eq=False)
class Weights:
    """One set of weights.

    Attributes:
        url: of the file.
        transforms: called without arguments, it makes the preprocessing of pictures, an
            :class:`~scratchvgg.data.presets.ImageClassification`.
        meta: ``categories`` (class names, or None), ``num_params``, ``min_size`` (height and width of the smallest image), ``recipe`` (how
            it was trained), ``_metrics`` (accuracies in %), ``_ops`` (multiply-accumulates of one image at 224×224, in 10⁹), ``_file_size``
            (MiB), ``_docs``.
    """

    url: str
    transforms: Callable
    meta: dict[str, Any]

    def __eq__(self, other):
        if not isinstance(other, Weights):
            return NotImplemented
        return (self.url, self.meta, self.transforms()) == (other.url, other.meta, other.transforms())


class WeightsEnum(Enum):
    """The sets of weights that a net has; every member's value is a :class:`Weights`."""

    @classmethod
    def verify(cls, obj):
        """The member meant by a member, its name (with or without the class's), or None, which is returned as it is.

        Raises:
            KeyError: for an unknown name. TypeError: for a member of another net's class, or anything else.
        """
        if obj is None or isinstance(obj, cls):
            return obj
        if isinstance(obj, str):
            name = obj.removeprefix(f"{cls.__name__}.")
            if name not in cls.__members__:
                raise KeyError(f"{cls.__name__} has no entry {name!r}; it has {', '.join(cls.__members__)}")
            return cls[name]
        raise TypeError(f"Invalid Weight class provided; expected {cls.__name__} but received {type(obj).__name__}.")

    def get_state_dict(self, model_dir=None, map_location=None, progress: bool = True, check_hash: bool = True):
        """The weights, downloaded unless they are in the cache: Tensors by their names in a state dict.

        Arguments and errors are those of :func:`scratchvgg.hub.load_state_dict_from_url`; ``check_hash`` compares the whole file's digest.
        """
        return hub.load_state_dict_from_url(self.url, model_dir, map_location, progress, check_hash)

    def path(self, progress: bool = True, check_hash: bool = True) -> Path:
        """Where the file lies in the cache, after it was downloaded if need be and its digest was checked.

        Raises:
            DownloadError: if it cannot be had; the message says which file to put where.
        """
        return hub.download(self.url, progress=progress, check_hash=check_hash)

    def __repr__(self):
        return f"{type(self).__name__}.{self.name}"

    @property
    def url(self) -> str:
        """Where the file is to be had."""
        return self.value.url

    @property
    def transforms(self) -> Callable:
        """``transforms()`` makes the preprocessing that belongs to the weights."""
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        """What is known of the weights; see :class:`Weights`."""
        return self.value.meta

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def digits(self) -> str:
        """The first eight hexadecimal digits of the file's SHA-256."""
        return self.file.rpartition("-")[2].removesuffix(".pth")


def _entry(file: str, num_params: int, ops: float, file_size: float, acc1: float, acc5: float, preset: dict | None = None, **other) -> Weights:
    meta = {
        "min_size": (32, 32),
        "categories": imagenet_categories(),
        "recipe": "https://github.com/pytorch/vision/tree/main/references/classification#alexnet-and-vgg",
        "_docs": "Trained from scratch on ImageNet by torchvision.",
        "num_params": num_params,
        "_metrics": {"ImageNet-1K": {"acc@1": acc1, "acc@5": acc5}},
        "_ops": ops,
        "_file_size": file_size,
    }
    return Weights(f"{hub.ORIGIN}/{file}", functools.partial(ImageClassification, crop_size=224, **preset or {}), meta | other)


class VGG11_Weights(WeightsEnum):
    """Net A."""

    IMAGENET1K_V1 = _entry("vgg11-8a719046.pth", 132_863_336, 7.609, 506.84, 69.020, 88.628)
    DEFAULT = IMAGENET1K_V1


class VGG11_BN_Weights(WeightsEnum):
    """Net A with batch norm."""

    IMAGENET1K_V1 = _entry("vgg11_bn-6002323d.pth", 132_868_840, 7.609, 506.881, 70.370, 89.810)
    DEFAULT = IMAGENET1K_V1


class VGG13_Weights(WeightsEnum):
    """Net B."""

    IMAGENET1K_V1 = _entry("vgg13-19584684.pth", 133_047_848, 11.308, 507.545, 69.928, 89.246)
    DEFAULT = IMAGENET1K_V1


class VGG13_BN_Weights(WeightsEnum):
    """Net B with batch norm."""

    IMAGENET1K_V1 = _entry("vgg13_bn-abd245e5.pth", 133_053_736, 11.308, 507.59, 71.586, 90.374)
    DEFAULT = IMAGENET1K_V1


class VGG16_Weights(WeightsEnum):
    """Net D. ``IMAGENET1K_FEATURES`` are the paper's own convolutions for use in other nets; their classifier is NaN."""

    IMAGENET1K_V1 = _entry("vgg16-397923af.pth", 138_357_544, 15.47, 527.796, 71.592, 90.382)
    IMAGENET1K_FEATURES = _entry(
        "vgg16_features-amdegroot-88682ab5.pth", 138_357_544, 15.47, 527.802, float("nan"), float("nan"),
        preset={"mean": (0.48235, 0.45882, 0.40784), "std": (1 / 255, 1 / 255, 1 / 255)}, categories=None,
        recipe="https://github.com/amdegroot/ssd.pytorch#training-ssd",
        _docs="Convolutions only, with the paper's preprocessing: the classifier's weights are NaN, so these cannot classify.",
    )
    DEFAULT = IMAGENET1K_V1


class VGG16_BN_Weights(WeightsEnum):
    """Net D with batch norm."""

    IMAGENET1K_V1 = _entry("vgg16_bn-6c64b313.pth", 138_365_992, 15.47, 527.866, 73.360, 91.516)
    DEFAULT = IMAGENET1K_V1


class VGG19_Weights(WeightsEnum):
    """Net E."""

    IMAGENET1K_V1 = _entry("vgg19-dcbb9e9d.pth", 143_667_240, 19.632, 548.051, 72.376, 90.876)
    DEFAULT = IMAGENET1K_V1


class VGG19_BN_Weights(WeightsEnum):
    """Net E with batch norm."""

    IMAGENET1K_V1 = _entry("vgg19_bn-c79401a0.pth", 143_678_248, 19.632, 548.143, 74.218, 91.842)
    DEFAULT = IMAGENET1K_V1


PRETRAINED: dict[str, type[WeightsEnum]] = {
    "vgg11": VGG11_Weights, "vgg11_bn": VGG11_BN_Weights, "vgg13": VGG13_Weights, "vgg13_bn": VGG13_BN_Weights,
    "vgg16": VGG16_Weights, "vgg16_bn": VGG16_BN_Weights, "vgg19": VGG19_Weights, "vgg19_bn": VGG19_BN_Weights,
}


def entries() -> list[WeightsEnum]:
    """All sets of weights."""
    return [entry for cls in PRETRAINED.values() for entry in cls]


def get_model_weights(name) -> type[WeightsEnum]:
    """The class of the weights of a net.

    Args:
        name: the net's name, or the function that builds it.

    Raises:
        ValueError: if there are none.
    """
    name = name if isinstance(name, str) else getattr(name, "__name__", repr(name))
    if name not in PRETRAINED:
        raise ValueError(f"there are no pretrained weights of {name!r}, only of {', '.join(PRETRAINED)}; for others give a file")
    return PRETRAINED[name]


def get_weight(name: str) -> WeightsEnum:
    """The entry of a full name: ``get_weight("VGG16_Weights.IMAGENET1K_V1")``.

    Raises:
        ValueError: for a malformed name or an unknown class. KeyError: for an unknown entry of a class.
    """
    class_name, _, member = str(name).partition(".")
    for cls in PRETRAINED.values():
        if cls.__name__ == class_name and member:
            return cls.verify(member)
    raise ValueError(f"{name!r} is no pretrained weights' name, expected one like 'VGG16_Weights.IMAGENET1K_V1'")


def net_of(entry: WeightsEnum) -> str:
    """The name of the net that ``entry`` belongs to."""
    return next(name for name, cls in PRETRAINED.items() if isinstance(entry, cls))


def find_entry(text: str, net: str | None = None) -> WeightsEnum | None:
    """The entry that ``text`` names: in full, by its URL or, given the net, by its own name alone; None if it names none."""
    for name, cls in PRETRAINED.items():
        for member, entry in cls.__members__.items():
            if text in (f"{cls.__name__}.{member}", entry.url) or (name == net and text == member):
                return entry
    return None
