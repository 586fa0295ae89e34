"""``scratchvgg weights`` and ``scratchvgg convert``: what they say, what they write, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import cli, models
from scratchvgg.weights import layouts

from .test_cli import call


def narrow_state():
    """Arrays of a narrow net with torchvision's names."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in {"features.0": (4, 3, 3, 3), "features.3": (6, 4, 3, 3), "classifier.0": (8, 294), "classifier.3": (8, 8),
                        "classifier.6": (5, 8)}.items():
        state |= {f"{name}.weight": rng.normal(size=shape).astype(np.float32), f"{name}.bias": rng.normal(size=shape[0]).astype(np.float32)}
    return state


def saved(path, tree):
    """``tree`` as Tensors in a file."""
    def tensors(value):
        if isinstance(value, dict):
            return {key: tensors(one) for key, one in value.items()}
        return sv.tensor(value) if isinstance(value, np.ndarray) else value

    sv.save(tensors(tree), path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    """A training's file: wrapped and prefixed."""
    state = {f"module.{key}": value for key, value in narrow_state().items()}
    return saved(tmp_path / "checkpoint.pth", {"epoch": 3, "state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}})


@pytest.fixture
def bare(tmp_path):
    return saved(tmp_path / "bare.pth", narrow_state())


def same(path, state):
    """Whether the file has these entries, bit for bit."""
    got = {key: value.numpy() for key, value in layouts.find_state_dict(sv.load(path)).items()}
    assert set(got) == set(state)
    return all(got[key].dtype == state[key].dtype and np.array_equal(got[key], state[key]) for key in state)


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_weights_lists_everything(checkpoint, capsys):
    status, out, err = call(capsys, "weights", checkpoint)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{checkpoint}: torch, {checkpoint.stat().st_size:,} bytes; checked: structure, sizes, shapes and the CRC-32 of every member"
    assert lines[1:3] == ["weights found in ['state_dict'], without prefix 'module.'", "left aside: epoch, optimizer"]
    rows = [line.split() for line in lines]
    state = narrow_state()
    for key, value in state.items():
        assert ["module." + key, "×".join(map(str, value.shape)), "float32"] in rows
    count = sum(value.size for value in state.values())
    assert f"10 entries, {count:,} parameters, {4 * count:,} bytes" in out and lines[-1].startswith("best match: no net here; nearest is ")


def test_weights_without_verifying(checkpoint, capsys):
    data = bytearray(checkpoint.read_bytes())
    place = data.find(narrow_state()["classifier.0.weight"].tobytes()[:64])
    data[place] ^= 1
    checkpoint.write_bytes(data)
    status, _, err = call(capsys, "weights", checkpoint)
    assert status == 2 and err.count("\n") == 1 and str(checkpoint) in err
    status, out, _ = call(capsys, "weights", checkpoint, "--no-verify")
    assert status == 0 and "checked: structure, sizes and shapes, not the CRC-32" in out


@pytest.mark.parametrize("suffix, kind", [(".npz", "npz"), (".safetensors", "safetensors"), (".pt", "torch")])
def test_weights_as_json(tmp_path, capsys, suffix, kind):
    net = models.cifar_vgg("A")
    path = tmp_path / f"a{suffix}"
    sv.save(net.state_dict(), path)
    status, out, _ = call(capsys, "weights", path, "--json")
    about = json.loads(out)
    assert status == 0 and (about["format"], about["bytes"], about["layout"], about["path"]) == (kind, path.stat().st_size, "torchvision", [])
    assert about["parameters"] == sum(p.numel() for p in net.parameters()) and about["entries"] == len(net.state_dict())
    assert about["checksums"] == (None if kind == "safetensors" else "CRC-32 of every member")
    assert {row["key"]: tuple(row["shape"]) for row in about["table"]} == {key: tuple(value.shape) for key, value in net.state_dict().items()}
    match = about["match"]
    assert match["exact"] and (match["net"], match["num_classes"]) == ("cifar_vgg", 10) and match["options"] == {"config": "A", "batch_norm": True}


def test_weights_with_statistics(tmp_path, capsys):
    state = narrow_state()
    state["classifier.6.bias"][:] = np.nan
    state["classifier.3.bias"][:3] = np.nan, np.inf, -np.inf
    state["features.0.bias"][:] = -1, 2, 0.5, 0
    state |= {"features.1.num_batches_tracked": np.array(7), "features.9.weight": np.zeros((0, 3), np.float32)}
    path = saved(tmp_path / "a.npz", state)
    rows = {row["key"]: row for row in json.loads(call(capsys, "weights", path, "--json", "--stats")[1])["table"]}

    def numbers(key):
        return [rows[key][name] for name in ("min", "max", "nan", "infinite")]

    assert numbers("features.0.bias") == [-1, 2, 0, 0] and numbers("classifier.6.bias") == [None, None, 5, 0]
    finite = state["classifier.3.bias"][3:]
    assert numbers("classifier.3.bias") == [finite.min(), finite.max(), 1, 2]
    assert numbers("features.1.num_batches_tracked") == [7, 7, 0, 0] and numbers("features.9.weight") == [None, None, 0, 0]
    status, out, _ = call(capsys, "weights", path, "--stats")
    assert status == 0 and ["classifier.6.bias", "5", "float32", "-", "-", "5", "0"] in [line.split() for line in out.splitlines()]


def test_weights_in_another_layout(checkpoint, capsys):
    out = call(capsys, "weights", checkpoint, "--layout", "timm")[1]
    assert "pre_logits.fc1.weight" in out and "8×6×7×7" in out and "module." not in out.partition("layout:")[2]


# ---- convert ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth", ".pt"])
def test_convert_keeps_every_bit(checkpoint, tmp_path, capsys, suffix):
    target = tmp_path / f"out{suffix}"
    status, out, err = call(capsys, "convert", checkpoint, target)
    assert (status, err) == (0, "") and "weights found in ['state_dict']" in out and "left out: epoch, optimizer" in out
    assert f"wrote {target} " in out and "equal bit for bit" in out
    assert list(sv.load(target)) == [f"module.{key}" for key in narrow_state()] or suffix == ".safetensors"
    assert same(target, narrow_state()) and all(isinstance(value, sv.Tensor) for value in sv.load(target).values())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["checkpoint.pth", target.name]), "no temporary file is left"


def test_convert_is_read_by_the_others(checkpoint, tmp_path, capsys, torch):
    safetensors = pytest.importorskip("safetensors.numpy")
    call(capsys, "convert", checkpoint, tmp_path / "a.safetensors", "--layout", "torchvision")
    call(capsys, "convert", tmp_path / "a.safetensors", tmp_path / "b.pth")
    theirs, state = torch.load(tmp_path / "b.pth", weights_only=True), narrow_state()
    for other in (safetensors.load_file(tmp_path / "a.safetensors"), {key: value.numpy() for key, value in theirs.items()}):
        assert set(other) == set(state) and all(np.array_equal(other[key], state[key]) for key in state)


def test_convert_there_and_back(bare, tmp_path, capsys):
    status, out, _ = call(capsys, "convert", bare, tmp_path / "timm.safetensors", "--layout", "timm")
    assert status == 0 and "layout: torchvision → timm" in out
    assert "head.fc.weight" in sv.load(tmp_path / "timm.safetensors")
    call(capsys, "convert", tmp_path / "timm.safetensors", tmp_path / "kept.npz")
    assert "head.fc.weight" in sv.load(tmp_path / "kept.npz"), "names are kept unless a layout is asked for"
    status, out, _ = call(capsys, "convert", tmp_path / "timm.safetensors", tmp_path / "back.pth", "--layout", "torchvision")
    assert status == 0 and same(tmp_path / "back.pth", narrow_state())


def test_convert_from_keras(tmp_path, capsys):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    kernels = {"block1_conv1": (3, 3, 3, 4), "block2_conv1": (3, 3, 4, 6), "fc1": (294, 8), "fc2": (8, 8), "predictions": (8, 5)}
    tree = {layer: {"kernel": rng.normal(size=shape).astype(np.float32), "bias": rng.normal(size=shape[-1]).astype(np.float32)}
            for layer, shape in kernels.items()}
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in tree]
        for layer, variables in tree.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in variables]
            for name, value in variables.items():
                group[f"{layer}/{name}:0"] = value
    status, out, _ = call(capsys, "weights", tmp_path / "keras.h5")
    assert status == 0 and ["fc1/kernel", "294×8", "float32"] in [line.split() for line in out.splitlines()] and "left aside" not in out
    status, out, err = call(capsys, "convert", tmp_path / "keras.h5", tmp_path / "out.pth")
    assert status == 0 and "layout: keras → torchvision" in out, err
    assert same(tmp_path / "out.pth", layouts.to_torchvision(layouts.find_state_dict(tree)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "float32"])
