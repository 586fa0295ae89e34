"""What several sections use: the GPU, PyTorch on it, its state, times, floors."""

from __future__ import annotations

import gc
import shutil
import subprocess
from contextlib import contextmanager

import scratchvgg as sv
from scratchvgg.array import Device, get_backend
from scratchvgg.bench.cuda_timing import FLUSH, time_calls
from scratchvgg.bench.timing import Timing, Timings

NOMINAL_FP32 = 67e12  # FLOP/s of an H100 SXM or H200 outside the tensor cores, NVIDIA's data sheet
SUFFIXES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "tf32": "tf32"}
STATE = ("clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit", "temperature.gpu", "utilization.gpu")
ROOMY = 30 << 30  # bytes that shall be free before a case begins


def backend():
    """The GPU's."""
    return get_backend(Device("cuda"))


def torch_gpu(args):
    """PyTorch with its fastest settings that keep float32 float32, or None where it sees no GPU."""
    if args.rehearse:
        return None
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch


def clock(args, sides, seconds: float = 0.3, flush: int = FLUSH) -> Timings:
    """``time_calls`` on the GPU; in a rehearsal each side is called once and there are no times."""
    if not args.rehearse:
        return time_calls(backend(), sides, seconds, flush=flush)
    for call in sides.values():
        call()
    return Timings({name: Timing() for name in sides})


def free(torch=None, everything: bool = False) -> None:
    """Give back what the two memory pools hold but nobody uses, if little is free on the GPU."""
    if everything or sv.cuda.mem_get_info()[0] < ROOMY:
        gc.collect()
        sv.cuda.empty_cache()
        if torch:
            torch.cuda.empty_cache()


def ask_smi(*fields: str) -> dict | None:
    """What nvidia-smi says of the first GPU; None where it says nothing."""
    if not shutil.which("nvidia-smi"):
        return None
    try:
        asked = subprocess.run(["nvidia-smi", "-i", "0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"], capture_output=True, text=True,
                               timeout=15)
    except subprocess.TimeoutExpired:
        return None
    return dict(zip(fields, (v.strip() for v in asked.stdout.split(",")), strict=False)) if asked.returncode == 0 else None


def state() -> dict | None:
    """Clocks, power, temperature, and why the clocks are lower than they could be (a bit mask: 0x4 power cap, 0x8 hardware, 0x20 and 0x40 heat)."""
    now = ask_smi(*STATE)
    if now is not None:
        now |= ask_smi("clocks_event_reasons.active") or ask_smi("clocks_throttle_reasons.active") or {}
    return now


@contextmanager
def clocks_noted(kept, keep):
    """Notes the state before and after what is timed; after a restart, that of the first start stays."""
    before = (kept.get("clocks") or {}).get("before") or state()
    keep(clocks={"before": before, "after": None})
    try:
        yield
    finally:
        keep(clocks={"before": before, "after": state()})


def seconds_at_least(facts: dict, moved: int, operations: int, precision: str, tensor_cores: bool) -> tuple[float | None, str | None]:
    """The floor of a piece of work, and what it is set by, "memory" or "arithmetic": ``moved`` bytes at the measured copy rate, or ``operations``
    at the matrix product rate measured in this precision (outside the tensor cores: the data sheet's for float32, half of it for float64),
    whichever takes longer. (None, None) if a rate that it needs is not known."""
    copy = facts.get("copy_rate")
    nominal = NOMINAL_FP32 / 2 if precision == "float64" else NOMINAL_FP32
    rate = (facts.get("gemm_rates") or {}).get(precision) if tensor_cores else nominal
    if not copy or (operations and not rate):
        return None, None
    by_memory, by_arithmetic = moved / copy, operations / rate if operations else 0.0
    return max(by_memory, by_arithmetic), "memory" if by_memory >= by_arithmetic else "arithmetic"


def share(floor: float | None, seconds: float) -> float | None:
    """Floor / time; None where either is not known."""
    return floor / seconds if floor and seconds > 0 else None
