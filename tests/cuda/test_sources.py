"""The CUDA sources are found, and by name."""

import pytest

import scratchvgg as sv
from scratchvgg import cuda


def test_every_file_is_listed_and_readable():
    sources = cuda.kernel_sources()
    assert "im2col" in sources
    assert all(cuda.kernel_source(name).strip() for name in sources)


def test_unknown_name_lists_the_known():
    with pytest.raises(KeyError, match="no kernel file 'conv9'; there are .*im2col"):
        cuda.kernel_source("conv9")


def test_without_a_cuda_backend_there_is_no_gpu():
    assert cuda.is_available() is False
    assert cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="device 'cuda:0' is not available"):
        sv.zeros(2).cuda()


def test_seeding_the_gpu_leaves_the_one_seed_alone():
    sv.manual_seed(3)
    cuda.manual_seed(5)
    cuda.manual_seed_all(5)
    assert sv.initial_seed() == 3
