"""The verbs of `separable turbulence`, which are plain functions: generate, train, forecast."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.diagnostics import correlation
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.train import TrainConfig
from domains.turbulence.train import train as train_forecaster
from separable.training import RunFolder

_DATA = FlowDataConfig()
_TRAINING = TrainConfig()


def generate(folder: Path, /, config: FlowDataConfig = _DATA, processes: int = 2) -> Path:
    """Make a data set of trajectories of a flow; an interrupted one is finished, to the same bits.

    The flow and its parameters come last, as in
    ``generate runs/decay --config.spin-up 0 config.flow:decaying-turbulence --config.flow.viscosity 0.001``.

    Args:
        folder: where to write the shards.
        config: what to make.
        processes: worker processes, one shard each.
    """
    written = generate_data(folder, config, processes=processes)
    data = read_flow(written, scan=False)
    samples, frames, *_ = data.fields.shape
    told = f"{written}: {samples} trajectories of {frames} frames"
    if frames > 1:
        first = data.load(range(min(samples, 8)))
        alike = correlation(first[:, :-1], first[:, 1:], len(data.spacing)).mean()
        told += f", correlation of neighbouring frames {float(alike):.2f}"
    print(told)
    return written


def train(
    data: Path,
    /,
    run: Path = Path("runs/turbulence"),
    config: tyro.conf.AvoidSubcommands[tyro.conf.OmitArgPrefixes[TrainConfig]] = _TRAINING,
    device: str = "cpu",
) -> Path:
    """Train an ensemble forecaster on a flow; an interrupted run goes on where its last checkpoint was.

    Args:
        data: a data set of `generate`, or any file that `read_flow` understands.
        run: the run folder: settings, measurements, checkpoint, the forecaster.
        config: of the training.
        device: where to train, such as cuda.
    """
    flow = read_flow(data)
    settings = {"data": str(data), "device": device, **dataclasses.asdict(config)}
    folder = RunFolder(run, settings, config.seed)
    forecaster = train_forecaster(flow, config, run=folder, device=device)
    row = folder.metrics()[-1]
    scores = ", ".join(f"{row[name]:.3f} at lead {name[5:]}" for name in row if name.startswith("crps_"))
    print(
        f"{run}: {forecaster.n_parameters} parameters, {row['step']} steps in {row['minutes']:.1f} minutes; "
        f"CRPS of held-out samples in standard deviations {scores}"
    )
    return folder.path


def forecast(
    run: Path,
    data: Path,
    /,
    out: Path = Path("runs/forecast.nc"),
    members: int = 8,
    steps: int = 20,
    sample: int = 0,
    frame: int = -1,
    seed: int = 0,
    device: str = "cpu",
) -> Path:
    """Forecast an ensemble from frames of a file, as netCDF with CF attributes.

    Args:
        run: the folder of a trained forecaster.
        data: where the frames are: anything that `read_flow` understands.
        out: the netCDF file to write.
        members: of the ensemble.
        steps: between two frames of the training data each.
        sample: of the file, to start from.
        frame: the last one that the forecast knows; -1 is the last of the file.
        seed: of the noise.
        device: where to compute, such as cuda.
    """
    if out.suffix != ".nc":
        raise ValueError(f"out: expected a path ending in .nc, got {out.name!r}")
    forecaster = load_forecaster(run).to(device)
    flow = read_flow(data, scan=False)
    forecaster.description.check(flow)
    samples, frames = flow.fields.shape[:2]
    last = frame + frames if frame < 0 else frame
    if not 0 <= sample < samples or not forecaster.history - 1 <= last < frames:
        raise ValueError(
            f"sample, frame: expected a sample below {samples} and a frame from {forecaster.history - 1} to "
            f"{frames - 1}, got {sample} and {frame}"
        )
    past = flow.fields.read(sample, last + 1 - forecaster.history, last + 1)
    found = forecaster.forecast(past, members, steps, seed=seed, reference_time=float(flow.times[last]), progress=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    found.to_netcdf(temporary, engine="h5netcdf")
    temporary.replace(out)
    print(f"{out}: {members} members, {steps} steps of {forecaster.description.time_step:g}")
    return out
