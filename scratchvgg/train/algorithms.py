"""The convolution algorithm of each pass of each problem: noted when first chosen, the same ever after, also in a resumed run."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

from .. import conv
from ..array import as_dtype


class PinnedAlgorithms(ExitStack):
    """While entered, the first choice for a pass of a convolution problem is kept for all later ones.

    Attributes:
        chosen: "problem dtype pass" → name of the algorithm. Fill it beforehand to repeat the choices of another run; an entry without
            a pass, from a run of before the passes chose each for themselves, holds for all three.
    """

    def __init__(self):
        super().__init__()
        self.chosen: dict[str, str] = {}
        self._pins = True

    def __enter__(self):
        self.enter_context(conv.intercept_choices(self._pin))
        return self

    @contextmanager
    def paused(self):
        """In this block the choices of before hold, and new ones are not kept: for a run that the training must not depend on."""
        before, self._pins = self._pins, False
        try:
            yield
        finally:
            self._pins = before

    def _pin(self, problem, dtype, which, algorithm):
        key = f"{problem} {as_dtype(dtype)}"
        name = self.chosen.get(key) or self.chosen.get(f"{key} {which}")
        if name is None:
            name = algorithm.name
            if self._pins:
                self.chosen[f"{key} {which}"] = name
        return conv.algorithms(algorithm.kernels).get(name, algorithm)  # a run resumed on another device keeps what there is
