"""NVRTC and its company are found, chosen to suit the driver, and compile."""

import sys

import pytest

from scratchvgg.cuda import libcuda, toolkit
from scratchvgg.cuda.nvrtc import NvrtcError, choose_nvrtc, load_nvrtc
from scratchvgg.cuda.toolkit import Part

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="NVIDIA has no compiler for macOS")

SOURCE = 'extern "C" __global__ void __launch_bounds__(96) twice(float* x) { x[threadIdx.x] *= 2.0f; }'


@pytest.fixture
def empty_machine(monkeypatch, tmp_path):
    """No packages, no variables, no toolkit on the PATH or in /usr/local."""
    monkeypatch.setattr(toolkit, "_package_folders", lambda: [])
    monkeypatch.setattr(toolkit, "_from_loader", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(variable, raising=False)
    roots = toolkit._roots
    monkeypatch.setattr(toolkit, "_roots", lambda: (root for root in roots() if root[0] != "/usr/local/cuda"))
    return tmp_path


def touch(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_compiles_without_a_gpu():
    program = load_nvrtc().compile(SOURCE, "twice.cu", ["-arch=sm_80", "--ptxas-options=-v"])
    assert program.cubin[:4] == b"\x7fELF" and ".maxntid 96" in program.ptx and "Compiling entry function 'twice' for 'sm_80'" in program.log


def test_a_refused_program_has_its_log_and_the_next_one_compiles():
    with pytest.raises(NvrtcError, match='identifier "y" is undefined') as caught:
        load_nvrtc().compile('extern "C" __global__ void f(float* x) { x[0] = y; }', "f.cu", ["-arch=sm_80"])
    assert "f.cu(1): error" in caught.value.log and caught.value.ptx == ""
    load_nvrtc().compile(SOURCE, "twice.cu", ["-arch=sm_80"])


def test_knows_its_version_and_architectures():
    nvrtc = load_nvrtc()
    assert nvrtc.version >= (12, 0) and nvrtc.architectures == sorted(nvrtc.architectures) and {80, 90} <= set(nvrtc.architectures)


def test_nothing_is_found_where_nothing_is(empty_machine):
    assert toolkit.find_nvrtc() == [] and toolkit.find_headers() is None and toolkit.include_folders() == []
    assert all(toolkit.find_program(name) is None for name in toolkit.PROGRAMS)


def test_packages_come_before_variables(empty_machine, monkeypatch):
    package, home = empty_machine / "site" / "nvidia", empty_machine / "home"
    for root in (package / "cu13", home):
        touch(root / "lib" / "libnvrtc.so.13")
        touch(root / "include" / "cuda_bf16.h")
        touch(root / "bin" / "nvdisasm")
    monkeypatch.setenv("CUDA_HOME", str(home))
    assert [part.where for part in toolkit.find_nvrtc()] == ["CUDA_HOME"]
    assert toolkit.find_headers() == Part(home / "include", "CUDA_HOME")
    monkeypatch.setattr(toolkit, "_package_folders", lambda: [package])
    assert [part.where for part in toolkit.find_nvrtc()] == ["Python packages", "CUDA_HOME"]
    assert toolkit.find_headers().path == package / "cu13" / "include"
    assert toolkit.find_program("nvdisasm").path == package / "cu13" / "bin" / "nvdisasm"


def test_the_packages_of_cuda_12_are_one_folder_for_each_part(empty_machine, monkeypatch):
    package = empty_machine / "nvidia"
    library = touch(package / "cuda_nvrtc" / "lib" / "libnvrtc.so.12")
    headers = touch(package / "cuda_runtime" / "include" / "cuda_bf16.h").parent
    cccl = touch(package / "cuda_cccl" / "include" / "nv" / "target").parents[1]
    monkeypatch.setattr(toolkit, "_package_folders", lambda: [package])
    assert toolkit.find_nvrtc() == [Part(library, "Python packages")]
    assert toolkit.include_folders() == [headers, cccl]


def test_a_toolkit_on_the_path(empty_machine, monkeypatch):
    touch(empty_machine / "cuda" / "bin" / "nvcc").chmod(0o755)
    library = touch(empty_machine / "cuda" / "lib64" / "libnvrtc.so.12")
    monkeypatch.setenv("PATH", str(empty_machine / "cuda" / "bin"))
    assert toolkit.find_nvrtc() == [Part(library, "PATH")] and toolkit.find_program("nvcc").path.parent == empty_machine / "cuda" / "bin"


def test_of_one_librarys_names_the_shortest_and_newest_first(empty_machine, monkeypatch):
    folder = empty_machine / "home" / "lib64"
    touch(folder / "libnvrtc.so.12.9.41")
    (folder / "libnvrtc.so.12").symlink_to("libnvrtc.so.12.9.41")
    touch(folder / "libnvrtc.so.13")
    touch(folder / "libnvrtc.alt.so.13")
    monkeypatch.setenv("CUDA_PATH", str(empty_machine / "home"))
    assert [part.path.name for part in toolkit.find_nvrtc()] == ["libnvrtc.so.13", "libnvrtc.so.12"]


def part(major):
    return Part(toolkit.Path(f"/x/libnvrtc.so.{major}"), "PATH")


@pytest.mark.parametrize("driver, chosen", [(None, 13), ((13, 0), 13), ((14, 1), 13), ((12, 8), 12)])
def test_the_driver_must_run_what_is_compiled(driver, chosen):
    assert choose_nvrtc([part(13), part(12)], driver) == part(chosen)


def test_no_nvrtc_is_one_clear_message():
    with pytest.raises(ImportError, match=r"needs NVRTC .* not found: pip install 'scratchvgg\[kernels\]'"):
        choose_nvrtc([], None)
    with pytest.raises(ImportError, match=r"the driver runs CUDA 12\.4, but every NVRTC found is newer \(/x/libnvrtc\.so\.13\)"):
        choose_nvrtc([part(13)], (12, 4))


class FakeDriver:
    """libcuda, as far as it is asked. It writes into the C variables it is given references to."""

    def __init__(self, gpus=1, status=0):
        self.gpus, self.status = gpus, status

    def cuDriverGetVersion(self, number):
        number._obj.value = 13010
        return 0

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, count):
        count._obj.value = self.gpus
        return 0

    def cuGetErrorName(self, status, text):
        text._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = b"Test GPU"
        return 0

    def cuDeviceTotalMem_v2(self, memory, device):
        memory._obj.value = 80 << 30
        return 0

    def cuDeviceGetAttribute(self, value, number, device):
        value._obj.value = {libcuda.MAJOR: 9, libcuda.MINOR: 0, libcuda.PROCESSORS: 132}[number]
        return 0


def test_what_the_driver_says(monkeypatch):
    monkeypatch.setattr(libcuda, "_libcuda", FakeDriver)
    found = libcuda.ask_driver()
    assert found.version == libcuda.driver_version() == (13, 1)
    assert found.gpus == (libcuda.Gpu("Test GPU", (9, 0), 80 << 30, 132),) and found.why == ""


def test_why_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(libcuda, "_libcuda", lambda: None)
    assert libcuda.ask_driver() == libcuda.Driver(None, (), "no NVIDIA driver (libcuda.so.1 was not found)") and libcuda.driver_version() is None
    monkeypatch.setattr(libcuda, "_libcuda", lambda: FakeDriver(status=100))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "offers no GPU (CUDA_ERROR_NO_DEVICE; CUDA_VISIBLE_DEVICES is '-1')" in libcuda.ask_driver().why
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(libcuda, "_libcuda", lambda: FakeDriver(gpus=0))
    assert libcuda.ask_driver().why.endswith("offers no GPU (it counts 0)")
