"""Alternating solves for a sum of R products: sweeps over coordinates, rank enrichment, residual and stopping.

With the factors of all coordinates but j held, ``u = sum_r prod_i U_i[:, r]`` is linear in ``U_j (n_j, R)`` and the
projected problem is

    sum_s H_s kron A_j^(s)  vec U_j  =  vec sum_t b_j^(t) h_t
    H_s[r, r'] = prod_(i != j) U_i[:, r] . A_i^(s) U_i[:, r']

(for symmetric positive definite A the minimiser of the energy over U_j). One *sweep* visits every coordinate; columns
are scaled to norm one afterwards and the scale handed on to the next coordinate, so that no term can grow against
another unseen; a proximal term (see `Axis.solve`) keeps nearly parallel terms solvable ("swamps").

Rank grows greedily: new products are first fitted to the remainder ``b - A u`` with the present terms held (proper
generalised decomposition: Ammar et al., J. Non-Newtonian Fluid Mech. 139, 2006; Nouy, CMAME 199, 2010), then all terms
are swept together.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from separable.galerkin.axes import Axis
from separable.galerkin.discretisation import Discretisation
from separable.galerkin.problem import Array
from separable.galerkin.system import Contraction, DataContraction, Factors, System

RIDGE = 1e-13
_ROUNDING = 1e-15  # of a difference of squares, relative to them


@dataclasses.dataclass
class State:
    """A sum of products, or a tensor train, and what is known of it.

    Args:
        factors: D arrays ``(n_j, R)``; columns have norm one except those of coordinate 0, which carry the weights. Or
            the cores of a train (see `separable.galerkin.tensor_train`).
        residual: Relative residual.
        history: One entry ``(rank, residual)`` for each sweep.
        stopped: Why the solve ended.
    """

    factors: Factors
    residual: float = 1.0
    history: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    stopped: str = ""

    @property
    def rank(self) -> int:
        """R, or the largest bond of a tensor train."""
        return max(int(factor.shape[-1]) for factor in self.factors)


def empty(axes: Sequence[Axis]) -> Factors:
    """The sum of no products, zero."""
    return [np.zeros((axis.size, 0)) for axis in axes]


def sweep(
    system: System, factors: Factors, fixed: Factors | None = None, ridge: float = RIDGE
) -> tuple[Factors, float]:
    """Solve for every coordinate's factor in turn.

    Args:
        system: The discrete problem.
        factors: The products to improve, weights on coordinate 0.
        fixed: Further products that are held, and whose image is taken off the right-hand side.
        ridge: Relative size of the proximal term.

    Returns:
        The new factors, weights on coordinate 0, and ``b.u`` of the last solve.
    """
    factors = list(factors)
    count = len(factors)
    if count == 2:
        factors[1], turn = system.axes[1].orthonormal(factors[1])
        factors[0] = factors[0] @ turn.T
    own = Contraction(system, factors, factors)
    data = DataContraction(system, factors)
    cross = Contraction(system, factors, fixed) if fixed is not None and fixed[0].shape[1] else None
    gained = 0.0
    for j, axis in enumerate(system.axes):
        right = data.right(j)
        if cross is not None:
            assert fixed is not None
            right = right - axis.combined(system.matrices[j], fixed[j], cross.weights(j))
        try:
            new = axis.solve(system.matrices[j], own.weights(j), right, factors[j], ridge, system.symmetric)
        except np.linalg.LinAlgError:
            new = np.full_like(right, np.nan)
        if not np.isfinite(new).all():
            raise ValueError(
                f"the system of coordinate {axis.coordinate.name!r} is singular: the operator and the conditions do "
                "not determine the solution along it"
            )
        gained = float(np.sum(right * new))
        following = 0 if j == count - 1 else j + 1
        if count == 1:
            return [new], gained
        if count == 2:
            # Any basis of the other factor's span serves; an orthonormal one keeps the next system well conditioned.
            new, turn = axis.orthonormal(new)
            factors[following] = factors[following] @ turn.T
        else:
            norms, old = axis.norms(new), axis.norms(factors[j])
            dead = ~(norms > 1e-200)
            new = np.where(dead, factors[j] / np.where(old > 0, old, 1.0), new / np.where(dead, 1.0, norms))
            factors[following] = factors[following] * np.where(dead, 0.0, norms)
        factors[j] = new
        if following:
            own.advance(j, new, new)
            data.advance(j, new)
            if cross is not None:
                assert fixed is not None
                cross.advance(j, new, fixed[j])
    return factors, gained


def enriched(system: System, factors: Factors, count: int, random: np.random.Generator, sweeps: int = 3) -> Factors:
    """The factors with ``count`` more products, fitted to the remainder while the present ones are held."""
    if len(factors) == 2:  # a sum of n products holds any function of two coordinates
        count = min(count, min(axis.size for axis in system.axes) - factors[0].shape[1])
    if count < 1:
        return factors
    fresh = []
    for axis in system.axes:
        start = random.standard_normal((axis.size, count))
        if axis.coordinate.left == axis.coordinate.right == "free":
            start = 1.0 + 0.5 * start
        fresh.append(start / axis.norms(start))
    for _ in range(sweeps):
        fresh, _ = sweep(system, fresh, factors, 1e-10)
    return [np.hstack([f, g]) for f, g in zip(factors, fresh, strict=True)]


def norm(parts: list[Array], weights: Array) -> float:
    """Euclidean norm of ``sum_q w_q kron_j parts_j[:, q]``, without the cancellation of a Gram matrix where it can.

    Args:
        parts: D arrays ``(n_j, Q)``.
        weights: ``(Q,)``.
    """
    terms = len(weights)
    if terms == 0:
        return 0.0
    if terms <= 240:
        # Orthogonalise one coordinate after the other: the sum keeps its norm and loses a coordinate at each step.
        carried = parts[-1]
        for factor in reversed(parts[:-1]):
            small = np.asarray(np.linalg.qr(carried, mode="r"))
            carried = (factor[:, None, :] * small[None]).reshape(-1, terms)
        return float(np.linalg.norm(carried @ weights))
    gram = np.outer(weights, weights)
    for factor in parts:
        gram *= factor.T @ factor
    return float(np.sqrt(max(gram.sum(), 0.0)))


def columns(discrete: Discretisation, coefficients: Sequence[Array]) -> list[Array]:
    """Columns with the L2 inner products of functions given by atom coefficients ``(K_j, R)``."""
    found = []
    for j, axis in enumerate(discrete.axes):
        values = discrete.tables(j, coefficients[j], 0) * np.sqrt(axis.weights)
        found.append(np.asarray(np.linalg.qr(values.T, mode="r")) if values.shape[0] < values.shape[1] else values.T)
    return found


def l2_norm(system_axes: Sequence[Axis], factors: Factors) -> float:
    """L2 norm over all coordinates of the function with these free coefficients."""
    own = [axis.euclidean(f) for axis, f in zip(system_axes, factors, strict=True)]
    return norm(own, np.ones(factors[0].shape[1]))


def residual(system: System, factors: Factors, limit: int = 4000) -> float:
    """Relative residual of the weak form, exactly: ``||b - A u|| / ||b||`` in the norm of the inverse mass matrices.

    That is the L2 norm of the residual's Riesz representative. With more than 240 terms in ``b - A u`` it is a
    difference of squares, accurate down to about 1e-8. Returns NaN where there are more than ``limit``.
    """
    rank = factors[0].shape[1]
    rows, scales = system.all_rows()
    if len(system.data_scales) + len(rows) * rank > limit:
        return float("nan")
    data, parts = [], []
    for j, axis in enumerate(system.axes):
        images = axis.apply(system.matrices[j], factors[j])  # (M, n, R)
        data.append(axis.dual(system.data[j]))
        parts.append(np.hstack([data[j], *(axis.dual(images[row[j]]) for row in rows)]))
    weights = np.concatenate([system.data_scales, -np.repeat(scales, rank)])
    return norm(parts, weights) / max(norm(data, system.data_scales), 1e-300)


def measured(system: System, factors: Factors, gained: float) -> float:
    """The relative residual of either form; that of an equation, a difference of squares, is told down to 3e-8."""
    if system.constant is None:
        return residual(system, factors)
    return relative(system.constant - gained, system.constant)


def relative(left: float, constant: float) -> float:
    """Root of what is left of a square: no less than the rounding of a difference lets one know.

    Example:
        >>> relative(-1e-17, 1.0) == relative(0.0, 1.0) > 0
        True
    """
    return float(np.sqrt(max(left / max(constant, 1e-300), _ROUNDING)))


def alternate(
    system: System,
    state: State,
    *,
    rank: int,
    tolerance: float,
    sweeps: int,
    random: np.random.Generator,
    report: Callable[[State], None],
    step: int | None = None,
) -> State:
    """Grow and sweep until the residual is below the tolerance, or no longer falls, or the rank is reached.

    Args:
        system: The discrete problem.
        state: Where to start; it is updated in place, so that an interrupt leaves the best so far.
        rank: Most products.
        tolerance: Relative residual to reach.
        sweeps: Most sweeps at one rank.
        random: Source of start values.
        report: Called after every sweep.
        step: Products added at once; by default a quarter of those present, at least one.

    Returns:
        The state.
    """
    flat, best = 0, np.inf
    if len(system.axes) <= 2:
        rank = 1 if len(system.axes) == 1 else min(rank, *(axis.size for axis in system.axes))
    kept = (np.inf, state.factors)
    while True:
        if state.rank < rank:
            more = min(step or max(1, state.rank // 4), rank - state.rank)
            state.factors = enriched(system, state.factors, more, random)
        previous = np.inf
        last = state.rank >= rank
        for number in range(sweeps * (3 if last else 1)):
            state.factors, gained = sweep(system, state.factors)
            state.residual = measured(system, state.factors, gained)
            state.history.append((state.rank, state.residual))
            report(state)
            if state.residual < kept[0]:
                kept = (state.residual, state.factors)
            if state.residual <= tolerance:
                state.stopped = "the residual reached the tolerance"
                return state
            if number and state.residual > (0.99 if last else 0.9) * previous:
                break
            previous = state.residual
        if last:
            state.stopped = "the largest rank was reached"
            if state.residual > kept[0]:  # without symmetry a sweep may lose ground
                state.residual, state.factors = kept
            return state
        flat = flat + 1 if state.residual > 0.97 * best else 0
        best = min(best, state.residual)
        if flat >= 3:
            state.stopped = "the residual no longer falls with the rank"
            return state
