"""One door to every kind of file: `read_flow` looks at what it is given and calls the reader for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domains.turbulence.data import LAYOUT
from domains.turbulence.readers.checks import check_units, distances, joined
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import ArraySource, LazyFields
from domains.turbulence.readers.netcdf import read_dataset, read_netcdf
from domains.turbulence.readers.pdebench import is_pdebench, read_pdebench
from domains.turbulence.readers.shards import check_sums, read_shard, shard_files
from domains.turbulence.readers.the_well import is_the_well, read_the_well
from separable.files import refusing
from separable.hdf5 import open_hdf5

_SUFFIXES = (".h5", ".hdf5", ".nc", ".nc4", ".npy")


def read_flow(
    source: Any,
    *,
    variable: str | None = None,
    units: dict[str, str] | None = None,
    periodic: bool | None = None,
    spacing: float | Sequence[float] | None = None,
    time_step: float | None = None,
    scan: bool = True,
) -> FlowData:
    """Read a flow, lazily, from whatever holds it.

    Args:
        source: a data set of `separable turbulence generate`; an HDF5 file in PDEBench's or The Well's layout; a netCDF
            file; a ``.npy`` file; a folder or a list of such files of one kind, whose samples are joined; or an
            xarray.Dataset, a numpy array or a tensor ``(samples, frames, n_y, n_x)`` or ``(samples, frames, n_x)``.
        variable: to read, where there are several.
        units: of ``field``, ``length``, ``time``: what the file does not say is taken from here, and a file that says
            something else is refused.
        periodic: whether the box repeats, where the file does not say.
        spacing: distance of points, where there are no coordinates, as with arrays and PDEBench's incompressible
            flows: ``(d_y, d_x)`` or one number; by default 1.
        time_step: time between frames, where there are no times; by default 1.
        scan: whether to read all values once now (and compare checksums where there are any), so that what is broken
            is refused at once. Values are checked when they are read in any case.

    Returns:
        The flow, its fields still in the files.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not understood, or refused: frames missing, not finite, of another shape or unit, or
            a spacing or time step is given and the file has its own. The message names file, sample and frame.

    Example:
        >>> data = read_flow(np.zeros((2, 5, 8, 8)), spacing=0.1, time_step=0.5)
        >>> data.fields.shape, data.time_step, data.units["field"]
        ((2, 5, 8, 8), 0.5, 'unknown')
    """
    if isinstance(source, str | Path):
        paths = _files(Path(source))
    elif isinstance(source, Sequence) and source and all(isinstance(part, str | Path) for part in source):
        paths = [path for part in source for path in _files(Path(part))]
    else:
        paths = []
        parts = [_in_memory(source, variable, periodic, spacing, time_step)]
    if paths:
        parts = []
        for path in paths:
            with refusing(path, "a flow"):
                parts.append(_open(path, variable, periodic, spacing, time_step))
    parts = [
        dataclasses.replace(part, units=check_units(part.units, units, part.fields.sources[0].name)) for part in parts
    ]
    data = joined(parts)
    for index, part in enumerate(parts if scan else ()):
        # What a checksum covers was finite when it was written.
        if paths and part.attributes.get("layout") == LAYOUT:
            check_sums(paths[index])
        else:
            part.scan()
    return data


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path]
    if (path / "dataset.json").exists():
        return shard_files(path)
    found = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES)
    if not found:
        raise ValueError(f"{path}: expected files that end in {', '.join(_SUFFIXES)}, got none")
    return found


def _open(
    path: Path,
    variable: str | None,
    periodic: bool | None,
    spacing: float | Sequence[float] | None,
    time_step: float | None,
) -> FlowData:
    if path.suffix == ".npy":
        return _array(str(path), np.lib.format.open_memmap(path, mode="r"), periodic, spacing, time_step)
    with path.open("rb") as file:
        start = file.read(8)
    if start[:3] == b"CDF":
        return read_netcdf(path, variable, periodic, spacing, time_step)
    import h5py

    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: expected an HDF5, netCDF or npy file, got one that begins with {start!r}")
    with open_hdf5(path, "a flow in HDF5") as file:
        ours, well, bench = "layout" in file.attrs, is_the_well(file), is_pdebench(file)
        names = ", ".join(list(file)[:8]) or "nothing"
        netcdf = any("DIMENSION_LIST" in item.attrs for item in file.values()) or "_NCProperties" in file.attrs
    if ours:
        data = read_shard(path)
        if variable not in (None, data.variable):
            raise ValueError(f"{path}: expected the variable {data.variable}, got {variable!r}")
    elif well:
        data = read_the_well(path, variable, periodic)
    elif bench and not netcdf:
        data = read_pdebench(path, variable, periodic, spacing)
    elif netcdf or path.suffix in (".nc", ".nc4"):
        return read_netcdf(path, variable, periodic, spacing, time_step)
    else:
        raise ValueError(
            f"{path}: expected the layout of `separable turbulence generate`, PDEBench, The Well or netCDF, "
            f"got an HDF5 file with {names}; read the array yourself and give it to read_flow"
        )
    # All these layouts hold times, the first two coordinates.
    if ours or well:
        distances("spacing", spacing, data.spacing, len(data.spacing), str(path))
    distances("time_step", time_step, (data.time_step,), 1, str(path))
    return data


def _in_memory(
    source: Any,
    variable: str | None,
    periodic: bool | None,
    spacing: float | Sequence[float] | None,
    time_step: float | None,
) -> FlowData:
    if hasattr(source, "data_vars"):
        return read_dataset(source, "dataset", variable, periodic, spacing, time_step)
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().numpy()
    if not isinstance(source, np.ndarray):
        raise ValueError(f"source: expected a path, an array, a tensor or an xarray.Dataset, got {type(source)}")
    return _array("array", source, periodic, spacing, time_step)


def _array(
    name: str,
    values: np.ndarray[Any, Any],
    periodic: bool | None,
    spacing: float | Sequence[float] | None,
    time_step: float | None,
) -> FlowData:
    if values.ndim not in (3, 4) or not np.issubdtype(values.dtype, np.floating) or 0 in values.shape:
        raise ValueError(
            f"{name}: expected numbers (samples, frames, n_y, n_x) or (samples, frames, n_x), got "
            f"{values.shape} of {values.dtype}"
        )
    dimensions = values.ndim - 2
    distance = distances("spacing", spacing, None, dimensions, name)
    (step,) = distances("time_step", time_step, None, 1, name)
    return FlowData(
        LazyFields([ArraySource(name, values)]),
        distance,
        step * np.arange(values.shape[1]),
        {
            "field": "unknown",
            "length": "point" if spacing is None else "unknown",
            "time": "frame" if time_step is None else "unknown",
        },
        None if periodic is None else (periodic,) * dimensions,
        "array",
    )
