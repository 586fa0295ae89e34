"""Every case of the operations on the pretended GPU: what CuPy would refuse or get wrong shows here, and the results are torch's."""

import pytest

import scratchvgg as sv
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


@parametrize_cases([c for c in CASES if c.half and not c.moments])
def test_half_on_the_pretended_gpu(torch, case):
    run(case, Variant("cuda:1", "float16"))


@pytest.mark.parametrize("pick", [
    lambda x: x[[0, 2, 0]], lambda x: sv.index_select(x, 0, sv.tensor([1, 1, 2], device=x.device)),
    lambda x: sv.gather(x, 0, sv.tensor([[0, 0], [0, 1]], device=x.device)),
], ids=["getitem", "index_select", "gather"])
def test_gradients_of_repeated_elements_in_bfloat16(pick):
    grads = []
    for device in ("cpu", "cuda:1"):
        x = sv.arange(6.0, dtype=sv.bfloat16, device=device).reshape(3, 2).requires_grad_()
        (pick(x) * 3).sum().backward()
        grads.append(x.grad.cpu().float().tolist())
    assert grads[0] == grads[1]