def test_convert_to_another_type(tmp_path, capsys, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    state = narrow_state() | {"features.1.num_batches_tracked": np.array(7)}
    state["features.0.bias"][:] = 1, 1e30, -1e30, np.inf
    source = saved(tmp_path / "a.pth", {"net": state, "lr": [0.1, (1, None)]})
    target = tmp_path / "b.npz"
    status, out, _ = call(capsys, "convert", source, target, "--dtype", dtype, "--keep-wrapping")
    assert status == 0 and f"cast to {dtype}" in out and ("2 values are beyond its range" in out) == (dtype == "float16")
    tree = sv.load(target)
    assert tree["lr"] == [0.1, (1, None)] and tree["net"]["features.1.num_batches_tracked"].dtype is sv.int64
    with np.errstate(over="ignore"):
        expected = {key: value.astype(sv.as_tensor(tree["net"][key]).numpy().dtype) for key, value in state.items()}
    assert same(target, expected) and tree["net"]["features.0.weight"].dtype is getattr(sv, dtype)


def test_convert_keeps_the_wrapping(checkpoint, tmp_path, capsys):
    assert call(capsys, "convert", checkpoint, tmp_path / "all.npz", "--keep-wrapping")[0] == 0
    tree = sv.load(tmp_path / "all.npz")
    assert list(tree) == ["epoch", "state_dict", "optimizer"] and tree["epoch"] == 3 and tree["optimizer"]["param_groups"] == [{"lr": 0.1}]
    assert same(tmp_path / "all.npz", narrow_state())


def test_convert_overwrites_only_when_told(bare, tmp_path, capsys):
    target = tmp_path / "b.npz"
    target.write_bytes(b"precious")
    status, _, err = call(capsys, "convert", bare, target)
    assert status == 2 and "b.npz exists already; --force replaces it" in err and target.read_bytes() == b"precious"
    assert call(capsys, "convert", bare, target, "--force")[0] == 0 and same(target, narrow_state())
    assert call(capsys, "convert", target, target, "--force", "--dtype", "float64")[0] == 0, "a file can replace itself"
    assert same(target, {key: value.astype(np.float64) for key, value in narrow_state().items()})


@pytest.mark.parametrize("failure", ["another bit", "another key", "interrupt"])
def test_a_file_that_reads_back_differently_is_not_kept(bare, tmp_path, capsys, monkeypatch, failure):
    from scratchvgg.weights import formats

    true_save = formats.save

    def bad_save(file, tree, format=None):
        if failure == "interrupt":
            file.write(b"half")
            raise KeyboardInterrupt
        key = "classifier.6.bias"
        value = tree[key].numpy().copy()
        value.view(np.uint8)[0] ^= 1
        true_save(file, {**tree, key: value} if failure == "another bit" else {**tree, "more": value}, format)

    monkeypatch.setattr(formats, "save", bad_save)
    target = tmp_path / "b.npz"
    target.write_bytes(b"precious")
    status, out, err = call(capsys, "convert", bare, target, "--force")
    assert target.read_bytes() == b"precious" and "wrote" not in out and len(list(tmp_path.iterdir())) == 2
    if failure == "interrupt":
        assert status == 130
    else:
        assert status == 2 and "reads back differently" in err and ("classifier.6.bias" in err) == (failure == "another bit")


# ---- bad input -------------------------------------------------------------------------------------------------------


BAD = [
    (["weights"], "required: FILE"),
    (["weights", "nowhere.pth"], "nowhere.pth"),
    (["weights", "text.pth"], "text.pth"),
    (["weights", "empty.npz"], "empty.npz: there are no weights in it: found 'epoch'"),
    (["weights", "a.npz", "--layout", "keras"], "invalid choice: 'keras'"),
    (["weights", "small.npz", "--layout", "timm"], "three linear layers"),
    (["convert", "a.npz"], "required: OUT"),
    (["convert", "nowhere.pth", "b.npz"], "nowhere.pth"),
    (["convert", "text.pth", "b.npz"], "text.pth"),
    (["convert", "empty.npz", "b.npz"], "empty.npz: there are no weights in it: found 'epoch'"),
    (["convert", "a.npz", "b.txt"], "b.txt: the format follows from the suffix, expected one of .npz, .safetensors, .pth, .pt"),
    (["convert", "a.npz", "b.h5"], "b.h5: the format follows from the suffix"),
    (["convert", "a.npz", "b"], "expected one of .npz"),
    (["convert", "a.npz", "b.pth", "--dtype", "float8"], "invalid choice: 'float8'"),
    (["convert", "a.npz", "b.pth", "--keep-wrapping", "--layout", "timm"], "--keep-wrapping"),
    (["convert", "small.npz", "b.pth", "--layout", "timm"], "three linear layers"),
    (["convert", "wrapped.npz", "b.safetensors", "--keep-wrapping"], "b.safetensors: a safetensors file holds a flat dict of tensors"),
    (["convert", "a.npz", "nowhere/b.npz"], "nowhere"),
]


@pytest.mark.parametrize("args, message", BAD, ids=[" ".join(args) for args, _ in BAD])
def test_bad_input_is_one_line_and_status_2(capsys, args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved("a.npz", narrow_state())
    saved("small.npz", {key: value for key, value in narrow_state().items() if "classifier.3" not in key})
    saved("wrapped.npz", {"net": narrow_state(), "epoch": 3})
    saved("empty.npz", {"epoch": 3})
    (tmp_path / "text.pth").write_text("<html>404</html>")
    before = sorted(tmp_path.iterdir())
    status, out, err = call(capsys, *args)
    assert status == 2 and err.count("\n") == 1 and err.startswith(f"scratchvgg {args[0]}: error: ") and message in err and "wrote" not in out
    assert sorted(tmp_path.iterdir()) == before, "bad input leaves nothing behind"


def test_run_folders_own_checkpoints(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", "--recipe", "tiny", "--out", str(out), "--epochs", "1", "--train-size", "32", "--test-size", "10", "--ema", "0.9",
                     "--model-options", "widths=[4, 'M', 8]", "--threads", "1", "--plain"]) == 0
    capsys.readouterr()
    about = json.loads(call(capsys, "weights", out / "last.ckpt", "--json")[1])
    assert about["path"] == ["average", "averages"] and {"model", "optimizer", "recipe"} <= set(about["left_aside"])
    status, _, err = call(capsys, "convert", out / "last.ckpt", tmp_path / "net.safetensors")
    assert status == 0, err
    from scratchvgg.train import checkpoint

    net, _ = checkpoint.load_model(out)
    assert same(tmp_path / "net.safetensors", {key: value.numpy() for key, value in net.state_dict().items()})
