"""scratchvgg bench"""

from __future__ import annotations

from pathlib import Path

from ..errors import CommandError
from ..parser import SubParser
from ..text import table

SUMMARY = "time and error of every convolution algorithm, and of whole nets, PyTorch beside"
DESCRIPTION = """
Measure, with what makes a time mean something: all sides in turn in one process, medians and spread, threads and precision
of each, the error against float64 beside the bound, and the rates of this machine. Ctrl-C keeps what is measured.

  bench conv    one convolution at a time: every layer of a net (or --problem), pass and algorithm, with a roofline picture
  bench model   whole nets: inference, training step, peak memory, error; --scaling: time against batch and pixels

--device cuda measures the CUDA kernels on a GPU, cuDNN (through PyTorch) beside; --device emulator checks them without one.
"""
EXAMPLES = """
scratchvgg bench conv --against torch         every layer of VGG-16, about three minutes
scratchvgg bench model --against torch        VGG-16 and cifar_vgg, inference and training
scratchvgg bench conv --help                  all options, more examples
scratchvgg bench model --help
"""
CONV_EXAMPLES = """
scratchvgg bench conv --against torch                            VGG-16 at 224×224, one image
scratchvgg bench conv --net cifar_vgg --batch 128 --pass grad_weight
scratchvgg bench conv --problem 1,64,56,56,64,3,3,1,1            N,C,H,W,K,R,S,stride,pad,dilation,groups; the last 4 optional
scratchvgg bench conv --problem 8,32,28,28,32,7,7,1,3 --algorithm fft im2col --seconds 2
scratchvgg bench conv --plugin docs/examples/my_conv.py          your own algorithm: checked first, then measured
scratchvgg bench conv --device cuda --against cudnn --batch 64 --dtype bfloat16
scratchvgg bench conv --device emulator                          the error of every CUDA algorithm, without a GPU
scratchvgg bench conv --device emulator --kernel docs/examples/my_conv.cu    your own CUDA kernel, checked
scratchvgg bench conv --device cuda --kernel my_conv.cu --against cudnn      checked, then timed beside ours and cuDNN's
"""
MODEL_EXAMPLES = """
scratchvgg bench model --against torch                           the four lines of the README
scratchvgg bench model --net vgg11 --mode train --batch 2 4      other lines
scratchvgg bench model --row vgg16/inference/4/320 --row cifar_vgg:config=A/train/64
scratchvgg bench model --scaling                                 VGG-16: 1 to 64 images, 112 to 448 pixels, with the curves
scratchvgg bench model --conv reproducible --against torch       im2col everywhere
scratchvgg bench model --device cuda --against torch --dtype bfloat16         autocast on both sides
"""


def configure(parser) -> None:
    """Declare the two things and their options."""
    kinds = parser.add_subparsers(dest="what", metavar="{conv,model}", required=True, parser_class=SubParser)
    _configure_conv(kinds.add_parser("conv", description="Every algorithm of a convolution: time, rate, scratch memory, error beside bound.",
                                     examples=CONV_EXAMPLES))
    _configure_model(kinds.add_parser("model", description="Whole nets: time, peak memory, error of the logits.", examples=MODEL_EXAMPLES))


def _configure_conv(parser) -> None:
    parser.add_argument("--net", metavar="NET[:KEY=VALUE,…]", help="whose layers (default: vgg16; on the emulator tiny problems)")
    parser.add_argument("--size", type=_positive, metavar="N", help="height and width of the images (default: the net's, 224 or 32)")
    parser.add_argument("--batch", type=_positive, default=1, metavar="N", help="images (default: 1)")
    parser.add_argument("--problem", action="append", metavar="N,C,H,W,K,R,S,…", help="measure this instead of a net; may be repeated")
    parser.add_argument("--pass", dest="passes", nargs="+", choices=("forward", "grad_input", "grad_weight"), help="default: all three")
    parser.add_argument("--algorithm", nargs="+", metavar="NAME", help="only these (default: all; the slow 'direct' for tiny problems only)")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32", "tf32", "float64"),
                        help="of all arrays (default: float32); tf32, on a device: float32 multiplied as TF32")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="Python file with an algorithm of yours; may be repeated")
    parser.add_argument("--kernel", metavar="FILE", help="CUDA file with a convolution of yours: checked, and on a GPU timed")
    parser.add_argument("--flush-cache", type=_positive, metavar="MIB", help="empty the caches before each sample by touching so much memory")
    _common(parser, "seconds of each algorithm, layer and pass (default: 0.5)", 0.5)


