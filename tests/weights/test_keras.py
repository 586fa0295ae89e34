"""Keras's HDF5 files in every layout; and hostile ones, which only ever meet a child process."""

import io
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from scratchvgg.weights import WeightsError, identify, keras, load
from scratchvgg.weights.source import Malformed, open_source

from .keras_files import BLOCKS, classic, layers, modern

h5py = pytest.importorskip("h5py")


def same(tree, expected) -> bool:
    return list(tree) == list(expected) and all(
        list(tree[layer]) == list(weights) and all(tree[layer][r].dtype == a.dtype and np.array_equal(tree[layer][r], a) for r, a in weights.items())
        for layer, weights in expected.items()
    )


# ---- layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {}, {"root": "model_weights"}, {"weight": "{layer}_{letter}_1:0"}, {"weight": "{layer}/{layer}/{role}:0"}, {"weight": "vgg16/{layer}/{role}"},
], ids=str)
def test_classic_layouts(tmp_path, options):
    path = classic(tmp_path / "vgg16.h5", layers(), **options)
    assert identify(path) == "keras" and same(load(path), layers()) and same(load(path, mmap=False), layers())


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("blocks", [(1, 1, 2, 2, 2), (2, 2, 2, 2, 2), BLOCKS, (2, 2, 4, 4, 4)], ids=str)
def test_keras_3(tmp_path, named, blocks):
    path = modern(tmp_path / "x.weights.h5", layers(blocks=blocks), named=named)
    assert same(load(path), layers(blocks=blocks))


def test_keras_3_without_the_head_and_other_nets(tmp_path):
    assert same(load(modern(tmp_path / "a.h5", layers(head=False))), layers(head=False))
    other = load(modern(tmp_path / "b.h5", layers(blocks=(1, 2))))
    assert list(other) == ["conv2d", "conv2d_1", "conv2d_2", "dense", "dense_1", "dense_2"]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_types(tmp_path, dtype):
    tree = {"fc1": {"kernel": np.arange(6).reshape(2, 3).astype(dtype), "bias": np.arange(3).astype(dtype)}}
    read = load(classic(tmp_path / "x.h5", tree))["fc1"]
    assert read["kernel"].dtype == np.dtype(dtype).newbyteorder("=") and np.array_equal(read["kernel"], tree["fc1"]["kernel"])


def test_open_files_and_writable_windows(tmp_path):
    path = classic(tmp_path / "x.h5", layers())
    assert same(load(io.BytesIO(path.read_bytes())), layers())
    before = path.read_bytes()
    tree = load(path)
    tree["fc1"]["kernel"] += 1
    assert path.read_bytes() == before


def test_strings_as_attributes(tmp_path):
    """h5py writes str as variable-length strings, which lie elsewhere in the file than Keras's fixed ones."""
    path = classic(tmp_path / "x.h5", layers())
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = ["input_1", *layers()]
    assert same(load(path), layers())


# ---- refusals --------------------------------------------------------------------------------------------------------


def small(path, **options):
    return classic(path, {"fc1": {"kernel": np.ones((4, 3), np.float32), "bias": np.zeros(3, np.float32)}}, **options)


def replaced(path, value=None, link=None, **options):
    with h5py.File(small(path), "r+") as file:
        del file["fc1/fc1/kernel:0"]
        if link is not None:
            file["fc1/fc1/kernel:0"] = link
        else:
            file.create_dataset("fc1/fc1/kernel:0", data=value, **options)
    return path


