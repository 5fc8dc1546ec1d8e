"""The class model with every pair of coordinates: a Gaussian prior over order-2 functions, solved in the dual.

With a prior covariance k_j for the function of coordinate j, the sums over subsets of at most two coordinates,

    f = sum_n alpha_n (e_1 + e_2)(p_1n, .., p_Dn),     p_jn(z) = k_j(z, z_nj),     K = e_1 + e_2 on the rows
    alpha = W^1/2 (W^1/2 K W^1/2 + nu)^-1 W^1/2 (Y - shares)

is the posterior mean for one-hot targets Y: a separable layer of order 2 and rank N by construction, with every pair
at the cost of an N x N eigenproblem. ``k_j = t / D (line line' + b sum_k s_k^2 u_k u_k')`` on the `Basis` of the
coordinate. The scale t, which sets how much pairs count, the bend b, the noise nu, and whether columns count in their
own unit (pixels) or by their spread (measurements) are those of least leave-one-out log loss of

    probabilities = softmax(log shares + T f),

T included, so that the probabilities are calibrated, with priors log T ~ N(0, 1) and log10 nu ~ N(0, 1) for a row of
mean weight, which count as one row: few rows that happen to lie apart would else be certain of everything. Leaving v_n
of the weight w_n of row n out costs nothing: its residual is divided by ``(w_n - v_n + v_n nu B_nn) / w_n`` with
``B = (W^1/2 K W^1/2 + nu)^-1``, and the shares are those of the others.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from separable.estimators.bases import Basis, spline_basis, table_basis
from separable.interactions import CanonicalPolyadic
from separable.layers import SeparableLayer

Array = NDArray[np.float64]

_SEARCH_ROWS = 600
_NOISES = 10.0 ** np.arange(-4, 1.1, 0.5)  # of a row of mean weight
_TEMPERATURES = -4.0, 3.5  # limits of log T: one-hot targets are of order one, logits no more than about 30
_SCALES, _BENDS = (0.5, 5.0), (0.1, 1.0)  # tried in place of those that `Prior` starts with


@dataclasses.dataclass(frozen=True)
class Prior:
    """Sizes of the prior.

    Args:
        scale: t.
        bend: b.
        own_units: Whether a column's spread counts.
    """

    scale: float = 1.5
    bend: float = 0.0
    own_units: bool = False


@dataclasses.dataclass(frozen=True)
class KernelModel:
    """The fitted model.

    Args:
        bases: Of the coordinates.
        deviations: Prior standard deviations ``(m_j,)`` of the functions of each.
        centres: Their values on the training rows, times the deviations, ``(N, m_j)`` each.
        dual: ``T alpha (N, C)``.
        level: Logarithms of the shares ``(C,)``, less their mean.
        prior: What was chosen.
        left_out: Leave-one-out log loss, the priors of T and nu included.
    """

    bases: tuple[Basis, ...]
    deviations: tuple[Array, ...]
    centres: tuple[Array, ...]
    dual: Array
    level: Array
    prior: Prior
    left_out: float

    def outputs(self, z: Array) -> Array:
        """Logits ``(N, C)`` at coordinates ``(N, D)``."""
        step = max(1, int(4e6 / len(self.dual)))
        parts = []
        for start in range(0, len(z), step):
            rows = z[start : start + step]
            functions = [b(rows[:, j]) * d for j, (b, d) in enumerate(zip(self.bases, self.deviations, strict=True))]
            parts.append(self.level + _kernel(functions, self.centres) @ self.dual)
        return np.concatenate(parts)

    def layer(self) -> SeparableLayer:
        """The same function as a layer of order 2 and rank N, in float64."""
        rank, outputs = self.dual.shape
        layer = SeparableLayer(
            len(self.bases),
            outputs,
            atoms=[basis.atom for basis in self.bases],
            interaction=CanonicalPolyadic(rank=rank, order=min(2, len(self.bases))),
            generator=torch.Generator(),
            dtype=torch.float64,
        )
        with torch.no_grad():
            for j, basis in enumerate(self.bases):
                coefficients = (basis.transform * self.deviations[j]) @ self.centres[j].T
                layer.expansion.coefficient(j).copy_(torch.from_numpy(coefficients))
            layer.core.copy_(torch.from_numpy(self.dual))
            layer.bias.copy_(torch.from_numpy(self.level))  # type: ignore[union-attr]
        return layer


def fit_kernel_model(
    z: Array,
    y: Array,
    weights: Array,
    left: Array,
    *,
    tables: Mapping[int, int],
    intervals: int,
    degree: int,
    random: np.random.Generator,
) -> KernelModel:
    """Fit the model.

    Args:
        z: Coordinates ``(N, D)``, as `Columns.encode` gives them.
        y: Targets ``(N, C)``: one-hot, or means of one-hot ones.
        weights: Positive weights ``(N,)`` that count rows.
        left: How much of it is left out with each row, as `merged` says.
        tables: Discrete coordinates with their numbers of categories.
        intervals: Knot intervals of a coordinate.
        degree: Of the splines.
        random: Source of the rows on which the prior is chosen, where there are more than 600.
    """
    most = max(1, min(12, 1200 // z.shape[1]))
    intervals = int(min(intervals, max(3, (weights.sum() + 1e-6) // 12)))
    bases = tuple(
        table_basis(z[:, j], weights, tables[j], most)
        if j in tables
        else spline_basis(z[:, j], weights, intervals, degree, most)
        for j in range(z.shape[1])
    )
    functions = [basis(z[:, j]) for j, basis in enumerate(bases)]
    spreads = np.sqrt(np.maximum(weights @ z**2 / weights.sum() - (weights @ z / weights.sum()) ** 2, 0))
    shares = (weights @ y) / weights.sum()

    def judged(prior: Prior, rows: NDArray[np.int64], noise: float | None = None) -> "_Solution":
        own = [f[rows] * d for f, d in zip(functions, _deviations(bases, spreads, prior), strict=True)]
        return _solve(_kernel(own, own), y[rows], weights[rows], left[rows], shares, noise)

    rows = np.arange(len(z))
    some = np.sort(random.choice(rows, _SEARCH_ROWS, replace=False)) if len(rows) > _SEARCH_ROWS else rows
    best, prior = judged(Prior(), some), Prior()
    fields: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("own_units", () if tables else (True,)),
        ("bend", _BENDS),
        ("scale", _SCALES),
    )
    for field, values in fields:
        start = prior
        for value in values:
            tried = dataclasses.replace(start, **{field: value})
            solution = judged(tried, some)
            if solution.left_out < best.left_out * (1 - 1e-3):
                best, prior = solution, tried
    if len(some) < len(rows):
        best = judged(prior, rows, best.noise)
    deviations = _deviations(bases, spreads, prior)
    bases = tuple(_straight(basis, d) for basis, d in zip(bases, deviations, strict=True))
    deviations = tuple(d[: basis.size] for basis, d in zip(bases, deviations, strict=True))
    centres = tuple(f[:, : len(d)] * d for f, d in zip(functions, deviations, strict=True))
    level = np.log(shares) - np.log(shares).mean()  # the dual's rows sum to zero by themselves
    return KernelModel(bases, deviations, centres, best.dual, level, prior, best.left_out)


def _deviations(bases: tuple[Basis, ...], spreads: Array, prior: Prior) -> tuple[Array, ...]:
    sizes = np.ones(len(bases))
    if prior.own_units and spreads.any():
        sizes = spreads / np.sqrt(np.mean(spreads**2))
    found = []
    for basis, size in zip(bases, sizes, strict=True):
        deviation = np.full(basis.size, size * np.sqrt(prior.scale / len(bases)))
        if basis.line:
            deviation[1:] *= np.sqrt(prior.bend)
        found.append(deviation)
    return tuple(found)


def _straight(basis: Basis, deviations: Array) -> Basis:
    """The basis without functions that the prior gives no size."""
    kept = int(np.count_nonzero(deviations)) if basis.line else basis.size
    return dataclasses.replace(basis, transform=basis.transform[:, :kept], scales=basis.scales[:kept])


def _kernel(first: Sequence[Array], second: Sequence[Array]) -> Array:
    """``e_1 + e_2`` of the coordinates' kernels, ``(N, M)``: ``S + (S^2 - sum_j k_j^2) / 2``."""
    total = np.concatenate(first, axis=1) @ np.concatenate(second, axis=1).T
    squares = _squares(first) @ _squares(second).T
    kernel: Array = total + 0.5 * (total * total - squares)
    return kernel


