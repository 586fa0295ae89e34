"""``CupyBackend`` and ``sv.cuda`` on pretended GPUs: which device, which stream, what is copied, what is counted."""

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg.array import Device, available_devices, get_backend
from scratchvgg.cuda import memory

from .arrays import DeviceArray, no_waits, state
from .stage import rehearsal


@pytest.fixture
def cupy():
    with rehearsal(2) as module:
        yield module


def test_it_is_there(cupy):
    assert sv.cuda.is_available() and sv.cuda.device_count() == 2 and "cuda" in available_devices()
    assert sv.cuda.get_device_name() == "A pretended GPU" and sv.cuda.get_device_capability(1) == (9, 0)
    assert sv.cuda.get_device_properties("cuda:1").multi_processor_count == 132 and sv.cuda.mem_get_info()[1] == 80 << 30
    with pytest.raises(RuntimeError, match="2 GPUs, cuda:0 to cuda:1"):
        sv.zeros(1, device="cuda:2")


def test_to_and_from(cupy):
    x = sv.arange(24.0).reshape(2, 3, 2, 2).contiguous(memory_format=sv.channels_last).requires_grad_()
    y = x.to("cuda", sv.float64, non_blocking=True)
    assert y.device == "cuda:0" and y.is_cuda and y.dtype is sv.float64 and isinstance(y.array, DeviceArray) and y.get_device() == 0
    assert y.is_contiguous(memory_format=sv.channels_last) and y.cpu().is_contiguous(memory_format=sv.channels_last)  # memory order travels
    (y.cuda(1) * 2).sum().cpu().backward()
    assert x.grad.device == "cpu" and x.grad.dtype is sv.float32 and (x.grad == 2).all() and state.device == 0
    assert "device='cuda:0'" in repr(y.detach()) and y.cuda() is y and y.data_ptr() == y.array.data.ptr
    with pytest.raises(TypeError, match=r"cuda:0.*cpu\(\)"):
        y.detach().numpy()
    assert np.asarray(y.detach().__cuda_array_interface__["shape"]).tolist() == [2, 3, 2, 2]
    with pytest.raises(RuntimeError, match="requires grad"):
        _ = y.__cuda_array_interface__


def test_new_tensors_stay_where_their_data_are(cupy):
    x = sv.ones(2, device="cuda:1")
    assert sv.tensor(x).device == "cuda:1" and sv.tensor(x).data_ptr() != x.data_ptr() and sv.as_tensor(x) is x
    assert sv.tensor(x, device="cpu").device == sv.tensor([x[0], x[1]]).device == "cpu" and sv.tensor([x[0], 2.0]).tolist() == [1, 2]
    plain = sv.ones(3, device="cuda:0").array
    assert sv.tensor(plain).device == "cuda:0" and sv.as_tensor(plain).data_ptr() == plain.data.ptr


