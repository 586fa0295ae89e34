"""A pytest plugin: each test's outcome as a line of JSON in the file ``$SCRATCHVGG_OUTCOMES``, at once. Tests that are there already are left out,
and a test that lost the GPU ends the process, because every later one would fail."""

import json
import os
import re

from .child import AGAIN

STICKY = re.compile(r"cudaError(IllegalAddress|LaunchFailure|MisalignedAddress|IllegalInstruction|HardwareStackError|Assert|LaunchTimeout|Unknown)"
                    r"|CUDA_ERROR_(ILLEGAL|LAUNCH_FAILED|MISALIGNED|UNKNOWN)")


def _note(**line):
    with open(os.environ["SCRATCHVGG_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collection_modifyitems(config, items):
    with open(os.environ["SCRATCHVGG_OUTCOMES"], encoding="utf-8") as file:
        known = {json.loads(line)["test"] for line in file}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in known])
    items[:] = [item for item in items if item.nodeid not in known]


def pytest_runtest_logstart(nodeid, location):
    _note(test=nodeid, outcome="begun")


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        why = str(report.longrepr)[-600:] if report.failed else None
        _note(test=report.nodeid, outcome=report.outcome, why=why)
        if report.failed and STICKY.search(str(report.longrepr)):
            os._exit(AGAIN)
