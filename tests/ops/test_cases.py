"""Every case of the table: against torch in all variants, and against finite differences; and it runs what it is named for."""

import functools

import pytest

from scratchvgg.autograd import ops
from tests.harness import check_differences, parametrize, parametrize_cases, run, run_forward

from .cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch about its own speed


@parametrize(CASES)
def test_equals_torch(torch, case, variant):
    run(case, variant)


@parametrize_cases([c for c in CASES if c.differences and not c.moments and any(i.grad for i in c.inputs)])
def test_differences(case):
    check_differences(case)


@parametrize_cases(CASES)
def test_runs_what_it_is_named_for(case, monkeypatch):
    called = []

    def noting(function):
        @functools.wraps(function)
        def noted(*args, **options):
            called.append(function)
            return function(*args, **options)

        return noted

    original = getattr(ops, case.operation)
    monkeypatch.setitem(ops.__dict__, case.operation, noting(original))
    run_forward(case)
    assert original in called
