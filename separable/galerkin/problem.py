"""How a user states a boundary-value problem: coordinates, a weak form as a sum of separable terms, and data.

The unknown is ``u(x_1, .., x_D)``; every coordinate (space, time, a material parameter, the place of a source) is
treated alike. The operator is a sum of terms

    a(u, v) = sum_s  g_s  prod_j  int c_(s,j)(x_j)  d^(p_sj) u / dx_j  d^(q_sj) v / dx_j  dx_j

written as ``{coordinate: (p, q, c)}`` with the derivative order p of the trial function u, q of the test function v and
a coefficient c (left out: one). A coordinate that a term does not mention enters as ``int u v dx_j``. A problem in
which no test function is differentiated (all q = 0) is the equation itself, ``L u = f``, and is solved by minimal
residual (see `separable.galerkin.solve`). For example, with ``nu`` a coordinate:

    -div(nu grad u) = f        operator = [{"x": (1, 1), "nu": (0, 0, identity)}, {"y": (1, 1), "nu": (0, 0, identity)}]
    u_t - nu u_xx = f          operator = [{"t": (1, 0)}, Term({"x": (2, 0), "nu": (0, 0, identity)}, factor=-1.0)]
"""

import dataclasses
import inspect
import itertools
import keyword
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from separable.atoms import Atom, BSpline, Chebyshev, Fourier

Array = NDArray[np.float64]
Profile = Callable[[Array], Array]
_TAKEN = ("self", "orders", "over", "points")  # that solutions have as arguments beside coordinates
Hold = Literal["free", "value", "slope", "both"]


