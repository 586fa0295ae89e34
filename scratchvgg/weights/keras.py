"""VGG weights from Keras's HDF5 files: the classic layout, whole models, and Keras 3's ``.weights.h5``.

libhdf5 is C code that hostile files can crash, so it runs in a child process of its own (``_hdf5_child.py``), which reports where in the file each
dataset lies. Nothing that it says is believed before it was compared with the file; the data never passes through it.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib.util
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from .source import Malformed, Source

_MAGIC = b"\x89HDF\r\n\x1a\n"
_DTYPES = {order + kind for order in "<>" for kind in ("f2", "f4", "f8")}
_ANSWER, _READY = (1 << 64) - 1, b"ready"
_LONGEST_ANSWER, _LONGEST_PIECE = 1 << 22, 1 << 16
_MOST_AXES = 32
_MOST_FILES = 5000  # for one child: what libhdf5 leaks over hostile files adds up
_NEEDED = "Keras's HDF5 files need h5py: pip install 'scratchvgg[keras]'"
_SCRIPT = Path(__file__).with_name("_hdf5_child.py")
_SECONDS = 20.0  # by the clock: for the start of the child and one file
_ROLES = {"W": "kernel", "b": "bias"}  # Keras 1's names
_STAGES = {8: (1, 1, 2, 2, 2), 10: (2, 2, 2, 2, 2), 13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}  # convolutions of VGG 11, 13, 16, 19 per block
_HEAD = ("fc1", "fc2", "predictions")
_shared = contextvars.ContextVar("the child that reads share", default=None)


def matches(source: Source) -> bool:
    """Whether the file begins with HDF5's signature."""
    return source.size >= 8 and source.bytes(0, 8) == _MAGIC


def read(source: Source, as_tensor, verify: bool = True) -> dict[str, dict]:
    """``{"block1_conv1": {"kernel": array, "bias": array}, ...}`` as the file has them: kernels (R, S, C, K), dense ones (in, out); mapped.

    Files of Keras 3 that do not keep the layers' names get those of ``keras.applications`` if they hold a whole VGG.

    Args:
        as_tensor: called with each array; None leaves arrays.
        verify: nothing to do: Keras's files have no checksums.

    Raises:
        Malformed: if libhdf5 refuses the file or crashes on it, or if it holds chunked, compressed, linked or external data, other types than
            floating point, or datasets outside the file or on top of each other. ImportError: naming the extra ``keras``.
    """
    shared = _shared.get()
    with contextlib.nullcontext(shared) if shared else Inspector() as inspector:
        return arrange(source, inspector.inspect(source), as_tensor)


@contextlib.contextmanager
def one_child():
    """A context manager in which :func:`read` sends all files to one child process, which is started anew only when a file has crashed it.

    It saves 0.2 s a file where very many are tried. Without it each file has a process of its own, so that nothing that one does to libhdf5
    reaches the next. It gives the :class:`Inspector`.
    """
    with Inspector() as inspector:
        token = _shared.set(inspector)
        try:
            yield inspector
        finally:
            _shared.reset(token)


def arrange(source: Source, report: dict, as_tensor=None) -> dict[str, dict]:
    """The tree that :func:`read` returns, from the report of an :class:`Inspector`, every claim of which is checked here."""
    weights = [_checked(entry) for entry in report["weights"]]
    reached = 0
    for entry in sorted(weights, key=lambda entry: entry["offset"]):
        if entry["offset"] < max(reached, len(_MAGIC)):
            raise Malformed(f"the dataset {entry['layer']}/{entry['name']} lies on top of another: refused")
        reached = entry["offset"] + math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize
    named = {}
    if report["layout"] == "modern":  # libhdf5 lists groups by the alphabet: conv2d_10 before conv2d_2
        weights.sort(key=lambda entry: (re.sub(r"_\d+$", "", entry["layer"]), _number(entry["layer"]), entry["name"]))
        named = _names_of_layers(weights)
    tree: dict[str, dict] = {}
    for entry in weights:
        layer, role = (named[entry["layer"]], _role_by_shape(entry)) if named else _classic_names(entry)
        group = tree.setdefault(layer, {})
        if role in group:
            raise Malformed(f"the weight {layer}/{role} occurs twice")
        array = source.array(entry["offset"], np.dtype(entry["dtype"]), entry["shape"])
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        group[role] = as_tensor(array) if as_tensor is not None else array
    return tree


def _checked(entry: dict) -> dict:
    names = [entry["layer"], entry["name"], entry.get("called") or ""]
    numbers = [entry["offset"], *entry["shape"]]
    if not all(type(name) is str and len(name) < 1000 and name.isprintable() for name in names):
        raise Malformed("a layer or a weight has a name that is not one")
    if len(numbers) > _MOST_AXES or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers) or entry["dtype"] not in _DTYPES:
        raise Malformed(f"the dataset {names[0]}/{names[1]} is no array of float16, float32 or float64")
    return entry


# ---- names -----------------------------------------------------------------------------------------------------------


