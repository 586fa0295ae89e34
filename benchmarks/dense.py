"""How much cheaper dense evaluation is than crops: the paper's argument for it (§3.2), measured.

examples:
  python -m benchmarks.dense                              VGG-16, Q = 256, 384, 512: three to five minutes
  python -m benchmarks.dense --net vgg11 --scales 256 --rounds 3
  SCRATCHVGG_THREADS=1 python -m benchmarks.dense         on a machine that others use too: a thread that keeps its core

A picture of 3:4 is scaled so that its shorter side is Q. "dense" runs the whole of it and its mirror image through the net once each;
"50 crops" is the paper's grid, 5×5 crops of 224 pixels and their mirror images. The sides take turns in one process, float32, in evaluation
mode; decoding, scaling and normalising are left out on both. "ratio" is time(50 crops) / time(dense), the median and quartiles over the rounds;
"MAC ratio" is that of the multiply-accumulates. The 50 crops ask about 50 places; dense asks about every place of the score map, which moves by 32
pixels, and of its mirror image: "equal places" compares it with as many crops as that, their time counted from the 50 that were measured.

The second table is the first linear layer alone, on the feature map of the same picture: with columns in the order of its weight, as
DenseVGG does it, and by conv2d's im2col, which reorders the weight at every call.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.bench import machine
from scratchvgg.bench.problems import build_net
from scratchvgg.bench.progress import status_line
from scratchvgg.bench.results import write_json
from scratchvgg.bench.timing import interleave
from scratchvgg.cli.text import table
from scratchvgg.evaluate.crops import cut, views
from scratchvgg.evaluate.dense import DenseVGG, SlidingLinear, feature_size
from scratchvgg.evaluate.predict import evaluation

CROPS, BATCH = 50, 10
RESULTS = Path(__file__).parent / "results" / "dense" / "report.json"


def measure(net: str, scales, crop: int, rounds: int, progress=lambda text: None) -> dict:
    """A report of plain values: ``machine settings rows layer interrupted``; a row and a line of ``layer`` for each scale."""
    others, model = machine.Others(), build_net(net)
    settings = {"net": net, "crop": crop, "rounds": rounds, "batch": BATCH, "dtype": "float32", "conv": sv.conv.current()}
    report = {"kind": "dense", "machine": machine.describe(), "settings": settings}
    window = None if model.avgpool.output_size == (7, 7) else feature_size(model, crop)
    dense = DenseVGG(model, window)
    pictures = {q: np.random.default_rng(q).standard_normal((1, 3, q, q * 4 // 3), np.float32) for q in scales}
    with evaluation(model), evaluation(dense):
        sides = {"50 crops": lambda: run_crops(model, pictures[max(scales)][0], crop)}
        sides |= {f"dense {q}": lambda x=x: [dense(sv.tensor(side)) for side in (x, x[..., ::-1])] for q, x in pictures.items()}
        timings = interleave(sides, rounds=rounds, progress=progress)
        layer = []
        for q, x in pictures.items():
            if timings.interrupted or (layer and layer[-1]["interrupted"]):
                break
            layer.append(measure_layer(dense, q, x.shape[2:], rounds, progress))
    crop_macs, _ = work(dense, crop, crop)
    report["crops"] = timings["50 crops"].summary() | {"macs": CROPS * crop_macs}
    report["rows"] = [row(dense, timings, q, x.shape[2:], crop_macs) for q, x in pictures.items() if timings[f"dense {q}"].n]
    report |= {"layer": layer, "interrupted": timings.interrupted or any(line["interrupted"] for line in layer)}
    report["machine"]["others"] = others.share()
    return report


def run_crops(model, picture, crop):
    """The paper's 50 crops of a picture (3, H, W), in batches."""
    crops = list(cut(picture, views("multicrop", *picture.shape[1:], crop), crop))
    return [model(sv.tensor(np.stack(crops[start : start + BATCH]))) for start in range(0, len(crops), BATCH)]


def row(dense, timings, scale, size, crop_macs) -> dict:
    """One scale; times in seconds."""
    macs, places = work(dense, *size)
    share = 2 * places / CROPS  # of the 50 crops: as many as the map and its mirror image have places
    ratio = timings.ratio("50 crops", f"dense {scale}")
    return {
        "scale": scale, "size": list(size), "places": 2 * places, "dense": timings[f"dense {scale}"].summary() | {"macs": 2 * macs},
        "ratio": ratio, "mac_ratio": CROPS * crop_macs / (2 * macs),
        "equal_places": {"ratio": [share * r for r in ratio], "mac_ratio": places * crop_macs / macs},
    }  # fmt: skip


