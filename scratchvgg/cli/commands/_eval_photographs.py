"""scratchvgg eval on photographs (and on CIFAR), by the paper's protocols."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import nullcontext
from pathlib import Path

from ..errors import CommandError
from ..text import program
from ._eval_table import Line, report

PATHS = ("csv", "folder", "root", "checkpoint", "weights")  # kept as absolute paths, so that a run can go on from anywhere
PROTOCOLS = "center, five, ten, dense, multicrop, both"


def configure(parser) -> None:
    """Declare the options that lead here; all default to None, so that what was given can be told from what was not."""
    add = parser.add_argument_group("photographs, by the paper's protocols", "pictures, nets and protocols; one pass, resumable").add_argument
    add("--csv", metavar="FILE", help="table of pictures: a column file (or path), and class_index, wnid or class_name")
    add("--folder", metavar="DIR", help="pictures in a folder for each class: ImageNet's layout (wnids) or names in sorted order")
    add("--data", metavar="NAME", help="test set of cifar10, cifar100, sample or folder (with --root)")
    add("--model", metavar="NAME[,NAME]", help="vgg11 … vgg19_bn, vgg_c, vgg_a_lrn; several are also fused (default: what fits the weights)")
    add("--weights", metavar="W[,W]", help="for each net an entry (IMAGENET1K_V1, DEFAULT), a file of any format or a URL")
    add("--checkpoint", metavar="RUN_DIR", help="in place of --model and --weights: nets trained here, several with commas")
    add("--protocol", metavar="P[,P]", help=f"{PROTOCOLS} (dense and multicrop fused) (default: center)")
    add("--scales", metavar="Q[,Q]", help="shorter sides of the pictures; auto: the paper's for --train-scale (default: the net's own, 256)")
    add("--train-scale", metavar="S", help="shorter side in training, 256, or a range, 256-512: which of the paper's rows are shown")
    add("--average", choices=("scores", "softmax"), help="what dense averages over space (default: scores, as the paper)")
    add("--no-flip", action="store_const", const=True, help="no mirror images in dense and multicrop")
    add("--crop", type=int, metavar="N", help="side of the crops (default: the net's own, 224)")
    add("--limit", type=int, metavar="N", help="only N pictures, drawn at random, always the same")
    add("--top", type=int, metavar="N", help="classes a row in predictions.jsonl (default: 5)")
    add("--out", metavar="DIR", help="new folder for predictions.jsonl and result.json (default: runs/eval-NET-1, -2, …)")
    add("--resume", metavar="DIR", help="go on with a run that stopped; the other options are its own")


OWN = ("csv", "folder", "data", "model", "weights", "checkpoint", "protocol", "scales", "train_scale", "average", "no_flip", "crop", "limit", "top",
       "out", "resume")
SHARED = ("root", "batch_size", "conv", "device")
INSTEAD = ({"csv", "folder", "data"}, {"model", "weights", "checkpoint"})  # what is given of these stands for all of them
FOREIGN = ("tta", "test_size", "pairs")


def wanted(args) -> bool:
    """Whether an option was given that belongs here."""
    return any(getattr(args, name) is not None for name in OWN)


def run(args) -> int:
    """Score, print the table, and say where the files are."""
    from ...evaluate import photographs

    options, out = _options(args, photographs)
    nets, classes = _nets(options)
    pictures, source = _pictures(options, nets, classes)
    plan, train_scale, convolutions = _plan(options, nets, pictures), _train_scale(options), _convolutions(options.get("conv"))
    _place(nets, options)
    out = Path(out or args.out or _new_folder(nets))
    about = {"options": {name: _absolute(name, value) for name, value in options.items()}}
    with convolutions, Line() as line:
        try:
            result = photographs.evaluate_photographs(
                nets, pictures, plan, out, train_scale=train_scale, about=about, report=line.show, warn=line.say)
        except KeyboardInterrupt:
            line.say(f"stopped; what is done is kept. Go on with:\n  {program()} eval --resume {shlex.quote(str(out))}")
            return 130
        except FloatingPointError as error:
            raise CommandError(str(error)) from None
    print(json.dumps({"out": str(out), **result}) if args.json else report(result, out, source, plan))
    return 1 if result["broken"] else 0


# ---- from options to things ------------------------------------------------------------------------------------------


def _options(args, photographs) -> tuple[dict, str | None]:
    """(the options, the folder to go on in): what was given, and for a run that goes on what it was begun with."""
    given = {name: value for name in (*OWN, *SHARED) if name not in ("out", "resume") and (value := getattr(args, name)) is not None}
    foreign = [f"--{name.replace('_', '-')}" for name in FOREIGN if getattr(args, name) is not None]
    if foreign:
        raise CommandError(f"{', '.join(foreign)}: not with the paper's protocols; there are --protocol, --limit and --top")
    if args.run_dir is not None:
        given.setdefault("checkpoint", args.run_dir)
    if args.resume is None:
        if args.out is not None and os.path.lexists(args.out) and not (os.path.isdir(args.out) and not os.listdir(args.out)):
            raise CommandError(f"--out: {args.out} exists already; go on with it (--resume {args.out}) or choose another folder")
        return given, None
    if args.out is not None:
        raise CommandError("--resume goes on in the run's own folder; leave out --out")
    begun = photographs.read_settings(args.resume)["about"]["options"]
    replaced = {other for group in INSTEAD if not group.isdisjoint(given) for other in group}
    return {**{name: value for name, value in begun.items() if name not in replaced}, **given}, args.resume


def _words(options, name, default=None) -> list[str]:
    words = [word.strip() for word in str(options.get(name, default or "")).split(",")]
    if options.get(name) is not None and not all(words):
        raise CommandError(f"--{name}: expected names between commas, got {options[name]!r}")
    return [word for word in words if word]


def _nets(options) -> tuple[list, list[str] | None]:
    """(nets on the CPU, names of their classes if known)."""
    if options.get("checkpoint") is not None:
        if options.get("model") is not None or options.get("weights") is not None:
            raise CommandError("--checkpoint: a checkpoint names its net; leave out --model and --weights")
        made = [_trained(path, options) for path in _paths(options["checkpoint"])]
    else:
        made = [_pretrained(name, weights) for name, weights in _pairs(options)]
    names = [net.name for net, _ in made]
    nets = [net if names.count(net.name) == 1 else _renamed(net, f"{net.name}#{names[: i + 1].count(net.name)}") for i, (net, _) in enumerate(made)]
    known = [classes for _, classes in made if classes is not None]
    if any(classes != known[0] for classes in known):
        raise CommandError("the nets cannot be fused: their classes differ")
    return nets, known[0] if known else None


def _pairs(options) -> list[tuple[str | None, str]]:
    names, weights = _words(options, "model"), _paths(options.get("weights"))
    if not weights:
        raise CommandError("--weights is missing: an entry such as IMAGENET1K_V1, a file or a URL (or --checkpoint for a net trained here)")
    if len(weights) == 1 and not os.path.exists(weights[0]) and names:
        weights *= len(names)  # one entry's name for all nets
    if names and len(names) != len(weights):
        raise CommandError(f"--weights: expected one for each of the {len(names)} nets, got {len(weights)}")
    return list(zip(names or [None] * len(weights), weights, strict=True))


def _paths(text) -> list[str]:
    """Words between commas; a name with commas that exists is one."""
    return [] if not text else [text] if os.path.exists(text) else [word.strip() for word in text.split(",") if word.strip()]


def _pretrained(name, weights):
    from ...evaluate.plan import Net
    from ...models.loading import load_net

    try:
        loaded = load_net(name, weights)
    except (ValueError, KeyError) as error:
        raise CommandError(f"--model, --weights: {error.args[0] if error.args else error}") from None
    classes = len(loaded.categories) if loaded.categories else list(loaded.model.parameters())[-1].shape[0]
    return Net(loaded.name, loaded.model.eval(), loaded.preset, classes, _identity(loaded.weights)), loaded.categories


def _trained(path, options):
    from ...data.presets import ImageClassification
    from ...evaluate.plan import Net
    from ...train import checkpoint

    found = checkpoint.find(path)
    model, state = checkpoint.load_model(found)
    about, recipe = state["data"], state["recipe"]
    if "data" not in options and not options.get("csv") and not options.get("folder"):
        options.update(data=recipe["data"], **({} if options.get("root") or not recipe["root"] else {"root": recipe["root"]}))
    side = about["shape"][-1]
    preset = ImageClassification(crop_size=side, resize_size=side, mean=tuple(about["mean"]), std=tuple(about["std"]))
    return Net(recipe["model"], model, preset, len(about["classes"]), _identity(str(found))), list(about["classes"])


def _renamed(net, name):
    from dataclasses import replace

    return replace(net, name=name)


def _identity(weights: str) -> dict:
    """What tells weights from others: of a file its size and SHA-256, wherever it lies; else the entry's name."""
    import hashlib

    if not os.path.isfile(weights):
        return {"weights": weights}
    with open(weights, "rb") as file:
        return {"weights": Path(weights).name, "size": os.path.getsize(weights), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _pictures(options, nets, classes):
    """(pictures, what they are called)."""
    from ... import data
    from ...data.images import read_picture, to_picture
    from ...evaluate.plan import Pictures

    sources = [name for name in ("csv", "folder", "data") if options.get(name) is not None]
    if len(sources) != 1:
        raise CommandError(f"expected one of --csv, --folder and --data, got {' and '.join('--' + name for name in sources) or 'none'}")
    kind, source = sources[0], options[sources[0]]
    if kind != "data":
        labelled = _labelled(kind, source, options.get("root"), nets[0].classes, classes)
        root = os.path.abspath(source if kind == "folder" else options.get("root") or os.path.dirname(source) or ".")
        names = [Path(os.path.relpath(path, root)).as_posix() for path in labelled.paths]
        pictures = Pictures(names, labelled.labels, lambda i: read_picture(labelled.paths[i]))
    else:
        try:
            dataset = data.open_dataset(source, options.get("root"), train=False)
        except ValueError as error:
            raise CommandError(f"--data: {error}") from None
        if classes is not None and list(dataset.classes) != classes:
            there, own = (", ".join(names[:3]) for names in (dataset.classes, classes))
            raise CommandError(f"--data: the classes of {source} ({there}, …) are not the net's ({own}, …)")
        if hasattr(dataset, "samples"):
            names = [Path(os.path.relpath(path, dataset.root)).as_posix() for path, _ in dataset.samples]
            pictures = Pictures(names, dataset.labels, lambda i: read_picture(dataset.samples[i][0]))
        else:
            pictures = Pictures([f"{source}/test/{i}" for i in range(len(dataset))], dataset.labels, lambda i: to_picture(dataset.images[i]))
    limit = options.get("limit")
    if limit is not None and limit < 1:
        raise CommandError(f"--limit: expected 1 or more, got {limit}")
    return pictures.some(limit), f"{source}"


def _labelled(kind, source, root, count, classes):
    from ...data.labelled import open_labelled
    from ...models.categories import imagenet_categories, imagenet_wnids

    imagenet = count == 1000 and classes in (None, imagenet_categories())
    where = {"folder": source} if kind == "folder" else {"csv": source, "folder": root}
    return open_labelled(**where, categories=imagenet_categories() if imagenet else classes, wnids=imagenet_wnids() if imagenet else None)


def _plan(options, nets, pictures):
    from ...evaluate import photographs
    from ...evaluate.plan import Plan

    own = {name: options[name] for name in ("crop", "average", "batch_size", "top") if options.get(name) is not None}
    try:
        plan = Plan(tuple(_words(options, "protocol", "center")), _scales(options, nets), flip=not options.get("no_flip"), **own)
        photographs.check(nets, pictures, plan)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return plan


def _scales(options, nets) -> tuple[int, ...]:
    words = _words(options, "scales", str(nets[0].preset.resize_size))
    if words == ["auto"]:
        from ...evaluate import test_scales

        if options.get("train_scale") is None:
            raise CommandError("--scales auto: needs --train-scale, such as 256 or 256-512")
        return test_scales(_train_scale(options))
    if not all(word.isdecimal() for word in words):
        raise CommandError(f"--scales: expected numbers between commas, or auto, got {options['scales']!r}")
    return tuple(int(word) for word in words)


def _train_scale(options) -> int | tuple[int, int] | None:
    """S, or (smallest, largest)."""
    text = options.get("train_scale")
    if text is None:
        return None
    words = text.split("-")
    if len(words) > 2 or not all(word.isdecimal() and int(word) for word in words) or (len(words) == 2 and int(words[0]) >= int(words[1])):
        raise CommandError(f"--train-scale: expected a number such as 256, or a range such as 256-512, got {text!r}")
    return int(words[0]) if len(words) == 1 else (int(words[0]), int(words[1]))


def _place(nets, options) -> None:
    from ...array import Device, get_backend

    try:
        device = get_backend(Device(options.get("device") or "cpu")).device
    except RuntimeError as error:
        raise CommandError(f"--device: {error}") from None
    for net in nets:
        net.model.to(device)


def _convolutions(name):
    from ... import conv

    try:
        if name is not None:
            conv.check_setting(name, "conv")
    except ValueError as error:
        raise CommandError(str(error)) from None
    return nullcontext() if name is None else conv.using(name)


def _new_folder(nets) -> Path:
    """``runs/eval-NET-1``, or the first number that no other process has taken."""
    stem, number = "eval-" + "+".join(net.architecture for net in nets), 1
    while True:
        path = Path("runs", f"{stem}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def _absolute(name, value):
    if name not in PATHS or not isinstance(value, str):
        return value
    return ",".join(os.path.abspath(path) if os.path.exists(path) else path for path in _paths(value))
