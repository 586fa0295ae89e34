"""Which kernels a piece of code launches."""

from __future__ import annotations

from contextlib import contextmanager

from scratchvgg.array import Device, get_backend


@contextmanager
def launches(device: str = "emulator"):
    """Within the block, a list that the name of every kernel launched on ``device`` is appended to."""
    backend, names = get_backend(Device(device)), []
    launch = backend.launch
    backend.launch = lambda kernel, *args, **options: names.append(kernel) or launch(kernel, *args, **options)
    try:
        yield names
    finally:
        del backend.launch
