"""Loss and accuracy of a training run, added up where the net computes and read when somebody wants them."""

from __future__ import annotations

import math
import time

SECONDS = 1.0  # at most between two readings on a device


class Meter:
    """Sums over the current epoch and the current logging interval, each [loss · images, right answers, images].

    On the CPU every step is read at once. On a device the step only queues two small additions there, so that it never waits for the device;
    :meth:`read` fetches the sums, at most once in :data:`SECONDS` unless it is forced.
    """

    def __init__(self, backend):
        self._backend, self._late = backend, backend.runs_kernels
        self._pending = backend.zeros((3,), "float64")  # loss · images, right, images since the last reading
        self._read, self._last = time.monotonic(), 0.0
        self.epoch, self.interval = [0.0, 0, 0], [0.0, 0, 0]

    def add(self, loss, logits, labels) -> None:
        """Count a batch: the mean loss () and the logits (N, classes) of labels (N,), all Tensors on the device."""
        count = labels.array.shape[0]
        with self._backend.quiet():
            self._pending[0] += loss.array * self._backend.xp.float64(count)
            self._pending[1] += (logits.array.argmax(1) == labels.array).sum()
            self._pending[2] += count

    def read(self, now: bool = False) -> float:
        """Bring the sums up to date, or leave them if it is too early to disturb the device.

        Args:
            now: do it in any case.

        Returns:
            The mean loss between the last two readings: not finite if that of one batch was not.
        """
        if self._late and not now and time.monotonic() - self._read < SECONDS:
            return self._last
        loss, right, count = self._backend.to_numpy(self._pending).tolist()
        self._clear()
        self._read = time.monotonic()
        for sums in (self.epoch, self.interval):
            sums[0] += loss
            sums[1] += int(right)
            sums[2] += int(count)
        if count:
            self._last = loss / count
        return self._last

    def restart(self, which: str) -> None:
        """Begin ``"epoch"`` or ``"interval"`` anew."""
        setattr(self, which, [0.0, 0, 0])

    def state_dict(self) -> dict:
        """The sums as plain numbers."""
        self.read(now=True)
        return {"epoch": self.epoch, "interval": self.interval}

    def load_state_dict(self, state: dict) -> None:
        """Return to a state that :meth:`state_dict` gave."""
        self.epoch, self.interval = list(state["epoch"]), list(state["interval"])
        self._clear()

    def _clear(self):
        with self._backend.quiet():
            self._pending[...] = 0


def mean(sums) -> tuple[float, float]:
    """(mean loss, accuracy) of sums, NaN without images."""
    loss, right, count = sums
    return (loss / count, right / count) if count else (math.nan, math.nan)