def test_each_gpu_computes_on_its_own_arrays(cupy):
    """Nothing but the tensors says which GPU is meant: every operation must make it the current one."""
    for device in ("cuda:1", "cuda:0"):
        w = sv.nn.Linear(3, 2, device=device)
        optimizer = sv.optim.SGD(w.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            w(sv.ones(4, 3, device=device)).square().sum().backward()
            optimizer.step()
        assert {p.grad.device for p in w.parameters()} == {p.device for p in w.parameters()} == {Device(device)}
        assert {p.array.device.id for p in w.parameters()} == {Device(device).index} and state.device == 0
    with pytest.raises(RuntimeError, match="cuda:1 and cuda:0|cuda:0 and cuda:1"):
        sv.ones(2, device="cuda:0") + sv.ones(2, device="cuda:1")


def test_the_current_device(cupy):
    assert sv.cuda.current_device() == 0
    with sv.cuda.device(1):
        assert sv.cuda.current_device() == 1 and sv.zeros(2, device="cuda").device == "cuda:1" and sv.ones(2).cuda().device == "cuda:1"
    assert sv.cuda.current_device() == state.device == 0
    sv.cuda.set_device("cuda:1")
    assert sv.device("cuda") == "cuda:1" and state.device == 1
    with pytest.raises(RuntimeError, match="'cuda:5'"):
        sv.cuda.set_device(5)


@pytest.mark.parametrize("make", ["zeros", "empty", "ones", "rand", "randn"])
def test_new_arrays_lie_on_their_gpu(cupy, make):
    assert getattr(sv, make)(3, device="cuda:1").array.device.id == 1


def test_launch_refuses_what_cuda_would_misread(cupy):
    backend = get_backend(Device("cuda"))
    out, one = backend.zeros((4,), "float32"), np.uint64(1)
    for bad, message in (
        ((np.zeros(4, np.float32), one, one, one, np.int64(4)), "argument 0 is an array on the host"),
        ((get_backend(Device("cuda:1")).zeros((4,), "float32"), one, one, one, np.int64(4)), "argument 0 is an array of cuda:1"),
        ((out, one, one, one, 4), r"argument 4 is int 4; np.int32"),
        ((out, one, one, np.zeros(1, np.int64), np.int64(4)), "argument 3 is an array on the host"),
    ):
        with pytest.raises(TypeError, match=f"philox_uniform_f32: {message}"):
            backend.launch("philox_uniform_f32", (1,), (32,), bad)
    with pytest.raises(KeyError, match="nothing_f32"):
        backend.launch("nothing_f32", (1,), (1,), ())


def test_workspace_belongs_to_a_stream(cupy):
    backend = get_backend(Device("cuda"))
    a = backend.workspace("tag", (4, 2), "float32")
    assert a.shape == (4, 2) and backend.workspace("tag", (4, 2), "float32") is a
    assert backend.workspace("tag", (2,), "float64").data.ptr == a.data.ptr  # smaller: the same memory
    with sv.cuda.stream(sv.cuda.Stream()):
        assert backend.workspace("tag", (4, 2), "float32").data.ptr != a.data.ptr
    assert get_backend(Device("cuda:1")).workspace("tag", (4, 2), "float32").device.id == 1
    assert backend.workspace("tag", (100,), "float32").size == 100


def test_the_peak_is_exact(cupy):
    """Against a plain count at every allocation."""
    sv.zeros(1, device="cuda")
    allocate, pool, rng, live, peak = cupy.cuda.allocator, cupy.cuda.pool, np.random.default_rng(0), [], 0
    assert allocate is memory.allocator()
    for step in range(2000):
        if live and rng.random() < 0.5:
            pool.free(live.pop(rng.integers(len(live))))
        else:
            live.append(allocate(int(rng.integers(1, 5000))))
            peak = max(peak, pool.used_bytes())
        if step == 1000:
            sv.cuda.reset_peak_memory_stats()
            peak = pool.used_bytes()
        assert sv.cuda.max_memory_allocated() == peak and sv.cuda.memory_allocated() == pool.used_bytes() == sum(m.size for m in live)
    assert sv.cuda.max_memory_allocated("cuda:1") == 0 and sv.cuda.memory_reserved() >= peak
    sv.cuda.empty_cache()
    assert sv.cuda.memory_reserved() == sv.cuda.memory_allocated()


def test_events(cupy):
    start, end, plain = sv.cuda.Event(enable_timing=True), sv.cuda.Event(enable_timing=True), sv.cuda.Event()
    for a, b, what in (
        (plain, end, "start event was made without"), (start, plain, "end event was made without"), (start, end, "end event was never recorded"),
    ):
        with pytest.raises(ValueError, match=what):
            a.elapsed_time(b)
        start.record()
    plain.record()
    end.record()
    assert start.elapsed_time(end) > 0 and end.query()
    end.synchronize()
    side = sv.cuda.Stream()
    side.wait_stream(sv.cuda.current_stream())
    with sv.cuda.stream(side) as inside:
        assert inside is side == sv.cuda.current_stream() != sv.cuda.default_stream()
    with sv.cuda.stream(None):
        assert sv.cuda.current_stream() == sv.cuda.default_stream() and side.query()


def test_a_graph_keeps_its_memory_apart(cupy):
    backend, graph = get_backend(Device("cuda")), sv.cuda.CUDAGraph()
    side = sv.cuda.Stream()
    with side:
        before = backend.workspace("tag", (4,), "float32")
    with sv.cuda.graph(graph, stream=side):
        assert cupy.cuda.allocator == graph.pool().malloc and backend.workspace("tag", (4,), "float32").data.ptr != before.data.ptr
        with pytest.raises(TypeError, match="while a graph is recorded"):
            sv.ones(2, device="cuda").sum().item()
    assert cupy.cuda.allocator is memory.allocator() and sv.cuda.current_stream() == sv.cuda.default_stream()
    with side:
        assert backend.workspace("tag", (4,), "float32") is before
    graph.replay()
    assert len(cupy.cuda.launched) == 1
    with pytest.raises(RuntimeError, match="already recorded"), sv.cuda.graph(graph):
        pass
    with pytest.raises(RuntimeError, match="default stream"):
        sv.cuda.CUDAGraph().capture_begin()
    graph.reset()
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        graph.replay()


def test_random_numbers_are_the_cpu_s_and_made_there(cupy):
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for draw in (
            lambda d, dtype=dtype: sv.rand(5, 7, dtype=dtype, device=d), lambda d, dtype=dtype: sv.zeros(5, 7, dtype=dtype, device=d).uniform_(-2, 3),
            lambda d, dtype=dtype: sv.nn.functional.dropout(sv.ones(5, 7, dtype=dtype, device=d), 0.3),
            lambda d, dtype=dtype: sv.zeros(5, 7, dtype=dtype, device=d).bernoulli_(0.3), lambda d: sv.randint(-5, 9, (40,), device=d),
        ):
            sv.manual_seed(11)
            expected, after = draw("cpu"), sv.rand(1)
            sv.manual_seed(11)
            with no_waits():
                copied = cupy.copied_in
                got = draw("cuda")
                assert cupy.copied_in == copied
            assert (got.cpu() == expected).all() and got.dtype is expected.dtype and (sv.rand(1) == after).all()


def test_a_file_saved_there_opens_without_a_gpu(cupy, tmp_path):
    sv.save({"w": sv.arange(3.0, device="cuda")}, tmp_path / "w.npz")
    assert sv.load(tmp_path / "w.npz")["w"].device == "cpu" and sv.load(tmp_path / "w.npz", map_location="cuda:1")["w"].device == "cuda:1"
