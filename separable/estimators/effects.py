"""What a fitted estimator shows of itself: the function of every feature, with its error and the data behind it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from separable.estimators.columns import Column
from separable.estimators.decomposition import Decomposition

Array = NDArray[np.float64]

GRID = 200  # points of a feature's grid


@dataclasses.dataclass(frozen=True)
class Support:
    """The distribution of one feature in the training rows.

    Args:
        numbers: 101 quantiles of a column of numbers; None for categories.
        shares: Share of every category, of what is unknown or missing last; None for numbers.
    """

    numbers: Array | None
    shares: Array | None

    @classmethod
    def of(cls, column: Column, z: Array, weights: Array) -> "Support":
        """From training coordinates ``(N, D)`` and their weights."""
        values = z[:, column.coordinate]
        if column.categories is not None:
            counts = np.bincount(values.astype(np.int64), weights=weights, minlength=len(column.categories) + 1)
            return cls(None, counts / counts.sum())
        if column.gap is not None and not (z[:, column.gap] > 0.5).all():
            present = z[:, column.gap] < 0.5
            values, weights = values[present], weights[present]
        order = np.argsort(values, kind="stable")
        rising = np.cumsum(weights[order]) / weights.sum()
        places = np.searchsorted(rising, np.linspace(0, 1, 101) * (1 - 1e-12))
        return cls(values[order][np.minimum(places, len(values) - 1)], None)


@dataclasses.dataclass(frozen=True)
class ShapeFunction:
    """The main effect of one feature: what it adds to the model, with mean zero over the training rows.

    Args:
        name: Of the feature.
        grid: Its values: numbers from the least to the greatest seen, ``(n,)``, or its categories.
        values: The effect there, ``(n,)``, in the unit of the target (on the link's scale, for classes in logits);
            ``(n, C)`` for more than two classes.
        standard_error: Of the effect, in the same shape; None where the model has no error theory.
        missing: The effect where the feature is missing or, for categories, unknown; ``()`` or ``(C,)``. None where
            nothing was missing.
        support: The feature's distribution.
    """

    name: str
    grid: NDArray[Any]
    values: Array
    standard_error: Array | None
    missing: Array | None
    support: Support

    @property
    def categorical(self) -> bool:
        """Whether the feature is one of categories."""
        return self.support.numbers is None


def grid_of(column: Column, support: Support, points: int = GRID) -> Array:
    """The coordinate's values at which a feature is shown: all categories, or equally spaced numbers."""
    if support.numbers is None:
        assert column.categories is not None
        return np.arange(len(column.categories), dtype=np.float64)
    return np.linspace(support.numbers[0], support.numbers[-1], points)


def shape_function(
    decomposition: Decomposition, f: int, support: Support, errors: Callable[[int, Array], Array] | None
) -> ShapeFunction:
    """The function of feature f.

    Args:
        decomposition: Of the layer.
        f: Number of the feature.
        support: Its distribution.
        errors: Standard errors ``(n, O)`` of a coordinate's main term at its values; None if there are none.
    """
    column = decomposition.features[f]
    grid = grid_of(column, support)
    values = decomposition.main(f, grid)
    error = None if errors is None else errors(column.coordinate, grid)
    missing = None
    if column.gap is not None:
        missing = decomposition.main(f, np.array([column.fill]), missing=True)[0]
    elif support.shares is not None and support.shares[-1] > 0:
        missing = decomposition.main(f, np.array([float(len(support.shares) - 1)]))[0]
    if values.shape[1] == 1:
        values, error = values[:, 0], None if error is None else error[:, 0]
        missing = None if missing is None else missing[0]
    shown = grid if column.categories is None else np.array(column.categories, dtype=object)
    return ShapeFunction(column.name, shown, values, error, missing, support)
