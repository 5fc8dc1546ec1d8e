"""B-splines: piecewise polynomials of degree p, each living on p + 1 neighbouring intervals.

With breakpoints ``a = t_0 < t_1 <= .. <= t_n = b`` (n *intervals*), the *open* basis repeats both ends p more times and
has ``K = n + p`` functions; it is one at the ends for the first and the last function, so values at the boundary are
coefficients. The *periodic* basis continues the breakpoints round the circle and has ``K = n``. Both sum to one.

Evaluation is the de Boor-Cox recursion restricted to the p + 1 functions that are not zero at ``x``
(de Boor, A Practical Guide to Splines, 1978, chapter X; Piegl and Tiller, The NURBS Book, 1997, algorithm A2.2).
For degree q and knots T, with x in ``[T_s, T_(s+1))``:

    N_(i,q)(x)  = (x - T_i) / (T_(i+q) - T_i) N_(i,q-1) + (T_(i+q+1) - x) / (T_(i+q+1) - T_(i+1)) N_(i+1,q-1)
    N'_(i,q)(x) = q N_(i,q-1) / (T_(i+q) - T_i) - q N_(i+1,q-1) / (T_(i+q+1) - T_(i+1))
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from separable.atoms.atom import Atom, Outside, check_count, check_domain, check_outside


@dataclasses.dataclass(frozen=True)
class BSpline(Atom):
    """B-splines of any degree on uniform or given breakpoints, open or periodic.

    Args:
        intervals: Number n of intervals.
        degree: Polynomial degree p >= 0; 0 is piecewise constant, 1 linear, 3 the usual cubic.
        domain: Ends (a, b) of the coordinate's range, in the coordinate's unit.
        outside: Policy beyond the domain; always ``periodic`` for a periodic basis.
        knots: Breakpoints, increasing, from a to b; they replace ``intervals`` and ``domain``. An interior breakpoint
            repeated m times lowers the continuity there to p - m derivatives.
        periodic: Whether the functions continue round the circle of circumference b - a.

    Good values: degree 3 and 8 to 32 intervals for measured data; degree 5 or more with few intervals for smooth
    functions known to many digits; degree 1 with a breakpoint on the kink for kinked ones.

    Example:
        >>> import torch
        >>> from separable.atoms import BSpline
        >>> spline = BSpline(intervals=4, degree=2, domain=(0.0, 1.0))
        >>> spline.size
        6
        >>> spline(torch.tensor([0.0, 0.3, 1.0])).sum(-1)
        tensor([1., 1., 1.])
    """

    intervals: int = 8
    degree: int = 3
    domain: tuple[float, float] = (0.0, 1.0)
    outside: Outside = "linear"
    knots: tuple[float, ...] | None = None
    periodic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", check_count("BSpline", "degree", self.degree, 0))
        if self.knots is not None:
            knots = tuple(float(t) for t in self.knots)
            object.__setattr__(self, "knots", knots)
            if len(knots) < 2 or not np.isfinite(knots).all() or np.any(np.diff(knots) < 0):
                raise ValueError(f"BSpline: knots are at least two finite, non-decreasing breakpoints, got {knots}")
            repeats = max(knots[1:-1].count(t) for t in knots[1:-1]) if len(knots) > 2 else 1
            if knots[0] == knots[1] or knots[-1] == knots[-2] or repeats > max(self.degree, 1):
                raise ValueError(
                    "BSpline: give each end of the domain once and repeat an interior breakpoint at most "
                    f"degree = {self.degree} times, got {knots}"
                )
            object.__setattr__(self, "intervals", len(knots) - 1)
            object.__setattr__(self, "domain", (knots[0], knots[-1]))
        object.__setattr__(self, "intervals", check_count("BSpline", "intervals", self.intervals, 1))
        object.__setattr__(self, "domain", check_domain("BSpline", self.domain))
        check_outside("BSpline", self.outside)
        object.__setattr__(self, "periodic", bool(self.periodic))  # numpy's cannot be written to a file
        if self.periodic:
            object.__setattr__(self, "outside", "periodic")
            if self.intervals <= self.degree:
                raise ValueError(
                    f"BSpline: a periodic basis of degree {self.degree} needs more than {self.degree} intervals, "
                    f"got {self.intervals}"
                )

    @property
    def size(self) -> int:
        """K: intervals + degree for the open basis, intervals for the periodic one."""
        return self.intervals if self.periodic else self.intervals + self.degree

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """The n + 1 breakpoints."""
        if self.knots is not None:
            return self.knots
        return tuple(np.linspace(*self.domain, self.intervals + 1).tolist())

    @property
    def quadrature_points(self) -> int:
        """Points per interval that integrate a product of two splines of this degree exactly."""
        return self.degree + 1

    def ones(self) -> Tensor:
        """All ones: the functions are a partition of unity."""
        return torch.ones(self.size, dtype=torch.float64)

    def rescaled(self, domain: tuple[float, float]) -> "BSpline":
        """The same splines with every breakpoint carried to another domain by the linear map between the two."""
        if self.knots is None:
            return dataclasses.replace(self, domain=domain)
        (a, b), (lower, upper) = self.domain, check_domain("BSpline", domain)
        inner = [lower + (t - a) * (upper - lower) / (b - a) for t in self.knots[1:-1]]
        return dataclasses.replace(self, knots=(lower, *inner, upper), domain=domain)

    def local(self, x: Tensor, derivative: int = 0) -> tuple[Tensor, Tensor]:
        """The degree + 1 functions that are not zero at each coordinate.

        Args:
            x: Coordinates ``(...)`` inside the domain.
            derivative: Order of the derivative.

        Returns:
            The index of the first of them, ``(...)`` int64 (for a periodic basis to be taken modulo K), and their
            values ``(..., degree + 1)``.
        """
        p, n = self.degree, self.intervals
        if self.knots is None:
            # In units of one interval the knots are the integers (held at 0 and n for the open basis): no look-up.
            lower, upper = self.domain
            scale = n / (upper - lower)
            u = (x - lower) * scale
            interval = u.detach().floor().clamp(0, n - 1)
            first = interval.long().clamp(0, n - 1)  # where u is not a number, the index still is one
            if self.periodic:
                knots = [interval + float(i) for i in range(1 - p, p + 1)]
            else:
                knots = [(interval + float(i)).clamp(0.0, float(n)) for i in range(1 - p, p + 1)]
            return first, _de_boor(u, knots, p, derivative) * scale**derivative
        # From the first breakpoint on: far from zero, numbers of 32 bits cannot tell one breakpoint from the next.
        knots_from_first = tuple(t - self.knots[0] for t in _knot_vector(self.knots, p, self.periodic))
        u, vector = x - self.knots[0], x.new_tensor(knots_from_first)
        # The upper end lies in the last span that is not empty once its ends are rounded.
        places = torch.arange(p, len(vector) - p - 1, device=x.device)
        last = torch.where(vector[p : -p - 1] < vector[p + 1 : len(vector) - p], places, p).amax()
        span = torch.searchsorted(vector, u.detach().contiguous(), right=True).sub(1).clamp(min=p).minimum(last)
        around = span[..., None] + torch.arange(1 - p, p + 1, device=x.device)
        return span - p, _de_boor(u, list(vector[around].unbind(-1)), p, derivative)

    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        first, values = self.local(x, derivative)
        index = first[..., None] + torch.arange(self.degree + 1, device=x.device)
        if self.periodic:
            index = index % self.size
        return x.new_zeros(*x.shape, self.size).scatter(-1, index, values)


def _de_boor(x: Tensor, knots: list[Tensor], degree: int, derivative: int) -> Tensor:
    """Values ``(..., degree + 1)`` of the functions alive on the span; ``knots[i]`` is T_(s + 1 - degree + i)."""

    def knot(i: int) -> Tensor:  # T_(s + i), i from 1 - degree to degree
        return knots[i + degree - 1]

    if derivative > degree:
        return x.new_zeros(*x.shape, degree + 1)
    # Where no factor of x follows, the one still depends on it: not a number stays so, and gradients exist.
    values = [torch.ones_like(x) if degree > derivative else 1 + 0 * x]
    for q in range(1, degree - derivative + 1):
        saved = torch.zeros_like(x)
        raised = []
        for r in range(q):
            left, right = knot(r + 1 - q), knot(r + 1)
            share = values[r] / (right - left)
            raised.append(saved + (right - x) * share)
            saved = (x - left) * share
        values = [*raised, saved]
    for q in range(degree - derivative + 1, degree + 1):
        shares = [q * values[r] / (knot(r + 1) - knot(r + 1 - q)) for r in range(q)]
        values = [-shares[0], *(shares[r - 1] - shares[r] for r in range(1, q)), shares[-1]]
    return torch.stack(values, dim=-1)


def _knot_vector(breakpoints: tuple[float, ...], degree: int, periodic: bool) -> tuple[float, ...]:
    """The full knot vector T: breakpoints, extended by ``degree`` knots on either side."""
    first, last = breakpoints[0], breakpoints[-1]
    if not periodic:
        return (first,) * degree + breakpoints + (last,) * degree
    period = last - first
    before = tuple(t - period for t in breakpoints[len(breakpoints) - 1 - degree : -1])
    after = tuple(t + period for t in breakpoints[1 : degree + 1])
    return before + breakpoints + after
