"""Floor 4: differentiable operations, forward and backward side by side, one file an operation (or a small family).

Importing this package fills the table that Tensor's methods look into. To add an operation is to add a file here.
"""

import importlib
import pkgutil

from ..array import when_kernels

for _module in pkgutil.iter_modules(__path__):
    if not _module.ispkg:
        importlib.import_module(f"{__name__}.{_module.name}")
when_kernels(lambda: importlib.import_module(f"{__name__}.device"))
