"""What a forecast is told against: the places and the clock of the frames that it starts from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from domains.turbulence.readers.checks import even_spacing
from domains.turbulence.readers.clock import length_unit
from domains.turbulence.readers.netcdf import coordinate_of, role_of

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
            begin at 0.
    """

    time: float
    unit: str
    calendar: str = ""
    places: dict[str, NDArray[Any]] = dataclasses.field(default_factory=dict)


def labelled(history: Any, description: FlowDescription) -> tuple[NDArray[Any], Labels]:
    """Frames of an xarray.DataArray in the order of a forecaster, and their coordinates.

    Axes that decrease are turned round, as `read_flow` does.

    Args:
        history: over time, (y,) x and, before them, samples if there are several.
        description: of the flow that they have to be of.

    Raises:
        ValueError: a dimension is not understood or missing, the box or a unit is another, frames are not as far apart
            as the forecaster's or not in the order of time, or times are of another length.
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
            if not np.isclose(box, length, rtol=1e-3, atol=0):
                raise ValueError(f"history: expected a box of {length:g} along {name}, got {box:g}")
            _check_unit(history[dimension], "length", description)
            places[name] = along
    _check_unit(history, "field", description)
    labels = Labels(0.0, description.units["time"], places=places)
    if roles["frame"] in history.coords:
        times = coordinate_of(history, roles["frame"], f"{description.time_unit} since")
        unit = str(times.attrs.get("units", description.units["time"]))
        if length_unit(unit) != description.time_unit:
            raise ValueError(f"history: expected times in {description.time_unit}, got {unit}")
        apart = even_spacing(times.values, "frame", "history")
        if len(times) > 1 and not np.isclose(apart, description.time_step, rtol=1e-3, atol=0):
            raise ValueError(f"history: expected {description.time_step:g} between two frames, got {apart:g}")
        labels = dataclasses.replace(
            labels, time=float(times[-1]), unit=unit, calendar=str(times.attrs.get("calendar", ""))
        )
    return np.asarray(found.values), labels


def _check_unit(labelled: Any, name: str, description: FlowDescription) -> None:
    """Refuse another unit than the forecaster's, where both are known."""
    wanted, found = description.units[name], labelled.attrs.get("units")
    if found is not None and wanted != "unknown" and str(found) != wanted:
        raise ValueError(f"history: expected the unit of {name} {wanted}, got {found}")
