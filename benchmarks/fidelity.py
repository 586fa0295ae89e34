"""How exact are float32 results? Ours and PyTorch's, both against PyTorch in float64.

examples:
  python -m benchmarks.fidelity                          every operation, then VGG-16 and VGG-16-BN at 224×224 (some minutes)
  python -m benchmarks.fidelity --only operations
  python -m benchmarks.fidelity --only nets --nets vgg11 cifar_vgg:config=D,batch_norm=true@32x8 --seeds 3
  python -m benchmarks.fidelity --json /tmp/fidelity.json

A net is a name of scratchvgg.models, options after a colon, image size and batch after an @ (default 224x1; with batch norm 224x2).

What the columns mean: the error is the RMS of (float32 − float64 truth), the median over the seeds. "ratio" is our error over torch's
(torch's counted as at least a quarter of a unit in the last place, what rounding alone costs). Gradients of nets are relative: RMS of
the difference over RMS of the truth, of the worst parameter. "frozen": ReLU and pool decisions taken from the float64 run, for ours and
torch's alike; "free": each decides by itself, and flips decisions that are within rounding of a tie.

The exit status is 1 if a ratio is above 2 or a frozen gradient above 1e-4.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

import scratchvgg as sv
from scratchvgg.bench.problems import build_net
from scratchvgg.bench.torch_side import twin
from scratchvgg.models import get_model_builder
from scratchvgg.train import machine
from tests.closeness import is_floating, rms_error
from tests.harness import Variant, run_ours, run_torch

from .frozen import freeze_torch, frozen, record

RATIO, GRADIENT = 2.0, 1e-4
ENOUGH, POOLED = 2000, 20  # where results of fewer numbers look bad, that many draws are pooled: the luck of a few roundings decides nothing
NETS = ("vgg16", "vgg16_bn")
RESULTS = Path(__file__).parent / "results" / "fidelity.json"


def ratio(error: float, torch_error: float, size: float) -> float:
    """Our error over torch's, with a quarter of a unit in the last place of ``size`` as the least that torch's counts for."""
    floor = float(np.finfo(np.float32).eps) / 4 * size + float(np.finfo(np.float32).tiny)
    return error / max(torch_error, floor)


# ---- operations ----------------------------------------------------------------------------------------------------------


def operation_rows(cases, seeds: int, progress=lambda text: None) -> list[dict]:
    """One row per operation, of its worst result or gradient over ``cases`` (those of the harness)."""
    worst: dict[str, dict] = {}
    for number, case in enumerate(cases):
        if case.moments:
            continue
        progress(f"operations: {number + 1} of {len(cases)}, {case.name}")
        medians = _medians(case, seeds, 1)
        if any(m["ratio"] > 0.75 * RATIO and m["count"] < ENOUGH for m in medians.values()):
            medians = _medians(case, seeds, POOLED)
        for name, middle in medians.items():
            row = {"operation": case.operation, "case": case.title, "what": name, **middle}
            if case.operation not in worst or row["ratio"] > worst[case.operation]["ratio"]:
                worst[case.operation] = row
    return sorted(worst.values(), key=lambda row: -row["ratio"])


def _medians(case, seeds, draws) -> dict[str, dict]:
    """For each result the errors of the seed with the median ratio; each seed pools ``draws`` draws."""
    try:
        found = [_errors(case, range(seed * draws, (seed + 1) * draws)) for seed in range(seeds)]
    except Exception as error:
        error.add_note(f"in the case {case.name!r}")
        raise
    return {name: sorted((f[name] for f in found), key=lambda e: e["ratio"])[seeds // 2] for name in found[0]}


def _errors(case, draws) -> dict[str, dict]:
    rows = {}
    squares = [_squares(case, draw) for draw in draws]
    for name in squares[0]:
        count, *sums = (sum(s[name][i] for s in squares) for i in range(4))
        ours, theirs, size = (math.sqrt(s / count) for s in sums)
        rows[name] = {"ours": ours, "torch": theirs, "size": size, "ratio": ratio(ours, theirs, size), "count": count}
    return rows


def _squares(case, seed) -> dict[str, tuple]:
    """For each float32 result and gradient: how many numbers, and the sums of the squares of our error, torch's and the truth."""
    ours = run_ours(case, Variant(dtype="float32"), seed=seed).named()
    theirs, truth = (run_torch.__wrapped__(case, dtype, "float32", seed).named() for dtype in ("float32", "float64"))
    rows = {}
    for name, peer in theirs.items():
        if is_floating(peer) and peer.dtype == np.float32 and peer.size:
            errors = rms_error(ours[name], truth[name]), rms_error(peer, truth[name]), rms_error(np.zeros_like(truth[name]), truth[name])
            rows[name] = (peer.size, *(e * e * peer.size for e in errors))
    return rows


