"""Loading a weights file: scratchvgg against torch and safetensors, time and peak memory, each sample in a process of its own.

examples:
  python -m benchmarks.weights                     VGG-16, 528 MiB: about two minutes
  python -m benchmarks.weights --net vgg11 --rounds 9
  python -m benchmarks.weights --cases checked mapped

A file is written once per format; then the sides of each case take turns, A B A B, the file being in the system's cache for both. "seconds"
is the call alone, after the import and after a small file has been loaded; "memory" is the peak (VmHWM) over what was resident
before (VmRSS), so pages of a mapped file count as far as they were touched. The cases:

  checked      sv.load(f): checksums compared, mapped          torch.load(f): read, checksums not compared
  touched      the same, then a number of every page           the same
  copied       sv.load(f, mmap=False): compared, then read     torch.load(f)
  mapped       sv.load(f, verify=False): mapped                torch.load(f, mmap=True)
  legacy       sv.load(f), torch's format before 1.6           torch.load(f)
  safetensors  sv.load(f)                                      safetensors.torch.load_file(f)
  npz          sv.load(f): CRC compared, mapped                {k: a[k] for k in numpy.load(f)}: CRC compared, read

The exit status is 1 unless "checked" and "touched" take at most 1.2 times torch's time and memory, and "mapped" at most 10 ms more. "copied" has no
limit: CRC-32 of 528 MiB is 40 % of the work of torch.load, and shows where the second core, which hides it, has other work. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .memory import status

MIB = 1 << 20
TIMES, PEAK, LATER = 1.2, 1.2, 0.010  # limits: time and memory of a checked load, seconds more of a mapped one
RESULTS = Path(__file__).parent / "results" / "weights.json"


def _ours(**options):
    import scratchvgg as sv

    return lambda path: sv.load(path, **options)


def _torch(**options):
    import torch

    return lambda path: torch.load(path, **options)


def _touched(load):
    def run(path):
        tree = load(path)
        for value in tree.values():
            value.numpy().reshape(-1)[::1024].sum()  # float32: one number of each 4 KiB
        return tree

    return run


def _safetensors():
    import torch  # noqa: F401 - part of what is loaded, not of the time
    from safetensors.torch import load_file

    return load_file


def _numpy():
    import numpy as np

    def read(path):
        with np.load(path) as archive:
            return {name: archive[name] for name in archive if name != "index.json"}  # ours, which NumPy gives as bytes

    return read


CASES = {  # name → (file, our way, their way)
    "checked": ("torch.pth", _ours, _torch),
    "touched": ("torch.pth", lambda: _touched(_ours()), lambda: _touched(_torch())),
    "copied": ("torch.pth", lambda: _ours(mmap=False), _torch),
    "mapped": ("torch.pth", lambda: _ours(verify=False), lambda: _torch(mmap=True)),
    "legacy": ("legacy.pth", _ours, _torch),
    "safetensors": ("net.safetensors", _ours, _safetensors),
    "npz": ("net.npz", _ours, _numpy),
}
LIMITED = ("checked", "touched")


# ---- in the measured process -------------------------------------------------------------------------------------------------


def measure_here(case: str, side: str, folder: str) -> dict:
    """Load once; seconds and bytes."""
    name, ours, theirs = CASES[case]
    load = (ours if side == "ours" else theirs)()
    load(Path(folder) / "small" / name)  # whatever is imported or built by a first call
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM ← VmRSS
    before, start = status("VmRSS"), time.perf_counter()
    tree = load(Path(folder) / name)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": status("VmHWM") - before, "entries": len(tree)}


# ---- in the process that asks ------------------------------------------------------------------------------------------------


def write_files(net: str, folder: Path) -> int:
    """The net's weights, random, in every format, and a small file of each. Returns the bytes of the tensors."""
    import numpy as np
    import torch

    import scratchvgg as sv

    rng = np.random.default_rng(0)
    with sv.nn.init.skip():
        shapes = {key: value.shape for key, value in sv.models.get_model(net).state_dict().items()}
    state = {key: torch.from_numpy(rng.standard_normal(shape, np.float32)) for key, shape in shapes.items()}
    small = folder / "small"
    small.mkdir()
    for place, values in ((folder, state), (small, {"weight": torch.zeros(2, 3)})):
        torch.save(values, place / "torch.pth")
        torch.save(values, place / "legacy.pth", _use_new_zipfile_serialization=False)
        for name in ("net.safetensors", "net.npz"):
            sv.save({key: sv.from_numpy(value.numpy()) for key, value in values.items()}, place / name)
    return sum(value.numel() * 4 for value in state.values())


