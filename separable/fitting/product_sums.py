"""A sum of R products over D coordinates, each with a basis of its own, and joint damped steps on its coefficients.

    f = b + sum_r prod_j (Q_j C_j)_r,     df / dC_j[k, r] = Q_j[:, k] E_j[:, r],     E_j = prod_(i != j) Q_i C_i

with Q_j (N, K_j) orthonormal on the sample and C_j (K_j, R); P = 1 + R sum_j K_j unknowns. Minimised is

    sum_n e_n(f_n)^2 + s^2 |C|^2

where e are the weighted residuals on the scale of f, or through the link on the scale of y, and s^2 is their present
mean square: the maximum a posteriori for coefficients of variance one, a prior that fades as the fit becomes exact.

`gauss_newton.LevenbergMarquardt` does this for any layer; here the small problems of a search, thousands of
iterations, call for the transposed Jacobian (P, N), whose rows are contiguous, half a matrix product for the normal
equations, and no core: a term's size is shared equally among its factors, which keeps steps out of swamps.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import LinAlgError, blas, cho_factor, cho_solve

from separable.atoms import BSpline
from separable.fitting.links import Link
from separable.fitting.orthonormal import Array

_BLOCK = 8_000_000  # numbers in one block of the Jacobian


@dataclasses.dataclass(frozen=True)
class ProductSum:
    """The model: a bias, and for each coordinate its atom and coefficients.

    Args:
        bias: b.
        atoms: The D atoms.
        coefficients: The D matrices C_j ``(K_j, R)``, on the orthonormal bases of the atoms.
    """

    bias: float
    atoms: tuple[BSpline, ...]
    coefficients: tuple[Array, ...]

    @property
    def rank(self) -> int:
        """R."""
        return int(self.coefficients[0].shape[1])

    @property
    def unknowns(self) -> int:
        """P."""
        return 1 + sum(c.size for c in self.coefficients)

    @property
    def parameters(self) -> int:
        """Numbers in the layer that this becomes: its core and bias, and coefficients on all splines."""
        return 1 + self.rank * (1 + sum(atom.size for atom in self.atoms))

    def factors(self, bases: Sequence[Array]) -> list[Array]:
        """The D factor values ``(N, R)``."""
        return [q @ c for q, c in zip(bases, self.coefficients, strict=True)]

    def values(self, bases: Sequence[Array]) -> Array:
        """Values f ``(N,)``."""
        first, *others = self.factors(bases)
        for factor in others:
            first *= factor
        result: Array = self.bias + first.sum(1)
        return result

    def moved(self, step: Array) -> "ProductSum":
        """The model after a step ``(P,)`` of bias and coefficients."""
        ends = np.cumsum([1, *(c.size for c in self.coefficients)])
        parts = zip(self.coefficients, ends[:-1], ends[1:], strict=True)
        coefficients = tuple(c + step[a:b].reshape(c.shape) for c, a, b in parts)
        return ProductSum(self.bias + float(step[0]), self.atoms, coefficients)

    def balanced(self) -> "ProductSum":
        """The same function with equal norms of a term's factors."""
        norms = np.stack([np.linalg.norm(c, axis=0) for c in self.coefficients]) + 1e-300
        common = np.exp(np.log(norms).mean(0))
        coefficients = tuple(c * (common / n) for c, n in zip(self.coefficients, norms, strict=True))
        return ProductSum(self.bias, self.atoms, coefficients)

    def penalised(self) -> Array:
        """Unknowns ``(P,)`` with a zero for the bias, which is free."""
        return np.concatenate([[0.0], *(c.ravel() for c in self.coefficients)])


def environments(factors: Sequence[Array]) -> tuple[list[Array], Array]:
    """For each coordinate the product over all the others, and the product over all, ``(N, R)``."""
    before = [np.ones_like(factors[0])]
    for factor in factors[:-1]:
        before.append(before[-1] * factor)
    after, around = np.ones_like(factors[0]), list[Array]()
    for factor, product in zip(reversed(factors), reversed(before), strict=True):
        around.append(product * after)
        after = after * factor
    return around[::-1], after


@dataclasses.dataclass(frozen=True)
class Errors:
    """Weighted residuals ``e = weight (target - h(f))`` of N rows as a function of f.

    With the identity for h, ``g(y)`` for targets and ``|h'|`` in the weights they are, to first order, those of y.

    Args:
        target: Targets ``(N,)``.
        weight: Root of each row's weight.
        link: h.
    """

    target: Array
    weight: Array
    link: Link

    def __len__(self) -> int:
        return len(self.target)

    def part(self, rows: slice) -> "Errors":
        """The same of some rows."""
        return Errors(self.target[rows], self.weight[rows], self.link)

    def residual(self, f: Array) -> Array:
        """Residuals e ``(N,)``."""
        reached: Array = self.link.inverse(self.link.guarded(torch.from_numpy(f))).numpy()
        return self.weight * (self.target - reached)

    def slope(self, f: Array) -> Array:
        """``-de/df (N,)``."""
        slope: Array = self.link.slope(self.link.guarded(torch.from_numpy(f), slope=True)).numpy()
        return self.weight * slope

    def root_mean_square(self, f: Array) -> float:
        """Root mean square of e; infinite rather than not a number."""
        error = float(np.sqrt(np.mean(np.square(self.residual(f)))))
        return error if np.isfinite(error) else float("inf")


