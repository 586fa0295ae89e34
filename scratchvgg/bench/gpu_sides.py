"""The two sides of a measurement on a GPU: our arrays, and PyTorch's tensors on the same memory, in one precision that both are held to."""

from __future__ import annotations

from collections.abc import Callable

from .. import conv
from ..autograd import Tensor
from .cuda_timing import time_calls

PRECISIONS = {"float32": "float32", "tf32": "float32", "bfloat16": "bfloat16", "float16": "float16", "float64": "float64"}
"""What is computed in → the element type of all arrays. float32 means float32: TF32 is off on both sides."""

COPIED = 1 << 30  # bytes that the copy rate is measured with
SQUARE = 8192  # rows and columns of the matrix product


def torch_gpu():
    """The torch module, if it sees a GPU.

    Raises:
        ImportError: without PyTorch; the message names the extra.
        RuntimeError: if PyTorch sees no GPU.
    """
    from . import torch_side

    torch = torch_side.require()
    if not torch.cuda.is_available():
        raise RuntimeError(f"--against: PyTorch {torch.__version__} sees no GPU (a build for CUDA has it: https://pytorch.org)")
    return torch


def set_precision(torch, precision: str) -> None:
    """Hold PyTorch to a precision, and let cuDNN look for its fastest algorithm."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def describe(torch, precision: str) -> dict:
    """Version and settings of PyTorch's side, read back from it."""
    return {"version": torch.__version__, "cudnn": torch.backends.cudnn.version(), "precision": precision,
            "allow_tf32": torch.backends.cudnn.allow_tf32, "benchmark": torch.backends.cudnn.benchmark, "layout": "channels_last"}


def headline(about: dict) -> str:
    """A line for the top of a table."""
    return (f"PyTorch {about['version']}, cuDNN {about['cudnn']}: {words(about['precision'])} (allow_tf32 {about['allow_tf32']}), "
            f"cudnn.benchmark {about['benchmark']}, {about['layout']}")


def words(precision: str) -> str:
    """The precision as the tables print it, on both sides the same."""
    return {"float32": "float32, TF32 off", "tf32": "float32 multiplied as TF32"}.get(precision, f"{precision}, sums in float32")


def share(torch, backend, array):
    """A tensor of torch's on the memory of a device array."""
    return torch.from_dlpack(Tensor.wrap(backend, array))


def to_host(torch, tensor):
    """torch's tensor as a NumPy array, float32 if it is shorter."""
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).cpu().numpy()


def torch_convolution(torch, problem: conv.Problem, which: str, x, w, bias, dy) -> Callable:
    """A call of one pass by PyTorch; ``forward`` with bias. Asymmetric padding is not torch's."""
    (top, _), (left, _) = problem.padding

    def forward():
        return torch.nn.functional.conv2d(x, w, bias, problem.stride, (top, left), problem.dilation, problem.groups)

    def backward():
        mask = [which == "grad_input", which == "grad_weight", False]
        results = torch.ops.aten.convolution_backward(dy, x, w, None, problem.stride, (top, left), problem.dilation, False, [0, 0],
                                                      problem.groups, mask)
        return results[mask.index(True)]

    call = forward if which == "forward" else backward

    def run():
        with torch.inference_mode():
            return call()

    return run


def our_convolution(backend, algorithm: conv.Algorithm, problem: conv.Problem, which: str, x, w, bias, dy) -> Callable:
    """A call of one pass by ``algorithm``; ``forward`` with bias."""
    if which == "forward":
        return lambda: algorithm.forward(backend, problem, x, w, bias)
    return lambda: algorithm.grad_input(backend, problem, dy, w) if which == "grad_input" else algorithm.grad_weight(backend, problem, dy, x)


def rates(backend, torch, precision: str) -> dict:
    """``copy_rate`` (bytes read and written a second) and ``gemm_rate`` (operations a second) of the GPU, measured now.

    The product is cuBLAS's, through PyTorch; without that (``torch`` None) through CuPy, which has none in TF32 and bfloat16: then None.
    """
    source, target = (backend.zeros((COPIED,), "uint8") for _ in range(2))

    def copy():
        target[...] = source

    calls, dtype = {"copy": copy}, PRECISIONS[precision]
    if torch is not None:
        set_precision(torch, precision)
        a, b = (torch.randn(SQUARE, SQUARE, device="cuda", dtype=getattr(torch, dtype)) for _ in range(2))
        calls["gemm"] = lambda: a @ b
    elif precision not in ("tf32", "bfloat16"):
        ours = backend.zeros((SQUARE, SQUARE), dtype)
        calls["gemm"] = lambda: backend.xp.matmul(ours, ours)
    timed = time_calls(backend, calls, flush=0)
    return {"copy_rate": 2 * COPIED / timed["copy"].median, "gemm_rate": 2 * SQUARE**3 / timed["gemm"].median if "gemm" in calls else None}
