"""Functions that are not products, brought to a sum of products with a stated error.

The function is sampled on the tensor grid of the axes' quadrature nodes, weighted by the square roots of the quadrature
weights (so that Frobenius norms are L2 norms). Two coordinates: a truncated singular value decomposition, which is
optimal. More: every coordinate is first reduced to its dominant directions (sequentially truncated higher-order SVD,
Vannieuwenhoven et al., SIAM J. Sci. Comput. 34, 2012), then the small core is fitted by alternating least squares
(CP, Kolda and Bader, SIAM Review 51, 2009, section 3.4) with growing rank.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg

from separable.galerkin.problem import Array, real

MAX_SAMPLES = 60_000_000


def separate(
    function: Callable[..., Array],
    nodes: Sequence[Array],
    weights: Sequence[Array],
    *,
    tolerance: float = 1e-6,
    rank: int = 200,
    seed: int = 0,
) -> tuple[list[Array], float]:
    """Write a function of k coordinates as a sum of products on given nodes.

    Args:
        function: Called with k arrays that broadcast against each other, copies of its own.
        nodes: k arrays ``(n_j,)``.
        weights: k arrays ``(n_j,)`` of quadrature weights.
        tolerance: Relative L2 error to reach.
        rank: Most terms.
        seed: Start of the alternating fit.

    Returns:
        Factors ``(n_j, R)``, and the relative L2 error reached.

    Raises:
        ValueError: If the tolerance is no number of at least 0 or the rank none of at least 1, the grid is larger than
            6e7 samples, the function returns complex values or another shape, a sample is not finite, or the tolerance
            is not reached.
    """
    if not tolerance >= 0 or not rank >= 1:
        raise ValueError(
            f"separate: expected a tolerance of at least 0 and a rank of at least 1, got {tolerance}, {rank}"
        )
    shape = tuple(len(n) for n in nodes)
    if np.prod([float(n) for n in shape]) > MAX_SAMPLES:
        raise ValueError(
            f"separate: the sample grid {shape} exceeds {MAX_SAMPLES:.0e} values; use coarser atoms for this field"
        )
    mesh = [n.copy().reshape([-1 if i == j else 1 for i in range(len(nodes))]) for j, n in enumerate(nodes)]
    sampled = real("separate: the field", function(*mesh))
    try:
        values = np.array(np.broadcast_to(sampled, shape))
    except ValueError:
        raise ValueError(
            f"separate: the field returns values that broadcast to its arguments' grid {shape}, got {sampled.shape}"
        ) from None
    if not np.isfinite(values).all():
        where = np.unravel_index(int(np.flatnonzero(~np.isfinite(values).ravel())[0]), shape)
        place = ", ".join(f"{float(n[i]):g}" for n, i in zip(nodes, where, strict=True))
        raise ValueError(f"separate: the field is {values[where]} at ({place})")
    roots = [np.sqrt(w) for w in weights]
    for j, root in enumerate(roots):
        values *= root.reshape([-1 if i == j else 1 for i in range(len(nodes))])
    norm = float(np.linalg.norm(values))
    if norm == 0.0:
        return [np.zeros((n, 1)) for n in shape], 0.0
    factors, error = _decompose(values / norm, tolerance, rank, seed)
    if error > tolerance:
        raise ValueError(
            f"separate: {factors[0].shape[1]} terms reach a relative error of {error:.1e}, not {tolerance:.1e}; "
            "allow more terms or a larger tolerance"
        )
    factors = [f / root[:, None] for f, root in zip(factors, roots, strict=True)]
    factors[0] = factors[0] * norm
    return factors, error


def _decompose(values: Array, tolerance: float, rank: int, seed: int) -> tuple[list[Array], float]:
    if values.ndim == 1:
        return [values[:, None]], 0.0
    if values.ndim == 2:
        left, singular, right = scipy.linalg.svd(values, full_matrices=False)
        tails = np.sqrt(np.append(np.cumsum(singular[::-1] ** 2)[::-1], 0.0))
        kept = min(rank, max(1, int(np.argmax(tails <= tolerance))))
        return [left[:, :kept] * singular[:kept], right[:kept].T], float(tails[kept])
    bases, core, lost = _tucker(values, 0.3 * tolerance)
    factors, error = _grow(core, max(1e-15, np.sqrt(max(tolerance**2 - lost**2, 0.0))), rank, seed)
    return [b @ f for b, f in zip(bases, factors, strict=True)], float(np.hypot(error, lost))


def _tucker(values: Array, tolerance: float) -> tuple[list[Array], Array, float]:
    """Orthonormal bases of every coordinate, the core in them, and the error: what each truncation drops adds up."""
    bases: list[Array] = []
    core, lost = values, 0.0
    for j in range(values.ndim):
        matrix = np.moveaxis(core, j, 0).reshape(core.shape[j], -1)
        # not from the Gram matrix, whose rounding hides singular values below 1e-8
        vectors, singular, _ = scipy.linalg.svd(np.asarray(np.linalg.qr(matrix.T, mode="r")).T, full_matrices=False)
        tails = np.append(np.cumsum(singular[::-1] ** 2)[::-1], 0.0)
        kept = max(1, int(np.argmax(tails <= tolerance**2 / values.ndim)))
        lost += float(tails[kept])
        basis = vectors[:, :kept]
        bases.append(basis)
        core = np.moveaxis(np.tensordot(basis, core, axes=(0, j)), 0, j)
    return bases, core, float(np.sqrt(lost))


def _grow(core: Array, tolerance: float, rank: int, seed: int) -> tuple[list[Array], float]:
    """CP of a small dense tensor: add terms fitted to the remainder, then fit all terms together."""
    random = np.random.default_rng(seed)
    factors = [np.zeros((n, 0)) for n in core.shape]
    error, remainder = 1.0, core
    while True:
        step = min(max(2, factors[0].shape[1] // 4), rank - factors[0].shape[1])
        fresh = [random.standard_normal((n, step)) for n in core.shape]
        fresh, _ = _fit(remainder, fresh, 10, 0.0)
        factors = [np.hstack([f, g]) for f, g in zip(factors, fresh, strict=True)]
        factors, error = _fit(core, factors, 60, tolerance)
        if error <= tolerance or factors[0].shape[1] >= rank:
            break
        remainder = core - _rebuild(factors)
    if error > tolerance:
        factors, error = _fit(core, factors, 400, tolerance)
    return factors, error


def _fit(core: Array, factors: list[Array], sweeps: int, tolerance: float) -> tuple[list[Array], float]:
    factors = list(factors)
    error, previous = np.inf, np.inf
    unfolded = [np.moveaxis(core, j, 0).reshape(core.shape[j], -1) for j in range(core.ndim)]
    for _ in range(sweeps):
        for j in range(core.ndim):
            others = [f for i, f in enumerate(factors) if i != j]
            gram = np.prod([f.T @ f for f in others], axis=0)
            product = others[0]
            for f in others[1:]:
                product = (product[:, None] * f[None]).reshape(-1, f.shape[1])
            right = unfolded[j] @ product
            scale = 1e-12 * np.trace(gram) / len(gram)
            gram_ridge = gram + scale * np.eye(len(gram))
            factors[j] = scipy.linalg.solve(gram_ridge, (right + scale * factors[j]).T, assume_a="sym").T
            if j < core.ndim - 1:
                norms = np.maximum(np.linalg.norm(factors[j], axis=0), 1e-300)
                factors[j] = factors[j] / norms
                factors[-1] = factors[-1] * norms
        error = float(np.linalg.norm(unfolded[-1] - factors[-1] @ product.T))
        if error <= tolerance or previous - error < 1e-3 * error:
            break
        previous = error
    return factors, error


def _rebuild(factors: list[Array]) -> Array:
    product = factors[0]
    for f in factors[1:]:
        product = product[..., None, :] * f
    return np.asarray(product.sum(axis=-1))
