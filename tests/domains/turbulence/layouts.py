"""Files of one flow in every layout that is read, written by hand."""

import h5py
import numpy as np
import xarray

from domains.turbulence.diagnostics import velocity
from domains.turbulence.grid import Grid
from domains.turbulence.initial_conditions import random_vorticity

N, T, NY, NX = 3, 6, 12, 16
GRID = Grid((NY, NX), (3.0, 8.0))  # d_y = 0.25, d_x = 0.5


def made():
    """Vorticity ``(N, T, NY, NX)`` and velocity ``(N, T, 2, NY, NX)``, float32."""
    fields = random_vorticity(GRID, range(N * T), peak=2.0).reshape(N, T, NY, NX)
    return fields.float().numpy(), velocity(fields, GRID).float().numpy()


def write_pdebench(path, truth, **changes):
    """Compressible layout: (N, T, x, y), one time more than frames."""
    speed = truth[1].transpose(0, 1, 2, 4, 3)
    with h5py.File(path, "w") as file:
        file["Vx"], file["Vy"] = speed[:, :, 0], speed[:, :, 1]
        file["density"] = np.ones((N, T, NX, NY), np.float32)
        file["pressure"] = changes.get("pressure", np.ones((N, T, NX, NY), np.float32))
        file["t-coordinate"] = changes.get("times", np.linspace(0, 0.1 * T, T + 1).astype(np.float32))
        file["x-coordinate"] = changes.get("x", 0.25 + 0.5 * np.arange(NX, dtype=np.float32))
        file["y-coordinate"] = 0.125 + 0.25 * np.arange(NY, dtype=np.float32)
    return path


def write_incompressible(path, truth):
    with h5py.File(path, "w") as file:
        file["velocity"] = truth[1].transpose(0, 1, 4, 3, 2)
        file["particles"] = truth[0].transpose(0, 1, 3, 2)[..., None]
        file["force"] = np.zeros((N, NX, NY, 2), np.float32)
        file["t"] = 0.1 * np.arange(T) + np.zeros((N, 1))
    return path


def write_the_well(path, truth, boundary="PERIODIC", **changes):
    with h5py.File(path, "w") as file:
        file.attrs["dataset_name"], file.attrs["grid_type"] = "dummy", changes.get("grid_type", "cartesian")
        file.attrs["n_spatial_dims"], file.attrs["n_trajectories"] = 2, changes.get("samples", N)
        file.attrs["simulation_parameters"] = ["nu"]
        file.attrs["nu"] = 0.01
        axes = file.create_group("dimensions")
        axes.attrs["spatial_dims"] = ["x", "y"]
        axes["time"] = changes.get("times", 0.1 * np.arange(T, dtype=np.float32))
        axes["x"], axes["y"] = 0.5 * np.arange(NX, dtype=np.float32), 0.25 * np.arange(NY, dtype=np.float32)
        conditions = file.create_group("boundary_conditions")
        for axis in "xy":
            group = conditions.create_group(f"{axis}_boundary")
            group.attrs["associated_dims"], group.attrs["bc_type"] = [axis], boundary
        scalars, vectors = file.create_group("t0_fields"), file.create_group("t1_fields")
        scalars.attrs["field_names"], vectors.attrs["field_names"] = ["tracer", "height"], ["velocity"]
        scalars["tracer"] = truth[0].transpose(0, 1, 3, 2)
        scalars["height"] = np.zeros((N, NX, NY), np.float32)
        scalars["height"].attrs["time_varying"] = False
        vectors["velocity"] = truth[1].transpose(0, 1, 4, 3, 2)
        for field in (scalars["tracer"], vectors["velocity"]):
            field.attrs["sample_varying"], field.attrs["time_varying"] = True, True
            field.attrs["dim_varying"] = [True, True]
    return path


def as_dataset(truth, **attributes):
    """In an order of its own, (x, time, sample, y), with units."""
    coordinates = {
        "time": ("time", 0.1 * np.arange(T), {"units": "s"}),
        "x": ("x", 0.5 * np.arange(NX), {"units": "m", "axis": "X"}),
        "northing": ("northing", 0.25 * np.arange(NY), {"units": "m", "axis": "Y"}),
    }
    values = (("x", "time", "realization", "northing"), truth[0].transpose(3, 1, 0, 2), {"units": "s-1"})
    return xarray.Dataset({"vorticity": values}, coordinates, {"periodic": "x y", **attributes})


def write_netcdf(path, truth, engine="h5netcdf"):
    as_dataset(truth).to_netcdf(path, engine=engine)
    return path


LAYOUTS = {
    "2D_CFD_periodic.hdf5": lambda path, truth: write_pdebench(path, truth),
    "well.hdf5": lambda path, truth: write_the_well(path, truth),
    "four.nc": lambda path, truth: write_netcdf(path, truth),
    "three.nc": lambda path, truth: write_netcdf(path, truth, "scipy"),
}
