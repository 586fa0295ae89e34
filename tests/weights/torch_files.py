"""Files of torch's formats for the tests of their readers: genuine ones by ``torch.save``, hostile ones by hand."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from scratchvgg.weights.source import Malformed, open_source

DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")


def read(reader, content, verify=True, mmap=True, as_tensor=None):
    """The tree that ``reader`` (a module) finds in bytes or in the file at a path."""
    with open_source(io.BytesIO(content) if isinstance(content, bytes) else content, mmap) as source:
        return reader.read(source, as_tensor, verify)


def check_refused(function, reason="", seconds=1.0, megabytes=200):
    """``function()`` must raise Malformed with ``reason`` (a pattern), quickly and in little memory."""
    took = []
    while not took or (took[-1] >= seconds and len(took) < 5):  # again where the machine was busy: the fastest counts, as in the fuzzing
        began = time.process_time()
        with pytest.raises(Malformed, match=reason):
            function()
        took.append(time.process_time() - began)
    assert min(took) < seconds, f"{min(took):.2f} s, the fastest of {len(took)}"
    tracemalloc.start()  # apart, because it costs a factor of 3 to 5 in time
    try:
        with pytest.raises(Malformed):
            function()
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < megabytes << 20, f"{used:,} bytes"


def saved(tree, legacy=False, **options) -> bytes:
    """What ``torch.save`` writes."""
    import torch

    target = io.BytesIO()
    torch.save(tree, target, _use_new_zipfile_serialization=not legacy, **options)
    return target.getvalue()


def sample_tree() -> dict:
    """Every kind of tensor that weights come as, in a tree such as training scripts save."""
    import torch

    pytest.importorskip("ml_dtypes")
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5)
    tree = {name: torch.randint(0, 2 if name == "bool" else 100, (2, 3)).to(getattr(torch, name)) for name in DTYPES}
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net[2](torch.ones(1, 4)).sum().backward()
    optimizer.step()
    tied = torch.nn.Parameter(torch.randn(4, 3))
    return tree | {
        "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7, "best": 71.59,
        "names": ["a", "ü", ("b", None, True, -(1 << 40))],
        "bytes": b"\x00\xff\x80", "big": 1 << 200, "nan": float("nan"), "x": x, "transposed": x.permute(2, 0, 1), "row": x[1], "column": x[:, 2, 1:3],
        "last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3), "nothing": torch.zeros(0), "tied": tied, "tied too": tied, "size": x.shape, "frozen": tied.detach(),
        "storage": torch.arange(5, dtype=torch.uint8).untyped_storage(), 3: {"int": "key"},
    }


def check_equal(ours, theirs, place="tree"):
    """``ours`` is ``theirs`` with arrays for tensors: same structure, types, strides and bits."""
    import torch

    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach()
        assert type(ours) is np.ndarray and ours.dtype.name == str(theirs.dtype).removeprefix("torch."), place
        assert ours.shape == tuple(theirs.shape), place
        if theirs.numel() > 1:
            steps = tuple(s // ours.itemsize for s, n in zip(ours.strides, ours.shape, strict=True) if n > 1)
            assert steps == tuple(s for s, n in zip(theirs.stride(), theirs.shape, strict=True) if n > 1), place
        assert ours.tobytes() == theirs.contiguous().flatten().view(torch.uint8).numpy().tobytes(), place
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs) and list(ours) == list(theirs), place
        for key, value in theirs.items():
            check_equal(ours[key], value, f"{place}[{key!r}]")
        assert getattr(ours, "_metadata", None) == getattr(theirs, "_metadata", None), place
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is (list if isinstance(theirs, list) else tuple) and len(ours) == len(theirs), place
        for index, value in enumerate(theirs):
            check_equal(ours[index], value, f"{place}[{index}]")
    elif isinstance(theirs, (torch.UntypedStorage, torch.storage.TypedStorage)):
        assert ours.dtype == np.uint8 and ours.tobytes() == bytes(theirs.untyped()), place
    else:
        assert type(ours) is type(theirs) and (ours == theirs or (ours != ours and theirs != theirs)), place


# ---- pickles by hand -------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    """A string, as protocol 2 writes it."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """An integer of any size."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def numbers(values) -> bytes:
    """A tuple of integers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(count, key="0", kind="torch\nFloatStorage", more=b"") -> bytes:
    """A storage by persistent id."""
    return b"(" + text("storage") + b"c" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count) + more + b"tQ"


def tensor(size, stride, offset=0, stored=None, name="_rebuild_tensor_v2", rest=b"\x89ccollections\nOrderedDict\n)R") -> bytes:
    """A tensor in ``stored`` (by default 6 elements of float32)."""
    inside = (stored or storage(6)) + number(offset) + numbers(size) + numbers(stride) + rest
    return b"ctorch._utils\n" + name.encode() + b"\n(" + inside + b"tR"


def tree(**items: bytes) -> bytes:
    """A pickle of a dict."""
    return b"\x80\x02}(" + b"".join(text(name) + item for name, item in items.items()) + b"u."


def zip_file(pickle: bytes, records=(("data/0", bytes(range(24))),), byteorder=b"little", folder="archive/", compression=zipfile.ZIP_STORED) -> bytes:
    """A zip file as torch's, by the standard library."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in [("data.pkl", pickle), *([("byteorder", byteorder)] if byteorder else []), *records, ("version", b"3\n")]:
            archive.writestr(folder + name, content)
    return target.getvalue()


