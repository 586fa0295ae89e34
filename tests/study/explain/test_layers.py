"""Pooling, batch normalisation, ReLU, dropout, linear layers and the loss by the numbers, against torch and against the engine's own arrays."""

import importlib
import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import nn
from scratchvgg.study import explain
from scratchvgg.study.errors import StudyError
from scratchvgg.study.shown import plain
from scratchvgg.study.trace import trace


def traced(net, *shape, classes=(0, 2), dtype=None, device="cpu", **options):
    x = sv.randn(*shape).to(dtype or sv.float32).to(device)
    return trace(net.to(dtype or sv.float32).to(device), x, sv.tensor(list(classes[: shape[0]])).to(device), backward=True, arrays=True, **options)


def checked(it):
    """Everything that is shown keeps to its bound; text, page and JSON can be made."""
    assert all(d.within is not False for d in it.deviations), str(it)
    text = str(it)
    assert max(map(len, text.splitlines())) <= 150 and "max |shown − engine|" in text and it.title in text
    json.dumps(plain(it.to_dict()), allow_nan=False)
    return it


# ---- max-pooling -----------------------------------------------------------------------------------------------------

POOLS = {"plain": (2,), "overlapping": (3, 2), "padded": (3, 2, 1), "dilated": (2, 1, 0, 2), "uneven": ((3, 2), (1, 2)), "ceil": (3, 2, 0, 1)}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("dtype", [sv.float32, sv.float64], ids=["float32", "float64"])
def test_max_pool_against_torch(name, dtype, torch):
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(*POOLS[name], ceil_mode=name == "ceil"), nn.AdaptiveAvgPool2d(1),
                        nn.Flatten())
    run = traced(net, 2, 2, 8, 7, dtype=dtype)
    call = run.of_layer("2")[0]
    x = torch.from_numpy(np.ascontiguousarray(call.sources[0].array)).requires_grad_()
    y, index = torch.nn.functional.max_pool2d(x, *POOLS[name], ceil_mode=name == "ceil", return_indices=True)
    y.backward(torch.from_numpy(np.ascontiguousarray(call.gradients[0])))
    for n, c, p, q in [(0, 0, 0, 0), (1, 2, y.shape[2] - 1, y.shape[3] - 1), (0, 1, 1, 2)]:
        it = checked(explain.max_pool(run, "2", c, p, q, n))
        r, s = divmod(it.winner, it.windows.kernel[1])
        assert it.rows[r] * 7 + it.columns[s] == int(index[n, c, p, q]) and it.engine_winner == it.winner
        assert it.stored == y[n, c, p, q].item() == float(it.window.max()) and it.deviation.largest == 0
        assert it.gradient == float(call.gradients[0][n, c, p, q])
        engine = run.calls[1].gradients[0]
        for i, h in enumerate(it.rows):
            for j, v in enumerate(it.columns):
                if it.inside[i, j]:
                    assert it.window[i, j] == call.sources[0].array[n, c, h, v] and it.input_engine[i, j] == engine[n, c, h, v]
                    assert it.routed[i, j] == pytest.approx(float(x.grad[n, c, h, v]), rel=1e-6, abs=1e-12)
                else:
                    assert it.window[i, j] == -np.inf and it.overlap[i, j] == 0
    overlapping = name not in ("plain",)
    assert (explain.max_pool(run, "2").overlap.max() > 1) == overlapping


def test_ties_and_nan(torch):
    net = nn.Sequential(nn.MaxPool2d(2))
    x = sv.tensor([[[[0.0, 0, 5, 5], [0, 0, 1, 5], [1, float("nan"), -1, -2], [float("nan"), 3, -3, -1]]]])
    run = trace(net, x.requires_grad_(), backward=True, arrays=True)
    _, index = torch.nn.functional.max_pool2d(torch.from_numpy(x.detach().numpy()), 2, return_indices=True)
    for p in range(2):
        for q in range(2):
            it = explain.max_pool(run, "0", 0, p, q)
            r, s = divmod(it.winner, 2)
            assert it.rows[r] * 4 + it.columns[s] == int(index[0, 0, p, q]) and it.engine_winner == it.winner
            assert it.deviation.largest == 0
    assert explain.max_pool(run, "0", 0, 0, 0).ties == 4 and "after a ReLU" in str(explain.max_pool(run, "0", 0, 0, 0))
    assert explain.max_pool(run, "0", 0, 0, 1).ties == 3


