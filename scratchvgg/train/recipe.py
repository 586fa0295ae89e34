"""A recipe: everything that decides how a net is trained, in one dataclass, as TOML and as command-line flags alike."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from importlib import resources
from pathlib import Path

from . import toml

SCHEDULES = ("constant", "triangular", "cosine", "one_cycle", "step", "plateau")
OPTIMIZERS = ("sgd", "adam", "adamw")
TTA = ("none", "flip", "shift")
PRECISIONS = ("fp32", "bf16", "fp16")


class RecipeError(ValueError):
    """A recipe with an unknown key, a value of the wrong type or out of range; the message names the key."""


def _option(default, help: str, group: str, **checks):
    """A field with its help; ``checks`` are ``low``, ``high`` (inclusive bounds) and ``choices``."""
    metadata = {"help": help, "group": group, **checks}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass
class Recipe:
    """How to train. ``Recipe()`` trains the default small net on the built-in set.

    Raises:
        RecipeError: if a value has the wrong type or lies out of range.
    """

    name: str = _option("custom", "name, used for the run folder", "about")
    description: str = _option("", "one line for --list-recipes", "about")

    data: str = _option("sample", "data set: sample (built in, nothing to download), cifar10, cifar100, folder", "data")
    root: str | None = _option(None, "folder that holds the data set", "data")
    download: bool = _option(False, "get missing files of the data set (cifar10, cifar100)", "data")
    train_size: int | None = _option(None, "use only so many training images", "data", low=1)
    test_size: int | None = _option(None, "use only so many test images", "data", low=1)
    image_size: int = _option(32, "side in pixels that pictures of data = folder are scaled and cut to", "data", low=1)
    crop: int | None = _option(None, "train on random windows of this side, cut from pictures at a scale of scale_min to scale_max", "data", low=1)
    scale_min: int | None = _option(None, "least shorter side of the scaled picture (default: 8/7 of crop, as 256 is of 224)", "data", low=1)
    scale_max: int | None = _option(None, "greatest shorter side (default: scale_min, a fixed scale)", "data", low=1)
    augmentation: list[str] = _option(
        [], "changes to training images, in order: crop:4 translate:2 flip alternating_flip cutout:8 jitter:0.2 rgb_shift:0.1", "data")

    model: str = _option("small_vgg", "net, by the name of its builder in scratchvgg.models", "model")
    model_options: dict = _option({}, "keyword arguments of the builder, as key=value in TOML spelling", "model")

    init_from: str | None = _option(
        None, "begin with layers of another net: a run, checkpoint or weights file, or A, which trains net A of the paper first", "model")
    init_std: float | None = _option(
        None, "draw the weights from a normal distribution of this deviation, biases 0 (default: as the builder does)", "model", low=0.0)

    epochs: int = _option(10, "passes over the training images", "training", low=1)
    batch_size: int = _option(128, "images a step", "training", low=1)
    optimizer: str = _option("sgd", "update rule", "training", choices=OPTIMIZERS)
    lr: float = _option(0.1, "peak learning rate, for the mean loss of a batch", "training", low=0.0)
    momentum: float = _option(0.9, "momentum of sgd; first beta of adam and adamw", "training", low=0.0, high=1.0)
    nesterov: bool = _option(True, "Nesterov's form of momentum (sgd)", "training")
    weight_decay: float = _option(5e-4, "L2 penalty (decoupled for adamw)", "training", low=0.0)
    decay_all: bool = _option(True, "decay biases and norm parameters too, not only weights", "training")
    bias_lr_scale: float = _option(1.0, "norm biases learn so many times faster", "training", low=0.0)
    schedule: str = _option("one_cycle", "course of the learning rate", "training", choices=SCHEDULES)
    warmup: float = _option(0.2, "fraction of the steps that rises to the peak", "training", low=0.0, high=1.0)
    lr_start: float = _option(0.1, "first learning rate, as a fraction of the peak", "training", low=0.0)
    lr_end: float = _option(0.0, "last learning rate, as a fraction of the peak", "training", low=0.0)
    milestones: list[float] = _option([0.5, 0.75], "fractions of the steps where schedule = step divides", "training", low=0.0, high=1.0)
    gamma: float = _option(0.1, "what schedule = step and plateau multiply by", "training", low=0.0, high=1.0)
    patience: int = _option(3, "tests without a better accuracy that schedule = plateau forgives", "training", low=0)
    drops: int = _option(3, "times that schedule = plateau multiplies; the next time it ends the training", "training", low=0)
    label_smoothing: float = _option(0.0, "weight of the uniform distribution in the targets", "training", low=0.0, high=1.0)
    clip_norm: float | None = _option(None, "upper bound of the gradient's 2-norm", "training", low=0.0)
    whiten_epochs: int = _option(3, "epochs after which the bias of a whitening layer (fast_vgg) is held", "training", low=0)
    ema: float | None = _option(None, "decay of an average of the weights, which is then what is tested", "training", low=0.0, high=1.0)
    lookahead: int | None = _option(None, "pull the weights to their average every so many steps", "training", low=1)
    seed: int = _option(0, "of everything random", "training", low=0, high=2**63 - 1)

    tta: str = _option("none", "testing averages: none, flip (mirror image), shift (mirror images and shifts by a pixel)", "testing", choices=TTA)
    eval_every: int = _option(1, "test after every so many epochs (and after the last)", "testing", low=1)
    eval_batch_size: int = _option(500, "images a step in testing", "testing", low=1)

    conv: str | None = _option(
        None, "convolution algorithm: auto, tuned, reproducible or a name (default: $SCRATCHVGG_CONV, else auto)", "machine")
    device: str = _option("cpu", "where to compute: cpu, cuda, cuda:1, or emulator (the CUDA kernels on the CPU: for tiny nets)", "machine")
    cuda_graph: bool = _option(False, "device cuda: record the step as a CUDA graph and replay it", "machine")
    threads: int | None = _option(None, "CPU threads (default: the cores this process may use)", "machine", low=1)
    cache_mb: int = _option(1024, "MiB of decoded pictures to keep in memory, with crop, for training and test set each", "machine", low=0)
    log_every: int = _option(50, "steps between lines of metrics.jsonl", "machine", low=1)
    record: bool = _option(False, "record.jsonl: activations, gradients and updates of every layer over the training", "machine")
    record_every: int | None = _option(
        None, "steps between its records (default: about 300 records in a run, and at most a twentieth of its time)", "machine", low=1)
    checkpoint_seconds: float = _option(60.0, "seconds between checkpoints, besides the one after each epoch", "machine", low=0.0)
    checkpoint_steps: int | None = _option(None, "steps between checkpoints", "machine", low=1)
    precision: str = _option(
        "fp32", "element type of convolutions and linear layers; bf16 and fp16 compute the rest in float32", "machine", choices=PRECISIONS)
    csv: bool = _option(False, "also write metrics.csv, a line an epoch", "machine")
    plot: bool = _option(True, "draw curves.png after each epoch (needs the plots extra)", "machine")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            setattr(self, field.name, check(field, getattr(self, field.name)))

    def replace(self, **changes) -> Recipe:
        """A copy with some fields changed.

        Raises:
            RecipeError: for unknown names or bad values.
        """
        return from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict:
        """The fields as plain values, in order."""
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """The recipe as TOML: every field, grouped, with its help; fields that are None are commented out."""
        return _to_toml(self)


FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}
_HINTS = typing.get_type_hints(Recipe)


def kind_of(field) -> tuple[type, type | None, bool]:
    """(type, element type of a list, whether None is allowed) of a field: ``list[str]`` gives (list, str, False)."""
    hint, optional = _HINTS[field.name], False
    if isinstance(hint, types.UnionType):
        optional = True
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_origin(hint) or hint, next(iter(typing.get_args(hint)), None), optional


def check(field, value):
    """``value`` if the field may hold it (an int is fine for a float field).

    Raises:
        RecipeError: if it may not.
    """
    kind, element, optional = kind_of(field)
    if value is None and optional:
        return None
    if kind is list:
        if not isinstance(value, (list, tuple)):
            raise RecipeError(f"{field.name}: expected a list, got {value!r}")
        return [_check_one(field, element, item) for item in value]
    return _check_one(field, kind, value)


def _check_one(field, kind, value):
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise RecipeError(f"{field.name}: expected {_KIND_NAMES[kind]}, got {value!r}")
    limits = field.metadata
    if "choices" in limits and value not in limits["choices"]:
        raise RecipeError(f"{field.name}: expected one of {', '.join(limits['choices'])}, got {value!r}{did_you_mean(value, limits['choices'])}")
    if kind in (int, float) and not limits.get("low", -math.inf) <= value <= limits.get("high", math.inf):
        low, high = limits.get("low"), limits.get("high")
        raise RecipeError(f"{field.name}: expected {f'{low} or more' if high is None else f'a number from {low} to {high}'}, got {value}")
    return value


_KIND_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false", dict: "a table"}


def did_you_mean(word, known) -> str:
    """``; did you mean 'x'?`` for the known word nearest to ``word``, or nothing if none is near."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], 1)
    return f"; did you mean {close[0]!r}?" if close else ""


