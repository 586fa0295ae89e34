"""Every case of the operations on the pretended GPU: what CuPy would refuse or get wrong shows here, and the results are torch's."""

import pytest

from tests.harness import Variant, parametrize_cases, run
from tests.ops.cases import CASES

from .stage import rehearsal

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


@pytest.fixture(scope="module", autouse=True)
def _stage():
    with rehearsal(2):  # cuda:1 is never the current one: every operation must choose its device
        yield


@parametrize_cases(CASES)
def test_on_the_pretended_gpu(torch, case):
    run(case, Variant("cuda:1", "float64"))