def refusals(folder):
    """(file, message) of everything that is refused."""
    array = np.ones((4, 3), np.float32)
    (folder / "raw").write_bytes(array.tobytes())
    yield small(folder / "chunked", chunks=True), "chunked or compressed"
    yield small(folder / "gzip", compression="gzip"), "chunked or compressed"
    yield replaced(folder / "checksum", array, fletcher32=True), "chunked or compressed"
    yield replaced(folder / "external", array, external=[(str(folder / "raw"), 0, array.nbytes)]), "another file"
    yield replaced(folder / "soft", link=h5py.SoftLink("/fc1/fc1/bias:0")), "soft or external link"
    yield replaced(folder / "link", link=h5py.ExternalLink(str(folder / "gzip"), "/fc1")), "soft or external link"
    yield replaced(folder / "integers", np.ones((4, 3), np.int32)), "IEEE floating-point"
    yield replaced(folder / "compound", np.zeros(3, [("a", "f4")])), "IEEE floating-point"
    yield replaced(folder / "strings", np.array([b"a"] * 3)), "IEEE floating-point"
    yield replaced(folder / "null", h5py.Empty("f4")), "no data"
    with h5py.File(folder / "virtual", "w") as file:
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource(str(folder / "gzip"), "fc1/fc1/kernel:0", (4, 3))
        file.create_virtual_dataset("layers/dense/vars/0", layout)
    yield folder / "virtual", "chunked or compressed"
    with h5py.File(folder / "unwritten", "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 40,), "f4")
    yield folder / "unwritten", "no data"
    with h5py.File(folder / "other", "w") as file:
        file["x"] = array
    yield folder / "other", "without Keras's weights"
    with h5py.File(small(folder / "shared"), "r+") as file:
        file["fc1/fc1/kernel:0b"] = file["fc1/fc1/kernel:0"]
        file["fc1"].attrs["weight_names"] = [b"fc1/kernel:0", b"fc1/kernel:0b"]
    yield folder / "shared", "on top of another"
    with h5py.File(small(folder / "twice"), "r+") as file:
        file["fc1/kernel:0"] = array
        file["fc1"].attrs["weight_names"] = [b"fc1/kernel:0", b"kernel:0"]
    yield folder / "twice", "occurs twice"
    with h5py.File(small(folder / "missing"), "r+") as file:
        file["fc1"].attrs["weight_names"] = [b"fc1/kernel:0", b"fc1/gamma:0"]
    yield folder / "missing", "fc1/gamma:0 is missing"
    with h5py.File(small(folder / "layer"), "r+") as file:
        file.attrs["layer_names"] = [b"fc1", b"fc2"]
    yield folder / "layer", "'fc2' has no weight_names"
    for name, value in (("numbers", np.arange(3)), ("table", np.array([[b"fc1"]])), ("long", [b"fc1"] * 1001)):
        with h5py.File(small(folder / name), "r+") as file:
            file.attrs["layer_names"] = value
        yield folder / name, "no list of at most 1000 names"


def test_refusals(tmp_path):
    with keras.Inspector() as inspector:
        for path, message in refusals(tmp_path):
            with open_source(path) as source, pytest.raises(Malformed, match=message):
                keras.arrange(source, inspector.inspect(source))


def test_a_refusal_names_the_file(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read .*gzip\.h5: fc1/fc1/kernel:0 is chunked or compressed"):
        load(small(tmp_path / "gzip.h5", compression="gzip"))


@pytest.mark.parametrize(("change", "message"), [
    ({"offset": 1 << 62}, "truncated or corrupt"), ({"offset": 0}, "on top of another"), ({"offset": -8}, "no array"), ({"dtype": "|O"}, "no array"),
    ({"shape": [1 << 40]}, "truncated or corrupt"), ({"shape": [-1]}, "no array"), ({"shape": [1.5]}, "no array"), ({"shape": [1] * 40}, "no array"),
    ({"name": 3}, "has a name"), ({"layer": "a\nb"}, "has a name"),
])
def test_nothing_that_the_child_says_is_believed(tmp_path, change, message):
    entry = {"layer": "fc1", "name": "kernel:0", "shape": [1], "dtype": "<f4", "offset": 8} | change
    with open_source(small(tmp_path / "x.h5")) as source, pytest.raises(Malformed, match=message):
        keras.arrange(source, {"layout": "classic", "weights": [entry]})


# ---- the child process -----------------------------------------------------------------------------------------------


def test_truncations(tmp_path):
    whole = small(tmp_path / "x.h5").read_bytes()
    with keras.Inspector() as inspector:
        for length in range(8, len(whole), 97):
            with open_source(io.BytesIO(whole[:length])) as source, pytest.raises(Malformed):
                keras.arrange(source, inspector.inspect(source))


def test_flipped_bits(tmp_path):
    """Whatever libhdf5 makes of it, here it is a tree or a refusal, and the child serves the next file."""
    whole = small(tmp_path / "x.h5").read_bytes()
    rng, outcomes = np.random.default_rng(0), set()
    with keras.Inspector() as inspector:
        for _ in range(400):
            bad = np.frombuffer(whole, np.uint8).copy()
            bad[rng.integers(8, min(len(bad), 2000), 3)] ^= (1 << rng.integers(0, 8, 3)).astype(np.uint8)
            with open_source(io.BytesIO(bad.tobytes())) as source:
                try:
                    outcomes.add(type(keras.arrange(source, inspector.inspect(source))))
                except Malformed:
                    outcomes.add(Malformed)
        with open_source(tmp_path / "x.h5") as source:
            assert keras.arrange(source, inspector.inspect(source))["fc1"]["kernel"].tolist() == [[1] * 3] * 4
    assert outcomes == {dict, Malformed}


def test_no_layer_is_lost_in_a_damaged_group(tmp_path):
    """libhdf5 lists such a group, or fails to; looking up a name in it finds nothing and is no error."""
    names = ("conv2d", "conv2d_1", "dense")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in names:
            file[f"layers/{name}/vars/0"], file[f"layers/{name}/vars/1"] = np.ones((4, 3), np.float32), np.zeros(3, np.float32)
    whole, refused = (tmp_path / "x.h5").read_bytes(), 0
    places = [match.start() + i for match in re.finditer(b"TREE", whole) for i in (24, 25, 32, 40)]  # how names are found
    with keras.Inspector() as inspector:
        for place in places:
            bad = bytearray(whole)
            bad[place] ^= 1
            with open_source(io.BytesIO(bytes(bad))) as source:
                try:
                    tree = keras.arrange(source, inspector.inspect(source))
                    assert {name: list(weights) for name, weights in tree.items()} == {name: ["kernel", "bias"] for name in names}
                except Malformed:
                    refused += 1
    assert refused > len(places) // 20


def test_one_child_for_many_files(tmp_path, monkeypatch):
    good, bad, started = small(tmp_path / "good.h5"), small(tmp_path / "bad.h5", chunks=True), []
    start = keras.Inspector._start
    monkeypatch.setattr(keras.Inspector, "_start", lambda self: (started.append(1), start(self)))
    with keras.one_child():
        for _ in range(3):
            assert list(load(good)) == ["fc1"]
            with pytest.raises(WeightsError, match="chunked"):
                load(bad)
    assert len(started) == 1
    load(good)
    assert len(started) == 2


CHILDREN = {
    "crash": ("os.kill(os.getpid(), 11)", "crashed on it.*SIGSEGV"),
    "exit": ("os._exit(3)", "crashed on it.*status 3"),
    "hang": ("time.sleep(100)", "took longer than 1 s"),
    "loop": ("confine_time()\n    while True: pass", "too much processor time"),
    "chatter": ("out.write(struct.pack('<QQ', 0, 1 << 40)); out.flush(); time.sleep(100)", "more than it may"),
    "beyond": ("out.write(struct.pack('<QQ', 1 << 40, 8)); out.flush(); time.sleep(100)", "truncated or corrupt"),
    "long answer": ("out.write(struct.pack('<QQ', (1 << 64) - 1, 1 << 40)); out.flush()", "crashed on it"),
    "no answer": ("out.write(struct.pack('<QQ', (1 << 64) - 1, 3) + b'abc'); out.flush(); time.sleep(100)", "JSONDecodeError"),
    "another answer": ("out.write(struct.pack('<QQ', (1 << 64) - 1, 2) + b'{}'); out.flush(); time.sleep(100)", "'weights' is missing"),
}


@pytest.mark.skipif(os.name == "nt", reason="signals and timers of POSIX")
@pytest.mark.parametrize("name", CHILDREN)
def test_children_that_misbehave(tmp_path, monkeypatch, name):
    code, message = CHILDREN[name]
    (tmp_path / "child.py").write_text(f"""
import os, signal, struct, sys, time
def confine_time(): signal.setitimer(signal.ITIMER_PROF, 0.2)
out = sys.stdout.buffer
out.write(b"ready"); out.flush()
if len(sys.stdin.buffer.read(8)) == 8:
    {code}
""")
    monkeypatch.setattr(keras, "_SCRIPT", tmp_path / "child.py")
    monkeypatch.setattr(keras, "_SECONDS", 1.0)
    path, started = small(tmp_path / "x.h5"), time.monotonic()
    with pytest.raises(WeightsError, match=rf"(?s)cannot read .*x\.h5: .*{message}"):
        load(path)
    assert time.monotonic() - started < 20


def test_without_h5py(tmp_path, monkeypatch):
    path = small(tmp_path / "x.h5")
    (tmp_path / "child.py").write_text("raise ImportError")
    monkeypatch.setattr(keras, "_SCRIPT", tmp_path / "child.py")
    with pytest.raises(ImportError, match=r"scratchvgg\[keras\].*cannot be imported"):
        load(path)
    monkeypatch.setattr(keras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'scratchvgg\[keras\]'"):
        load(path)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_the_child_is_confined(tmp_path):
    """It can open nothing, start nothing and not grow."""
    script = keras._SCRIPT.read_text().replace("    while len(head := answers.read(8)) == 8:", '''
    tried = []
    for attempt in (lambda: open("/etc/passwd"), lambda: os.fork(), lambda: bytearray(200 << 20)):
        try:
            attempt()
            tried.append("allowed")
        except (OSError, MemoryError) as error:
            tried.append(type(error).__name__)
    requests.write(json.dumps(tried).encode())
    requests.flush()
    while len(head := answers.read(8)) == 8:''')
    assert "tried" in script
    (tmp_path / "child.py").write_text(script)
    folders = str([os.path.dirname(os.path.dirname(module.__file__)) for module in (h5py, np)]).replace("'", '"')
    done = subprocess.run([sys.executable, "-I", tmp_path / "child.py", folders], input=b"", capture_output=True, check=False)
    fork = "BlockingIOError" if os.getuid() else "allowed"  # the system does not count root's processes
    assert done.stdout.startswith(f'ready["OSError", "{fork}", "MemoryError"]'.encode()), done
