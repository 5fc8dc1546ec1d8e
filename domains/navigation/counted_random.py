"""Random numbers by counting: one stream per world, drawn for all worlds in one pass, the same alone or in a batch.

The i-th number of the stream with key k is a hash of k + i g (SplitMix64: Steele, Lea, Flood, OOPSLA 2014; g is 2^64
over the golden ratio). Episode e of a world starts at i = e 2^32: its course does not depend on how long the episodes
before it were. Normals are made of pairs of uniforms (Box and Muller).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_STEP, _FIRST, _SECOND = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


class CountedRandom:
    """Streams of random numbers, one per world.

    Args:
        n_worlds: Number of streams W; all have the key of seed 0 until `seed`.

    Example:
        >>> both, alone = CountedRandom(2), CountedRandom(1)
        >>> both.seed([0, 1], [7, 8])
        >>> alone.seed([0], [8])
        >>> bool((both.uniform(3)[:, 1] == alone.uniform(3)[:, 0]).all())
        True
    """

    def __init__(self, n_worlds: int) -> None:
        self.key = np.zeros(n_worlds, np.uint64)
        self.episode = np.zeros(n_worlds, np.uint64)
        self.drawn = np.zeros(n_worlds, np.uint64)
        self.seed(np.arange(n_worlds), [0] * n_worlds)

    def seed(self, worlds: npt.ArrayLike, seeds: Sequence[int]) -> None:
        """Give the listed worlds ``(R,)`` the streams of the listed whole numbers, at their first episode."""
        raw = np.array([int(s) % 2**64 for s in seeds], np.uint64)  # of numpy's numbers 2^64 is none
        worlds = np.asarray(worlds)
        self.key[worlds] = _mixed(_mixed(raw + _STEP) ^ _SECOND)
        self.episode[worlds] = 0
        self.drawn[worlds] = 0

    def next_episode(self, worlds: npt.NDArray[np.int64]) -> None:
        """Move the listed worlds to the start of their next episode."""
        self.episode[worlds] += np.uint64(1)
        self.drawn[worlds] = self.episode[worlds] << np.uint64(32)

    def uniform(self, n: int, worlds: npt.NDArray[np.int64] | slice = slice(None)) -> npt.NDArray[np.float64]:
        """``(n, R)`` numbers in [0, 1), n from each listed world's stream (default all)."""
        drawn = self.drawn[worlds]
        raw = self.key[worlds] + (drawn + np.arange(1, n + 1, dtype=np.uint64)[:, None]) * _STEP
        self.drawn[worlds] = drawn + np.uint64(n)
        return (_mixed(raw) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, n: int, worlds: npt.NDArray[np.int64] | slice = slice(None)) -> npt.NDArray[np.float64]:
        """``(n, R)`` standard normal numbers, n from each listed world's stream (default all)."""
        half = (n + 1) // 2
        u = self.uniform(2 * half, worlds)
        radius, angle = np.sqrt(-2.0 * np.log(1.0 - u[:half])), 2.0 * np.pi * u[half:]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
