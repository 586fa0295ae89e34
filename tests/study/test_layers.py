"""The layer table: the paper's nets against published numbers, any net against counting by hand, times without asserting any."""

import csv
import io
import json
import types

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.nn.fusion import fusion
from scratchvgg.study import layers, peaks, rebatch, timings, visits
from scratchvgg.study.peaks import Peaks
from scratchvgg.study.shown import plain
from scratchvgg.study.summary import overview
from scratchvgg.study.trace import trace

TRUTH = {"vgg11": (7_609_090_048, 150, 342), "vgg13": (11_308_466_176, 156, 348),
         "vgg16": (15_470_264_320, 212, 404), "vgg19": (19_632_062_464, 268, 460)}  # at 224×224: MACs, field of pool5, field of fc6


@pytest.mark.parametrize("name", TRUTH)
def test_the_papers_nets(name):
    table = overview(lambda: sv.models.get_model(name), (1, 3, 224, 224))
    result, (macs, pool5, fc6) = table.to_dict(), TRUTH[name]
    rows = {row["name"]: row for row in result["layers"]}
    assert result["totals"]["macs"] == macs == sum(row["macs"] for row in result["layers"])
    last = [row for row in result["layers"] if row["type"] == "MaxPool2d"][-1]
    assert (last["receptive_field"], last["effective_stride"], last["output_shape"]) == (pool5, 32, [1, 512, 7, 7])
    assert rows["avgpool"]["receptive_field"] == pool5 and rows["classifier.0"]["receptive_field"] == fc6
    assert rows["features.1"]["kept_bytes"] == 64 * 224 * 224 * 4 and rows["features.0"]["kept_bytes"] == 0, "the image is there anyway"
    assert {"name", "type", "output_shape", "parameters", "macs", "bias_adds", "kept_bytes", "workspace_bytes", "receptive_field",
            "effective_stride"} <= set(result["layers"][0])
    assert result["totals"]["kept_bytes"] == sum(row["kept_bytes"] for row in result["layers"])


@pytest.fixture
def net():
    sv.manual_seed(0)
    return sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3).train()


def test_kept_bytes_are_the_tapes(net):
    """By another way: walk the tape of an unfused run and add up the distinct memory that its nodes hold."""
    x = sv.randn(2, 3, 8, 8)
    table = layers.table(net, x)
    with fusion(False):
        out = net(x)
    known = [p.array for p in net.parameters()] + [b.array for b in net.buffers()] + [x.array]
    total, nodes, seen = 0, [out.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen or not hasattr(node, "ctx"):
            continue
        seen.add(node)
        nodes += [edge[0] for edge in node.edges if edge]
        for value in [*node.ctx.kept.values(), *vars(node.ctx).values()]:
            if isinstance(value, np.ndarray) and value.ndim and not any(np.may_share_memory(value, other) for other in known):
                known.append(value)
                total += value.nbytes
    assert table.totals["kept_bytes"] == total > 0


def test_larger_batches_are_scaled_exactly(net):
    one, two, five = (trace(net, sv.zeros(n, 3, 8, 8), record=True) for n in (1, 2, 5))
    scaled = rebatch.at_batch(one.calls, two.calls, 5)
    for a, b in zip(scaled, five.calls, strict=True):
        assert (a.outputs, [(k.shape, k.bytes, k.counted) for k in a.kept]) == (b.outputs, [(k.shape, k.bytes, k.counted) for k in b.kept])
        assert (layers.macs(a), layers.bias_adds(a)) == (layers.macs(b), layers.bias_adds(b)) and a.workspace_bytes is None
    assert rebatch.at_batch(one.calls, one.calls[:-1], 5) is None
    assert rebatch.extents((1, 3), (3, 3), 5) is None and rebatch.extents((4, 1), (8, 1), 5) == (20, 1)


def test_a_batch_that_would_take_long_is_not_run(monkeypatch):
    def build():
        return sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3)

    run = overview(build, (6, 3, 16, 16))
    monkeypatch.setattr("scratchvgg.study.summary.MACS", 0)
    scaled = overview(build, (6, 3, 16, 16))
    assert run.totals["workspace_bytes"] > 0 and scaled.totals["workspace_bytes"] is None
    for a, b in zip(run.rows, scaled.rows, strict=True):
        assert plain(a.to_dict() | {"workspace_bytes": 0}) == plain(b.to_dict() | {"workspace_bytes": 0})
    assert "scaled from runs" in str(scaled) and "scaled" not in str(run)


def test_one_image_on_a_one_by_one_map_is_shown_in_evaluation():
    table = overview(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (1, 3, 3, 3))
    assert table.mode == "evaluation" and overview(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (2, 3, 3, 3)).mode == "training"


class Own(nn.Module):
    """A net with operations outside of its layers, a layer used twice in a row, and one that does nothing."""

    def __init__(self):
        super().__init__()
        self.conv, self.same, self.idle, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Dropout(0.0), nn.Linear(4 * 36, 5)

    def forward(self, x):
        x = sv.nn.functional.relu(self.conv(x))
        return self.fc(self.idle(self.same(self.same(x))).flatten(1)).log_softmax(1)