def _squares(functions: Sequence[Array]) -> Array:
    """Products of every two functions of one coordinate, ``(N, sum m_j^2)``."""
    return np.concatenate([(f[:, :, None] * f[:, None, :]).reshape(len(f), -1) for f in functions], axis=1)


@dataclasses.dataclass(frozen=True)
class _Solution:
    dual: Array
    noise: float
    left_out: float


def _solve(kernel: Array, y: Array, weights: Array, left: Array, shares: Array, noise: float | None) -> _Solution:
    """The dual coefficients with their temperature; without a noise, that of least leave-one-out log loss is taken."""
    root = np.sqrt(weights)
    matrix = kernel * root[:, None] * root
    matrix /= (size := max(float(weights @ kernel.diagonal() / weights.sum()), 1e-300))
    goal, best = np.column_stack([y - shares, np.ones(len(y))]) * root[:, None], None
    counts = np.maximum(weights @ y - left[:, None] * y, 0.0)
    others_shares = counts / counts.sum(1, keepdims=True)
    level = np.log(np.maximum(counts, 0.5 * left[:, None]) / weights.sum())  # of a class that is gone, half a row
    prior = float(weights.sum() / (weights / left).sum())  # counts as one row that has no copies
    noises = (_NOISES * weights.mean()).tolist() if noise is None else [noise]
    for value, solved, own in _inverses(matrix, goal, noises):
        # Residual nu B Y, over what the row leaves to the others: no difference of near equals.
        others = (weights - left + value * left * own) / weights
        left_out = goal / root[:, None] - value * solved / (root * others)[:, None]
        # Without the row its targets are about other shares: the last column is the answer to targets of one.
        left_out = left_out[:, :-1] - (others_shares - shares) * left_out[:, -1:]
        temperature = _temperature(left_out, y, weights, level, prior)
        loss = _log_loss(level + temperature * left_out, y, weights)
        surprise = 0.5 * (np.log10(value / weights.mean()) ** 2 + np.log(temperature) ** 2)
        loss += prior * surprise / weights.sum()
        if best is None or loss < best.left_out:
            best = _Solution(root[:, None] * solved[:, :-1] * (temperature / size), value, loss)
    assert best is not None
    return best


def _inverses(matrix: Array, goal: Array, noises: list[float]) -> Iterator[tuple[float, Array, Array]]:
    """For every noise: itself, ``B Y`` and the diagonal of B. One noise needs no eigenvalues."""
    if len(noises) == 1:
        matrix[np.diag_indices_from(matrix)] += noises[0]
        lower = np.linalg.cholesky(matrix)
        inverse = lapack.dtrtri(lower, lower=1)[0]
        yield noises[0], inverse.T @ (inverse @ goal), np.square(inverse).sum(0)
        return
    power, vectors = np.linalg.eigh(matrix)
    turned = vectors.T @ goal
    for noise in noises:
        shrunk = 1 / (np.maximum(power, 0) + noise)
        yield noise, vectors @ (shrunk[:, None] * turned), vectors**2 @ shrunk


def _log_loss(logits: Array, y: Array, weights: Array) -> float:
    return float(weights @ (logsumexp(logits, axis=1) - np.sum(y * logits, axis=1)) / weights.sum())


def _temperature(outputs: Array, y: Array, weights: Array, level: Array, prior: float) -> float:
    """The factor T of least log loss and prior, by the root of the slope in log T."""

    def slope(log_temperature: float) -> float:
        scaled = np.exp(log_temperature) * outputs
        shares = softmax(level + scaled, axis=1)
        return float(weights @ np.sum((shares - y) * scaled, axis=1)) + prior * log_temperature

    low, high = _TEMPERATURES
    if slope(low) >= 0 or slope(high) <= 0:
        return float(np.exp(low if slope(low) >= 0 else high))
    return float(np.exp(brentq(slope, low, high, xtol=1e-12)))
