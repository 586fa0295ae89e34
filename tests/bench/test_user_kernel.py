"""A kernel of an engineer's own: the launch lines, the signature, and every way of being wrong is found and named."""

import re
from pathlib import Path

import pytest

from scratchvgg import cli
from scratchvgg.bench import launch_lines, user_kernel
from scratchvgg.bench.user_kernel import KernelFileError, UserKernel, check_kernel
from scratchvgg.conv import Problem
from scratchvgg.cuda.emulator import BuildError
from tests.cuda.rehearsal.stage import rehearsal

SHAPE = dict.fromkeys(launch_lines.FIELDS, 1) | {"N": 2, "P": 5, "Q": 7, "K": 65, "C": 3}
NAIVE = """#include "common.cuh"
#include "conv_shape.cuh"
#include "half.cuh"
// grid: ceil(N * P * Q * K, 64)
// block: 64
// supports: groups == 1 and dilation_h == 1 and dilation_w == 1
extern "C" __global__ void mine(const float* x, const float* w, const float* bias, float* y, ConvShape g) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    if (i >= g.N * g.P * g.Q * g.K) return;
    const int k = i % g.K, q = i / g.K % g.Q, p = i / g.K / g.Q % g.P, n = i / g.K / g.Q / g.P;
    float sum = widen(bias[k]);
    for (int r = 0; r < g.R; ++r)
        for (int s = 0; s < g.S; ++s) {
            const int h = p * g.stride_h + r - g.pad_top, v = q * g.stride_w + s - g.pad_left;
            if (h < 0 || h >= g.H || v < 0 || v >= g.W) continue;
            for (int c = 0; c < g.C; ++c) sum += widen(x[((n * g.H + h) * g.W + v) * g.C + c]) * widen(w[((k * g.R + r) * g.S + s) * g.C + c]);
        }
    y[i] = narrow<float>(sum);
}
"""


@pytest.fixture
def made(tmp_path):
    """A function: the naive kernel, changed, as a file."""
    def make(*changes, text=NAIVE):
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        file = tmp_path / "mine.cu"
        file.write_text(text)
        return file

    return make


def quick(kernel):
    """The check with few random problems."""
    return check_kernel(kernel, draws=15, sanitized_draws=5)


@pytest.mark.parametrize(("text", "values"), [
    ("ceil(N*P*Q, 128), ceil(K, 64)", (1, 2)), ("N, P, Q", (2, 5, 7)), ("K / 2 + K // 2 - K % 2", (63,)), ("max(K, 4) - min(K, 4)", (61,)),
    ("-(-K)", (65,)),
])
def test_launch_lines_are_computed(text, values):
    assert launch_lines.read(f"// grid: {text}\n// block: 1\n", "a.cu")["grid"].values(SHAPE) == values


@pytest.mark.parametrize(("text", "value"), [
    ("K % 64 == 0", 0), ("R == 1 and not stride_h != 1", 1), ("C == 3 or C % 0", 1), ("1 < N <= 2 < P", 1), ("False", 0),
])
def test_supports_is_computed(text, value):
    assert launch_lines.read(f"// grid: 1\n// block: 1\n// supports: {text}\n", "a.cu")["supports"].values(SHAPE) == (value,)


