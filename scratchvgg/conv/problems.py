"""Convolution problems to check algorithms on: a fixed grid, and random ones drawn by hypothesis or NumPy."""

from __future__ import annotations

from .geometry import Problem

NONE, ONE, TWO = (((p, p), (p, p)) for p in (0, 1, 2))

GRID = (
    Problem(1, 1, 1, 1, 1, 1, 1),
    Problem(0, 2, 4, 4, 3, 3, 3, (1, 1), ONE),  # no images
    Problem(2, 4, 3, 5, 3, 1, 1),
    Problem(1, 2, 5, 5, 2, 1, 1, (2, 2)),
    Problem(1, 2, 3, 3, 2, 1, 1, (1, 1), ONE),
    Problem(1, 2, 3, 3, 1, 3, 3),  # one output
    Problem(1, 2, 5, 6, 3, 3, 3),
    Problem(1, 2, 3, 3, 2, 2, 2, (1, 1), ((3, 3), (2, 2))),  # more padding than the filter reaches
    Problem(2, 2, 4, 5, 3, 2, 4, (1, 1), ((0, 1), (1, 2))),
    Problem(2, 2, 4, 5, 3, 3, 3, (1, 1), ((0, 2), (2, 1))),
    Problem(2, 3, 6, 5, 4, 3, 3, (1, 1), ONE),  # VGG's
    Problem(2, 2, 7, 8, 3, 3, 3, (2, 3), ONE),
    Problem(1, 2, 8, 8, 2, 3, 2, (3, 3), NONE),  # rows and columns left over
    Problem(1, 2, 9, 8, 3, 3, 2, (1, 1), ONE, (2, 3)),
    Problem(1, 2, 9, 9, 2, 2, 3, (2, 2), ((2, 2), (1, 1)), (3, 1)),
    Problem(3, 2, 4, 4, 5, 4, 4),  # a fully connected layer
    Problem(2, 6, 5, 5, 4, 3, 3, (1, 1), ONE, (1, 1), 2),
    Problem(1, 4, 5, 4, 8, 3, 3, (2, 1), ONE, (1, 1), 4),  # depthwise
    Problem(1, 3, 7, 6, 2, 5, 5, (1, 1), TWO),
    Problem(1, 2, 9, 8, 2, 7, 7, (1, 1), ((3, 3), (3, 3))),
    Problem(1, 17, 10, 9, 19, 3, 3, (1, 1), ONE),
    Problem(1, 4, 29, 31, 5, 3, 3, (1, 1), ONE),
)
"""Borders, strides, dilations, groups, odd sizes and no images at all: what an algorithm should be checked on before it is trusted."""


class Choices:
    """The values of each field to draw from: those that an algorithm supports on a simple problem, or all."""

    def __init__(self, algorithm=None, dtype="float32"):
        sides = (1, 2, 3, 4, 5, 7)
        filters = self._supported(algorithm, dtype, "R S", [(r, s) for r in sides for s in sides])
        common = [f for f in ((3, 3), (5, 5), (1, 1)) if f in filters]
        self.filters = filters + common * 4  # the smallest first, where shrinking ends; the common ones often
        first = dict(zip("RS", (common + filters)[0], strict=True)) if filters else {}
        steps = [(i, j) for i in (1, 2, 3) for j in (1, 2, 3)]
        self.strides = self._supported(algorithm, dtype, "stride", steps, **first)
        self.dilations = self._supported(algorithm, dtype, "dilation", steps, **first)
        self.groups = self._supported(algorithm, dtype, "groups", [1, 2, 3], **first)
        self.paddings = self._supported(algorithm, dtype, "padding", [((p, p), (p, p)) for p in range(5)], **first)

    @property
    def any(self) -> bool:
        """Whether there is anything to draw."""
        return all((self.filters, self.strides, self.dilations, self.groups, self.paddings))

    @staticmethod
    def _supported(algorithm, dtype, fields, values, **rest):
        """The ``values`` of ``fields`` with which some otherwise plain problem is supported."""
        names = fields.split()
        rest = {"R": 3, "S": 3} | rest
        found = []
        for value in values:
            changed = dict(zip(names, value if len(names) > 1 else (value,), strict=True))
            if algorithm is None or algorithm.supports(Problem(1, 6, 16, 16, 6, **(rest | changed)), dtype):
                found.append(value)
        return found

    def build(self, pick) -> Problem:
        """A problem with every field chosen by ``pick(values)``, a function that returns one of a sequence."""
        (r, s), groups = pick(self.filters), pick(self.groups)
        stride, dilation = pick(self.strides), pick(self.dilations)
        most = max(around[0][0] for around in self.paddings)
        padding = tuple((pick(range(most + 1)), pick(range(most + 1))) for _ in range(2))
        height, width = (
            max(1, d * (taps - 1) + 1 - sum(around)) + pick(range(9))
            for d, taps, around in zip(dilation, (r, s), padding, strict=True)
        )
        return Problem(
            pick((1, 2, 3)), groups * pick((1, 2, 3, 4)), height, width, groups * pick((1, 2, 3, 4)), r, s, stride, padding, dilation, groups
        )


def problems(algorithm=None, dtype="float32"):
    """A hypothesis strategy: small problems, every field drawn, simpler ones first when a failure is shrunk.

    Args:
        algorithm: draw only what it supports.
        dtype: the element type to ask it about.

    Raises:
        ImportError: without hypothesis.
    """
    try:
        from hypothesis import strategies as st
    except ImportError:
        raise ImportError("random problems that shrink need hypothesis: pip install 'scratchvgg[test]'") from None
    choices = Choices(algorithm, dtype)
    if not choices.any:
        return st.nothing()

    @st.composite
    def problem(draw):
        return choices.build(lambda values: draw(st.sampled_from(values)))

    drawn = problem()
    return drawn if algorithm is None else drawn.filter(lambda g: algorithm.supports(g, dtype))
