"""Every kernel file compiles and the hot ones do not spill; the cache notices edits, survives damage, and serves two processes."""

import fnmatch
import functools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from scratchvgg.array import parallel_for
from scratchvgg.cuda import kernel_folder, kernel_sources
from scratchvgg.cuda.arch import ArchitectureError, parse_arch, supported_arch, target
from scratchvgg.cuda.catalog import compile_files, select
from scratchvgg.cuda.compile import compile_kernel_file, cubin_folder, cubin_path, ptx_of
from scratchvgg.cuda.disassemble import disassemble, sass_of
from scratchvgg.cuda.includes import digest_of, files_of
from scratchvgg.cuda.messages import CompileError
from scratchvgg.cuda.registry import describe

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="NVIDIA has no compiler for macOS")

ARCHES = "sm_80", "sm_90"
KERNEL = """#include "part.cuh"
extern "C" __global__ void __launch_bounds__(64) scale(float* x) { x[threadIdx.x] *= FACTOR; }
"""


@functools.cache
def everything(arch):
    """All kernel files for one architecture, on all cores. What an earlier run has left in the user's cache is used: the key is the content."""
    return compile_files(select().files, arch)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def scale(home):
    """A kernel file of one's own with a header beside it."""
    (home / "part.cuh").write_text("#define FACTOR 2.0f\n")
    (home / "scale.cu").write_text(KERNEL)
    return home / "scale.cu"


# ---- the kernels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", kernel_sources())
def test_compiles_and_the_hot_entries_do_not_spill(name, arch):
    file, batch = kernel_sources()[name].resolve(), everything(arch)
    if file in batch.left_out:
        assert describe(file).arch and re.match(r"needs sm_\d+", str(batch.left_out[file]))
        return
    assert file not in batch.failed, batch.failed.get(file)
    (compiled,) = (c for c in batch.compiled if c.file == file)
    kernel = describe(file)
    assert compiled.warnings == "" and compiled.resources
    assert not [entry for entry in compiled.resources if not kernel.has(entry)], "the entries: line of the file does not name these"
    assert not [pattern for pattern in kernel.hot if not fnmatch.filter(compiled.resources, pattern)], "the hot: line names nothing"
    assert {entry: needs.spills for entry, needs in compiled.resources.items() if needs.spills and kernel.is_hot(entry)} == {}


@functools.cache
def nvcc_says():
    """What nvcc has to say about each file, on all cores. It optimises little: NVRTC has shown that the rest works."""
    said = {}

    def task(name):
        file = kernel_sources()[name]
        arch = target("sm_90", describe(file).arch)
        command = ["nvcc", f"-arch={arch}", "-cubin", "-std=c++17", "-Xcicc", "-O0", "-Xptxas", "-O0", "-o", os.devnull, file]
        said[name] = subprocess.run(command, capture_output=True, text=True, check=False)

    parallel_for(task, kernel_sources())
    return said


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("name", kernel_sources())
def test_nvcc_takes_it_too(name):
    done = nvcc_says()[name]
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr


# ---- a file of one's own, and the cache -------------------------------------------------------------------------------


def test_the_second_time_it_is_there(scale):
    first = compile_kernel_file(scale, "sm_80")
    assert not first.cached and first.path.parent == cubin_folder() and first.cubin[:4] == b"\x7fELF" and list(first.resources) == ["scale"]
    second = compile_kernel_file(scale, "80")
    assert second.cached and (second.path, second.resources, second.log) == (first.path, first.resources, first.log)
    assert cubin_path(scale, "sm_90") != first.path
    assert {path.suffix for path in cubin_folder().iterdir()} == {".cubin", ".json"}, "no locks or half files are left"


def test_an_edited_header_compiles_again(scale):
    before = compile_kernel_file(scale, "sm_80")
    (scale.parent / "part.cuh").write_text('#include "deep.cuh"\n')
    (scale.parent / "deep.cuh").write_text("#define FACTOR 3.0f\n")
    after = compile_kernel_file(scale, "sm_80")
    assert not after.cached and after.cubin != before.cubin
    (scale.parent / "deep.cuh").write_text("#define FACTOR 4.0f\n")
    assert not compile_kernel_file(scale, "sm_80").cached
    (scale.parent / "deep.cuh").write_text("#define FACTOR 3.0f\n")
    assert compile_kernel_file(scale, "sm_80").path == after.path


