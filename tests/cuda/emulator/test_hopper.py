"""hopper.cuh on the emulator: a GEMM by TMA and wgmma against NumPy, and what is found when its waits are missing."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from scratchvgg.array import Device, get_backend
from scratchvgg.cuda import emulator, kernel_folder
from scratchvgg.cuda.emulator.tensor_map import tensor_map

bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
FILE = Path(__file__).with_name("hopper_gemm.cu")
SHARED = 3 * 2 * 8192 + 48
SHAPES = [(64, 64, 64), (128, 64, 448), (72, 136, 200)]


@pytest.fixture
def backend():
    return get_backend(Device("emulator"))


def product(source, backend, shape, transposed=False):
    """(what the kernel computes, what it should)."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    a = backend.asarray(rng.standard_normal((m, k)).astype(bfloat16))
    b = backend.asarray(rng.standard_normal((k, n) if transposed else (n, k)).astype(bfloat16))
    c = backend.empty((m, n), "float32")
    kernel = emulator.load(source).get_function("gemm_nn" if transposed else "gemm_nt")
    sizes = np.int32(m), np.int32(n), np.int32(k)
    kernel((-(-n // 64), -(-m // 64)), (256,), (tensor_map(a, (64, 64)), tensor_map(b, (64, 64)), c, *sizes), SHARED)
    return c, a.astype(np.float64) @ (b if transposed else b.T).astype(np.float64)


@pytest.mark.parametrize("copies", ["late", "early"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gemm(backend, shape, transposed, copies):
    for order in ("forward", "reverse", 4):
        with emulator.choose(order=order, copies=copies):
            got, expected = product(FILE, backend, shape, transposed)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)


def changed(macro):
    return f"#define {macro}\n" + FILE.read_text(encoding="utf-8")


def test_missing_wait_for_data_reads_nan(backend):
    assert np.isnan(product(changed("NO_WAIT_FOR_FULL"), backend, (64, 64, 64))[0]).all()


def test_producer_that_does_not_wait_overtakes(backend):
    """The full barriers then go through two phases while the consumers wait for one, which never comes again."""
    with emulator.choose(copies="early", order="reverse"), pytest.raises(emulator.EmulatorError, match="deadlock: .*threads 0-127 at mbarrier_wait"):
        product(changed("NO_WAIT_FOR_EMPTY"), backend, (64, 64, 448))


def test_sanitizer(backend):
    with emulator.sanitize():
        got, expected = product(FILE, backend, (64, 64, 256))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)
        with pytest.raises(emulator.EmulatorError, match="initcheck: .* of dynamic shared memory .*by an asynchronous unit"):
            product(changed("NO_WAIT_FOR_FULL"), backend, (64, 64, 64))
        with pytest.raises(emulator.EmulatorError, match="synccheck: .*mbarrier_expect .*: more arrivals than the 1 of the mbarrier"):
            product(changed("NO_WAIT_FOR_EMPTY"), backend, (64, 64, 256))


@pytest.mark.parametrize("edit,message", [
    (("for (int s = 0; s < STAGES; ++s) mbarrier_init(full + s, 1),", "for (int s = 0; s < STAGES; ++s)"), "mbarrier that was not initialised"),
    (("mbarrier_init(empty + s, 128)", "mbarrier_init(empty + s, 129)"), "deadlock: .*at mbarrier_wait"),
    (("ring + s * 2 * SLOT, &a", "ring + s * 2 * SLOT + 512, &a"), r"destination is not aligned to 128 \(swizzled: 1024\) bytes"),
    (("wgmma_fence();", "if (t == 5) break;"), "deadlock: |not issued by the whole warpgroup"),
])  # fmt: skip
def test_broken(backend, edit, message):
    source = FILE.read_text(encoding="utf-8")
    assert edit[0] in source
    with pytest.raises(emulator.EmulatorError, match=message), emulator.choose(order="reverse"):
        product(source.replace(*edit), backend, (64, 64, 448))


@pytest.mark.parametrize("array,box,swizzle,message", [
    (np.zeros((4, 8), np.float16), (2,), 0, "box as many"),
    (np.zeros((4, 8), np.float16), (2, 300), 0, "sizes from 1 to 256"),
    (np.zeros((4, 9), np.float16), (2, 8), 0, "aligned to 16 bytes"),
    (np.zeros((8, 8), np.float16).T, (2, 8), 0, "innermost dimension must be dense"),
    (np.zeros((4, 64), np.float16), (4, 32), 128, "rows of 128 bytes, got 128 with rows of 64"),
])  # fmt: skip
def test_what_the_tma_cannot_copy(array, box, swizzle, message):
    with pytest.raises(ValueError, match=message):
        tensor_map(array, box, swizzle)


def test_compiles_for_hopper(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on this machine")
    target = tmp_path / "gemm.cubin"
    command = [nvcc, "-arch=sm_90a", "-cubin", f"-I{kernel_folder()}", "-Xptxas=-v", "-o", target, FILE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr
