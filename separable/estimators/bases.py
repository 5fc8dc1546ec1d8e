"""Functions of one column in the Demmler-Reinsch basis: orthonormal on the data, roughness diagonal.

With splines B (N, K) of a column and weights w of sum one, ``G = B_c' diag(w) B_c`` (B_c centred: its mean is taken
off) and the roughness ``S = integral h(x)^(2q-1) B^(q) B^(q)' dx``, where h is the length of the knot interval at x,
the generalised eigenproblem ``S V = G V diag(mu)`` gives functions ``u = B_c V`` of mean zero and variance one with

    penalty of sum_k b_k u_k  =  sum_k mu_k b_k^2,      0 = mu_1 < mu_2 <= ..

so a smoothing spline is a ridge regression on the columns ``s_k u_k``, ``s_k = sqrt(mu_2 / mu_k)`` (Demmler and
Reinsch 1975; Wood, Generalized Additive Models, 2017, section 5.4). The first function is the straight line. The
power of h makes the roughness the same in every unit and lets functions bend where the data are dense. For a column
of categories S is the identity: effects of categories are a random sample about zero.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from separable.atoms import Atom, BSpline, Table

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Basis:
    """Functions ``s_k u_k`` of one coordinate.

    Args:
        unit: The atom, for numbers on the unit interval.
        lower: Least value of the column.
        extent: Greatest value less the least.
        transform: Coefficients ``(K, m)`` of the m functions.
        scales: s ``(m,)``.
        line: Whether the first function is the straight line, which roughness does not see.
        occurs: Which categories ``(K,)`` occurred; None for numbers.
        drawn: Variance, at a ridge of one, of the effect of one more category about the mean of those that occurred.
    """

    unit: Atom
    lower: float
    extent: float
    transform: Array
    scales: Array
    line: bool
    occurs: NDArray[np.bool_] | None = None
    drawn: float = 0.0

    @property
    def size(self) -> int:
        """Number m of functions."""
        return len(self.scales)

    @property
    def atom(self) -> Atom:
        """The atom in the column's own unit."""
        return self.unit.rescaled((self.lower, self.lower + self.extent))

    def __call__(self, values: Array) -> Array:
        """The functions ``(N, m)`` at values ``(N,)``, each of which is evaluated once."""
        distinct, place = np.unique(values, return_inverse=True)
        found: Array = (_atom_values(self.unit, (distinct - self.lower) / self.extent) @ self.transform)[place]
        return found


def spline_basis(values: Array, weights: Array, intervals: int, degree: int, most: int) -> Basis:
    """The basis of a column of numbers.

    Args:
        values: The column ``(N,)``.
        weights: Positive weights ``(N,)``.
        intervals: Number of knot intervals; no more than the distinct values can tell apart.
        degree: Of the splines; likewise.
        most: The most functions to keep, smoothest first.

    Returns:
        Up to ``min(intervals + degree - 1, most)`` functions; none for a constant column.
    """
    lower, upper = float(values.min()), float(values.max())
    extent = upper - lower
    if not extent > max(1e-13 * max(abs(lower), abs(upper)), 1e-290):  # rounding explains the spread
        flat = BSpline(1, 0)
        return Basis(flat, lower, max(1.0, abs(lower)), np.zeros((1, 0)), np.zeros(0), False)
    position = (values - lower) / extent
    steps = len(np.unique(position)) - 1
    atom = BSpline(degree=min(degree, steps), knots=_knots(position, weights, min(intervals, steps)))
    order = min(2, atom.degree)
    nodes, areas = (part.numpy() for part in atom.quadrature())
    ends = np.array(atom.breakpoints)
    lengths = np.diff(ends)[np.clip(np.searchsorted(ends, nodes, "right") - 1, 0, len(ends) - 2)]
    bend = _atom_values(atom, nodes, order)
    roughness = bend.T @ (bend * (areas * lengths ** (2 * order - 1))[:, None])
    transform, scales, _ = _demmler_reinsch(_atom_values(atom, position), weights, roughness, lines=1)
    return Basis(atom, lower, extent, transform[:, :most], scales[:most], line=len(scales) > 0)