# ---- batch normalisation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [sv.float32, sv.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_against_torch(dtype, training, momentum, torch):
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3, momentum=momentum), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1),
                        nn.Flatten()).to(dtype)
    nn.init.uniform_(net[1].weight, 0.5, 2)
    nn.init.uniform_(net[1].bias, -1, 1)
    net(3 + sv.randn(4, 2, 5, 5).to(dtype))  # running estimates that are not 0 and 1
    net.train(training)
    run = traced(net, 2, 2, 6, 5, dtype=dtype)
    call = run.of_layer("1")[0]
    theirs = torch.nn.BatchNorm2d(3, momentum=momentum, dtype=getattr(torch, str(dtype).rpartition(".")[2])).train(training)
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            tensor.copy_(torch.from_numpy(np.array(net[1].state_dict()[name].detach().numpy())))
    x = torch.from_numpy(np.ascontiguousarray(call.sources[0].array)).requires_grad_()
    y = theirs(x)
    y.backward(torch.from_numpy(np.ascontiguousarray(call.gradients[0])))
    close = {"rel": 1e-5, "abs": 1e-6} if dtype is sv.float32 else {"rel": 1e-10, "abs": 1e-12}
    for c in range(3):
        it = checked(explain.batch_norm(run, "1", c, 2, 2, 1))
        piece = (1, c, slice(it.rows[0], it.rows[-1] + 1), slice(it.columns[0], it.columns[-1] + 1))
        assert it.training is training and it.same
        assert np.array_equal(it.x, call.sources[0].array[piece]) and np.array_equal(it.y, call.results[0][piece])
        assert np.array_equal(it.arrived, call.gradients[0][piece]) and np.array_equal(it.sent, run.calls[0].gradients[0][piece])
        assert it.gamma * it.x_hat + it.beta == pytest.approx(y.detach().numpy()[piece], **close)
        assert it.dx == pytest.approx(x.grad.numpy()[piece], **close)
        assert it.dgamma == pytest.approx(float(theirs.weight.grad[c]), **close) and it.dbeta == pytest.approx(float(theirs.bias.grad[c]), **close)
        assert it.dgamma_engine == pytest.approx(it.dgamma, **close)
        if training:
            assert it.after == pytest.approx((float(theirs.running_mean[c]), float(theirs.running_var[c])), **close)
            assert it.after_engine == pytest.approx(it.after, **close)
            assert it.dx == pytest.approx(it.gamma / (it.var + it.eps) ** 0.5 * (it.terms[0] - it.terms[1] - it.terms[2]))
            assert it.before == (float(net[1].running_mean.array[c]), float(net[1].running_var.array[c])), "the trace changed nothing"
        else:
            assert it.after is None and "two means are missing" in str(it)


def test_batch_norm_of_rows_and_without_estimates():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.ReLU(), nn.Linear(3, 3)).eval()
    it = checked(explain.layer(traced(net, 2, 4), "1", channel=2))
    assert it.training and it.before is None and it.count == 2
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 3)).train()
    it = checked(explain.layer(traced(net, 2, 4), "1"))
    assert (it.gamma, it.beta, it.dgamma_engine) == (1.0, 0.0, None) and it.after is not None


def test_the_gradients_of_gamma_are_those_of_the_run():
    net = sv.models.small_vgg(widths=(4, "M"), num_classes=3).train()
    x, target = sv.randn(2, 3, 8, 8), sv.tensor([0, 2])
    run = trace(net, x, target, backward=True, arrays=True)
    state = {name: value.array.copy() for name, value in net.state_dict().items()}
    nn.functional.cross_entropy(_unfused(net, x), target).backward()
    moved = {name: value.array.copy() for name, value in net.state_dict().items()}
    net.load_state_dict({name: sv.from_numpy(value) for name, value in state.items()})
    for c in range(4):
        it = explain.batch_norm(run, "features.1", c)
        assert it.dgamma_engine == float(net.features[1].weight.grad.array[c]) and it.dbeta_engine == float(net.features[1].bias.grad.array[c])
        assert it.before == (float(state["features.1.running_mean"][c]), float(state["features.1.running_var"][c])) == (0.0, 1.0)
        assert it.after_engine == (float(moved["features.1.running_mean"][c]), float(moved["features.1.running_var"][c]))


def _unfused(net, x):
    """The net's output, its layers run one by one, as in a trace."""
    handles = [module.register_forward_hook(lambda m, a, r: None) for module in net.modules()]
    try:
        return net(x)
    finally:
        for handle in handles:
            handle.remove()


