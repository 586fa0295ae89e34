"""Pretrained weights: torchvision's entries to the last figure, and constructors against a server that misbehaves."""

from __future__ import annotations

import functools
import hashlib
import io
import math
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
import warnings

import numpy as np
import pytest

import scratchvgg as sv
from scratchvgg import hub, models
from scratchvgg.models import pretrained
from scratchvgg.weights import WeightsError, download
from scratchvgg.weights.download import DownloadError
from tests.torchvision_reference import torchvision
from tests.weights.file_server import serve

from . import narrow_vgg11

NETS = ["vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]
FILES = {  # net → file, parameters, acc@1, acc@5
    "vgg11": ("vgg11-8a719046.pth", 132_863_336, 69.020, 88.628),
    "vgg11_bn": ("vgg11_bn-6002323d.pth", 132_868_840, 70.370, 89.810),
    "vgg13": ("vgg13-19584684.pth", 133_047_848, 69.928, 89.246),
    "vgg13_bn": ("vgg13_bn-abd245e5.pth", 133_053_736, 71.586, 90.374),
    "vgg16": ("vgg16-397923af.pth", 138_357_544, 71.592, 90.382),
    "vgg16_bn": ("vgg16_bn-6c64b313.pth", 138_365_992, 73.360, 91.516),
    "vgg19": ("vgg19-dcbb9e9d.pth", 143_667_240, 72.376, 90.876),
    "vgg19_bn": ("vgg19_bn-c79401a0.pth", 143_678_248, 74.218, 91.842),
}


# ---- the entries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", FILES)
def test_facts(net):
    entry = models.get_model_weights(net).DEFAULT
    file, parameters, acc1, acc5 = FILES[net]
    assert entry.url == f"https://download.pytorch.org/models/{file}" and entry.meta["num_params"] == parameters
    assert entry.meta["_metrics"] == {"ImageNet-1K": {"acc@1": acc1, "acc@5": acc5}}
    assert entry.meta["categories"] == models.imagenet_categories() and entry.digits in file and entry.file == file
    preset = entry.transforms()
    assert (preset.crop_size, preset.resize_size, preset.mean, preset.std) == (224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_features_of_the_paper():
    entry = models.VGG16_Weights.IMAGENET1K_FEATURES
    assert entry.url.endswith("/vgg16_features-amdegroot-88682ab5.pth") and entry.digits == "88682ab5"
    assert entry.meta["categories"] is None and math.isnan(entry.meta["_metrics"]["ImageNet-1K"]["acc@1"])
    assert entry.transforms().mean == (0.48235, 0.45882, 0.40784) and entry.transforms().std == (1 / 255,) * 3


@pytest.mark.parametrize("net", NETS)
def test_entries_equal_torchvisions(net):
    zoo = torchvision().models
    ours, theirs = models.get_model_weights(net), zoo.get_model_weights(net)
    assert ours.__name__ == theirs.__name__ and {m: e.name for m, e in ours.__members__.items()} == {m: e.name for m, e in theirs.__members__.items()}
    for mine, reference in zip(ours, theirs, strict=True):
        assert repr(mine) == repr(reference) and mine.url == reference.url
        assert mine.meta.keys() == reference.meta.keys()
        for key in mine.meta.keys() - {"_docs", "_metrics"}:
            assert mine.meta[key] == reference.meta[key], key
        np.testing.assert_equal(mine.meta["_metrics"], reference.meta["_metrics"])  # NaN equals NaN
        preset, other = mine.transforms(), reference.transforms()
        assert [preset.crop_size] == other.crop_size and [preset.resize_size] == other.resize_size
        assert list(preset.mean) == other.mean and list(preset.std) == other.std
        assert zoo.get_weight(repr(reference)) is reference and models.get_weight(repr(mine)) is mine


def test_members_are_values():
    entry = models.VGG16_Weights.DEFAULT
    assert entry is models.VGG16_Weights.IMAGENET1K_V1 is models.VGG16_Weights["DEFAULT"] and pickle.loads(pickle.dumps(entry)) is entry
    assert entry.value == entry.value and entry.value != models.VGG16_Weights.IMAGENET1K_FEATURES.value and entry.value != "file"
    assert len({e.url for e in pretrained.entries()}) == 9
    assert all(pretrained.net_of(e) == net for net in NETS for e in models.get_model_weights(net))


def test_verify():
    cls = models.VGG16_Weights
    assert cls.verify(None) is None and cls.verify(cls.DEFAULT) is cls.DEFAULT
    assert cls.verify("IMAGENET1K_FEATURES") is cls.verify("VGG16_Weights.IMAGENET1K_FEATURES") is cls.IMAGENET1K_FEATURES
    with pytest.raises(KeyError, match="no entry 'IMAGENET1K_V2'.*IMAGENET1K_V1"):
        cls.verify("IMAGENET1K_V2")
    for wrong in (models.VGG19_Weights.DEFAULT, 1):
        with pytest.raises(TypeError, match="Invalid Weight class provided; expected VGG16_Weights but received"):
            cls.verify(wrong)


def test_weights_by_name():
    assert models.get_weight("VGG19_BN_Weights.DEFAULT") is models.VGG19_BN_Weights.IMAGENET1K_V1
    assert models.get_model_weights(models.vgg13) is models.VGG13_Weights
    for wrong in ("VGG16", "VGG16_Weights", "VGG16_Weights.", "ResNet50_Weights.DEFAULT", ""):
        with pytest.raises(ValueError, match="is no pretrained weights' name"):
            models.get_weight(wrong)
    with pytest.raises(KeyError):
        models.get_weight("VGG16_Weights.IMAGENET1K_V2")
    for wrong in ("vgg_c", models.vgg_a_lrn, "resnet50"):
        with pytest.raises(ValueError, match="no pretrained weights of"):
            models.get_model_weights(wrong)


# ---- what is refused before anything is fetched ----------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, an empty cache."""
    def refused(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SCRATCHVGG_MIRROR", raising=False)
    return tmp_path / "home" / "checkpoints"


@pytest.mark.parametrize(("weights", "error", "message"), [
    (models.VGG19_Weights.DEFAULT, TypeError, "expected an entry of VGG16_Weights.*got VGG19_Weights.IMAGENET1K_V1, which is for vgg19"),
    ("VGG19_Weights.DEFAULT", WeightsError, "which is for vgg19"),
    ("IMAGENET1K_V2", FileNotFoundError, r"no file 'IMAGENET1K_V2'.*VGG16_Weights \(IMAGENET1K_V1, IMAGENET1K_FEATURES, DEFAULT\)"),
    ("some.pth", FileNotFoundError, "no file 'some.pth'"),
    (3, TypeError, "weights: expected an entry"),
])
def test_unusable_weights(offline, weights, error, message):
    with pytest.raises(error, match=message):
        models.vgg16(weights=weights)
    assert not offline.exists()


def test_another_number_of_classes_is_refused_before_the_download(offline):
    for weights in models.VGG16_Weights:
        with pytest.raises(ValueError, match=r"num_classes=10, but VGG16_Weights\.\w+ has 1000 classes; .*replace the last layer"):
            models.vgg16(weights=weights, num_classes=10)


@pytest.mark.parametrize("net", ["vgg_c", "vgg_c_bn", "vgg_a_lrn", "vgg_a_lrn_bn"])
def test_nets_without_entries_say_so(offline, net):
    with pytest.raises(FileNotFoundError, match=f"expected a file of weights: nobody published weights of {net}"):
        models.get_model(net, weights="IMAGENET1K_V1")
    with pytest.raises(ValueError, match=f"no pretrained weights of '{net}'.*give a file"):
        models.get_model(net, pretrained=True)


def test_offline_it_says_which_file_to_put_where(offline):
    with pytest.raises(DownloadError) as caught:
        models.vgg16_bn(weights="DEFAULT")
    for part in ("cannot download vgg16_bn-6c64b313.pth", "name resolution", "Get https://download.pytorch.org/models/vgg16_bn-6c64b313.pth",
                 "(SHA256 6c64b313…)", f"put it at {offline / 'vgg16_bn-6c64b313.pth'}, then run the same command again"):
        assert part in str(caught.value)


# ---- a narrow net and its entry --------------------------------------------------------------------------------------


@pytest.fixture
def patch(tmp_path):
    with narrow_vgg11.narrow() as patch:
        patch.setenv("SCRATCHVGG_HOME", str(tmp_path / "home"))
        patch.delenv("SCRATCHVGG_MIRROR", raising=False)
        patch.setattr(download, "_PAUSE", 0)
        yield patch


def saved(state) -> bytes:
    file = io.BytesIO()
    sv.save(state, file)
    return file.getvalue()


@pytest.fixture
def entry(patch):
    """(state, the file's bytes, its name) of VGG-11's only entry."""
    state = narrow_vgg11.state()
    content = saved(state)
    return state, content, narrow_vgg11.enter(patch, content)[1]


@pytest.fixture
def server(entry, patch):
    with serve(entry[1]) as (url, behaviour):
        patch.setenv("SCRATCHVGG_MIRROR", url.rpartition("/")[0] + "/")
        yield behaviour


@pytest.fixture
def cached(tmp_path, entry):
    return tmp_path / "home" / "checkpoints" / entry[2]


def same(model, state):
    mine = model.state_dict()
    assert list(mine) == list(state)
    for key, value in state.items():
        np.testing.assert_array_equal(mine[key].numpy(), value.numpy(), key)
    assert all(p.requires_grad for p in model.parameters()) and model.training
    return True


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", "VGG11_Weights.IMAGENET1K_V1", "member"])
def test_a_constructor_downloads_once(server, entry, cached, weights):
    weights = models.get_model_weights("vgg11").DEFAULT if weights == "member" else weights
    assert same(models.vgg11(weights=weights, progress=False), entry[0])
    assert same(models.get_model("vgg11", weights=weights, progress=False, dropout=0.1), entry[0])
    assert len(server.requests) == 1 and cached.read_bytes() == entry[1] and [f.name for f in cached.parent.iterdir()] == [cached.name]


def test_progress_is_shown_unless_it_is_not_wanted(server, entry, cached, capsys):
    models.vgg11(weights="DEFAULT", progress=False)
    assert capsys.readouterr().err == ""
    cached.unlink()
    models.vgg11(weights="DEFAULT")
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{cached.name}: 0.")


def test_state_dict_of_an_entry(server, entry, tmp_path):
    cls = models.get_model_weights("vgg11")
    state = cls.DEFAULT.get_state_dict(progress=False, check_hash=True)
    assert all(isinstance(value, sv.Tensor) and (value.numpy() == entry[0][key].numpy()).all() for key, value in state.items())
    assert cls.DEFAULT.get_state_dict(model_dir=tmp_path / "elsewhere").keys() == entry[0].keys() and (tmp_path / "elsewhere" / entry[2]).is_file()


def test_cuts_are_gone_on_from(server, entry):
    server.cuts, server.etag = [20_000, 1, 0], '"v1"'
    assert same(models.vgg11(weights="DEFAULT"), entry[0])
    assert [h.get("Range") for h in server.requests] == [None, "bytes=20000-", "bytes=20001-", "bytes=20001-"]


def test_a_stall_counts_as_a_cut(server, entry, patch):
    patch.setattr(hub, "fetch", functools.partial(download.fetch, timeout=0.3))
    server.stall, server.cuts = threading.Event(), [20_000]
    assert same(models.vgg11(weights="DEFAULT"), entry[0]) and server.requests[-1]["Range"] == "bytes=20000-"


def test_a_redirection_is_followed(server, entry):
    server.moved = "/elsewhere/file"
    assert same(models.vgg11(weights="DEFAULT"), entry[0])


def test_a_passing_failure_is_retried(server, entry):
    server.statuses = [503, 429]
    assert same(models.vgg11(weights="DEFAULT"), entry[0])


@pytest.mark.parametrize(("kind", "content", "reason"), [
    ("application/octet-stream", b"\0" * 50_000, "is not the file: its SHA256 is"),
    ("text/html; charset=utf-8", b"<html>log in</html>", "web page instead of the file"),
    ("application/octet-stream", b"<html>log in</html>", "is not the file: its SHA256 is"),
])
def test_what_is_not_the_file_is_not_kept(server, cached, kind, content, reason):
    server.kind, server.content = kind, content
    with pytest.raises(DownloadError, match=reason) as caught:
        models.vgg11(weights="DEFAULT", progress=False)
    assert f"SCRATCHVGG_MIRROR is set; the file's own place is {hub.ORIGIN}/{cached.name}" in str(caught.value)
    assert not list(cached.parent.iterdir())


def test_a_missing_file(server):
    server.statuses = [404]
    with pytest.raises(DownloadError, match="the server answered 404"):
        models.vgg11(weights="DEFAULT")
    assert len(server.requests) == 1


# ---- the cache -------------------------------------------------------------------------------------------------------


def no_network(patch):
    patch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))


def test_a_file_put_there_by_hand_is_used(entry, cached, patch):
    no_network(patch)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(entry[1])
    assert same(models.vgg11(weights="DEFAULT"), entry[0])


def test_a_wrong_file_put_there_by_hand_is_named(entry, cached, patch):
    def refused(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    patch.setattr(socket, "getaddrinfo", refused)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"<html>")
    with pytest.raises(DownloadError, match=r"The file that is there is another one: its SHA256 is \w+, expected \w{8}…"):
        models.vgg11(weights="DEFAULT")


def test_a_damaged_file_in_the_cache_is_fetched_anew(server, entry, cached):
    cached.parent.mkdir(parents=True)
    damaged = bytearray(entry[1])
    damaged[len(damaged) // 2] ^= 1
    cached.write_bytes(damaged)
    assert same(models.vgg11(weights="DEFAULT"), entry[0]) and len(server.requests) == 1


@pytest.mark.parametrize("spelling", ["file URL", "folder", "folder with a slash", "home"])
def test_mirrors_on_the_disk(entry, tmp_path, patch, spelling):
    folder = tmp_path / "my mirror"
    folder.mkdir()
    (folder / entry[2]).write_bytes(entry[1])
    no_network(patch)
    patch.setenv("HOME", str(tmp_path))
    spellings = {"file URL": folder.as_uri(), "folder": str(folder), "folder with a slash": f"{folder}/", "home": "~/my mirror"}
    patch.setenv("SCRATCHVGG_MIRROR", spellings[spelling])
    assert same(models.vgg11(weights="DEFAULT", progress=False), entry[0])


def test_a_mirror_is_for_torchs_files_only(monkeypatch):
    monkeypatch.setenv("SCRATCHVGG_MIRROR", "https://mirror.example/torch/")
    assert hub.mirrored("https://download.pytorch.org/models/x-12345678.pth") == "https://mirror.example/torch/x-12345678.pth"
    assert hub.mirrored("https://example.org/models/x.pth") == "https://example.org/models/x.pth"
    monkeypatch.setenv("SCRATCHVGG_MIRROR", "  ")
    assert hub.mirrored("https://download.pytorch.org/models/x.pth") == "https://download.pytorch.org/models/x.pth"


def test_a_mirror_without_the_file(entry, tmp_path, patch):
    patch.setenv("SCRATCHVGG_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(DownloadError, match="No such file.*SCRATCHVGG_MIRROR is set"):
        models.vgg11(weights="DEFAULT")


# ---- several processes, and the end of one ---------------------------------------------------------------------------


def test_two_processes_fetch_one_copy(server, entry, cached):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    arguments = (entry[1], os.environ["SCRATCHVGG_HOME"], os.environ["SCRATCHVGG_MIRROR"], barrier)
    processes = [context.Process(target=narrow_vgg11.build_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1 and cached.read_bytes() == entry[1] and [f.name for f in cached.parent.iterdir()] == [cached.name]


def test_ctrl_c_in_the_middle_loses_nothing(server, entry, cached):
    server.stall, server.cuts = threading.Event(), [30_000]
    context = multiprocessing.get_context("spawn")
    arguments = (entry[1], os.environ["SCRATCHVGG_HOME"], os.environ["SCRATCHVGG_MIRROR"])
    process = context.Process(target=narrow_vgg11.build_in_process, args=arguments)
    process.start()
    deadline = time.monotonic() + 60
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # the bytes sent have arrived, the server is silent
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 1  # KeyboardInterrupt, not a download that was waited for
    assert not cached.exists() and 0 < cached.with_name(cached.name + ".part").stat().st_size <= 30_000
    server.stall.set()
    assert same(models.vgg11(weights="DEFAULT"), entry[0])
    assert server.requests[-1]["Range"].startswith("bytes=") and [f.name for f in cached.parent.iterdir()] == [cached.name]


# ---- torchvision's old spellings, and files --------------------------------------------------------------------------


def test_pretrained_is_the_old_spelling(server, entry):
    for old in (lambda: models.vgg11(pretrained=True), lambda: models.vgg11(True), lambda: models.vgg11(weights=True)):
        with pytest.warns(UserWarning, match=r"pretrained=True.*deprecated.*weights=VGG11_Weights.IMAGENET1K_V1") as caught:
            assert same(old(), entry[0])
        assert caught[0].filename == __file__
    for old in (lambda: models.vgg11(pretrained=False, num_classes=3), lambda: models.vgg11(False, num_classes=3)):
        with pytest.warns(UserWarning, match="write weights=None"):
            assert old().classifier[-1].out_features == 3
    with pytest.raises(TypeError, match="not both"):
        models.vgg11(weights="DEFAULT", pretrained=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.vgg11(weights=None, num_classes=3)
        models.vgg11("DEFAULT")


@pytest.mark.parametrize("kind", ["str", "path"])
def test_a_file_brings_its_number_of_classes(patch, tmp_path, kind):
    state, path = narrow_vgg11.state(num_classes=7), tmp_path / "mine.npz"
    sv.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    weights = path if kind == "path" else str(path)
    assert same(models.vgg11(weights=weights), state) and models.vgg11(weights=weights, num_classes=7).classifier[-1].out_features == 7
    with pytest.raises(ValueError, match=r"num_classes=8, but .*mine.npz has 7 classes"):
        models.vgg11(weights=weights, num_classes=8)
    with pytest.raises(WeightsError, match=r"mine.npz fits vgg11, not vgg13: 10 entries missing .*; 8 entries too many .*; 1 entry of another shape"):
        models.vgg13(weights=weights)


def test_nothing_is_drawn(server, entry):
    """Weights that are replaced at once need no random numbers: the default generator stands where it stood."""
    sv.manual_seed(3)
    expected = sv.rand(4).numpy()
    sv.manual_seed(3)
    models.vgg11(weights="DEFAULT")
    np.testing.assert_array_equal(sv.rand(4).numpy(), expected)


def test_the_digits_are_of_the_whole_file(entry):
    assert entry[2] == f"vgg11-{hashlib.sha256(entry[1]).hexdigest()[:8]}.pth"
