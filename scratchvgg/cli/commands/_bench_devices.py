"""``scratchvgg bench`` on devices that run CUDA kernels: a GPU or the emulator."""

from __future__ import annotations

import sys

from ..errors import CommandError
from ..text import table

NOT_TIMED = "not timed: on the emulator g++ plays the GPU on this processor, and times there mean nothing"


def run_conv(args) -> int:
    """``bench conv --device …``: the user's kernel if there is one, then ours (and cuDNN's)."""
    backend = _backend(args.device)
    on_gpu = backend.device.type == "cuda"
    if args.plugin or args.flush_cache:
        raise CommandError("--plugin, --flush-cache: are for --device cpu")
    if args.against and not on_gpu:
        raise CommandError("--against: times are compared on a GPU (--device cuda) or a CPU (--device cpu), not on the emulator")
    kernel = None
    if args.kernel:
        kernel, status = _check_kernel(args, backend)
        if status or not on_gpu:
            return status
    return _measure_conv(args, backend, kernel)


def _backend(device: str):
    from ...array import Device, get_backend

    try:
        return get_backend(Device(device))
    except RuntimeError as error:
        raise CommandError(f"--device: {error}") from error


def _check_kernel(args, backend):
    """The kernel, and 0 if it is right; what was found is printed."""
    from ...bench.progress import status_line
    from ...bench.user_kernel import UserKernel, check_kernel
    from ...cuda.emulator import BuildError
    from ...cuda.messages import CompileError

    kernel = UserKernel(args.kernel)
    if args.dtype not in (None, kernel.dtype) and not (args.dtype == "tf32" and kernel.dtype == "float32"):
        raise CommandError(f"--dtype: {kernel.name} is for {kernel.dtype}, got {args.dtype}")
    try:
        with status_line() as show:
            report, way = check_kernel(kernel, args.device, progress=show)
    except (BuildError, CompileError) as error:
        print(error, file=sys.stderr)
        return kernel, 1
    if not report:
        print(f"{args.kernel}: {report}\nfound {way}" if way == "on the GPU" else f"{args.kernel}: {report}\nfound with {way}")
        return kernel, 1
    print(f"{args.kernel}: {report}")
    if backend.device.type == "emulator":
        print("  right with threads in forward, reverse and shuffled order; every access watched: memcheck, initcheck, racecheck, synccheck clean")
        print(NOT_TIMED)
    return kernel, 0


def _measure_conv(args, backend, kernel) -> int:
    from ...bench import conv, device_conv, problems, tables
    from ...bench.progress import status_line
    from ...conv import PASSES

    timed = backend.device.type == "cuda"
    if args.problem:
        layers = [problems.Layer(text, problems.parse_problem(text)) for text in args.problem]
    elif timed or args.net:
        net = args.net or "vgg16"
        layers = problems.layers_of(net, args.batch, args.size or problems.default_size(net))
    else:
        layers = device_conv.tiny_layers()
    passes = ["forward"] if kernel and not args.passes else [which for which in PASSES if which in (args.passes or PASSES)]
    precision, against = args.dtype or (kernel.dtype if kernel else "float32"), args.against is not None

    def show(layer, which, rows):
        print(f"\n{layer.title} {which}: {rows[0]['shape']}, {2 * layer.problem.macs / 1e9:.3g} GFLOP")
        print(table(*device_conv.table_rows(rows, against, timed)), flush=True)
        for row in rows:
            if "failed" in row:
                print(f"  {row['algorithm']} failed: {row['failed']}")

    with status_line() as progress:
        report = device_conv.measure(layers, device=args.device, passes=passes, algorithms=args.algorithm, precision=precision, user=kernel,
                                     seconds=args.seconds, against=against, on_block=show, progress=progress)
    if not report["rows"] and not report["interrupted"]:
        raise CommandError(f"no algorithm computes these problems in {precision}")
    if report["totals"] and (len(layers) > 1 or len(passes) > 1):
        print("\n" + table(*tables.total_rows(report["totals"], passes)))
    status = _deliver(args, report, f"conv-{backend.device.type}")
    wrong = conv.above_bound(report["rows"])
    for row in wrong:
        print(f"{row['algorithm']}, {row['layer']} {row['pass']}: the error {row['error']:.1e} is above the declared bound {row['bound']:.1e}")
    return status or int(bool(wrong or any("failed" in row for row in report["rows"])))


def run_model(args) -> int:
    """``bench model --device cuda``: nets beside PyTorch's."""
    from ...bench import device_model, model
    from ...bench.progress import status_line

    if args.scaling:
        raise CommandError("--scaling: is for --device cpu")
    if _backend(args.device).device.type != "cuda":
        raise CommandError(f"--device: whole nets are timed on cpu and cuda, got {args.device!r}: times on the emulator mean nothing")
    rows = [model.parse_row(text) for text in args.row or ()]
    if any((args.net, args.mode, args.batch, args.size)):
        rows += [model.Row(args.net or "vgg16", args.mode or "inference", n, size) for n in args.batch or (1,) for size in args.size or (0,)]
    with status_line() as progress:
        report = device_model.measure(rows or device_model.DEFAULT, device=args.device, precision=args.dtype or "float32", rounds=args.rounds,
                                      against=args.against is not None, seconds=args.seconds, with_error=not args.no_error, progress=progress)
    if report["rows"]:
        print(table(*device_model.table_rows(report["rows"], args.against is not None), left=2))
    return _deliver(args, report, f"model-{_backend(args.device).device.type}")


def _deliver(args, report, title) -> int:
    """Legend, headline and files, and the exit status."""
    from ...bench import gpu_sides, results

    about, settings = report["machine"], report["settings"]
    print("\n" + report["legend"] + "\n")
    if "copy_rate" in about:
        rate = about["gemm_rate"]
        product = f"matrix product {rate / 1e12:.1f} TFLOP/s" if rate else "no matrix product of this precision without PyTorch"
        print(f"{about['name']}: copy {about['copy_rate'] / 1e9:.0f} GB/s, {product}, measured now; commit {about['commit']}")
    print(f"ours: {gpu_sides.words(settings['precision'])}, channels_last")
    if report["torch"]:
        print(f"theirs: {gpu_sides.headline(report['torch'])}")
    if args.json:
        results.write_json(args.json, report)
    if report["rows"] and (settings["timed"] or args.out):
        folder = args.out or results.default_folder(title)
        results.write_json(folder / "report.json", report)
        results.write_csv(folder / "rows.csv", report["rows"])
        print(f"\nwritten to {folder}: report.json, rows.csv")
    if report["interrupted"]:
        print("stopped by Ctrl-C; the above is what was measured until then")
        return 130
    return 0
