"""scratchvgg info"""

from __future__ import annotations

import json

SUMMARY = "this machine and installation: versions, BLAS, threads, measured speed"
DESCRIPTION = """
Show what matters when something is slow or missing: versions, the BLAS in use, threads, the measured rate of matrix products
(give it with every time you report), and the optional libraries with the extra that brings each.
"""
EXAMPLES = """
scratchvgg info
scratchvgg info --json
"""

OPTIONAL = {"PIL": ("Pillow", "images"), "matplotlib": ("matplotlib", "plots"), "rich": ("rich", "progress"), "ml_dtypes": ("ml-dtypes", "bfloat16"),
            "torch": ("torch", "torch"), "cupy": ("cupy", "gpu13")}


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args) -> int:
    """Measure and print."""
    from importlib import metadata, util

    from ... import __version__
    from ...train import machine

    about = {"scratchvgg": __version__, **machine.describe()}
    libraries = {}
    for module, (name, extra) in OPTIONAL.items():
        version = None
        if util.find_spec(module) is not None:
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                version = "present"
        libraries[name] = {"version": version, "extra": extra}
    if args.json:
        print(json.dumps({**about, "libraries": libraries}))
        return 0
    for name, value in about.items():
        if name == "gemm_gflops":
            name, value = "GEMM rate", f"{value:.1f} GFLOP/s (float32, {about['threads']} threads, measured now)"
        print(f"{name:14s} {'; '.join(value) if isinstance(value, list) else value}")
    print("\noptional libraries:")
    for name, found in libraries.items():
        print(f"  {name:12s} {found['version'] or '-':12s}" + ("" if found["version"] else f" pip install 'scratchvgg[{found['extra']}]'"))
    return 0
