"""Our convolutions and nets beside PyTorch with cuDNN: the same numbers in the same precision, in turn, the error of both beside the time."""

from __future__ import annotations

import contextlib

import numpy as np

import scratchvgg as sv
from scratchvgg import conv
from scratchvgg.array import as_dtype
from scratchvgg.bench.cuda_timing import time_calls
from scratchvgg.bench.problems import layers_of

PRECISIONS = {  # what is computed: (element type, our algorithm)
    "float32": ("float32", "implicit_gemm"), "bfloat16": ("bfloat16", "tensor_core"), "float16": ("float16", "tensor_core"),
    "tf32": ("float32", "tensor_core_tf32"),
}
BATCH, CHECKED = 64, 2  # images that are timed, and that the errors are measured on


def convolutions(kept, keep, args):
    """Each distinct layer of VGG-16, pass and precision."""
    from .sections import NOMINAL_FP32, backend, torch_gpu

    torch, rows, about = torch_gpu(args), [], kept["facts"]
    size, batch = (32, 2) if args.rehearse else (224, BATCH)
    layers = layers_of("vgg16", batch, size)[: 1 if args.rehearse else None]
    for precision, (dtype, name) in PRECISIONS.items():
        algorithm = conv.algorithms(kernels=True)[name]
        rate = (about.get("gemm_rates") or {}).get(precision, NOMINAL_FP32) if precision != "float32" else NOMINAL_FP32
        for layer in layers:
            for which in (w for w in conv.PASSES if w in layer.passes):
                if not algorithm.supports(layer.problem, dtype):
                    continue
                ours, theirs = sides(torch, backend(), algorithm, layer.problem, which, dtype, precision)
                timed = time_calls(backend(), {"ours": ours} | ({"cudnn": theirs} if theirs else {}), 0.1)
                g = layer.problem
                moved = as_dtype(dtype).itemsize * (np.prod(g.x_shape) + np.prod(g.y_shape) + np.prod(g.w_shape))
                least = max(2 * g.macs / rate, float(moved) / about["copy_rate"])
                row = {"layer": layer.title, "pass": which, "precision": precision, "algorithm": name, "batch": batch, "floor": least,
                       "share": least / timed["ours"].median, "tflops": 2 * g.macs / timed["ours"].median / 1e12, **timed["ours"].summary()}
                if theirs:
                    row |= {"cudnn": timed["cudnn"].summary(), "ratio": timed.ratio("cudnn", "ours")}
                    row |= errors(torch, backend(), algorithm, g, which, dtype, precision)
                rows.append(row)
                keep(rows=rows, cudnn=torch and torch.backends.cudnn.version(), torch=torch and torch.__version__)