def _configure_model(parser) -> None:
    parser.add_argument("--row", action="append", metavar="NET/MODE/BATCH[/SIZE]", help="a line of the table; may be repeated")
    parser.add_argument("--net", metavar="NET[:KEY=VALUE,…]", help="lines of this net (default: vgg16)")
    parser.add_argument("--mode", choices=("inference", "train"), help="default: inference")
    parser.add_argument("--batch", type=_positive, nargs="+", metavar="N", help="images, a line each (default: 1; --scaling: 1 2 4 … 64)")
    parser.add_argument("--size", type=_positive, nargs="+", metavar="N", help="height and width, a line each (--scaling: 112 … 448)")
    parser.add_argument("--scaling", action="store_true", help="curves of time against batch and against pixels instead of the table")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="samples of each side (default: by --seconds; --scaling: 3)")
    parser.add_argument("--dtype", choices=("float32", "tf32", "bfloat16", "float16"), help="on a GPU, of both sides; 16 bits by autocast")
    parser.add_argument("--no-memory", action="store_true", help="do not measure the peak memory")
    parser.add_argument("--no-error", action="store_true", help="do not compare with float64")
    _common(parser, "seconds of each side of a line (default: 6)", 6.0)


def _common(parser, seconds_help, seconds) -> None:
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda, cuda:1 …, emulator")
    parser.add_argument("--against", choices=("torch", "cudnn"), help="measure PyTorch (on a GPU: cuDNN through it) beside, in the same run")
    parser.add_argument("--conv", metavar="SETTING", help="what the library takes: auto, tuned, reproducible or an algorithm (default: as set)")
    parser.add_argument("--seconds", type=_seconds, default=seconds, metavar="X", help=seconds_help)
    parser.add_argument("--threads", type=_positive, metavar="N", help="of both sides (default: all cores)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where report and picture go (default: benchmarks/results/…)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--no-picture", action="store_true", help="draw nothing")


def run(args) -> int:
    """Measure, print, write."""
    from ... import conv
    from ...array import get_num_threads, set_num_threads
    from . import _bench_devices

    threads = get_num_threads()
    try:
        with conv.using(args.conv or conv.current()):
            if args.threads:
                set_num_threads(args.threads)
            if args.device != "cpu":
                return (_bench_devices.run_conv if args.what == "conv" else _bench_devices.run_model)(args)
            _check_cpu(args)
            return {"conv": _conv, "model": _scaling if getattr(args, "scaling", False) else _model}[args.what](args)
    except ValueError as error:
        raise CommandError(str(error)) from error
    finally:
        if args.threads:
            set_num_threads(threads)


def _check_cpu(args) -> None:
    """What needs a device that runs CUDA kernels is refused, and options that were not given take the CPU's words."""
    if getattr(args, "kernel", None):
        raise CommandError("--kernel: a CUDA kernel runs on --device cuda or --device emulator, got cpu")
    if args.against == "cudnn":
        raise CommandError("--against: cudnn is on a GPU (--device cuda); on the CPU PyTorch is --against torch")
    if args.dtype in ("bfloat16", "tf32") or (args.what == "model" and args.dtype not in (None, "float32")):
        raise CommandError(f"--dtype: {args.dtype} is measured on a GPU (--device cuda)")
    args.dtype = args.dtype or "float32"
    if args.what == "conv":
        args.net = args.net or "vgg16"


def _conv(args) -> int:
    from ...bench import conv, problems, tables
    from ...conv import PASSES

    failed = _check_plugins(args.plugin)
    if args.problem:
        layers = [problems.Layer(text, problems.parse_problem(text)) for text in args.problem]
    else:
        layers = problems.layers_of(args.net, args.batch, args.size or problems.default_size(args.net))
    passes = [which for which in PASSES if which in (args.passes or PASSES)]
    title = "conv-problems" if args.problem else f"conv-{_file_name(args.net)}-b{args.batch}"
    against = args.against is not None

    def show(layer, which, rows):
        print(f"\n{layer.title} {which}: {rows[0]['shape']}, {2 * layer.problem.macs / 1e9:.3g} GFLOP")
        print(table(*tables.conv_rows(rows, against)), flush=True)
        for row in rows:
            if "failed" in row:
                print(f"  {row['algorithm']} failed: {row['failed']}")

    with _status() as progress:
        report = conv.measure(layers, passes=passes, algorithms=args.algorithm, without=failed, dtype=args.dtype, seconds=args.seconds,
                              against=args.against, flush=(args.flush_cache or 0) << 20, on_block=show, progress=progress)
    if report["totals"] and (len(layers) > 1 or len(passes) > 1):
        print("\n" + table(*tables.total_rows(report["totals"], passes)))
    status = _deliver(args, report, title, "roofline", report["rows"])
    wrong = conv.above_bound(report["rows"])
    for row in wrong:
        print(f"{row['algorithm']}, {row['layer']} {row['pass']}: the error {row['error']:.1e} is above the declared bound {row['bound']:.1e}")
    return status or int(bool(failed or wrong or any("failed" in row for row in report["rows"])))


