"""What a transform may know of the batch it works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..array import Generator, philox

# The top bits of a stream's number say what it is for; no stream of dropout or initialisation has them.
ORDER, BATCH, IMAGE = 1 << 62, 2 << 62, 3 << 62


@dataclass(frozen=True)
class BatchInfo:
    """The place of a batch in the training, and its random numbers.

    Attributes:
        epoch: 0, 1, …
        indices: int64 (N,), the places of the images in the data set.
        rng: the batch's own generator, a function of (seed, epoch, batch number) only.
        seed: the loader's seed.
    """

    epoch: int
    indices: np.ndarray
    rng: Generator
    seed: int = 0

    @classmethod
    def of(cls, seed: int, epoch: int, batch: int, indices: np.ndarray) -> BatchInfo:
        """The information of batch number ``batch`` of an epoch."""
        return cls(epoch, indices, Generator(seed, BATCH | epoch << 32 | batch), seed)

    def words_of_images(self) -> np.ndarray:
        """A random 32-bit word for each image (uint32, (N,)) that is the same in every epoch."""
        zero = np.zeros(len(self.indices), np.uint64)
        counter = self.indices.astype(np.uint64), zero, zero, zero + np.uint64(IMAGE >> 32)
        return philox.philox4x32(counter, (self.seed & 0xFFFFFFFF, self.seed >> 32 & 0xFFFFFFFF))[0].astype(np.uint32)


def order_of(seed: int, epoch: int, count: int) -> np.ndarray:
    """The shuffled order of ``count`` items in an epoch (int64, (count,))."""
    return Generator(seed, ORDER | epoch).permutation(count)
