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


def told_since(time: float, unit: str, other: str) -> float:
    """A time told since another date of the civil calendar, in the same length of time.

    Example:
        >>> told_since(1.0, "days since 2001-03-01", "days since 2000-03-01")
        366.0
    """
    if unit == other:
        return time
    import xarray
    from xarray.conventions import encode_cf_variable

    told = xarray.Dataset({"time": xarray.Variable((), time, {"units": unit})})
    date = xarray.decode_cf(told)["time"].variable.copy(deep=False)
    date.encoding = {"units": other, "dtype": "float64"}
    return float(encode_cf_variable(date).values)
