"""What a forecast is told against: the places and the clock of the frames that it starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domains.turbulence.flows.flow import Waves
from domains.turbulence.readers.checks import EVEN, even_spacing
from domains.turbulence.readers.clock import length_unit
from domains.turbulence.readers.netcdf import clock_of, coordinate_of, role_of

if TYPE_CHECKING:
    from domains.turbulence.forecaster import FlowDescription


@dataclasses.dataclass(frozen=True)
class Labels:
    """Coordinates of the last known frame.

    Attributes:
        time: of it, in ``unit``.
        unit: of times, such as ``hours since 2000-01-01``.
        calendar: that they are told in, as CF names it; "" is the usual one.
        places: coordinates of the points by name, ``y`` ``(n_y,)`` and ``x`` ``(n_x,)``; of one that is missing they
            begin where the forecaster's do.
        samples: labels of the samples ``(S,)``; None counts them.
    """

    time: float
    unit: str
    calendar: str = ""
    places: dict[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    samples: NDArray[Any] | None = None


def labelled(history: Any, description: FlowDescription, waves: Waves = ()) -> tuple[NDArray[Any], Labels]:
    """Frames of an xarray.DataArray in the order of a forecaster, and their coordinates.

    Axes that decrease are turned round, as `read_flow` does.

    Args:
        history: over time, (y,) x and, before them, samples if there are several.
        description: of the flow that they have to be of.
        waves: of a force whose place the forecaster knows.

    Raises:
        ValueError: a dimension is not understood or missing, the box or a unit is another, a force lies elsewhere,
            frames are not as far apart as the forecaster's or not in the order of time, or times are of another length.
    """
    space = ("y", "x")[-len(description.shape) :]
    roles = {str(role_of(history, d) or d): d for d in history.dims}
    order = [*(name for name in ("sample",) if name in roles), "frame", *space]
    if set(roles) != set(order) or len(roles) != history.ndim:
        raise ValueError(
            f"history: expected the dimensions time, {', '.join(space)}, after sample if there are several, got "
            f"{', '.join(map(str, history.dims))}; rename them, or give the array in that order"
        )
    found, places = history.transpose(*(roles[name] for name in order)), {}
    for name, length in zip(space, description.lengths, strict=True):
        if (dimension := roles[name]) in history.coords:
            if history.sizes[dimension] > 1 and history[dimension][0] > history[dimension][-1]:
                found = found.isel({dimension: slice(None, None, -1)})
            along = np.asarray(found[dimension].values)
            box = len(along) * float(along[-1] - along[0]) / max(len(along) - 1, 1)
            if not np.isclose(box, length, rtol=EVEN, atol=0):
                raise ValueError(f"history: expected a box of {length:g} along {name}, got {box:g}")
            _check_unit(history[dimension], "length", description)
            places[name] = along
    check_origin("history", {name: float(along[0]) for name, along in places.items()}, description, waves)
    _check_unit(history, "field", description)
    sample = roles.get("sample")
    samples = np.asarray(history[sample].values) if sample in history.coords else None
    labels = Labels(0.0, description.units["time"], description.calendar, places, samples)
    clock = clock_of(history, roles["frame"])
    if clock in history.coords:
        times = coordinate_of(history, clock, description.time_unit)
        told = times.attrs if "units" in times.attrs else {"calendar": description.calendar} | times.attrs
        unit = str(told.get("units", description.units["time"]))
        if length_unit(unit) != description.time_unit:
            raise ValueError(f"history: expected times in {description.time_unit}, got {unit}")
        apart = even_spacing(times.values, "frame", "history")
        if len(times) > 1 and not np.isclose(apart, description.time_step, rtol=EVEN, atol=0):
            raise ValueError(f"history: expected {description.time_step:g} between two frames, got {apart:g}")
        labels = dataclasses.replace(labels, time=float(times[-1]), unit=unit, calendar=str(told.get("calendar", "")))
    return np.asarray(found.values), labels


def check_origin(what: str, places: Mapping[str, float], description: FlowDescription, waves: Waves) -> None:
    """Refuse points that begin elsewhere in the waves of a force than those that a forecaster learned from.

    Args:
        what: what an error calls them.
        places: of the first point, by the name of the axis; an axis that is not told fits.
        description: of the flow, with its own first point.
        waves: of the force.

    Raises:
        ValueError: they are no whole waves apart.
    """
    own = description.first_point
    moved = [(places.get(n, own[n]) - own[n]) / length for n, length in zip(own, description.lengths, strict=True)]
    for wave in waves:
        turns = sum(p * share for p, share in zip(wave, moved, strict=True))
        if abs(turns - round(turns)) > EVEN:
            axes = [name for name, p in zip(own, wave, strict=True) if p]
            wanted, found = (", ".join(f"{n} = {at.get(n, own[n]):g}" for n in axes) for at in (own, places))
            raise ValueError(
                f"{what}: expected points from {wanted}, or whole waves {wave} of the force from there, got {found}; "
                "roll or interpolate the frames so that they begin there"
            )


def _check_unit(labelled: Any, name: str, description: FlowDescription) -> None:
    """Refuse another unit than the forecaster's, where both are known."""
    wanted, found = description.units[name], labelled.attrs.get("units")
    if found is not None and wanted != "unknown" and str(found) != wanted:
        raise ValueError(f"history: expected the unit of {name} {wanted}, got {found}")
