"""Every case of the table against torch (all variants), and against finite differences."""

import pytest

from tests.harness import check_differences, parametrize, parametrize_cases, run

from .cases import CASES


@parametrize(CASES)
def test_equals_torch(torch, case, variant):
    run(case, variant)


@parametrize_cases([c for c in CASES if c.differences and not c.moments and any(i.grad for i in c.inputs)])
def test_differences(case):
    check_differences(case)