def test_the_same_file_elsewhere_is_the_same(scale):
    before = compile_kernel_file(scale, "sm_80")
    shutil.copytree(scale.parent, scale.parent / "copy", ignore=shutil.ignore_patterns("home"))
    assert compile_kernel_file(scale.parent / "copy" / "scale.cu", "sm_80").path == before.path


@pytest.mark.parametrize("damage", [
    lambda cubin, about: cubin.write_bytes(cubin.read_bytes()[:-100]),
    lambda cubin, about: cubin.write_bytes(b""),
    lambda cubin, about: cubin.unlink(),
    lambda cubin, about: about.unlink(),
    lambda cubin, about: about.write_text("{"),
    lambda cubin, about: about.write_text("[]"),
], ids=["cut", "empty", "no cubin", "no json", "half json", "other json"])
def test_damage_is_mended(scale, damage):
    whole = compile_kernel_file(scale, "sm_80")
    cubin = whole.cubin
    damage(whole.path, whole.path.with_suffix(".json"))
    again = compile_kernel_file(scale, "sm_80")
    assert not again.cached and again.cubin == cubin and compile_kernel_file(scale, "sm_80").cached


def test_of_two_processes_one_compiles(scale):
    code = f"from scratchvgg.cuda.compile import compile_kernel_file as c; print(c({str(scale)!r}, 'sm_80').cached)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0].strip() for process in both) == ["False", "True"]
    assert json.loads(next(cubin_folder().glob("*.json")).read_text())["file"] == "scale.cu"


def test_only_what_is_included_counts(scale):
    files = files_of(scale, [kernel_folder()])
    assert [path.name for path in files] == ["scale.cu", "part.cuh"]
    before = digest_of(scale, [])
    (scale.parent / "other.cuh").write_text("")
    assert digest_of(scale, []) == before
    names = [path.name for path in files_of(kernel_sources()["relu"], [kernel_folder()])]
    assert {"relu.cu", "common.cuh", "half.cuh"} <= set(names) and not any("emulator" in str(path) for path in files)


def test_a_header_in_the_working_directory_is_not_taken(scale, monkeypatch):
    (scale.parent / "part.cuh").rename(scale.parent / "home.cuh")
    elsewhere = scale.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "part.cuh").write_text("#define FACTOR 2.0f\n")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(CompileError, match=r'cannot open source file "part.cuh"'):
        compile_kernel_file(scale, "sm_80")


def test_subnormal_numbers_stay(home):
    (home / "ieee.cu").write_text('extern "C" __global__ void ieee(float* x) { x[0] = x[1] / x[2] + sqrtf(x[3] * x[4]); }\n')
    ptx = ptx_of(home / "ieee.cu", "sm_80")
    assert "div.rn.f32" in ptx and "sqrt.rn.f32" in ptx and ".ftz" not in ptx


# ---- errors ------------------------------------------------------------------------------------------------------------


def error_of(folder, text):
    file = folder / "wrong.cu"
    file.write_text(text)
    with pytest.raises(CompileError) as caught:
        compile_kernel_file(file, "sm_80")
    assert caught.value.file == file and not list(cubin_folder().glob("wrong*")), "nothing is kept"
    return str(caught.value)


def test_an_error_shows_the_line_and_a_caret(home):
    said = error_of(home, 'extern "C" __global__ void f(float* x) {\n    x[0] = facto * 2;\n}\n')
    assert said.startswith("wrong.cu does not compile for sm_80\n")
    assert f'{home / "wrong.cu"}(2): error: identifier "facto" is undefined\n      x[0] = facto * 2;\n             ^' in said


def test_an_error_in_a_header_names_the_header(home):
    (home / "part.cuh").write_text("\n\nint 3x;\n")
    assert f"{home / 'part.cuh'}(3): error" in error_of(home, KERNEL)


def test_an_error_in_inline_ptx_leads_to_the_source(home):
    said = error_of(home, '#include "common.cuh"\n__device__ int g() {\n    int y;\n    asm volatile("mma.foo %0;" : "=r"(y));\n    return y;\n}\n'
                          'extern "C" __global__ void f(int* x) { x[0] = g(); }\n')
    assert f"{home / 'wrong.cu'}(4): error in inline PTX: Unknown modifier '.foo'" in said
    assert '\n      asm volatile("mma.foo %0;" : "=r"(y));\n      ^\n  the assembler read: mma.foo %r' in said