@pytest.mark.parametrize(("text", "message"), [
    ("// block: 1\n", "no comment line says the grid"),
    ("// grid: 1\n// grid: 2\n// block: 1\n", "another one, a.cu, line 1"),
    ("// grid: 1\n// block: T\n", "a.cu, line 2: // block: T\n  'T' is no field of ConvShape; there are N, C, H"),
    ("// grid: 1, 1, 1, 1\n// block: 1\n", "one to three sizes"),
    ("// grid: (1\n// block: 1\n", "cannot be read"),
    ("// grid: 1) or (2\n// block: 1\n", "one to three sizes"),
    ("// grid: 2 ** 9\n// block: 1\n", "expected whole numbers"),
    ("// grid: N.real\n// block: 1\n", "expected whole numbers"),
    ("// grid: __import__('os')\n// block: 1\n", "expected ceil(a, b), min(a, b) or max(a, b)"),
    ("// grid: ceil(N)\n// block: 1\n", "expected ceil(a, b)"),
    ("// grid: 1.5\n// block: 1\n", "expected whole numbers"),
    ("// grid:\n// block: 1\n", "cannot be read"),
])
def test_bad_launch_lines_are_refused(text, message):
    with pytest.raises(launch_lines.LaunchLineError, match=re.escape(message)):
        launch_lines.read(text, "a.cu")


def test_lines_that_give_no_launch():
    lines = launch_lines.read("// grid: N - 2\n// block: 1 / (N - 2)\n// shared: N - 3\n", "a.cu")
    for key, message in (("grid", "gives 0 for N=2"), ("block", "divides by zero"), ("shared", "gives -1")):
        with pytest.raises(launch_lines.LaunchLineError, match=message):
            lines[key].values(SHAPE)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("const float* bias, ", "", "the entry is mine(const float*, const float*, float*, ConvShape)"),
    ("const float* w", "const double* w", "const double*"),
    ("const float* x", "float* x", "mine(float*, "),
    ("const float* x, const float* w, const float* bias, float* y", "const int* x, const int* w, const int* bias, int* y", "one of float, double"),
    ('extern "C" __global__ void mine', "__global__ void mine", "no entry"),
    ("ConvShape g", "const ConvShape& g", "ConvShape&"),
])
def test_wrong_signatures_are_refused(made, old, new, message):
    with pytest.raises(KernelFileError, match=re.escape(message)) as caught:
        UserKernel(made((old, new)))
    assert user_kernel.SIGNATURE in str(caught.value)


def test_two_entries_are_refused(made):
    with pytest.raises(KernelFileError, match="2 entries: mine, other"):
        UserKernel(made(text=NAIVE + NAIVE[NAIVE.index("extern"):].replace("mine", "other")))


@pytest.mark.parametrize(("type", "name"), [("float", "float32"), ("double", "float64"), ("f16", "float16"), ("bf16", "bfloat16")])
def test_a_right_kernel_in_each_type(made, type, name):
    changes = [("float*", f"{type}*"), ("narrow<float>", f"narrow<{type}>"), ("float sum", f"Acc<{type}> sum")]
    kernel = UserKernel(made(*changes))
    report, _ = quick(kernel)
    assert kernel.dtype == name and report, report
    assert set(report.errors) == {("forward", name)} and report.unsupported > 0


def test_the_example_is_right():
    file = Path(__file__).resolve().parents[2] / "docs" / "examples" / "my_conv.cu"
    report, _ = quick(UserKernel(file))
    assert report and report.problems > 10, report


def test_a_wrong_kernel_is_shown_on_the_smallest_problem(made):
    report, way = quick(UserKernel(made(("q * g.stride_w + s - g.pad_left", "q * g.stride_w + s - g.pad_top"))))
    assert not report and way == "every access watched"
    g = report.failure.problem
    assert g.padding[0][0] != g.padding[1][0] and g.macs <= 16 and "the first at [n=0" in report.failure.message


def test_a_race_is_found(made):
    sum = "    float sum = widen(bias[k]);\n"
    report, way = quick(UserKernel(made((sum, "    __shared__ float one[2];\n    one[0] = g.groups;\n" + sum.replace(";", " * one[g.groups - 1];")))))
    assert not report and way == "every access watched"
    assert re.search(r"racecheck: kernel mine.* of one.*mine\.cu:1[12]", report.failure.message)


