"""HDF5 files in the layout of The Well (Ohana et al. 2024, https://arxiv.org/abs/2412.00568; its docs/data_format.md).

Groups ``dimensions`` (``time`` and one dataset a spatial axis, named by the attribute ``spatial_dims``),
``boundary_conditions`` (``bc_type``, ``associated_dims``), ``t0_fields`` for scalars ``(N, T, n_1, n_2)``,
``t1_fields`` for vectors, with one more axis. Cartesian grids in one and two dimensions with axes named x and y are
read; units are not part of the layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from domains.turbulence.readers.checks import choose, even_spacing, starts_of
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import CurlSource, Hdf5Source, LazyFields, Source
from separable.hdf5 import open_hdf5


def is_the_well(file: Any) -> bool:
    """Whether an open HDF5 file has the layout."""
    return "dimensions" in file and ("t0_fields" in file or "t1_fields" in file)


def read_the_well(path: Path, variable: str | None = None, periodic: bool | None = None) -> FlowData:
    """One file.

    Args:
        path: of the file.
        variable: a scalar field, ``<vector>_x``, ``<vector>_y``, or ``vorticity``, which is worked out from
            ``velocity`` where the box is periodic and the file has none; the default where it is there.
        periodic: whether the box repeats along the axes that no boundary condition of the file names.

    Raises:
        ValueError: a grid that is not Cartesian, axes or times that are uneven, or shapes that do not agree.
    """
    with open_hdf5(path, "The Well's layout") as file:
        kind = _text(file.attrs.get("grid_type", "cartesian"))
        names = [_text(n) for n in np.atleast_1d(file["dimensions"].attrs["spatial_dims"])]
        if kind != "cartesian" or not set(names) <= {"x", "y"}:
            raise ValueError(
                f"{path}: expected a cartesian grid with the axes x, y, got {kind} with {', '.join(names)}"
            )
        spacing = {n: even_spacing(file["dimensions"][n][:], f"point along {n}", str(path)) for n in names}
        points = tuple(len(file["dimensions"][n]) for n in names)
        samples = int(file.attrs.get("n_trajectories", 0))
        times = np.atleast_2d(file["dimensions"]["time"][:])
        steps = [even_spacing(row, "frame", f"{path}: sample {sample}") for sample, row in enumerate(times)]
        shape = (samples, times.shape[1], *points)
        made: dict[str, Source] = {}
        left_out = {}
        for group, vector in (("t0_fields", False), ("t1_fields", True)):
            for name, field in file.get(group, {}).items():
                if not bool(field.attrs.get("time_varying", True)) or not bool(
                    np.all(field.attrs.get("dim_varying", True))
                ):
                    left_out[name] = "it does not vary in time or along an axis"
                    continue
                axes = (
                    ("sample", *(("frame", *names)))
                    if bool(field.attrs.get("sample_varying", True))
                    else ("frame", *names)
                )
                expected = (*shape[len(shape) - len(axes) :], *((len(names),) if vector else ()))
                if tuple(field.shape) != (expected if samples else (field.shape[0], *expected[1:])):
                    raise ValueError(f"{path}: {name}: expected the shape {expected}, got {tuple(field.shape)}")
                if vector:
                    made |= {f"{name}_{a}": Hdf5Source(path, f"{group}/{name}", axes, i) for i, a in enumerate(names)}
                else:
                    made[name] = Hdf5Source(path, f"{group}/{name}", axes)
        conditions = {n: _periodic(file, n) for n in names}
        parameters = {_text(n): file.attrs[n] for n in np.atleast_1d(file.attrs.get("simulation_parameters", []))}
        title = _text(file.attrs.get("dataset_name", ""))
    if not np.allclose(steps, steps[0], rtol=1e-3, atol=0, equal_nan=True):
        odd = int(np.argmax(np.abs(np.array(steps) - steps[0])))
        raise ValueError(f"{path}: sample {odd}: frames are {steps[odd]:g} apart, those of sample 0 {steps[0]:g}")
    order = [n for n in ("y", "x") if n in names]
    repeats = [periodic if conditions[n] is None else conditions[n] for n in order]
    if {"velocity_x", "velocity_y"} <= made.keys() and "vorticity" not in made and all(repeats):
        lengths = tuple(spacing[n] * len_ for n, len_ in zip(order, made["velocity_x"].shape[2:], strict=True))
        made["vorticity"] = CurlSource(made["velocity_x"], made["velocity_y"], lengths)
    if variable in left_out:
        raise ValueError(f"{path}: {variable} is no series of fields: {left_out[variable]}")
    chosen = choose(variable, list(made), ("vorticity",), str(path))
    return FlowData(
        LazyFields([made[chosen]]),
        tuple(spacing[n] for n in order),
        np.asarray(times[0], dtype=np.float64),
        dict.fromkeys(("field", "length", "time"), "unknown"),
        # One axis that does not repeat is enough to know that the box does not.
        None if None in repeats and False not in repeats else tuple(map(bool, repeats)),
        chosen,
        {"layout": "The Well", "title": title, "parameters": parameters},
        starts_of(times[:, 0]) if len(times) == made[chosen].shape[0] else (),
    )


def _periodic(file: Any, axis: str) -> bool | None:
    """Whether every boundary condition of an axis is periodic; None where there is none."""
    found = []
    for boundary in file.get("boundary_conditions", {}).values():
        if axis in [_text(n) for n in np.atleast_1d(boundary.attrs.get("associated_dims", []))]:
            found.append(_text(boundary.attrs["bc_type"]).lower() == "periodic")
    return all(found) if found else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
