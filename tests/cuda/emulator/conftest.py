"""What the emulator's tests share."""

import pytest

from scratchvgg.cuda import emulator


@pytest.fixture(params=["native", "portable"])
def switch(request):
    """Run with this processor's own context switch, and with the C library's."""
    with emulator.choose(portable=request.param == "portable"):
        yield request.param