def legacy_file(pickle: bytes, keys=("0",), storages=((6, bytes(range(24))),), magic=0x1950A86A20F9469CFC6C, version=1001, facts=None) -> bytes:
    """A legacy file, by hand."""
    facts = facts or tree(protocol_version=number(1001), little_endian=b"\x88", type_sizes=b"}(" + text("short") + b"K\x02" + text("int") + b"K\x04u")
    listed = b"\x80\x02](" + b"".join(map(text, keys)) + b"e."
    data = b"".join(struct.pack("<q", count) + content for count, content in storages)
    return b"\x80\x02" + number(magic) + b".\x80\x02" + number(version) + b"." + facts + pickle + listed + data


HOSTILE_PICKLES = {
    "system": (tree(a=b"cos\nsystem\n" + text("true") + b"\x85R"), r"asks for 'os.system', which weights do not need: refused"),
    "eval": (tree(a=b"cbuiltins\neval\n" + text("1") + b"\x85R"), "builtins.eval"),
    "stack global": (b"\x80\x04" + text("os") + text("system") + b"\x93" + text("true") + b"\x85R.", "os.system"),
    "stack global dotted": (b"\x80\x04" + text("collections") + text("OrderedDict.fromkeys") + b"\x93.", "OrderedDict.fromkeys"),
    "stack global split": (b"\x80\x04" + text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93.", "__globals__"),
    "stack global of numbers": (b"\x80\x04K\x01K\x02\x93.", "name that is no string"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "new object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "new object with keywords": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
    "inst": (b"\x80\x02(" + text("true") + b"ios\nsystem\n.", "INST"),
    "obj": (b"\x80\x02(ccollections\nOrderedDict\no.", "OBJ"),
    "persistent id as text": (b"\x80\x02P0\n.", "PERSID"),
    "buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "unknown": (b"\x80\x02\xff.", "instruction"),
    "protocol 6": (b"\x80\x06N.", "protocol is 6"),
    "call of a value": (tree(a=text("x") + b")R"), "calls a str"),
    "call of a storage class": (tree(a=b"ctorch\nFloatStorage\n)R"), "calls torch.FloatStorage"),
    "call with a list": (tree(a=b"ctorch\nSize\n]R"), "list of arguments"),
    "call with too few": (tree(a=b"ctorch._utils\n_rebuild_tensor_v2\n)R"), "arguments that do not fit"),
    "name as a value": (tree(a=b"ccollections\nOrderedDict\n"), "name 'collections.OrderedDict' where a value belongs"),
    "state of a dict": (b"\x80\x02}}b.", "state of a dict"),
    "state of a tensor": (tree(a=tensor((6,), (1,)) + b"}b"), "state of a"),
    "attributes": (b"\x80\x02ccollections\nOrderedDict\n)R}" + text("items") + text("x") + b"sb.", "attributes of an OrderedDict"),
    "encode to utf-7": (b"\x80\x02c_codecs\nencode\n" + text("a") + text("utf7") + b"\x86R.", "encodes something else"),
    "encode bytes": (b"\x80\x02c_codecs\nencode\nC\x01a" + text("latin1") + b"\x86R.", "encodes something else"),
    "ordered dict of a dict": (b"\x80\x02ccollections\nOrderedDict\n}\x85R.", "not made of names"),
    "size of strings": (b"\x80\x02ctorch\nSize\n" + text("a") + b"\x85\x85R.", "torch.Size"),
    "parameter of a list": (b"\x80\x02ctorch._utils\n_rebuild_parameter\n(]\x88NtR.", "parameter that is no plain tensor"),
    "tensor without storage": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))\x89NtR.", "not described"),
    "hooks": (tree(a=tensor((6,), (1,), rest=b"\x89}" + text("a") + b"Ns")), "hooks"),
    "negative bit": (tree(a=tensor((6,), (1,), rest=b"\x89N}" + text("neg") + b"\x88s")), "negative bit"),
    "requires_grad of a number": (tree(a=tensor((6,), (1,), rest=b"K\x00N")), "wrong type"),
    "hooks of a list": (tree(a=tensor((6,), (1,), rest=b"\x89]")), "wrong type"),
    "parameter's flag of a number": (tree(a=b"ctorch._utils\n_rebuild_parameter\n(" + tensor((6,), (1,)) + b"K\x01NtR"), "wrong type"),
    "persistent id of a string": (tree(a=text("storage") + b"Q"), "no storage"),
    "persistent id, short": (tree(a=b"(" + text("storage") + b"tQ"), "no storage"),
    "persistent module": (tree(a=b"(" + text("module") + b"NNNNtQ"), "no storage"),
    "storage of a string": (tree(a=b"(" + text("storage") + text("x") + text("0") + text("cpu") + b"K\x06tQ"), "without an element type"),
    "storage of OrderedDict": (tree(a=storage(6, kind="collections\nOrderedDict")), "without an element type"),
    "storage of a number": (tree(a=b"(" + text("storage") + b"ctorch\nFloatStorage\nK\x00" + text("cpu") + b"K\x06tQ"), "wrong type"),
    "storage of -1": (tree(a=storage(-1)), "wrong type"),
    "storage of 2**70": (tree(a=storage(1 << 70)), "wrong type"),
    "storage of another size": (tree(a=storage(7)), "declared with"),
    "storage twice": (tree(a=storage(6), b=storage(3, kind="torch\nDoubleStorage")), "twice"),
    "complex": (tree(a=storage(3, kind="torch\nComplexFloatStorage")), "ComplexFloatStorage"),
    "zero stride, 1 TiB": (tree(a=tensor((1 << 38,), (0,))), "stride of 0"),
    "zero stride of one": (tree(a=tensor((2, 3), (0, 1))), "stride of 0"),
    "negative stride": (tree(a=tensor((6,), (-1,), 5)), "strides"),
    "overlap": (tree(a=tensor((2, 3, 3), (3, 1, 1))), "overlapping"),
    "outside": (tree(a=tensor((7,), (1,))), "outside"),
    "outside by offset": (tree(a=tensor((6,), (1,), 1)), "outside"),
    "outside by stride": (tree(a=tensor((2,), (6,))), "outside"),
    "negative offset": (tree(a=tensor((6,), (1,), -1)), "outside"),
    "negative size": (tree(a=tensor((-6,), (1,))), "shape"),
    "huge size": (tree(a=tensor((1 << 62, 1 << 62), (1 << 62, 1))), "outside|overlapping"),
    "product wraps": (tree(a=tensor((1 << 32, 1 << 32), (1 << 32, 1))), "outside|overlapping"),
    "bool as size": (tree(a=b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(6) + b"K\x00\x88\x85K\x01\x85\x89NtR"), "shape"),
    "more strides": (tree(a=tensor((6,), (1, 1))), "strides"),
    "40 axes": (tree(a=tensor((1,) * 40, (1,) * 40)), "shape"),
    "empty but huge": (tree(a=tensor((0, (1 << 63) - 1, 5), (1, 1, 1))), "cannot be represented"),
    "memo of nothing": (b"\x80\x02h\x05.", "memo entry 5"),
    "memo far away": (b"\x80\x02}r\xff\xff\xff\xff.", "memo of more"),
    "memo with nothing on the stack": (b"\x80\x02q\x00.", "takes a value that is not there"),
    "negative memo": (b"\x80\x02Ng-1\n.", "memo entry -1"),
    "list in itself": (b"\x80\x02]q\x00h\x00a.", "contains itself"),
    "dict in itself": (b"\x80\x02}q\x00" + text("a") + b"h\x00s.", "contains itself"),
    "metadata in itself": (b"\x80\x02ccollections\nOrderedDict\n)Rq\x00}" + text("_metadata") + b"h\x00sb.", "contains itself"),
    "nested lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "nests more"),
    "nested tuples": (b"\x80\x02)" + b"\x85" * 100_000 + b".", "nests more"),
    "marks": (b"\x80\x02" + b"(" * 390_000 + b".", "value that is not there"),
    "steps": (b"\x80\x02(" + b"N" * 400_000 + b"l.", "steps"),
    "laughs": (b"\x80\x02(]q\x00" + b"".join(b"](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(60)) + b"l.",
               "tree of"),
    "laughs as keys": (b"\x80\x02()q\x00" + b"".join(b"(" + (b"h" + bytes([i])) * 10 + b"tq" + bytes([i + 1]) for i in range(60)) + b"t}h\x3cNs.",
                       "tuple as key"),
    "list as key": (b"\x80\x02}]Ns.", "list as key"),
    "name as key": (b"\x80\x02}ctorch\nFloatStorage\nNs.", "Name as key"),
    "colliding keys": (b"\x80\x02}(" + b"".join(number(i * ((1 << 61) - 1)) + b"N" for i in range(9_000)) + b"u.", "numbers as keys"),
    "repeated bytes": (b"\x80\x02c_codecs\nencode\nq\x00" + text("a" * 1_000_000) + b"q\x01(" + (b"h\x00h\x01" + text("latin1") + b"\x86R") * 300
                       + b"l.", "over and over"),
    "repeated pairs": (b"\x80\x02ccollections\nOrderedDict\nq\x00((" + (text("a") + b"N\x86") * 9_000 + b"lq\x01(" + b"h\x00h\x01\x85R" * 9_000
                       + b"l.", "over and over"),
    "huge integer": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "integer of 2,147,483,647 bytes"),
    "many digits": (b"\x80\x02I" + b"9" * 1_000_000 + b"\n.", "line is too long"),
    "huge string": (b"\x80\x02T\xff\xff\xff\x7fabc.", "cut short"),
    "huge bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", "cut short"),
    "frame": (b"\x80\x04\x95" + b"\xff" * 8 + b"N.", "should follow"),
    "no pairs": (b"\x80\x02}(N" + b"u.", "readable pickle"),
    "list of nothing": (b"\x80\x02l.", "never began"),
    "append to a dict": (b"\x80\x02}Na.", "dict as a list"),
    "item of a list": (b"\x80\x02]NNs.", "list as a dict"),
    "item across a mark": (b"\x80\x02}N(Ns.", "value that is not there"),
    "two values": (b"\x80\x02NN.", "more than one value"),
    "no value": (b"\x80\x02.", "value that is not there"),
    "not UTF-8": (b"\x80\x02X\x02\x00\x00\x00\xff\xfe.", "UnicodeDecodeError"),
}
