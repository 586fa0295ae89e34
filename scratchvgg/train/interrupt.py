"""Ctrl-C and SIGTERM: the first asks politely, the second stops at once."""

from __future__ import annotations

import os
import signal
import threading


class Interrupt:
    """While entered, SIGINT and SIGTERM set :attr:`signal` instead of ending the process; a second one raises KeyboardInterrupt.

    Outside the main thread (where Python takes no signals) it does nothing.

    Attributes:
        signal: the number of the signal that came, or None.
    """

    def __init__(self):
        self.signal: int | None = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, _frame):
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        os.write(2, b"finishing this step (Ctrl-C again stops at once)\n")  # print() may be what the signal interrupted