# ---- reading ---------------------------------------------------------------------------------------------------------


def from_dict(values: dict) -> Recipe:
    """A recipe from plain values; what is not given keeps its default.

    Raises:
        RecipeError: for unknown keys (with a suggestion) and bad values.
    """
    for key in values:
        if key not in FIELDS:
            raise RecipeError(f"unknown key {key!r}{did_you_mean(key, FIELDS)}")
    return Recipe(**values)


def load(source) -> Recipe:
    """A built-in recipe by name, or one from a TOML file.

    Raises:
        RecipeError: for an unknown name (with a suggestion), a file that cannot be read or is not TOML, and bad content.
    """
    text = str(source)
    if not text.endswith(".toml") and "/" not in text:
        if text not in names():
            raise RecipeError(f"unknown recipe {text!r}{did_you_mean(text, names())} (built in: {', '.join(names())}; or give a .toml file)")
        return _parse(_folder().joinpath(text + ".toml").read_text("utf-8"), f"recipe {text}", text)
    try:
        content = Path(text).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read recipe {text}: {getattr(error, 'strerror', None) or error}") from error
    return _parse(content, text, Path(text).stem)


def _parse(text: str, where: str, name: str) -> Recipe:
    try:
        return from_dict({"name": name, **tomllib.loads(text)})
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where} is not TOML: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def names() -> list[str]:
    """Names of the built-in recipes."""
    return sorted(item.name.removesuffix(".toml") for item in _folder().iterdir() if item.name.endswith(".toml"))


