"""The choice between a smooth model of order 2 and a grown product: by the same held-out rows, in doubt the simpler."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_ROWS = 250  # of fewer rows too few are left to judge: the smooth model, which needs no judge, is taken
_SHARE = 0.2
_ERRORS, _GAIN = 2.0, 0.02


def split(weights: Array, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to judge by, a fifth."""
    order = random.permutation(len(weights))
    count = int(_SHARE * len(weights))
    return np.sort(order[count:]), np.sort(order[:count])


def richer_is_better(simple: Array, rich: Array, weights: Array) -> bool:
    """Whether the richer model's losses ``(N,)`` are lower beyond doubt.

    By at least 2% of the simpler one's, and by two standard errors of the mean of the differences.
    """
    share = weights / weights.sum()
    gain = simple - rich
    mean = float(share @ gain)
    error = float(np.sqrt(np.sum(share**2 * (gain - mean) ** 2)))
    return mean > _ERRORS * error and mean > _GAIN * float(share @ simple)
