"""Predicted memory against what really lives, at a batch that was not looked at."""

import json
import threading
import tracemalloc

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.models.recomputing import recompute_stages
from scratchvgg.study import peak_memory
from scratchvgg.study.allocations import kept_bytes, of_step
from scratchvgg.study.errors import StudyError
from scratchvgg.study.ledger import APART, predict, profile
from scratchvgg.study.planner import parse_bytes, plan
from scratchvgg.study.shown import plain


def build(**options):
    return sv.models.small_vgg(widths=(16, 16, "M", 32, 32, "M", 32, "M"), num_classes=5, dropout=0.5, **options)


SIZE = 48


@pytest.fixture(scope="module")
def profiles():
    return {recompute: profile(build, SIZE, recompute=recompute, at=12) for recompute in (False, True)}


def real_peak(monkeypatch, batch, recompute, optimizer):
    """What two whole steps allocate at most, as tracemalloc sees it, everything included."""
    net = build().train()
    if recompute:
        recompute_stages(net)
    standing = sum(t.nbytes for t in (*net.parameters(), *net.buffers()))
    x, target = sv.randn(batch, 3, SIZE, SIZE), sv.zeros(batch, dtype=sv.int64)
    monkeypatch.setattr(x.backend, "_scratch", threading.local())  # scratch memory of this run only
    monkeypatch.setattr(x.backend, "_views", threading.local())
    tracemalloc.start()
    try:
        stepper = peak_memory.optimizer_of(optimizer, net.parameters())
        for _ in range(2):
            stepper.zero_grad()
            nn.functional.cross_entropy(net(x), target).backward()
            stepper.step()
        return tracemalloc.get_traced_memory()[1] + standing + x.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_peak_of_another_batch(profiles, recompute, optimizer, monkeypatch):
    predicted = profiles[recompute].ledger(30, optimizer)
    assert profiles[recompute].batches == (1, 12)
    assert predicted.peak == pytest.approx(real_peak(monkeypatch, 30, recompute, optimizer), rel=0.12)
    assert sum(predicted.parts.values()) == predicted.peak == max(predicted.curve) + predicted.parts["gaps"]


def test_parts(profiles):
    ledger, net = profiles[False].ledger(6, "adam"), build()
    size = sum(p.nbytes for p in net.parameters())
    assert (ledger.parts["parameters"], ledger.parts["gradients"], ledger.parts["optimizer"]) == (size, size, 2 * size)
    assert ledger.parts["input"] == 6 * 3 * SIZE * SIZE * 4 and ledger.parts["buffers"] == sum(b.nbytes for b in net.buffers())
    x = sv.randn(6, 3, SIZE, SIZE)
    loss = nn.functional.cross_entropy(net.train()(x), sv.zeros(6, dtype=sv.int64))
    known = [t.array for t in (x, *net.parameters(), *net.buffers())]
    assert ledger.parts["kept"] == pytest.approx(kept_bytes(loss, known), abs=200), "what the fused tape holds; the labels are small"
    assert profiles[False].ledger(6, "plain-sgd").parts["optimizer"] == 0


def test_recomputation_keeps_less(profiles):
    plain_ledger, again = (profiles[recompute].ledger(32) for recompute in (False, True))
    assert again.parts["kept"] < plain_ledger.parts["kept"] / 2 and again.peak < plain_ledger.peak
    assert any(label.startswith("recompute") for label in profiles[True].steps[0].labels)


def test_a_net_is_left_as_it_was():
    net = build().eval()
    net.features[0].weight.grad = before = sv.ones(16, 3, 3, 3)
    state = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    for recompute in (False, True):
        ledger = predict(net, 3, SIZE, recompute=recompute)
        assert ledger.profile.name == "SmallVGG"
    assert not net.training and net.features[0].weight.grad is before and net.features[3].weight.grad is None
    assert all(np.array_equal(v.numpy(), state[k]) for k, v in net.state_dict().items()) and "forward" not in vars(net.features)
    assert not tracemalloc.is_tracing() and "workspace" not in vars(before.backend)
    with pytest.raises(RuntimeError):
        of_step(net, sv.zeros(2, 4, SIZE, SIZE), sv.zeros(2, dtype=sv.int64))
    assert not tracemalloc.is_tracing() and "workspace" not in vars(before.backend)