def _check_plugins(files) -> list[str]:
    """Load and check; the names that failed."""
    if not files:
        return []
    from ...conv.check import check
    from ...conv.plugin import PluginError, load_plugin

    failed = []
    for file in files:
        try:
            names = load_plugin(file)
        except PluginError as error:
            raise CommandError(str(error)) from error
        for name in names:
            with _status() as show:
                report = check(name, progress=lambda done, total, name=name, show=show: show(f"checking {name}: {done} of {total} problems"))
            print(f"{file}: {report}" + ("" if report else f"\n{name} is not measured"), end="\n\n")
            failed += [] if report else [name]
    return failed


def _model(args) -> int:
    from ...bench import model, tables

    rows = [model.parse_row(text) for text in args.row or ()]
    if any((args.net, args.mode, args.batch, args.size)):
        rows += [model.Row(args.net or "vgg16", args.mode or "inference", n, size) for n in args.batch or (1,) for size in args.size or (0,)]

    def show(row):
        theirs = f", PyTorch {1e3 * row['torch']['seconds']:.1f} ms" if "torch" in row else ""
        print(f"{row['net']} {row['mode']} {row['batch']}×{row['size']}²: {1e3 * row['ours']['seconds']:.1f} ms{theirs}", flush=True)

    with _status() as progress:
        report = model.measure(rows or model.DEFAULT, against=args.against, seconds=args.seconds, rounds=args.rounds, on_row=show,
                               with_memory=not args.no_memory, with_error=not args.no_error, progress=progress)
    if report["rows"]:
        print("\n" + table(*tables.model_rows(report["rows"], args.against is not None), left=2))
    return _deliver(args, report, "model", None, report["rows"])


def _scaling(args) -> int:
    from ...bench import scaling, tables

    if args.row:
        raise CommandError("--scaling draws curves of one net: give --net, --mode, --batch and --size, not --row")
    net, given = args.net or "vgg16", {"batches": args.batch, "sizes": args.size}

    def show(curve):
        print(f"\n{curve['title']}: time grows as n^{curve['exponent']:.2f}; time of a pixel: largest / median {curve['cliff']:.2f}, "
              f"worst step from one size to the next ×{curve['step']:.2f}")
        print(table(*tables.scaling_rows(curve)))

    with _status() as progress:
        report = scaling.measure(net, mode=args.mode or "inference", rounds=args.rounds or 3, against=args.against, on_curve=show,
                                 progress=progress, **{key: value for key, value in given.items() if value})
    return _deliver(args, report, f"scaling-{_file_name(net)}", "scaling", [])


def _deliver(args, report, title, picture, rows) -> int:
    """Headline and legend, files, and the exit status."""
    from ...bench import machine, results, roofline, torch_side

    report["title"] = title
    print("\n" + report["legend"] + "\n\n" + machine.headline(report["machine"], report["settings"]["dtype"]))
    print(f"both sides {report['settings']['dtype']}" if report["torch"] else report["settings"]["dtype"], end="; ")
    print(f"convolutions taken: {report['settings']['conv']}" + (f"; {torch_side.headline(report['torch'])}" if report["torch"] else ""))
    if args.json:
        results.write_json(args.json, report)
    if rows or report.get("curves"):
        folder = args.out or results.default_folder(title)
        results.write_json(folder / "report.json", report)
        if report["kind"] == "conv":
            results.write_csv(folder / "rows.csv", rows)
        if picture and not args.no_picture:
            try:
                {"roofline": roofline.draw_roofline, "scaling": roofline.draw_scaling}[picture](folder / f"{picture}.png", report)
            except (ImportError, ValueError) as error:  # the numbers are there all the same
                print(f"no picture: {error}")
        print(f"\nwritten to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    if report["interrupted"]:
        print("stopped by Ctrl-C; the above is what was measured until then")
        return 130
    return 0


def _status():
    from ...bench.progress import status_line

    return status_line()


def _file_name(net: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in net)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise _argument_error(f"expected 1 or more, got {text}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise _argument_error(f"expected a positive number of seconds, got {text}")
    return value


def _argument_error(message: str):
    from argparse import ArgumentTypeError

    return ArgumentTypeError(message)
