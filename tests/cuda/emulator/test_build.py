"""Libraries: made once, made again when anything they are made of changes, whole or not there, and clear messages when they cannot be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scratchvgg.cuda import emulator
from scratchvgg.cuda.emulator import build

SOURCE = '#include "common.cuh"\n#include "value.cuh"\nextern "C" __global__ void store(int* y) { y[threadIdx.x] = VALUE; }\n'


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache folder with the runtime in it, which takes seconds to compile, and nothing else."""
    runtime = build.runtime()
    (tmp_path / "home" / "emulator").mkdir(parents=True)
    shutil.copy(runtime, tmp_path / "home" / "emulator")
    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path):
    (tmp_path / "value.cuh").write_text("#define VALUE 3\n")
    (tmp_path / "store.cu").write_text(SOURCE)
    return tmp_path / "store.cu"


def stored(file):
    y = np.zeros(2, np.int32)
    emulator.load(file).get_function("store")((1,), (2,), (y,))
    return y.tolist()


def libraries(home):
    return sorted(p.name for p in (home / "emulator").glob("store-*.so"))


def test_edits_of_included_files_are_seen(home, file):
    assert stored(file) == [3, 3]
    assert len(libraries(home)) == 1
    (file.parent / "value.cuh").write_text("#define VALUE 44\n")
    os.utime(file.parent / "value.cuh", ns=(1, 1))
    assert stored(file) == [44, 44]
    assert len(libraries(home)) == 2
    (file.parent / "value.cuh").write_text("#define VALUE 3\n")
    os.utime(file.parent / "value.cuh", ns=(2, 2))
    assert stored(file) == [3, 3]
    assert len(libraries(home)) == 2, "the first library is still there"


def test_nothing_is_compiled_twice(home, file, monkeypatch):
    built = build.build(file)
    monkeypatch.setattr(build, "_run", lambda *_: pytest.fail("compiled again"))
    assert build.build(file) == built
    with emulator.sanitize(), pytest.raises(pytest.fail.Exception):
        build.build(file)


def test_two_processes_build_at_once(home, file):
    code = f"""
import numpy as np
from scratchvgg.cuda import emulator
y = np.zeros(2, np.int32)
emulator.load({str(file)!r}).get_function("store")((1,), (2,), (y,))
print(y.tolist())
"""
    root = Path(build.__file__).resolve().parents[3]
    options = {"cwd": root, "env": {**os.environ, "PYTHONPATH": str(root)}, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code], **options) for _ in range(2)]
    for process in both:
        out, err = process.communicate()
        assert (out, err) == ("[3, 3]\n", "")
    assert len(libraries(home)) == 1
    assert not list((home / "emulator").glob(".build-*")), "nothing half-made stays behind"


def test_compile_errors_show_the_line(home, file):
    file.write_text(SOURCE.replace("VALUE;", "VALU;"))
    with pytest.raises(emulator.BuildError, match=r"(?s)g\+\+ cannot compile .*store.cu:\n.*store.cu:3:\d+: error: .*VALU.*y\[threadIdx.x\] = VALU;"):
        emulator.load(file)
    assert libraries(home) == []
    file.write_text(SOURCE)
    assert stored(file) == [3, 3]


def test_the_other_spelling_of_dynamic_shared_memory(home, file):
    file.write_text('extern "C" __global__ void f(float* y) { extern __shared__ float s[]; y[0] = s[0]; }')
    with pytest.raises(emulator.BuildError, match=r"wants DYNAMIC_SHARED\(float, s\); in the place of extern __shared__ float s\[\];"):
        emulator.load(file)


def test_no_compiler(home, file, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-g++")
    build.compiler.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"the emulator compiles CUDA kernels with g\+\+, and 'no-such-g\+\+' is not on the PATH: install it"):
            emulator.load(file)
    finally:
        build.compiler.cache_clear()


def test_headers_are_needed_only_by_files_that_use_them(home, file, monkeypatch):
    monkeypatch.setattr(build, "cuda_headers", lambda: None)
    assert stored(file) == [3, 3]
    file.write_text('#include "half.cuh"\n' + SOURCE)
    with pytest.raises(ImportError, match=r"store.cu uses CUDA's 16-bit types.* pip install 'scratchvgg\[emulator\]', or set CUDA_HOME"):
        emulator.load(file)


def test_headers_of_a_toolkit(tmp_path, monkeypatch):
    """A folder without what ``cuda_fp16.h`` includes is taken only if there is no other."""
    for variable, files in (("CUDA_HOME", ()), ("CUDA_PATH", ("crt/host_defines.h", "cccl/nv/target"))):
        for name in ("cuda_fp16.h", *files):
            (tmp_path / variable / "include" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / variable / "include" / name).touch()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert build.cuda_headers() == tmp_path / "CUDA_PATH" / "include"
    (tmp_path / "CUDA_PATH" / "include" / "cccl" / "nv" / "target").unlink()
    monkeypatch.setattr(build.os, "sep", str(tmp_path / "nowhere"))  # no toolkit of this machine's
    assert build.cuda_headers() == tmp_path / "CUDA_HOME" / "include"


def test_no_such_file():
    with pytest.raises(FileNotFoundError, match=r"no kernel file '.*nowhere.cu'"):
        emulator.load("nowhere.cu")


def test_plain_cuda_files_run_without_any_include(home):
    y = np.zeros(3, np.float32)
    emulator.load('\nextern "C" __global__ void one(float* y) { y[threadIdx.x] = rsqrtf(4.0f); }').get_function("one")((1,), (3,), (y,))
    assert y.tolist() == [0.5] * 3