@dataclasses.dataclass(frozen=True)
class Coordinate:
    """One coordinate: its name, its functions, and what is held at the ends of its domain.

    Args:
        name: How terms refer to it.
        atom: Functions of this coordinate on its domain: B-splines (any degree, open or periodic), Fourier, Chebyshev.
            With others that are not discrete the error is not estimated.
        left: What vanishes at the lower end, exactly, for the unknown less the lift: ``free`` nothing (a natural
            condition, or a parameter), ``value`` u, ``slope`` du/dx, ``both`` u and du/dx. An initial condition is
            ``value`` or ``both`` at the left end of time. A weak form of first derivatives has slopes of zero by
            itself, and others as a `Source` with `At` at the end, not through a lift.
        right: The same at the upper end.
        unit: Unit of the coordinate, for labels.
    """

    name: str
    atom: Atom
    left: Hold = "free"
    right: Hold = "free"
    unit: str = "1"

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name) or self.name in _TAKEN:
            raise ValueError(
                f"Coordinate: name is a Python identifier other than its keywords and {', '.join(_TAKEN)}, "
                f"got {self.name!r}"
            )
        for end in (self.left, self.right):
            if end not in get_args(Hold):
                raise ValueError(f"Coordinate {self.name}: left and right are one of {get_args(Hold)}, got {end!r}")
        if self.atom.learned:
            raise ValueError(f"Coordinate {self.name}: {type(self.atom).__name__} atoms are learned; take fixed ones")
        if self.periodic and (self.left, self.right) != ("free", "free"):
            raise ValueError(f"Coordinate {self.name}: a periodic coordinate has no ends to hold a condition at")

    @property
    def periodic(self) -> bool:
        """Whether the functions continue round a circle."""
        return isinstance(self.atom, Fourier) or bool(getattr(self.atom, "periodic", False))

    def refined(self) -> "Coordinate":
        """The same coordinate on a richer basis that contains this one; discrete coordinates stay as they are.

        Raises:
            ValueError: If there is none, as for Gaussian atoms and those of one's own.
        """
        atom = self.atom
        finer: Atom
        if isinstance(atom, BSpline):
            points = np.asarray(atom.breakpoints)
            if atom.knots is None:
                finer = dataclasses.replace(atom, intervals=2 * atom.intervals)
            else:
                middle = [(a + b) / 2 for a, b in itertools.pairwise(points.tolist()) if b > a]
                finer = dataclasses.replace(atom, knots=tuple(sorted([*points.tolist(), *middle])))
        elif isinstance(atom, Fourier):
            finer = dataclasses.replace(atom, modes=atom.modes + max(3, atom.modes // 2))
        elif isinstance(atom, Chebyshev):
            finer = dataclasses.replace(atom, degree=atom.degree + max(3, atom.degree // 2))
        elif atom.discrete:
            finer = atom
        else:
            raise ValueError(f"{self.name}: there is no richer basis that contains {atom}")
        return dataclasses.replace(self, atom=finer)


@dataclasses.dataclass(frozen=True)
class At:
    """A term taken at one point of a coordinate instead of integrated over it: boundary fluxes, Robin terms.

    Args:
        position: Where.
        trial: Derivative of the trial function (not read in a source).
        test: Derivative of the test function.
    """

    position: float
    trial: int = 0
    test: int = 0


@dataclasses.dataclass(frozen=True)
class Field:
    """A function of several coordinates that is not a product; the library brings it to separable form.

    Args:
        function: Called with arrays named as its parameters; the names are those of the coordinates it depends on.
        tolerance: Relative L2 error that the separable form may have.
        rank: Most terms it may take; more is refused, with the error reached.
        entries: Further factors of single coordinates that the function does not depend on, as in `Source`; those of an
            operator's coefficient are functions.

    Raises:
        ValueError: If the function cannot be called, the tolerance is no number of at least 0, the rank no whole number
            of at least 1, or a coordinate is both a parameter and a further factor.
    """

    function: Callable[..., Array]
    tolerance: float = 1e-6
    rank: int = 200
    entries: Mapping[str, "Profile | At"] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"Field: expected a function of coordinates, got {self.function!r}")
        if not (isinstance(self.tolerance, numbers.Real) and self.tolerance >= 0):
            raise ValueError(f"Field: tolerance is a number of at least 0, got {self.tolerance!r}")
        if not (isinstance(self.rank, numbers.Integral) and self.rank >= 1):
            raise ValueError(f"Field: rank is a whole number of at least 1, got {self.rank!r}")
        if twice := sorted({*self.names} & {*self.entries}):
            raise ValueError(f"Field: {twice} are both parameters of the function and further factors")

    @property
    def names(self) -> tuple[str, ...]:
        """The coordinates the function depends on."""
        return tuple(inspect.signature(self.function).parameters)


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of an operator.

    Args:
        entries: ``{coordinate: (trial derivative, test derivative[, coefficient])}`` or ``{coordinate: At(..)}``.
        factor: A number that multiplies the term.
        coefficient: A coefficient of several coordinates that is not a product; multiplies the term.
    """

    entries: Mapping[str, "tuple[int, int] | tuple[int, int, Profile | float] | At"]
    factor: float = 1.0
    coefficient: Field | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """One separable term of a source or of a lift.

    Args:
        entries: ``{coordinate: function}``, or ``{coordinate: At(position)}``; a coordinate left out enters as one.
        factor: A number that multiplies the term.
    """

    entries: Mapping[str, Profile | At]
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Product:
    """A quadratic term of the equation, ``factor * prod_j c_j(x_j) * (D^first u) (D^second u)``.

    Args:
        first: Orders of differentiation of one factor, ``{coordinate: order}``; empty for u itself.
        second: The same for the other factor. Burgers' ``u u_x`` is ``Product({}, {"x": 1})``.
        factor: A number that multiplies the term.
        coefficients: Coefficient functions, ``{coordinate: function}``.
    """

    first: Mapping[str, int]
    second: Mapping[str, int]
    factor: float = 1.0
    coefficients: Mapping[str, Profile] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem: find u with ``a(u, v) = f(v)`` for all v, and u equal to the lift where conditions are held.

    Args:
        coordinates: The D coordinates.
        operator: Terms of a, as `Term` or plain mappings.
        source: Terms of f: `Source`, plain mappings, or `Field` for data that are not separable.
        lift: Terms of a function that has the essential data (boundary and initial values); the unknown less the lift
            is what `Coordinate.left` and `right` hold at zero. `Field` is allowed.
        products: Quadratic terms on the operator's side of the equation.
        name: For titles.

    Raises:
        ValueError: If a name is unknown, an order is negative, a factor is not a finite real number, a term or what it
            is made of is of another kind than stated, or there is no operator.

    Example:
        >>> import numpy as np
        >>> from separable.atoms import BSpline
        >>> from separable.galerkin import Coordinate, Problem, solve
        >>> side = BSpline(intervals=16, degree=3, domain=(-1.0, 1.0))
        >>> poisson = Problem(
        ...     coordinates=[Coordinate("x", side, "value", "value"), Coordinate("y", side, "value", "value")],
        ...     operator=[{"x": (1, 1)}, {"y": (1, 1)}],
        ...     source=[{"x": lambda x: 2 * np.pi**2 * np.sin(np.pi * x), "y": lambda y: np.sin(np.pi * y)}],
        ... )
        >>> u = solve(poisson, progress=False)
        >>> bool(abs(u(x=0.5, y=0.5) - 1.0) < 1e-4)
        True
    """

    coordinates: Sequence[Coordinate]
    operator: Sequence[Term | Mapping[str, "tuple[int, int] | tuple[int, int, Profile | float] | At"]]
    source: Sequence[Source | Field | Mapping[str, Profile | At]] = ()
    lift: Sequence[Source | Field | Mapping[str, Profile | At]] = ()
    products: Sequence[Product] = ()
    name: str = "u"

    def __post_init__(self) -> None:
        object.__setattr__(self, "coordinates", tuple(self.coordinates))
        if len(set(self.names)) < len(self.names) or not self.names:
            raise ValueError(f"Problem: coordinates have distinct names, got {self.names}")
        if self.name in self.names:
            raise ValueError(f"Problem: name is that of the unknown, got {self.name!r}, which is a coordinate")
        for what in ("operator", "source", "lift", "products"):
            if isinstance(stated := getattr(self, what), Mapping) or not isinstance(stated, Iterable):
                raise ValueError(f"Problem: {what} is a list of terms, got {stated!r}")
            object.__setattr__(self, what, tuple(stated))
        if not self.operator:
            raise ValueError("Problem: the operator has no terms, so any function would solve it")
        for what, kinds, stated in (
            ("an operator term", (Term,), self.terms),
            ("a source", (Source, Field), self.sources),
            ("a lift", (Source, Field), self.lifts),
            ("a product", (Product,), self.products),
        ):
            for one in stated:
                if not isinstance(one, kinds):
                    named = " or ".join(kind.__name__ for kind in kinds)
                    raise ValueError(f"Problem: {what} is a {named}, got {one!r}")
                for part in ("entries", "first", "second", "coefficients"):
                    if not isinstance(by_name := getattr(one, part, {}), Mapping):
                        raise ValueError(f"Problem: {part} of {what} are a mapping by coordinate, got {by_name!r}")
                if not isinstance(one, Field) and not _is_number(one.factor):
                    raise ValueError(f"Problem: {what} has the factor {one.factor!r}, which is no finite real number")
        for term in self.terms:
            self._known("an operator term", term.entries)
            if term.coefficient is not None:
                if not isinstance(term.coefficient, Field):
                    raise ValueError(
                        f"Problem: a coefficient of several coordinates is a Field, got {term.coefficient!r}"
                    )
                self._profiles("a coefficient field", term.coefficient.entries)
                self._known("a coefficient field", [*term.coefficient.names, *term.coefficient.entries])
            for name, entry in term.entries.items():
                if not isinstance(entry, At) and not (isinstance(entry, Sequence) and len(entry) in (2, 3)):
                    raise ValueError(
                        "Problem: an operator term has (trial derivative, test derivative[, coefficient]) or At(..) "
                        f"for {name}, got {entry!r}"
                    )
                self._whole(name, (entry.trial, entry.test) if isinstance(entry, At) else entry[:2])
                if isinstance(entry, At):
                    self._inside(name, entry)
                elif len(entry) == 3:
                    if isinstance(entry[2], At):
                        raise ValueError(f"Problem: an operator term is taken at a point as a whole, {name}: At(..)")
                    self._profiles("an operator term", {name: entry[2]})
        for data in (*self.sources, *self.lifts):
            self._known("a source or lift", [*data.entries, *(data.names if isinstance(data, Field) else ())])
            self._profiles("a source or lift", data.entries)
            for name, profile in data.entries.items():
                if isinstance(profile, At):
                    self._whole(name, (profile.test,))
                    self._inside(name, profile)
        for product in self.products:
            self._known("a product", [*product.first, *product.second, *product.coefficients])
            self._profiles("a product", product.coefficients)
            for name, order in (*product.first.items(), *product.second.items()):
                self._whole(name, (order,))

    @property
    def terms(self) -> tuple[Term, ...]:
        """The operator, every term as a `Term`."""
        return tuple(Term(t) if isinstance(t, Mapping) else t for t in self.operator)

    @property
    def sources(self) -> tuple[Source | Field, ...]:
        """The source, every term as a `Source` or a `Field`."""
        return tuple(Source(t) if isinstance(t, Mapping) else t for t in self.source)

    @property
    def lifts(self) -> tuple[Source | Field, ...]:
        """The lift, every term as a `Source` or a `Field`."""
        return tuple(Source(t) if isinstance(t, Mapping) else t for t in self.lift)

    def _known(self, what: str, names: "Sequence[str] | Mapping[str, object]") -> None:
        unknown = [n for n in names if n not in self.names]
        if unknown:
            raise ValueError(f"Problem: {what} names {unknown}; the coordinates are {list(self.names)}")

    @staticmethod
    def _profiles(what: str, profiles: Mapping[str, object]) -> None:
        for name, profile in profiles.items():
            if not (callable(profile) or isinstance(profile, At)) and np.asarray(profile).dtype.kind not in "biuf":
                raise ValueError(f"Problem: {what} takes a function of {name} alone or a number, got {profile!r}")

    @staticmethod
    def _whole(name: str, orders: Sequence[int]) -> None:
        if not all(_is_number(order) and order >= 0 and int(order) == order for order in orders):
            raise ValueError(f"Problem: derivative orders are integers of at least 0, got {orders} for {name}")

    def _inside(self, name: str, at: At) -> None:
        lower, upper = self.coordinates[self.names.index(name)].atom.domain
        if not lower <= at.position <= upper:
            raise ValueError(f"Problem: {name} = {at.position:g} lies outside its domain [{lower:g}, {upper:g}]")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coordinates, in order."""
        return tuple(c.name for c in self.coordinates)

    @property
    def is_equation(self) -> bool:
        """Whether no test function is differentiated or taken at a point: the equation itself, not a weak form."""
        entries = [e for t in self.terms for e in t.entries.values()]
        return not any(isinstance(e, At) or e[1] for e in entries)

    def refined(self) -> "Problem":
        """The same problem on bases that contain the present ones (twice the intervals, more modes).

        Raises:
            ValueError: As `Coordinate.refined` does.
        """
        return dataclasses.replace(self, coordinates=[c.refined() for c in self.coordinates])


def _is_number(value: object) -> bool:
    """Whether a value is one finite real number."""
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "biuf" and bool(np.isfinite(array))


def real(what: str, values: object) -> Array:
    """The values as float64, refused where they are complex.

    Raises:
        ValueError: If they are complex.
    """
    array = np.asarray(values)
    if np.iscomplexobj(array):
        raise ValueError(f"{what} takes real values, got {array.dtype}")
    return np.asarray(array, dtype=np.float64)