def _folder():
    return resources.files(__package__) / "recipes"


# ---- writing and the command line -------------------------------------------------------------------------------------


def _to_toml(recipe: Recipe) -> str:
    lines, tables, group = [], [], None
    for name, field in FIELDS.items():
        value = getattr(recipe, name)
        if isinstance(value, dict):
            tables += toml.table(name, value, field.metadata["help"])
            continue
        if field.metadata["group"] != group:
            group = field.metadata["group"]
            lines += [""] if lines else []
        entry = f"# {name} =" if value is None else f"{name} = {toml.value(value)}"
        lines.append(f"{entry:40s}  # {field.metadata['help']}")
    return "\n".join(lines + tables) + "\n"


def parse_text(field, text: str):
    """One value of ``field`` from a command-line word: ``none``, ``0.1``, ``flip``; a list's element for lists.

    Raises:
        RecipeError: if the word is no such value.
    """
    kind, element, optional = kind_of(field)
    if optional and text.lower() == "none":
        return None
    kind = element if kind is list else kind
    try:
        return _check_one(field, kind, text if kind is str else kind(text))
    except ValueError as error:
        raise error if isinstance(error, RecipeError) else RecipeError(f"{field.name}: expected {_KIND_NAMES[kind]}, got {text!r}") from None


def parse_option(text: str) -> dict:
    """``key=value`` (the value in TOML's spelling; a bare word is a string) as a dict of one entry.

    Raises:
        RecipeError: without ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"expected key=value, got {text!r}")
    try:
        return {key.strip(): tomllib.loads(f"x = {value}")["x"]}
    except tomllib.TOMLDecodeError:
        return {key.strip(): value}
