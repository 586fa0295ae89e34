"""Floor 2: finds the CUDA sources in ``kernels/``."""

from .sources import kernel_folder, kernel_source, kernel_sources

__all__ = ["kernel_folder", "kernel_source", "kernel_sources"]