def test_refusals():
    wrong = (({"batch": 0}, "batch of 1 or more"), ({"optimizer": "adagrad"}, "adagrad"), ({"dtype": "int8"}, "expected one of float32"))
    for arguments, words in wrong:
        with pytest.raises(StudyError, match=words):
            predict(build, **({"batch": 1, "size": SIZE} | arguments))
    with pytest.raises(StudyError, match="expected a net with `features`"):
        predict(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 2)), 1, 4, recompute=True)

    class Moody(nn.Linear):
        def forward(self, x):
            x = super().forward(x.flatten(1))
            return x if len(x) == 1 else x * 2

    with pytest.raises(StudyError, match="other operations for one image"):
        predict(Moody(48, 2), 8, 4)


def test_plan(profiles):
    budget = -(-profiles[False].ledger(20).most * 11 // 10) + APART
    result = plan(build, SIZE, budget=budget, plain=profiles[False], batches=(1, 20))
    again = result.recomputed.ledger
    assert result.largest[0] == 20 and again(result.largest[1]).most * 1.1 <= budget - APART < again(result.largest[1] + 1).most * 1.1
    assert result.largest[1] > 20 and f"at batch 20, or with recomputation at {result.largest[1]}" in result.verdict
    assert result.to_dict()["peaks"] == [profiles[False].ledger(n).peak for n in (1, 20)]
    small = plan(build, SIZE, budget="1KiB", plain=profiles[False])
    assert small.largest == (0, 0) and "does not fit in" in small.verdict
    alone = plan(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), 4, budget="1GiB", batches=(1,))
    assert alone.recomputed is None and alone.verdict.endswith(f"at batch {alone.largest[0]}") and "–" in str(alone)


@pytest.mark.parametrize("text, size", [("8GiB", 8 << 30), ("8 G", 8 << 30), ("1.5MB", 1_500_000), ("512mib", 512 << 20)])
def test_sizes(text, size):
    assert parse_bytes(text) == size
    for wrong in ("8", "GiB", "-1GiB", "0GiB", "8 apples"):
        with pytest.raises(StudyError, match="such as 8GiB"):
            parse_bytes(wrong)


def test_faces(profiles):
    ledger = profiles[True].ledger(8)
    assert "stages computed again" in str(ledger) and max(map(len, str(ledger).splitlines())) <= 150
    values = json.loads(json.dumps(plain(ledger.to_dict())))
    assert values["predicted_peak"] == ledger.peak == max(m["bytes"] for m in values["moments"]) + ledger.parts["gaps"]
    assert values["error"] is None and values["at_most"] == ledger.peak + ledger.parts["gaps"]
    pytest.importorskip("jinja2")
    html = str(ledger.to_html())
    assert "<svg" in html and "predicted peak" in html and "style=" not in html
    assert "batch" in str(plan(build, SIZE, budget="1GiB", plain=profiles[False], batches=(1, 2)).to_html())


def test_the_emulator():
    ledger = predict(lambda: sv.models.small_vgg(widths=(4, "M"), num_classes=3), 2, 8, device="emulator")
    assert ledger.profile.device.startswith("emulator") and ledger.parts["gradients"] == 2 * ledger.profile.trainable_bytes


def test_measured_in_a_process_of_its_own():
    options = {"widths": [16, "M", 32, "M"], "num_classes": 5}
    found = peak_memory.measure("small_vgg", 16, 64, options=options)
    predicted = predict(lambda: sv.models.small_vgg(**options), 16, 64)
    assert found["process"] > 1 << 20 and found["peak"] > predicted.parts["kept"]
    with pytest.raises(RuntimeError, match="measuring the memory of small_vgg failed: .*leaves no room"):
        peak_memory.measure("small_vgg", 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name, batch, size", [("vgg11", 4, 224), ("cifar_vgg", 128, 32), ("vgg16_bn", 4, 160)])
def test_predicted_against_measured(name, batch, size, recompute):
    predicted, found = predict(name, batch, size, recompute=recompute), peak_memory.measure(name, batch, size, recompute=recompute)
    assert predicted.peak == pytest.approx(found["peak"], rel=0.12) and found["peak"] < 1.1 * predicted.most


@pytest.mark.slow
@pytest.mark.parametrize("batch", [8, 64, 256])
def test_what_fits_is_true_of_small_nets(batch):
    """Their gaps are those of activations: what a budget must leave for them was more than a tenth."""
    assert peak_memory.measure("small_vgg", batch, 32)["peak"] < 1.1 * predict("small_vgg", batch, 32).most + APART
