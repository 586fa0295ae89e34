"""The table of comparisons with torch: every public operation has its cases in one of the files beside this one.

To add an operation is to add a :class:`~tests.harness.Case` (or a file with a list ``CASES``) here: values, gradients, references and
coverage are then tested from it.
"""

import importlib
import pkgutil

FAMILIES = {name: importlib.import_module(f"{__name__}.{name}").CASES for _, name, _ in pkgutil.iter_modules(__path__)}
CASES = [case for cases in FAMILIES.values() for case in cases]
