"""Which format a file is in shows in its content; what it is instead, in the message."""

import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

import scratchvgg.weights
from scratchvgg.weights import WeightsError, identify, load, save
from scratchvgg.weights.formats import FORMATS

from .keras_files import classic

TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.int64)}


def same(tree, expected) -> bool:
    return set(tree) == set(expected) and all(tree[k].dtype == v.dtype and tree[k].tobytes() == v.tobytes() for k, v in expected.items())


def written(folder) -> dict:
    """One file of each format whose writer does not need torch, under a name that says nothing."""
    for name in ("npz", "torch", "safetensors"):
        save(folder / name, TREE, format=name)
    np.savez(folder / "numpy", **TREE)
    os.rename(folder / "numpy.npz", folder / "numpy")
    return {"npz": "npz", "torch": "torch", "safetensors": "safetensors", "numpy": "npz"}


def test_content_decides(tmp_path):
    for name, form in written(tmp_path).items():
        os.rename(tmp_path / name, tmp_path / f"{name}.wrong")
        assert identify(tmp_path / f"{name}.wrong") == form
        for mmap in (True, False):
            for verify in (True, False):
                assert same(load(tmp_path / f"{name}.wrong", mmap=mmap, verify=verify), TREE)
        content = io.BytesIO((tmp_path / f"{name}.wrong").read_bytes())
        assert identify(content) == form and same(load(content), TREE)
        with open(tmp_path / f"{name}.wrong", "rb") as file:
            file.seek(5)
            assert same(load(file), TREE)


