"""``sv.cuda`` and the device ``cuda`` where there is no GPU: nothing is probed at import, and the messages say what is missing."""

import subprocess
import sys

import pytest

import scratchvgg as sv
from scratchvgg.array import available_devices
from scratchvgg.cuda import driver


@pytest.fixture
def without_gpu(monkeypatch):
    """As on a machine with CuPy and no driver."""
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe(object(), 0, "CuPy 14 is installed, but it found no NVIDIA driver or GPU"))


def test_import_probes_nothing():
    code = """import sys, scratchvgg, scratchvgg.cuda
assert not {"cupy", "torch"} & set(sys.modules)
assert not scratchvgg.cuda.driver.probe.cache_info().misses"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_s_manners_without_a_gpu(without_gpu):
    assert sv.cuda.is_available() is False and sv.cuda.device_count() == 0 and "cuda" not in available_devices()
    assert sv.cuda.memory_allocated() == sv.cuda.max_memory_allocated() == sv.cuda.memory_reserved() == 0
    sv.cuda.empty_cache()
    sv.cuda.reset_peak_memory_stats()
    assert sv.cuda.manual_seed(1) is None and sv.cuda.manual_seed_all(1) is None
    assert str(sv.device("cuda")) == "cuda:0"  # a name, until something is to be there


@pytest.mark.parametrize("use", [
    lambda: sv.zeros(2).to("cuda"), lambda: sv.zeros(2).cuda(), lambda: sv.zeros(2, device="cuda:0"), lambda: sv.tensor([1.0], device="cuda"),
    lambda: sv.nn.Linear(2, 2).cuda(), lambda: sv.cuda.get_device_name(), lambda: sv.cuda.current_device(), lambda: sv.cuda.synchronize(),
    lambda: sv.cuda.set_device(0), lambda: sv.cuda.Event(), lambda: sv.cuda.Stream(), lambda: sv.cuda.current_stream(),
    lambda: sv.cuda.graph(sv.cuda.CUDAGraph()),
], ids=str)
def test_one_clear_message(without_gpu, use):
    with pytest.raises(RuntimeError, match=r"'cuda:0' is not available: .*no NVIDIA driver or GPU.*device=\"emulator\""):
        use()


def test_without_cupy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    driver.probe.cache_clear()
    try:
        with pytest.raises(RuntimeError, match=r"pip install 'scratchvgg\[gpu13\]'.*gpu12"):
            driver.require()
    finally:
        driver.probe.cache_clear()


def test_a_gpu_too_many(monkeypatch):
    monkeypatch.setattr(driver, "probe", lambda: driver.Probe(object(), 2, ""))
    with pytest.raises(RuntimeError, match="'cuda:2' is not available: this machine has 2 GPUs, cuda:0 to cuda:1"):
        driver.require(2)


@pytest.mark.parametrize("device", ["cpu", "emulator"])
def test_not_a_gpu(device):
    with pytest.raises(ValueError, match="expected a cuda device"):
        sv.cuda.get_device_name(device)


def test_a_graph_must_be_recorded_first():
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        sv.cuda.CUDAGraph().replay()


def test_moving_between_cpu_and_emulator():
    x = sv.arange(24.0).reshape(2, 3, 2, 2).requires_grad_()
    there = x.to("emulator")
    assert there.device == sv.device("emulator:0") and "device='emulator:0'" in repr(there) and there.data_ptr() != x.data_ptr()
    (there * there).sum().cpu().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == (2 * x.detach()).tolist()
    with pytest.raises(RuntimeError, match="emulator:0 and cpu"):
        there + x
    with pytest.raises(TypeError, match=r"emulator:0.*cpu\(\)"):
        there.detach().numpy()
    last = x.detach().contiguous(memory_format=sv.channels_last)
    assert last.to("emulator").is_contiguous(memory_format=sv.channels_last)
    assert x.to("cpu") is x and x.pin_memory() is x and there.to("emulator", non_blocking=True) is there
    assert (there.get_device(), x.get_device()) == (0, -1)


@pytest.mark.parametrize("make", [
    lambda d: sv.tensor([1.0, 2.0], device=d), lambda d: sv.as_tensor([1.0], device=d), lambda d: sv.Tensor(2, 3, device=d),
    lambda d: sv.zeros(2, device=d),
    lambda d: sv.ones(2, device=d), lambda d: sv.empty(2, device=d), lambda d: sv.full((2,), 3, device=d), lambda d: sv.arange(3, device=d),
    lambda d: sv.linspace(0, 1, 3, device=d), lambda d: sv.eye(2, device=d), lambda d: sv.rand(2, device=d), lambda d: sv.randn(2, device=d),
    lambda d: sv.randint(0, 5, (3,), device=d), lambda d: sv.randperm(4, device=d), lambda d: sv.zeros_like(sv.ones(2), device=d),
    lambda d: sv.rand_like(sv.ones(2), device=d), lambda d: sv.ones(2, device=d).new_zeros(3), lambda d: sv.ones(2, device=d).new_tensor([1, 2]),
    lambda d: sv.nn.Linear(2, 3, device=d).weight, lambda d: sv.nn.Conv2d(2, 3, 1, device=d).bias,
    lambda d: sv.nn.BatchNorm2d(3, device=d).running_mean,
])
def test_every_constructor_takes_a_device(make):
    assert make("emulator").device == make(sv.device("emulator")).device == "emulator:0"


def test_a_file_saved_on_a_device_opens_on_a_laptop(tmp_path):
    model = sv.nn.Sequential(sv.nn.Conv2d(2, 3, 3), sv.nn.BatchNorm2d(3)).to("emulator")
    sv.save(model.state_dict(), tmp_path / "model.npz")
    assert all(p.device == "emulator:0" for p in model.parameters())  # saving moved nothing
    loaded, there = sv.load(tmp_path / "model.npz"), sv.load(tmp_path / "model.npz", map_location="emulator")
    assert {t.device.type for t in loaded.values()} == {"cpu"} and {t.device.type for t in there.values()} == {"emulator"}
    fresh = sv.nn.Sequential(sv.nn.Conv2d(2, 3, 3), sv.nn.BatchNorm2d(3))
    for state in (loaded, there, model.state_dict()):  # from any device into a model on another
        fresh.load_state_dict(state)
    assert all((a == b.cpu()).all() and a.device == "cpu" for a, b in zip(fresh.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("make", [lambda p: sv.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: sv.optim.Adam(p)], ids=["SGD", "Adam"])
def test_the_optimiser_s_state_goes_to_its_parameters(make):
    weights = sv.nn.Parameter(sv.ones(3)), sv.nn.Parameter(sv.ones(3).to("emulator"))
    optimizers = [make([w]) for w in weights]
    for w, optimizer in zip(weights, optimizers, strict=True):
        (w * w).sum().backward()
        optimizer.step()
    before = weights[1].detach().cpu().tolist()
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    buffers = [v for v in optimizers[1].state[weights[1]].values() if isinstance(v, sv.Tensor) and v.ndim]
    assert buffers and all(b.device == "emulator:0" for b in buffers)
    for optimizer in optimizers:
        optimizer.step()
    assert weights[0].tolist() == weights[1].cpu().tolist() != before


@pytest.mark.gpu
def test_on_a_gpu():
    assert sv.cuda.is_available() and sv.cuda.get_device_name() and sv.cuda.get_device_properties().total_memory > 1 << 30
    sv.cuda.reset_peak_memory_stats()
    before = sv.cuda.memory_allocated()
    x = sv.ones(1 << 20, device="cuda")
    assert sv.cuda.memory_allocated() >= before + x.nbytes
    y = x * 2 + 1
    del y
    assert sv.cuda.max_memory_allocated() >= before + 2 * x.nbytes > sv.cuda.memory_allocated()
    start, end = sv.cuda.Event(enable_timing=True), sv.cuda.Event(enable_timing=True)
    start.record()
    total = (x * 3).sum()
    end.record()
    end.synchronize()
    assert start.elapsed_time(end) > 0 and total.item() == 3 << 20


@pytest.mark.gpu
def test_a_graph_on_a_gpu():
    x = sv.arange(4.0, device="cuda")
    side = sv.cuda.Stream()
    with sv.cuda.stream(side):
        (x * 2 + 1).sum()  # warm
    graph = sv.cuda.CUDAGraph()
    with sv.cuda.graph(graph, stream=side):
        y = (x * 2 + 1).sum()
    x.copy_(sv.full((4,), 5.0))
    graph.replay()
    sv.cuda.synchronize()
    assert y.item() == 44
