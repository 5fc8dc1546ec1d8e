"""An atom: K functions of one coordinate, with their derivatives, integrals and Gram matrices.

Words and shapes. An atom holds functions ``B_1 .. B_K`` of one coordinate ``x`` on an interval ``[a, b]``, its
*domain*. It is a description (a frozen dataclass): it compares, hashes and serialises by value, owns no device and no
dtype, and takes those of the tensor it is called with. Whoever uses an atom holds the coefficients ``c`` of
``psi(x) = sum_k c_k B_k(x)``, and, where the functions themselves are learned (`Perceptron`), their parameters.

At a finite coordinate outside its domain every atom follows a stated policy, never silently zero and never NaN:

=============  ====================================================================================
``linear``     value and slope at the nearer end, continued as a straight line
``constant``   value at the nearer end
``periodic``   the coordinate is wrapped into the domain
``error``      a ``ValueError`` that names the offending value (reads the data: not for compiled code)
=============  ====================================================================================

An infinite coordinate has a value under ``constant`` and is refused under ``error``. A straight line has none there
(the K functions grow at rates of both signs, whose sum has no limit) and a circle neither: NaN, which is not hidden.
"""

import abc
import dataclasses
import itertools
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

Outside = Literal["linear", "constant", "periodic", "error"]


class Atom(abc.ABC):
    """The interface that every family of atoms fills in; never instantiated.

    A family is a frozen dataclass with at least the fields ``domain`` and ``outside``. It supplies `size`, `_inside`
    and `breakpoints`; calls, integrals and Gram matrices follow.
    """

    domain: tuple[float, float]
    outside: Outside
    discrete: ClassVar[bool] = False
    learned: ClassVar[bool] = False  # whether the functions have parameters of their own

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """K, the number of functions."""

    @abc.abstractmethod
    def _inside(self, x: Tensor, derivative: int, parameters: tuple[Tensor, ...]) -> Tensor:
        """Values ``(..., K)`` of the functions' derivative of the given order at ``x (...)`` inside the domain."""

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """Ends of the pieces on which the functions are smooth, from ``a`` to ``b``."""
        return self.domain

    @property
    def quadrature_points(self) -> int:
        """Gauss-Legendre points a piece needs to integrate a product of two functions exactly (or to rounding)."""
        return 16

    def initial_parameters(self, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
        """Start values of the functions' own parameters; empty for every fixed family."""
        del generator
        return ()

    def ones(self) -> Tensor:
        """Coefficients ``(K,)``, float64, whose expansion is the constant one (to the family's accuracy)."""
        nodes, weights = self.quadrature()
        root = weights.sqrt()
        basis = self(nodes) * root[:, None]
        solution: Tensor = torch.linalg.lstsq(basis, root[:, None], driver="gelsd").solution
        return solution[:, 0]

    def __call__(self, x: Tensor, derivative: int = 0, parameters: tuple[Tensor, ...] = ()) -> Tensor:
        """Evaluate the functions, or a derivative of them.

        Args:
            x: Coordinates, any shape ``(...)``, floating point. Half precision is computed in float32.
            derivative: Order m >= 0 of the derivative.
            parameters: The functions' own parameters, for families that have them.

        Returns:
            Values of shape ``(..., K)`` in the dtype and on the device of ``x``.

        A coordinate that is not a number gives values that are not numbers.

        Raises:
            ValueError: If the order is negative, or the policy is ``error`` and a coordinate lies outside the domain.
            TypeError: If the coordinates are not floating point.
        """
        self._check_call(x, derivative)
        if x.dtype in (torch.float16, torch.bfloat16):
            return self(x.float(), derivative, parameters).to(x.dtype)
        lower, upper = self.domain
        if self.outside == "periodic":
            return self._inside(self._wrapped(x), derivative, parameters)
        if self.outside == "error":
            self._refuse_outside(x)
            return self._inside(x, derivative, parameters)
        nearest = x.clamp(lower, upper)
        values = self._inside(nearest, derivative, parameters)
        if self.outside == "constant":
            if derivative == 0:
                return values
            return values * (x == nearest).to(values.dtype)[..., None]
        if derivative > 1:
            return values * (x == nearest).to(values.dtype)[..., None]
        if derivative == 1:
            return values
        slopes = self._inside(nearest, 1, parameters)
        return values + (x - nearest)[..., None] * slopes

    def _wrapped(self, x: Tensor) -> Tensor:
        """Coordinates brought into the domain by whole periods; both of its ends are where they are."""
        lower, upper = self.domain
        outside = (x < lower) | (x > upper)
        return torch.where(outside, lower + torch.remainder(x - lower, upper - lower), x)

    def _check_call(self, x: Tensor, *orders: int) -> None:
        check_orders(type(self).__name__, *orders)
        if not x.is_floating_point():
            raise TypeError(f"{type(self).__name__}: coordinates are floating point, got {x.dtype}")

    def _refuse_outside(self, x: Tensor) -> None:
        lower, upper = self.domain
        wrong = ~((x >= lower) & (x <= upper))
        if bool(wrong.any()):
            offender = float(x[wrong].flatten()[0])
            raise ValueError(
                f"{type(self).__name__}: coordinate {offender:g} lies outside the domain [{lower:g}, {upper:g}] "
                f"and outside='error'; {int(wrong.sum())} of {x.numel()} values do"
            )

    def quadrature(self, points: int | None = None) -> tuple[Tensor, Tensor]:
        """Nodes and weights ``(n,)``, float64, of Gauss-Legendre quadrature on every smooth piece of the domain.

        Args:
            points: Points on each piece; by default enough for products of two of the functions to be exact.
        """
        return self._quadrature_between(*self.domain, points or self.quadrature_points)

    def _quadrature_between(self, lower: float, upper: float, points: int) -> tuple[Tensor, Tensor]:
        inner = [b for b in dict.fromkeys(self.breakpoints) if lower < b < upper]
        ends = np.array([lower, *inner, upper])
        nodes, weights = np.polynomial.legendre.leggauss(points)
        half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
        return (
            torch.from_numpy((middle[:, None] + half[:, None] * nodes).ravel()),
            torch.from_numpy((half[:, None] * weights).ravel()),
        )

    def integral(
        self, lower: float | None = None, upper: float | None = None, parameters: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Definite integrals ``(K,)``, float64, from ``lower`` to ``upper`` (by default over the domain).

        Raises:
            ValueError: If a limit lies outside the domain, or the lower one above the upper one.
        """
        nodes, weights = self._quadrature_between(*self._limits(lower, upper), self.quadrature_points)
        values = self._inside(nodes, 0, tuple(p.double() for p in parameters))
        return weights.to(values.device) @ values

    def measure(self, lower: float | None = None, upper: float | None = None) -> float:
        """The integral of one: the length from ``lower`` to ``upper``, or the number of categories there.

        Raises:
            ValueError: If a limit lies outside the domain, or the lower one above the upper one.
        """
        return float(self._quadrature_between(*self._limits(lower, upper), 1)[1].sum())

    def _limits(self, lower: float | None, upper: float | None) -> tuple[float, float]:
        a, b = self.domain
        lower, upper = a if lower is None else float(lower), b if upper is None else float(upper)
        for limit in (lower, upper):
            if not a <= limit <= b:
                raise ValueError(
                    f"{type(self).__name__}.integral: limit {limit:g} lies outside the domain [{a:g}, {b:g}]"
                )
        if lower > upper:
            raise ValueError(f"{type(self).__name__}.integral: the lower limit {lower:g} exceeds the upper {upper:g}")
        return lower, upper

    def gram(self, first: int = 0, second: int | None = None, parameters: tuple[Tensor, ...] = ()) -> Tensor:
        """Gram matrix ``G_kl = int_a^b B_k^(first) B_l^(second) dx``, shape ``(K, K)``, float64.

        Args:
            first: Order of the derivative of the row's function.
            second: Order of the derivative of the column's function; by default the same.
            parameters: The functions' own parameters, for families that have them.

        Raises:
            ValueError: If an order is negative.
        """
        check_orders(type(self).__name__, first, first if second is None else second)
        nodes, weights = self.quadrature()
        parameters = tuple(p.double() for p in parameters)
        rows = self._inside(nodes, first, parameters)
        columns = rows if second is None else self._inside(nodes, second, parameters)
        return (rows * weights.to(rows.device)[:, None]).T @ columns

    def refined(self, **changes: Any) -> tuple["Atom", Tensor]:
        """A richer atom of the same family that contains this one, and the matrix that carries coefficients over.

        Args:
            **changes: Fields of the family to change (such as ``intervals=32``).

        Returns:
            The new atom, and a float64 matrix ``T (K_new, K)`` such that ``sum_k c_k B_k = sum_l (T c)_l B_new_l``.

        Raises:
            ValueError: If the new functions do not contain the old ones, the family has no such field, another field
                decides that one (knots decide the intervals), or the functions are learned.
        """
        if self.learned:
            raise ValueError(f"{type(self).__name__}.refined: learned functions have no exact refinement")
        if unknown := sorted(changes.keys() - self.fields()):
            raise ValueError(f"{type(self).__name__}.refined: fields are {sorted(self.fields())}, got {unknown}")
        finer = dataclasses.replace(self, **changes)  # type: ignore[type-var]
        if "knots" not in changes and any(getattr(finer, name) != value for name, value in changes.items()):
            raise ValueError(f"{type(self).__name__}.refined: {changes} has no effect on {self}: knots decide")
        if finer.domain != self.domain or finer.outside != self.outside:
            raise ValueError(f"{type(self).__name__}.refined keeps domain and outside; asked for {changes}")
        nodes, weights = self._common_quadrature(finer)
        root = weights.sqrt()[:, None]
        new, old = finer(nodes), self(nodes)
        matrix = torch.linalg.lstsq(new * root, old * root).solution
        error = float((new @ matrix - old).abs().max())
        if error > 1e-9 * max(1.0, float(old.abs().max())):
            raise ValueError(
                f"{type(self).__name__}.refined: {finer} does not contain {self} (they differ by {error:.1e}); "
                "refine by whole subdivisions, more terms, or a higher degree with every inner knot repeated once more"
            )
        return finer, matrix

    def _common_quadrature(self, other: "Atom") -> tuple[Tensor, Tensor]:
        both = sorted({*self.breakpoints, *other.breakpoints})
        points = max(self.quadrature_points, other.quadrature_points)
        pieces = [self._quadrature_between(a, b, points) for a, b in itertools.pairwise(both)]
        return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])

    def rescaled(self, domain: tuple[float, float]) -> "Atom":
        """The same family on another domain."""
        return dataclasses.replace(self, domain=domain)  # type: ignore[type-var]

    @classmethod
    def fields(cls) -> set[str]:
        """Names of the family's fields."""
        return {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def config(self) -> dict[str, Any]:
        """The atom as plain data: its family's name and its fields; `separable.atoms.from_config` reads it back."""
        return {"family": type(self).__name__, **dataclasses.asdict(self)}  # type: ignore[call-overload]


def check_domain(family: str, domain: tuple[float, float]) -> tuple[float, float]:
    """The domain as two floats, refused unless finite and increasing."""
    try:
        lower, upper = (float(end) for end in domain)
    except (TypeError, ValueError):
        raise ValueError(f"{family}: domain is a pair of numbers (a, b), got {domain!r}") from None
    if not (np.isfinite(lower) and np.isfinite(upper) and lower < upper):
        raise ValueError(f"{family}: domain must be finite with a < b, got ({lower}, {upper})")
    return lower, upper


def check_outside(family: str, outside: str, allowed: tuple[str, ...] = get_args(Outside)) -> None:
    """Refuse an unknown policy for coordinates outside the domain."""
    if outside not in allowed:
        raise ValueError(f"{family}: outside is one of {', '.join(allowed)}; got {outside!r}")


def check_count(family: str, field: str, value: int, least: int) -> int:
    """The size as a plain integer, refused unless it is one of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{family}: {field} is an integer of at least {least}, got {value!r}")
    return int(value)


def check_orders(family: str, *orders: int) -> None:
    """Refuse orders of derivatives that are not integers of at least 0."""
    for order in orders:
        # A tuple: torch.compile of torch 2.9 does not follow a union of types.
        if not isinstance(order, (int, np.integer)) or order < 0:
            raise ValueError(f"{family}: the order of a derivative is an integer of at least 0, got {order!r}")
