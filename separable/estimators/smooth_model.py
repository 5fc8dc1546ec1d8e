"""The smooth model: penalised terms of one and two coordinates, everything about their roughness chosen by REML.

First the additive model is fitted. Then every pair of coordinates is screened by a score test: with residuals r of
the additive model and P the products of the three smoothest functions of either coordinate, less their projection on
the additive terms, ``r'P (P'P)^-1 P'r / phi`` is chi-squared if the pair does not matter. The most significant pairs
enter together; they stay if the exact leave-one-out error (for classes its one-step approximation) falls.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from separable.estimators.bases import Basis, spline_basis, table_basis
from separable.estimators.families import Family
from separable.estimators.restricted_likelihood import Estimate, Normal, Pace, estimate
from separable.estimators.some_rows import some_rows
from separable.estimators.terms import Design, Terms, starting

Array = NDArray[np.float64]

_SIGNIFICANT = 1e-3  # of the score test
_SCREENED_FUNCTIONS = 3
_SCREENED_ROWS, _SCREENED_PAIRS = 20_000, 600
_FREE = 0.3  # degrees of freedom below which a pair leaves
_MOST_COLUMNS = 2400  # of the additive model: with many coordinates each has fewer functions
_ROWS_PER_INTERVAL = 12


@dataclasses.dataclass(frozen=True)
class SmoothModel:
    """The fitted model.

    Args:
        terms: Its terms.
        coefficients: ``(P, O)``.
        roots: For every output ``(P, P)`` with ``root' root`` the covariance of the coefficients over ``variance``.
        ridges: For every output ``(G,)``.
        freedom: For every output the degrees of freedom ``(G,)`` of each ridge group.
        variance: Of the error of a target, for a Gaussian family; else 1.
        spare: Degrees of freedom that were left to estimate it from.
        left_out: Mean loss of every row as predicted from the others.
    """

    terms: Terms
    coefficients: Array
    roots: tuple[Array, ...]
    ridges: tuple[Array, ...]
    freedom: tuple[Array, ...]
    variance: float
    spare: float
    left_out: float

    def outputs(self, z: Array) -> Array:
        """Outputs ``(N, O)`` at coordinates ``(N, D)``, from the terms: the definition that the layer must equal."""
        return Design(self.terms, z).times(self.coefficients)

    def errors(self, z: Array, unknown: NDArray[np.bool_]) -> Array:
        """Standard errors ``(N, O)`` of the outputs, as the posterior has them.

        Args:
            z: Coordinates ``(N, D)``.
            unknown: Which of them stand for a category that is there, but that training has not seen.
        """
        design = Design(self.terms, z)
        power = self.variance * np.stack([design.leverage(root) for root in self.roots], axis=1)
        for j, column in enumerate(z.T):
            power += self._unseen(j, column, unknown[:, j])
        return np.sqrt(_about_mean(power))

    def main_errors(self, j: int, values: Array) -> Array:
        """Standard errors ``(N, O)`` of coordinate j's main term at its values ``(N,)``."""
        functions, columns = self.terms.bases[j](values), self.terms.mains[j]
        power = np.stack([np.square(functions @ root[:, columns].T).sum(1) for root in self.roots], axis=1)
        power = self.variance * power + self._unseen(j, values, np.zeros(len(values), dtype=bool))
        return np.sqrt(_about_mean(power))

    def _unseen(self, j: int, values: Array, unknown: NDArray[np.bool_]) -> Array:
        """What categories that training never saw add to the square of the error ``(N, O)``.

        They lie about the mean of those that occurred, from which an index that they share with what was missing, or
        with rare ones, may be far.
        """
        basis, found = self.terms.bases[j], np.zeros((len(values), len(self.roots)))
        if basis.occurs is not None:
            indices = values.astype(np.int64)
            rows = unknown | ~basis.occurs[indices]
            effects = basis(np.arange(len(basis.occurs), dtype=np.float64)) @ self.coefficients[self.terms.mains[j]]
            spread = self.variance * basis.drawn / np.array([ridges[1 + j] for ridges in self.ridges])
            found[rows] = spread + (effects[indices[rows]] - effects[basis.occurs].mean(0)) ** 2
        return found


def _about_mean(power: Array) -> Array:
    """Variances ``(N, O)`` of independent outputs, of each less the mean of all; a single output is left as it is."""
    count = power.shape[1]
    return power if count == 1 else power * (1 - 2 / count) + power.sum(1, keepdims=True) / count**2


