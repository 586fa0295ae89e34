"""scratchvgg convert"""

from __future__ import annotations

from pathlib import Path

from ..errors import CommandError

SUMMARY = "a weights file in another format, layout or element type, verified bit for bit"
DESCRIPTION = """
Read a weights file of any kind and write its weights as .npz, .safetensors, or .pth (.pt) for PyTorch. What a training left
beside the weights is dropped unless --keep-wrapping asks for everything. The new file is read back and compared bit for bit
before it gets its name. Keras files come out in torchvision's layout; the net then takes RGB images.
"""
EXAMPLES = """
scratchvgg convert vgg16.pth vgg16.safetensors
scratchvgg convert checkpoint.pth vgg16_half.npz --dtype float16
scratchvgg convert vgg16_weights_tf.h5 vgg16.pth          Keras' weights for torchvision's net
scratchvgg convert vgg16.pth timm.safetensors --layout timm
scratchvgg convert run.pth run.npz --keep-wrapping        optimizer and all
"""

FORMATS = {".npz": "npz", ".safetensors": "safetensors", ".pth": "torch", ".pt": "torch"}


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="IN", help="the file to read")
    parser.add_argument("target", metavar="OUT", help=f"the file to write: {', '.join(FORMATS)}")
    parser.add_argument("--layout", choices=("torchvision", "timm"), help="names and shapes (default: as they are; of Keras files, torchvision's)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16", "float64"), help="element type of the weights (default: as it is)")
    parser.add_argument("--keep-wrapping", action="store_true", help="write all that the file holds, not the weights alone")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def run(args) -> int:
    """Read, write, read back, compare."""
    from ... import weights
    from ...serialization import load
    from ...weights import layouts
    from ...weights.atomic import atomic_write
    from ...weights.trees import shown
    from .weights import beside, in_layout, unwrap

    target = Path(args.target)
    form = FORMATS.get(target.suffix.lower())
    if form is None:
        raise CommandError(f"{target}: the format follows from the suffix, expected one of {', '.join(FORMATS)}")
    if args.keep_wrapping and args.layout:
        raise CommandError("--keep-wrapping keeps the file as it is: it cannot go with --layout")
    if target.exists() and not args.force:
        raise CommandError(f"{target} exists already; --force replaces it")
    said = [f"read {args.source} ({weights.identify(args.source)})"]
    tree = load(args.source)
    if not args.keep_wrapping:
        found = unwrap(args.source, tree)
        left = beside(tree, found)
        layout = layouts.find_layout(found.clean)
        wanted = args.layout or ("torchvision" if layout and layout.name == "keras" else None)
        tree = in_layout(found, wanted) if wanted else dict(found.state)
        said += [f"weights found in {shown(found.path)}"] * bool(found.path) + [f"left out: {', '.join(left)}"] * bool(left)
        if wanted:
            said += [f"prefix {found.prefix!r} taken off"] * bool(found.prefix) + [f"layout: {layout.name if layout else 'unknown'} → {wanted}"]
    if args.dtype:
        tree, lost = _cast(tree, args.dtype)
        said.append(f"cast to {args.dtype}" + (f" ({lost:,} values are beyond its range and became infinite)" if lost else ""))
    try:
        with atomic_write(target) as file:
            weights.save(file, tree, format=form)
            file.flush()
            if difference := _difference(tree, weights.load(file.name), ()):
                raise OSError(f"{target}: what was written reads back differently at {difference}; the file is not kept")
    except (TypeError, ValueError) as error:
        raise CommandError(f"{target}: {str(error).removeprefix('save: ')}") from error
    print("\n".join(said))
    print(f"wrote {target} ({form}, {target.stat().st_size:,} bytes), read back and compared: equal bit for bit")
    return 0


def _cast(tree, name):
    """(the tree with its floating Tensors and arrays in another type, how many finite values became infinite)."""
    import numpy as np

    from ...array import as_dtype
    from ...autograd import Tensor, as_tensor
    from ...weights.trees import host_array

    dtype, lost = as_dtype(name).numpy, 0

    def cast(value):
        nonlocal lost
        array = host_array(value)
        if array is None:
            if isinstance(value, dict):
                return type(value)((key, cast(one)) for key, one in value.items())
            return type(value)(map(cast, value)) if isinstance(value, (list, tuple)) else value
        if array.dtype.kind in "biuc":
            return value
        with np.errstate(over="ignore", under="ignore"):
            result = array.astype(dtype, copy=False)
        if result.dtype.itemsize < array.dtype.itemsize:
            lost += int(np.isinf(result).sum() - np.isinf(array).sum())
        return as_tensor(result) if isinstance(value, Tensor) else result

    return cast(tree), lost


def _difference(a, b, place) -> str:
    """Where two trees differ in keys, values, element types, shapes or bits; "" if nowhere."""
    from ...weights.trees import host_array, shown

    x, y = host_array(a), host_array(b)
    if x is not None and y is not None:
        return "" if x.dtype == y.dtype and x.shape == y.shape and _same_bits(x, y) else shown(place)
    if isinstance(a, dict) and isinstance(b, dict) and set(a) == set(b):
        return next(filter(None, (_difference(a[key], b[key], (*place, key)) for key in a)), "")
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return next(filter(None, (_difference(one, other, (*place, i)) for i, (one, other) in enumerate(zip(a, b, strict=True)))), "")
    return "" if type(a) is type(b) and (a == b or (a != a and b != b)) else shown(place)


def _same_bits(x, y) -> bool:
    """A chunk at a time."""
    import numpy as np

    from ...weights.trees import pieces

    return all(np.array_equal(np.frombuffer(p, np.uint8), np.frombuffer(q, np.uint8)) for p, q in zip(pieces(x), pieces(y), strict=True))
