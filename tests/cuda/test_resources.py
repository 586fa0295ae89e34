"""Registers, spills and the rest, read from the logs of two compilers and from a CUBIN."""

import shutil
import subprocess
import sys

import pytest

from scratchvgg.cuda.nvrtc import load_nvrtc
from scratchvgg.cuda.resources import Resources, launch_bounds, parse_resources, section_sizes

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="NVIDIA has no compiler for macOS")

LOG = """\
kernel.cu(3): warning #177-D: variable "unused" was declared but never referenced

ptxas info    : 4 bytes gmem
ptxas info    : Compiling entry function 'spills' for 'sm_90'
ptxas info    : Function properties for spills
ptxas         .     4784 bytes stack frame, 5640 bytes spill stores, 6804 bytes spill loads
ptxas info    : Used 255 registers, used 2 barriers, 4784 bytes cumulative stack size, 400 bytes smem
ptxas info    : Compile time = 438.692 ms
ptxas info    : Compiling entry function 'fits' for 'sm_90'
ptxas info    : Function properties for fits
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 80 registers, used 0 barriers, 400 bytes cmem[0]
"""
PTX = """
.visible .entry fits(
	.param .u64 .ptr .align 1 fits_param_0
)
{ ret; }
.visible .entry spills(
	.param .u64 .ptr .align 1 spills_param_0,
	.param .u32 spills_param_1
)
.maxntid 32, 4, 1
.minnctapersm 2
{ ret; }
"""
SOURCE = """
extern "C" __global__ void __launch_bounds__(256) tile(float* x) {
    __shared__ float s[512];
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = s[255 - threadIdx.x];
}
extern "C" __global__ void __launch_bounds__(1024, 2) too_much(float* y, int n) {
    float v[100];
#pragma unroll
    for (int i = 0; i < 100; i++) v[i] = y[i * n];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 100; i++) y[i * n + 1] = v[i] * v[(i * 7) % 100];
}
"""


def test_a_log():
    fits, spills = parse_resources(LOG, PTX)
    assert spills == Resources("spills", "sm_90", 255, 400, 4784, 5640, 6804, 2, threads=128, blocks=2) and spills.spills == 12444
    assert fits == Resources("fits", "sm_90", 80) and fits.spills == 0


def test_launch_bounds():
    assert launch_bounds(PTX) == {"fits": (None, None), "spills": (128, 2)}


def test_a_log_without_entries():
    assert parse_resources("ptxas info    : 0 bytes gmem\n") == []


def test_what_nvrtc_makes():
    program = load_nvrtc().compile(SOURCE, "two.cu", ["-arch=sm_80", "--ptxas-options=-v"])
    tile, too_much = parse_resources(program.log, program.ptx, program.cubin)
    assert (tile.entry, tile.arch, tile.shared, tile.barriers, tile.threads, tile.blocks, tile.spills) == ("tile", "sm_80", 2048, 1, 256, None, 0)
    assert 8 <= tile.registers < 32 and 8 < tile.instructions < 100
    assert (too_much.registers, too_much.threads, too_much.blocks) == (32, 1024, 2) and too_much.spills > 100 and too_much.stack > 0
    assert tile.constant >= 8  # the pointer


def test_what_nvcc_says(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on this machine")
    (tmp_path / "two.cu").write_text(SOURCE)
    done = subprocess.run([nvcc, "-arch=sm_80", "-cubin", "-Xptxas", "-v", "two.cu"], cwd=tmp_path, capture_output=True, text=True, check=True)
    tile, too_much = parse_resources(done.stderr)
    assert tile.shared == 2048 and too_much.registers == 32 and too_much.spills > 100


def test_sections_of_something_else():
    with pytest.raises(ValueError, match="not a CUBIN"):
        section_sizes(b"PK\x03\x04 and so on")
