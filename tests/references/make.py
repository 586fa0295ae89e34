"""Make the stored references from torch: ``python -m tests.references.make [FAMILY ...]``.

Run it after adding or changing cases, and commit the npz files. The output depends on nothing but the cases and torch.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from tests.harness import Case, rms_error, run_torch
from tests.ops.cases import FAMILIES

from . import FOLDER, Vectors

SEEDS = 5
MANTISSA = 41  # bits kept of float64


def shorten(array: np.ndarray) -> np.ndarray:
    """Round float64 to 41 bits of mantissa (relative error below 2⁻⁴¹ ≈ 5e-13), so that it compresses."""
    if array.dtype != np.float64:
        return array
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.rint(np.ldexp(mantissa, MANTISSA)), exponent - MANTISSA)


def entry(case: Case, vectors: Vectors) -> dict:
    """Run one case on torch and put what it gave into ``vectors``; returns its line of the index."""
    truth, single = run_torch(case), run_torch(case, "float32", "float32")
    named, named32 = truth.named(), single.named()
    kinds32, errors32 = {}, {}
    for name, value in named.items():
        if not isinstance(value, np.ndarray):
            continue
        kinds32[name] = named32[name].dtype.name
        if value.dtype.kind == "f":
            errors32[name] = float(f"{torch_error(case, name):.3g}")
        elif not np.array_equal(value, named32[name]):
            raise ValueError(f"{case.name}: {name} is not the same in float32 and float64; give the case inputs without near ties")
    return {
        "inputs": [vectors.put(a.astype(np.float32) if a.dtype == np.float64 else a) for a in case.draw()],
        "results": [
            {"dtype": r.dtype.name, "kind": vectors.put(shorten(r))} if isinstance(r, np.ndarray) else {"plain": r} for r in truth.results
        ],
        "gradients": {n: None if g is None else vectors.put(shorten(g)) for n, g in truth.gradients.items()},
        "kinds32": kinds32,
        "errors32": errors32,
    }


def torch_error(case: Case, name: str) -> float:
    """torch's RMS error in float32, the largest of five draws: one draw of few numbers may come out exact by luck, ours as well as torch's."""
    return max(
        rms_error(run_torch(case, "float32", "float32", seed).named()[name], run_torch(case, "float64", "float32", seed).named()[name])
        for seed in range(SEEDS)
    )


def make(family: str) -> int:
    """Write one family's file; returns its size in bytes."""
    vectors = Vectors()
    index = {case.name: entry(case, vectors) for case in FAMILIES[family] if not case.moments}
    path = FOLDER / f"{family}.npz"
    arrays = {dtype: np.concatenate(parts) for dtype, parts in sorted(vectors.parts.items())}
    np.savez_compressed(path, index=np.array(json.dumps(index, separators=(",", ":"))), **arrays)
    return path.stat().st_size


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=sorted(FAMILIES), metavar="FAMILY", help=f"of {', '.join(sorted(FAMILIES))}; all by default")
    for family in parser.parse_args().families:
        print(f"{family:15} {make(family) / 1024:7.1f} KiB", flush=True)


if __name__ == "__main__":
    main()
