"""What the domain of turbulence reads: flows in every layout, forecasters."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import xarray

from domains.turbulence import compressible_data
from domains.turbulence.compressible import CompressibleFlow
from domains.turbulence.compressible_data import CompressibleDataConfig, generate_compressible
from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.flows import KolmogorovFlow
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.innovation_forecaster import InnovationConfig, InnovationForecaster
from domains.turbulence.innovation_network import InnovationNetworkConfig
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.serving import load_served_forecaster
from domains.turbulence.token_forecaster import TokenConfig, TokenForecaster
from separable.files import write_tensors
from tests.reliability.harness import Reader

N, T, NY, NX = 2, 4, 8, 12
FIELDS = np.random.default_rng(0).standard_normal((N, T, NY, NX)).astype(np.float32)
SETS = FlowDataConfig(KolmogorovFlow(), size=(16, 16), trajectories=2, frames=3, spin_up=0.0125, spacing=0.0125)
FLOW = FlowDescription("vorticity", "vorticity", {"field": "1", "length": "1", "time": "1"}, 0.5, (8, 12), (2.0, 3.0))


def read_fields(folder: Path) -> Any:
    (file,) = [path for path in folder.iterdir() if path.suffix in (".h5", ".nc", ".npy")] or [folder]
    data = read_flow(folder if (folder / "dataset.json").exists() else file)
    return [data.fields[:], list(data.times), data.spacing, data.units, data.variable]


def make_set(folder: Path) -> None:
    generate_data(folder, SETS, progress=False)


GAS = CompressibleDataConfig(CompressibleFlow(mach=0.5), (12, 12), samples=2, frames=2, spacing=0.01, batch=1)


class CutOffError(Exception):
    """A making of a file that ends before its parts are joined."""


def make_half_of_a_gas(folder: Path) -> None:
    def cut_off(*_: Any) -> None:
        raise CutOffError

    kept, compressible_data._join = compressible_data._join, cut_off
    try:
        generate_compressible(folder / "gas.h5", GAS, progress=False)
    except CutOffError:
        pass
    finally:
        compressible_data._join = kept


def read_half_of_a_gas(folder: Path) -> Any:
    """Go on, and read what is finished."""
    with h5py.File(generate_compressible(folder / "gas.h5", GAS, progress=False)) as file:
        return [file[name][:] for name in ("density", "Vx", "t-coordinate")]


def make_pdebench(folder: Path) -> None:
    with h5py.File(folder / "periodic.h5", "w") as file:
        file["Vx"], file["Vy"], file["density"] = (FIELDS.swapaxes(-1, -2) for _ in range(3))
        file["t-coordinate"] = np.linspace(0, 0.1 * T, T + 1).astype(np.float32)
        file["x-coordinate"] = 0.25 + 0.5 * np.arange(NX, dtype=np.float32)
        file["y-coordinate"] = 0.125 + 0.25 * np.arange(NY, dtype=np.float32)


def make_the_well(folder: Path) -> None:
    with h5py.File(folder / "well.h5", "w") as file:
        file.attrs["dataset_name"], file.attrs["grid_type"] = "dummy", "cartesian"
        file.attrs["n_spatial_dims"], file.attrs["n_trajectories"] = 2, N
        file.attrs["simulation_parameters"] = ["nu"]
        file.attrs["nu"] = 0.01
        axes = file.create_group("dimensions")
        axes.attrs["spatial_dims"] = ["x", "y"]
        axes["time"] = 0.1 * np.arange(T, dtype=np.float32)
        axes["x"], axes["y"] = 0.5 * np.arange(NX, dtype=np.float32), 0.25 * np.arange(NY, dtype=np.float32)
        conditions = file.create_group("boundary_conditions")
        for axis in "xy":
            group = conditions.create_group(f"{axis}_boundary")
            group.attrs["associated_dims"], group.attrs["bc_type"] = [axis], "PERIODIC"
        scalars = file.create_group("t0_fields")
        scalars.attrs["field_names"] = ["tracer"]
        scalars["tracer"] = FIELDS.swapaxes(-1, -2)
        scalars["tracer"].attrs["sample_varying"], scalars["tracer"].attrs["time_varying"] = True, True
        scalars["tracer"].attrs["dim_varying"] = [True, True]


def make_netcdf(engine: str) -> Any:
    def make(folder: Path) -> None:
        coordinates = {
            "time": ("time", 0.1 * np.arange(T), {"units": "s"}),
            "y": ("y", 0.25 * np.arange(NY), {"units": "m"}),
            "x": ("x", 0.5 * np.arange(NX), {"units": "m"}),
        }
        values = (("sample", "time", "y", "x"), FIELDS, {"units": "s-1"})
        xarray.Dataset({"vorticity": values}, coordinates).to_netcdf(folder / "flow.nc", engine=engine)

    return make


def forecaster_reader(folder: Path) -> Any:
    found = load_forecaster(folder)
    past = torch.from_numpy(FIELDS[0, : found.history])
    forecast = found.forecast(past, members=2, steps=1, seed=0)
    return [values.values for values in forecast.data_vars.values()]


def make_noise_forecaster(folder: Path) -> None:
    config = NoiseForecasterConfig(
        history=2, channels=4, products=3, blocks=1, modes=(3, 3), waves=((2, 0),), noise_fields=1, noise_vector=3
    )
    NoiseForecaster(config, FLOW, FrameStatistics(0.2, 1.5, 0.4), torch.Generator().manual_seed(0)).save(folder)


def deterministic() -> Any:
    flow = read_flow(np.repeat(FIELDS, 2, 1), spacing=0.25, time_step=0.5, periodic=True)
    config = DeterministicConfig(SeparableNetwork(channels=4, products=3, blocks=1)).completed(flow)
    return config.made(FLOW, FrameStatistics(0.0, 3.0, 0.5), torch.Generator().manual_seed(0))


def make_deterministic_forecaster(folder: Path) -> None:
    deterministic().save(folder)


def make_starts(folder: Path) -> None:
    made = deterministic()
    made.save(folder)
    write_tensors(folder / "starts.safetensors", {"frames": torch.from_numpy(FIELDS[:, : made.history].copy())})


def read_starts(folder: Path) -> Any:
    return load_served_forecaster(folder).starts


def make_token_forecaster(folder: Path) -> None:
    config = TokenConfig(patch=4, digits=3, levels=5, coder_width=6, width=16, layers=1, heads=2, rank=3, seed_dim=4)
    TokenForecaster(config, FLOW, 0.0, 1.0).save(folder)


def make_innovation_forecaster(folder: Path) -> None:
    network = InnovationNetworkConfig(
        width=16, layers=1, heads=2, features=3, channels=4, products=3, blocks=1, rank=4, seed_dim=4, knots=4
    )
    InnovationForecaster(deterministic(), InnovationConfig(network=network, modes=(3, 3), waves=())).save(folder)


SETTINGS = ("forecaster.json", "forecaster.safetensors")
READERS = [
    Reader("set of flows", make_set, read_fields, ("dataset.json", "shard_00000.h5")),
    Reader(
        "half of a gas",
        make_half_of_a_gas,
        read_half_of_a_gas,
        tuple(f"gas.h5.parts/{name}" for name in ("config.json", "part_00000.npy")),
        writes=True,
    ),
    Reader("PDEBench", make_pdebench, read_fields, ("periodic.h5",)),
    Reader("The Well", make_the_well, read_fields, ("well.h5",)),
    Reader("netCDF 3", make_netcdf("scipy"), read_fields, ("flow.nc",)),
    Reader("netCDF 4", make_netcdf("h5netcdf"), read_fields, ("flow.nc",)),
    Reader("fields in npy", lambda folder: np.save(folder / "flow.npy", FIELDS), read_fields, ("flow.npy",)),
    Reader("forecaster by noise", make_noise_forecaster, forecaster_reader, SETTINGS, SETTINGS),
    Reader("forecaster without noise", make_deterministic_forecaster, forecaster_reader, SETTINGS, SETTINGS),
    Reader("frames to start from", make_starts, read_starts, ("starts.safetensors",)),
    Reader("forecaster by tokens", make_token_forecaster, forecaster_reader, SETTINGS, SETTINGS),
    Reader(
        "forecaster by innovations",
        make_innovation_forecaster,
        forecaster_reader,
        (*SETTINGS, "core/forecaster.json"),
        (*SETTINGS, "core/forecaster.json"),
    ),
]
