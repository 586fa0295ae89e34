"""Occupancy: by hand, and against cuda_occupancy.h, NVIDIA's own calculator."""

import shutil
import subprocess

import pytest

from scratchvgg.cuda.occupancy import LIMITS, UnknownLimits, limits_of, occupancy
from scratchvgg.cuda.toolkit import find_headers

KIB = 1024
BY_HAND = [  # arch, threads, registers, shared bytes → blocks, share, limit
    ("sm_90", 256, 32, 0, 8, 1.0, "warps"),  # 64 warps / 8
    ("sm_90", 256, 64, 0, 4, 0.5, "registers"),  # 65536 / (64 · 256)
    ("sm_90", 256, 65, 0, 3, 0.375, "registers"),  # a warp takes 65 · 32 = 2080, rounded up to 2304: 7 a quarter, 28 in all, 3 blocks of 8
    ("sm_90", 32, 16, 0, 32, 0.5, "blocks"),
    ("sm_90", 128, 32, 100 * KIB, 2, 0.125, "shared memory"),  # 228 / (100 + 1)
    ("sm_90", 128, 168, 227 * KIB, 1, 4 / 64, "shared memory"),
    ("sm_90", 128, 32, 227 * KIB + 1, 0, 0, "shared memory"),
    ("sm_90", 1024, 64, 0, 1, 0.5, "registers"),
    ("sm_90", 1024, 65, 0, 0, 0, "registers"),  # a launch fails: 1024 · 72 registers
    ("sm_80", 256, 128, 48 * KIB, 2, 0.25, "registers"),
    ("sm_75", 1024, 32, 0, 1, 1.0, "warps"),
    ("sm_86", 128, 40, 0, 12, 1.0, "warps"),  # 48 / 4; registers would do for 12 too
    ("sm_90a", 384, 168, 200 * KIB, 1, 12 / 64, "registers"),
]


@pytest.mark.parametrize("arch, threads, registers, shared, blocks, share, limit", BY_HAND)
def test_by_hand(arch, threads, registers, shared, blocks, share, limit):
    found = occupancy(arch, threads, registers, shared)
    assert (found.blocks, found.share, found.limit) == (blocks, share, limit)
    assert found.warps == blocks * -(-threads // 32)


def test_barriers_count_from_hopper_on():
    assert occupancy("sm_90", 32, 16, barriers=16).blocks == 4 and occupancy("sm_90", 32, 16, barriers=16).limit == "barriers"
    assert occupancy("sm_80", 32, 16, barriers=16).blocks == 32


def test_unknown_architectures_and_empty_blocks():
    with pytest.raises(UnknownLimits, match="no occupancy table for 'sm_61'; there are sm_75, sm_80"):
        limits_of("sm_61")
    with pytest.raises(ValueError, match="expected 1 or more, got 0, 32"):
        occupancy("sm_90", 0, 32)
    assert limits_of("sm_103") == limits_of("sm_100") and limits_of("sm_90a") == limits_of("sm_90")


CALCULATOR = r"""
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
    int arch, threads, registers, shared, barriers, warps, of_sm, of_block, reserved;
    while (scanf("%d %d %d %d %d %d %d %d %d", &arch, &threads, &registers, &shared, &barriers, &warps, &of_sm, &of_block, &reserved) == 9) {
        cudaOccDeviceProp gpu;
        gpu.computeMajor = arch / 10, gpu.computeMinor = arch % 10;
        gpu.maxThreadsPerBlock = 1024, gpu.maxThreadsPerMultiprocessor = warps * 32, gpu.warpSize = 32, gpu.numSms = 1;
        gpu.regsPerBlock = gpu.regsPerMultiprocessor = 65536;
        gpu.sharedMemPerBlock = 48 << 10, gpu.sharedMemPerMultiprocessor = of_sm, gpu.sharedMemPerBlockOptin = of_block;
        gpu.reservedSharedMemPerBlock = reserved;
        cudaOccFuncAttributes kernel;
        kernel.maxThreadsPerBlock = 1024, kernel.numRegs = registers, kernel.sharedSizeBytes = 0, kernel.numBlockBarriers = barriers;
        kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN, kernel.maxDynamicSharedSizeBytes = shared;
        cudaOccDeviceState state;
        state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
        cudaOccResult result;
        int status = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &gpu, &kernel, &state, threads, shared);
        printf("%d\n", status ? -1 : result.activeBlocksPerMultiprocessor);
    }
}
"""


@pytest.mark.skipif(shutil.which("g++") is None or find_headers() is None, reason="needs g++ and CUDA's headers")
def test_agrees_with_nvidias_calculator(tmp_path):
    (tmp_path / "calculator.cpp").write_text(CALCULATOR)
    subprocess.run(["g++", "-w", f"-I{find_headers().path}", "calculator.cpp", "-o", "calculator"], cwd=tmp_path, check=True)
    cases = [(number, threads, registers, shared, barriers)
             for number in LIMITS for threads in (32, 96, 128, 200, 256, 384, 640, 1024) for registers in (16, 33, 64, 72, 128, 168, 255)
             for shared in (0, 1, 1000, 16 * KIB, 48 * KIB, 90 * KIB, 163 * KIB, 227 * KIB) for barriers in (0, 1, 5)
             if shared <= LIMITS[number].shared_of_block]
    gpus = {number: (has.warps, has.shared, has.shared_of_block, has.shared_reserved) for number, has in LIMITS.items()}
    lines = "\n".join(" ".join(map(str, (*case, *gpus[case[0]]))) for case in cases)
    theirs = subprocess.run([tmp_path / "calculator"], input=lines, capture_output=True, text=True, check=True).stdout.split()
    assert len(theirs) == len(cases) > 5000
    ours = [occupancy(f"sm_{number}", *rest).blocks for number, *rest in cases]
    assert [(case, a, int(b)) for case, a, b in zip(cases, ours, theirs, strict=True) if a != int(b)] == []
