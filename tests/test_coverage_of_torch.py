"""Nothing public without a comparison with torch: what the registries hold against what the tables of cases name."""

import ast
import functools
import inspect
from pathlib import Path

import scratchvgg.nn as nn
from scratchvgg import optim
from scratchvgg.autograd import methods, ops
from scratchvgg.nn import functional, init
from tests.harness import run_forward
from tests.nn import cases as nn_cases
from tests.nn import test_init
from tests.ops.cases import CASES
from tests.optim import cases as optim_cases

NO_CASE = {"bfloat16", "cuda", "get_device", "pin_memory", "data_ptr", "__rmatmul__"}  # an extra, GPUs, an address, numpy @ tensor (torch has none)
ABSTRACT = {"Module", "Parameter", "Optimizer", "LRScheduler"}


def classes(module):
    return {name for name in module.__all__ if inspect.isclass(getattr(module, name))} - ABSTRACT


def functions(module):
    public = getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")])
    return {name for name in public if inspect.isfunction(getattr(module, name)) and getattr(module, name).__module__ == module.__name__}


def test_every_operation_has_a_case():
    public = set(ops.names()) | set(functional.__all__)
    assert public == {case.operation for case in CASES}


def test_every_function_of_nn_functional_is_the_operation_of_that_name():
    assert all(getattr(functional, name) is getattr(ops, name) for name in functional.__all__)


def test_every_method_of_tensor_leads_to_an_operation():
    tree = ast.parse(Path(methods.__file__).read_text(encoding="utf-8"))
    called = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "ops"}
    assert called and called <= set(ops.names())


def test_every_method_of_tensor_is_called_by_a_case(monkeypatch):
    called = set()
    own = {name: f for name, f in vars(methods.TensorMethods).items() if inspect.isfunction(f)}

    def noting(name, function):
        @functools.wraps(function)
        def noted(*args, **options):
            called.add(name)
            return function(*args, **options)

        return noted

    for name, function in own.items():
        monkeypatch.setattr(methods.TensorMethods, name, noting(name, function))
    for case in CASES:
        run_forward(case)
    assert set(own) - called == NO_CASE


def test_every_module_has_a_case():
    assert classes(nn) == {name for name, cases in nn_cases.CASES.items() if cases}


def test_every_optimiser_and_schedule_has_a_case():
    compared = {name for table in (optim_cases.OPTIMIZERS, optim_cases.SCHEDULES) for name, rows in table.items() if rows}
    assert classes(optim) | classes(optim.lr_scheduler) <= compared | set(optim_cases.NOT_IN_TORCH)
    for name, file in optim_cases.NOT_IN_TORCH.items():
        assert name in (Path(__file__).parent.parent / file).read_text(encoding="utf-8"), f"{file} should test {name}"


def test_every_initialiser_is_compared():
    source = inspect.getsource(test_init)
    assert functions(init), "no initialisers found"
    assert [name for name in functions(init) if name not in source] == []