def operands(torch, gpu, problem, dtype, seed=0):
    """x, w, dy as our arrays, channels last, and as torch's tensors on the same memory (None without torch)."""
    rng = np.random.default_rng(seed)
    made = []
    for shape, scale in ((problem.x_shape, 1.0), (problem.w_shape, (2 / (problem.K * problem.R * problem.S)) ** 0.5), (problem.y_shape, 1.0)):
        n, c, h, w = shape
        block = rng.standard_normal((min(n, 4), h, w, c), np.float32) * scale
        values = np.concatenate([block] * -(-n // len(block)))[:n]
        made.append(gpu.asarray(values, dtype).transpose(0, 3, 1, 2))
    return made, [torch.from_dlpack(sv.Tensor.wrap(gpu, a)) for a in made] if torch else [None] * 3


def torch_call(torch, problem, which, x, w, dy, precision):
    """A call of PyTorch's convolution; TF32 is allowed for it if that is the precision, and for nothing else."""
    (top, _), (left, _) = problem.padding
    settings = problem.stride, (top, left), problem.dilation

    def call():
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        if which == "forward":
            return torch.nn.functional.conv2d(x, w, None, *settings)
        mask = [which == "grad_input", which == "grad_weight", False]
        return torch.ops.aten.convolution_backward(dy, x, w, None, *settings, False, [0, 0], 1, mask)[mask.index(True)]

    return call


def our_call(gpu, algorithm, problem, which, x, w, dy):
    """A call of our algorithm."""
    if which == "forward":
        return lambda: algorithm.forward(gpu, problem, x, w)
    return lambda: algorithm.grad_input(gpu, problem, dy, w) if which == "grad_input" else algorithm.grad_weight(gpu, problem, dy, x)


def sides(torch, gpu, algorithm, problem, which, dtype, precision):
    """(our call, torch's call or None) on the same numbers."""
    mine, theirs = operands(torch, gpu, problem, dtype)
    return our_call(gpu, algorithm, problem, which, *mine), torch_call(torch, problem, which, *theirs, precision) if torch else None


def errors(torch, gpu, algorithm, problem, which, dtype, precision) -> dict:
    """RMS error of both sides on two images, relative to the RMS of float64's result (by PyTorch) of the same rounded numbers."""
    from dataclasses import replace

    small = replace(problem, N=CHECKED)
    mine, theirs = operands(torch, gpu, small, dtype, seed=1)
    truth = torch_call(torch, small, which, *(t.double() for t in theirs), "float64")()
    results = {"error": torch.from_dlpack(sv.Tensor.wrap(gpu, our_call(gpu, algorithm, small, which, *mine)())),
               "cudnn_error": torch_call(torch, small, which, *theirs, precision)()}
    scale = truth.square().mean().sqrt()
    return {name: float((r.double() - truth).square().mean().sqrt() / scale) for name, r in results.items()}


def nets(kept, keep, args):
    """VGG-16: inference and a training step, float32 and bfloat16 autocast on both sides; ours as a CUDA graph too."""
    from scratchvgg.bench.problems import build_net
    from scratchvgg.bench.torch_side import twin

    from .sections import backend, torch_gpu

    torch, rows = torch_gpu(args), []
    spec, batch, size = ("small_vgg", 2, 16) if args.rehearse else ("vgg16", BATCH, 224)
    for training in (False, True):
        net = build_net(spec)
        net.train(training)
        other = twin(net, layout="channels_last").cuda() if torch else None
        net.to(backend().device)
        x, t = sv.randn(batch, 3, size, size, device="cuda"), sv.zeros(batch, dtype=sv.int64, device="cuda")
        for precision in ("float32", "bfloat16"):
            cast = precision != "float32"
            calls = {"ours": step_of(sv, net, x, t, training, cast)}
            if torch:
                theirs = torch.from_dlpack(x).contiguous(memory_format=torch.channels_last), torch.from_dlpack(t)
                calls["torch"] = step_of(torch, other, *theirs, training, cast)
            if not args.rehearse:
                calls["ours, CUDA graph"] = graphed(calls["ours"])
            timed = time_calls(backend(), calls, 1.0, flush=0)
            row = {"net": spec, "mode": "training" if training else "inference", "precision": precision, "batch": batch, "size": size,
                   "times": {name: timing.summary() for name, timing in timed.items()}}
            if torch:
                row["ratios"] = {name: timed.ratio("torch", name) for name in calls if name != "torch"}
            rows.append(row)
            keep(rows=rows, torch=torch and torch.__version__)


def step_of(library, net, x, t, training, cast):
    """Inference, or forward, backward and SGD with momentum, by scratchvgg or by torch: the same lines."""
    optimizer = library.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4) if training else None

    def region():
        return library.autocast("cuda", dtype=library.bfloat16) if cast else contextlib.nullcontext()

    def infer():
        with library.no_grad(), region():
            return net(x)

    def train():
        with region():
            loss = library.nn.functional.cross_entropy(net(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return train if training else infer


def graphed(call):
    """The call, recorded as a CUDA graph."""
    stream, graph = sv.cuda.Stream(), sv.cuda.CUDAGraph()
    with sv.cuda.stream(stream):
        for _ in range(3):
            call()
    sv.cuda.synchronize()
    with sv.cuda.graph(graph, stream=stream):
        call()
    return graph.replay