def test_too_much_static_shared_memory_has_an_answer(home):
    said = error_of(home, '#include "common.cuh"\nextern "C" __global__ void f(int* x) {\n    __shared__ int s[20000];\n    s[threadIdx.x] = x[0];\n'
                          "    __syncthreads();\n    x[1] = s[x[2]];\n}\n")
    assert "f has 80000 bytes of static shared memory, and a block may have 49152: take DYNAMIC_SHARED for more" in said


def test_many_errors_are_counted(home):
    said = error_of(home, 'extern "C" __global__ void f() {\n' + "".join(f"    a{i} = 1;\n" for i in range(9)) + "}\n")
    assert said.count("error: identifier") == 5 and said.endswith("\n… and 4 more")


def test_without_headers_it_says_what_to_install(scale, monkeypatch):
    monkeypatch.setattr("scratchvgg.cuda.compile.include_folders", lambda: [])
    with pytest.raises(ImportError, match=r"compiling scale.cu needs CUDA's headers, which was not found: pip install 'scratchvgg\[kernels\]'"):
        compile_kernel_file(scale, "sm_80")


# ---- architectures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, arch", [("sm_90", "sm_90"), ("90", "sm_90"), ("9.0", "sm_90"), ("sm_90a", "sm_90a"), ("SM_120", "sm_120"),
                                        ("10.0", "sm_100")])
def test_names(text, arch):
    assert parse_arch(text) == arch


@pytest.mark.parametrize("text", ["", "sm90", "ninety", "sm_9", "sm_90x", "compute_90"])
def test_other_names(text):
    with pytest.raises(ValueError, match="arch: expected a name such as 'sm_80' or 'sm_90a'"):
        parse_arch(text)


@pytest.mark.parametrize("arch, needs, expected", [("sm_80", None, "sm_80"), ("sm_90", "sm_80", "sm_90"), ("sm_90", "sm_90a", "sm_90a"),
                                                   ("sm_90a", "sm_90a", "sm_90a")])
def test_what_a_file_needs(arch, needs, expected):
    assert target(arch, needs) == expected


@pytest.mark.parametrize("arch, needs, message", [("sm_75", "sm_80", "needs sm_80 or newer, not sm_75"),
                                                  ("sm_100", "sm_90a", "needs sm_90a, not sm_100")])
def test_what_a_file_cannot(arch, needs, message):
    with pytest.raises(ArchitectureError, match=message):
        target(arch, needs)


def test_a_gpu_newer_than_the_compiler():
    assert supported_arch("sm_89", [75, 80, 86]) == "sm_86" and supported_arch("sm_90a", [80, 90]) == "sm_90a"
    with pytest.raises(ArchitectureError, match="compiles for sm_75, sm_80, not for sm_90"):
        supported_arch("sm_90", [75, 80])


def test_a_file_that_asks_for_hopper(home):
    file = home / "hopper.cu"
    file.write_text('// arch: sm_90a\nextern "C" __global__ void hopper() { asm volatile("setmaxnreg.dec.sync.aligned.u32 40;"); }\n')
    assert compile_kernel_file(file, "sm_90").arch == "sm_90a"
    with pytest.raises(ArchitectureError):
        compile_kernel_file(file, "sm_80")
    batch = compile_files([file], "sm_80")
    assert (batch.compiled, batch.failed, list(batch.left_out)) == ([], {}, [file])


# ---- disassembly -------------------------------------------------------------------------------------------------------


def test_machine_code_under_its_source(scale):
    compiled = compile_kernel_file(scale, "sm_90")
    text = disassemble(compiled, "scale")
    assert text.startswith(f"scale for sm_90: {compiled.resources['scale'].instructions} instructions, ")
    assert "\n  scale.cu:2    extern \"C\" __global__" in text
    code = sass_of(compiled, "scale")
    assert len(code) == compiled.resources["scale"].instructions and any(line.startswith("STG.E") for line in code) and "EXIT" in code
    with pytest.raises(KeyError, match="scale.cu has no entry 'scald'; it has scale"):
        disassemble(compiled, "scald")


def test_tensor_cores_and_asynchronous_copies_are_in_the_machine_code():
    """A wrapper that fell back to ordinary instructions would compile too."""
    compiled = next(c for c in everything("sm_80").compiled if c.file.stem == "conv_tensor_core")
    entry = next(entry for entry in compiled.resources if describe(compiled.file).is_hot(entry) and "bf16" in entry)
    words = {line.split()[0] for line in sass_of(compiled, entry)}
    assert any(word.startswith("HMMA.16816.F32.BF16") for word in words) and any(word.startswith("LDGSTS") for word in words)
