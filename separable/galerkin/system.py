"""The discrete problem: a separable operator and right-hand side on the axes' free functions.

    operator   A = sum_s g_s  A_1^(s) kron .. kron A_D^(s)          + sum_j  M kron .. K_j .. kron M   (additive part)
    data       b = sum_t h_t  b_1^(t) kron .. kron b_D^(t)

Each axis keeps its distinct matrices once; a term is a row of indices into them. Terms that touch a single coordinate
are gathered into the additive part, whose contractions are running sums: a Laplacian in D coordinates costs as much per
coordinate as a sum of two terms.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from separable.galerkin.axes import Axis
from separable.galerkin.problem import Array

NDArrayInt = NDArray[np.int64]
Factors = list[Array]
"""A sum of R products in coefficients: D arrays ``(n_j, R)``."""


class System:
    """Matrices, index rows and right-hand side, with everything that alternating solves contract.

    Args:
        axes: The D axes.
        matrices: For each axis its distinct matrices ``(M_j, ..)``; number 0 is the mass matrix.
        rows: Indices ``(S, D)`` of the matrices of each term.
        scales: Factors ``(S,)``.
        data: Right-hand side vectors ``(n_j, T)`` of each axis.
        data_scales: Factors ``(T,)``.
        symmetric: Whether A is symmetric positive definite.
        constant: ``||f||^2`` of the minimal-residual form; None for a weak form.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        matrices: list[Array],
        rows: NDArrayInt,
        scales: Array,
        data: list[Array],
        data_scales: Array,
        symmetric: bool,
        constant: float | None,
    ) -> None:
        self.axes, self.matrices, self.symmetric, self.constant = list(axes), matrices, symmetric, constant
        told = np.all([d.any(axis=0) for d in data], axis=0) & (data_scales != 0)  # a term that is zero says nothing
        self.data, self.data_scales = [d[:, told] for d in data], data_scales[told]
        count = len(axes)
        touched = (rows != 0).sum(axis=1)
        single = touched <= 1
        if count < 3 or single.sum() < 3:
            single[:] = False
        # the additive part: one matrix for each coordinate
        self.additive = [0] * count
        for j in range(count):
            mine = np.flatnonzero(single & (rows[:, j] != 0))
            if j == 0:
                mine = np.concatenate([mine, np.flatnonzero(single & (touched == 0))])
            if len(mine):
                total = np.tensordot(scales[mine], matrices[j][rows[mine, j]], axes=(0, 0))
                self.matrices[j] = np.concatenate([matrices[j], total[None]])
                self.additive[j] = len(self.matrices[j]) - 1
        self.rows, self.scales = rows[~single], scales[~single]
        self.selectors = [
            scipy.sparse.csr_matrix(
                (self.scales, (self.rows[:, j], np.arange(len(self.rows)))),
                shape=(len(self.matrices[j]), len(self.rows)),
            )
            for j in range(count)
        ]

    @property
    def has_additive(self) -> bool:
        """Whether there is an additive part."""
        return any(self.additive)

    def all_rows(self) -> tuple[NDArrayInt, Array]:
        """Rows and factors of every term, the additive part written out."""
        additive = [[m if i == j else 0 for i in range(len(self.axes))] for j, m in enumerate(self.additive) if m]
        rows = np.concatenate([self.rows, np.array(additive, dtype=np.int64).reshape(-1, len(self.axes))])
        return rows, np.concatenate([self.scales, np.ones(len(additive))])

    def grams(self, j: int, test: Array, trial: Array) -> Array:
        """``V_j^T A_j U_j`` for the distinct matrices of axis j, ``(M_j, R_v, R_u)``."""
        return self.axes[j].grams(self.matrices[j], test, trial)


class Contraction:
    """Running products of ``V_i^T A_i U_i`` over coordinates, while one of the two sums of products is replaced.

    One pass visits the coordinates 0 .. D - 1; `weights` gives, for each distinct matrix of the coordinate, what the
    other coordinates multiply it with.
    """

    def __init__(self, system: System, test: Factors, trial: Factors) -> None:
        self.system = system
        count = len(system.axes)
        shape = (test[0].shape[1], trial[0].shape[1])
        self._after: list[tuple[Array, Array, Array]] = [self._start(shape)]
        for j in range(count - 1, 0, -1):
            self._after.append(self._extended(self._after[-1], j, system.grams(j, test[j], trial[j])))
        self._before = self._start(shape)

    def _start(self, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
        return np.ones((len(self.system.rows), *shape)), np.ones(shape), np.zeros(shape)

    def _extended(self, state: tuple[Array, Array, Array], j: int, grams: Array) -> tuple[Array, Array, Array]:
        terms, plain, total = state
        system = self.system
        terms = terms * grams[system.rows[:, j]]
        if system.has_additive:
            total = total * grams[0] + (plain * grams[system.additive[j]] if system.additive[j] else 0.0)
            plain = plain * grams[0]
        return terms, plain, total

    def weights(self, j: int) -> Array:
        """``(M_j, R_v, R_u)``."""
        system = self.system
        before, after = self._before, self._after[len(system.axes) - 1 - j]
        shape = before[1].shape
        terms = (before[0] * after[0]).reshape(len(system.rows), shape[0] * shape[1])
        weights = np.asarray(system.selectors[j] @ terms).reshape(-1, *shape)
        if system.has_additive:
            weights[0] += before[1] * after[2] + before[2] * after[1]
            if system.additive[j]:
                weights[system.additive[j]] += before[1] * after[1]
        return weights

    def advance(self, j: int, test: Array, trial: Array) -> None:
        """Coordinate j now has these factors; the pass moves on."""
        self._before = self._extended(self._before, j, self.system.grams(j, test, trial))


class DataContraction:
    """Running products of ``V_i^T b_i``, ``(T, R_v)``, over coordinates."""

    def __init__(self, system: System, test: Factors) -> None:
        self.system = system
        self._after = [np.ones((len(system.data_scales), test[0].shape[1]))]
        for j in range(len(system.axes) - 1, 0, -1):
            self._after.append(self._after[-1] * (system.data[j].T @ test[j]))
        self._before = np.array(np.broadcast_to(system.data_scales[:, None], self._after[0].shape))

    def right(self, j: int) -> Array:
        """The right-hand side ``(n_j, R_v)`` of coordinate j."""
        return np.asarray(self.system.data[j] @ (self._before * self._after[len(self.system.axes) - 1 - j]))

    def advance(self, j: int, test: Array) -> None:
        """Coordinate j now has these factors; the pass moves on."""
        self._before = self._before * (self.system.data[j].T @ test)