def fit_smooth_model(
    z: Array,
    weights: Array,
    family: Family,
    *,
    tables: Mapping[int, int],
    gaps: Mapping[int, int],
    intervals: int = 20,
    degree: int = 3,
    max_pairs: int = 10,
    left: Array | None = None,
) -> SmoothModel:
    """Fit the model.

    Args:
        z: Coordinates ``(N, D)``, as `Columns.encode` gives them.
        weights: Positive weights ``(N,)`` that count rows.
        family: The targets and their likelihood.
        tables: Discrete coordinates with their numbers of categories.
        gaps: For coordinates that can be missing, the coordinate that says so.
        intervals: Knot intervals of a coordinate; fewer where there are fewer than twelve rows to an interval.
        degree: Of the splines.
        max_pairs: The most pairs; 0 for an additive model.
        left: How much of its weight is left out with each row to judge a model by it; one if not given.
    """
    left = np.ones(len(z)) if left is None else left
    intervals = int(min(intervals, max(3, (weights.sum() + 1e-6) // _ROWS_PER_INTERVAL)))
    most = max(1, _MOST_COLUMNS // z.shape[1])
    bases = list[Basis]()
    for j in range(z.shape[1]):
        present = z[:, gaps[j]] < 0.5 if j in gaps else np.ones(len(z), dtype=bool)
        column, share = z[present, j], weights[present]
        if j in tables:
            bases.append(table_basis(column, share, tables[j], most))
        else:
            column, share = (column, share) if len(column) else (z[:, j], weights)
            bases.append(spline_basis(column, share, intervals, degree, most))
    additive = _Fit(Terms(tuple(bases), (), dict(gaps)), z, weights, left, family)
    if max_pairs == 0 or z.shape[1] == 1:
        return additive.model()
    pairs = additive.significant_pairs(max_pairs)
    if not pairs:
        return additive.model()
    richer = additive.with_pairs(pairs)
    kept = [pair for pair, free in zip(pairs, richer.pair_freedom, strict=True) if free > _FREE]
    if len(kept) < len(pairs):
        richer = additive.with_pairs(kept)
    return (richer if richer.left_out < additive.left_out else additive).model()


class _Fit:
    """One set of terms, fitted."""

    def __init__(
        self,
        terms: Terms,
        z: Array,
        weights: Array,
        left: Array,
        family: Family,
        known: Sequence[Array] | None = None,
    ) -> None:
        self.terms, self.z, self.weights, self.left, self.family = terms, z, weights, left, family
        self.design = Design(terms, z)
        known = [np.zeros(0)] * family.outputs if known is None else known
        self._solve([starting(terms.group_count, 0.1 * float(weights.sum()), found) for found in known])

    def _solve(self, ridges: list[Array]) -> None:
        family, count = self.family, float(self.weights.sum())
        level = family.start(self.weights)
        eta = np.tile(level, (len(self.z), 1))
        beta = np.zeros((self.terms.width, family.outputs))
        beta[0] = level
        found: list[Estimate | None] = [None] * family.outputs
        paces = [Pace(self.terms.group_count) for _ in found]
        for _ in range(family.rounds):
            change, moved = 0.0, 0.0
            for o in range(family.outputs):
                weight, target = family.working(eta, o)
                once = estimate(
                    self._normal(weight, target, count),
                    self.terms.groups,
                    ridges[o],
                    variance=family.variance,
                    steps=40 if family.rounds == 1 else 1,
                    least=family.least_ridge(count),
                    pace=paces[o],
                )
                ridges[o], found[o], beta[:, o] = once.ridges, once, once.coefficients
                new = self.design.times(once.coefficients)
                change = max(change, float(np.max(np.abs(family.bounded(new) - eta[:, o]) * np.sqrt(weight))))
                moved = max(moved, once.moved)
                eta[:, o] = family.bounded(new)
            if change < 1e-2 and moved < 1e-3:
                break
        self.estimates = [once for once in found if once is not None]
        self.coefficients, self.eta = beta, eta
        self.left_out = self._left_out()

    def _normal(self, weight: Array, target: Array, count: float) -> Normal:
        total = self.weights * weight
        square = float(total @ target**2)
        return Normal(self.design.normal(total), self.design.moment(total * target), square, count)

    def _left_out(self) -> float:
        eta = self.eta.copy()
        for o, once in enumerate(self.estimates):
            weight, target = self.family.working(self.eta, o)
            own = np.minimum(self.left * weight * self.design.leverage(once.root), 0.999)
            eta[:, o] -= own / (1 - own) * (target - self.eta[:, o])
        return float(self.weights @ self.family.loss(eta) / self.weights.sum())

    @property
    def pair_freedom(self) -> list[float]:
        """Degrees of freedom of every pair, over all outputs."""
        count = len(self.terms.pairs)
        return [float(sum(once.freedom[-count + k] for once in self.estimates)) for k in range(count)]

    def with_pairs(self, pairs: Sequence[tuple[int, int]]) -> "_Fit":
        """The same with pairs, starting from these ridges."""
        terms = dataclasses.replace(self.terms, pairs=tuple(pairs))
        known = [once.ridges[: 1 + len(terms.bases)] for once in self.estimates]
        return _Fit(terms, self.z, self.weights, self.left, self.family, known)

    def model(self) -> SmoothModel:
        """The outcome; outputs of which the family knows no more than their differences sum to zero."""
        beta = self.coefficients
        return SmoothModel(
            self.terms,
            beta if beta.shape[1] == 1 else beta - beta.mean(1, keepdims=True),
            tuple(once.root for once in self.estimates),
            tuple(once.ridges for once in self.estimates),
            tuple(once.freedom for once in self.estimates),
            self.estimates[0].variance,
            float(self.weights.sum()) - 1 - float(self.estimates[0].freedom.sum()),
            self.left_out,
        )

    def significant_pairs(self, most: int) -> list[tuple[int, int]]:
        """Pairs that pass the score test, most significant first."""
        rows = some_rows(len(self.z), _SCREENED_ROWS)
        functions = [f[:, :_SCREENED_FUNCTIONS] for f in self.terms.functions(self.z[rows])]
        lines = np.concatenate([np.ones((len(functions[0]), 1)), *functions], axis=1)
        screens = [self._screen(o, rows, lines) for o in range(self.family.outputs)]
        pairs = self._candidates(functions, screens)
        statistics, freedoms = np.zeros(len(pairs)), np.zeros(len(pairs))
        for place, (i, j) in enumerate(pairs):
            products = (functions[i][:, :, None] * functions[j][:, None, :]).reshape(len(lines), -1)
            for root, frame, residual, variance in screens:
                own = products * root[:, None]
                own -= frame @ (frame.T @ own)
                power, vectors = np.linalg.eigh(own.T @ own)
                kept = power > 1e-8 * max(power[-1], 1e-300)
                score = vectors[:, kept].T @ (own.T @ residual)
                statistics[place] += np.sum(score**2 / power[kept]) / variance
                freedoms[place] += kept.sum()
        chances = np.where(freedoms > 0, chi2.logsf(statistics, np.maximum(freedoms, 1)), 0.0)
        found = sorted((chance, *pair) for chance, pair in zip(chances.tolist(), pairs, strict=True))
        return [(i, j) for chance, i, j in found[:most] if chance < np.log(_SIGNIFICANT)]

    def _screen(self, o: int, rows: NDArray[np.int64], lines: Array) -> tuple[Array, Array, Array, float]:
        """Roots of weights, an orthonormal frame of the additive terms, residuals off it, and their variance."""
        weight, target = self.family.working(self.eta, o)
        root = np.sqrt((self.weights * weight)[rows])
        frame = np.linalg.qr(lines * root[:, None]).Q
        residual = (target - self.eta[:, o])[rows] * root
        return root, frame, residual - frame @ (frame.T @ residual), self.estimates[o].variance

    def _candidates(
        self, functions: Sequence[Array], screens: Sequence[tuple[Array, Array, Array, float]]
    ) -> list[tuple[int, int]]:
        """All pairs; of very many those whose products of the smoothest functions alone correlate most."""
        usable = [j for j, f in enumerate(functions) if f.shape[1] and j not in self.terms.gaps.values()]
        pairs = [(i, j) for place, i in enumerate(usable) for j in usable[place + 1 :]]
        if len(pairs) <= _SCREENED_PAIRS:
            return pairs
        first = np.stack([functions[j][:, 0] for j in usable], axis=1)
        strength = np.zeros((len(usable), len(usable)))
        for root, _, residual, _ in screens:
            strength += np.abs(first.T @ (first * (root * residual)[:, None]))
        rank = {(usable[a], usable[b]): -float(strength[a, b]) for a in range(len(usable)) for b in range(a)}
        return sorted(pairs, key=lambda pair: rank[pair[1], pair[0]])[:_SCREENED_PAIRS]
