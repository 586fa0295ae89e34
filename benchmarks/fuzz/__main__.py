"""Mutated weights files by the hundred thousand, each refused or loaded rightly.

examples:
  python -m benchmarks.fuzz                             100,000 files of each format
  python -m benchmarks.fuzz --formats torch npz --count 2000
  python -m benchmarks.fuzz --seed 7                    other files

hypothesis draws changes of small whole files: of their bytes, or of a member or a header with checksums and lengths put right again. A file
must be refused with WeightsError that names it, or load as another library reads it (torch, safetensors, NumPy, h5py); in less
than a second and 200 MB; nothing may be executed, opened for writing, imported or connected to meanwhile (an audit hook watches).
The first failure is shrunk and shown. The numbers of a format that runs take the place of its former ones in the file, those of the others stay.
"seconds" are by the clock, of the slowest file; "bytes" the most memory beyond what there was before, HDF5's child process included.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from . import FORMATS, fuzz

RESULTS = Path(__file__).parents[1] / "results" / "fuzz.json"
READERS = {"torch": ["torch"], "torch-legacy": ["torch"], "safetensors": ["safetensors", "torch"], "npz": ["numpy"], "keras": ["h5py"]}


def main(arguments=None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), metavar="FORMAT", help=f"some of {' '.join(FORMATS)}")
    parser.add_argument("--count", type=int, default=100_000, help="files of each format (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other files (default: 0)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/fuzz.json")
    options = parser.parse_args(arguments)
    if options.count < 1:
        parser.error("--count: expected 1 or more")
    from scratchvgg.bench.machine import commit
    from scratchvgg.bench.results import write_json

    begun = commit()  # of the code that is imported now
    report = json.loads(options.json.read_text()) if options.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for form in options.formats:
            start = time.monotonic()
            judge = fuzz(form, options.count, options.seed, Path(folder), _progress)
            done = sum(judge.counts.values())
            report[form] = {
                "files": done, **judge.counts, "slowest_seconds": judge.slowest, "largest_bytes": judge.largest, "seed": options.seed,
                "commit": begun, "python": platform.python_version(), "versions": {name: version(name) for name in READERS[form]}}
            write_json(options.json, report)
            print(f"{form:13} {done:,} files: {judge.counts['refused']:,} refused, {judge.counts['same']:,} loaded unchanged, "
                  f"{judge.counts['other']:,} loaded as the reference reads them; at most {1e3 * judge.slowest:.0f} ms and "
                  f"{judge.largest / 1e6:.1f} MB; {time.monotonic() - start:.0f} s", flush=True)
    print(f"no crash, no hang, nothing executed; numbers written to {options.json}")
    return 0


def _progress(form: str, done: int, count: int) -> None:
    print(f"{form}: {done:,} of {count:,}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
