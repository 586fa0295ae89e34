"""scratchvgg weights"""

from __future__ import annotations

import json
import os

from ..text import table

SUMMARY = "what is in a weights file: names, shapes, types, checks, the net it belongs to"
DESCRIPTION = """
Look into a weights file of any kind that can be read (.npz, PyTorch's .pth and .pt, safetensors, Keras HDF5) without
running anything that is in it: its format, the checks it passed, where in it the weights are, every entry, and the net
that they fit best.
"""
EXAMPLES = """
scratchvgg weights vgg16.pth
scratchvgg weights vgg16.pth --stats                       least and largest value, NaNs and infinities of each entry
scratchvgg weights timm.safetensors --layout torchvision   under torchvision's names
scratchvgg weights vgg16.pth --json                        for programs
"""

CHECKS = {  # beyond structure, sizes, shapes and offsets, which are checked in every format
    "npz": "CRC-32 of every member", "torch": "CRC-32 of every member", "torch-legacy": None, "safetensors": None, "keras": None,
}
_NO_PARAMETERS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norm


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="a weights file, or a checkpoint of a training")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--stats", action="store_true", help="read the values too: range, and how many are not finite")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not compare checksums: only the index of the file is read")
    parser.add_argument("--layout", choices=("torchvision", "timm"), help="list names and shapes as this library has them, not as the file does")


def run(args) -> int:
    """Read, compare and print."""
    from ... import weights
    from ...models import matching
    from ...weights import layouts

    tree = weights.load(args.file, verify=args.verify)
    kind = weights.identify(args.file)
    found = unwrap(args.file, tree)
    layout = layouts.find_layout(found.clean)
    state = in_layout(found, args.layout) if args.layout else found.state
    match = matching.best_match(tree)
    entries = [{"key": key, "shape": list(value.shape), "dtype": str(value.dtype), **(_stats(value) if args.stats else {})}
               for key, value in state.items()]
    about = {
        "file": str(args.file), "format": kind, "bytes": os.path.getsize(args.file), "checksums": CHECKS[kind] if args.verify else None,
        "path": list(found.path), "prefix": found.prefix, "left_aside": beside(tree, found), "layout": layout and layout.name,
        "entries": len(entries), "parameters": sum(v.size for k, v in state.items() if not k.endswith(_NO_PARAMETERS)),
        "weight_bytes": sum(value.nbytes for value in state.values()),
        "match": {"net": match.name, "options": match.options, "num_classes": match.num_classes, "exact": match.exact, "description": str(match),
                  "missing": match.missing, "unexpected": match.unexpected, "mismatched": match.mismatched},
    }
    if args.json:
        print(json.dumps({**about, "table": entries}))
        return 0
    print(f"{args.file}: {kind}, {about['bytes']:,} bytes; checked: {_checked(kind, args.verify)}")
    if found.path or found.prefix:
        print(f"weights {found}")
    if about["left_aside"]:
        print(f"left aside: {', '.join(about['left_aside'])}")
    print(f"layout: {layout.about if layout else 'unknown'}{f' (shown in that of {args.layout})' if args.layout else ''}\n")
    rows = [[e["key"], "×".join(map(str, e["shape"])) or "scalar", e["dtype"], *(map(_shown, list(e.values())[3:]))] for e in entries]
    print(table(rows, ["name", "shape", "type", *(("least", "largest", "NaN", "infinite") if args.stats else ())]))
    print(f"\n{about['entries']} entries, {about['parameters']:,} parameters, {about['weight_bytes']:,} bytes "
          f"({about['weight_bytes'] / 2**20:,.1f} MiB)\nbest match: {match}")
    return 0


def unwrap(path, tree):
    """The state dict found in the tree of a file, as :func:`scratchvgg.weights.layouts.unwrap`; the error names the file."""
    from ...weights import WeightsError, layouts

    try:
        return layouts.unwrap(tree)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def in_layout(found, layout: str) -> dict:
    """The state dict that was found, in torchvision's or timm's layout."""
    from ...weights import layouts

    return layouts.from_torchvision(layouts.to_torchvision(found.clean), layout)


def beside(tree, found) -> list[str]:
    """The keys beside the weights, on the way to them."""
    keys = []
    for part in (*found.path, None):
        if isinstance(tree, dict):
            taken = {name.split("/")[0] for name in found.state} | set(found.state) if part is None else {part}  # of "fc1/kernel" in Keras files: fc1
            keys += [str(key) for key in tree if key not in taken]
        tree = tree if part is None else tree[part]
    return keys


def _checked(kind, verify):
    checksums = CHECKS[kind]
    if checksums is None:
        return "structure, sizes and shapes (the format has no checksums)"
    return f"structure, sizes, shapes and the {checksums}" if verify else f"structure, sizes and shapes, not the {checksums}"


def _stats(value):
    """Range of the finite values, and counts of the others."""
    import numpy as np

    nan, infinite = int(np.isnan(value).sum()), int(np.isinf(value).sum())
    finite = value[np.isfinite(value)] if nan or infinite else value
    least, largest = (finite.min().item(), finite.max().item()) if finite.size else (None, None)
    return {"min": least, "max": largest, "nan": nan, "infinite": infinite}


def _shown(number):
    return "-" if number is None else f"{number:.4g}" if isinstance(number, float) else f"{number:,}"
