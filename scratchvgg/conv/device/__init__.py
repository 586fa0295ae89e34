"""Convolution algorithms of devices that run CUDA kernels, on a GPU and on the emulator alike: ``algorithms(kernels=True)``."""

from .direct import DirectKernels
from .im2col import Im2colKernels
from .implicit_gemm import ImplicitGemm
from .tensor_core import TensorCore, TensorCoreTf32

__all__ = ["DirectKernels", "Im2colKernels", "ImplicitGemm", "TensorCore", "TensorCoreTf32"]
