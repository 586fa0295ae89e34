"""What all tests share: markers, seeds, hypothesis' profile.

- ``@pytest.mark.slow``: left out unless ``--slow`` is given.
- ``@pytest.mark.gpu``: left out only on machines without an NVIDIA GPU.
- Every test starts from the same random state.
- Convolutions run in the reproducible mode; tests of the chooser and of single algorithms ask for others.
"""

from __future__ import annotations

import glob
import os
import random
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from scratchvgg.array import manual_seed

# Shared machines stall for seconds: no deadlines. The suite must not depend on luck: the same examples every time, unless
# HYPOTHESIS_PROFILE=explore asks for fresh ones (=long for many).
settings.register_profile("fixed", deadline=None, max_examples=40, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("fixed"), derandomize=False)
settings.register_profile("long", settings.get_profile("explore"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "fixed")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too (minutes)")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long; run with --slow")
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU; skipped only where there is none")


def pytest_collection_modifyitems(config, items):
    skip_slow = pytest.mark.skip(reason="slow: run with --slow")
    skip_gpu = pytest.mark.skip(reason="no NVIDIA GPU on this machine")
    has_gpu = bool(glob.glob("/dev/nvidia[0-9]*"))
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(skip_slow)
        if item.get_closest_marker("gpu") and not has_gpu:
            item.add_marker(skip_gpu)


@pytest.fixture(autouse=True)
def _seeds():
    """Every test begins at seed 0, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    manual_seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _reproducible():
    """Exact tests compare bits: im2col in every pass, here and in subprocesses, unless a test asks for something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRATCHVGG_CONV", "reproducible")
        yield


@pytest.fixture
def torch():
    """PyTorch, or a skip where it is not installed."""
    return pytest.importorskip("torch")