@dataclasses.dataclass
class Work:
    """Multiply-adds spent on normal equations, rows times unknowns squared, and how many may be.

    Args:
        limit: The most.
        spent: Those so far.
    """

    limit: float
    spent: float = 0.0

    @property
    def left(self) -> bool:
        """Whether there is any left."""
        return self.spent < self.limit


def refine(
    model: ProductSum,
    bases: Sequence[Array],
    errors: Errors,
    held_out: tuple[Sequence[Array], Errors],
    work: Work,
    *,
    steps: int,
    enough: float = 0.0,
    slow: float = 0.02,
    damping: float = 1e-3,
) -> tuple[ProductSum, float]:
    """Levenberg-Marquardt on bias and all coefficients.

    Args:
        model: The start.
        bases: Q_j ``(N, K_j)`` of each coordinate.
        errors: What is minimised.
        held_out: Bases and errors of the rows that judge.
        work: Budget; the steps end when it is spent.
        steps: The most steps.
        enough: Error on the held-out rows at which to stop.
        slow: Two steps in turn that gain less than this share end it.
        damping: First damping, relative to the diagonal of the normal matrix.

    Returns:
        The model that was best on the held-out rows, and its error there.
    """
    model, mu, in_vain = model.balanced(), damping, 0
    error = errors.root_mean_square(model.values(bases))
    best, lowest = model, held_out[1].root_mean_square(model.values(held_out[0]))
    for _ in range(steps):
        prior, known = error**2, model.penalised()
        normal, gradient = _normal_equations(model, bases, errors)
        work.spent += len(errors) * float(model.unknowns) ** 2
        diagonal = np.diag_indices_from(normal)
        normal[diagonal] += prior
        gradient -= prior * known
        objective = len(errors) * error**2 + prior * (known @ known)
        accepted = None
        scale, growth = normal[diagonal], 4.0
        mean = float(scale.mean())
        for _ in range(6):
            damped = normal.copy(order="F")
            damped[diagonal] += mu * (0.1 * mean + scale) + 1e-13 * mean
            try:
                step = cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), gradient, check_finite=False)
            except LinAlgError:
                mu = max(mu * 10, 1e-10)
                continue
            trial = model.moved(step)
            reached, known = errors.root_mean_square(trial.values(bases)), trial.penalised()
            if len(errors) * reached**2 + prior * (known @ known) < objective:
                accepted = trial.balanced()
                break
            mu, growth = max(mu, 1e-12) * growth, growth * 4
        if accepted is None:
            break
        gain = reached / error
        mu *= 0.05 if gain < 0.9 else 0.2 if gain < 0.97 else 0.5
        model, error = accepted, reached
        judged = held_out[1].root_mean_square(model.values(held_out[0]))
        if judged < lowest:
            best, lowest = model, judged
        in_vain = in_vain + 1 if gain > 1 - slow else 0
        if in_vain == 2 or lowest < enough or not work.left:
            break
    return best, lowest


def _normal_equations(model: ProductSum, bases: Sequence[Array], errors: Errors) -> tuple[Array, Array]:
    """``J J^T`` (its upper triangle, in Fortran order) and ``J e``, block by block of rows."""
    normal = np.zeros((model.unknowns, model.unknowns), order="F")
    gradient = np.zeros(model.unknowns)
    block = max(1, _BLOCK // model.unknowns)
    for start in range(0, len(errors), block):
        rows = slice(start, start + block)
        own, some = errors.part(rows), [q[rows] for q in bases]
        around, product = environments(model.factors(some))
        f = model.bias + product.sum(1)
        jacobian = _jacobian(some, around)
        jacobian *= own.slope(f)
        normal = blas.dsyrk(1.0, jacobian.T, beta=1.0, c=normal, trans=1, overwrite_c=1)
        gradient += jacobian @ own.residual(f)
    return normal, gradient


def _jacobian(bases: Sequence[Array], around: Sequence[Array]) -> Array:
    """``df / d(bias, C_1, .., C_D)``, transposed: ``(P, N)``."""
    rows, rank = around[0].shape
    jacobian = np.empty((1 + rank * sum(q.shape[1] for q in bases), rows))
    jacobian[0] = 1.0
    start = 1
    for basis, environment in zip(bases, around, strict=True):
        end = start + basis.shape[1] * rank
        block = jacobian[start:end].reshape(-1, rank, rows)
        np.multiply(np.ascontiguousarray(basis.T)[:, None], np.ascontiguousarray(environment.T), out=block)
        start = end
    return jacobian
