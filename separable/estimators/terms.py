"""The terms of a smooth model as columns of a design matrix whose penalties are ridges on groups of columns.

    f(z) = b + sum_j g_j(z_j) + sum_((i,j) in P) h_ij(z_i, z_j)

g_j lives on the m_j functions of its `Basis`; h_ij on the products of the six smoothest functions of either column,
scaled so that a function as rough in both as the k-th and l-th alone has the mean of their penalties. Columns come in
the order: constant, main terms, pairs. A ridge group is shared by all straight lines, for they measure alike; every
bent part and every pair has its own.

Where a number is missing its functions are zero, which is their mean, in main terms and pairs alike.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from separable.estimators.bases import Basis

Array = NDArray[np.float64]

PAIR_FUNCTIONS = 6
_KEPT_NUMBERS = 3e7  # a design of at most so many numbers is kept; a larger one is made again for every pass
_BLOCK_NUMBERS = 4e6


@dataclasses.dataclass(frozen=True)
class Terms:
    """Which functions of which coordinates a model is made of.

    Args:
        bases: One for each coordinate.
        pairs: Pairs (i, j) of coordinates, i < j.
        gaps: For coordinates that can be missing, the coordinate that is 1 where they are.
    """

    bases: tuple[Basis, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    gaps: Mapping[int, int] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def mains(self) -> tuple[slice, ...]:
        """Columns of every main term."""
        ends = np.cumsum([1, *(basis.size for basis in self.bases)]).tolist()
        return tuple(slice(a, b) for a, b in itertools.pairwise(ends))

    @functools.cached_property
    def products(self) -> tuple[slice, ...]:
        """Columns of every pair."""
        start = self.mains[-1].stop
        ends = np.cumsum([start, *(self._scale(i, j).size for i, j in self.pairs)]).tolist()
        return tuple(slice(a, b) for a, b in itertools.pairwise(ends))

    @property
    def width(self) -> int:
        """P, the number of columns."""
        return int((self.products or self.mains)[-1].stop)

    @functools.cached_property
    def groups(self) -> NDArray[np.int64]:
        """The ridge group ``(P,)`` of every column: -1 the constant, 0 the lines, 1 + j bent parts, then the pairs."""
        found = np.full(self.width, -1)
        for j, (columns, basis) in enumerate(zip(self.mains, self.bases, strict=True)):
            found[columns] = 1 + j
            if basis.line:
                found[columns.start] = 0
        for number, columns in enumerate(self.products):
            found[columns] = 1 + len(self.bases) + number
        return found

    @property
    def group_count(self) -> int:
        """Number of ridge groups; some may be empty."""
        return 1 + len(self.bases) + len(self.pairs)

    def pair_shape(self, i: int, j: int) -> tuple[int, int]:
        """How many functions of either coordinate a pair multiplies."""
        return min(PAIR_FUNCTIONS, self.bases[i].size), min(PAIR_FUNCTIONS, self.bases[j].size)

    def _scale(self, i: int, j: int) -> Array:
        """Factors ``(a, b)`` of a pair's products."""
        a, b = self.pair_shape(i, j)
        scale: Array = np.sqrt(2 / (self.bases[i].scales[:a, None] ** 2 + self.bases[j].scales[:b] ** 2))
        return scale

    def pair_coefficients(self, number: int, beta: Array) -> Array:
        """Coefficients ``(K_i, K_j)`` over products of atoms of one pair, from those ``(P,)`` of all columns."""
        i, j = self.pairs[number]
        a, b = self.pair_shape(i, j)
        weight = beta[self.products[number]].reshape(a, b) * self._scale(i, j)
        found: Array = self.bases[i].transform[:, :a] @ weight @ self.bases[j].transform[:, :b].T
        return found

    def functions(self, z: Array) -> list[Array]:
        """The functions ``(N, m_j)`` of every coordinate at ``z (N, D)``, zero where it is missing."""
        found = [basis(z[:, j]) for j, basis in enumerate(self.bases)]
        for j, gap in self.gaps.items():
            found[j] = found[j] * (z[:, gap, None] < 0.5)
        return found

    def columns(self, z: Array) -> Array:
        """The design matrix ``(N, P)``."""
        functions = self.functions(z)
        parts = [np.ones((len(z), 1)), *functions]
        for i, j in self.pairs:
            a, b = self.pair_shape(i, j)
            products = functions[i][:, :a, None] * functions[j][:, None, :b] * self._scale(i, j)
            parts.append(products.reshape(len(z), a * b))
        return np.concatenate(parts, axis=1)


class Design:
    """The design matrix of some rows, block by block.

    Args:
        terms: The terms.
        z: Coordinates ``(N, D)``.
    """

    def __init__(self, terms: Terms, z: Array) -> None:
        self.terms, self.z = terms, z
        step = max(1, int(_BLOCK_NUMBERS / terms.width))
        self._rows = [slice(start, start + step) for start in range(0, len(z), step)]
        self._kept: list[Array] | None = None
        if terms.width * len(z) <= _KEPT_NUMBERS:
            self._kept = [terms.columns(z[rows]) for rows in self._rows]

    def __iter__(self) -> Iterator[tuple[slice, Array]]:
        for number, rows in enumerate(self._rows):
            yield rows, self._kept[number] if self._kept is not None else self.terms.columns(self.z[rows])

    def times(self, coefficients: Array) -> Array:
        """The product with coefficients ``(P,)`` or ``(P, O)``."""
        return np.concatenate([block @ coefficients for _, block in self])

    def normal(self, weights: Array) -> Array:
        """``X' diag(w) X (P, P)``."""
        upper = np.zeros((self.terms.width, self.terms.width), order="F")
        for rows, block in self:
            scaled = block * np.sqrt(weights[rows])[:, None]
            upper = blas.dsyrk(1.0, scaled.T, beta=1.0, c=upper, overwrite_c=1)
        total: Array = upper + np.triu(upper, 1).T
        return total

    def moment(self, values: Array) -> Array:
        """``X' v`` for values ``(N,)`` or ``(N, O)``."""
        found: Array = sum((block.T @ values[rows] for rows, block in self), start=np.zeros(()))
        return found

    def leverage(self, root: Array) -> Array:
        """``x_n' A^-1 x_n (N,)`` with ``A^-1 = root' root``."""
        return np.concatenate([np.square(block @ root.T).sum(1) for _, block in self])


def starting(groups: int, value: float, known: Sequence[float] | Array = ()) -> Array:
    """Ridges of all groups: those known from a smaller model with the same first groups, else one value."""
    found = np.full(groups, value)
    found[: len(known)] = known
    return found
