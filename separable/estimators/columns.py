"""The column policy: from a table of numbers, categories and gaps to the coordinates of a separable layer.

================  ===========================================================================================
number            one coordinate; a gap holds the median of the column
category          one coordinate with the category's index; K, one past the last, is *unknown or missing*, and
                  so, of more than 1000, are the rarest and those that occur once
gap in a number   where training had any, one more coordinate: 1 where the number is missing, else 0, so that
                  the model neither believes the median nor loses what a gap itself says
================  ===========================================================================================

Numbers are what a numeric dtype holds, and object columns of nothing but numbers; booleans, strings and pandas
categoricals are categories, and so is every column that ``categorical_features`` names. Anything else, dates and spans
of time among it, has to be named there.
"""

import dataclasses
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MOST_CATEGORIES = 1000  # time grows with their cube
_EXACT = 2.0**53  # from here on a floating point number stands for several integers


@dataclasses.dataclass(frozen=True)
class Column:
    """What training has seen of one column.

    Args:
        name: Its name.
        place: Its position in the table.
        coordinate: Its position among the coordinates.
        categories: Its categories in the order of their indices; None for numbers.
        fill: The number that stands in a gap.
        gap: Position of the coordinate that marks its gaps; None if training had none.
    """

    name: str
    place: int
    coordinate: int
    categories: tuple[Any, ...] | None
    fill: float = 0.0
    gap: int | None = None


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table, ready to encode tables like it; made by `Columns.of`.

    Args:
        features: One for each column of the table.
    """

    features: tuple[Column, ...]

    @classmethod
    def of(cls, table: Any, weights: Array, names: Sequence[str], categorical: Any) -> "Columns":
        """Learn kinds, categories and medians.

        Args:
            table: A pandas data frame or an array ``(N, D)``.
            weights: Weights ``(N,)``; rows of weight zero are not seen.
            names: Names of the D columns.
            categorical: ``auto``, or which columns are categorical: names, positions or D booleans; None for none
                but those that cannot be numbers.

        Raises:
            ValueError: If a column is named that is not there, or a number is infinite.
            TypeError: If a column holds what is neither a number nor a category.
        """
        declared = _declared(categorical, names, table)
        seen, found, position = weights > 0, [], 0
        for place, name in enumerate(names):
            values = _column(table, place)[seen]
            categories = _categories(values, name, place in declared)
            if categories is not None:
                kept = _commonest(categories, values, weights[seen])
                found.append(Column(name, place, position, kept))
                position += 1
                continue
            number = _numbers(values, name)
            missing = np.isnan(number)
            fill = 0.0 if missing.all() else weighted_median(number[~missing], weights[seen][~missing])
            gap = position + 1 if missing.any() else None
            found.append(Column(name, place, position, None, fill, gap))
            position += 1 if gap is None else 2
        return cls(tuple(found))

    @property
    def width(self) -> int:
        """Number of coordinates."""
        return sum(1 if column.gap is None else 2 for column in self.features)

    @property
    def names(self) -> list[str]:
        """Names of the coordinates."""
        found = []
        for column in self.features:
            found += [column.name] if column.gap is None else [column.name, f"{column.name} is missing"]
        return found

    @property
    def tables(self) -> dict[int, int]:
        """The coordinates that are discrete, with their numbers of categories."""
        sizes = {c.coordinate: len(c.categories) + 1 for c in self.features if c.categories is not None}
        return sizes | {c.gap: 2 for c in self.features if c.gap is not None}

    @property
    def gaps(self) -> dict[int, int]:
        """For coordinates that can be missing, the coordinate that says so."""
        return {c.coordinate: c.gap for c in self.features if c.gap is not None}

    def guessed(self, table: Any) -> NDArray[np.bool_]:
        """Which coordinates ``(N, D')`` are medians of numbers that are missing, though training missed none."""
        found = np.zeros((len(table), self.width), dtype=bool)
        for column in self.features:
            if column.categories is None and column.gap is None:
                found[:, column.coordinate] = np.isnan(_numbers(_column(table, column.place), column.name))
        return found

    def unknown(self, table: Any) -> NDArray[np.bool_]:
        """Which coordinates ``(N, D')`` are of categories that are there, but not among those that were learnt."""
        found = np.zeros((len(table), self.width), dtype=bool)
        for column in self.features:
            if column.categories is not None:
                values = _column(table, column.place)
                outside = _indices(values, column.categories) == len(column.categories)
                found[:, column.coordinate] = outside & _present(values)
        return found

    def encode(self, table: Any) -> Array:
        """The coordinates ``(N, D')`` of a table.

        Raises:
            ValueError: If a number is infinite.
            TypeError: If a column of numbers holds something else.
        """
        parts = []
        for column in self.features:
            values = _column(table, column.place)
            if column.categories is not None:
                parts.append(_indices(values, column.categories))
                continue
            number = _numbers(values, column.name)
            missing = np.isnan(number)
            parts.append(np.where(missing, column.fill, number))
            if column.gap is not None:
                parts.append(missing.astype(np.float64))
        return np.stack(parts, axis=1)


def weighted_median(values: Array, weights: Array) -> float:
    """The value below which half of the weight lies; the middle of two where it lies between them."""
    order = np.argsort(values, kind="stable")
    rising = np.cumsum(weights[order])
    half = 0.5 * rising[-1]
    lower, upper = (values[order[min(np.searchsorted(rising, half, side), len(order) - 1)]] for side in _SIDES)
    return float(lower + 0.5 * (upper - lower))


_SIDES: tuple[Any, Any] = ("left", "right")


def _declared(categorical: Any, names: Sequence[str], table: Any) -> set[int]:
    if categorical is None:
        return set()
    if isinstance(categorical, str) and categorical == "auto":
        kinds = table.dtypes if hasattr(table, "iloc") else ()
        return {place for place, kind in enumerate(kinds) if hasattr(kind, "categories")}
    if isinstance(categorical, str) or not isinstance(categorical, Iterable):
        raise ValueError(
            f"categorical_features is 'auto', None, or a list of names, positions or booleans; got {categorical!r}"
        )
    chosen = list(categorical)
    if chosen and all(isinstance(item, bool | np.bool_) for item in chosen):
        if len(chosen) != len(names):
            raise ValueError(f"categorical_features has {len(chosen)} booleans for {len(names)} columns")
        return {place for place, item in enumerate(chosen) if item}
    found = set()
    for item in chosen:
        if isinstance(item, str) and item in names:
            found.add(list(names).index(item))
        elif isinstance(item, numbers.Integral) and -len(names) <= int(item) < len(names):
            found.add(int(item) % len(names))
        else:
            raise ValueError(f"categorical_features names {item!r}; the columns are {list(names)}")
    return found


def _column(table: Any, place: int) -> NDArray[Any]:
    """One column as an array: of float64 where that holds its numbers, else of objects with None for gaps."""
    frame = hasattr(table, "iloc")
    column: Any = table.iloc[:, place] if frame else np.asarray(table)[:, place]
    kind = "O" if hasattr(column.dtype, "categories") else getattr(column.dtype, "kind", "O")
    if kind in "iuf":
        number: NDArray[Any] = column.to_numpy(np.float64, na_value=np.nan) if frame else column.astype(np.float64)
        if kind == "f" or not (np.abs(number) >= _EXACT).any():
            return number
    return _objects(column.to_numpy(dtype=object) if frame else column)


def _objects(column: NDArray[Any]) -> NDArray[Any]:
    # The dates of numpy would become bare integers.
    found = np.fromiter(column, object, len(column)) if column.dtype.kind in "mM" else column.astype(object)
    # What is missing does not equal itself (nan, NaT), or refuses to say (pandas.NA).
    found[[value is None or type(value).__name__ in ("NAType", "NaTType") or value != value for value in found]] = None
    return found


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values of a column are there; what is missing is None or does not equal itself."""
    return np.array([value is not None and value == value for value in values.tolist()], dtype=bool)


def _categories(values: NDArray[Any], name: str, declared: bool) -> tuple[Any, ...] | None:
    """The categories of a column, or None if it holds numbers."""
    if values.dtype != object:
        return tuple(np.unique(values[~np.isnan(values)]).tolist()) if declared else None
    present = [value for value in values if value is not None]
    if declared and not all(_is_plain(value) for value in present):
        found = {value: None for value in present}  # intervals, dates: whatever can be told apart
        try:
            return tuple(sorted(found))
        except TypeError:
            return tuple(sorted(found, key=lambda value: (type(value).__name__, str(value))))
    for value in present:
        if not _is_plain(value):
            raise TypeError(
                f"column {name!r}: argument must be a string or a real number, got {type(value).__name__}: {value!r}"
            )
    if not declared and all(_is_number(value) for value in present):
        return None
    return tuple(sorted(set(present), key=lambda value: (isinstance(value, str), value)))


def _commonest(categories: tuple[Any, ...], values: NDArray[Any], weights: Array) -> tuple[Any, ...]:
    """The categories, in their order; of very many those of most weight, no more than occur in several rows."""
    if len(categories) <= _MOST_CATEGORIES:
        return categories
    indices = _indices(values, categories).astype(np.int64)
    weight, rows = (np.bincount(indices, each, len(categories) + 1)[:-1] for each in (weights, None))
    several = max(1, int(np.sum(rows > 1)))  # names that occur once tell nothing of other rows
    kept = np.argsort(-weight, kind="stable")[: min(several, _MOST_CATEGORIES)]
    return tuple(categories[index] for index in np.sort(kept).tolist())


def _is_plain(value: Any) -> bool:
    """Whether a value is a word, a number or a boolean; numpy counts its spans of time among the integers."""
    return isinstance(value, str | numbers.Real | np.bool_) and not isinstance(value, np.timedelta64)


def _is_number(value: Any) -> bool:
    return _is_plain(value) and not isinstance(value, str | bool | np.bool_)


def _numbers(values: NDArray[Any], name: str) -> Array:
    if values.dtype == object:
        for value in values:
            if value is not None and (isinstance(value, str) or not _is_plain(value)):
                raise TypeError(
                    f"column {name!r} holds numbers: argument must be a string or a real number "
                    f"that training has seen, got {value!r}"
                )
        values = np.array([np.nan if value is None else float(value) for value in values])
    if np.isinf(values).any():
        raise ValueError(f"column {name!r} contains infinity in row {int(np.flatnonzero(np.isinf(values))[0])}")
    return np.asarray(values, dtype=np.float64)


def _indices(values: NDArray[Any], categories: tuple[Any, ...]) -> Array:
    place = {category: float(index) for index, category in enumerate(categories)}
    return np.array([place.get(value, float(len(categories))) for value in values.tolist()])
