"""Floor 4: differentiable operations, forward and backward side by side, one file an operation (or a small family).

Importing this package fills the table that Tensor's methods look into. To add an operation is to add a file here.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
