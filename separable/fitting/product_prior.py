"""A Gaussian prior over separable functions of every order: a product over coordinates, sized by maximum likelihood.

For coordinates u in [0, 1]^D the prior covariance of f is ``s^2 K`` with

    K(u, u') = prod_(j=1..D) (1 + theta_j sum_(a=1..d) rho_j^(a-1) P_a(w_j(u_j)) P_a(w_j(u'_j)))
    w_j(u) = log(1 + (e^k_j - 1) u) / k_j

where P_a are the orthonormal shifted Legendre polynomials: every subset of coordinates has a term, theta_j is the share
of coordinate j, rho_j how fast its polynomials fade, and the warp w_j bends its axis from linear (k = 0) towards a
logarithm at the lower (k > 0) or upper (k < 0) end. With ``A = K + nu I`` on N rows and standardised targets z,
``alpha = A^-1 z`` and the best scale ``s^2 = z' alpha / N``, theta, rho, k and nu minimise

    (N/2) log s^2 + (1/2) log det A + 0.01 sum_j k_j^2,      d/dA = (A^-1 - alpha alpha' / s^2) / 2

(the last term keeps a warp that the data do not ask for near linear). The posterior mean ``sum_n alpha_n K(., u_n)`` is
a canonical polyadic of order D and rank N. Source: Rasmussen and Williams, Gaussian Processes for Machine Learning
(2006), sections 2.2, 5.4 (leave-one-out) and 4.2.4 (input warps); products of (1 + kernel) are ANOVA kernels (Durrande
et al. 2013).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import lapack
from scipy.optimize import minimize

Array = NDArray[np.float64]

_LIMITS = {"share": (-18.0, 6.0), "fading": (-10.0, 0.0), "bend": (-8.0, 8.0), "noise": (-36.0, 4.0)}
_BEND_WEIGHT = 0.01
_STRAIGHT = 1e-3  # bends below it are computed by their series
_JITTERS = 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-8, 1e-6, 1e-4  # relative to the mean of the diagonal
_BLOCK = 32  # rows of a kernel that are computed at a time, so that all coordinates stay in cache


@dataclasses.dataclass(frozen=True)
class ProductPrior:
    """The prior: sizes of every coordinate.

    Args:
        share: ``log theta (D,)``.
        fading: ``log rho (D,)``, at most 0.
        bend: Warps ``k (D,)``.
        noise: ``log nu``, variance of the noise relative to s^2.
        degree: d, the highest degree of the polynomials.
    """

    share: Array
    fading: Array
    bend: Array
    noise: float
    degree: int

    @classmethod
    def starts(cls, coordinates: int, degree: int) -> "list[ProductPrior]":
        """Where searches for the sizes begin: smooth and nearly straight, nearly free of noise and with some."""
        one = np.ones(coordinates)
        return [cls(-2.0 * one, -2.5 * one, 0.01 * one, noise, degree) for noise in (-14.0, -2.0)]

    @property
    def coordinates(self) -> int:
        """D."""
        return len(self.share)

    def variances(self, j: int) -> Array:
        """``theta_j rho_j^(a-1)``, shape ``(d,)``."""
        variances: Array = np.exp(self.share[j] + self.fading[j] * np.arange(self.degree))
        return variances

    def functions(self, u: Array, j: int) -> Array:
        """``P_a(w_j(u))``, shape ``(N, d)``, of one coordinate ``u (N,)``; straight lines outside [0, 1]."""
        near = np.clip(u, 0.0, 1.0)
        warped, slope, _ = _warp(near, float(self.bend[j]))
        values, slopes = _legendre(warped, self.degree)
        continued: Array = values + ((u - near) * slope)[:, None] * slopes
        return continued

    def factors(self, u: Array) -> list[Array]:
        """``P_a(w_j(u)) (N, d)`` of every coordinate of ``u (N, D)``."""
        return [self.functions(u[:, j], j) for j in range(self.coordinates)]

    def unwarped(self, w: Array, j: int) -> Array:
        """The u of ``w_j(u) = w``, for w in [0, 1]."""
        bend = float(self.bend[j])
        straight: Array = np.expm1(bend * w) / np.expm1(bend) if bend else w
        return straight

    def kernel(self, first: list[Array], second: list[Array]) -> Array:
        """K between two sets of rows, given by their `factors`: ``(N, M)``."""
        right = [(f * self.variances(j)).T for j, f in enumerate(second)]
        kernel = np.empty((len(first[0]), len(second[0])))
        for rows in _blocks(len(kernel)):
            kernel[rows] = 1 + first[0][rows] @ right[0]
            for left, other in zip(first[1:], right[1:], strict=True):
                kernel[rows] *= 1 + left[rows] @ other
        return kernel

    def diagonal(self, factors: list[Array]) -> Array:
        """K of every row with itself, ``(N,)``."""
        product = np.ones(len(factors[0]))
        for j, f in enumerate(factors):
            product *= 1 + f**2 @ self.variances(j)
        return product

    def chebyshev(self, j: int) -> Array:
        """Chebyshev coefficients ``(K, d)`` of ``P_a(w_j(u))`` on [0, 1], to rounding.

        A strong warp has a logarithm's pole near one end, and K grows to some hundreds.
        """
        size = 64
        while True:
            angles = np.pi * (np.arange(size) + 0.5) / size
            # The square of a cosine, and not one plus a cosine, which has no relative accuracy near the lower end.
            coefficients = dct(self.functions(np.cos(angles / 2) ** 2, j), axis=0) / size
            coefficients[0] /= 2
            large = np.abs(coefficients).max(1) > 1e-14 * np.abs(coefficients).max()
            needed = int(np.flatnonzero(large)[-1]) + 1
            if needed < 0.9 * size or size >= 4096:
                return np.asarray(coefficients[:needed], dtype=np.float64)
            size *= 2

    def vector(self) -> Array:
        """The sizes as one vector ``(3 D + 1,)``, as the search sees them."""
        return np.concatenate([self.share, self.fading, self.bend, [self.noise]])

    def with_vector(self, vector: Array) -> "ProductPrior":
        """The prior of which `vector` gives the sizes."""
        share, fading, bend = vector[:-1].reshape(3, -1)
        return dataclasses.replace(self, share=share, fading=fading, bend=bend, noise=float(vector[-1]))


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the rows say under one prior.

    Args:
        loss: The negative log likelihood, constants left out, with the penalty of the warps.
        dual: ``alpha (N,)``.
        inverse: ``A^-1 (N, N)``.
        root: ``L (N, N)``, lower triangular, with ``A = L L'``.
        variance: ``s^2``.
        nugget: What was added to the diagonal of K: nu and the jitter.
    """

    loss: float
    dual: Array
    inverse: Array
    root: Array
    variance: float
    nugget: float


