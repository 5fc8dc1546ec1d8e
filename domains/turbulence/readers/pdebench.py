"""HDF5 files in PDEBench's layouts (Takamoto et al. 2022, https://arxiv.org/abs/2210.07182).

Three layouts are read, with N samples, T frames, axes in the order x, y:

- compressible flow, 1-D and 2-D: ``density``, ``pressure``, ``Vx``, ``Vy`` ``(N, T, n_x, n_y)``, ``t-coordinate`` with
  T or T + 1 entries (its last is then the end of the run), ``x-coordinate``, ``y-coordinate``;
- incompressible flow, 2-D: ``velocity`` ``(N, T, n_x, n_y, 2)``, ``particles`` ``(N, T, n_x, n_y, 1)``, ``t``
  ``(N, T)``, no coordinates;
- one unknown: ``tensor`` ``(N, T, n_x)`` or ``(N, T, n_x, n_y)``, coordinates as above.

The files hold no units and do not say whether the box repeats, but for the names of compressible files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.turbulence.readers.checks import choose, distances, even_spacing, starts_of
from domains.turbulence.readers.flow_data import FlowData
from domains.turbulence.readers.lazy_fields import CurlSource, Hdf5Source, LazyFields, Source
from separable.hdf5 import open_hdf5

_COMPRESSIBLE = ("density", "pressure", "Vx", "Vy")


def is_pdebench(file: Any) -> bool:
    """Whether an open HDF5 file has one of the layouts."""
    return ("t-coordinate" in file and ("tensor" in file or "density" in file or "Vx" in file)) or (
        "velocity" in file and "t" in file and getattr(file["velocity"], "ndim", 0) == 5
    )


def read_pdebench(
    path: Path,
    variable: str | None = None,
    periodic: bool | None = None,
    spacing: float | Sequence[float] | None = None,
) -> FlowData:
    """One file.

    Args:
        path: of the file.
        variable: ``density``, ``pressure``, ``Vx``, ``Vy``, ``tensor``, ``velocity_x``, ``velocity_y``, ``particles``,
            or ``vorticity``, which is worked out from the velocity of a periodic flow and is the default there.
        periodic: whether the box repeats; by default as the file's name says.
        spacing: distance of points, for files without coordinates: ``(d_y, d_x)`` or one number; by default 1.

    Raises:
        ValueError: an axis is uneven, shapes do not agree, the variable is not there, or a spacing is given and the
            file has coordinates.
    """
    if periodic is None and "periodic" in path.name.lower():
        periodic = not re.search(r"(non|not|a|un)[-_ ]?periodic", path.name.lower())
    with open_hdf5(path, "PDEBench's layout") as file:
        shapes = {n: tuple(file[n].shape) for n in (*_COMPRESSIBLE, "tensor", "velocity", "particles") if n in file}
        coordinates = {axis: file[f"{axis}-coordinate"][:] for axis in "xy" if f"{axis}-coordinate" in file}
        times = file["t-coordinate"][:] if "t-coordinate" in file else file["t"][:]
    vectors = {"velocity", "particles"} & shapes.keys()
    shape = next(iter(shapes.values()))
    shape = shape[:-1] if vectors else shape
    for name, found in shapes.items():
        if (found[:-1] if name in vectors else found) != shape:
            raise ValueError(f"{path}: {name}: expected the samples, frames and points {shape}, got {found}")
    if len(shape) not in (3, 4):
        raise ValueError(f"{path}: expected (samples, frames, x) or (samples, frames, x, y), got {shape}")
    axes = ("sample", "frame", "x", "y")[: len(shape)]
    own = {axis: _spacing(coordinates, axis, n, path) for axis, n in zip(axes[2:], shape[2:], strict=True)}
    order = [a for a in ("y", "x") if a in own]
    distance = distances("spacing", spacing, [own[a] for a in order] if coordinates else None, len(order), str(path))
    made: dict[str, Source] = {}
    for name in shapes:
        if name == "velocity":
            made |= {f"velocity_{a}": Hdf5Source(path, name, axes, i) for i, a in enumerate(axes[2:])}
        else:
            made[name] = Hdf5Source(path, name, axes, 0 if name in vectors else None)
    lengths = tuple(d * n for d, n in zip(distance, next(iter(made.values())).shape[2:], strict=True))
    parts = [made.get("Vx", made.get("velocity_x")), made.get("Vy", made.get("velocity_y"))]
    names = list(made)
    if parts[0] is not None and parts[1] is not None and len(order) == 2:
        if variable == "vorticity" and not periodic:
            raise ValueError(
                f"{path}: the vorticity is worked out for periodic boxes only, and the file does not say that it is; "
                f"say periodic=True, or choose among {', '.join(names)}"
            )
        if periodic:
            made["vorticity"] = CurlSource(parts[0], parts[1], lengths)
            names.append("vorticity")
    chosen = choose(variable, names, ("vorticity",), str(path))
    length = "unknown" if coordinates or spacing is not None else "point"
    return FlowData(
        LazyFields([made[chosen]]),
        distance,
        _times(times, shape, path),
        {"field": "unknown", "length": length, "time": "unknown"},
        None if periodic is None else (periodic,) * len(order),
        chosen,
        {"layout": "PDEBench"},
        starts_of(times[:, 0]) if times.ndim == 2 else (),
    )


def _spacing(coordinates: dict[str, NDArray[Any]], axis: str, points: int, path: Path) -> float:
    if axis not in coordinates:
        return 1.0
    if len(coordinates[axis]) != points:
        raise ValueError(f"{path}: {axis}-coordinate: expected {points} points, got {len(coordinates[axis])}")
    return even_spacing(coordinates[axis], f"point along {axis}", str(path))


def _times(times: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    frames = shape[1]
    if times.ndim == 2:
        if times.shape != shape[:2]:
            raise ValueError(f"{path}: t: expected {shape[:2]}, got {times.shape}")
        steps = [even_spacing(row, "frame", f"{path}: sample {sample}") for sample, row in enumerate(times)]
        if not np.allclose(steps, steps[0], rtol=1e-3, atol=0, equal_nan=True):
            odd = int(np.argmax(np.abs(np.array(steps) - steps[0])))
            raise ValueError(f"{path}: sample {odd}: frames are {steps[odd]:g} apart, those of sample 0 {steps[0]:g}")
        return np.asarray(times[0], dtype=np.float64)
    if len(times) not in (frames, frames + 1):
        raise ValueError(f"{path}: t-coordinate: expected {frames} or {frames + 1} times, got {len(times)}")
    even_spacing(times, "frame", str(path))
    return np.asarray(times[:frames], dtype=np.float64)
