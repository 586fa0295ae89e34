"""Whose names and shapes a file's weights have, and what torchvision calls the same weights.

A checkpoint from anywhere is read in three steps, each of which looks at names and shapes only and copies no weights:

1. :func:`unwrap` finds the state dict in what was saved: itself, or inside ``{"net": …}``, ``{"state_dict": …, "epoch": …}`` and the like, at any
   depth; a Keras model's layers become flat names, ``"block1_conv1/kernel"``.
2. What wrapper modules put into the names is taken off: ``module`` (DataParallel) and ``_orig_mod`` (torch.compile) wherever they stand
   (``features.module.0.weight``), and ``model.``, ``net.`` … in front where every name has it, as often as needed.
3. A :class:`Layout` plans which entry becomes which of torchvision's, and how.

**Averaged weights.** Of a checkpoint with both, the averages are taken, the weights its author tested and published: ``state_dict_ema`` (timm),
``model_ema`` (torchvision's references; their counter ``n_averaged`` is left out), ``ema`` and the like, and in scratchvgg's own
training checkpoints ``average`` if the recipe has ``ema``. ``ema=False`` takes the others.

Leaves are whatever has ``shape`` and ``dtype``: NumPy arrays and Tensors alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .errors import WeightsError
from .trees import host_array, shown

EMA = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema", "params_ema")
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
PREFIXES = ("model", "net", "network", "backbone", "vgg")
_INNER = ("module", "_orig_mod")
_DEEPEST = 16  # nested containers


class Found(NamedTuple):
    """A state dict in what a file held."""

    state: dict  # name in the file → array
    path: tuple  # the keys that lead to it; () if the tree is the state dict itself
    names: dict  # name without prefixes → name in the file
    prefix: str  # what was taken off the names, as "module.", "" if nothing

    @property
    def clean(self) -> dict:
        """The state dict under the names without prefixes."""
        return {name: self.state[theirs] for name, theirs in self.names.items()}

    def __str__(self):
        return ", ".join(["found in " + shown(self.path)] * bool(self.path) + [f"without prefix {self.prefix!r}"] * bool(self.prefix))


def unwrap(tree, *, ema: bool = True) -> Found:
    """Find the state dict in a tree of dicts and lists.

    Entries that are no arrays (``epoch``, ``arch``, …) and optimizers are left aside.

    Args:
        tree: what ``load`` returns.
        ema: prefer averaged weights where there are some.

    Raises:
        WeightsError: if there is no array in it.
    """
    path, state = _search(tree, (), ema, set())
    if not state:
        first = list(map(repr, list(tree)[:5])) if isinstance(tree, Mapping) else [type(tree).__name__]
        raise WeightsError(f"there are no weights in it: found {', '.join(first) or 'an empty dict'}, expected names with arrays, "
                           f"or a dict that holds them as one of {', '.join(WRAPPERS)}")
    names, prefix = _without_prefixes(state)
    return Found(state, path, names, prefix)


def find_state_dict(tree, *, ema: bool = True) -> dict:
    """The weights in ``tree`` by name, without wrapping and prefixes. See :func:`unwrap`."""
    return unwrap(tree, ema=ema).clean


def is_array(value) -> bool:
    """Whether a leaf of a tree is an array or a Tensor."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _search(node, path, ema, seen):
    """(path, state dict) of the best place at or below ``node``; ((), {}) if there is none. Containers are visited once."""
    if not isinstance(node, (Mapping, list, tuple)) or id(node) in seen or len(path) > _DEEPEST:
        return (), {}
    seen.add(id(node))
    children = dict(node) if isinstance(node, Mapping) else dict(enumerate(node))
    layers = {key: layer for key, layer in children.items() if isinstance(key, str) and isinstance(layer, Mapping)}
    if any(_KERAS_LAYER.fullmatch(key) for key in layers):
        return path, {f"{key}/{name}": value for key, layer in layers.items() for name, value in layer.items() if is_array(value)}
    average, recipe = children.get("average"), children.get("recipe")
    if ema and isinstance(average, Mapping) and isinstance(recipe, Mapping) and recipe.get("ema") is not None:  # a training of ours
        return _search(average.get("averages"), (*path, "average", "averages"), ema, seen)
    for key in (*(EMA if ema else ()), *WRAPPERS):
        found = _search(children.get(key), (*path, key), ema, seen)
        if found[1]:
            return found
    places = [(path, {key: value for key, value in children.items() if isinstance(key, str) and is_array(value)})]
    for key, child in children.items():
        if key not in EMA and "optim" not in str(key):
            places.append(_search(child, (*path, key), ema, seen))
    return max(places, key=lambda place: len(place[1]))


def _without_prefixes(state):
    """({name without prefixes: name}, what was taken off)."""
    names, taken = {}, []
    for name in state:
        *modules, last = name.split(".")
        names[".".join([*(m for m in modules if m not in _INNER), last])] = name
        taken += [m for m in modules if m in _INNER and m not in taken]
    if len(names) < len(state):  # two names would become one
        names, taken = {name: name for name in state}, []
    if taken:
        names.pop("n_averaged", None)  # the counter of torch's AveragedModel, which prefixes all the rest
    while (first := next(iter(names), "").partition(".")[0]) in PREFIXES and all(name.startswith(first + ".") for name in names):
        taken.append(first)
        names = {name.removeprefix(first + "."): theirs for name, theirs in names.items()}
    return names, "".join(part + "." for part in taken)


