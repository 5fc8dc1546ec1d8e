"""Rows that stand for a table where all of them would take too long."""

import numpy as np
from numpy.typing import NDArray


def some_rows(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of ``count`` rows, drawn alike every time, in their order.

    Drawn, because every k-th row of a table in which two machines or the hours of a day take turns is of one kind.

    Example:
        >>> some_rows(4, 9), len(some_rows(100, 9))
        (array([0, 1, 2, 3]), 9)
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