# ---- ReLU and dropout ------------------------------------------------------------------------------------------------


def test_relu_shuts_at_zero():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net[0].weight.array[0] = 0  # channel 0 is its bias, which is 0
    net[0].bias.array[0] = 0
    run = traced(net, 2, 1, 12, 12, classes=(0, 1))
    x, y, dy, dx = run.calls[0].results[0], run.calls[1].results[0], run.calls[1].gradients[0], run.calls[0].gradients[0]
    it = checked(explain.relu(run, "1", 0, 4, 4))
    assert it.zero_inputs == (x == 0).sum() >= 200 and not it.mask.any() and not it.sent.any() and it.arrived.any()
    it = checked(explain.relu(run, "1", 1, 5, 6, 1))
    piece = (1, 1, slice(it.rows[0], it.rows[-1] + 1), slice(it.columns[0], it.columns[-1] + 1))
    assert it.x.shape == (6, 6) and 5 in it.rows and 6 in it.columns
    assert all(np.array_equal(a, b[piece]) for a, b in ((it.x, x), (it.y, y), (it.arrived, dy), (it.sent, dx)))
    assert it.open_share == (y > 0).mean() and it.deviation.largest == it.gradient_deviation.largest == 0


@pytest.mark.parametrize("p", [0.0, 0.25, 0.9, 1.0])
def test_dropout(p):
    sv.manual_seed(11)
    net = nn.Sequential(nn.Linear(4, 40), nn.Dropout(0.5), nn.Linear(40, 30), nn.Dropout(p), nn.Linear(30, 3)).train()
    run = traced(net, 2, 4)
    if p == 0:
        with pytest.raises(StudyError, match="did nothing"):
            explain.layer(run, "3")
        return
    it, call = checked(explain.dropout(run, "3", sample=1)), run.of_layer("3")[0]
    kept = next(k.array for k in call.kept if k.name == "mask")
    row = slice(it.columns[0], it.columns[-1] + 1)
    assert np.array_equal(it.mask[0], kept[1, row]) and it.kept == kept.sum() and it.size == 60
    assert np.array_equal(it.x[0], call.sources[0].array[1, row]) and np.array_equal(it.y[0], call.results[0][1, row])
    assert np.array_equal(it.arrived[0], call.gradients[0][1, row]) and np.array_equal(it.sent[0], run.of_layer("2")[0].gradients[0][1, row])
    assert it.deviation.largest == it.gradient_deviation.largest == 0
    words = sv.array.philox.random_words(it.key["seed"], it.key["stream"], it.key["first_word"], 60)
    assert np.array_equal((words >= round(p * 2**32)).reshape(2, 30), kept)
    first = explain.dropout(run, "1")
    assert first.key["first_word"] + 80 == it.key["first_word"]
    if p == 0.25:
        sv.randn(3)
        assert explain.dropout(run, "3").key is None and "moved on" in str(explain.dropout(run, "3"))


def test_dropout_of_channels_in_evaluation_and_unrecorded():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    it = checked(explain.layer(traced(net, 2, 1, 6, 6), "1", channel=2, row=0, column=0))
    assert it.size == 8 and it.mask.min() == it.mask.max()
    with pytest.raises(StudyError, match="did nothing"):
        explain.layer(traced(net.eval(), 2, 1, 6, 6), "1")
    run = trace(net.train(), sv.randn(2, 1, 6, 6), arrays=True)
    it = explain.layer(run, "1")
    assert it.deviation.largest == 0 and it.key is not None and it.arrived is None, "the mask is made again"
    sv.randn(1)
    with pytest.raises(StudyError, match="was not kept"):
        explain.layer(run, "1")
    net[1].inplace = True
    with pytest.raises(StudyError, match="works in place"):
        explain.layer(traced(net, 2, 1, 6, 6), "1")


