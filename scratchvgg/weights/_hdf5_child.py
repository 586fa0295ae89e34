"""The child process that lets libhdf5 look at a stranger's file: run as a script, never imported by the library.

It opens no file. Every byte that libhdf5 asks for is requested from the parent over a pipe, and what goes back is JSON: names, shapes, types and
*offsets* of plain datasets, which the parent maps by itself. Once h5py is loaded the process may open nothing, fork nothing, write nothing and grow
little; for each file it has 0.3 s of processor time (VGG-19 takes 0.02). If libhdf5 crashes, only this process ends.

Child to parent: "ready". Parent to child, per file: its length as 8 bytes. Child to parent: 16 bytes (offset, count), answered with
the bytes, any number of times; then (2⁶⁴ - 1, length) and the answer.
"""

import contextlib
import io
import json
import os
import struct
import sys

BLOCK, MOST_BLOCKS = 1 << 16, 64
SECONDS, GROWTH = 0.3, 96 << 20
MOST_NAMES, LONGEST_NAMES = 1000, 1 << 20


class Refused(Exception):
    """The reason why a file is not read."""


class Remote(io.RawIOBase):
    """The parent's file, a block at a time."""

    def __init__(self, size, requests, answers):
        self._size, self._requests, self._answers = size, requests, answers
        self._place, self._blocks = 0, {}

    def seekable(self):
        """As of every file that libhdf5 can read."""
        return True

    def readable(self):
        """As of every file that libhdf5 can read."""
        return True

    def tell(self):
        """The place of the next byte."""
        return self._place

    def seek(self, offset, whence=os.SEEK_SET):
        """Go to ``offset``; returns the place."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, target):
        """Fill ``target``, with zeros past the end, where it may reach but not begin."""
        target = memoryview(target).cast("B")
        if len(target) and not 0 <= self._place < self._size:
            raise ValueError("it refers to places past its end")
        target[:] = bytes(len(target))
        done = 0
        while done < len(target) and self._place < self._size:
            within = self._place % BLOCK
            piece = self._block(self._place - within)[within : within + len(target) - done]
            target[done : done + len(piece)] = piece
            done, self._place = done + len(piece), self._place + len(piece)
        return done

    def _block(self, start):
        if start not in self._blocks:
            if len(self._blocks) >= MOST_BLOCKS:
                self._blocks.clear()
            count = min(BLOCK, self._size - start)
            self._requests.write(struct.pack("<QQ", start, count))
            self._requests.flush()
            self._blocks[start] = self._answers.read(count)
        return self._blocks[start]


def child(group, name):
    """What ``group`` holds under ``name`` if it is a hard link, else None."""
    import h5py

    if not isinstance(group, h5py.Group) or name not in list(group):  # listing a damaged group is an error; looking up a name in it finds nothing
        return None
    link = group.get(name, getlink=True)
    if link is None:
        raise Refused(f"{group.name.rstrip('/')}/{name} is listed and cannot be found: the file is damaged")
    if not isinstance(link, h5py.HardLink):
        raise Refused(f"{group.name.rstrip('/')}/{name} is a soft or external link: refused")
    return group[name]


def names_in(group, attribute):
    """The strings of an attribute such as ``layer_names``; None if it is missing."""
    import h5py

    if attribute not in group.attrs:
        return None
    header = group.attrs.get_id(attribute)
    count = max(header.shape, default=1) if header.shape is not None else 0
    if not count:
        return []
    if len(header.shape) > 1 or count > MOST_NAMES or header.get_storage_size() > LONGEST_NAMES or header.get_type().get_class() != h5py.h5t.STRING:
        raise Refused(f"the attribute {attribute} of {group.name} is no list of at most {MOST_NAMES} names")
    values = group.attrs[attribute]
    values = [values] if isinstance(values, (str, bytes)) or not header.shape else list(values)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def dataset(item, where):
    """Shape, type and offset of a contiguous dataset as it lies in the file."""
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise Refused(f"{where} is missing or no dataset")
    created = item.id.get_create_plist()
    if created.get_external_count():
        raise Refused(f"{where} keeps its data in another file: refused")
    if created.get_layout() != h5py.h5d.CONTIGUOUS or created.get_nfilters():
        raise Refused(f"{where} is chunked or compressed; only contiguous datasets, as Keras writes them, are read")
    stored, offset = item.id.get_type(), item.id.get_offset()
    if stored.get_class() != h5py.h5t.FLOAT or not stored.equal(h5py.h5t.py_create(item.dtype)):
        raise Refused(f"{where} does not hold IEEE floating-point numbers")
    if item.shape is None or offset is None:
        raise Refused(f"{where} has no data")
    return {"shape": list(item.shape), "dtype": item.dtype.str, "offset": offset}


def classic(root, layers):
    """Keras 1 and 2: attributes name the layers, and each layer's datasets."""
    found = []
    for layer in layers:
        group = child(root, layer)
        weights = names_in(group, "weight_names") if group is not None else None
        if weights is None:
            raise Refused(f"layer {layer!r} has no weight_names")
        for name in weights:
            item = group
            for part in name.split("/"):
                item = child(item, part)
            found.append({"layer": layer, "name": name, **dataset(item, f"{layer}/{name}")})
            if len(found) > MOST_NAMES:
                raise Refused(f"it holds more than {MOST_NAMES} weights")
    return found