def table_basis(indices: Array, weights: Array, categories: int, most: int) -> Basis:
    """The basis of a column of categories: differences between those that occur.

    Args:
        indices: Index of the category in each row, ``(N,)``.
        weights: Positive weights ``(N,)``.
        categories: Number of categories, those that do not occur included: their effect is the plain mean over all
            that do, the best guess for one more draw from the same population. Such a draw differs from the mean of K
            others by its own variance and a K-th of it.
        most: The most functions to keep, those between common categories first.
    """
    table = Table(categories, outside="constant")
    known, place = np.unique(indices, return_inverse=True)
    total = np.bincount(place, weights).astype(np.float64)  # rows of one category count as one of their weight
    transform, scales, least = _demmler_reinsch(_atom_values(table, known), total, np.eye(categories), lines=0)
    occurs = np.zeros(categories, dtype=bool)
    occurs[known.astype(np.int64)] = True
    drawn = least * (1 + 1 / len(known))
    return Basis(table, 0.0, 1.0, transform[:, :most], scales[:most], line=False, occurs=occurs, drawn=drawn)


def _demmler_reinsch(values: Array, weights: Array, roughness: Array, lines: int) -> tuple[Array, Array, float]:
    """Coefficients ``(K, m)`` of the scaled functions, the scales ``(m,)``, and the least mu, their unit."""
    share = weights / weights.sum()
    mean = share @ values
    centred = values - mean
    gram = centred.T @ (centred * share[:, None])
    if not np.trace(gram) > 0:
        return np.zeros((len(mean), 0)), np.zeros(0), 0.0
    # Splines and indicators sum to one: without the direction of ones there is no constant, of which the data see none.
    contrasts = np.linalg.qr(np.eye(len(mean))[:, 1:] - 1 / len(mean)).Q
    gram, roughness = contrasts.T @ gram @ contrasts, contrasts.T @ roughness @ contrasts
    # Where no data lie, roughness alone decides; the functions that exist only there are dropped.
    metric = gram + 1e-7 * np.trace(gram) / np.trace(roughness) * roughness
    metric[np.diag_indices_from(metric)] += 1e-12 * np.trace(metric)
    penalty, vectors = eigh(roughness, metric)
    power = np.einsum("kj,kl,lj->j", vectors, gram, vectors)
    kept = power > 0.5
    vectors, penalty = contrasts @ (vectors[:, kept] / np.sqrt(power[kept])), np.maximum(penalty[kept] / power[kept], 0)
    scales, least = np.ones(len(penalty)), 0.0
    if len(penalty) > lines:
        least = float(penalty[lines])
        scales[lines:] = np.sqrt(least / penalty[lines:])
    coefficients = (vectors - mean @ vectors) * scales  # centring: a constant is taken off every coefficient
    return coefficients, scales, least


def _knots(position: Array, weights: Array, intervals: int) -> tuple[float, ...]:
    """Breakpoints half way between equal spacing and equal shares of the data; ties never make two coincide."""
    order = np.argsort(position, kind="stable")
    distinct, first = np.unique(position[order], return_index=True)
    below = np.concatenate([[0.0], np.cumsum(np.add.reduceat(weights[order], first))])
    rank = 0.5 * (below[1:] + below[:-1])
    rank = (rank - rank[0]) / (rank[-1] - rank[0])
    height = 0.5 * (rank + distinct)
    inner = np.interp(np.arange(1, intervals) / intervals, height, distinct)
    kept, gap = [0.0], 0.02 / intervals
    for knot in inner.tolist():
        if knot - kept[-1] > gap and knot < 1 - gap:
            kept.append(knot)
    return (*kept, 1.0)


def _atom_values(atom: Atom, values: Array, derivative: int = 0) -> Array:
    found: Array = atom(torch.from_numpy(np.ascontiguousarray(values)), derivative).numpy()
    return found
