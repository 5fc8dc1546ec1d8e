"""netCDF files and xarray data sets, by the CF conventions where they follow them and by common names where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from domains.turbulence.readers.checks import choose, even_spacing
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import LazyFields, XarraySource

_NAMES = {
    "frame": ("time", "t"),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
    "sample": ("sample", "trajectory", "realization", "member", "ensemble"),
}
_AXIS = {"T": "frame", "Y": "y", "X": "x", "E": "sample"}


def open_netcdf(path: Path) -> Any:
    """A netCDF file as an xarray.Dataset whose variables stay in the file."""
    import xarray

    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    return xarray.open_dataset(path, engine="scipy" if classic else "h5netcdf", decode_times=False, cache=False)


def read_dataset(dataset: Any, name: str, variable: str | None = None, periodic: bool | None = None) -> FlowData:
    """An xarray.Dataset.

    Args:
        dataset: with a variable over time, (y,) x and at most one dimension of samples.
        name: what errors call it.
        variable: to read; by default ``vorticity``, or the only one there is. Axes that decrease are turned round.
        periodic: whether the box repeats; by default as the attribute ``periodic`` says, the axes that repeat.

    Raises:
        ValueError: a dimension is not understood, an axis is uneven, or x and y have different units.
    """
    roles = {d: _role(dataset, d) for d in dataset.dims}
    fields = {n: v for n, v in dataset.data_vars.items() if {"frame", "x"} <= {roles[d] for d in v.dims}}
    chosen = choose(variable, [str(n) for n in fields], ("vorticity",), name)
    values = fields[chosen]
    spare = {d: 0 for d in values.dims if roles[d] is None and values.sizes[d] == 1}
    values = values.isel(spare)
    unknown = [d for d in values.dims if roles[d] is None]
    if unknown:
        raise ValueError(
            f"{name}: {chosen}: expected the dimensions time, y, x and sample, got {unknown[0]} of "
            f"{values.sizes[unknown[0]]} besides; select one of them"
        )
    dimensions = {str(roles[d]): str(d) for d in values.dims}
    if len(dimensions) != len(values.dims):
        raise ValueError(
            f"{name}: {chosen}: expected one dimension for each axis, got {', '.join(map(str, values.dims))}"
        )
    order = [a for a in ("y", "x") if a in dimensions]
    coordinates = {a: _coordinate(dataset, dimensions[a]) for a in (*order, "frame")}
    # Latitudes run from north to south in many files; ours increase.
    turned = [a for a in order if coordinates[a].sizes[dimensions[a]] > 1 and coordinates[a][0] > coordinates[a][-1]]
    backwards = {dimensions[a]: slice(None, None, -1) for a in turned}
    values = values.isel(backwards)
    coordinates |= {a: coordinates[a].isel({dimensions[a]: slice(None, None, -1)}) for a in turned}
    spacing = tuple(even_spacing(coordinates[a].values, f"point along {a}", name) for a in order)
    even_spacing(coordinates["frame"].values, "frame", name)
    length = {a: str(coordinates[a].attrs.get("units", "unknown")) for a in order}
    if len(set(length.values())) > 1:
        raise ValueError(f"{name}: expected one unit along x and y, got {length['x']!r} and {length['y']!r}")
    repeats = str(dataset.attrs.get("periodic", "")).split()
    said = tuple(a in repeats for a in order) if "periodic" in dataset.attrs else None
    return FlowData(
        LazyFields([XarraySource(name, values, dimensions)]),
        spacing,
        np.asarray(coordinates["frame"].values, dtype=np.float64),
        {
            "field": str(values.attrs.get("units", "unknown")),
            "length": length["x"],
            "time": str(coordinates["frame"].attrs.get("units", "unknown")),
        },
        said if periodic is None else (periodic,) * len(order),
        chosen,
        {str(n): v for n, v in dataset.attrs.items()},
    )


def _role(dataset: Any, dimension: Any) -> str | None:
    """Which axis a dimension is: by its coordinate's attribute ``axis``, or by its name."""
    if dimension in dataset.coords:
        said = str(dataset[dimension].attrs.get("axis", ""))
        if said in _AXIS:
            return _AXIS[said]
    return next((role for role, names in _NAMES.items() if str(dimension).lower() in names), None)


def _coordinate(dataset: Any, dimension: str) -> Any:
    import xarray
    from xarray.conventions import encode_cf_variable

    if dimension in dataset.coords:
        found = dataset[dimension]
        if found.dtype.kind in "mM":  # dates that xarray has decoded: as numbers again, in the unit of the file
            return xarray.DataArray(encode_cf_variable(found.variable))
        return found
    unit = {"units": "point"} if dimension.lower() not in _NAMES["frame"] else {"units": "frame"}
    return xarray.DataArray(np.arange(dataset.sizes[dimension], dtype=np.float64), dims=dimension, attrs=unit)
