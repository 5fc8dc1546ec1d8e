"""Cross interpolation: a tensor train of a function on a grid, from few of the grid's points.

    f(i_1 .. i_D) = G_1(i_1) G_2(i_2) .. G_D(i_D),     G_j (r_(j-1), n_j, r_j)

Every bond of the chain keeps r multi-indices to its left and r to its right, at whose crosses f is matched; sweeps
exchange them, one coordinate at a time, by QR with column pivoting of the block of values between two bonds. Source:
Oseledets and Tyrtyshnikov, TT-cross approximation for multidimensional arrays, Linear Algebra Appl. 432 (2010).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def cross_interpolation(
    function: Callable[[Array], Array], axes: Sequence[Array], rank: int, random: np.random.Generator, sweeps: int = 2
) -> list[Array]:
    """Cores ``(r_(j-1), n_j, r_j)`` of a train of ranks at most ``rank``.

    Args:
        function: Values ``(M,)`` at points ``(M, D)``; called D times in every direction of a sweep.
        axes: Grid points ``(n_j,)`` of every coordinate.
        rank: The largest rank.
        random: Of the first multi-indices.
        sweeps: Forward and backward passes before the last forward one.

    Example:
        >>> import numpy as np
        >>> from separable.fitting.cross_interpolation import cross_interpolation
        >>> axes = [np.arange(4.0)] * 3
        >>> first, second, third = cross_interpolation(lambda x: x.sum(1), axes, 2, np.random.default_rng(0))
        >>> float((first[:, 1] @ second[:, 2] @ third[:, 3]).item().__round__(9))
        6.0
    """
    count = len(axes)
    right: list[Indices] = [np.zeros((1, 0), np.int64)] * (count + 1)
    for j in range(count - 1, 0, -1):
        drawn = np.stack([random.integers(0, len(axis), 8 * rank) for axis in axes[j:]], 1)
        right[j] = random.permutation(np.unique(drawn, axis=0))[:rank]
    left: list[Indices] = [np.zeros((1, 0), np.int64)] * (count + 1)

    def block(j: int) -> Array:
        """Values ``(r, n, s)`` between the multi-indices left and right of a coordinate."""
        sizes = len(left[j]), len(axes[j]), len(right[j + 1])
        a, i, b = (index.ravel() for index in np.indices(sizes))
        indices = np.concatenate([left[j][a], i[:, None], right[j + 1][b]], 1)
        points = np.stack([axis[column] for axis, column in zip(axes, indices.T, strict=True)], 1)
        return function(points).reshape(sizes)

    def forward() -> list[Array]:
        cores = []
        for j in range(count - 1):
            values = block(j)
            flat, rows = _skeleton(values.reshape(-1, values.shape[2]), rank)
            before, own = np.divmod(rows, len(axes[j]))
            left[j + 1] = np.concatenate([left[j][before], own[:, None]], 1)
            cores.append(flat.reshape(*values.shape[:2], -1))
        return [*cores, block(count - 1)]

    for _ in range(sweeps):
        forward()
        for j in range(count - 1, 0, -1):
            values = block(j)
            _, rows = _skeleton(values.reshape(len(values), -1).T, rank)
            own, after = np.divmod(rows, values.shape[2])
            right[j] = np.concatenate([own[:, None], right[j + 1][after]], 1)
    return forward()


def _skeleton(matrix: Array, rank: int) -> tuple[Array, Indices]:
    """``M M[rows]^-1`` on the range of M, and the rows: well conditioned ones, as many as the rank."""
    vectors, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    kept = max(1, min(rank, int(np.sum(sizes > 1e-14 * sizes[0]))))
    vectors = vectors[:, :kept]
    rows = qr(vectors.T, pivoting=True, mode="economic")[2][:kept]
    return vectors @ np.linalg.inv(vectors[rows]), rows
