"""One coordinate of a sample and the spline bases it is seen through, each made orthonormal on the sample.

With B (N, K') the splines of an atom at the N training values, ``Q = B T`` has ``Q^T Q = N I``: coefficients of all
bases have one size, normal equations are well scaled, and column k is a polynomial of degree k for k up to the atom's
degree, so that dropping the last columns lowers the degree. K < K' columns are left where the sample cannot tell the
splines apart (empty intervals).
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from separable.atoms import BSpline

Array = NDArray[np.float64]

_HIGHEST_DEGREE, _MOST_INTERVALS = 14, 48


def values(atom: BSpline, x: Array) -> Array:
    """The splines ``(N, K')`` at coordinates ``(N,)``."""
    result: Array = atom(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return result


@dataclasses.dataclass(frozen=True)
class Basis:
    """An orthonormal basis on the sample.

    Args:
        transform: T ``(K', K)``.
        training: Q ``(N, K)``.
        held_out: The same functions at the held-out values.
    """

    transform: Array
    training: Array
    held_out: Array


class Axis:
    """One coordinate of the sample; bases are computed once.

    Args:
        training: Training values ``(N,)``.
        held_out: Held-out values.
        lowest: Least value of the whole data.
        highest: Greatest value.
    """

    def __init__(self, training: Array, held_out: Array, lowest: float, highest: float) -> None:
        self._training, self._held_out = training, held_out
        # A spread that rounding explains carries nothing; the domain only has to hold the values.
        if highest - lowest <= max(1e-13 * max(abs(lowest), abs(highest)), 1e-290):
            self._distinct, highest = 1, lowest + max(1.0, abs(lowest))
        else:
            self._distinct = len(np.unique(training))
        self._domain = lowest, highest
        self._bases: dict[BSpline, Basis] = {}

    def atom(self, degree: int, intervals: int = 1) -> BSpline:
        """Splines on this coordinate's domain, of no higher degree than its distinct values can determine."""
        # Every row lies inside the domain; another policy would evaluate slopes as well.
        return BSpline(intervals, min(degree, self._distinct - 1), domain=self._domain, outside="error")

    def basis(self, atom: BSpline) -> Basis:
        """The atom's splines made orthonormal."""
        if atom not in self._bases:
            splines = values(atom, self._training)
            transform = _orthonormalising(splines, _polynomials_first(atom))
            held_out = values(atom, self._held_out) @ transform
            self._bases[atom] = Basis(transform, splines @ transform, held_out)
        return self._bases[atom]

    def richer(self, atom: BSpline, leap: bool) -> list[BSpline]:
        """The next bases: a higher degree, or more intervals of degree 5 at most.

        Args:
            atom: The present one.
            leap: Whether low degrees are also raised by two at once. On a function that is odd about the middle the
                even degree between gains nothing.
        """
        if atom.intervals > 1:
            finer = 2 * atom.intervals
            found = [self.atom(atom.degree, finer)] if finer <= _MOST_INTERVALS else []
        else:
            raised = (2,) if atom.degree >= 3 else (1, 2) if leap else (1,)
            found = [self.atom(atom.degree + more) for more in raised if atom.degree + more <= _HIGHEST_DEGREE]
            if atom.degree >= 3:
                found.append(self.atom(min(atom.degree, 5), 3))
        return [new for new in found if atom.size < new.size <= self._distinct]

    def moved(self, coefficients: Array, old: BSpline, new: BSpline) -> Array:
        """The same functions on another basis; exact where that basis contains them, else the nearest."""
        grid = np.linspace(*self._domain, 6 * max(old.size, new.size) + 1)
        target = values(old, grid) @ (self.basis(old).transform @ coefficients)
        result: Array = np.linalg.lstsq(values(new, grid) @ self.basis(new).transform, target, rcond=None)[0].astype(
            np.float64
        )
        return result


def _polynomials_first(atom: BSpline) -> Array:
    """Coefficients ``(K', K')`` whose first columns are the Legendre polynomials on the domain."""
    grid = np.linspace(-1, 1, 4 * atom.size + 1)
    unit = dataclasses.replace(atom, domain=(-1.0, 1.0))
    legendre = np.polynomial.legendre.legvander(grid, atom.degree)
    columns: Array = np.linalg.lstsq(values(unit, grid), legendre, rcond=None)[0].astype(np.float64)
    if atom.intervals > 1:
        columns = np.linalg.qr(np.hstack([columns, np.eye(atom.size)])).Q
    return columns


def _orthonormalising(splines: Array, start: Array) -> Array:
    """T with ``splines T`` orthonormal on the rows, from the columns of ``start`` one after the other (QR)."""

    def triangle(columns: Array) -> Array:
        result: Array = np.asarray(np.linalg.qr(splines @ columns * len(splines) ** -0.5, mode="r"))
        return result

    start = start[:, : len(splines)]  # fewer rows than columns tell only the leading ones apart
    r = triangle(start)
    independent = np.abs(np.diagonal(r)) > 1e-6 * np.linalg.norm(r, axis=0)
    if not independent.all():
        start = start[:, independent]
        r = triangle(start)
    result: Array = solve_triangular(r, start.T, trans="T").T
    return result
