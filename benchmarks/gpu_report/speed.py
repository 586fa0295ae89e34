"""Sections that time our own: every kernel against its floor, and a training run."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from scratchvgg.cuda import registry

from .checks import examples_of
from .child import each, watch
from .common import SUFFIXES, clock, clocks_noted, free, seconds_at_least, share

FIRST = "conv_implicit_gemm", "conv_tensor_core", "conv_tensor_core_grad_weight", "bias_relu_pool", "batch_norm", "max_pool", "gemm", "relu", "sgd"


def timings(kept, keep, args):
    """Every kernel at VGG's sizes against its floor; those that a training step spends its time in first."""

    def measure(name, place, example):
        timing = clock(args, {"ours": example.run}, 0.05)["ours"].summary()
        precision, cores = SUFFIXES.get(example.entry.rpartition("_")[2], "float32"), "tensor_core" in example.entry
        least, bound = seconds_at_least(kept["facts"], example.bytes, example.operations, precision, cores)
        hot = registry.get(example.entry).is_hot(example.entry) and "naive" not in example.entry
        row = {"kernel": name, "example": example.title, "entry": example.entry, "hot": hot, "precision": precision,
               "bytes": example.bytes, "operations": example.operations, "floor": least, "bound": bound,
               "share": share(least, timing["seconds"]), **timing}
        keep(rows=[*kept.get("rows", []), row])
        free()

    names = sorted(registry.with_examples(), key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    with clocks_noted(kept, keep):
        each(kept, keep, examples_of(kept, ("relu",) if args.rehearse else names, "small" if args.rehearse else "large", measure))


def cifar(kept, keep, args):
    """A training run, its step a CUDA graph; epochs are kept as they end."""
    from scratchvgg.train.metrics import read

    root = args.cifar or os.environ.get("SCRATCHVGG_CIFAR10")
    with tempfile.TemporaryDirectory() as folder, clocks_noted(kept, keep):
        out = Path(folder) / "run"
        recipe = ["--recipe", "small", "--data", "cifar10", "--root", str(root), "--device", "cuda", "--cuda-graph"] if root else [
            "--recipe", "sample", "--device", "cuda", "--cuda-graph"]
        if args.rehearse:
            recipe = ["--recipe", "tiny", "--epochs", "1"]
        command = [sys.executable, "-m", "scratchvgg", "train", *recipe, "--plain", "--out", str(out)]

        def look():
            if (out / "metrics.jsonl").exists():
                hidden = ("seconds", "images_per_second") if args.rehearse else ()  # these would look like a GPU's
                keep(epochs=[{k: v for k, v in epoch.items() if k not in hidden} for epoch in read(out / "metrics.jsonl", "epoch")])

        keep(command=" ".join(["scratchvgg", "train", *recipe]), data="CIFAR-10" if root and not args.rehearse else "the built-in set, NOT CIFAR-10")
        code, said = watch(command, look, kept["begun"] + kept["limit"] - time.time() - 5)
        keep(output=said[-3000:], wrong=[f"exit status {code}: {said.strip()[-500:]}"] if code else [],
             note="its time was over before the last epoch" if code is None else None)
