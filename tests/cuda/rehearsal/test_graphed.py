"""A step recorded as a CUDA graph: here the recording runs once and replays do nothing, so what is checked is everything around them."""

import threading
import time

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import cuda
from scratchvgg.array import default_generator, get_num_threads, set_num_threads
from scratchvgg.nn import functional as F
from scratchvgg.optim.blocks import BlockRunner
from scratchvgg.train.graphed import WARM_UP, GraphedStep

from .stage import rehearsal


@pytest.fixture
def cupy():
    with rehearsal() as module:
        yield module


def make(device):
    sv.manual_seed(3)
    net = sv.nn.Sequential(sv.nn.Conv2d(3, 4, 3), sv.nn.BatchNorm2d(4), sv.nn.ReLU(), sv.nn.Flatten(), sv.nn.Dropout(0.5), sv.nn.Linear(64, 5))
    net.to(device)
    optimizer = sv.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)

    def work(images, labels):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return net, optimizer, work


def batch(number, device):
    rng = np.random.default_rng(number)
    return sv.tensor(rng.standard_normal((4, 3, 6, 6)).astype(np.float32), device=device), sv.tensor(rng.integers(0, 5, 4), device=device)


def test_what_changes_between_replays_stays_outside(cupy):
    net, optimizer, work = make("cuda")
    step = GraphedStep(work, optimizer)
    sv.manual_seed(0)
    offsets, versions = [], []
    for number in range(WARM_UP + 3):
        optimizer.param_groups[0]["lr"] = 0.1 / (number + 1)
        step(*batch(number, "cuda"))
        offsets.append(default_generator.offset)
        versions.append(next(net.parameters()).version.value)
        assert optimizer.param_groups[0]["lr"] == 0.1 / (number + 1), "numbers again, for the schedule"
    assert step.replays == 3 and optimizer.steps == WARM_UP + 3
    assert len(set(np.diff([0, *offsets]))) == 1 and offsets[0] == 4 * 64, "every step uses so many random words, replayed or not"
    assert len(set(np.diff(versions))) == 1
    backend = net[0].weight.backend
    assert backend.to_numpy(step._rates[0].array) == pytest.approx(0.1 / (WARM_UP + 3))
    assert backend.to_numpy(step._graph._moved)[0] == 2 * 4 * 64, "the third replay is two steps further than the recording"
    assert np.array_equal(backend.to_numpy(step._inputs[0].array), batch(WARM_UP + 2, "cpu")[0].numpy())
    assert len(cupy.cuda.launched) == 3


def test_the_recorded_step_is_the_step(cupy):
    """The recording runs here, on copies of the batch and at rate 0."""
    held = {}
    for device in ("cuda", "cpu"):
        net, optimizer, work = make(device)
        step = GraphedStep(work, optimizer) if device == "cuda" else work
        sv.manual_seed(0)
        for number in range(WARM_UP + 1):
            step(*batch(number, device))
        held[device] = net.cpu().state_dict()
    assert np.allclose(held["cuda"]["1.running_mean"].numpy(), held["cpu"]["1.running_mean"].numpy(), atol=1e-6)


def test_a_layer_that_is_frozen_is_recorded_again(cupy):
    net, optimizer, work = make("cuda")
    step = GraphedStep(work, optimizer)
    for number in range(2 * WARM_UP + 3):
        net[0].bias.requires_grad_(number < WARM_UP + 1)
        step(*batch(number, "cuda"))
    assert step.replays == 1 + 2 and len(cupy.cuda.launched) == 3 and optimizer.steps == 2 * WARM_UP + 3
    assert net[0].bias.grad is None


def test_other_random_numbers_cannot_be_recorded(cupy):
    graph, stream = cuda.CUDAGraph(), cuda.Stream()
    with pytest.raises(RuntimeError, match="would make the same random numbers in every replay"), cuda.graph(graph, stream=stream):
        sv.rand(3, device="cuda")


def test_updates_are_queued_by_the_thread_that_records(cupy):
    """A thread of the pool has another current stream."""
    backend, threads, before = sv.zeros(1, device="cuda").backend, set(), get_num_threads()
    runner = BlockRunner()
    for _ in range(8):
        runner.add(backend, lambda scratch, a: (time.sleep(0.01), threads.add(threading.get_ident())), (backend.zeros((3,), "float32"),))
    set_num_threads(2)
    try:
        runner.run()
    finally:
        set_num_threads(before)
    assert threads == {threading.get_ident()}


def test_arrays_cannot_be_sent_while_recording(cupy):
    with pytest.raises(TypeError, match="H2D transfers are disallowed"), cuda.graph(cuda.CUDAGraph(), stream=cuda.Stream()):
        sv.tensor([1.0, 2.0], device="cuda")
