"""Our convolutions and nets beside PyTorch with cuDNN: the same numbers in the same precision, in turn, the error of both beside the time."""

from __future__ import annotations

import functools

import numpy as np

import scratchvgg as sv
from scratchvgg import conv
from scratchvgg.array import as_dtype
from scratchvgg.bench import device_model, gpu_sides
from scratchvgg.bench.model import Row
from scratchvgg.bench.problems import Layer, build_net, layers_of
from scratchvgg.cuda.example_arrays import random_array

from .child import each
from .common import backend, clock, clocks_noted, free, seconds_at_least, share, torch_gpu

PRECISIONS = {  # what is computed: (element type, our algorithm)
    "float32": ("float32", "implicit_gemm"), "bfloat16": ("bfloat16", "tensor_core"), "float16": ("float16", "tensor_core"),
    "tf32": ("float32", "tensor_core_tf32"),
}
BATCH, CHECKED = 64, 2  # images; those that the error of an output is measured on (of a weight's gradient, all)
FAR = 10  # times cuDNN's error: more is wrong
TINY = Layer("tiny", conv.Problem(2, 8, 6, 6, 16, 3, 3, (1, 1), ((1, 1), (1, 1))))


def wide(problem) -> bool:
    """Whether it is one of the 256- and 512-channel layers that the goals are about."""
    return problem.C >= 256 and problem.K >= 256