def evidence(prior: ProductPrior, u: Array, z: Array, jitter: float = _JITTERS[0]) -> Evidence:
    """Condition the prior on rows ``u (N, D)`` with targets ``z (N,)``.

    Args:
        prior: The prior.
        u: Coordinates on the unit cube.
        z: Targets.
        jitter: Least addition to the diagonal, relative to its mean.

    Raises:
        numpy.linalg.LinAlgError: If the matrix is not positive definite with this jitter.
    """
    factors = prior.factors(u)
    matrix = prior.kernel(factors, factors)
    nugget = float(np.exp(prior.noise)) + jitter * float(matrix.diagonal().mean())
    matrix[np.diag_indices_from(matrix)] += nugget
    # The transpose of a symmetric matrix in C order is itself in the order that LAPACK works in: nothing is copied.
    root, failed = lapack.dpotrf(matrix.T, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("product prior: the covariance is not positive definite")
    lower = lapack.dpotri(root, lower=1)[0]
    inverse = np.tril(lower) + np.tril(lower, -1).T
    dual = lapack.dpotrs(root, z, lower=1)[0]
    variance = max(float(z @ dual) / len(z), 1e-300)
    loss = 0.5 * len(z) * np.log(variance) + np.log(root.diagonal()).sum() + _BEND_WEIGHT * (prior.bend**2).sum()
    return Evidence(float(loss), dual, inverse, root, variance, nugget)


def robust_evidence(prior: ProductPrior, u: Array, z: Array) -> Evidence:
    """`evidence` with the least jitter for which the matrix is positive definite."""
    for jitter in _JITTERS:
        try:
            return evidence(prior, u, z, jitter)
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError("product prior: the covariance is not finite")


def loss_and_slope(prior: ProductPrior, u: Array, z: Array, jitter: float = _JITTERS[0]) -> tuple[float, Array]:
    """The loss of `Evidence` and its gradient ``(3 D + 1,)`` by the sizes of the prior.

    The gradient costs one more pass over the kernel: with ``G = d loss / dA`` and ``H_j`` the elementwise product of G
    and the other coordinates' kernels, all that is needed of coordinate j is ``H_j P (N, d)``.

    Raises:
        numpy.linalg.LinAlgError: If the matrix is not positive definite with this jitter.
    """
    found = evidence(prior, u, z, jitter)
    outer = found.inverse
    outer -= np.outer(found.dual, found.dual / found.variance)
    outer *= 0.5
    factors = prior.factors(u)
    variances = [prior.variances(j) for j in range(prior.coordinates)]
    right = [(f * v).T for f, v in zip(factors, variances, strict=True)]
    met = [np.empty_like(f) for f in factors]
    for rows in _blocks(len(u)):
        kernels = [1 + f[rows] @ r for f, r in zip(factors, right, strict=True)]
        after = [outer[rows]]  # products of G and the kernels behind a coordinate, from the last one on
        for kernel in kernels[:0:-1]:
            after.append(after[-1] * kernel)
        before = np.ones_like(after[0])
        for j, kernel in enumerate(kernels):
            met[j][rows] = (before * after[-1 - j]) @ factors[j]
            before *= kernel
    # The jitter follows the mean of the diagonal, whose slope is left out: it is below the rounding of the loss.
    share, fading, bend = np.empty((3, prior.coordinates))
    for j, (f, v, h) in enumerate(zip(factors, variances, met, strict=True)):
        by_variance = np.einsum("na,na->a", f, h) * v
        share[j], fading[j] = by_variance.sum(), by_variance @ np.arange(prior.degree)
        warped, _, by_bend = _warp(u[:, j], float(prior.bend[j]))
        slopes = _legendre(warped, prior.degree)[1]
        bend[j] = 2 * by_bend @ np.einsum("na,na,a->n", h, slopes, v) + 2 * _BEND_WEIGHT * prior.bend[j]
    noise = outer.trace() * np.exp(prior.noise)
    return found.loss, np.concatenate([share, fading, bend, [noise]])


def most_likely(prior: ProductPrior, u: Array, z: Array, steps: int) -> ProductPrior:
    """The prior of greatest likelihood that a search of so many steps from this one finds (L-BFGS within limits).

    The search starts again from the best prior with a larger jitter wherever the covariance is not positive definite.
    """
    least, most = np.array([_LIMITS[name] for name in ("share", "fading", "bend") for _ in prior.share]).T
    bounds = [*zip(least, most, strict=True), _LIMITS["noise"]]
    best, lowest, left = prior.vector(), np.inf, steps

    def measured(vector: Array, jitter: float) -> tuple[float, Array]:
        nonlocal best, lowest
        loss, slope = loss_and_slope(prior.with_vector(vector), u, z, jitter)
        if loss < lowest:
            best, lowest = vector.copy(), loss
        return loss / len(z), slope / len(z)

    for jitter in _JITTERS:
        lowest = np.inf  # losses with different jitters do not compare
        try:
            minimize(
                measured,
                best,
                args=(jitter,),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": left, "maxfun": int(1.3 * left) + 2, "maxcor": 30, "ftol": 1e-9, "gtol": 1e-7},
            )
            break
        except np.linalg.LinAlgError:
            left = max(2, left // 2)
    return prior.with_vector(best)


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, rows, _BLOCK))