# ---- linear ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [sv.float32, sv.float64], ids=["float32", "float64"])
def test_linear(dtype):
    net = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3)).to(dtype)
    run = traced(net, 2, 20, dtype=dtype)
    call, before = run.of_layer("2")[0], run.of_layer("1")[0]
    x = call.sources[0].array
    it = checked(explain.linear(run, "2", 1, 1))
    nn.functional.cross_entropy(net(sv.from_numpy(run.calls[0].sources[0].array.copy())), sv.tensor([0, 2])).backward()
    assert np.array_equal(it.x, x[1]) and np.array_equal(it.weight, net[2].weight.array[1]) and it.bias == float(net[2].bias.array[1])
    assert it.stored == float(call.results[0][1, 1]) and it.gradient == float(call.gradients[0][1, 1])
    assert np.array_equal(it.weight_engine, net[2].weight.grad.array[1]) and it.weight_same
    assert np.array_equal(it.input_engine, before.gradients[0][1])
    assert np.allclose(it.weight_shown, call.gradients[0][:, 1] @ x) and np.allclose(it.input_shown, call.gradients[0][1] @ net[2].weight.array)
    assert explain.linear(run, "2").feature == call.results[0][0].argmax()
    assert explain.linear(run, "0").input_engine is None
    with pytest.raises(StudyError, match="channel: expected a number from 0 to 2"):
        explain.linear(run, "2", 3)


def test_a_gradient_that_is_large_is_not_made_again(monkeypatch):
    run = traced(nn.Sequential(nn.Linear(20, 3)), 2, 20)
    monkeypatch.setattr(importlib.import_module("scratchvgg.study.explain.linear"), "MOST", 100)
    assert "not compared" in str(checked(explain.linear(run, "0")))


# ---- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"reduction": "sum"}, {"ignore_index": 2},
                                     {"weight": [0.5, 2.0, 1.0, 1.5], "label_smoothing": 0.2}], ids=str)
@pytest.mark.parametrize("dtype", [sv.float32, sv.float64], ids=["float32", "float64"])
def test_cross_entropy_against_torch(options, dtype, torch):
    weight = options.get("weight")
    told = {name: value for name, value in options.items() if name != "weight"}
    mine = {**told, **({"weight": sv.tensor(weight).to(dtype)} if weight else {})}
    net = nn.Sequential(nn.Linear(5, 4)).to(dtype)
    run = traced(net, 3, 5, classes=(0, 2, 3), dtype=dtype, loss=lambda z, t: nn.functional.cross_entropy(z, t, **mine))
    z = torch.from_numpy(run.calls[0].results[0].copy()).requires_grad_()
    theirs = {**told, **({"weight": torch.tensor(weight, dtype=z.dtype)} if weight else {})}
    loss = torch.nn.functional.cross_entropy(z, torch.tensor([0, 2, 3]), **theirs)
    loss.backward()
    close = {"rel": 1e-5, "abs": 1e-7} if dtype is sv.float32 else {"rel": 1e-12, "abs": 1e-14}
    for n in (0, 2):
        it = checked(explain.cross_entropy(run, sample=n, **told))
        assert np.array_equal(it.logits, run.calls[0].results[0][n]) and it.loss_engine == run.loss.item()
        assert it.loss == pytest.approx(loss.item(), **close)
        assert it.log_softmax == pytest.approx(torch.log_softmax(z, 1)[n].detach().numpy(), **close)
        assert it.gradient == pytest.approx(z.grad[n].numpy(), **close)
        assert np.array_equal(it.gradient_engine, run.calls[0].gradients[0][n])
        assert it.log_softmax_engine is not None and it.target == (0, 2, 3)[n]
    if "ignore_index" in options:
        with pytest.raises(StudyError, match="is ignored"):
            explain.cross_entropy(run, sample=1, **told)


def test_cross_entropy_of_probabilities_and_maps(torch):
    shares = sv.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    run = trace(nn.Sequential(nn.Linear(4, 3)), sv.randn(2, 4), shares, backward=True, arrays=True)
    it = checked(explain.layer(run, "loss", sample=1))
    assert it.target is None and np.allclose(it.expected, [0.5, 0.5, 0])
    z = torch.from_numpy(run.calls[0].results[0].copy())
    assert it.loss == pytest.approx(torch.nn.functional.cross_entropy(z, torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])).item(), rel=1e-6)
    target = sv.tensor(np.arange(8).reshape(2, 2, 2) % 3)
    run = trace(nn.Sequential(nn.Conv2d(2, 3, 1)), sv.randn(2, 2, 2, 2), target, backward=True, arrays=True)
    it = checked(explain.layer(run, "loss", sample=6))
    assert np.array_equal(it.logits, run.calls[0].results[0][1, :, 1, 0]) and it.target == 0 and it.targets == 8
    assert np.array_equal(it.gradient_engine, run.calls[0].gradients[0][1, :, 1, 0])


