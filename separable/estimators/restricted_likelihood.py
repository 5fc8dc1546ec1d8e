"""Ridge regression in which the data choose the ridge of every group of columns: REML by the Fellner-Schall update.

    beta = A^-1 X'Wy,    A = X'WX + diag(lambda_g(p)),    lambda_g <- phi (m_g - lambda_g tr_g A^-1) / |beta_g|^2

with X (N, P), weights W that count rows (n = sum w), residual variance phi = |y - X beta|_W^2 / (n - edf), m_g columns
in group g and ``edf = 1 + sum_g (m_g - lambda_g tr_g A^-1)`` degrees of freedom (Wood and Fasiolo, Biometrics 2017).
Given X'WX and X'Wy a step costs one Cholesky factorisation, whatever the number of rows; a ridge that the data do not
want grows without bound, and its group leaves the model. Column 0 is the constant, which has none (group -1).
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array = NDArray[np.float64]

_LEAST, _MOST = 1e-7, 1e12  # ridges, relative to the number of rows
_LONGER, _LONGEST, _FARTHEST = 1.5, 4.0, 6.0  # steps in log lambda: by what, up to what they grow; the most of one


@dataclasses.dataclass(frozen=True)
class Normal:
    """What the rows come down to.

    Args:
        gram: ``X'WX (P, P)``.
        moment: ``X'Wy (P,)``.
        square: ``y'Wy``.
        count: n, the sum of the weights that count rows.
    """

    gram: Array
    moment: Array
    square: float
    count: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Coefficients with what is known of their errors.

    Args:
        coefficients: beta ``(P,)``.
        ridges: lambda ``(G,)`` for the next step.
        freedom: Effective degrees of freedom ``(G,)`` of every group.
        variance: phi.
        root: ``(P, P)`` with ``A^-1 = root' root``; phi A^-1 is the posterior covariance of beta.
        moved: How far the ridges moved in the last step, weighted by what depends on them; about 0 at the end.
    """

    coefficients: Array
    ridges: Array
    freedom: Array
    variance: float
    root: Array
    moved: float


class Pace:
    """Steps in log lambda, longer for a group that goes on in one direction.

    The update is cautious, and slow where a group leaves the model.

    Args:
        groups: Number of ridges G.
    """

    def __init__(self, groups: int) -> None:
        self._length, self._last = np.ones(groups), np.zeros(groups)

    def __call__(self, wanted: Array) -> Array:
        """The steps ``(G,)`` to take after those taken before."""
        onward = wanted * self._last > 0
        self._length = np.where(onward, np.minimum(_LONGER * self._length, _LONGEST), 1.0)
        self._last = wanted
        return np.clip(self._length * wanted, -_FARTHEST, _FARTHEST)


def estimate(
    normal: Normal,
    groups: NDArray[np.int64],
    ridges: Array,
    *,
    variance: float | None = None,
    steps: int = 1,
    least: float = 0.0,
    tolerance: float = 1e-4,
    pace: Pace | None = None,
) -> Estimate:
    """Alternate between coefficients and ridges.

    Args:
        normal: The rows.
        groups: Group of every column ``(P,)``; -1 for the constant.
        ridges: Start values ``(G,)``.
        variance: phi if it is known, else it is estimated.
        steps: The most updates of the ridges.
        least: Least ridge: 1 over the largest variance that a coefficient may have a priori.
        tolerance: Movement of the ridges at which to stop.
        pace: Of earlier calls with nearly the same rows, to go on with.
    """
    pace = Pace(len(ridges)) if pace is None else pace
    penalised, count = groups >= 0, len(ridges)
    owner = groups[penalised]
    members = np.bincount(owner, minlength=count).astype(np.float64)
    phi = 0.0
    for step in range(steps):
        diagonal = np.zeros(len(groups))
        diagonal[penalised] = ridges[owner]
        beta, root, spread = _solved(normal, diagonal)
        unknown = ridges * np.bincount(owner, weights=spread[penalised], minlength=count)
        freedom = np.clip(members - unknown, 1e-12 * np.minimum(1, members), members)
        total = 1 + float(freedom.sum())
        rest = float(normal.square - 2 * beta @ normal.moment + beta @ normal.gram @ beta)
        rest = max(rest, 1e-14 * normal.square, 1e-300)
        phi = float(variance if variance is not None else rest / max(normal.count - total, 1.0))
        size = np.bincount(owner, weights=beta[penalised] ** 2, minlength=count)
        wanted = np.log(phi) + np.log(np.maximum(freedom, 1e-300)) - np.log(np.maximum(size, 1e-300)) - np.log(ridges)
        wanted = np.clip(wanted, -_FARTHEST, _FARTHEST)
        wanted[members == 0] = 0.0
        moved = float(np.max(np.abs(wanted) * freedom, initial=0.0)) / total
        low, high = max(least, _LEAST * normal.count), _MOST * normal.count
        updated = np.clip(ridges * np.exp(pace(wanted)), low, high)
        if moved < tolerance or step == steps - 1:
            break
        ridges = updated
    return Estimate(beta, updated, freedom, phi, root, moved)


def _solved(normal: Normal, diagonal: Array) -> tuple[Array, Array, Array]:
    """beta, the root of ``A^-1`` and its diagonal; A is scaled to a unit diagonal first."""
    scale = 1 / np.sqrt(np.maximum(normal.gram.diagonal() + diagonal, 1e-300))
    matrix = normal.gram * scale[:, None] * scale
    matrix[np.diag_indices_from(matrix)] += diagonal * scale**2 + 1e-14
    lower, failed = lapack.dpotrf(matrix.T, lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("the normal matrix is not positive definite")
    root = lapack.dtrtri(lower, lower=1, overwrite_c=1)[0] * scale
    beta: Array = root.T @ (root @ normal.moment)
    return beta, root, np.square(root).sum(0)
