"""Filters that an algorithm has transformed, kept while their weight lives and does not change.

A weight is known by its version counter, which a tensor shares with its views and which dies with the last of them; its entries die
with it. An entry holds for one value of the counter, one place in memory and one fingerprint of the numbers: writes that go past the
counter (into ``tensor.array``, through NumPy) are noticed too, except a change of few numbers in a large filter. For those there is
:meth:`PreparedFilters.clear`. An algorithm keeps one entry a weight: the last.
"""

from __future__ import annotations

import os
import threading
import weakref

VARIABLE = "SCRATCHVGG_CONV_CACHE"
WHOLE = 8192  # numbers of a filter that are all looked at in its fingerprint
SAMPLE = 256  # of a larger one


class PreparedFilters:
    """The cache. It is safe to use from several threads.

    Attributes:
        enabled: False keeps nothing; None asks the environment (``SCRATCHVGG_CONV_CACHE=0`` turns it off).
    """

    def __init__(self):
        self.enabled: bool | None = None
        self._lock = threading.RLock()  # a weight may die while it is held
        self._entries: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # version → {algorithm name: (stamp, prepared)}

    def get(self, algorithm, backend, problem, w, version):
        """``algorithm.prepare(backend, problem, w)``, computed once.

        Args:
            w: the filter's array (K, C / groups, R, S).
            version: the :class:`~scratchvgg.autograd.node.Version` of the tensor that holds it, or None.

        Returns:
            None if the algorithm prepares nothing, there is no version, or the cache is off.
        """
        if version is None or not algorithm.prepares or not self.on:
            return None
        stamp = (version.value, w.__array_interface__["data"][0], w.strides, w.shape, w.dtype, algorithm.filter_key(problem), fingerprint(w))
        with self._lock:
            held = self._entries.get(version, {}).get(algorithm.name)
        if held is not None and held[0] == stamp:
            return held[1]
        self.drop(version, algorithm.name)  # the old one's memory is free before the new one takes its own
        value = algorithm.prepare(backend, problem, w)
        with self._lock:
            self._entries.setdefault(version, {})[algorithm.name] = stamp, value
        return value

    def drop(self, version, name: str | None = None) -> None:
        """Forget what is kept for a weight: of one algorithm, or all."""
        with self._lock:
            if name is None:
                self._entries.pop(version, None)
            elif version in self._entries:
                self._entries[version].pop(name, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of all filters kept."""
        with self._lock:
            return sum(_nbytes(value) for held in self._entries.values() for _, value in held.values())

    def __len__(self):
        with self._lock:
            return sum(map(len, self._entries.values()))

    @property
    def on(self) -> bool:
        """Whether anything is kept."""
        return os.environ.get(VARIABLE, "1") != "0" if self.enabled is None else self.enabled


def fingerprint(w) -> int:
    """A hash of the numbers: all of them up to :data:`WHOLE`, else of :data:`SAMPLE` spread evenly in memory."""
    flat = w.ravel("K")
    return hash((flat if flat.size <= WHOLE else flat[:: flat.size // SAMPLE | 1]).tobytes())


def _nbytes(value) -> int:
    if hasattr(value, "nbytes"):
        return value.nbytes
    return sum(map(_nbytes, value.values() if isinstance(value, dict) else value)) if isinstance(value, (dict, list, tuple)) else 0


cache = PreparedFilters()
"""The one that ``conv2d`` uses when nothing is recorded."""


class cache_filters:
    """Turn the keeping of transformed filters on or off: a call sets it, ``with cache_filters(False):`` sets it for the block.

    What is kept stays until it is used again or ``cache.clear()`` drops it.
    """

    def __init__(self, enabled: bool = True):
        self._before, cache.enabled = cache.enabled, bool(enabled)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        cache.enabled = self._before