def modern(layers):
    """Keras 3: ``layers/<class>_<number>/vars/0, 1``; newer files keep the layer's name as an attribute of ``vars``."""
    found = []
    for number, key in enumerate(layers):
        if number >= MOST_NAMES:
            raise Refused(f"it holds more than {MOST_NAMES} layers")
        variables = child(child(layers, key), "vars")
        if variables is None:
            continue
        if len(variables) > MOST_NAMES:
            raise Refused(f"layer {key!r} holds more than {MOST_NAMES} weights")
        named = names_in(variables, "name")
        found += [{"layer": key, "called": named[0] if named else None, "name": name, **dataset(child(variables, name), f"{key}/vars/{name}")}
                  for name in variables]
    return found


def inspect(file):
    """The weights of an open h5py file: ``{"layout": "classic" or "modern", "weights": [...]}``."""
    root = file
    if "layer_names" not in root.attrs:
        root = child(file, "model_weights") or file
    layers = names_in(root, "layer_names")
    if layers is not None:
        return {"layout": "classic", "weights": classic(root, layers)}
    for name in ("layers", "_layer_checkpoint_dependencies"):
        if (group := child(file, name)) is not None:
            return {"layout": "modern", "weights": modern(group)}
    raise Refused("it is an HDF5 file without Keras's weights (neither layer_names nor layers in it)")


def confine():
    """Take from this process what it does not need any more."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 0}
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            limits["RLIMIT_AS"] = int(file.read().split()[0]) * resource.getpagesize() + GROWTH
    for name, limit in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):  # systems differ in what they limit
            resource.setrlimit(getattr(resource, name), (limit, limit))


def main():
    """Answer for one file after the other until the parent closes the pipe."""
    import signal

    answers, requests = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints goes elsewhere
    sys.path += json.loads(sys.argv[1])
    import h5py

    with h5py.File(io.BytesIO(), "w") as warm:  # imports what h5py imports late
        warm.attrs["names"] = [b"a"]
        inspect_quietly(warm)
    confine()
    requests.write(b"ready")
    requests.flush()
    while len(head := answers.read(8)) == 8:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process even inside libhdf5
        remote = Remote(int.from_bytes(head, "little"), requests, answers)
        try:
            with h5py.File(remote, "r") as file:
                answer = inspect_quietly(file)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, UnicodeError, OverflowError) as error:
            answer = {"refused": f"libhdf5 refuses it ({str(error)[:200]})"}
        text = json.dumps(answer).encode()
        requests.write(struct.pack("<QQ", (1 << 64) - 1, len(text)) + text)
        requests.flush()


def inspect_quietly(file):
    """:func:`inspect`, with refusals as an answer."""
    try:
        return inspect(file)
    except Refused as error:
        return {"refused": str(error)}


if __name__ == "__main__":
    main()
