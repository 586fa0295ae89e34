"""Peak memory of a training step: ours and PyTorch's, each in a process of its own.

examples:
  python -m benchmarks.memory                            VGG-16, batch 8, 224×224: forward, backward, SGD with momentum
  python -m benchmarks.memory --net vgg16_bn --batch 4
  python -m benchmarks.memory --net cifar_vgg --size 32 --batch 128
  python -m benchmarks.memory --return-freed             without telling malloc to keep freed blocks (scratchvgg train tells it)

The net is torchvision's on both sides, ReLU in place, dropout 0.5 in the classifier. "baseline" is the resident memory (VmRSS) after the
import, the building of the net and the making of one batch; "peak" the high-water mark (VmHWM, set back to the baseline before) after two
steps; "step" is peak − baseline: activations, gradients, momentum and scratch. "an image" is how much a step grows per image, from
batch to half of it. "scratch" is all the reused workspace of ours, column tiles included: no column matrix of the whole batch exists.

The exit status is 1 if our step takes more than 1.3 times PyTorch's, or the scratch is above 64 MiB and grows with the batch. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path

RATIO, STEPS, MIB = 1.3, 2, 1 << 20
SCRATCH = 64 * MIB  # below that, tiles may still grow up to their cap
RESULTS = Path(__file__).parent / "results" / "memory.json"
NETS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E", "cifar_vgg": "D"}
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


# ---- in the measured process -------------------------------------------------------------------------------------------------


def status(field: str, process: int | str = "self") -> int:
    """``VmRSS`` or ``VmHWM`` of a process, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{process}/status has no {field}")


def peak_of(step) -> dict:
    """Baseline and peak, in bytes, of calling ``step()`` a few times."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM ← VmRSS
    baseline = status("VmRSS")
    for _ in range(STEPS):
        step()
    return {"baseline": baseline, "peak": status("VmHWM"), "step": status("VmHWM") - baseline}


def measure_ours(net: str, batch: int, size: int, keep_freed: bool) -> dict:
    """The step on scratchvgg; also the bytes of workspace."""
    import numpy as np

    import scratchvgg as sv
    from scratchvgg.array import CPU, get_backend, get_num_threads
    from scratchvgg.array.memory import keep_freed_memory

    if keep_freed:
        keep_freed_memory()
    scratch = _watch_workspaces(get_backend(CPU))
    model = sv.models.get_model(net)
    optimizer = sv.optim.SGD(model.parameters(), **SGD)
    rng = np.random.default_rng(0)
    images = sv.tensor(rng.standard_normal((batch, 3, size, size), np.float32))
    labels = sv.tensor(rng.integers(0, 10, batch))

    def step():
        optimizer.zero_grad()
        sv.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return peak_of(step) | {"scratch": sum(scratch.values()), "threads": get_num_threads()}


def _watch_workspaces(backend) -> dict:
    """Note the largest workspace of each tag and thread as it is asked for."""
    import threading

    largest: dict = {}
    plain = backend.workspace

    def noting(tag, shape, dtype):
        array = plain(tag, shape, dtype)
        key = tag, threading.get_ident()
        largest[key] = max(largest.get(key, 0), array.nbytes)
        return array

    backend.workspace = noting
    return largest


def measure_torch(net: str, batch: int, size: int, keep_freed: bool) -> dict:
    """The step on PyTorch; its allocator is left as it comes."""
    import torch

    model = torch_net(net)
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 10, (batch,))

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return peak_of(step) | {"threads": torch.get_num_threads()}


def torch_net(net: str):
    """The VGG of that name in torch, ReLU in place; ``cifar_vgg`` (with batch norm) has the small head."""
    from torch import nn

    from scratchvgg.models.vgg import cfgs

    small = net == "cifar_vgg"
    batch_norm = small or net.endswith("_bn")
    layers, channels = [], 3
    for entry in cfgs[NETS[net.removesuffix("_bn")]]:
        if entry == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(channels, entry, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(entry))
        layers.append(nn.ReLU(inplace=True))
        channels = entry
    if small:
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(channels, 10))
    head = [nn.Linear(512 * 49, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head)


# ---- in the process that asks ------------------------------------------------------------------------------------------------


def measure(library: str, net: str, batch: int, size: int, keep_freed: bool = True) -> dict:
    """What ``measure_ours`` or ``measure_torch`` gives, from a fresh process.

    Raises:
        RuntimeError: with the process's last words if it failed.
    """
    question = json.dumps([library, net, batch, size, keep_freed])
    child = subprocess.run([sys.executable, "-m", "benchmarks.memory", "--child", question], capture_output=True, text=True)
    if child.returncode:
        raise RuntimeError(f"measuring {library} failed: {child.stderr.strip().splitlines()[-1:]}")
    return json.loads(child.stdout)


def main(arguments=None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    nets = [*(n + bn for n in NETS if n != "cifar_vgg" for bn in ("", "_bn")), "cifar_vgg"]
    parser.add_argument("--net", choices=nets, default="vgg16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--return-freed", action="store_true", help="leave malloc as it is")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/memory.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        library, *rest = json.loads(options.child)
        print(json.dumps({"ours": measure_ours, "torch": measure_torch}[library](*rest)))
        return 0
    if options.batch < 2 or options.size < 32:
        parser.error("--batch: expected 2 or more; --size: 32 or more")
    report = compare(options.net, options.batch, options.size, not options.return_freed)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nnumbers written to {options.json}; targets {'met' if report['good'] else 'MISSED'}")
    return 0 if report["good"] else 1


def compare(net: str, batch: int, size: int, keep_freed: bool) -> dict:
    """Measure both libraries at ``batch`` and half of it, print the table, return the numbers."""
    from scratchvgg.train import machine

    print(f"{net}, batch {batch}, {size}×{size}, {STEPS} steps of SGD with momentum; MiB\n")
    print(f"{'':12}{'baseline':>10}{'peak':>10}{'step':>10}{'an image':>10}{'scratch':>10}")
    report = {"net": net, "batch": batch, "size": size, "keep_freed": keep_freed, "machine": machine.describe()}
    for library in ("ours", "torch"):
        full, half = (measure(library, net, b, size, keep_freed) for b in (batch, batch // 2))
        full["image"] = (full["step"] - half["step"]) / (batch - batch // 2)
        full["scratch of half the batch"] = half.get("scratch")
        report[library] = full
        cells = [full["baseline"], full["peak"], full["step"], full["image"], *([full["scratch"]] if "scratch" in full else [])]
        print(f"{'scratchvgg' if library == 'ours' else 'PyTorch':12}" + "".join(f"{cell / MIB:10.0f}" for cell in cells))
    ours, theirs = report["ours"], report["torch"]
    report["ratio"], report["ratio of peaks"] = ours["step"] / theirs["step"], ours["peak"] / theirs["peak"]
    grows = ours["scratch"] > max(SCRATCH, ours["scratch of half the batch"])
    report["good"] = report["ratio"] <= RATIO and not grows
    print(f"{'ratio':12}{ours['baseline'] / theirs['baseline']:10.2f}{report['ratio of peaks']:10.2f}{report['ratio']:10.2f}")
    print(f"scratch at half the batch: {ours['scratch of half the batch'] / MIB:.0f} MiB{': IT GROWS WITH THE BATCH' if grows else ''}")
    return report


if __name__ == "__main__":
    sys.exit(main())
