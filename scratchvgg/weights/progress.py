"""Amount, rate and time left of a download on stderr: one changing line in a terminal, a line every ten percent elsewhere."""

from __future__ import annotations

import sys
import time


class Progress:
    """Reports the growth of one file.

    Args:
        name: shown in front.
        enabled: False shows nothing.
    """

    def __init__(self, name: str, enabled: bool = True):
        self.name, self.enabled = name, enabled

    def begin(self, done: int, total: int | None) -> None:
        """A connection starts with ``done`` bytes there already, of ``total`` (None: unknown)."""
        self.total, self.first, self.started = total, done, time.monotonic()
        self.live = self.enabled and sys.stderr.isatty()
        self.next_time, self.next_amount = self.started, self._step(done)
        if self.enabled and done:
            print(f"{self.name}: going on after {done / 1e6:.1f} MB", file=sys.stderr)

    def update(self, done: int) -> None:
        """``done`` bytes are there now."""
        now = time.monotonic()
        if self.live and now >= self.next_time:
            self.next_time = now + 0.1
            print(f"\r\033[K{self.line(done, now)}", end="", file=sys.stderr, flush=True)
        elif self.enabled and not self.live and done >= self.next_amount:
            self.next_amount = self._step(done)
            print(self.line(done, now), file=sys.stderr, flush=True)

    def end(self, done: int) -> None:
        """The connection ended."""
        if self.live:
            print(f"\r\033[K{self.line(done, time.monotonic())}", file=sys.stderr, flush=True)

    def line(self, done: int, now: float) -> str:
        """The report: ``name: 51.2 of 170.5 MB (30 %), 12.3 MB/s, 10 s left``."""
        rate = (done - self.first) / max(now - self.started, 1e-3)
        if not self.total:
            return f"{self.name}: {done / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s"
        left = f"{(self.total - done) / rate:.0f} s left" if rate else "waiting"
        part = f"{done / 1e6:.1f} of {self.total / 1e6:.1f} MB ({100 * done // self.total} %)"
        return f"{self.name}: {part}, {rate / 1e6:.1f} MB/s, {left}"

    def _step(self, done: int) -> float:
        """The amount at which the next line is due: the next tenth, or 16 MiB further where the whole is unknown."""
        if self.total:
            return (10 * done // self.total + 1) * self.total / 10
        return done + (16 << 20)
