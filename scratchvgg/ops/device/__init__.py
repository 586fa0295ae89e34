"""Twins of operations for devices that run CUDA kernels: forward and backward with the contract of the array versions.

An operation picks its twin by itself, where the twin ``takes`` the arguments; see :func:`scratchvgg.autograd.kernel_twin`.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