def _classic_names(entry: dict) -> tuple[str, str]:
    """block1_conv1/kernel:0, or block1_conv1_W_1:0 in the layer's group → ("block1_conv1", "kernel")."""
    *outer, last = entry["name"].split("/")
    last = re.sub(r":\d+$", "", last)
    layer = outer[-1] if outer else entry["layer"]
    old = re.fullmatch(r".*_([Wb])(?:_\d+)?", last)
    return layer, _ROLES[old[1]] if old else last


def _role_by_shape(entry: dict) -> str:
    """Keras 3 numbers the variables of a layer: 0 is the kernel, 1 the bias."""
    return {"0": "kernel", "1": "bias"}.get(entry["name"], entry["name"])


def _names_of_layers(weights: list[dict]) -> dict[str, str]:
    """Group of a Keras 3 file → the layer's name: what the file says, else VGG's by the order of conv2d, conv2d_1, …, dense, …, else the group's."""
    groups = {entry["layer"]: entry.get("called") for entry in weights}
    if all(groups.values()) and len(set(groups.values())) == len(groups) and not all(map(_is_automatic, groups.values())):
        return groups
    convolutions, dense = ([group for group in groups if re.fullmatch(rf"{kind}(_\d+)?", group)] for kind in ("conv2d", "dense"))
    names = dict(zip(groups, groups, strict=True))
    if len(convolutions) + len(dense) == len(groups) and len(convolutions) in _STAGES and len(dense) in (0, len(_HEAD)):
        blocks = [f"block{b}_conv{c}" for b, count in enumerate(_STAGES[len(convolutions)], 1) for c in range(1, count + 1)]
        names |= dict(zip(convolutions, blocks, strict=True)) | dict(zip(dense, _HEAD, strict=False))
    return names


def _is_automatic(name: str) -> bool:
    return re.fullmatch(r"(conv2d|dense)(_\d+)?", name) is not None


def _number(name: str) -> int:
    number = name.rpartition("_")[2]
    return int(number) if "_" in name and number.isdecimal() else 0


# ---- the child process -----------------------------------------------------------------------------------------------


class Inspector:
    """A child process in which libhdf5 looks at files; a context manager.

    It serves any number of files, one after the other, and is started anew after a crash.

    Raises:
        ImportError: on entering, naming the extra, if h5py is not installed.
    """

    def __init__(self):
        self._process = None
        self._served, self._late = 0, False

    def __enter__(self) -> Inspector:
        if importlib.util.find_spec("h5py") is None:
            raise ImportError(_NEEDED)
        self._folders = list(dict.fromkeys(str(Path(importlib.util.find_spec(name).origin).parents[1]) for name in ("h5py", "numpy")))
        return self

    def __exit__(self, *_):
        self._end()

    @property
    def pid(self) -> int | None:
        """The child's process number; None if there is none at the moment."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def inspect(self, source: Source) -> dict:
        """``{"layout": "classic" or "modern", "weights": [{"layer", "name", "shape", "dtype", "offset"}, ...]}`` as libhdf5 sees the file.

        Raises:
            Malformed: if it is refused, or the child crashed, took too long or too much memory.
        """
        if self._served >= _MOST_FILES:
            self._end()
        self._late = False
        timer = threading.Timer(_SECONDS, self._interrupt)
        timer.start()
        try:
            if self._process is None:
                self._start()
            self._served += 1
            answer = self._converse(source)
        except (OSError, EOFError):
            raise Malformed(self._post_mortem()) from None
        except BaseException:
            self._end()
            raise
        finally:
            timer.cancel()
        if "refused" in answer:
            raise Malformed(answer["refused"])
        return answer

    def _converse(self, source: Source) -> dict:
        to, by = self._process.stdin, self._process.stdout
        _send(to, source.size.to_bytes(8, "little"))
        while True:
            head = by.read(16)
            if len(head) < 16:
                raise EOFError
            start, count = struct.unpack("<QQ", head)
            if start == _ANSWER:
                break
            if count > _LONGEST_PIECE:
                raise Malformed("libhdf5 asks for more than it may")
            _send(to, source.bytes(start, count))
        if count > _LONGEST_ANSWER or len(text := by.read(count)) < count:
            raise EOFError
        return json.loads(text)

    def _start(self):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
        command = [sys.executable, "-I", str(_SCRIPT), json.dumps(self._folders)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        self._served = 0
        if self._process.stdout.read(len(_READY)) != _READY and not self._late:
            self._end()
            raise ImportError(f"{_NEEDED} (it is installed, but cannot be imported by {sys.executable})")

    def _interrupt(self):
        if (process := self._process) is not None:
            self._late = True
            process.kill()

    def _post_mortem(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)  # its pipe is closed: it is ending by itself
        code = self._end()
        if self._late:
            return f"libhdf5 took longer than {_SECONDS:.0f} s over it"
        if code == -getattr(signal, "SIGPROF", 0):
            return "libhdf5 took too much processor time over it"
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"libhdf5 crashed on it or needs too much memory (its process ended with {how})"

    def _end(self) -> int | None:
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        return process.wait()


def _send(pipe, data: bytes) -> None:
    pipe.write(data)
    pipe.flush()
