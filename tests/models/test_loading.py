"""load_net: a net, its weights, and what belongs to them, from whatever a user has."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchvgg as sv
from scratchvgg import models, nn
from scratchvgg.data.presets import ImageClassification
from scratchvgg.models import load_net, loading
from scratchvgg.weights import WeightsError
from tests.torchvision_reference import torchvision
from tests.train.common import run, small_recipe
from tests.weights.file_server import serve

from . import narrow_vgg11

IMAGENET = ImageClassification()


@pytest.fixture
def patch(tmp_path):
    with narrow_vgg11.narrow() as patch:
        patch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
        patch.delenv("SCRATCHVGG_MIRROR", raising=False)
        yield patch


@pytest.fixture
def state(patch):
    return narrow_vgg11.state()


def same(net, state):
    """The net computes what the state dict says, ready to classify."""
    mine = net.model.state_dict()
    assert list(mine) == list(state) and not net.model.training
    for key, value in state.items():
        assert mine[key].dtype == sv.float32
        np.testing.assert_array_equal(mine[key].numpy(), np.asarray(value, "f4"), key)
    x = sv.rand(1, 3, 32, 32)
    with sv.no_grad():
        assert np.isfinite(net.model(x).numpy()).all()
    return True


# ---- entries ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def entry(state, patch, tmp_path):
    """(entries' class, path of the file on the mirror) of the narrow net."""
    file = io.BytesIO()
    sv.save(state, file)
    cls, name = narrow_vgg11.enter(patch, file.getvalue())
    (tmp_path / "mirror").mkdir()
    path = tmp_path / "mirror" / name
    path.write_bytes(file.getvalue())
    patch.setenv("SCRATCHVGG_MIRROR", str(path.parent))
    return cls, path


@pytest.mark.parametrize(("name", "weights"), [
    ("vgg11", "IMAGENET1K_V1"), ("vgg11", "DEFAULT"), ("vgg11", None), ("vgg11", "VGG11_Weights.DEFAULT"), (None, "VGG11_Weights.IMAGENET1K_V1"),
    ("vgg11", "member"), (None, "member"), (None, "url"),
])
def test_an_entry_brings_all_that_belongs_to_it(entry, state, name, weights):
    member = entry[0].IMAGENET1K_V1
    net = load_net(name, {"member": member, "url": member.url}.get(weights, weights), progress=False)
    assert same(net, state) and net.name == "vgg11" and net.weights == "VGG11_Weights.IMAGENET1K_V1"
    assert net.preset == ImageClassification(64, 72) and net.categories == models.imagenet_categories()
    assert net.metrics == {"acc@1": 69.020, "acc@5": 88.628}


def test_without_verification_a_cached_file_is_taken_as_it_is(entry, patch, tmp_path):
    load_net("vgg11", progress=False)
    (cached,) = (tmp_path / "home" / "checkpoints").iterdir()
    sv.save(narrow_vgg11.state(seed=2), cached)
    changed = load_net("vgg11", verify=False).model.features[0].weight.detach().numpy()
    np.testing.assert_array_equal(changed, narrow_vgg11.state(seed=2)["features.0.weight"].numpy())
    assert not np.array_equal(load_net("vgg11", progress=False).model.features[0].weight.detach().numpy(), changed)


@pytest.mark.parametrize("renamed", [False, True])
def test_an_entrys_file_is_known_by_its_digest(entry, state, tmp_path, renamed):
    path = entry[1].rename(tmp_path / "mine.pth") if renamed else entry[1]
    net = load_net("vgg11", path)
    assert same(net, state) and net.weights == str(path)
    assert net.preset == ImageClassification(64, 72) and net.metrics == {"acc@1": 69.020, "acc@5": 88.628}
    unverified = load_net("vgg11", path, verify=False)  # takes the name's word, and that alone
    assert (unverified.metrics is None) == renamed and same(unverified, state)


def test_a_file_that_only_bears_an_entrys_name_is_refused(entry, state, patch):
    sv.save(narrow_vgg11.state(seed=2), entry[1])
    with pytest.raises(WeightsError, match=r"bears the name of VGG11_Weights.IMAGENET1K_V1, whose SHA-256 begins with \w{8}, but has \w{8}"):
        load_net("vgg11", entry[1])
    with pytest.raises(WeightsError, match="bears the name"):
        models.vgg11(weights=entry[1])


def test_features_of_the_paper_have_no_metrics(patch, state, tmp_path):
    file = io.BytesIO()
    sv.save({key: value * math.nan if key.startswith("classifier") else value for key, value in state.items()}, file)
    cls, name = narrow_vgg11.enter(patch, file.getvalue())
    cls.DEFAULT.meta.update(categories=None, _metrics={"ImageNet-1K": {"acc@1": math.nan, "acc@5": math.nan}})
    (tmp_path / name).write_bytes(file.getvalue())
    patch.setenv("SCRATCHVGG_MIRROR", str(tmp_path))
    net = load_net("vgg11", progress=False)
    assert net.categories is None and net.metrics is None and net.preset == ImageClassification(64, 72)
    np.testing.assert_array_equal(net.model.features[0].weight.detach().numpy(), state["features.0.weight"].numpy())


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("name", ["vgg11", None])
def test_a_file_in_any_format(state, tmp_path, suffix, name):
    path = tmp_path / f"weights{suffix}"
    sv.save(state, path)
    net = load_net(name, path)
    assert same(net, state) and (net.name, net.weights) == ("vgg11", str(path))
    assert net.preset == IMAGENET and net.metrics is None and net.categories == models.imagenet_categories()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_file_in_another_precision(state, tmp_path, torch, dtype, legacy):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    path = tmp_path / "weights.pth"
    theirs = {key: torch.from_numpy(value.numpy()).to(getattr(torch, dtype)) for key, value in state.items()}
    torch.save({"net": theirs, "acc": 0.5}, path, _use_new_zipfile_serialization=not legacy)
    assert same(load_net("vgg11", path), {key: value.float().numpy() for key, value in theirs.items()})


def test_the_default_type_is_that_of_the_net(state, tmp_path):
    sv.save(state, tmp_path / "x.npz")
    sv.set_default_dtype(sv.float64)
    try:
        assert {p.dtype for p in load_net("vgg11", tmp_path / "x.npz").model.parameters()} == {sv.float64}
    finally:
        sv.set_default_dtype(sv.float32)


@pytest.mark.parametrize("classes", [1, 10, 1000])
def test_the_number_of_classes_is_the_files(patch, tmp_path, classes):
    path = tmp_path / "x.npz"
    sv.save(narrow_vgg11.state(num_classes=classes), path)
    net = load_net(None, path)
    assert net.model.classifier[-1].out_features == classes and (net.categories is not None) == (classes == 1000)


@pytest.mark.parametrize("nested", [True, False])
def test_keras_weights_bring_caffes_preprocessing(state, tmp_path, nested):
    """The layout is Keras': HWIO kernels, BGR, fc1 on (H, W, C)."""
    keras, layers = {}, [("block1_conv1", 0), ("block2_conv1", 3), ("block3_conv1", 6), ("block3_conv2", 8), ("block4_conv1", 11),
                         ("block4_conv2", 13), ("block5_conv1", 16), ("block5_conv2", 18)]
    for layer, index in layers:
        keras[layer] = {"kernel": state[f"features.{index}.weight"].numpy().transpose(2, 3, 1, 0), "bias": state[f"features.{index}.bias"].numpy()}
    keras["block1_conv1"]["kernel"] = keras["block1_conv1"]["kernel"][:, :, ::-1]
    for layer, index in (("fc1", 0), ("fc2", 3), ("predictions", 6)):
        keras[layer] = {"kernel": state[f"classifier.{index}.weight"].numpy().T, "bias": state[f"classifier.{index}.bias"].numpy()}
    keras["fc1"]["kernel"] = keras["fc1"]["kernel"].reshape(6, 7, 7, 16).transpose(1, 2, 0, 3).reshape(-1, 16)
    path = tmp_path / "keras.npz"
    sv.save(keras if nested else {f"{layer}/{part}": value for layer, parts in keras.items() for part, value in parts.items()}, path)
    net = load_net("vgg11", path)
    assert same(net, state) and net.metrics is None and net.categories == models.imagenet_categories()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 4), np.uint8)
    expected = pixels - np.array([123.68, 116.779, 103.939]).reshape(3, 1, 1)
    np.testing.assert_allclose(net.preset.normalize(pixels), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backwards", [False, True])
def test_timms_layout_in_any_order(patch, tmp_path, backwards):
    from scratchvgg.weights.layouts import from_torchvision

    state = narrow_vgg11.state(num_classes=5)
    theirs = from_torchvision({key: value.numpy() for key, value in state.items()}, "timm")
    sv.save({key: theirs[key] for key in sorted(theirs, reverse=backwards)}, tmp_path / "x.safetensors")
    assert same(load_net("vgg11", tmp_path / "x.safetensors"), state)
    assert models.vgg11(weights=tmp_path / "x.safetensors").classifier[-1].out_features == 5


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_a_file_of_torchvisions_net(name, tmp_path, torch):
    """Full width, all zeros: a file with holes takes no room."""
    zoo = torchvision().models
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in getattr(zoo, name)().state_dict().items() if "num_batches" not in key}
    path = hollow(tmp_path / "x.safetensors", shapes)
    net = load_net(None, path, verify=False)
    assert net.name == name and net.preset == IMAGENET and net.categories == models.imagenet_categories()
    assert {key: tuple(v.shape) for key, v in net.model.state_dict().items() if "num_batches" not in key} == shapes


