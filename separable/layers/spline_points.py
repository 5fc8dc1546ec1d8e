"""Where many points meet a B-spline: the p + 1 functions that are not zero there, tile by tile and in place.

On uniform knots with n intervals an open basis B_1 .. B_K, K = n + p, has p functions at either end that are cut by it.
Exchanged for *whole* ones, which reach beyond, the family W_1 .. W_K is the same polynomials on every interval,

    W_(i+r)(x) = sum_q A[r, q] u^q        u in [0, 1] the place within interval i, r = 0 .. p

and spans the same splines, so that evaluation is one small matrix product and coefficients C are carried over to
``M C`` by a matrix M (K, K) that is the identity but for its corners.
"""

import functools
import math

import numpy as np
import torch
from torch import Tensor

from separable.atoms import BSpline

WHOLE_DEGREE = 3  # largest degree evaluated by whole functions: entries in the corners grow, 15 there, 105 next


class Points:
    """Coordinates ``(N, D)``, contiguous, held at the ends of the domain, and how far they were beyond.

    Raises:
        ValueError: If the policy is ``error`` and a coordinate lies outside the domain.
    """

    def __init__(self, atom: BSpline, x: Tensor) -> None:
        lower, upper = atom.domain
        if atom.outside == "periodic":
            x = atom._wrapped(x)
        elif atom.outside == "error":
            atom._refuse_outside(x)
        self.atom, self.nearest = atom, x.clamp(lower, upper)
        self.beyond = None if torch.equal(x, self.nearest) else x - self.nearest
        self._rooms: dict[str, Tensor] = {}

    def room(self, name: str, *shape: int) -> Tensor:
        """Memory that every tile uses again: the first touch of fresh memory costs more than the arithmetic."""
        if name not in self._rooms or self._rooms[name].numel() < math.prod(shape):
            self._rooms[name] = self.nearest.new_empty(math.prod(shape))
        return self._rooms[name][: math.prod(shape)].view(shape)

    def alive(self, n: slice, d: slice, derivative: int, flip: bool = False) -> tuple[Tensor, Tensor]:
        """First function ``(n, d)`` that is not zero, int64, and the values or slopes ``(p + 1, n, d)`` from there.

        Flipped, coordinates come before rows.
        """
        x = self.nearest[n, d].T if flip else self.nearest[n, d]
        first, values = self._local(x, derivative)
        if self.beyond is not None:
            beyond = self.beyond[n, d].T if flip else self.beyond[n, d]
            if self.atom.outside == "linear" and derivative == 0:
                values.addcmul_(self._local(x, 1)[1], beyond)
            elif self.atom.outside == "constant" and derivative == 1:
                values *= beyond == 0
        return first, values

    def _local(self, x: Tensor, derivative: int) -> tuple[Tensor, Tensor]:
        """`BSpline.local` at any ``x (n, d)`` with the functions first, or the same for whole functions."""
        atom = self.atom
        if not _has_whole(atom):
            first, values = atom.local(x, derivative)
            return first.contiguous(), values.movedim(-1, 0).contiguous()
        (lower, upper), p = atom.domain, atom.degree
        powers, values = (self.room(f"{name} {derivative}", p + 1, *x.shape) for name in ("powers of u", "values"))
        scale = atom.intervals / (upper - lower)
        u = torch.sub(x, lower, out=powers[1]).mul_(scale)
        first = u.long().clamp_(0, atom.intervals - 1)  # where u is not a number, the index still is one
        u -= first
        powers[0] = 1.0
        for q in range(2, p + 1):
            torch.mul(powers[q - 1], u, out=powers[q])
        matrix = _polynomials(p, derivative).to(x.dtype) * scale**derivative
        torch.mm(matrix, powers.flatten(1), out=values.view(p + 1, -1))
        return first, values


@functools.lru_cache(maxsize=64)
def _polynomials(degree: int, derivative: int) -> Tensor:
    """Coefficients ``(p + 1, p + 1)``, float64, of the whole functions (or their derivatives) in powers of u.

    Those of degree q follow from those of degree q - 1 by ``q W_r = (u + q - r) W_(r-1) + (r + 1 - u) W_r``.
    """
    u, nothing = np.polynomial.Polynomial([0.0, 1.0]), np.polynomial.Polynomial([0.0])
    functions = [nothing + 1.0]
    for q in range(1, degree + 1):
        around = [nothing, *functions, nothing]
        functions = [((u + q - r) * around[r] + (r + 1 - u) * around[r + 1]) / q for r in range(q + 1)]
    rows = [f.deriv(derivative).coef if derivative else f.coef for f in functions]
    return torch.tensor(np.array([np.pad(row, (0, degree + 1 - len(row))) for row in rows]))


def _has_whole(atom: BSpline) -> bool:
    return atom.knots is None and 1 <= atom.degree <= WHOLE_DEGREE


@functools.lru_cache(maxsize=64)
def _whole(intervals: int, degree: int) -> Tensor:
    """The matrix M (K, K), float64, with ``B_k = sum_m M[m, k] W_m`` on the domain, W the whole functions."""
    atom = BSpline(intervals, degree)
    x, _ = atom.quadrature()
    first, values = Points(atom, x[:, None]).alive(slice(None), slice(None), 0)
    whole = x.new_zeros(len(x), atom.size).scatter(1, first + torch.arange(degree + 1), values[..., 0].T)
    matrix = torch.linalg.lstsq(whole, atom(x)).solution
    return torch.where(matrix.abs() < 1e-12, 0.0, matrix)


def carried(c: Tensor, atom: BSpline, back: bool = False) -> Tensor:
    """C ``(D, K, R)`` for the functions of `Points.alive`; ``back``, the gradient of C from that of the result."""
    if not _has_whole(atom):
        return c
    corner = atom.degree
    matrix = _whole(min(atom.intervals, 2 * corner), corner).to(c.dtype)  # the corners do not depend on what is between
    matrix = matrix.T if back else matrix
    if atom.size < 2 * corner:
        return matrix @ c
    result = c.clone(memory_format=torch.contiguous_format)
    for end in (slice(None, corner), slice(-corner, None)):
        result[:, end] = matrix[end, end] @ c[:, end]
    return result
