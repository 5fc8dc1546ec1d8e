"""What a file must satisfy before it is a `FlowData`: even axes and times, finite numbers, units that agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.turbulence.data import LAYOUT
from domains.turbulence.readers.clock import CIVIL, length_unit, told_since
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import LazyFields

EVEN = 1e-3  # of a step; times and coordinates stored as float32 are that rough on long axes


def even_spacing(values: NDArray[Any], what: str, place: str) -> float:
    """The distance of evenly spaced values; NaN for one value.

    Args:
        values: ``(n,)``.
        what: what is counted: ``frame``, ``point along x``.
        place: the file, and the sample if there is one.

    Raises:
        ValueError: a value is not finite, they do not increase, or one is missing; the message names it.

    Example:
        >>> even_spacing(np.array([0.0, 0.5, 1.0]), "frame", "here")
        0.5
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{place}: expected a list of coordinates of each {what}, got the shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{place}: {what} {int(np.argmin(np.isfinite(values)))} stands at a coordinate not finite")
    if len(values) == 1:
        return float("nan")
    steps = np.diff(values)
    step = float(np.median(steps))
    wrong = np.flatnonzero(~(np.abs(steps - step) <= EVEN * abs(step)) | (steps <= 0))
    if len(wrong):
        at = int(wrong[0])
        missing = round(steps[at] / step) - 1 if step > 0 else 0
        told = f"{missing} missing" if missing > 0 else "uneven"
        raise ValueError(
            f"{place}: between {what} {at} and {at + 1}: {told}, from {values[at]:g} to {values[at + 1]:g} where "
            f"the distance is {step:g}"
        )
    return float((values[-1] - values[0]) / (len(values) - 1))


def distances(
    what: str, given: float | Sequence[float] | None, own: Sequence[float] | None, n: int, place: str
) -> tuple[float, ...]:
    """Distances along n axes: those of the file, else those of the caller, else 1.

    Args:
        what: the caller's name for them: ``spacing``, ``time_step``.
        given: by the caller, for each axis or one number.
        own: of the file; None where it does not say.
        n: axes.
        place: the file.

    Raises:
        ValueError: both say it, or the caller's are not positive.

    Example:
        >>> distances("spacing", 0.5, None, 2, "here")
        (0.5, 0.5)
    """
    if own is not None:
        if given is not None:
            raise ValueError(f"{place}: {what}: expected none, for the file has its own, {tuple(own)}; got {given}")
        return tuple(own)
    found = (1.0,) * n if given is None else tuple(np.broadcast_to(given, n).astype(float).tolist())
    if not all(0 < distance < np.inf for distance in found):
        raise ValueError(f"{place}: {what}: expected positive numbers, got {given}")
    return found


def check_units(found: dict[str, str], expected: dict[str, str] | None, place: str) -> dict[str, str]:
    """Units of a file, with those that it does not say taken from the caller.

    Raises:
        ValueError: the file says another unit than the caller.
    """
    for name, unit in (expected or {}).items():
        if name not in found:
            raise ValueError(f"units: expected some of {', '.join(found)}, got {name!r}")
        if found[name] not in (unit, "unknown"):
            raise ValueError(f"{place}: expected the unit {unit!r} of {name}, got {found[name]!r}")
    return found | (expected or {})


def joined(parts: Sequence[FlowData]) -> FlowData:
    """The samples of several files as one.

    Raises:
        ValueError: variable, frames, points, spacing, times between frames, units, boundaries or equations differ; the
            message names the two files.
    """
    first = parts[0]
    for part in parts[1:]:
        compared = {
            "the variable": (first.variable, part.variable),
            "frames and points": (first.fields.shape[1:], part.fields.shape[1:]),
            "units": (_lengths(first), _lengths(part)),
            "the calendar": (_calendar(first), _calendar(part)),
            "periodic": (first.periodic, part.periodic),
            "the flow": (_equation(first), _equation(part)),
        }
        for what, (a, b) in compared.items():
            if a != b:
                raise ValueError(f"{_name(part)}: expected {what} of {_name(first)}, {a}, got {b}")
        for what, x, y in (
            ("the spacing", first.spacing, part.spacing),
            ("the time between frames", (first.time_step,), (part.time_step,)),
        ):
            if not np.allclose(x, y, rtol=EVEN, atol=0, equal_nan=True):
                raise ValueError(f"{_name(part)}: expected {what} of {_name(first)}, {x}, got {y}")
    sources = [source for part in parts for source in part.fields.sources]
    starts = [
        told_since(start, part.units["time"], first.units["time"], _name(part))
        for part in parts
        for start in part.starts or (float(part.times[0]),) * len(part)
    ]
    alike = all(
        len(part.places) == len(first.places) and all(map(np.array_equal, part.places, first.places)) for part in parts
    )
    places = first.places if alike else ()
    return dataclasses.replace(first, fields=LazyFields(sources), starts=starts_of(starts), places=places)


def starts_of(starts: Iterable[float]) -> tuple[float, ...]:
    """Times of the first frame of each sample, or () where they are the same.

    Example:
        >>> starts_of([3.0, 3.0]), starts_of([0.0, 3.0])
        ((), (0.0, 3.0))
    """
    found = tuple(float(start) for start in starts)
    return found if len(set(found)) > 1 else ()


def choose(variable: str | None, names: Sequence[str], default: Sequence[str], place: str) -> str:
    """The variable to read: the one asked for, the first default there is, or the only one.

    Raises:
        ValueError: it is not there, or the choice is open.
    """
    if variable is not None:
        if variable not in names:
            raise ValueError(f"{place}: expected one of the variables {', '.join(names) or 'none'}, got {variable!r}")
        return variable
    for name in default:
        if name in names:
            return name
    if len(names) != 1:
        raise ValueError(f"{place}: say which variable to read; there are {', '.join(names) or 'none'}")
    return names[0]


def _calendar(part: FlowData) -> str:
    return "standard" if not part.calendar or part.calendar in CIVIL else part.calendar


def _lengths(part: FlowData) -> dict[str, str]:
    """Units, that of time without its date in the civil calendar, in which dates can be told since one another."""
    civil = _calendar(part) == "standard"
    return part.units | {"time": length_unit(part.units["time"]) if civil else part.units["time"]}


def _equation(part: FlowData) -> dict[str, Any] | None:
    """Kind and parameters of the flow that a data set of ours says it holds; it may have started in any way."""
    if part.attributes.get("layout") != LAYOUT:
        return None
    flow = part.attributes["config"]["flow"]
    return {name: value for name, value in flow.items() if not name.startswith("start_")}


def _name(part: FlowData) -> str:
    return part.fields.sources[0].name