# ---- layouts ---------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """One of torchvision's entries and where it comes from."""

    value: object
    shape: tuple[int, ...]
    convert: Callable | None = None  # of the file's array; None: as it is

    def read(self):
        """The entry in torchvision's shape."""
        return self.value if self.convert is None else self.convert(self.value)


@dataclass(frozen=True)
class Layout:
    """Names and shapes that one kind of file gives to VGG's weights.

    Attributes:
        name: short.
        about: a line.
        matches: state dict (without prefixes) → is it mine?
        plan: state dict → {torchvision's name: :class:`Entry`}; names that it does not know stay.
        write: torchvision's state dict → mine; None if there is no need of it.
        preprocessing: (mean, std) per RGB channel of images in [0, 1], if the layout is bound to its own.
    """

    name: str
    about: str
    matches: Callable[[dict], bool]
    plan: Callable[[dict], dict[str, Entry]]
    write: Callable[[dict], dict] | None = None
    preprocessing: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def _as_it_is(state):
    return {name: Entry(value, tuple(value.shape)) for name, value in state.items()}


def _rename(name, table):
    """``name`` with its module, all but the last part, looked up in ``table``."""
    module, dot, last = name.rpartition(".")
    return table.get(module, module) + dot + last


# timm: the first two linear layers are a 7×7 and a 1×1 convolution, (O, C, 7, 7) and (O, I, 1, 1): linear weights in another shape.
# Indices within ``features`` are torchvision's. (timm/models/vgg.py: ConvMlp, ClassifierHead)
_TIMM = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
_TO_TIMM = {ours: theirs for theirs, ours in _TIMM.items()}


def _plan_timm(state):
    plan = {}
    for name, value in state.items():
        shape = tuple(value.shape)
        if name in ("pre_logits.fc1.weight", "pre_logits.fc2.weight", "head.fc.weight") and len(shape) == 4:
            shape = (shape[0], math.prod(shape[1:]))
            plan[_rename(name, _TIMM)] = Entry(value, shape, lambda v, shape=shape: v.reshape(shape))
        else:
            plan[_rename(name, _TIMM)] = Entry(value, shape)
    return plan


