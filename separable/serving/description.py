"""What a fitted function says of itself: its coordinates, its outputs, and what is known of its error."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from separable.layers import SeparableLayer


@dataclasses.dataclass(frozen=True)
class CoordinateRange:
    """One coordinate.

    Args:
        name: Its name.
        unit: Its unit, "" where there is none.
        lower: Least value that the function was made for; of categories the first that an inverse may choose.
        upper: Greatest; of categories the last.
        categories: Names of the categories 0, 1, .. of a discrete coordinate, with those that no inverse chooses, as
            unknown and missing, last; None for numbers.
    """

    name: str
    unit: str
    lower: float
    upper: float
    categories: tuple[str, ...] | None = None

    @property
    def possible(self) -> tuple[float, float]:
        """Least and greatest value that a point may hold: lower and upper, or any of the categories."""
        if self.categories is None:
            return self.lower, self.upper
        return 0.0, float(len(self.categories) - 1)


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """What is known of the error.

    Args:
        kind: ``interval``: limits at every point, for any coverage; ``error``: one number for the whole domain;
            ``none``.
        meaning: In words.
        size: The number, for ``error``.
    """

    kind: Literal["interval", "error", "none"]
    meaning: str
    size: float | None = None


@dataclasses.dataclass(frozen=True)
class Known:
    """What a model itself says of its coordinates and outputs; None where it is silent.

    Args:
        names: Of the coordinates.
        units: Of the coordinates.
        values: Names of the outputs.
        ranges: Of the coordinates.
        labels: Names of categories, by coordinate.
    """

    names: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    values: tuple[str, ...] | None = None
    ranges: tuple[tuple[float, float], ...] | None = None
    labels: Mapping[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)


def described_coordinates(
    layer: SeparableLayer,
    known: Known,
    names: Sequence[str] | None,
    units: Sequence[str] | None,
    ranges: Sequence[tuple[float, float]] | None,
) -> tuple[CoordinateRange, ...]:
    """The coordinates of a layer: what was given, else what the model knows, else what the atoms say.

    Raises:
        ValueError: If their number is not that of the inputs, names are equal, or a range is missing or not finite.
    """
    count = layer.in_features
    names = names or known.names or [f"x{j}" for j in range(count)]
    units = units or known.units or [""] * count
    ranges = ranges or known.ranges
    atoms = None if layer.coordinates is not None else layer.atoms
    if ranges is None:
        if atoms is None:
            raise ValueError("Surrogate.of: a layer that learns its coordinates has no ranges of its own; give ranges")
        ranges = [atom.domain for atom in atoms]
    for what, given in (("names", names), ("units", units), ("ranges", ranges)):
        if len(given) != count:
            raise ValueError(f"Surrogate.of: expected {count} {what}, got {len(given)}")
    if len(set(names)) != count:
        raise ValueError(f"Surrogate.of: expected names that differ, got {list(names)}")
    found = []
    for j, (name, unit, (lower, upper)) in enumerate(zip(names, units, ranges, strict=True)):
        if not (math.isfinite(lower) and math.isfinite(upper) and lower <= upper):
            raise ValueError(f"Surrogate.of: expected a finite range of {name}, got ({lower}, {upper})")
        labels = known.labels.get(j)
        if labels is None and atoms is not None and atoms[j].discrete:
            labels = tuple(str(k) for k in range(atoms[j].size))
        found.append(CoordinateRange(str(name), str(unit), float(lower), float(upper), labels))
    return tuple(found)


def described_outputs(
    count: int, names: str | Sequence[str] | None, units: str | Sequence[str] | None
) -> tuple[tuple[str, str], ...]:
    """Names and units of so many outputs.

    Raises:
        ValueError: If there are more or fewer of them.
    """
    if names is None:
        names = ["value"] if count == 1 else [f"value{o}" for o in range(count)]
    names = [names] if isinstance(names, str) else list(names)
    units = [""] * count if units is None else [units] * count if isinstance(units, str) else list(units)
    if len(names) != count or len(units) != count:
        raise ValueError(f"Surrogate.of: expected {count} names and units of values, got {names} and {units}")
    return tuple(zip(names, units, strict=True))
