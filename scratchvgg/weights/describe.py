"""What a file that no reader knows seems to be, for the message."""

from __future__ import annotations

from .source import Malformed, Source
from .zip_reader import START, ZipReader

_BEGINNINGS = (
    (b"version https://git-lfs", "a git-lfs pointer: the weights themselves were not fetched (git lfs pull)"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"(\xb5/\xfd", "compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x93NUMPY", "a single NumPy array (.npy): put it into an .npz"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"CDF", "a NetCDF file"),
    (b"GGUF", "a GGUF file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"model_checkpoint_path", "TensorFlow's list of checkpoints: its weights cannot be read; export them to Keras HDF5 or safetensors"),
    (b"\x7fELF", "a program"),
)
_TABLE_END = bytes.fromhex("57fb808b247547db")  # the last bytes of a TensorFlow checkpoint's index (LevelDB's table format)


def describe(source: Source) -> Malformed:
    """The error for a file that no reader knows: what it seems to be and, where there is one, the way out."""
    head = source.bytes(0, min(source.size, 1024))
    if head.startswith(START):
        return _describe_zip(source)
    if head.startswith(b"PK"):
        return Malformed("it is truncated or no weights file at all (a zip archive without its beginning)")
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            return Malformed(f"it is truncated or no weights file: it seems to be {what}")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")) or b"<html" in text:
        return Malformed("it is no weights file: it is an HTML page, such as a server's answer in place of the file")
    if text.startswith((b"<?xml", b"<")):
        return Malformed("it is no weights file: it is an XML document, such as a server's answer in place of the file")
    if source.size >= 48 and source.bytes(source.size - 8, 8) == _TABLE_END:
        return Malformed("it is the index of a TensorFlow checkpoint: its weights cannot be read; export them to Keras HDF5 or safetensors")
    if b"VGG_ILSVRC" in head[:32] or b"VGG_CNN" in head[:32]:
        return Malformed("it is a Caffe model, which is not read: convert it to safetensors or .pth first")
    if not any(head):
        return Malformed("it is truncated or no weights file: it begins with zeros only")
    if head.isascii() and head.decode().replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return Malformed(f"it is no weights file: it is text that begins {head[:40].decode()!r}")
    return Malformed("it is truncated or no weights file at all (read are npz, torch's .pth, safetensors and Keras HDF5)")


def _describe_zip(source: Source) -> Malformed:
    names = list(ZipReader(source).members)  # a cut or compressed one says so itself
    if "model.weights.h5" in names:
        return Malformed("it is a Keras 3 archive (.keras): unpack it and read its model.weights.h5")
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return Malformed(f"it is no weights file: a zip archive of {listed or 'nothing'}, without torch's data.pkl, our index.json or arrays")
