"""netCDF files and xarray data sets, by the CF conventions where they follow them and by common names where not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domains.turbulence.readers.checks import choose, distances, even_spacing
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import LazyFields, XarraySource

_NAMES = {
    "frame": ("time", "t", "forecast_period"),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
    "sample": ("sample", "trajectory", "realization", "member", "ensemble"),
}
_AXIS = {"T": "frame", "Y": "y", "X": "x", "E": "sample"}
# What the netCDF library leaves where nothing was written and no value is named for it, by type; bytes have none.
_UNWRITTEN = {
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
    "i2": -32767,
    "i4": -2147483647,
    "i8": -9223372036854775806,
    "u2": 65535,
    "u4": 4294967295,
    "u8": 18446744073709551614,
}
_LENGTHS = {  # in nanoseconds
    "days": 86_400 * 10**9,
    "hours": 3_600 * 10**9,
    "minutes": 60 * 10**9,
    "seconds": 10**9,
    "milliseconds": 10**6,
    "microseconds": 10**3,
    "nanoseconds": 1,
}


def read_netcdf(path: Path, *said: Any) -> FlowData:
    """A netCDF file, whose variables stay in it; the rest of the arguments and errors are those of `read_dataset`."""
    import xarray
    from xarray.backends import H5NetCDFStore, ScipyDataStore

    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    name = str(path.absolute())
    # A store opens its file again after it was closed, and can be closed again then; a Dataset is closed but once.
    store: Any = ScipyDataStore(name) if classic else H5NetCDFStore.open(name, phony_dims="access")
    raw = xarray.open_dataset(store, decode_cf=False, cache=False)
    for variable in raw.data_vars.values():
        fill = _UNWRITTEN.get(variable.dtype.newbyteorder("=").str[1:])
        if fill is not None and not {"_FillValue", "missing_value"} & variable.attrs.keys():
            variable.attrs["_FillValue"] = variable.dtype.type(fill)
    return read_dataset(xarray.decode_cf(raw, decode_times=False), str(path), *said, store=store)


def read_dataset(
    dataset: Any,
    name: str,
    variable: str | None = None,
    periodic: bool | None = None,
    spacing: float | Sequence[float] | None = None,
    time_step: float | None = None,
    *,
    store: Any = None,
) -> FlowData:
    """An xarray.Dataset.

    Args:
        dataset: with a variable over time, (y,) x and at most one dimension of samples.
        name: what errors call it.
        variable: to read; by default ``vorticity``, or the only one there is. Axes that decrease are turned round.
        periodic: whether the box repeats; by default as the attribute ``periodic`` says, the axes that repeat.
        spacing: distance of points, where x and y have no coordinates: ``(d_y, d_x)`` or one number; by default 1.
        time_step: time between frames, where time has none; by default 1.
        store: what the flow closes, the file of a data set that was opened for it; None leaves that to the caller.

    Raises:
        ValueError: a dimension is not understood, an axis is uneven, x and y have different units, or a spacing
            or time step is given and there are coordinates.
    """
    roles = {d: role_of(dataset, d) for d in dataset.dims}
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
    clock = clock_of(dataset, dimensions["frame"])
    coordinates = {a: coordinate_of(dataset, dimensions[a]) for a in order} | {"frame": coordinate_of(dataset, clock)}
    # Latitudes run from north to south in many files; ours increase.
    turned = [a for a in order if coordinates[a].sizes[dimensions[a]] > 1 and coordinates[a][0] > coordinates[a][-1]]
    backwards = {dimensions[a]: slice(None, None, -1) for a in turned}
    values = values.isel(backwards)
    coordinates |= {a: coordinates[a].isel({dimensions[a]: slice(None, None, -1)}) for a in turned}
    own = tuple(even_spacing(coordinates[a].values, f"point along {a}", name) for a in order)
    own_step = even_spacing(coordinates["frame"].values, "frame", name)
    has_places = any(dimensions[a] in dataset.coords for a in order)
    has_times = clock in dataset.coords
    distance = distances("spacing", spacing, own if has_places else None, len(order), name)
    (step,) = distances("time_step", time_step, (own_step,) if has_times else None, 1, name)
    times = np.asarray(coordinates["frame"].values, dtype=np.float64)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name}: {chosen}: expected real numbers, got {values.dtype}")
    length = {a: str(coordinates[a].attrs.get("units", "unknown")) for a in order}
    if len(set(length.values())) > 1:
        raise ValueError(f"{name}: expected one unit along x and y, got {length['x']!r} and {length['y']!r}")
    if length["x"].startswith("degree"):
        raise ValueError(f"{name}: expected lengths along x, got {length['x']!r}: a part of a sphere is no flat box")
    said = None
    if "periodic" in dataset.attrs and periodic is None:
        repeats = str(dataset.attrs["periodic"]).replace(",", " ").split()
        if not {*repeats} <= {"x", "y"}:
            raise ValueError(
                f"{name}: periodic: expected names of axes that repeat, such as 'y x', got "
                f"{dataset.attrs['periodic']!r}; say periodic=True or False"
            )
        said = tuple(a in repeats for a in order)
    return FlowData(
        LazyFields([XarraySource(name, values, dimensions, store)]),
        distance,
        times if has_times else step * times,
        {
            "field": str(values.attrs.get("units", "unknown")),
            "length": length["x"] if spacing is None else "unknown",
            "time": "unknown" if time_step is not None else str(coordinates["frame"].attrs.get("units", "unknown")),
        },
        said if periodic is None else (periodic,) * len(order),
        chosen,
        {str(n): v for n, v in dataset.attrs.items()},
        calendar="" if time_step is not None else str(coordinates["frame"].attrs.get("calendar", "")),
        places=tuple(np.asarray(coordinates[a].values) for a in order) if has_places else (),
    )


def role_of(dataset: Any, dimension: Any) -> str | None:
    """Which axis a dimension is: by its coordinate's attribute ``axis``, or by its name."""
    if dimension in dataset.coords:
        said = str(dataset[dimension].attrs.get("axis", ""))
        if said in _AXIS:
            return _AXIS[said]
    return next((role for role, names in _NAMES.items() if str(dimension).lower() in names), None)


