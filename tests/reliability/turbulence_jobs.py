"""The long jobs of turbulence in small: flows, and the trainings of every forecaster."""

from pathlib import Path

import h5py
import numpy as np

from domains.turbulence import data, training_data
from domains.turbulence.compressible_data import CompressibleDataConfig, generate_compressible
from domains.turbulence.descent import DescentConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.innovation_forecaster import InnovationConfig
from domains.turbulence.innovation_network import InnovationNetworkConfig
from domains.turbulence.networks import SeparableNetwork
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import FlowData, read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.token_forecaster import TokenConfig
from domains.turbulence.train import AnyConfig, TrainConfig, train
from domains.turbulence.train_innovations import InnovationTrainConfig, train_innovations
from domains.turbulence.train_tokens import TokenTrainConfig, train_tokens
from separable.training import RunFolder
from tests.reliability.job import Job, loop_done, step_of, tensors_of

FLOWS = data.FlowDataConfig(size=(16, 16), trajectories=12, frames=6, spin_up=0.05, spacing=0.05, step=0.0125, shard=2)
GAS = CompressibleDataConfig(size=(16, 16), samples=24, frames=4, spacing=0.005, batch=2)
CORE = DeterministicConfig(SeparableNetwork(channels=4, products=3, blocks=1))
NOISE = NoiseForecasterConfig(
    channels=4, products=3, blocks=1, modes=(3, 3), waves=((2, 0),), noise_fields=1, noise_vector=3
)
TOKENS = TokenConfig(patch=4, digits=3, levels=5, coder_width=6, width=16, layers=1, heads=2, rank=3, seed_dim=4)
INNOVATIONS = InnovationConfig(
    InnovationNetworkConfig(
        width=16, layers=1, heads=2, features=3, channels=4, products=3, blocks=1, rank=4, seed_dim=4, knots=4
    ),
    modes=(3, 3),
)


def generate_flows(folder: Path) -> Path:
    return data.generate_data(folder / "flows", FLOWS, progress=False)


def flows_left(folder: Path) -> dict[str, bytes]:
    return {"fields": np.ascontiguousarray(read_flow(folder / "flows").fields[:]).tobytes()}


def flows_done(folder: Path) -> int:
    return len(list((folder / "flows").glob("shard_*.h5")))


def generate_gas(folder: Path) -> Path:
    return generate_compressible(folder / "gas_periodic.h5", GAS, progress=False)


def gas_left(folder: Path) -> dict[str, bytes]:
    with h5py.File(folder / "gas_periodic.h5") as file:
        return {name: np.asarray(file[name]).tobytes() for name in file}


def gas_done(folder: Path) -> int:
    if (folder / "gas_periodic.h5").exists():
        return GAS.parts + 1
    return len(list((folder / "gas_periodic.h5.parts").glob("part_*.npy")))


def few_looks(folder: Path) -> tuple[FlowData, RunFolder]:
    """Flows and the run of a training whose looks at the held-out samples are short."""
    training_data._STARTS, training_data._MEMBERS, training_data._LEADS = 1, 2, 1
    return read_flow(folder / "flows"), RunFolder(folder / "run", {"seed": 0}, 0)


def run_forecaster(folder: Path, model: AnyConfig = CORE) -> None:
    flows, run = few_looks(folder)
    train(flows, TrainConfig(model, steps=40, batch=2, spread_windows=8), run=run, progress=False)


def prepare_core(folder: Path) -> None:
    generate_flows(folder)
    flows = read_flow(folder / "flows")
    train(flows, TrainConfig(CORE, steps=2, batch=2), run=RunFolder(folder / "core", {}, 0), progress=False)


def run_innovations(folder: Path) -> None:
    flows, run = few_looks(folder)
    descent = DescentConfig(steps=16, batch=2, optimiser="soap", rate=4e-3)
    config = InnovationTrainConfig(INNOVATIONS, descent, examples=40, spectrum_steps=9, spectrum_runs=2)
    train_innovations(load_forecaster(folder / "core"), flows, config, run=run, progress=False)


def run_tokens(folder: Path) -> None:
    flows, run = few_looks(folder)
    stage = DescentConfig(steps=16, batch=2)
    train_tokens(flows, TokenTrainConfig(TOKENS, stage, stage), run=run, progress=False)


def forecaster_left(folder: Path) -> dict[str, bytes]:
    return tensors_of(folder / "run" / "forecaster.safetensors")


def forecaster_done(folder: Path) -> int:
    return loop_done(folder) + step_of(folder / "run" / "coder" / "last.safetensors")


JOBS = [
    Job("flows", generate_flows, flows_left, flows_done),
    Job("flows of a gas", generate_gas, gas_left, gas_done),
    Job("forecaster", run_forecaster, forecaster_left, forecaster_done, generate_flows),
    Job(
        "forecaster by noise",
        lambda folder: run_forecaster(folder, NOISE),
        forecaster_left,
        forecaster_done,
        generate_flows,
    ),
    Job("forecaster by innovations", run_innovations, forecaster_left, forecaster_done, prepare_core),
    Job("forecaster by tokens", run_tokens, forecaster_left, forecaster_done, generate_flows),
]