def test_a_wrong_word_about_the_loss_shows():
    run = traced(nn.Sequential(nn.Linear(5, 4)), 2, 5, loss=lambda z, t: nn.functional.cross_entropy(z, t, label_smoothing=0.3))
    it = explain.cross_entropy(run)
    assert it.deviation.within is False and "BEYOND" in str(it)
    assert explain.cross_entropy(run, label_smoothing=0.3).deviation.within


# ---- picking ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    net = sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3, dropout=0.5).train()
    return traced(net, 2, 3, 8, 8)


KINDS = {"features.0": "Convolution", "features.1": "BatchNorm", "features.2": "ReLU", "features.3": "MaxPool", "classifier.0": "Dropout",
         "classifier.1": "Linear", "loss": "CrossEntropy"}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_the_layer_picks_its_explanation(small, name, kind, tmp_path):
    it = checked(explain.layer(small, name, channel=1, sample=1, row=None, column=None))
    assert type(it).__name__ == kind and it.sample == 1 and getattr(it, "channel", 1) in (1, None)
    it.save_json(tmp_path / "it.json")
    read = json.loads((tmp_path / "it.json").read_text("utf-8"))
    assert read["operation"] == it.operation and read["deviation"]["within"] is not False
    pytest.importorskip("jinja2")
    html = str(it.to_html())
    assert "style=" not in html and 'class="check good"' in html and html.count("<tr") == html.count("</tr")


def test_what_cannot_be_explained_is_said(small):
    for name, message in [("features.9", "no layer 'features.9' took part in the run; near: features"),
                          ("features", "choose one of its layers: feat"),
                          ("avgpool", "ran adaptive_avg_pool2d, which nothing explains; explained are batch_norm, conv2d")]:
        with pytest.raises(StudyError, match=message):
            explain.layer(small, name)
    with pytest.raises(StudyError, match="no option 'chanel'"):
        explain.layer(small, "features.0", chanel=3)
    with pytest.raises(StudyError, match="trace it with a target"):
        explain.layer(trace(nn.Sequential(nn.Linear(2, 2)), sv.randn(1, 2), arrays=True), "loss")
    assert explain.takes(small, "features.3") >= {"channel", "row", "column", "sample"} and "row" not in explain.takes(small, "loss")


def test_a_layer_that_runs_twice():
    shared = nn.ReLU()
    run = traced(nn.Sequential(nn.Linear(4, 5), shared, nn.Linear(5, 3), shared), 2, 4)
    assert explain.relu(run, "1", visit=1).y.shape == (1, 3) and explain.relu(run, "1").y.shape == (1, 5)


def test_on_the_emulator():
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3))
    sv.manual_seed(2)
    run = traced(net.train(), 2, 1, 4, 4, device="emulator")
    for name in ("0", "1", "2", "3", "5", "6", "loss"):
        checked(explain.layer(run, name))
    assert explain.dropout(run, "5").key is not None, "the same mask on every device"


@pytest.mark.parametrize("dtype", [sv.float16, sv.bfloat16], ids=str)
def test_half_precision(dtype):
    if dtype is sv.bfloat16:
        pytest.importorskip("ml_dtypes")
    net = sv.models.small_vgg(widths=(4, "M", 6, "M"), num_classes=3, dropout=0.5).train()
    run = traced(net, 2, 3, 8, 8, dtype=dtype)
    for name in KINDS:
        it = checked(explain.layer(run, name))
        assert it.dtype == str(dtype).rpartition(".")[2]


def test_explaining_changes_nothing(small):
    from scratchvgg.array import default_generator

    net = small.model
    state, random = {name: value.array.copy() for name, value in net.state_dict().items()}, default_generator.get_state()
    arrays = [(a, a.copy()) for call in small.calls for a in (*call.results, *call.gradients, *(s.array for s in call.sources))]
    for name in KINDS:
        str(explain.layer(small, name))
    assert all(np.array_equal(value.array, state[name]) for name, value in net.state_dict().items())
    assert all(np.array_equal(a, before) for a, before in arrays) and default_generator.get_state() == random
    assert not any(p.grad is not None for p in net.parameters())


def test_broken_numbers_are_shown():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).train()
    net[0].weight.array[0, 0, 1, 1], net[0].weight.array[1, 0, 0, 0] = np.nan, np.inf
    with np.errstate(all="ignore"):
        run = traced(net, 2, 1, 6, 6)
        for name in ("0", "1", "2", "3", "5", "loss"):
            it = explain.layer(run, name)
            json.dumps(plain(it.to_dict()), allow_nan=False)
            assert "NaN" in str(it) or "nan" in str(it)
