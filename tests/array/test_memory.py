"""keep_freed_memory in a process of its own, since it changes the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from scratchvgg.array import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print("unsupported"); raise SystemExit
def work():
    for _ in range(20):
        np.ones(8 << 20, np.float32) + 1
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc's limits are glibc's")
def test_freed_pages_are_reused():
    def faults(mode):
        return subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True).stdout.strip()

    kept = faults("keep")
    assert kept == "unsupported" or int(kept) < 100
    assert kept == "unsupported" or int(faults("default")) > 10 * (int(kept) + 1)