def clock_of(dataset: Any, dimension: str) -> str:
    """The coordinate that times of frames stand in: ``time`` where it lies along them, as in a forecast, or their own.

    Args:
        dataset: that has the dimension, or a DataArray.
        dimension: of the frames.
    """
    times = dataset.coords.get("time")
    if times is None or times.dims != (dimension,):
        return dimension
    return dimension if any(isinstance(time, str | bytes) for time in times.values[:1].tolist()) else "time"


def _unit_of(lengths: np.ndarray[Any, Any]) -> str:
    """The longest unit of which all lengths of time are multiples."""
    whole = lengths.astype("timedelta64[ns]").astype(np.int64)
    return next(unit for unit, length in _LENGTHS.items() if not (whole % length).any())


def coordinate_of(dataset: Any, dimension: str, unit: str = "") -> Any:
    """A coordinate as numbers, with its attributes; counted where there is none.

    Args:
        dataset: that has the dimension, or a DataArray.
        dimension: its name.
        unit: ``hours``, in which decoded dates and lengths of time are told; by default as in their file.

    Raises:
        ValueError: there are dates or lengths of time, and the unit is none that they are told in.
    """
    import xarray
    from xarray.conventions import encode_cf_variable

    if dimension in dataset.coords:
        found = dataset[dimension]
        if found.dtype.kind in "mMO":  # dates that xarray has decoded: as numbers again, in the unit of the file
            variable = found.variable.copy(deep=False)
            if unit:
                if unit.lower().removesuffix("s") + "s" not in _LENGTHS:
                    raise ValueError(
                        f"{dimension}: expected times as numbers of the unit {unit!r}, got {found.dtype}; dates and "
                        f"lengths of time are told in {', '.join(_LENGTHS)} only"
                    )
                first = str(found.values[0]).replace("T", " ").split(".")[0]
                told = unit if found.dtype.kind == "m" else f"{unit} since {first}"
                kept = {name: value for name, value in variable.encoding.items() if name == "calendar"}
                variable.encoding = kept | {"units": told, "dtype": "float64"}
            elif found.dtype.kind == "m":  # versions of xarray differ in the unit that they choose
                variable.encoding = {"units": _unit_of(found.values)} | variable.encoding
            return xarray.DataArray(encode_cf_variable(variable))
        return found
    counted = {"units": "point"} if dimension.lower() not in _NAMES["frame"] else {"units": "frame"}
    return xarray.DataArray(np.arange(dataset.sizes[dimension], dtype=np.float64), dims=dimension, attrs=counted)