def convolutions(kept, keep, args):
    """Each distinct layer of VGG-16, pass and precision: the widest layers first, float32 and bfloat16 before the others."""
    torch, layers = torch_gpu(args), [TINY] if args.rehearse else layers_of("vgg16", BATCH, 224)
    keep(torch=torch and torch.__version__, cudnn=torch and torch.backends.cudnn.version())
    cases = [(layer, which, precision) for layer in layers for which in conv.PASSES if which in layer.passes for precision in PRECISIONS]
    order = list(PRECISIONS)
    cases.sort(key=lambda case: (order.index(case[2]) // 2, not wide(case[0].problem), order.index(case[2])))
    with clocks_noted(kept, keep):
        each(kept, keep, ((f"{layer.name} {which} {precision}", f"{layer.name}, {which}, {precision}",
                           functools.partial(_convolution, torch, kept, keep, args, layer, which, precision)) for layer, which, precision in cases))


def _convolution(torch, kept, keep, args, layer, which, precision):
    g, (dtype, name) = layer.problem, PRECISIONS[precision]
    algorithm = conv.algorithms(kernels=True)[name]
    if not algorithm.supports(g, dtype):
        return
    free(torch)
    mine, theirs = operands(torch, backend(), g, dtype)
    x, w, dy = mine
    sides = {"ours": gpu_sides.our_convolution(backend(), algorithm, g, which, x, w, None, dy)}
    if torch:
        sides["cudnn"] = torch_call(torch, g, which, *theirs, precision)
    timed = clock(args, sides, 0.1)
    moved = as_dtype(dtype).itemsize * int(sum(np.prod(shape) for shape in (g.x_shape, g.y_shape, g.w_shape)))
    least, bound = seconds_at_least(kept["facts"], moved, 2 * g.macs, precision, precision != "float32")
    ours = timed["ours"].summary()
    row = {"layer": layer.title, "wide": wide(g), "pass": which, "precision": precision, "algorithm": name, "batch": g.N,
           "floor": least, "bound": bound, "share": share(least, ours["seconds"]), "tflops": 2 * g.macs / ours["seconds"] / 1e12, **ours}
    if torch:
        row |= {"cudnn": timed["cudnn"].summary(), "ratio": timed.ratio("cudnn", "ours")}
    keep(rows=[*kept.get("rows", []), row])
    if torch:
        row |= errors(torch, g, which, sides, theirs)
        if not row["error"] <= FAR * max(row["cudnn_error"], 1e-7):
            keep(wrong=[*kept.get("wrong", []), f"{layer.title}, {which}, {precision}: error {row['error']:.1e}, cuDNN's {row['cudnn_error']:.1e}"])


def operands(torch, gpu, problem, dtype, seed=0):
    """x, w, dy as our arrays, channels last, and as torch's tensors on the same memory (None without torch)."""
    rng, made = np.random.default_rng(seed), []
    for shape, scale in ((problem.x_shape, 1.0), (problem.w_shape, (2 / (problem.K * problem.R * problem.S)) ** 0.5), (problem.y_shape, 1.0)):
        n, c, h, w = shape
        made.append(random_array(gpu, rng, (n, h, w, c), dtype, scale).transpose(0, 3, 1, 2))
    return made, [gpu_sides.share(torch, gpu, a) for a in made] if torch else [None] * 3


def torch_call(torch, problem, which, x, w, dy, precision):
    """A call of PyTorch's convolution; TF32 is allowed for it if that is the precision, and for nothing else."""
    call = gpu_sides.torch_convolution(torch, problem, which, x, w, None, dy)

    def run():
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        return call()

    return run


def errors(torch, problem, which, sides, tensors) -> dict:
    """RMS error of what the timed calls compute, relative to the RMS of float64's result (by PyTorch) of the same rounded numbers."""
    from dataclasses import replace

    few = problem if which == "grad_weight" else replace(problem, N=min(problem.N, CHECKED))
    x, w, dy = tensors
    torch.backends.cudnn.benchmark = False  # one call is not worth a search
    truth = torch_call(torch, few, which, x[: few.N].double(), w.double(), dy[: few.N].double(), "float64")()
    torch.backends.cudnn.benchmark = True
    scale, results = truth.square().mean().sqrt(), {}
    for side, name in (("ours", "error"), ("cudnn", "cudnn_error")):
        result = sides[side]()
        result = result if isinstance(result, torch.Tensor) else gpu_sides.share(torch, backend(), result)
        result = result if which == "grad_weight" else result[: few.N]
        results[name] = float((result.double() - truth).square().mean().sqrt() / scale)
    return results


def nets(kept, keep, args):
    """VGG-16: inference and a training step, float32 and bfloat16 autocast on both sides; ours as a CUDA graph too."""
    torch = torch_gpu(args)
    spec, batch, size = ("small_vgg:widths=[4,'M',8]", 2, 8) if args.rehearse else ("vgg16", BATCH, 224)
    keep(torch=torch and torch.__version__, cudnn=torch and torch.backends.cudnn.version())
    net = build_net(spec)
    other = None
    if torch:
        from scratchvgg.bench.torch_side import twin

        other = twin(net, layout="channels_last").cuda()
    net.to(backend().device)
    x = sv.randn(batch, 3, size, size, device="cuda").contiguous(memory_format=sv.channels_last)
    t = sv.zeros(batch, dtype=sv.int64, device="cuda")

    def measure(mode, precision):
        row = Row(spec, mode, batch, size)
        net.train(mode == "train")
        free(torch, everything=True)
        calls = {"ours": device_model.our_step(net, row, x, t, precision)}
        if torch:
            other.train(mode == "train")
            calls["torch"] = device_model.torch_step(torch, other, row, torch.from_dlpack(x), torch.from_dlpack(t), precision)
        calls["ours, CUDA graph"] = device_model.recorded(calls["ours"])
        timed = clock(args, calls, 1.0, flush=0)
        entry = {"net": spec, "mode": mode, "precision": precision, "batch": batch, "size": size, "ratios": {},
               "times": {name: timing.summary() for name, timing in timed.items()}}
        if torch:
            entry["ratios"] = {name: timed.ratio("torch", name) for name in calls if name != "torch"}
            torch.cuda.synchronize()
        keep(rows=[*kept.get("rows", []), entry])

    with clocks_noted(kept, keep):
        each(kept, keep, ((f"{mode} {precision}", f"{spec}, {mode}, {precision}", functools.partial(measure, mode, precision))
                          for mode in ("inference", "train") for precision in ("float32", "bfloat16")))