# ---- whole nets ----------------------------------------------------------------------------------------------------------


def net_row(spec: str, seeds: int, progress=lambda text: None) -> dict:
    """Logits and gradients of one net, each number the median over the seeds."""
    name, size, batch = parse_net(spec)
    draws = []
    for seed in range(seeds):
        draws.append(_one_net(name, size, batch, seed, lambda what: progress(f"{spec}: seed {seed + 1} of {seeds}, {what}")))  # noqa: B023
        gc.collect()
    return {"net": name, "image": size, "batch": batch} | {key: statistics.median(d[key] for d in draws) for key in draws[0]}


def parse_net(spec: str) -> tuple[str, int, int]:
    """``vgg16@224x1`` as (name, image size, batch).

    Raises:
        ValueError: if what follows the @ is not two positive integers.
    """
    name, at, shape = spec.partition("@")
    if not at:
        return name, 224, 2 if "bn" in name or "batch_norm=true" in name.lower() else 1
    size, _, batch = shape.partition("x")
    if not (size.isdecimal() and batch.isdecimal() and int(size) and int(batch)):
        raise ValueError(f"{spec!r}: expected SIZExBATCH after the @, such as 224x1")
    return name, int(size), int(batch)


def _one_net(name, size, batch, seed, progress):
    progress("making the weights")
    sv.manual_seed(seed)
    net = build_net(name, dropout=0.0).train()
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((batch, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        classes = twin(net, "float32").eval()(torch.from_numpy(images)).shape[1]
    labels = rng.integers(0, classes, batch)

    progress("PyTorch in float64")
    truth_net = twin(net, "float64")
    decisions = record(truth_net)
    truth = _run_torch(truth_net, images, labels)
    del truth_net
    progress("PyTorch in float32")
    theirs = _run_torch(twin(net, "float32"), images, labels)
    theirs_frozen = _run_torch(freeze_torch(twin(net, "float32"), decisions), images, labels)
    progress("scratchvgg in float32")
    ours = _run_ours(net, images, labels)
    with frozen(decisions):
        ours_frozen = _run_ours(net, images, labels)

    logits, torch_logits = rms_error(ours["logits"], truth["logits"]), rms_error(theirs["logits"], truth["logits"])
    scale = rms_error(np.zeros_like(truth["logits"]), truth["logits"])
    row = {"logits ours": logits, "logits torch": torch_logits, "logits size": scale, "logits ratio": ratio(logits, torch_logits, scale)}
    for kind, run, peer in (("frozen", ours_frozen, theirs_frozen), ("free", ours, theirs)):
        row[f"{kind} ours"], row[f"{kind} torch"] = _worst_gradient(run, truth), _worst_gradient(peer, truth)
    return row | {"frozen ratio": row["frozen ours"] / row["frozen torch"]}


def _run_torch(net, images, labels):
    x = torch.from_numpy(images).to(next(net.parameters()).dtype).requires_grad_()
    logits = net(x)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
    return {"logits": logits.detach().numpy(), "image": x.grad.numpy()} | {n: p.grad.numpy() for n, p in net.named_parameters()}


def _run_ours(net, images, labels):
    net.zero_grad()
    x = sv.tensor(images, requires_grad=True)
    logits = net(x)
    sv.nn.functional.cross_entropy(logits, sv.tensor(labels)).backward()
    return {"logits": logits.detach().numpy(), "image": x.grad.numpy()} | {n: p.grad.numpy() for n, p in net.named_parameters()}


def _worst_gradient(run, truth) -> float:
    """The largest relative RMS error of a gradient; those that are 0 but for rounding (of a bias before batch norm) are left out."""
    sizes = {n: rms_error(np.zeros_like(t), t) for n, t in truth.items() if n != "logits"}
    largest = max(sizes.values())
    return max(rms_error(run[n], truth[n]) / size for n, size in sizes.items() if size > 1e-12 * largest)


# ---- what is printed -----------------------------------------------------------------------------------------------------


def table(rows: list[dict], columns: dict[str, str]) -> str:
    """Rows as text; ``columns`` maps a heading to the format of its numbers."""
    cells = [list(columns)] + [[format(row[c], f) for c, f in columns.items()] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    left = [f == "" for f in columns.values()]
    lines = ["  ".join(t.ljust(w) if to_left else t.rjust(w) for t, w, to_left in zip(line, widths, left, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in [lines[0], "─" * len(lines[0]), *lines[1:]])


def show_progress(text: str) -> None:
    """One line on the terminal, written over the last; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main(arguments=None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.fidelity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=NETS, metavar="NET", help=f"nets to compare (default: {' '.join(NETS)})")
    parser.add_argument("--only", choices=("operations", "nets"), help="leave the other half out")
    parser.add_argument("--seeds", type=int, default=5, help="draws of weights and inputs; the median is reported (default: 5)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/fidelity.json")
    parser.add_argument("--conv", default="reproducible", help="convolution algorithm (default: reproducible: plain sums)")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error("--seeds: expected 1 or more")
    try:
        for net in options.nets:
            get_model_builder(parse_net(net)[0].partition(":")[0])
    except ValueError as error:
        parser.error(f"--nets: {error}")
    try:
        sv.conv.check_setting(options.conv, "--conv")
    except ValueError as error:
        parser.error(str(error))
    halves = {"operations": all_operations, "nets": lambda seeds: all_nets(options.nets, seeds)}
    report = json.loads(options.json.read_text()) if options.json.exists() else {}  # the half that is left out stays as it was
    good = True
    for half in halves if options.only is None else [options.only]:
        start = time.perf_counter()
        with sv.conv.using(options.conv):
            rows, met = halves[half](options.seeds)
        seconds = round(time.perf_counter() - start, 1)
        report[half] = {"machine": machine.describe(), "torch": torch.__version__, "seeds": options.seeds, "conv": options.conv}
        report[half] |= {"seconds": seconds, "rows": rows}
        good = good and met
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"numbers written to {options.json}; targets {'met' if good else 'MISSED'}")
    return 0 if good else 1


def all_operations(seeds: int) -> tuple[list[dict], bool]:
    """Measure, print the table; the rows, and whether every ratio is within the target."""
    from tests.ops.cases import CASES as SMALL

    from .vgg_cases import CASES as LARGE

    rows = operation_rows([*LARGE, *SMALL], seeds, show_progress)
    show_progress("")
    print(table(rows, {"operation": "", "ratio": ".2f", "ours": ".2e", "torch": ".2e", "what": "", "case": ""}))
    beyond = [row["operation"] for row in rows if not row["ratio"] <= RATIO]
    print(f"\n{len(rows)} operations, each by its worst result; {f'above {RATIO}: ' + ', '.join(beyond) if beyond else f'none above {RATIO}'}\n")
    return rows, not beyond


def all_nets(nets, seeds: int) -> tuple[list[dict], bool]:
    """As :func:`all_operations`, for whole nets."""
    rows = [net_row(net, seeds, show_progress) for net in nets]
    show_progress("")
    headings = ("logits ours", "logits torch", "logits ratio", "frozen ours", "frozen torch", "frozen ratio", "free ours", "free torch")
    print(table(rows, {"net": "", "image": "d", "batch": "d"} | {h: ".2f" if "ratio" in h else ".2e" for h in headings}) + "\n")
    return rows, all(row["logits ratio"] <= RATIO and row["frozen ours"] <= GRADIENT for row in rows)


if __name__ == "__main__":
    sys.exit(main())