def test_a_missing_barrier_is_explained(made):
    text = Path(__file__).resolve().parents[2].joinpath("docs/examples/my_conv.cu").read_text()
    report, way = quick(UserKernel(made(("        __syncthreads();  // everything is there\n", ""), text=text)))
    assert not report and way == "every access watched" and re.match(r"(racecheck|initcheck): .*mine\.cu:\d+", report.failure.message)


def test_reading_outside_is_found_at_its_line(made):
    report, way = quick(UserKernel(made((" || v >= g.W", " || v > g.W"))))
    assert not report and way == "every access watched"
    assert re.search(r"memcheck: .*past the end of x.*mine\.cu:\d+", report.failure.message)


def test_writing_outside_is_found(made):
    report, _ = quick(UserKernel(made(("if (i >= g.N * g.P * g.Q * g.K) return;", ""))))
    assert not report and re.search("memcheck|outside|past", report.failure.message)


def test_a_compile_error_shows_the_line(made, capsys):
    file = made(("float sum = ", "float sum == "))
    with pytest.raises(BuildError, match=r"mine\.cu:11"):
        quick(UserKernel(file))
    assert cli.main(["bench", "conv", "--device", "emulator", "--kernel", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "float sum == " in captured.err and "mine.cu:11" in captured.err


def test_a_kernel_for_nothing_says_so(made):
    with pytest.raises(ValueError, match="supports none"):
        quick(UserKernel(made(("groups == 1 and", "groups == 99 and"))))


@pytest.mark.parametrize(("change", "status", "words"), [
    (None, 0, ["mine is right", "error", "bound", "not timed", "racecheck"]),
    (("widen(bias[k])", "0"), 1, ["mine is WRONG: forward, float32", "Problem(N=1, C=1", "every access watched"]),
])
def test_command_on_the_emulator(made, capsys, monkeypatch, change, status, words):
    monkeypatch.setattr(user_kernel, "PROBLEMS", (Problem(1, 2, 3, 3, 2, 3, 3), Problem(1, 1, 2, 2, 1, 1, 1)))
    assert cli.main(["bench", "conv", "--device", "emulator", "--kernel", str(made(*filter(None, [change])))]) == status
    out = capsys.readouterr().out
    assert all(word in out for word in words), out


@pytest.mark.parametrize(("change", "message"), [(("// block: 64", "// block: X"), "'X' is no field"), (("float* y", "int* y"), "expected")])
def test_command_refuses_a_file_that_says_nonsense(made, capsys, change, message):
    assert cli.main(["bench", "conv", "--device", "emulator", "--kernel", str(made(change))]) == 2
    assert message in capsys.readouterr().err


def test_on_a_gpu_it_is_timed_beside_ours(made, capsys, monkeypatch, tmp_path):
    from scratchvgg.bench import cuda_timing, device_conv, gpu_sides
    from scratchvgg.cuda import emulator
    from tests.cuda.rehearsal.arrays import DeviceArray

    def play(backend, file, name):
        entry = emulator.load(file).get_function(name)

        def run(grid, block, args, shared_mem=0):
            entry(grid, block, tuple(a.held if isinstance(a, DeviceArray) else a for a in args), shared_mem)

        return run

    monkeypatch.setattr(user_kernel, "load_on_gpu", play)
    monkeypatch.setattr(gpu_sides, "COPIED", 1 << 12)
    monkeypatch.setattr(gpu_sides, "SQUARE", 8)
    monkeypatch.setattr(device_conv, "FLUSH", 1 << 12)
    monkeypatch.setattr(cuda_timing, "WARM_UP", 1)
    words = "--kernel", made(), "--problem", "1,3,5,5,2,3,3,1,1", "--seconds", "1e-9", "--out", tmp_path / "o"
    with rehearsal():
        assert cli.main(["bench", "conv", "--device", "cuda", *map(str, words)]) == 0
    out = capsys.readouterr().out
    assert "mine is right" in out and re.search(r"^ +mine +[\d.]+ ", out, re.MULTILINE) and "implicit_gemm" in out and "grad_input" not in out
