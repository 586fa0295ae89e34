"""Cross-entropy by kernels against torch, and what it refuses."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.nn import functional as F
from tests.cuda.launches import launches
from tests.harness import Variant, parametrize_cases, run
from tests.ops.cases.losses import CASES

OURS = [case for case in CASES if case.operation == "cross_entropy"]


@pytest.mark.parametrize("dtype", ("float64", "float32", "float16"))
@parametrize_cases(OURS)
def test_against_torch(case, dtype):
    pytest.importorskip("torch")
    run(case, Variant("emulator", dtype if case.half or dtype != "float16" else "float32"))


@pytest.mark.parametrize("classes, version", ((10, "warp"), (1025, "block")))
def test_rows_by_warps_or_blocks(classes, version):
    z, t = np.random.default_rng(0).standard_normal((3, classes)), sv.tensor([1, 0, classes - 1])
    results = []
    for device in ("cpu", "emulator"):
        logits = sv.tensor(z, device=device, requires_grad=True)
        with launches() as names:
            loss = F.cross_entropy(logits, t.to(device), label_smoothing=0.1)
            (loss * 3).backward()
        results.append((loss.item(), logits.grad.cpu().numpy()))
    assert names == [f"cross_entropy_{version}_f64", "cross_entropy_reduce_f64", "cross_entropy_scale_f64"]
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-13)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-11, atol=1e-16)


def test_gradients_of_16_bit_logits_are_rounded_once():
    """A loss scale brings gradients back that would vanish before the division by the batch."""
    z = np.zeros((64, 4))
    logits = sv.tensor(z, dtype="float16", device="emulator", requires_grad=True)
    loss = F.cross_entropy(logits, sv.tensor([3] * 64, device="emulator"))
    loss.backward(sv.tensor(2.0**-16, dtype="float16", device="emulator"))
    exact = np.float64(2.0**-16) / 64 * np.array([0.25, 0.25, 0.25, -0.75])
    np.testing.assert_array_equal(logits.grad.cpu().numpy(), np.broadcast_to(exact.astype(np.float16), (64, 4)))


def test_without_a_gradient_none_is_made():
    with launches() as names:
        F.cross_entropy(sv.zeros(4, 3, device="emulator"), sv.tensor([0, 1, 2, 0], device="emulator"))
    assert names == ["cross_entropy_warp_f32", "cross_entropy_reduce_f32"]


def test_targets_that_are_no_classes():
    with pytest.raises(IndexError, match="target 3 is out of bounds"):
        F.cross_entropy(sv.zeros(2, 3, device="emulator"), sv.tensor([0, 3], device="emulator"))
