"""scratchvgg predict"""

from __future__ import annotations

import glob
import json
import os
import sys
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

from ..errors import CommandError

PROTOCOLS = ("center", "five", "ten", "dense", "multicrop", "both")
PRECISIONS = ("float32", "float64", "float16", "bfloat16")
AHEAD = 8  # pictures that are decoded while the net computes
BAR = 20  # characters that stand for probability 1
REPORT_SECONDS = 5.0

SUMMARY = "say what is in a picture"
DESCRIPTION = """
Classify pictures: the likeliest classes with their names and probabilities. The net is any VGG with weights from a file of
any format, an entry of torchvision's or a URL (--weights), or one that was trained here (--checkpoint). Each picture is turned
upright, scaled and cut as the weights were made for. A picture that cannot be read is named on stderr, the others go on, and
the exit status is 1.
Needs Pillow: pip install 'scratchvgg[images]'.

--json prints one object (a class whose name nobody knows has the name null):
  {"model": "vgg16", "weights": "some.pth", "protocol": "center", "scales": [256], "tta": "none", "predictions": [
    {"image": "cat.jpg", "classes": [{"index": 281, "name": "tabby", "probability": 0.87}, ...]},
    {"image": "broken.jpg", "error": "it cannot be read as a picture (...)"}]}
"""
EXAMPLES = """
scratchvgg predict cat.jpg --model vgg16 --weights IMAGENET1K_V1    torchvision's weights (528 MB, downloaded once)
scratchvgg predict *.jpg --weights some.pth                         .pth, .safetensors, .npz, .h5: the net that fits the file
scratchvgg predict photos --weights some.pth --protocol dense --scale 256,384,512     a folder of pictures, the paper's way
scratchvgg predict cat.jpg --weights some.pth --tta flip --json     averaged over the mirror image, for programs
scratchvgg predict cat.jpg --checkpoint runs/small-cifar10-1        a net trained here
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture files, folders of pictures, or patterns such as 'a/**/*.jpg'")
    parser.add_argument("--model", metavar="NAME", help="vgg11 … vgg19_bn, vgg_c, vgg_a_lrn (default: the net that fits the weights)")
    parser.add_argument("--weights", metavar="W", help="a file of any format, an entry (IMAGENET1K_V1, DEFAULT), or a URL")
    parser.add_argument("--checkpoint", metavar="RUN_DIR", help="a run folder (its best checkpoint) or a .ckpt file")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="show the N likeliest classes (default: 5)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="center", metavar="P",
                        help=f"what the net looks at: {', '.join(PROTOCOLS)} (default: center)")
    parser.add_argument("--scale", metavar="Q[,Q]", help="shorter side of the picture in pixels; the mean of several (default: the weights', 256)")
    parser.add_argument("--tta", choices=("none", "flip", "shift"), default="none", help="averaging of the centre crop (default: none)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="crops that go through the net at once (default: 16)")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, emulator (default: cpu)")
    parser.add_argument("--precision", choices=PRECISIONS, help="type of the weights while computing (default: float32)")
    parser.add_argument("--conv", metavar="NAME", help="convolution algorithm: auto, tuned, reproducible or a name (default: the recipe's, or auto)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@dataclass
class _Classifier:
    """A net and how it looks at pictures.

    Attributes:
        name, weights: what they are called. categories: class names or None. prepare: from a Pillow picture to what ``look`` takes; runs in
        a thread. look: probabilities (N, classes) of N prepared pictures. group: pictures that ``look`` takes at once.
        scales: shorter sides. around: context of the computation.
    """

    name: str
    weights: str
    categories: list[str] | None
    prepare: object
    look: object
    group: int
    scales: list[int]
    around: object


def run(args) -> int:
    """Classify and print."""
    for option in ("top", "batch_size"):
        if getattr(args, option) < 1:
            raise CommandError(f"--{option.replace('_', '-')}: expected 1 or more, got {getattr(args, option)}")
    if args.tta != "none" and args.protocol != "center":
        raise CommandError(f"--tta: only with the protocol center; {args.protocol} says itself what is averaged")
    paths = _pictures(args.images)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about broken pictures, which are named here
        return _classify(paths, _classifier(args), args)


def _classify(paths, classifier, args) -> int:
    progress, results, broken = _Progress(len(paths)), [], 0
    if not args.json:
        scales = ", ".join(map(str, classifier.scales))
        print(f"{classifier.name} with {classifier.weights}: {args.protocol} at scale {scales}", flush=True)
    with classifier.around, progress:
        for group in _groups(_ahead(paths, classifier.prepare), classifier.group):
            ready = [value for _, value, error in group if error is None]
            rows = iter(_checked(classifier.look(ready), classifier) if ready else ())
            progress.clear()
            for path, _, error in group:
                if error is None:
                    result = {"image": path, "classes": _best(next(rows), classifier.categories, args.top)}
                else:
                    result, broken = {"image": path, "error": error}, broken + 1
                    print(f"scratchvgg predict: {path}: {error}", file=sys.stderr, flush=True)
                if args.json:
                    results.append(result)
                elif error is None:
                    print("\n" + _shown(result), flush=True)
            progress.add(len(group))
    if args.json:
        print(json.dumps({"model": classifier.name, "weights": classifier.weights, "protocol": args.protocol, "scales": classifier.scales,
                          "tta": args.tta, "predictions": results}))
    if broken and len(paths) > 1:
        print(f"scratchvgg predict: {broken} of {len(paths):,} pictures could not be read", file=sys.stderr)
    return 1 if broken else 0


# ---- the net ---------------------------------------------------------------------------------------------------------


def _classifier(args) -> _Classifier:
    from ...evaluate import protocols

    if args.checkpoint is not None:
        if args.model is not None or args.weights is not None:
            raise CommandError("--checkpoint: a checkpoint names its net; leave out --model and --weights")
        name, weights, categories, model, preset, around, shape = _trained(args)
    else:
        name, weights, categories, model, preset, around, shape = _loaded(args)
    scales = _scales(args.scale) or [preset.resize_size]
    parts = protocols.FUSED.get(args.protocol, (args.protocol,))
    try:
        for part in parts:
            protocols.check(part, scales, preset.crop_size, batch_size=args.batch_size)
    except ValueError as error:
        raise CommandError(str(error)) from None
    _place(model, args)
    if args.protocol == "center" and len(scales) == 1:
        prepare, look = _centre(model, preset, scales[0], args.tta, None if args.scale else shape)
        group = args.batch_size
    else:
        if args.tta != "none":
            raise CommandError("--tta: only with one scale")
        prepare, look = _protocol(model, preset, scales, parts, args.batch_size)
        passes = sum(protocols.cost(part, (scale, scale), scale, preset.crop_size) for part in parts for scale in scales)
        group = max(1, int(args.batch_size / passes))
    return _Classifier(name, weights, categories, prepare, look, group, scales, around)


def _loaded(args):
    from ... import conv
    from ...models.loading import load_net

    if args.weights is None:
        model = args.model or "vgg16"
        raise CommandError(
            f"no weights: give --weights an entry of torchvision's (--model {model} --weights IMAGENET1K_V1 downloads it once), "
            "a file (.pth, .safetensors, .npz, .h5) or a URL, or give --checkpoint a run folder of a net trained here")
    try:
        around = nullcontext() if args.conv is None else conv.using(args.conv)
        if args.conv is not None:
            conv.check_setting(args.conv, "conv")
        net = load_net(args.model, args.weights)
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(str(error.args[0] if error.args else error)) from None
    return net.name, net.weights, net.categories, net.model, net.preset, around, None


def _trained(args):
    from ...data import ImageClassification
    from ...train import build, checkpoint, load_model, recipe

    path = checkpoint.find(args.checkpoint)
    model, state = load_model(path)
    about = state["data"]
    used = recipe.from_dict({**state["recipe"], **({"conv": args.conv} if args.conv else {})})
    height, width = about["shape"][1:]
    preset = ImageClassification(min(height, width), min(height, width), about["mean"], about["std"])
    return used.model, str(path), list(about["classes"]), model, preset, build.convolutions(used), (height, width)


def _place(model, args) -> None:
    """Bring the model to the device and the type that were asked for."""
    from ...array import Device, dtypes, get_backend

    try:
        device = Device(args.device)
        get_backend(device)
    except (RuntimeError, ValueError) as error:
        raise CommandError(f"--device: {error}") from None
    model.to(device)
    if args.precision is not None:
        model.to(getattr(dtypes, args.precision))


def _centre(model, preset, scale, tta, shape):
    """(prepare, look) of one crop in the middle: of ``shape`` (H, W) as training cuts pictures, or of the preset at ``scale``."""
    import dataclasses

    import numpy as np

    from ... import evaluate
    from ...data.folder import fit
    from ...data.images import to_array
    from ...data.transforms import Normalize

    at_scale, normalize, dtype = dataclasses.replace(preset, resize_size=scale), Normalize(preset.mean, preset.std), next(model.parameters()).dtype
    prepare = at_scale.crop if shape is None else lambda picture: to_array(fit(picture, *shape))

    def look(crops):
        from ...autograd import as_tensor

        return evaluate.predict(model, as_tensor(normalize(np.stack(crops))).to(dtype), tta)

    return prepare, look


def _protocol(model, preset, scales, parts, batch_size):
    """(prepare, look): pictures are resized in the thread, one for each scale."""
    from ...data.images import resize_shorter
    from ...evaluate import protocols

    def look(pictures):
        return protocols.fuse(protocols.posteriors(model, [sizes[i] for sizes in pictures], part, scale, preset, batch_size=batch_size)
                              for part in parts for i, scale in enumerate(scales))

    return lambda picture: [resize_shorter(picture, scale) for scale in scales], look


def _scales(text) -> list[int]:
    words = [] if text is None else text.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise CommandError(f"--scale: expected pixels, several between commas, got {text!r}")
    return [int(word) for word in words]


def _checked(probabilities, classifier):
    import numpy as np

    if not np.isfinite(probabilities).all():
        raise CommandError(f"{classifier.weights}: the net's output is not finite: these weights have no usable classifier (NaN or infinite)")
    return probabilities


# ---- the pictures ----------------------------------------------------------------------------------------------------


def _pictures(words: list[str]) -> list[str]:
    """Folders and patterns become the files in them; everything else is a file, there or not."""
    from ...data.images import EXTENSIONS, list_pictures

    paths = []
    for word in words:
        if os.path.isdir(word):
            paths += (found := list_pictures(word))
            if not found:
                raise CommandError(f"{word}: no pictures in this folder ({' '.join(EXTENSIONS)})")
        elif glob.has_magic(word) and not os.path.exists(word):
            paths += (found := sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path)))
            if not found:
                raise CommandError(f"{word}: nothing has such a name")
        else:
            paths.append(word)
    return paths


def _ahead(paths, prepare):
    """(path, prepared picture, None) or (path, None, why not), in order; threads decode the next pictures meanwhile."""
    from ...data import DataError, read_picture

    def read(path):
        try:
            return path, prepare(read_picture(path)), None
        except DataError as error:
            return path, None, str(error).removeprefix(f"{path}: ")

    pool, waiting = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decode"), deque()
    try:
        for path in paths:
            waiting.append(pool.submit(read, path))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(items, size: int):
    """Consecutive items, so many that ``size`` pictures are ready (fewer at the end)."""
    group, ready = [], 0
    for item in items:
        group.append(item)
        ready += item[2] is None
        if ready == size:
            yield group
            group, ready = [], 0
    if group:
        yield group


# ---- what is shown ---------------------------------------------------------------------------------------------------


def _best(row, categories, top: int) -> list[dict]:
    order = (-row).argsort(kind="stable")[:top]
    return [{"index": int(i), "name": categories[i] if categories else None, "probability": float(row[i])} for i in order]


def _shown(result) -> str:
    """The picture's name, then a line for each class: probability, name, bar."""
    full, half = ("█", "▌") if _can_show("█▌") else ("#", "")
    names = [f"class {c['index']}" if c["name"] is None else c["name"] for c in result["classes"]]
    lines, width = [result["image"]], max(map(len, names))
    for name, entry in zip(names, result["classes"], strict=True):
        halves = round(2 * BAR * entry["probability"])
        lines.append(f"  {100 * entry['probability']:6.2f} %  {name:{width}s}  {full * (halves // 2)}{half * (halves % 2)}".rstrip())
    return "\n".join(lines)


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


class _Progress:
    """Pictures done and time left, on stderr: a line that changes in a terminal, a line every few seconds elsewhere."""

    def __init__(self, total: int):
        self.total, self.done, self.started = total, 0, time.monotonic()
        self.live, self.next = sys.stderr.isatty(), self.started + REPORT_SECONDS

    def add(self, pictures: int) -> None:
        """So many more are done."""
        self.done += pictures
        now = time.monotonic()
        if self.done < self.total and (self.live or now >= self.next):
            self.next = now + REPORT_SECONDS
            rate = self.done / max(now - self.started, 1e-9)
            line = f"{self.done:,} of {self.total:,} pictures, {rate:.3g} a second, {_clock((self.total - self.done) / rate)} left"
            print(line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the changing line away."""
        if self.live and self.done:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clear()


def _clock(seconds: float) -> str:
    from ...train.progress import clock

    return clock(seconds)
