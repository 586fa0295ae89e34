"""The peak memory of training steps, measured in a process of its own: ``python -m scratchvgg.study.peak_memory '{"model": "vgg16", …}'``.

On the CPU it is the most resident memory (VmHWM, set back after the net and the optimiser were built) during some steps, less what the process
held after its imports; see :mod:`scratchvgg.bench.memory`. On a GPU it is what the pool handed out. The steps are whole ones, the optimiser's too.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

STEPS = 2


def measure(model: str, batch: int, size, *, optimizer: str = "sgd", dtype: str = "float32", device: str = "cpu", recompute: bool = False,
            options: dict | None = None) -> dict:
    """``{"peak", "process", "how"}``: bytes of the steps, and what the process held before, from a fresh process with this one's threads.

    Args:
        model: a name of :func:`scratchvgg.models.list_models`; ``options`` go to its builder.
        batch, size, optimizer, dtype, device, recompute: as for :func:`scratchvgg.study.ledger.predict`.

    Raises:
        RuntimeError: with the process's last words if it failed, for instance for want of memory.
    """
    from .. import conv
    from ..array import get_num_threads

    question = {"model": model, "batch": batch, "size": size, "optimizer": optimizer, "dtype": dtype, "device": device, "recompute": recompute,
                "options": options or {}}
    settings = {"SCRATCHVGG_THREADS": str(get_num_threads()), "SCRATCHVGG_CONV": conv.current()}
    environment = os.environ | settings | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.run([sys.executable, "-m", __name__, json.dumps(question)], capture_output=True, text=True, env=environment)
    if child.returncode:
        words = " ".join(child.stderr.strip().splitlines()[-1:]) or f"it was stopped by signal {-child.returncode}"
        raise RuntimeError(f"measuring the memory of {model} failed: {words}")
    return json.loads(child.stdout)


def optimizer_of(name: str, parameters):
    """One of :data:`scratchvgg.study.ledger.OPTIMIZERS`, with steps so small that random labels do no harm."""
    from .. import optim

    if name.endswith("sgd"):
        return optim.SGD(parameters, lr=1e-6, momentum=0.9 if name == "sgd" else 0.0)
    return {"adam": optim.Adam, "adamw": optim.AdamW}[name](parameters, lr=1e-6)


def _answer(question: dict) -> dict:
    """In the fresh process."""
    from .. import nn
    from ..array import keep_freed_memory
    from ..autograd import ops
    from ..bench.memory import _STATUS, _resident
    from ..models import get_model
    from ..models.recomputing import recompute_stages
    from .ledger import _image

    keep_freed_memory()
    device, dtype, batch = question["device"], question["dtype"], question["batch"]
    gc.collect()
    imported = _resident("VmRSS")
    net = get_model(question["model"], **question["options"]).to(dtype=dtype, device=device).train()
    if question["recompute"]:
        recompute_stages(net)
    optimizer = optimizer_of(question["optimizer"], net.parameters())
    x, target = ops.randn(batch, *_image(question["size"])).to(device=device, dtype=dtype), ops.zeros(batch, dtype="int64", device=device)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), target).backward()
        optimizer.step()

    gc.collect()
    if device.startswith("cuda"):
        from ..cuda import devices

        devices.reset_peak_memory_stats(device)
    elif _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM ← VmRSS
    for _ in range(STEPS):
        step()
    if device.startswith("cuda"):
        return {"peak": devices.max_memory_allocated(device), "process": 0, "how": f"the pool's, {STEPS} steps"}
    return {"peak": _resident("VmHWM") - imported, "process": imported, "how": f"VmHWM of a fresh process, {STEPS} steps"}


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