def work(dense: DenseVGG, h: int, w: int) -> tuple[int, int]:
    """Multiply-accumulates of one image of h × w, bias adds apart, and the places of its score map."""
    macs = 0
    for layer in dense.features:
        if isinstance(layer, nn.MaxPool2d):
            h, w = h // 2, w // 2
        elif isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() * h * w
    places = (h - dense.window[0] + 1) * (w - dense.window[1] + 1)
    return macs + places * sum(layer.weight.numel() for layer in dense.classifier if isinstance(layer, SlidingLinear)), places


def measure_layer(dense, scale, size, rounds, progress) -> dict:
    """The first linear layer on the features of a picture of ``size``, both ways."""
    linear = next(layer for layer in dense.classifier if isinstance(layer, SlidingLinear))
    h, w = feature_size(dense, size)
    channels = linear.weight.shape[1]
    x = sv.tensor(np.random.default_rng(0).standard_normal((1, h, w, channels), np.float32)).permute(0, 3, 1, 2)  # as convolutions leave it
    ways = {"own order": linear, "conv2d": SlidingLinear(linear.linear, linear.window, algorithm="im2col")}
    timings = interleave({name: lambda way=way: way(x) for name, way in ways.items()}, rounds=rounds, progress=progress)
    line = {"scale": scale, "features": [h, w], "ratio": timings.ratio("conv2d", "own order"), "interrupted": timings.interrupted}
    return line | {name: timing.summary() for name, timing in timings.items()}


def show(report: dict) -> str:
    """The tables as text."""
    spread = lambda values: f"{values[1]:.1f} ({values[0]:.1f}-{values[2]:.1f})"
    crops = report["crops"]
    lines = [[row["scale"], "x".join(map(str, row["size"])), f"{1e3 * row['dense']['seconds']:.0f}", f"{row['dense']['macs'] / 1e9:.0f}",
              spread(row["ratio"]), f"{row['mac_ratio']:.1f}", row["places"], spread(row["equal_places"]["ratio"]),
              f"{row['equal_places']['mac_ratio']:.1f}"] for row in report["rows"]]  # fmt: skip
    headers = ["Q", "picture", "dense ms", "GMAC", "ratio to 50 crops", "MAC ratio", "places", "ratio at equal places", "MAC ratio"]
    layers = [[line["scale"], "x".join(map(str, line["features"])), f"{1e3 * line['own order']['seconds']:.0f}",
               f"{1e3 * line['conv2d']['seconds']:.0f}", spread(line["ratio"])] for line in report["layer"]]  # fmt: skip
    return "\n".join([
        f"{report['settings']['net']}: 50 crops of {report['settings']['crop']} pixels take {crops['seconds']:.2f} s, {crops['macs'] / 1e9:.0f} GMAC",
        "", table(lines, headers, left=2), "",
        table(layers, ["Q", "features", "first linear layer ms", "by conv2d ms", "ratio"], left=2), "", machine.headline(report["machine"]),
    ])  # fmt: skip


def main(arguments=None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.dense", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="vgg16", help="a VGG or SmallVGG, as `scratchvgg bench model` names it (default: vgg16)")
    parser.add_argument("--scales", nargs="+", type=int, default=[256, 384, 512], metavar="Q", help="shorter sides in pixels")
    parser.add_argument("--crop", type=int, default=224, help="side of the crops in pixels (default: 224)")
    parser.add_argument("--rounds", type=int, default=7, help="of each side (default: 7)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/dense/report.json")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.crop < 32:
        parser.error("--rounds: expected 1 or more; --crop: 32 or more")
    if min(options.scales) <= options.crop + 4:
        parser.error(f"--scales: expected more than {options.crop + 4}, so that no two of the 50 crops coincide")
    with status_line() as progress:
        report = measure(options.net, sorted(set(options.scales)), options.crop, options.rounds, progress)
    write_json(options.json, report)
    print(show(report) + f"\n\nnumbers written to {options.json}")
    return 130 if report["interrupted"] else 0


if __name__ == "__main__":
    sys.exit(main())
