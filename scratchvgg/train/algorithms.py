"""The convolution algorithm of each problem: noted when first chosen, the same ever after, also in a resumed run."""

from __future__ import annotations

from .. import conv
from ..autograd import intercept


class PinnedAlgorithms:
    """While entered, the first choice for a convolution problem is kept for all later ones.

    Attributes:
        chosen: problem → name of the algorithm. Fill it beforehand to repeat the choices of another run.
    """

    def __init__(self):
        self.chosen: dict[str, str] = {}

    def __enter__(self):
        self._watch = intercept(self._pin)
        self._watch.__enter__()
        return self

    def __exit__(self, *error):
        self._watch.__exit__(*error)

    def _pin(self, op, args, options, proceed):
        if op.name == "conv2d":
            x, w, bias, problem, algorithm = args
            name = self.chosen.setdefault(f"{problem} {x.dtype}", algorithm.name)
            if name != algorithm.name:
                args = (x, w, bias, problem, conv.get(name))
        return proceed(args, options)
