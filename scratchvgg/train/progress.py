"""What a run says while it runs: a live bar in a terminal with rich, plain lines elsewhere."""

from __future__ import annotations

import sys
import time


def reporter(total_steps: int, plain: bool = False):
    """A :class:`LiveReport` if rich is there and stdout is a terminal, else a :class:`PlainReport`."""
    if not plain and sys.stdout.isatty():
        try:
            return LiveReport(total_steps)
        except ImportError:
            pass
    return PlainReport(total_steps)


def clock(seconds: float) -> str:
    """75 → ``1:15``, 3700 → ``1:01:40``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class Rate:
    """Images a second since it was made or last :meth:`restart` ed."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.images, self.started = 0, time.perf_counter()

    def add(self, images: int) -> None:
        """So many more images are done."""
        self.images += images

    def value(self) -> float:
        """Images a second so far."""
        return self.images / max(time.perf_counter() - self.started, 1e-9)


class PlainReport:
    """Prints a line every ``interval`` seconds of training and at the end of each epoch."""

    def __init__(self, total_steps: int, interval: float = 10.0):
        self.total, self.interval, self.next = total_steps, interval, time.perf_counter() + interval

    def message(self, text: str) -> None:
        """A line of its own."""
        print(text, flush=True)

    def step(self, step: int, text: str, eta: float) -> None:
        """Step ``step`` is done."""
        if time.perf_counter() >= self.next:
            self.next = time.perf_counter() + self.interval
            self.message(f"  {text}  {step}/{self.total} steps  {clock(eta)} left")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class LiveReport:
    """A progress bar at the bottom, the epochs' lines above it.

    Raises:
        ImportError: without rich.
    """

    def __init__(self, total_steps: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"), refresh_per_second=4)
        self._task = self._progress.add_task("", total=total_steps)

    def message(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, step: int, text: str, eta: float) -> None:
        """Step ``step`` is done."""
        self._progress.update(self._task, completed=step, description=f"{text}  {clock(eta)} left")

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()