def test_a_net_of_ones_own():
    net, x = Own(), sv.randn(2, 3, 8, 8)
    table = layers.table(net, x)
    assert [(r.name, r.type) for r in table.rows] == [
        ("conv", "Conv2d"), ("relu", "relu"), ("same", "Conv2d"), ("same", "Conv2d"), ("idle", "Dropout"), ("fc", "Linear"),
        ("log_softmax", "log_softmax")]
    assert [r.parameters for r in table.rows] == [112, 0, 20, 0, 0, 725, 0]
    assert [r.output_shape for r in table.rows[3:6]] == [(2, 4, 6, 6), (2, 4, 6, 6), (2, 5)]
    assert [r.receptive_field for r in table.rows] == [(3, 3)] * 5 + [(8, 8)] * 2
    assert table.rows[2].macs == 2 * 4 * 36 * 4 and table.rows[2].bias_adds == 2 * 4 * 36
    assert table.rows[1].intensity is None and table.rows[2].intensity == 2 * 2 * 4 * 36 * 4 / (4 * (2 * 2 * 4 * 36 + 20))
    guessed = layers.of_trace(trace(net, x, record=True))
    assert [(r.name, r.parameters, r.macs, r.kept_bytes) for r in guessed.rows] == [(r.name, r.parameters, r.macs, r.kept_bytes) for r in table.rows]
    assert [r.output_shape for r in guessed.rows if r.name != "idle"] == [r.output_shape for r in table.rows if r.name != "idle"]


def test_a_loss_is_a_row_and_the_followed_logit_is_not(net):
    x = sv.randn(2, 3, 8, 8)
    with_loss = layers.of_trace(trace(net, x, sv.tensor([0, 2]), backward=True))
    assert (with_loss.rows[-1].name, with_loss.rows[-1].output_shape) == ("cross_entropy", ())
    assert layers.of_trace(trace(net, x, backward=True)).rows[-1].name == "classifier.1"


def test_measured(net, monkeypatch):
    monkeypatch.setattr(layers, "device_peaks", lambda backend, dtype: Peaks(100.0, 10.0, dtype, 2))
    x, before = sv.randn(2, 3, 8, 8), {k: v.numpy().copy() for k, v in net.state_dict().items()}
    table = layers.table(net, x, measure=True, backward=True, repeats=3)
    assert all(np.array_equal(v.numpy(), before[k]) for k, v in net.state_dict().items()) and all(p.grad is None for p in net.parameters())
    row = table.rows[4]
    assert row.type == "Conv2d" and row.forward.runs == row.backward.runs == 3 and row.forward.low <= row.forward.median <= row.forward.high
    values = row.to_dict(table.peaks)
    assert values["gflops"] == pytest.approx(2e-9 * row.macs / row.forward.median) and values["gemm_share"] == pytest.approx(values["gflops"] / 100)
    assert values["copy_share"] == pytest.approx(row.moved_bytes / row.forward.median / 1e10)
    assert values["bound"] == ("compute" if row.intensity > 10 else "memory") and row.backward_flops == 4 * row.macs
    assert table.rows[0].backward_flops == 2 * table.rows[0].macs, "the image wants no gradient"
    assert table.rows[1].to_dict(table.peaks)["bound"] == "memory" and table.rows[1].to_dict(table.peaks)["gflops"] is None
    assert table.times.whole_step.median > 0 and "the whole net, layers fused: forward without recording" in str(table)
    assert json.loads(json.dumps(plain(table.to_dict())))["whole"]["step"]["runs"] == 3
    with pytest.raises(ValueError, match="repeats: expected 1 or more, got 0"):
        timings.measure(net, x, repeats=0)


def test_the_peaks_are_those_of_the_device(net, monkeypatch):
    """The emulator has none, and its times are shown without; a GPU's are measured with its own library, in its own place."""
    emulated = layers.table(net.to("emulator"), sv.randn(1, 3, 4, 4).to("emulator"), measure=True, repeats=1)
    net.to("cpu")
    row = emulated.rows[0].to_dict(emulated.peaks)
    assert emulated.peaks is None and row["forward_seconds"] > 0 and row["gflops"] > 0
    assert row["gemm_share"] is row["copy_share"] is row["bound"] is None
    assert "forward ms" in str(emulated) and "large matrix product" not in str(emulated)
    gpu, calls = types.SimpleNamespace(device=sv.device("cuda"), xp=np, synchronize=lambda: calls.append(1)), []
    found = peaks._of_gpu.__wrapped__(gpu, "float32", side=64, block=1 << 12, repeats=2)
    assert found.gemm > 0 and found.copy > 0 and found.threads == 0 and len(calls) == 12
    monkeypatch.setattr(peaks, "_of_gpu", lambda backend, dtype: (backend, dtype))
    assert peaks.device_peaks(gpu, "float64") == (gpu, "float64")


def test_faces(net, tmp_path):
    table = layers.table(net, sv.randn(2, 3, 8, 8))
    assert max(map(len, str(table).splitlines())) <= 150
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert lines[0]["output_shape"] == "2x4x8x8" and [int(line["kept_bytes"]) for line in lines] == [r.kept_bytes for r in table.rows]
    table.save_csv(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == table.to_csv()
    pytest.importorskip("jinja2")
    html = str(table.to_html())
    assert html.count("<tr>") == len(table.rows) + 2 and "style=" not in html and "features.4" in html


def test_a_failing_run_leaves_no_hooks(net):
    with pytest.raises(RuntimeError):
        layers.table(net, sv.randn(2, 5, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with visits.watch(net) as watched:
        net(sv.randn(2, 3, 8, 8))
    assert [entry[0] for entry in watched] == [name for name, module in net.named_modules() if not list(module.children())]