def measure(case: str, side: str, folder: Path) -> dict:
    """What :func:`measure_here` gives, from a fresh process.

    Raises:
        RuntimeError: with the process's last words if it failed.
    """
    words = [sys.executable, "-m", "benchmarks.weights", "--child", json.dumps([case, side, str(folder)])]
    child = subprocess.run(words, capture_output=True, text=True)
    if child.returncode:
        raise RuntimeError(f"{case}, {side}: {child.stderr.strip().splitlines()[-1:]}")
    return json.loads(child.stdout)


def compare(net: str, cases: list[str], rounds: int) -> dict:
    """Measure, print the table, return the numbers."""
    from scratchvgg.bench import timing
    from scratchvgg.train import machine

    report = {"net": net, "rounds": rounds, "machine": machine.describe(), "versions": _versions(), "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing {net} in four formats …", file=sys.stderr)
        report["bytes"] = write_files(net, Path(folder))
        print(f"{net}, {report['bytes'] / MIB:.0f} MiB of tensors, {rounds} rounds; median (quartiles)\n\n"
              f"{'case':12}{'ours ms':>10}{'theirs ms':>11}{'ours / theirs':>22}{'ours MiB':>10}{'theirs MiB':>12}{'ratio':>7}")
        for case in cases:
            samples = {"ours": [], "theirs": []}
            for _ in range(rounds):
                for side, found in samples.items():
                    found.append(measure(case, side, Path(folder)))
            report["cases"][case] = row = _row(case, samples, timing.quartiles)
            low, middle, high = row["time_ratio"]
            print(f"{case:12}{1e3 * row['ours']['seconds'][1]:10.1f}{1e3 * row['theirs']['seconds'][1]:11.1f}"
                  f"{f'{middle:.2f} ({low:.2f}-{high:.2f})':>22}{row['ours']['memory'] / MIB:10.0f}{row['theirs']['memory'] / MIB:12.0f}"
                  f"{row['memory_ratio']:7.2f}{'' if row['good'] else '  MISSED'}", flush=True)
    report["good"] = all(row["good"] for row in report["cases"].values())
    return report


def _row(case: str, samples: dict, quartiles) -> dict:
    row = {side: {"seconds": quartiles([s["seconds"] for s in found]), "memory": max(s["memory"] for s in found), "entries": found[0]["entries"]}
           for side, found in samples.items()}
    pairs = list(zip(samples["ours"], samples["theirs"], strict=True))
    row["time_ratio"] = quartiles([a["seconds"] / b["seconds"] for a, b in pairs])
    row["seconds_more"] = quartiles([a["seconds"] - b["seconds"] for a, b in pairs])
    row["memory_ratio"] = row["ours"]["memory"] / max(row["theirs"]["memory"], 1)
    row["good"] = row["ours"]["entries"] == row["theirs"]["entries"]
    if case in LIMITED:
        row["good"] &= row["time_ratio"][1] <= TIMES and row["memory_ratio"] <= PEAK
    if case == "mapped":
        row["good"] &= row["seconds_more"][1] <= LATER
    return row


def _versions() -> dict:
    from importlib.metadata import version

    return {name: version(name) for name in ("numpy", "torch", "safetensors")}


def main(arguments=None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.weights", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="vgg16", help="a net of scratchvgg.models (default: vgg16)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=f"some of {' '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each side (default: 5)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/weights.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(measure_here(*json.loads(options.child))))
        return 0
    if options.rounds < 1:
        parser.error("--rounds: expected 1 or more")
    from scratchvgg.bench.results import write_json

    report = compare(options.net, options.cases, options.rounds)
    write_json(options.json, report)
    print(f"\nnumbers written to {options.json}; targets {'met' if report['good'] else 'MISSED'}")
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
