"""Tensor trains as lists of cores: sums, norms, orthonormal cores, rounding.

A train is D cores ``G_j (n_j, r_(j-1), r_j)``, ``r_0 = r_D = 1``, of the tensor ``G_1[k_1] G_2[k_2] .. G_D[k_D]``; the
``r_j`` are its *bonds*. Orthonormal and rounded are meant in L2, through the axes' mass matrices. Source: Oseledets,
Tensor-train decomposition, SIAM J. Sci. Comput. 33 (2011), algorithm 2 for rounding.
"""

import numpy as np

from separable.galerkin.axes import Axis
from separable.galerkin.problem import Array

Train = list[Array]


def bond(train: Train) -> int:
    """The largest bond between two cores; 1 where there is a single core."""
    return max((int(core.shape[1]) for core in train[1:]), default=1)


def zero(axes: list[Axis]) -> Train:
    """The train of bonds of size zero."""
    last = len(axes) - 1
    return [np.zeros((axis.size, int(j == 0), int(j == last))) for j, axis in enumerate(axes)]


def joined(first: Train, second: Train, scale: float = 1.0) -> Train:
    """The sum ``first + scale * second``: bonds add."""
    last, cores = len(first) - 1, []
    for j, (a, b) in enumerate(zip(first, second, strict=True)):
        b = b * (scale if j == 0 else 1.0)
        if j in (0, last) and last:
            cores.append(np.concatenate([a, b], axis=2 if j == 0 else 1))
            continue
        if not last:
            return [a + b]
        core = np.zeros((len(a), a.shape[1] + b.shape[1], a.shape[2] + b.shape[2]))
        core[:, : a.shape[1], : a.shape[2]] = a
        core[:, a.shape[1] :, a.shape[2] :] = b
        cores.append(core)
    return cores


def of_products(factors: list[Array]) -> Train:
    """A sum of R products, factors ``(n_j, R)``, as a train with bonds of size R."""
    last, rank = len(factors) - 1, factors[0].shape[1]
    cores = [f[:, :, None] * np.eye(rank) for f in factors]
    cores[0] = cores[0].sum(axis=1, keepdims=True)
    cores[last] = cores[last].sum(axis=2, keepdims=True)
    return cores


def norm(train: Train) -> float:
    """Euclidean norm of the tensor, by orthogonalising from the right."""
    carried: Array = np.ones((1, 1))
    for core in reversed(train):
        core = core @ carried.T
        matrix = core.transpose(0, 2, 1).reshape(-1, core.shape[1])
        carried = np.asarray(np.linalg.qr(matrix, mode="r"))
    return float(np.linalg.norm(carried))


def rounded(axes: list[Axis], train: Train, tolerance: float, rank: int) -> Train:
    """The train with bonds cut to what a relative L2 error needs, and to the rank."""
    train = list(train)
    last = len(train) - 1
    for j in range(last):
        hand_right(axes, train, j)
    allowed = tolerance * float(np.linalg.norm(axes[last].euclidean(train[last].reshape(axes[last].size, -1))))
    for j in range(last, 0, -1):
        n, r, s = train[j].shape
        matrix = axes[j].euclidean(train[j].reshape(n, -1)).reshape(n, r, s).transpose(1, 0, 2).reshape(r, n * s)
        left, singular, right = np.linalg.svd(matrix, full_matrices=False)
        tails = np.sqrt(np.cumsum(singular[::-1] ** 2)[::-1])
        kept = max(1, min(rank, int((tails > allowed / max(1, last) ** 0.5).sum())))
        core = right[:kept].reshape(kept, n, s).transpose(1, 0, 2)
        train[j] = axes[j].coefficients(core.reshape(n, -1)).reshape(n, kept, s)
        train[j - 1] = train[j - 1] @ (left[:, :kept] * singular[:kept])
    return train


def hand_right(axes: list[Axis], train: Train, j: int) -> None:
    """Core j orthonormal from the left; what is left over goes to core j + 1."""
    n, r, s = train[j].shape
    q, rest = np.linalg.qr(axes[j].euclidean(train[j].reshape(n, -1)).reshape(n * r, s))
    train[j] = axes[j].coefficients(q.reshape(n, -1)).reshape(n, r, -1)
    train[j + 1] = rest @ train[j + 1]


def hand_left(axes: list[Axis], train: Train, j: int) -> None:
    """Core j orthonormal from the right; what is left over goes to core j - 1."""
    n, r, s = train[j].shape
    matrix = axes[j].euclidean(train[j].reshape(n, -1)).reshape(n, r, s).transpose(0, 2, 1)
    q, rest = np.linalg.qr(matrix.reshape(n * s, r))
    q = q.reshape(n, s, -1).transpose(0, 2, 1)
    train[j] = axes[j].coefficients(q.reshape(n, -1)).reshape(n, -1, s)
    train[j - 1] = train[j - 1] @ rest.T