def _write_timm(state):
    missing = [f"{module}.weight" for module in _TO_TIMM if f"{module}.weight" not in state]
    if missing and any(name.startswith("classifier.") for name in state):
        raise WeightsError(f"timm's layout has three linear layers: there is no {' and no '.join(missing)} in the state dict")
    result = {_rename(name, _TO_TIMM): value for name, value in state.items()}
    if not missing:
        rows, columns = state["classifier.0.weight"].shape
        if columns % 49:
            raise WeightsError(f"timm's first linear layer sees 7×7: classifier.0.weight has {columns} columns, expected a multiple of 49")
        result["pre_logits.fc1.weight"] = state["classifier.0.weight"].reshape((rows, columns // 49, 7, 7))
        result["pre_logits.fc2.weight"] = state["classifier.3.weight"].reshape((*state["classifier.3.weight"].shape, 1, 1))
    return result


# A VGG for CIFAR whose ``classifier`` is one linear layer, as in pytorch-cifar; SmallVGG has a dropout in front of it.
def _plan_one_linear(state):
    return {_rename(name, {"classifier": "classifier.1"}): entry for name, entry in _as_it_is(state).items()}


# Keras: kernels (R, S, C, K) and (in, out); fc1 sees the features as (H, W, C); the weights are Caffe's, so the first
# convolution's channels are B, G, R and images are 0…255 with a mean subtracted. (keras/applications/vgg16.py, imagenet_utils.py)
_KERAS_LAYER = re.compile(r"block(\d{1,2})_conv(\d{1,2})")
_KERAS_ENTRY = re.compile(r"(?:.*/)?(block\d{1,2}_conv\d{1,2}|fc1|fc2|predictions)/(kernel|bias)(?::0)?")
_KERAS_LINEAR = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # R, G, B


def _plan_keras(state):
    found = {match.groups(): name for name in state if (match := _KERAS_ENTRY.fullmatch(name))}
    places = sorted({(int(block), int(i)) for layer, _ in found for block, i in _KERAS_LAYER.findall(layer)})
    # before a convolution in ``features``: each other one with its ReLU, and one pooling for each block
    modules = {f"block{block}_conv{i}": f"features.{2 * before + block - 1}" for before, (block, i) in enumerate(places)} | _KERAS_LINEAR
    kernels = [tuple(state[found[layer, "kernel"]].shape) for layer in list(modules)[: len(places)] if (layer, "kernel") in found]
    channels = kernels[-1][3] if kernels and len(kernels[-1]) == 4 else 0
    plan = {}
    for layer, module in modules.items():
        if name := found.get((layer, "kernel")):
            plan[f"{module}.weight"] = _keras_kernel(layer, state[name], channels)
        if name := found.get((layer, "bias")):
            plan[f"{module}.bias"] = Entry(state[name], tuple(state[name].shape))
    return plan | _as_it_is({name: value for name, value in state.items() if not _KERAS_ENTRY.fullmatch(name)})


def _keras_kernel(layer, value, channels):
    """The entry of one kernel; ``channels`` are those of the last convolution."""
    shape = tuple(value.shape)
    if len(shape) == 4:
        return Entry(value, (shape[3], shape[2], *shape[:2]), _first_kernel if layer == "block1_conv1" else _kernel)
    if len(shape) != 2:
        return Entry(value, shape)
    if layer == "fc1" and channels and math.isqrt(shape[0] // channels) ** 2 * channels == shape[0]:
        return Entry(value, shape[::-1], lambda v: _first_matrix(v, channels))
    return Entry(value, shape[::-1], _matrix)


def _kernel(value):
    return host_array(value).transpose(3, 2, 0, 1)


def _first_kernel(value):
    value = host_array(value)
    return np.ascontiguousarray(_kernel(value[:, :, ::-1] if value.shape[2] == 3 else value))


def _matrix(value):
    return host_array(value).T


def _first_matrix(value, channels):
    """(H·W·C, K) → (K, C·H·W): the one conversion that must copy."""
    value = host_array(value)
    rows, columns = value.shape
    side = math.isqrt(rows // channels)
    return value.reshape(side, side, channels, columns).transpose(3, 2, 0, 1).reshape(columns, rows)


_LAYOUTS = [  # the first that matches
    Layout("keras", "Keras' VGG16 and VGG19 (Caffe's weights: images are 0…255, less a mean)", lambda s: any(map(_KERAS_ENTRY.fullmatch, s)),
           _plan_keras, preprocessing=(tuple(m / 255 for m in _CAFFE_MEAN), (1 / 255,) * 3)),
    Layout("timm", "timm: the linear layers as convolutions", lambda s: "pre_logits.fc1.weight" in s, _plan_timm, _write_timm),
    Layout("one-linear", "torchvision's convolutions, and `classifier` is one linear layer (pytorch-cifar)",
           lambda s: "classifier.weight" in s and any(n.startswith("features.") for n in s), _plan_one_linear),
    Layout("torchvision", "torchvision's names and shapes, also scratchvgg's", lambda s: any(n.startswith(("features.", "classifier.")) for n in s),
           _as_it_is, dict),
]
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _LAYOUTS}


def find_layout(state: Mapping) -> Layout | None:
    """The layout of a state dict without prefixes; None if no layout here has such names."""
    return next((layout for layout in LAYOUTS.values() if layout.matches(state)), None)


def plan(state: Mapping) -> dict[str, Entry]:
    """torchvision's names for a state dict without prefixes, with shapes and the way to get each entry; of unknown layouts, the names as they are."""
    layout = find_layout(state)
    return (layout.plan if layout else _as_it_is)(state)


def to_torchvision(state: Mapping) -> dict:
    """A state dict without prefixes under torchvision's names and in torchvision's shapes.

    Views where reshaping or transposing is enough; Keras' ``fc1`` is copied. A net with Keras' weights takes RGB images: the first
    convolution's channels are put in that order; scale and mean are ``LAYOUTS["keras"].preprocessing``.
    """
    return {name: entry.read() for name, entry in plan(state).items()}


def from_torchvision(state: Mapping, layout: str) -> dict:
    """A state dict with torchvision's names in the layout ``"timm"`` or ``"torchvision"``.

    Raises:
        WeightsError: if the layout is unknown or cannot say it (timm's needs all three linear layers, or none).
    """
    known = [name for name, one in LAYOUTS.items() if one.write]
    if layout not in known:
        raise WeightsError(f"layout {layout!r} cannot be written, expected one of {', '.join(known)}")
    return LAYOUTS[layout].write(state)


def adapt(tree, shapes: Mapping[str, tuple]) -> dict | None:
    """The weights in ``tree`` under the names that a net has, if another reading of the tree meets more of them than its own keys do.

    Args:
        tree: what ``load`` returned, wrapped or not, in any layout.
        shapes: the net's entries.

    Returns:
        A dict (shapes may still be wrong, entries missing or too many), or None if no reading helps.
    """
    try:
        found = unwrap(tree)
    except WeightsError:
        return None
    planned = plan(found.clean)
    readings = [(tree if isinstance(tree, Mapping) else {}, None), (found.state, lambda: found.state), (found.names, lambda: found.clean),
                (planned, lambda: {name: entry.read() for name, entry in planned.items()})]
    _, read = max(readings, key=lambda reading: sum(name in shapes for name in reading[0]))  # the first of equals
    return read() if read else None


def describe(tree) -> str:
    """Where the weights are and in which layout: ``found in ['state_dict'], without prefix 'module.', layout 'timm'``; "" if unknown."""
    try:
        found = unwrap(tree)
    except WeightsError:
        return ""
    layout = find_layout(found.clean)
    return ", ".join(filter(None, [str(found), layout and f"layout {layout.name!r}"]))
