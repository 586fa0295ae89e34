"""Linear layers by kernels, alone and fused with ReLU and dropout, against torch and against the CPU."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.cuda.product import library_gemm
from scratchvgg.nn.fusion import fusion
from tests.cuda.launches import launches
from tests.harness import Variant, parametrize_cases, run
from tests.ops.cases.matmul import CASES

LINEAR = [case for case in CASES if case.operation == "linear"]


@pytest.mark.parametrize("layout", ("contiguous", "channels_last", "strided", "reversed"))
@pytest.mark.parametrize("dtype", ("float64", "float32", "float16"))
@parametrize_cases(LINEAR)
def test_against_torch(case, dtype, layout):
    pytest.importorskip("torch")
    if dtype == "float16" and not case.half:
        dtype = "float32"
    run(case, Variant("emulator", dtype, layout))


@pytest.mark.parametrize("dtype", ("float32", "bfloat16"))
def test_all_passes_are_our_kernels(dtype):
    x, w, b = (sv.randn(*shape).to(dtype).to("emulator").requires_grad_() for shape in ((16, 40), (24, 40), (24,)))
    with launches() as names:
        sv.nn.functional.linear(x, w, b).sum().backward()
    tiled, kind = {"float32": ("tiled_64", "f32"), "bfloat16": ("tensor_core_64", "bf16")}[dtype]
    assert names == [f"gemm_{tiled}_{letters}_{kind}" for letters in ("nt", "nn", "tn")] + [f"gemm_thin_nn_{kind}"]


def test_few_rows_read_the_weight_once():
    x, w = sv.randn(3, 40, device="emulator", requires_grad=True), sv.randn(16, 40, device="emulator")
    with launches() as names:
        sv.nn.functional.linear(x, w).sum().backward()
    assert names == ["gemm_thin_nt_f32", "gemm_thin_nn_f32"]


def test_the_library_multiplies_when_asked(monkeypatch):
    layer = nn.Linear(6, 5).to("emulator")
    x = sv.randn(3, 6, device="emulator")
    ours = layer(x)
    with launches() as names:
        with library_gemm(True):
            theirs = layer(x)
        monkeypatch.setenv("SCRATCHVGG_GEMM", "library")
        layer(x)
        assert not names
        with library_gemm(False):
            layer(x)
    assert names == ["gemm_thin_nt_f32"]
    np.testing.assert_allclose(ours.detach().cpu().numpy(), theirs.detach().cpu().numpy(), rtol=1e-5)


def classifier(*extra):
    sv.manual_seed(3)
    return nn.Sequential(nn.Linear(20, 37), nn.ReLU(inplace=True), *extra, nn.Linear(37, 5))


@pytest.mark.parametrize("library", (False, True))
@pytest.mark.parametrize("extra", ([], [nn.Dropout(0.5)], [nn.Dropout(0.3)], [nn.Dropout(1.0)]), ids=("relu", "half", "third", "all"))
def test_fused_is_what_the_cpu_computes_layer_by_layer(extra, library):
    """The same mask, values and gradients."""
    results, x = [], np.random.default_rng(5).standard_normal((6, 20)).astype(np.float32)
    for device, fuse in (("cpu", False), ("emulator", True), ("emulator", False)):
        model, input = classifier(*extra).to(device), sv.tensor(x, device=device, requires_grad=True)
        sv.manual_seed(11)
        with fusion(fuse), library_gemm(library):
            y = model(input)
            (y * y).sum().backward()
        results.append([y.detach(), input.grad, *[p.grad for p in model.parameters()]])
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(other.cpu().numpy(), first.numpy(), rtol=1e-5, atol=1e-5)


def test_fused_and_unfused_kernels_give_the_same_bits():
    results = []
    for fuse in (True, False):
        model, x = classifier(nn.Dropout()).to("emulator"), sv.ones(4, 20, device="emulator")
        sv.manual_seed(11)
        with fusion(fuse):
            y = model(x)
            y.sum().backward()
        results.append([y.detach().cpu().numpy(), *[p.grad.cpu().numpy() for p in model.parameters()]])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fusion_takes_evaluation_and_leaves_the_rest():
    model, x = classifier(nn.Dropout()).eval().to("emulator"), sv.ones(4, 20, device="emulator")
    with launches() as names:
        model(x)
    assert names == ["gemm_thin_nt_f32"] * 2
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):  # as on the CPU and in torch
        classifier(nn.Dropout(inplace=True)).to("emulator")(x).sum().backward()
    seen = []
    model[1].register_forward_hook(lambda *_: seen.append(1))
    with launches() as names:
        model(x)
    assert seen == [1] and len(names) == 3
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        model(sv.ones(4, 21, device="emulator"))
