"""scratchvgg info"""

from __future__ import annotations

import json

SUMMARY = "this machine and installation: devices, compilers, versions, threads, measured speed"
DESCRIPTION = """
Show what matters when something is slow or missing: the devices to compute on, and why others are not there; versions,
the BLAS in use, threads, the measured rate of matrix products (give it with every time you report); compilers and
optional libraries, and how to get what is missing; the files that this library keeps on disk.
"""
EXAMPLES = """
scratchvgg info
scratchvgg info --json
"""

OPTIONAL = {"Pillow": ("images", ["pillow"]), "matplotlib": ("plots", ["matplotlib"]), "rich": ("progress", ["rich"]),
            "ml-dtypes": ("bfloat16", ["ml-dtypes"]), "torch": ("torch", ["torch"]),
            "cupy": ("gpu13", ["cupy-cuda13x", "cupy-cuda12x", "cupy"])}


def configure(parser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args) -> int:
    """Look, measure and print."""
    from ... import __version__
    from ...cuda import installation
    from ...train import machine

    about = {"scratchvgg": __version__, **machine.describe()}
    devices, compilers, libraries, caches = installation.devices(), installation.compilers(), _libraries(), installation.caches()
    if args.json:
        print(json.dumps({**about, "devices": devices, "compilers": compilers, "libraries": libraries, "caches": caches}))
        return 0
    for name, value in about.items():
        if name == "gemm_gflops":
            name, value = "GEMM rate", f"{value:.1f} GFLOP/s (float32, {about['threads']} threads, measured now)"
        print(f"{name:14s} {'; '.join(value) if isinstance(value, list) else value}")
    print("\ndevices:")
    for name, device in devices.items():
        print(f"  {name:17s} {device['what'] if device['available'] else 'not available: ' + device['why']}")
    print("\ncompilers:")
    for name, part in compilers.items():
        there = f"{part['version'] or 'version unknown'}, {part['path']} ({part['where']})"
        print(f"  {name:17s} {there if part['path'] else '- ' + part['install']}")
    print("\noptional libraries:")
    for name, found in libraries.items():
        print(f"  {name:17s} {found['version'] or '-':12s}" + ("" if found["version"] else f" pip install 'scratchvgg[{found['extra']}]'"))
    print("\nkept on disk (delete what you like):")
    for name, cache in caches.items():
        print(f"  {name:17s} {cache['bytes'] / 1e6:8.1f} MB in {cache['files']} files: {cache['what']}, {cache['path']}")
    return 0


def _libraries() -> dict[str, dict]:
    """Version (None: not installed) of each optional library and the extra that brings it, without importing any."""
    from importlib import metadata

    def version(distributions):
        for distribution in distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None

    return {name: {"version": version(distributions), "extra": extra} for name, (extra, distributions) in OPTIONAL.items()}