def hollow(path, shapes):
    """A safetensors file of float32 zeros, not one of which is on the disk."""
    header, end = {}, 0
    for key, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


MEASURE = """
import resource, sys
from scratchvgg import models
from scratchvgg.models import load_net
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
net = load_net("vgg11", sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""  # the convolutions' 37 MiB are copied


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_weights_are_not_copied(tmp_path):
    """A file of 507 MiB becomes a net within 100 MiB: its linear layers are windows on the file."""
    with nn.init.skip():
        shapes = {key: tuple(value.shape) for key, value in models.vgg11().state_dict().items()}
    path = hollow(tmp_path / "x.safetensors", shapes)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 << 10


def test_a_loaded_net_trains_and_its_file_stays(state, tmp_path):
    path = tmp_path / "x.pth"
    sv.save(state, path)
    before = path.read_bytes()
    model = load_net("vgg11", path).model.train()
    optimizer = sv.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    nn.functional.cross_entropy(model(sv.rand(2, 3, 32, 32)), sv.tensor([1, 2])).backward()
    optimizer.step()
    assert path.read_bytes() == before and not np.array_equal(model.classifier[-1].bias.detach().numpy(), state["classifier.6.bias"].numpy())


# ---- addresses -------------------------------------------------------------------------------------------------------


def test_a_url_is_downloaded_once(patch, state):
    file = io.BytesIO()
    sv.save(state, file)
    with serve(file.getvalue()) as (url, behaviour):
        for _ in range(2):
            assert same(load_net("vgg11", url, progress=False), state)
        assert len(behaviour.requests) == 1
        behaviour.content = b"something else"
        with pytest.raises(WeightsError, match="cannot read"):  # another address, though the file's name is the same
            load_net("vgg11", url.replace("/file.bin", "/other/file.bin"), progress=False)
        assert same(load_net("vgg11", url), state)


def test_a_file_url_is_the_file(state, tmp_path, patch):
    path = tmp_path / "with space.npz"
    sv.save(state, path)
    assert same(load_net("vgg11", path.as_uri()), state) and not (tmp_path / "home").exists()
    patch.setenv("HOME", str(tmp_path))
    assert same(load_net("vgg11", "~/with space.npz"), state)


# ---- trainings of scratchvgg -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [None, 0.8])
def test_a_run_brings_its_own(tmp_path, ema):
    from scratchvgg import train

    folder = run(small_recipe(ema=ema), tmp_path / "run")
    expected, about = train.load_model(folder.path)
    for path in (folder.path, folder.best, str(folder.path)):
        net = load_net(None, path)
        assert net.name == "small_vgg" and net.categories == about["data"]["classes"] and net.metrics is None and net.weights == str(folder.best)
        assert net.preset == ImageClassification(32, 32, tuple(about["data"]["mean"]), tuple(about["data"]["std"])) and not net.model.training
        mine = net.model.state_dict()
        assert list(mine) == list(expected.state_dict())
        for key, value in expected.state_dict().items():
            np.testing.assert_array_equal(mine[key].numpy(), value.numpy(), key)
    with pytest.raises(WeightsError, match="is of small_vgg, not of vgg16"):
        load_net("vgg16", folder.path)


def checkpoint(**changes):
    """A checkpoint of a net with one convolution, as far as load_net looks."""
    net = models.small_vgg(widths=[4], num_classes=3)
    recipe = {"model": "small_vgg", "model_options": {"widths": [4]}, "ema": None, "crop": None, "scale_min": None, "scale_max": None}
    about = {"name": "folder", "classes": ["a", "b", "c"], "mean": [0.5] * 3, "std": [0.25] * 3, "shape": [3, 28, 28]}
    tree = {"format": 1, "model": net.state_dict(), "recipe": recipe, "data": about, "average": None}
    for place, value in changes.items():
        part, _, key = place.partition("__")
        tree[part] = {**tree[part], key: value} if key else value
    return tree


@pytest.mark.parametrize(("changes", "resize"), [
    ({}, 28), ({"recipe__crop": 28}, 32), ({"recipe__crop": 28, "recipe__scale_min": 40}, 40),
    ({"recipe__crop": 28, "recipe__scale_min": 32, "recipe__scale_max": 64}, 48),
])
def test_a_run_is_tested_at_the_middle_of_its_scales(tmp_path, changes, resize):
    sv.save(checkpoint(**changes), tmp_path / "x.ckpt")
    assert load_net(None, tmp_path / "x.ckpt").preset == ImageClassification(28, resize, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize(("changes", "message"), [
    ({"recipe__model": "resnet"}, "no training checkpoint: Unknown model 'resnet'"), ({"data": {}}, "no training checkpoint: 'classes'"),
    ({"data__std": [0, 0, 0]}, "no training checkpoint: std"), ({"recipe__model_options": {"width": 1}}, "no training checkpoint: .*width"),
    ({"data__classes": ["a", "b"]}, "of another shape"), ({"model": {"x": np.ones(1)}}, "entries missing"),
    ({"recipe__ema": 0.9}, "no training checkpoint"),
])
def test_a_malformed_checkpoint_is_refused(tmp_path, changes, message):
    sv.save(checkpoint(**changes), tmp_path / "x.ckpt")
    with pytest.raises(WeightsError, match=message):
        load_net(None, tmp_path / "x.ckpt")


# ---- what does not fit -----------------------------------------------------------------------------------------------


def test_another_net_is_named(state, tmp_path):
    path = tmp_path / "some.pth"
    sv.save(state, path)
    with pytest.raises(WeightsError) as caught:
        load_net("vgg11_bn", path)
    assert str(caught.value).startswith(f"{path} fits vgg11, not vgg11_bn: 38 entries missing (features.1.weight, features.1.bias, …); 6 entries too")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("features.0.bias"), r"does not fit vgg11: 1 entry missing \(features.0.bias\)$"),
    (lambda s: s.update(extra=sv.zeros(1)), r"does not fit vgg11: 1 entry too many \(extra\)$"),
    (lambda s: s.update({"features.0.bias": sv.zeros(5)}), r"1 entry of another shape \(features.0.bias: \(5,\) instead of \(4,\)\)$"),
])
@pytest.mark.parametrize("name", ["vgg11", None])
def test_a_damaged_state_dict(state, tmp_path, change, message, name):
    change(state)
    sv.save(state, tmp_path / "x.npz")
    with pytest.raises(WeightsError, match=message):
        load_net(name, tmp_path / "x.npz")


@pytest.mark.parametrize(("tree", "message"), [
    ({"layer1.weight": np.zeros((10, 3), "f4")}, "does not fit vgg16"),
    ({"features.0.weight": np.zeros((4, 3, 3, 3), "f4")}, "has no linear layer"),
    ({"epoch": 3}, "x.npz: there are no weights in it"),
    ({}, "x.npz: there are no weights in it"),
    ({"block1_conv1/kernel": np.float32(1)}, "x.npz"),
])
def test_a_file_of_something_else(patch, tmp_path, tree, message):
    sv.save(tree, tmp_path / "x.npz")
    with pytest.raises(WeightsError, match=message):
        load_net("vgg16", tmp_path / "x.npz")


def test_complex_numbers_are_no_weights(state, tmp_path):
    sv.save({**{key: value.numpy() for key, value in state.items()}, "features.0.bias": np.zeros(4, "c8")}, tmp_path / "x.npz")
    with pytest.raises(WeightsError, match=r"x.npz: scratchvgg has no element type complex64"):
        load_net("vgg11", tmp_path / "x.npz")


NAMES = ["features.0.weight", "classifier.6.weight", "classifier.weight", "block1_conv1/kernel", "fc1/kernel", "predictions/kernel:0",
         "head.fc.weight", "pre_logits.fc1.weight", "module.features.0.weight", "state_dict", "model", "recipe", "x", ""]
SHAPES = st.lists(st.sampled_from([0, 1, 3, 4, 6, 7, 49, 294]), max_size=5)
VALUES = st.builds(lambda shape, dtype: np.zeros(shape, dtype), SHAPES, st.sampled_from(["f4", "f2", "i8", "?", "u2", "c8", ">f8"]))
NESTED = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)
ENTRIES = st.dictionaries(st.sampled_from(NAMES), VALUES | st.integers() | st.none() | NESTED)


@given(ENTRIES, st.lists(st.integers(0, 21), max_size=3), st.sampled_from(["vgg11", "vgg11_bn", None]), st.booleans())
def test_whatever_a_file_holds_there_is_a_net_or_one_line(changes, dropped, name, whole):
    with narrow_vgg11.narrow(), tempfile.TemporaryDirectory() as folder:
        tree = {key: value.numpy() for key, value in narrow_vgg11.state(num_classes=3).items()} if whole else {}
        tree = {key: value for i, (key, value) in enumerate(tree.items()) if i not in dropped} | changes
        path = Path(folder) / "x.npz"
        sv.save(tree, path)
        try:
            net = load_net(name, path)
        except WeightsError as error:
            assert str(path) in str(error)
        else:
            with sv.no_grad():
                assert net.model(sv.rand(1, 3, 32, 32)).shape == (1, net.model.classifier[-1].out_features)


def test_unusable_arguments(patch, tmp_path):
    with pytest.raises(ValueError, match="name a net, or give weights"):
        load_net()
    with pytest.raises(ValueError, match="Unknown model 'vgg17'"):
        load_net("vgg17", tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError, match="no file 'IMAGENET1K_V1'; expected an entry's full name such as"):
        load_net(None, "IMAGENET1K_V1")
    with pytest.raises(FileNotFoundError, match=r"has no checkpoint in it \(best.ckpt, last.ckpt\)"):
        load_net("vgg16", tmp_path)
    with pytest.raises(FileNotFoundError, match="nobody published weights of vgg_c"):
        load_net("vgg_c")
    with pytest.raises(WeightsError, match="got VGG19_Weights.IMAGENET1K_V1, which is for vgg19"):
        load_net("vgg16", "VGG19_Weights.DEFAULT")
    (tmp_path / "noise.pth").write_bytes(np.random.default_rng(0).bytes(1000))
    with pytest.raises(WeightsError, match=r"cannot read .*noise.pth"):
        load_net("vgg16", tmp_path / "noise.pth")


def test_take_over_shares_memory_where_types_and_orders_agree(state):
    arrays = {key: np.array(value.numpy(), order="C") for key, value in state.items()}
    arrays["features.0.bias"] = arrays["features.0.bias"].astype("f8")
    arrays["features.3.bias"].flags.writeable = False
    arrays["classifier.0.weight"] = np.asfortranarray(arrays["classifier.0.weight"])
    with nn.init.skip():
        model = models.vgg11()
    before = {key: value.numpy() for key, value in model.state_dict().items()}
    loading.take_over(model, arrays, "vgg11", "arrays")
    for key, value in model.state_dict().items():
        shared = value.ndim < 4 and key not in ("features.0.bias", "features.3.bias", "classifier.0.weight")
        assert np.shares_memory(value.numpy(), arrays[key]) == shared and np.shares_memory(value.numpy(), before[key]) != shared, key
        assert value.numpy().strides == before[key].strides
        np.testing.assert_array_equal(value.numpy(), arrays[key])
