"""What NVIDIA's driver says about this machine's GPUs, asked through ``libcuda`` itself: without CuPy, and without taking any of a GPU's memory."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass

MAJOR, MINOR, PROCESSORS = 75, 76, 16  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR, _MULTIPROCESSOR_COUNT of cuda.h


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, compute capability as (major, minor), memory in bytes, number of multiprocessors."""

    name: str
    capability: tuple[int, int]
    memory: int
    multiprocessors: int


@dataclass(frozen=True)
class Driver:
    """The GPUs that the driver offers to this process; where there are none, ``why`` says why not.

    ``version`` is the newest CUDA version that the driver runs, as (major, minor); None without a driver.
    """

    version: tuple[int, int] | None
    gpus: tuple[Gpu, ...]
    why: str = ""


def driver_version() -> tuple[int, int] | None:
    """The newest CUDA version that the installed driver runs, as (major, minor); None without a driver. Starts nothing on the GPU."""
    cuda = _libcuda()
    number = ctypes.c_int()
    if cuda is None or cuda.cuDriverGetVersion(ctypes.byref(number)):
        return None
    return number.value // 1000, number.value % 1000 // 10


def ask_driver() -> Driver:
    """Ask the driver for its GPUs. This starts CUDA in this process: a child forked afterwards cannot use the GPU."""
    cuda = _libcuda()
    if cuda is None:
        return Driver(None, (), "no NVIDIA driver (libcuda.so.1 was not found)")
    version, count = driver_version(), ctypes.c_int()
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status or not count.value:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = f"; CUDA_VISIBLE_DEVICES is {visible!r}" if visible is not None else ""
        return Driver(version, (), f"NVIDIA's driver is there but offers no GPU ({_name_of(cuda, status) if status else 'it counts 0'}{hidden})")
    return Driver(version, tuple(_describe(cuda, index) for index in range(count.value)))


@functools.cache
def _libcuda():
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _name_of(cuda, status: int) -> str:
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(status, ctypes.byref(text))
    return (text.value or b"error %d" % status).decode()


def _describe(cuda, index: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return Gpu(name.value.decode(), (attribute(MAJOR), attribute(MINOR)), memory.value, attribute(PROCESSORS))
