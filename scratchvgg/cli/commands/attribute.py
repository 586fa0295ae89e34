"""scratchvgg attribute"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import CommandError

SUMMARY = "show which part of a picture speaks for a class"
DESCRIPTION = """
Lay a map over a picture: where does the net look when it says "dog"? Methods:
  gradient         how fast the score changes with each pixel (Simonyan et al., 2013)
  gradient-input   what each pixel adds to the score, to first order
  smoothgrad       the gradient's mean over noisy copies (Smilkov et al., 2017)
  guided           guided backpropagation (Springenberg et al., 2014): crisp, and largely the picture's edges
  grad-cam         the region, from the last ReLU before pool5 or --layer (Selvaraju et al., 2017)
  occlusion        by how much the class becomes less likely with a patch over the place (Zeiler and Fergus, 2013)
Writes a PNG for each and prints a line. --sanity lets a copy of the net forget, layer by layer, and tells which maps depend on
what it learnt (Adebayo et al., 2018). Without weights the net's are random: then the maps mean nothing.
Needs Pillow: pip install 'scratchvgg[images]'.
"""
EXAMPLES = """
scratchvgg attribute dog.jpg --model vgg16 --weights IMAGENET1K_V1            torchvision's weights (528 MB, downloaded once)
scratchvgg attribute dog.jpg --weights some.pth --method grad-cam,occlusion --class "golden retriever"
scratchvgg attribute ship.png --checkpoint runs/small-cifar10-1 --sanity      a net trained here
scratchvgg attribute dog.jpg --weights some.pth --method grad-cam --layer features.22 --out maps
"""


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture files")
    parser.add_argument("--model", metavar="NAME", help="of a net (default: the one that fits the weights, or vgg16)")
    parser.add_argument("--weights", metavar="W", help="a file of any format, an entry (IMAGENET1K_V1), or a URL (default: random weights)")
    parser.add_argument("--checkpoint", metavar="RUN_DIR", help="a run folder (its best checkpoint) or a .ckpt file")
    parser.add_argument("--method", default="grad-cam,guided,gradient", metavar="M[,M]", help="methods, or all (default: grad-cam,guided,gradient)")
    parser.add_argument("--layer", metavar="NAME", help="whose maps Grad-CAM weighs (default: the last ReLU before pool5)")
    parser.add_argument("--class", dest="target", metavar="NAME|INDEX", help="the class to ask for (default: the likeliest)")
    parser.add_argument("--patch", type=int, metavar="N", help="side of occlusion's patch in pixels (default: a seventh of the picture)")
    parser.add_argument("--stride", type=int, metavar="N", help="pixels from patch to patch (default: half a patch)")
    parser.add_argument("--sanity", action="store_true", help="check the methods with random weights, from the top layer down")
    parser.add_argument("--stages", type=int, metavar="N", help="stages of the check (default: one for each layer)")
    parser.add_argument("--out", default="attributions", metavar="FOLDER", help="where to write (default: attributions)")
    parser.add_argument("--html", metavar="FILE", help="also write a page")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, emulator (default: cpu)")
    parser.add_argument("--conv", metavar="NAME", help="convolution algorithm: auto, tuned, reproducible or a name (default: auto)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of random weights, noise and the check (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args) -> int:
    """Load, draw, write."""
    from ...bench.progress import status_line
    from ...study.attribution import find_methods
    from ...study.attribution.scope import check_layer
    from ._study_input import convolutions

    methods = find_methods(args.method)
    if args.layer is not None and "grad-cam" not in methods:
        raise CommandError("--layer: it is Grad-CAM's; add grad-cam to --method")
    if (args.patch, args.stride) != (None, None) and "occlusion" not in methods:
        raise CommandError("--patch, --stride: they are occlusion's; add occlusion to --method")
    if args.stages is not None and not (args.sanity and args.stages > 0):
        raise CommandError(f"--stages: expected 1 or more, with --sanity, got {args.stages}")
    methods.sort(key=lambda method: method != "grad-cam")  # the one that can still find fault with its layer comes before anything is written
    subject = _subject(args)
    if args.layer is not None:
        check_layer(subject.model, args.layer)
    if not args.json:
        print(f"{subject.name} with {subject.weights or 'random weights'}")
        for note in _notes(subject):
            print(note)
    done, sections = [], []
    with convolutions(args), status_line() as progress:
        for number, name in enumerate(_names(subject.titles)):
            done.append(_one(args, subject, number, name, methods, progress, sections))
    if args.html:
        _write_page(args.html, subject, sections, done)
    if args.json:
        from ...study.shown import plain

        print(json.dumps(plain({"model": subject.name, "weights": subject.weights, "notes": _notes(subject), "pictures": done}), allow_nan=False))
    return 0


def _one(args, subject, number, name, methods, progress, sections) -> dict:
    """All methods on one picture; each file is written as soon as it is there."""
    from ...study.attribution import Attributions, attribute, sanity
    from ...study.attribution.result import enlarge
    from ...study.page import images
    from ...weights.atomic import atomic_write

    title, common = subject.titles[number], {"preset": subject.preset, "categories": subject.categories}
    own = {"grad-cam": {"layer": args.layer}, "occlusion": {"patch": args.patch, "stride": args.stride}, "smoothgrad": {"seed": args.seed}}
    x, target, maps, files = subject.x[number : number + 1], args.target, [], []
    if not args.json and len(subject.titles) > 1:
        print(title)
    for method in methods:
        made = attribute(subject.model, x, target, methods=method, progress=progress, **common, **own.get(method, {})).maps[0]
        made.picture, made.stretched, target = subject.pictures[number].transpose(1, 2, 0), False, made.target.index  # the pixels themselves
        Path(args.out).mkdir(parents=True, exist_ok=True)
        path = Path(args.out) / f"{name}-{method}.png"
        with atomic_write(path) as file:
            file.write(images.encode(enlarge(made.overlay(), made.enlarged)))
        maps.append(made)
        files.append(str(path))
        if not args.json:
            print(f"{made} -> {path}", flush=True)
    entry = {"image": title, "files": files, **Attributions(maps).to_dict()}
    sections.append((title, Attributions(maps, "" if subject.weights else _notes(subject)[0])))
    if args.sanity:
        options = {key: value for options in own.values() for key, value in options.items() if key != "seed"}
        result = sanity.check(subject.model, x, target, methods=methods, stages=args.stages, seed=args.seed, progress=progress, **common, **options)
        sections.append((title, result))
        entry["sanity"] = result.to_dict()
        if not args.json:
            print(f"\n{result}\n", flush=True)
    return entry


def _subject(args):
    """The net in front of the pictures."""
    from ...study import subject

    if args.checkpoint is not None:
        if args.model is not None or args.weights is not None:
            raise CommandError("--checkpoint: a checkpoint names its net; leave out --model and --weights")
        if not os.path.exists(args.checkpoint):
            raise CommandError(f"--checkpoint: there is no folder or file {args.checkpoint!r}")
        return subject.load(args.checkpoint, images=args.images, device=args.device, seed=args.seed)
    if args.model is None and args.weights is not None and os.path.exists(args.weights):
        return subject.load(args.weights, images=args.images, device=args.device, seed=args.seed)
    return subject.load(args.model or "vgg16", args.weights, args.images, device=args.device, seed=args.seed)


def _notes(subject) -> list[str]:
    """What must be said beside the maps."""
    return [] if subject.weights else ["The weights are random: the net has learnt nothing, so these maps mean nothing."]


def _names(titles: list[str]) -> list[str]:
    """A file name for each picture: its own without the ending, numbered where that is taken."""
    names: list[str] = []
    for title in titles:
        stem, number, name = Path(title).stem, 1, Path(title).stem
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _write_page(path, subject, results, data) -> None:
    from ...study.page import document
    from ...study.page.document import Section
    from ...weights.atomic import atomic_write

    several = len(subject.titles) > 1
    sections = [Section(f"part-{number}", f"{result.title}: {Path(title).name}" if several else result.title, result.to_html())
                for number, (title, result) in enumerate(results)]
    facts = [("net", subject.name), ("weights", subject.weights or "random")]
    with atomic_write(path, "w") as file:
        file.write(document("Where the net looked", sections, facts=facts, data={"pictures": data}))
