"""Whether a mutated file was treated rightly: refused with WeightsError, or loaded as what it says; quickly, in little memory, running nothing."""

from __future__ import annotations

import codecs
import pickle
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from scratchvgg.weights import torch_tensors

from ..memory import status

SECONDS, MEMORY, HANG = 1.0, 200 << 20, 30  # what a refusal may take, by the clock; seconds after which it hangs
_AGAIN = 5  # a file that took longer is tried again so often: other programs delay one try, not all
_CODECS = ("ascii", "cp437", "latin-1", "raw-unicode-escape", "utf-8")  # all that the readers name; Python imports each at its first use
_ACTIONS = ("os.system", "os.exec", "os.fork", "os.spawn", "os.posix_spawn", "os.remove", "os.rename", "os.mkdir", "os.chmod", "subprocess.Popen",
            "exec", "socket.", "pickle.find_class", "ctypes.", "shutil.", "webbrowser.", "pty.", "urllib.")


class Wrong(AssertionError):
    """A file was treated wrongly."""


class _Watch:
    """An audit hook (they cannot be taken away) that notes actions while it is switched on."""

    def __init__(self):
        self.seen: list[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if self.seen is None:
            return
        writes = event == "open" and isinstance(arguments[1], str) and any(c in arguments[1] for c in "wax+")
        if writes or event.startswith(_ACTIONS):
            self.seen.append(f"{event}{arguments[:1]}")


_watch = _Watch()


@contextmanager
def _limits(watched: bool):
    """Raise TimeoutError after :data:`HANG` seconds; note actions."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG)
    _watch.seen = [] if watched else None
    try:
        yield _watch.seen
    finally:
        _watch.seen = None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Judge:
    """Loads files of one format and looks at what comes.

    Args:
        form: its name in :data:`~benchmarks.fuzz.seeds.SEEDS`.
        seeds: the whole files; they must load.
        folder: where to write the mutated file.
        child_memory: bytes that are to be added to each file's.

    Attributes:
        counts: outcomes so far: "refused", "same" as the seed, "other".
        slowest, largest: seconds by the clock and bytes of the worst file; of HDF5's child process the whole memory counts.
    """

    def __init__(self, form: str, seeds: list[bytes], folder: Path, child_memory: Callable[[], int] = lambda: 0):
        self.form, self.path, self.child_memory = form, Path(folder) / f"mutated-{form}", child_memory
        self.counts, self.slowest, self.largest = dict.fromkeys(("refused", "same", "other"), 0), 0.0, 0
        self.checked = form in ("torch", "npz")  # these carry a checksum of every byte of content
        self.trees = []
        for name in _CODECS:
            codecs.lookup(name)
        for seed in seeds:
            self.path.write_bytes(seed)
            tree = self._load(self.path)
            same_as(tree, REFERENCE[form](self.path), form)
            self.trees.append(flat(tree))

    def _load(self, path):
        import scratchvgg as sv

        return sv.load(path)

    def __call__(self, content: bytes, seed: int, raw: bool) -> str:
        """The outcome for one mutated file.

        Raises:
            Wrong: with what was wrong with it.
        """
        self.path.unlink(missing_ok=True)  # the file before may still be mapped
        self.path.write_bytes(content)
        tree, seconds, memory = self._measure()
        for _ in range(_AGAIN):
            if seconds <= SECONDS:
                break
            seconds = min(seconds, self._measure()[1])
        if seconds > SECONDS or memory > MEMORY:
            raise Wrong(f"it takes {seconds:.2f} s and {memory / 1e6:.0f} MB")
        self.slowest, self.largest = max(self.slowest, seconds), max(self.largest, memory)
        outcome = self._outcome(tree, seed, raw)
        self.counts[outcome] += 1
        return outcome

    def _measure(self) -> tuple:
        """(the tree, None if it is refused, seconds, bytes) of one try."""
        import scratchvgg as sv

        Path("/proc/self/clear_refs").write_text("5")  # VmHWM ← VmRSS
        before, start, tree = status("VmRSS"), time.perf_counter(), None
        try:
            with _limits(self.form != "keras") as seen:  # HDF5 is read by a process of its own
                tree = self._load(self.path)
        except sv.weights.WeightsError as error:
            if str(self.path) not in str(error):
                raise Wrong(f"the message does not name the file: {error}") from error
        except TimeoutError:
            raise Wrong(f"it hangs: {HANG} s") from None
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}") from error
        seconds, memory = time.perf_counter() - start, status("VmHWM") - before + self.child_memory()
        if seen:
            raise Wrong(f"it does {seen}")
        return tree, seconds, memory

    def _outcome(self, tree, seed: int, raw: bool) -> str:
        if tree is None:
            return "refused"
        if flat(tree) == self.trees[seed]:
            return "same"
        if raw and self.checked:
            raise Wrong("checksums hold every byte, and yet it loads as something else")
        try:
            theirs = REFERENCE[self.form](self.path)
        except Exception as error:
            raise Wrong(f"it loads, the reference refuses it: {type(error).__name__}: {error}") from error
        same_as(tree, theirs, self.form)
        return "other"


# ---- the same, read by others ------------------------------------------------------------------------------------------------


def _torch(path):
    """torch's own restricted reader; where it lacks one of pickle's instructions for plain data, Python's, limited to our names."""
    import torch

    try:
        return torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" not in str(error):
            raise
    return torch.load(path, "cpu", weights_only=False, pickle_module=_Pickle)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if f"{module}.{name}" not in torch_tensors.NAMES:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


class _Pickle:
    """What torch.load needs of a pickle module."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file, **options):
        return _Unpickler(file, **options).load()


def _safetensors(path):
    from safetensors.torch import load_file

    return load_file(path)


def _numpy(path):
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive if name != "index.json"}


def _h5py(path):
    """By a Python file: libhdf5's own way of opening one also minds what it would need for writing."""
    import h5py

    found: dict[str, np.ndarray] = {}

    def walk(group):
        for name in group:
            item = group[name]
            if isinstance(item, h5py.Group):
                walk(item)
            else:
                found[item.name] = item[()]

    with open(path, "rb") as content, h5py.File(content, "r") as file:
        walk(file)
    return found


REFERENCE: dict[str, Callable] = {"torch": _torch, "torch-legacy": _torch, "safetensors": _safetensors, "npz": _numpy, "keras": _h5py}


def same_as(tree, theirs, form: str) -> None:
    """Compare with another reader's tree. Those of npz and HDF5 are put together otherwise: there every array must be one of theirs.

    Raises:
        Wrong: at a difference.
    """
    if form in ("npz", "keras"):
        ours, theirs = ({entry[-1][-1] for entry in flat(t) if isinstance(entry[-1], tuple)} for t in (tree, theirs))
        if not ours <= theirs:
            raise Wrong("it loads, with other numbers than the reference finds")
    elif flat(tree) != flat(theirs):
        raise Wrong("it loads, but not as the reference does")


def flat(value, place: tuple = ()) -> list[tuple]:
    """A tree as a list of (place, plain value or (dtype, shape, bytes)); equal lists mean equal trees, bit for bit. A bare storage of torch's is a
    tensor of one axis here, as our reader makes it."""
    if type(value).__name__ == "TypedStorage":
        import torch

        content = bytearray(value._untyped_storage.tolist())
        value = torch.frombuffer(content, dtype=value.dtype) if content else torch.empty(0, dtype=value.dtype)
    if isinstance(value, dict):
        return [entry for key, item in value.items() for entry in flat(item, (*place, repr(key)))] or [(*place, "{}")]
    if isinstance(value, (list, tuple)) and not hasattr(value, "shape"):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return [entry for number, item in enumerate(value) for entry in flat(item, (*place, kind, number))] or [(*place, kind)]
    if hasattr(value, "shape"):
        return [(*place, _array(value))]
    return [(*place, type(value).__name__, repr(value))]


def _array(value) -> tuple:
    if type(value).__module__.startswith("torch"):
        import torch

        dtype, value = str(value.dtype).removeprefix("torch."), value.detach()
        array = (value.contiguous().view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()
    else:
        array = value.numpy() if hasattr(value, "numpy") else value
        dtype, array = array.dtype.name, array.astype(array.dtype.newbyteorder("="), copy=False)
    return dtype, tuple(value.shape), array.tobytes()