def test_torchs_legacy_files(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({k: torch.from_numpy(v) for k, v in TREE.items()}, tmp_path / "x", _use_new_zipfile_serialization=False)
    assert identify(tmp_path / "x") == "torch-legacy" and same(load(tmp_path / "x"), TREE)


def test_keras_files(tmp_path):
    pytest.importorskip("h5py")
    assert identify(classic(tmp_path / "x", {"fc1": {"kernel": TREE["a"], "bias": TREE["a"][0]}})) == "keras"


@pytest.mark.parametrize(("name", "form"), [
    ("x.npz", "npz"), ("x", "npz"), ("x.ckpt", "npz"), ("x.pth", "torch"), ("x.PT", "torch"), ("x.safetensors", "safetensors"),
])
def test_suffixes(tmp_path, name, form):
    for path in (tmp_path / name, str(tmp_path / name), os.fsencode(tmp_path / name)):
        save(path, TREE)
        assert identify(path) == form and same(load(path), TREE)


def test_open_files(tmp_path):
    for form in ("npz", "torch", "safetensors", None):
        file = io.BytesIO()
        save(file, TREE, format=form)
        assert identify(file) == (form or "npz") and same(load(file), TREE)


def test_every_format_keeps_every_bit_of_the_others(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    raw = np.random.default_rng(0).integers(0, 256, 96, np.uint8)
    tree = {name: raw.view(name) for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64")}
    tree |= {"bfloat16": raw.view(ml_dtypes.bfloat16), "bool": raw < 99, "scalar": np.array(1.5, np.float32), "empty": np.zeros((0, 2))}
    for order in (".npz", ".pth", ".safetensors"), (".safetensors", ".npz", ".pth"), (".pth", ".safetensors", ".npz"):
        read = tree
        for suffix in order:
            save(tmp_path / f"x{suffix}", read)
            read = load(tmp_path / f"x{suffix}")
        assert same(read, tree)


def test_mapped_arrays_live_on_when_their_file_is_replaced(tmp_path):
    for name in written(tmp_path):
        tree = load(tmp_path / name)
        save(tmp_path / name, {"other": np.zeros(100_000)})
        os.remove(tmp_path / name)
        assert same(tree, TREE)
        tree["a"][0, 0] = 9  # writable: a private copy of the page


def test_as_tensor_is_called_for_tensors(tmp_path):
    for name in written(tmp_path):
        tree = load(tmp_path / name, as_tensor=lambda array: ("tensor", array))
        assert isinstance(tree["a"], np.ndarray) if name == "npz" else tree["a"][0] == "tensor"


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"keras files are only read; written are npz \(\.npz\), torch \(\.pth \.pt\), safetensors"):
        save(tmp_path / "x.h5", TREE)
    with pytest.raises(ValueError, match="unknown format 'tensorflow'"):
        save(tmp_path / "x", TREE, format="tensorflow")
    ring = []
    ring.append(ring)
    for suffix in (".npz", ".pth"):
        with pytest.raises(ValueError, match="too deeply, or holds itself"):
            save(tmp_path / f"x{suffix}", ring)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError):
        save(3, TREE)


# ---- what is no weights file -----------------------------------------------------------------------------------------


def tar_of(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("storages")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zip_of(*names) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "content")
    return file.getvalue()


FOREIGN = {
    "empty": (b"", "it is empty"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
    "html after blanks": (b"\n  <HTML>sign in</HTML>", "HTML page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML document"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 553433881\n", "git-lfs pointer"),
    "gzip": (gzip.compress(b"x" * 100), "gzip: unpack"),
    "npy": (b"\x93NUMPY\x01\x00" + b" " * 100, "single NumPy array"),
    "tensorflow list": (b'model_checkpoint_path: "vgg.ckpt"\n', "TensorFlow"),
    "tensorflow index": (b"\0" * 40 + bytes.fromhex("57fb808b247547db"), "TensorFlow checkpoint"),
    "caffe": (b"\x0a\x14VGG_ILSVRC_16_layers" + b"\x01" * 50, "Caffe"),
    "png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "PNG picture"),
    "json": (b'{"message": "not found"}', "text that begins"),
    "zeros": (b"\0" * 1000, "zeros only"),
    "noise": (bytes(range(1, 100)) * 20, "no weights file at all"),
    "zip": (zip_of("readme.txt", "a", "b", "c"), "a zip archive of readme.txt, a, b, …"),
    "empty zip": (zip_of(), "no weights file"),
    "keras 3": (zip_of("metadata.json", "config.json", "model.weights.h5"), "unpack it and read its model.weights.h5"),
    "cut zip": (zip_of("readme.txt")[:-30], "truncated"),
    "P": (b"P", "no weights file"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_named(tmp_path, name):
    content, message = FOREIGN[name]
    (tmp_path / "some.pth").write_bytes(content)
    for read in (load, identify):
        with pytest.raises(WeightsError, match=message) as caught:
            read(tmp_path / "some.pth")
        assert str(caught.value).startswith(f"cannot read {tmp_path / 'some.pth'}: ")
    with pytest.raises(WeightsError, match="cannot read the open file: "):
        load(io.BytesIO(content))


@pytest.mark.parametrize(("content", "message"), [(tar_of(b"x" * 100), "tar archive"), (pickle.dumps({"a": 1}, 4), "pickle")])
def test_what_only_looks_like_torchs_legacy_format(content, message):
    with pytest.raises(WeightsError, match=message):
        load(io.BytesIO(content))


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="directory"):
        load(tmp_path)
    with pytest.raises(TypeError, match="path"):
        load(3)


def test_no_code_in_a_file_runs(tmp_path):
    """A pickle that would make a file, alone and as data.pkl of a torch archive."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Bomb(), 2))
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(), 2))
        archive.writestr("archive/version", "3\n")
    for name in ("x.pkl", "x.pth"):
        with pytest.raises(WeightsError):
            load(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("error", [
    ValueError("x"), KeyError("x"), OverflowError("x"), RecursionError(), MemoryError(), UnicodeError("x"), IndexError("x"), TypeError("x"),
], ids=repr)
def test_whatever_a_reader_stumbles_over_is_a_weights_error(tmp_path, monkeypatch, error):
    save(tmp_path / "x", TREE)
    monkeypatch.setattr("scratchvgg.weights.archive.ZipReader", lambda source: (_ for _ in ()).throw(error))
    with pytest.raises(WeightsError, match=r"cannot read .*x: .+") as caught:
        load(tmp_path / "x")
    assert caught.value.__cause__ is error


def test_errors_of_the_machine_pass(tmp_path):
    save(tmp_path / "x", TREE, format="torch")
    for error in (ImportError("pip install 'scratchvgg[keras]'"), OSError("disk"), KeyboardInterrupt()):
        def stop(array, error=error):
            raise error

        with pytest.raises(type(error)):
            load(tmp_path / "x", as_tensor=stop)


def test_the_package_names_them():
    assert scratchvgg.weights.load is load and set(scratchvgg.weights.__all__) == {"WeightsError", "identify", "load", "save"}
    with pytest.raises(AttributeError):
        scratchvgg.weights.nothing  # noqa: B018
    assert [form.name for form in FORMATS] == ["npz", "torch", "safetensors", "torch-legacy", "keras"]


def test_importing_the_package_reads_no_reader():
    code = "import sys, scratchvgg.weights; print([m for m in sys.modules if m.startswith('scratchvgg.weights.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "scratchvgg.weights.errors" in done.stdout and not any(name in done.stdout for name in ("formats", "keras", "archive", "source"))