def _warp(u: Array, bend: float) -> tuple[Array, Array, Array]:
    """``w(u)``, its slope by u and its slope by the bend k, for u in [0, 1]."""
    if abs(bend) < _STRAIGHT:
        half = 0.5 * u * (1 - u)
        skew = half * (1 - 2 * u) / 3
        slope = 1 + bend * (0.5 - u) + bend**2 * (1 / 6 - 2 * half)
        return u + bend * half + bend**2 * skew, slope, half + 2 * bend * skew
    stretch = np.expm1(bend)
    inside = 1 + stretch * u
    warped = np.log1p(stretch * u) / bend
    return warped, stretch / (bend * inside), ((stretch + 1) * u / inside - warped) / bend


def _legendre(v: Array, degree: int) -> tuple[Array, Array]:
    """Orthonormal Legendre polynomials of degrees 1 .. d on [0, 1] and their slopes, ``(N, d)`` each."""
    s = 2 * v - 1
    values, slopes = [np.ones_like(s), s], [np.zeros_like(s), np.full_like(s, 2.0)]
    for n in range(1, degree):
        values.append(((2 * n + 1) * s * values[n] - n * values[n - 1]) / (n + 1))
        slopes.append(slopes[n - 1] + 2 * (2 * n + 1) * values[n])
    size = np.sqrt(2 * np.arange(1, degree + 1) + 1.0)
    return np.stack(values[1 : degree + 1], 1) * size, np.stack(slopes[1 : degree + 1], 1) * size
