"""Memory that is shared with other libraries: NumPy and torch on the CPU, both ways; torch and CuPy on a GPU."""

import numpy as np
import pytest

import scratchvgg as sv

NAMES = ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool", "bfloat16"]


def test_numpy_both_ways():
    a = np.arange(6.0).reshape(2, 3)[:, ::2]
    x = sv.from_dlpack(a)
    b = np.from_dlpack(x)
    x[0, 1] = 9
    assert a[0, 1] == b[0, 1] == 9 and x.stride() == (3, 2)
    y = sv.from_numpy(a)
    a[1, 0] = 7
    assert y[1, 0].item() == x[1, 0].item() == 7


@pytest.mark.parametrize("name", NAMES)
def test_torch_both_ways(torch, name):
    theirs = torch.arange(6).reshape(2, 3).to(getattr(torch, name)).T
    ours = sv.from_dlpack(theirs)
    assert ours.dtype.name == name and ours.shape == (3, 2) and ours.stride() == theirs.stride() and ours.data_ptr() == theirs.data_ptr()
    assert ours.float().tolist() == theirs.float().tolist()
    back = torch.from_dlpack(ours)
    back[0, 0] = 1
    assert back.dtype == theirs.dtype and theirs[0, 0] == 1 and ours[0, 0].item() == 1


def test_the_memory_lives_as_long_as_it_is_seen(torch):
    x = sv.from_dlpack(torch.arange(1000.0).bfloat16())
    y = torch.from_dlpack(sv.arange(1000.0).bfloat16() + 1)
    for _ in range(20):
        np.full(1000, 7.0), torch.full((1000,), 8.0)
    assert x[:3].tolist() == [0, 1, 2] and y[:3].tolist() == [1, 2, 3]


def test_older_producers(torch):
    class Old:  # __dlpack__ from before version 1 knows no max_version
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self, stream=None):
            return self.tensor.__dlpack__()

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

    for kind in (torch.float32, torch.bfloat16):
        assert sv.from_dlpack(Old(torch.arange(3).to(kind))).tolist() == [0, 1, 2]


def test_copy_and_device():
    a = np.zeros(3)
    assert sv.from_dlpack(a, copy=True).data_ptr() != a.ctypes.data == sv.from_dlpack(a, device="cpu").data_ptr()
    assert sv.from_dlpack(a, device="emulator").device == "emulator:0"
    with pytest.raises(ValueError, match="copy=False forbids"):
        sv.from_dlpack(a, device="emulator", copy=False)


def test_refused():
    with pytest.raises(TypeError, match="__dlpack__"):
        sv.from_dlpack([1, 2])
    with pytest.raises(TypeError, match="complex"):
        sv.from_dlpack(np.zeros(2, complex))
    with pytest.raises(BufferError, match="detach"):
        sv.ones(2, requires_grad=True).__dlpack__()

    class Elsewhere:
        def __dlpack__(self, **options):
            raise AssertionError("must not be asked")

        def __dlpack_device__(self):
            return 10, 0  # ROCm

    with pytest.raises(RuntimeError, match="DLPack type 10"):
        sv.from_dlpack(Elsewhere())


def test_the_cuda_interface_is_a_gpu_s_only():
    for device in ("cpu", "emulator"):
        assert not hasattr(sv.ones(2, device=device), "__cuda_array_interface__")


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu(torch, name):
    cupy = pytest.importorskip("cupy")
    theirs = torch.arange(6).reshape(2, 3).to(getattr(torch, name)).cuda()
    ours = sv.from_dlpack(theirs)
    assert ours.device == "cuda:0" and ours.data_ptr() == theirs.data_ptr() == torch.from_dlpack(ours).data_ptr()
    assert cupy.from_dlpack(ours).data.ptr == ours.data_ptr() == sv.from_dlpack(cupy.from_dlpack(ours)).data_ptr()
    if name != "bfloat16":
        assert cupy.asarray(ours).data.ptr == ours.data_ptr()
