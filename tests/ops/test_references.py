"""The table of cases against torch's stored outputs: needs no torch."""

import functools

import pytest

from tests import references
from tests.harness import Variant, compare, run_ours

from .cases import FAMILIES

STORED = [(family, case) for family, cases in FAMILIES.items() for case in cases if not case.moments]
LAID_OUT = [(family, case, layout) for family, case in STORED for layout in ("contiguous", "channels_last") if layout in case.layouts]
load = functools.cache(references.load)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("family", "case", "layout"), [pytest.param(f, c, m, id=f"{c.name}-{m}") for f, c, m in LAID_OUT])
def test_equals_stored(family, case, dtype, layout):
    reference = load(family).get(case.name)
    assert reference is not None, f"no stored reference of {case.name!r}: python -m tests.references.make {family}"
    ours = run_ours(case, Variant(dtype=dtype, layout=layout), reference.inputs)
    for name, accuracy in compare(ours, reference.peer(dtype), reference.truth, reference.errors32).items():
        assert accuracy.good, f"{name}: {accuracy}"


def test_nothing_is_stored_that_no_case_reads():
    stored = {path.stem for path in references.FOLDER.glob("*.npz")}
    assert stored == {family for family, _ in STORED}
    for family in stored:
        assert set(load(family)) <= {case.name for case in FAMILIES[family]}


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in references.FOLDER.glob("*.npz")) < 1.5e6
