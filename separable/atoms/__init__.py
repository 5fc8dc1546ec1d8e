"""Functions of one coordinate: values, derivatives, integrals, Gram matrices and refinement."""

from typing import Any

from separable.atoms.atom import Atom, Outside
from separable.atoms.b_spline import BSpline
from separable.atoms.chebyshev import Chebyshev
from separable.atoms.fourier import Fourier
from separable.atoms.gaussian import Gaussian
from separable.atoms.perceptron import Perceptron
from separable.atoms.table import Table

__all__ = [
    # the interface
    "Atom",
    "Outside",
    "from_config",
    "register",
    # continuous coordinates
    "BSpline",
    "Chebyshev",
    "Fourier",
    "Gaussian",
    "Perceptron",
    # discrete coordinates
    "Table",
]

_FAMILIES: dict[str, type[Atom]] = {
    family.__name__: family for family in (BSpline, Chebyshev, Fourier, Gaussian, Perceptron, Table)
}


def register(family: type[Atom]) -> type[Atom]:
    """Let `from_config`, and so saved layers, know a family of your own: a decorator for its class.

    Raises:
        TypeError: If it is not a class of Atom.
        ValueError: If another family has its name.
    """
    if not (isinstance(family, type) and issubclass(family, Atom)):
        raise TypeError(f"atoms.register: expected a class of Atom, got {family!r}")
    if _FAMILIES.setdefault(family.__name__, family) is not family:
        raise ValueError(f"atoms.register: there is another family of the name {family.__name__}")
    return family


def from_config(config: dict[str, Any]) -> Atom:
    """Rebuild an atom from `Atom.config`.

    Raises:
        ValueError: If the family is unknown or a field does not belong to it.
    """
    fields = dict(config)
    name = fields.pop("family", None)
    if name not in _FAMILIES:
        raise ValueError(f"atoms.from_config: family is one of {', '.join(_FAMILIES)}; got {name!r}")
    for field in ("domain", "knots"):
        if isinstance(fields.get(field), list):
            fields[field] = tuple(fields[field])
    try:
        return _FAMILIES[name](**fields)
    except TypeError as error:
        raise ValueError(f"atoms.from_config: {name} does not take these fields: {sorted(fields)}") from error
