"""Peak memory of a net at work, each side in a process of its own: ``python -m scratchvgg.bench.memory '{"library": "ours", …}'``.

``peak`` is the most resident memory (VmHWM, set back after the net was built and before the first step) during a few steps, less what the
process held after its imports: weights, activations, gradients, momentum, scratch. The transient memory of building the net is not
counted. ``filters`` is how much of it is transformed filters that the convolutions keep (``scratchvgg.conv.prepared``), a declared
cache that can be turned off.

Where there is no /proc (not Linux), the highest resident size of the whole process is taken, building included.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

STEPS = 3
_STATUS = Path("/proc/self/status")


def measure(library: str, net: str, mode: str, batch: int, size: int, layout: str = "NCHW") -> dict:
    """``{"peak", "filters", "threads"}`` of one side, bytes, from a fresh process with the threads and the convolution setting of this one.

    Args:
        library: ``"ours"`` or ``"torch"``.
        net, mode, batch, size: of :class:`~scratchvgg.bench.model.Row`.
        layout: PyTorch's memory format.

    Raises:
        RuntimeError: with the process's last words if it failed.
    """
    from .. import conv
    from ..array import get_num_threads

    question = json.dumps({"library": library, "net": net, "mode": mode, "batch": batch, "size": size, "layout": layout})
    settings = {"SCRATCHVGG_THREADS": str(get_num_threads()), "SCRATCHVGG_CONV": conv.current()}
    environment = os.environ | settings | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.run([sys.executable, "-m", __name__, question], capture_output=True, text=True, env=environment)
    if child.returncode:
        raise RuntimeError(f"measuring the memory of {library} failed: {' '.join(child.stderr.strip().splitlines()[-1:])}")
    return json.loads(child.stdout)


def _resident(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` in bytes."""
    if _STATUS.exists():
        return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if line.startswith(field + ":"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _answer(question: dict) -> dict:
    """In the fresh process."""
    from ..array import get_num_threads, keep_freed_memory
    from . import model, torch_side

    library, layout = question.pop("library"), question.pop("layout")
    if library == "ours":
        keep_freed_memory()
    else:
        torch_side.require()
        import torch._dynamo  # noqa: F401 - torch.optim imports it at the first step
    gc.collect()
    imported = _resident("VmRSS")
    step = model.step_of(library, model.Row(**question), layout)
    gc.collect()
    if _STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM ← VmRSS
    for _ in range(STEPS):
        step()
    return {"peak": _resident("VmHWM") - imported, "filters": model.kept_filters() if library == "ours" else None, "threads": get_num_threads()}


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
