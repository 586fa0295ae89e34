"""A generator is three integers: seed, stream, offset. Saving it is saving them."""

from __future__ import annotations

import math
import os

import numpy as np

from . import philox


class Generator:
    """A position in a Philox stream. Every draw uses up words and moves ``offset``.

    Two generators with equal (seed, stream, offset) give equal numbers for ever, on every device.

    Args:
        seed: 64-bit key; ``None`` takes one from the operating system.
        stream: which of the 2⁶⁴ independent streams of that seed.
        offset: words already used.
    """

    def __init__(self, seed: int | None = None, stream: int = 0, offset: int = 0):
        self.stream, self.offset = _integer("stream", stream), _integer("offset", offset)
        self._seed = None if seed is None else _integer("seed", seed)

    def manual_seed(self, seed: int) -> Generator:
        """Restart at the beginning of stream 0 of ``seed``."""
        self._seed, self.stream, self.offset = _integer("seed", seed), 0, 0
        return self

    def initial_seed(self) -> int:
        """The seed; drawn from the operating system now if none was set."""
        if self._seed is None:
            self._seed = int.from_bytes(os.urandom(8), "little") >> 1
        return self._seed

    def get_state(self) -> dict[str, int]:
        """``{"seed", "stream", "offset"}``: all there is."""
        return {"seed": self.initial_seed(), "stream": self.stream, "offset": self.offset}

    def set_state(self, state: dict[str, int]) -> None:
        """Return to a state that :meth:`get_state` gave."""
        self._seed = _integer("seed", state["seed"])
        self.stream, self.offset = _integer("stream", state["stream"]), _integer("offset", state["offset"])

    def take(self, words: int) -> tuple[int, int, int]:
        """Reserve ``words`` 32-bit words: (seed, stream, first word). For kernels that make their own numbers."""
        place = self.initial_seed(), self.stream, self.offset
        self.offset += words
        return place

    def uniform(self, shape, dtype=np.float32) -> np.ndarray:
        """Uniform in [0, 1), C order."""
        count = math.prod(shape)
        return philox.uniform(*self.take(philox.words_for("uniform", count, dtype)), count, dtype).reshape(shape)

    def normal(self, shape, dtype=np.float32) -> np.ndarray:
        """Standard normal, C order."""
        count = math.prod(shape)
        return philox.normal(*self.take(philox.words_for("normal", count, dtype)), count, dtype).reshape(shape)

    def fill_normal(self, array: np.ndarray, mean: float = 0.0, std: float = 1.0) -> None:
        """Write mean + std·z over a floating array: the numbers of :meth:`normal`, in logical order whatever the strides."""
        place = self.take(philox.words_for("normal", array.size, array.dtype))
        _into(array, lambda out: philox.normal(*place, array.size, array.dtype, out=out, mean=mean, std=std))

    def fill_uniform(self, array: np.ndarray, low: float = 0.0, high: float = 1.0) -> None:
        """Write low + (high − low)·u over a floating array: the numbers of :meth:`uniform`, in logical order."""
        place = self.take(philox.words_for("uniform", array.size, array.dtype))
        _into(array, lambda out: philox.uniform(*place, array.size, array.dtype, out=out, low=low, high=high))

    def bits(self, shape) -> np.ndarray:
        """Uniform 32-bit words (uint32), C order."""
        count = math.prod(shape)
        return philox.random_words(*self.take(count), count).reshape(shape)

    def integers(self, low: int, high: int, shape) -> np.ndarray:
        """Integers in [low, high) as int64, by multiply-and-shift (bias below (high − low) / 2³²; 64-bit remainder above 2³²).

        Raises:
            RuntimeError: if ``low >= high`` (torch's class of error).
        """
        if low >= high:
            raise RuntimeError(f"random integers: low must be below high, got low={low}, high={high}")
        count, span = math.prod(shape), high - low
        if span <= 1 << 32:
            words = self.bits((count,)).astype(np.uint64)
            drawn = (words * np.uint64(span)) >> np.uint64(32)
        else:
            drawn = philox.random_words64(*self.take(2 * count), count) % np.uint64(span)
        return (drawn.astype(np.int64) + low).reshape(shape)

    def permutation(self, n: int) -> np.ndarray:
        """A random order of ``range(n)`` (int64): the stable argsort of n 64-bit words."""
        return np.argsort(philox.random_words64(*self.take(2 * n), n), kind="stable").astype(np.int64, copy=False)

    def __repr__(self):
        return f"Generator(seed={self._seed}, stream={self.stream}, offset={self.offset})"


def _into(array, draw):
    """Let ``draw(out)`` fill ``array`` itself where it is a plain float32 or float64 block, else a buffer that is then copied."""
    if array.flags.c_contiguous and array.dtype in (np.float32, np.float64):
        draw(array.reshape(-1))
    else:
        array[...] = draw(None).reshape(array.shape)


def _integer(name: str, value) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"Generator: {name} must be an integer, got {type(value).__name__} {value!r}")
    if not -(1 << 63) <= value < 1 << 64:
        raise RuntimeError(f"Generator: {name} must fit 64 bits, got {value}")
    return int(value) & 0xFFFFFFFFFFFFFFFF


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator (dropout, ``randn``, ``nn.init``) and return it."""
    return default_generator.manual_seed(seed)


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()
