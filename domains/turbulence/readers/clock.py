"""Times in units since a date, and the calendar that they are told in."""

from __future__ import annotations

CIVIL = ("standard", "gregorian", "proleptic_gregorian")  # of one date each after 1582


def length_unit(unit: str) -> str:
    """Unit of a length of time.

    Example:
        >>> length_unit("hours since 2000-01-01")
        'hours'
    """
    return unit.split(" since ")[0]


def told_since(time: float, unit: str, other: str, place: str) -> float:
    """A time told since another date of the civil calendar, in the same length of time.

    Args:
        time: in ``unit``.
        unit: a length of time since a date.
        other: the same length since another date.
        place: the file.

    Raises:
        ValueError: a unit is not understood, or a date needs cftime and that is not installed.

    Example:
        >>> told_since(1.0, "days since 2001-03-01", "days since 2000-03-01", "here")
        366.0
    """
    if unit == other:
        return time
    import xarray
    from xarray.conventions import encode_cf_variable

    told = xarray.Dataset({"time": xarray.Variable((), time, {"units": unit})})
    try:
        date = xarray.decode_cf(told)["time"].variable.copy(deep=False)
        date.encoding = {"units": other, "dtype": "float64"}
        return float(encode_cf_variable(date).values)
    except (AttributeError, ValueError) as problem:  # the first where xarray takes cftime for granted
        raise ValueError(
            f"{place}: expected times that can be told in {other!r}, got {time:g} {unit}; dates before 1582 and others "
            "that numpy does not count from need cftime: pip install cftime"
        ) from problem
