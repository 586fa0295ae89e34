"""Floor 2: finds the CUDA sources in ``kernels/``, and says whether there is a GPU to run them."""

from ..array import available_devices, register_backend
from .sources import kernel_folder, kernel_source, kernel_sources

__all__ = ["device_count", "is_available", "kernel_folder", "kernel_source", "kernel_sources", "manual_seed", "manual_seed_all"]


def _emulator(device):
    from .emulator import EmulatorBackend

    return EmulatorBackend(device)


register_backend("emulator", _emulator)


def device_count() -> int:
    """How many GPUs this installation can compute on."""
    return available_devices().count("cuda")


def is_available() -> bool:
    """Whether ``x.to("cuda")`` can work: False unless a CUDA backend is registered."""
    return device_count() > 0


def manual_seed(seed: int) -> None:
    """Accepted for torch's sake, and without effect: ``scratchvgg.manual_seed`` seeds every device, with the same numbers on each."""


manual_seed_all = manual_seed
