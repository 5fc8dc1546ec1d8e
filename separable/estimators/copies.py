"""Rows that are equal in all coordinates: copies of one row, or others that agree with it by chance.

A copy tells nothing new, and a row is not left out while a copy of it stays: what is judged by leaving out rows takes
all copies at once, and so one row with the weight of all. Rows of a few categories agree by chance; each of them is
an observation of its own, and is left out alone. Among rows of total weight n, with columns independent of each other,

    n prod_j sum_v s_jv^2      (s_jv the share of value v in column j)

others agree with a row by chance. Where that is less than one, equal rows are taken for copies.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FEW = 20  # values of a column of numbers on which a smooth function can be judged by leaving out one of them


def merged(z: Array, y: Array, weights: Array, tables: Mapping[int, int]) -> tuple[Array, Array, Array, Array]:
    """Rows without copies.

    Args:
        z: Coordinates ``(N, D)``, as `Columns.encode` gives them.
        y: Targets ``(N, C)``.
        weights: Positive weights ``(N,)`` that count rows.
        tables: Discrete coordinates with their numbers of categories.

    Returns:
        The M distinct rows in their order, mean targets ``(M, C)``, weights ``(M,)``, and how much of the weight is
        left out with each row ``(M,)``: all, or where rows agree by chance no more than one.
    """
    if _agree_by_chance(z, weights, tables):
        return z, y, weights, np.minimum(weights, 1)
    _, first, place = np.unique(z, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)[place.reshape(-1)]
    total: Array = np.bincount(place, weights).astype(np.float64)
    means = np.stack([np.bincount(place, weights * column) / total for column in y.T], axis=1)
    return z[first[order]], means, total, total


def _agree_by_chance(z: Array, weights: Array, tables: Mapping[int, int]) -> bool:
    agreeing = float(weights.sum())
    for j in range(z.shape[1]):
        values, place = np.unique(z[:, j], return_inverse=True)
        if j not in tables and len(values) > _FEW:
            return False
        agreeing *= float(np.sum((np.bincount(place, weights) / weights.sum()) ** 2))
    return agreeing >= 1
