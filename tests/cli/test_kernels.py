"""scratchvgg kernels, and what scratchvgg info says of devices and compilers."""

import json
import sys

import pytest

from scratchvgg import cli
from scratchvgg.cuda import installation, kernel_source, nvrtc
from scratchvgg.cuda.libcuda import Driver, Gpu

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="NVIDIA has no compiler for macOS")

SOURCE = """// hot: mine_heavy
#include "common.cuh"
extern "C" __global__ void __launch_bounds__(128) mine_light(float* x) { x[threadIdx.x] *= 2; }
extern "C" __global__ void __launch_bounds__(1024, 2) mine_heavy(float* y, int n) {
    float v[100];
#pragma unroll
    for (int i = 0; i < 100; i++) v[i] = y[i * n];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 100; i++) y[i * n + 1] = v[i] * v[(i * 7) % 100];
}
"""


def call(capsys, *args):
    """(status, stdout, stderr) of a command in this process."""
    status = cli.main([str(a) for a in args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    file = tmp_path_factory.mktemp("mine") / "mine.cu"
    file.write_text(SOURCE)
    return file


@pytest.fixture(autouse=True, scope="module")
def _home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRATCHVGG_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def test_the_table(capsys, mine):
    status, out, err = call(capsys, "kernels", mine, "--arch", "sm_90")
    assert status == 0 and err == ""
    head, rule, heavy, light, _, total = out.splitlines()
    assert head.split() == "file entry registers shared spills threads blocks occupancy limited by code".split() and set(rule) == {"-"}
    assert heavy.startswith("mine  mine_heavy *") and int(heavy.split()[5]) > 0 and heavy.split()[6:9] == ["1024", "2", "100%"]
    assert light.split()[:1] == ["mine_light"] and light.split()[2:7] == ["0", "0", "128", "16", "100%"]
    assert total == "2 entries of 1 files for sm_90, NVRTC {}.{}; 1 with spills".format(*nvrtc.load_nvrtc().version)


def test_check_fails_for_a_hot_kernel_that_spills(capsys, mine):
    status, _, err = call(capsys, "kernels", mine, "--arch", "sm_90", "--check")
    assert status == 1 and err == "registers do not suffice in mine_heavy\n"
    assert call(capsys, "kernels", "relu", "--arch", "sm_90", "--check")[0] == 0


def test_json(capsys, mine):
    found = json.loads(call(capsys, "kernels", mine, "relu", "--arch", "sm_80", "--json")[1])
    assert found["arch"] == "sm_80" and found["failed"] == found["left_out"] == {}
    entries = {kernel["entry"]: kernel for kernel in found["kernels"]}
    assert entries["mine_heavy"]["hot"] and entries["mine_heavy"]["spill_stores"] > 0 and entries["mine_heavy"]["registers"] == 32
    assert entries["mine_light"]["occupancy"] == {"blocks": 16, "warps": 64, "share": 1.0, "limit": "warps"}
    assert entries["mine_light"]["file"] == "mine.cu" and "relu_forward_f32" in entries


def test_an_entry_or_a_file(capsys):
    assert [line.split()[1] for line in call(capsys, "kernels", "relu_forward_f32", "--arch", "sm_80")[1].splitlines()[2:3]] == ["relu_forward_f32"]
    found = json.loads(call(capsys, "kernels", "relu", "--arch", "sm_80", "--json")[1])["kernels"]
    assert {kernel["file"] for kernel in found} == {"relu.cu"} and len(found) > 4


def test_an_architecture_without_a_table_of_limits(capsys, mine):
    out = call(capsys, "kernels", mine, "--arch", "sm_88")[1]
    assert "    -          -           -" in out


def test_source(capsys):
    assert call(capsys, "kernels", "--source", "relu") == (0, kernel_source("relu"), "")
    assert call(capsys, "kernels", "--source", "relu_forward_f32")[1] == kernel_source("relu")


def test_disassemble(capsys, mine):
    out = call(capsys, "kernels", "--disassemble", "relu_forward_naive_f32", "--arch", "sm_80")[1]
    assert out.startswith("relu_forward_naive_f32 for sm_80: ") and "STG.E" in out and "  relu.cu:" in out and out.count(" instructions, ") == 1
    out = call(capsys, "kernels", "--disassemble", mine, "--arch", "sm_80")[1]
    assert out.count(" instructions, ") == 2 and "STL" in out
    assert ".entry mine_light" in call(capsys, "kernels", "--disassemble", mine, "--ptx", "--arch", "sm_80")[1]


def test_a_file_that_does_not_compile(capsys, tmp_path, mine):
    wrong = tmp_path / "wrong.cu"
    wrong.write_text('extern "C" __global__ void f(float* x) {\n    x[0] = facto;\n}\n')
    status, out, err = call(capsys, "kernels", wrong, mine, "--arch", "sm_80")
    assert status == 1 and "mine_light" in out and "(2): error: identifier \"facto\" is undefined\n      x[0] = facto;\n             ^" in err
    status, out, err = call(capsys, "kernels", "--disassemble", wrong, "--arch", "sm_80")
    assert (status, out) == (1, "") and "facto" in err


def test_a_file_for_another_architecture(capsys, tmp_path):
    file = tmp_path / "hopper.cu"
    file.write_text('// arch: sm_90a\nextern "C" __global__ void hopper_one() {}\n')
    assert "not shown: hopper (needs sm_90a, not sm_80)" in call(capsys, "kernels", file, "--arch", "sm_80")[1]
    assert "hopper_one" in call(capsys, "kernels", file, "--arch", "sm_90")[1]
    status, _, err = call(capsys, "kernels", "--disassemble", file, "--arch", "sm_80")
    assert status == 2 and err == "scratchvgg kernels: error: --arch: needs sm_90a, not sm_80\n"


BAD = [
    (["nope"], "no kernel 'nope': no file in "),
    (["nope.cu"], "nope.cu: there is no such file"),
    (["relu_nope"], "no kernel file or entry is called 'relu_nope'; the files are "),
    (["--disassemble", "relu_nope"], "no kernel file or entry is called 'relu_nope'"),
    (["--source", "nope"], "no kernel 'nope'"),
    (["--ptx"], "--ptx: goes with --disassemble NAME"),
    (["--arch", "hopper"], "--arch: expected a name such as 'sm_80' or 'sm_90a', got 'hopper'"),
    (["--arch", "sm_20"], "--arch: this NVRTC compiles for sm_"),
]


@pytest.mark.parametrize("args, message", BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line(capsys, args, message):
    status, out, err = call(capsys, "kernels", *args)
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("scratchvgg kernels: error: ") and message in err


def test_without_nvrtc_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(nvrtc, "find_nvrtc", list)
    nvrtc.load_nvrtc.cache_clear()
    for args in (["relu"], ["relu", "--arch", "sm_80"], ["--disassemble", "relu"]):
        status, out, err = call(capsys, "kernels", *args)
        assert (status, out, err.count("\n")) == (2, "", 1) and "needs NVRTC" in err and "pip install 'scratchvgg[kernels]'" in err
    assert call(capsys, "kernels", "--source", "relu")[0] == 0


def test_info(capsys, monkeypatch):
    status, out, _ = call(capsys, "info")
    assert status == 0 and all(f"\n{section}:" in out for section in ("devices", "compilers", "optional libraries"))
    found = json.loads(call(capsys, "info", "--json")[1])
    assert found["devices"]["cpu"]["available"] and "emulator" in found["devices"]
    assert found["compilers"]["NVRTC"]["version"].count(".") == 1 and found["compilers"]["CUDA headers"]["path"].endswith("include")
    assert found["caches"]["cubins"]["bytes"] > 0 and found["caches"]["total"]["bytes"] >= found["caches"]["cubins"]["bytes"]


def test_info_explains_what_is_missing(capsys, monkeypatch):
    for name in ("find_headers", "find_program"):
        monkeypatch.setattr(installation, name, lambda *_: None)
    monkeypatch.setattr(installation, "load_nvrtc", lambda: nvrtc.choose_nvrtc([], None))
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    monkeypatch.setattr(installation, "ask_driver", lambda: Driver(None, (), "no NVIDIA driver (libcuda.so.1 was not found)"))
    out = call(capsys, "info")[1]
    assert "cuda              not available: no NVIDIA driver (libcuda.so.1 was not found); device=\"emulator\" runs the same kernels here" in out
    assert "emulator          not available: missing: g++ (apt install g++), CUDA's headers" in out
    assert out.count("pip install 'scratchvgg[kernels]'") >= 3


def test_info_names_the_gpus(monkeypatch):
    gpu = Gpu("Test GPU", (9, 0), 80 << 30, 132)
    monkeypatch.setattr(installation, "ask_driver", lambda: Driver((13, 0), (gpu, gpu), ""))
    monkeypatch.setattr(installation, "_without_cupy", lambda: "CuPy is not installed")
    found = installation.devices()
    assert list(found) == ["cpu", "emulator", "cuda:0", "cuda:1"]
    assert found["cuda:1"] == {"available": False, "why": "CuPy is not installed",
                               "what": "Test GPU, sm_90, 80.0 GiB, 132 multiprocessors, driver for CUDA 13.0"}


def test_info_imports_neither_torch_nor_cupy(capsys, monkeypatch):
    for name in ("torch", "cupy"):
        monkeypatch.setitem(sys.modules, name, None)
    assert call(capsys, "info")[0] == 0
