"""The verbs of `separable turbulence`, which are plain functions: data are made, heads trained, forecasts judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from domains.turbulence.animation import animate_forecast, check_film
from domains.turbulence.compressible_data import CompressibleDataConfig
from domains.turbulence.compressible_data import generate_compressible as make_compressible
from domains.turbulence.data import FlowDataConfig, generate_data
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.diagnostics import correlation
from domains.turbulence.evaluate import EvaluateConfig, evaluation_report
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.learned_forecaster import LearnedForecaster
from domains.turbulence.readers import FlowData, read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.train import TrainConfig
from domains.turbulence.train import train as train_forecaster
from domains.turbulence.train_innovations import InnovationTrainConfig
from domains.turbulence.train_innovations import train_innovations as train_on_core
from domains.turbulence.train_tokens import TokenTrainConfig
from domains.turbulence.train_tokens import train_tokens as train_by_tokens
from domains.turbulence.training_data import split
from separable.atomic_files import refuse_without_room, replacing
from separable.files import read_json, refusing
from separable.training import RunFolder
from separable.training.run_lock import sole_user

_DATA = FlowDataConfig()
_TRAINING = TrainConfig()
_CORE = TrainConfig(DeterministicConfig())
_EVALUATION = EvaluateConfig()
_COMPRESSIBLE = CompressibleDataConfig()
_INNOVATIONS = InnovationTrainConfig()
_TOKENS = TokenTrainConfig()


def generate(folder: Path, /, config: FlowDataConfig = _DATA, processes: int = 2) -> Path:
    """Make a data set of trajectories of a flow; an interrupted one is finished, to the same bits.

    The same command in several processes, on one machine or on several that share the folder, divides the shards.
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


def generate_compressible(
    path: Path, /, config: tyro.conf.OmitArgPrefixes[CompressibleDataConfig] = _COMPRESSIBLE
) -> Path:
    """Make a file of compressible turbulence in PDEBench's recipe and layout; an interrupted one is finished.

    The same command in several processes, on one machine or on several that share the folder, divides the batches.

    Args:
        path: of the file, such as ``2D_CFD_Turb_M0.1_periodic_64.hdf5``.
        config: what to make.
    """
    written = make_compressible(path, config)
    print(f"{written}: {config.samples} samples of {config.frames} frames")
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
    _tell(folder, forecaster.n_parameters)
    return folder.path


def train_core(
    data: Path,
    /,
    run: Path = Path("runs/core"),
    config: tyro.conf.AvoidSubcommands[tyro.conf.OmitArgPrefixes[TrainConfig]] = _CORE,
    device: str = "cpu",
) -> Path:
    """Train a forecaster without noise in the L2 norm, such as `train_innovations` builds on.

    Args:
        data: a data set of `generate`, or any file that `read_flow` understands.
        run: the run folder: settings, measurements, checkpoint, the forecaster.
        config: of the training.
        device: where to train, such as cuda.
    """
    return train(data, run, config, device)


def train_innovations(
    core: Path,
    data: Path,
    /,
    run: Path = Path("runs/innovations"),
    config: tyro.conf.OmitArgPrefixes[InnovationTrainConfig] = _INNOVATIONS,
    device: str = "cpu",
) -> Path:
    """Train what a forecaster without noise misses, as tokens that are drawn; an interrupted run goes on.

    Args:
        core: the run of such a forecaster, made by ``train-core``.
        data: the data set that it was trained on.
        run: the run folder: settings, measurements, checkpoint, the forecaster with its core.
        config: of the training.
        device: where to train, such as cuda.
    """
    trained = load_forecaster(core)
    if not isinstance(trained, LearnedForecaster):
        raise ValueError(f"core: expected the run of a forecaster without noise, got a {type(trained).__name__}")
    settings = {"core": str(core), "data": str(data), "device": device, **dataclasses.asdict(config)}
    folder = RunFolder(run, settings, config.descent.seed)
    forecaster = train_on_core(trained, read_flow(data), config, run=folder, device=device)
    _tell(folder, forecaster.n_parameters)
    return folder.path


def train_tokens(
    data: Path,
    /,
    run: Path = Path("runs/tokens"),
    config: TokenTrainConfig = _TOKENS,
    device: str = "cpu",
) -> Path:
    """Train a forecaster whose frames are tokens, as published; an interrupted run goes on.

    Args:
        data: a data set of `generate`, or any file that `read_flow` understands; planes only.
        run: the run folder: settings, measurements, checkpoints, the forecaster.
        config: of the training.
        device: where to train, such as cuda.
    """
    settings = {"data": str(data), "device": device, **dataclasses.asdict(config)}
    folder = RunFolder(run, settings, config.tokens.seed)
    forecaster = train_by_tokens(read_flow(data), config, run=folder, device=device)
    _tell(folder, forecaster.n_parameters)
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
    check_netcdf(out)
    forecaster = load_forecaster(run).to(device)
    flow = read_flow(data, scan=False)
    last, _ = past_of(forecaster, flow, sample, frame)
    known = flow.labelled(sample, last + 1 - forecaster.history, last + 1)
    found = forecaster.forecast(known, members, steps, seed=seed, progress=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as temporary:
        refuse_without_room(out.parent, found.nbytes)
        found.to_netcdf(temporary, engine="h5netcdf")
    print(f"{out}: {members} members, {steps} steps of {forecaster.description.time_step:g}")
    return out


def evaluate(
    run: Path,
    data: Path,
    /,
    out: Path | None = None,
    config: tyro.conf.OmitArgPrefixes[EvaluateConfig] = _EVALUATION,
    device: str = "cpu",
) -> Path:
    """Score a forecaster on trajectories that it has not seen; leaves a report with pictures.

    Of the file or folder that it was trained on, or a file in that, those are the samples that were held out; of any
    other all.

    Args:
        run: the folder of a trained forecaster.
        data: where the trajectories are: anything that `read_flow` understands.
        out: the run folder of the evaluation; by default ``evaluation`` in that of the forecaster.
        config: of the evaluation.
        device: where to compute, such as cuda.
    """
    forecaster = load_forecaster(run).to(device)
    flow = read_flow(data, scan=False)
    samples = unseen_samples(run, data, flow)
    settings = {"forecaster": str(run), "data": str(data), "device": device, **dataclasses.asdict(config)}
    folder = RunFolder(out or run / "evaluation", settings, config.seed)
    ensemble = getattr(forecaster, "trained_members", 2) > 1
    with sole_user(folder.path):
        report = evaluation_report(forecaster, flow, samples, folder, config, ensemble=ensemble)
    row = next(row for row in reversed(folder.metrics()) if row.get("lead") == 1)  # not of an evaluation before
    print(f"{report}: {len(samples)} trajectories; CRPS at lead {row['lead']} {row['CRPS']} standard deviations")
    return report


def animate(
    run: Path,
    data: Path,
    /,
    out: Path = Path("runs/forecast.gif"),
    members: int = 8,
    steps: int = 20,
    sample: int = -1,
    frame: int = 0,
    seed: int = 0,
    device: str = "cpu",
) -> Path:
    """Forecast from frames of a file and film it: what came, three members and their spread.

    Args:
        run: the folder of a trained forecaster.
        data: where the frames are: anything that `read_flow` understands.
        out: the film, .gif or, with imageio and its ffmpeg, .mp4.
        members: of the ensemble, two or more, of which three are shown.
        steps: between two frames of the training data each; where the file has fewer frames nothing is shown as come.
        sample: of the file, to start from; -1 is the last, which is held out in training.
        frame: the last one that the forecast knows, at least; later where it looks at several.
        seed: of the noise.
        device: where to compute, such as cuda.
    """
    check_members(members, out)
    forecaster = load_forecaster(run).to(device)
    past, truth = past_and_truth(forecaster, read_flow(data, scan=False), sample, frame, steps)
    found = forecaster.forecast(past, members, steps, seed=seed, progress=True)
    animate_forecast(truth, found[forecaster.description.variable].values, forecaster.description, out)
    print(f"{out}: {members} members, {steps} steps of {forecaster.description.time_step:g}")
    return out


def _tell(folder: RunFolder, parameters: int) -> None:
    """What a training came to."""
    row = folder.last_scores()
    scores = ", ".join(f"{row[name]:.3f} at lead {name[5:]}" for name in row if name.startswith("crps_"))
    print(
        f"{folder.path}: {parameters} parameters, {row['step']} steps in {row['seconds'] / 60:.1f} minutes; "
        f"CRPS of held-out samples in standard deviations {scores}"
    )


def check_netcdf(out: Path) -> None:
    """Refuse a file of a forecast before the work, not after it."""
    if out.suffix != ".nc":
        raise ValueError(f"out: expected a path ending in .nc, got {out.name!r}")


def check_members(members: int, out: Path) -> None:
    """Refuse a film that cannot be made before the work of the forecast, not after it."""
    check_film(out)
    if members < 2:
        raise ValueError(f"members: expected two or more, got {members}")


def past_of(forecaster: Forecaster, flow: FlowData, sample: int, frame: int) -> tuple[int, Any]:
    """Number of the last known frame and the frames up to there."""
    forecaster.check(flow)
    samples, frames = flow.fields.shape[:2]
    last = frame + frames if frame < 0 else frame
    if not 0 <= sample < samples or not forecaster.history - 1 <= last < frames:
        raise ValueError(
            f"sample, frame: expected a sample below {samples} and a frame from {forecaster.history - 1} to "
            f"{frames - 1}, got {sample} and {frame}"
        )
    return last, flow.fields.read(sample, last + 1 - forecaster.history, last + 1)


def past_and_truth(forecaster: Forecaster, flow: FlowData, sample: int, frame: int, steps: int) -> tuple[Any, Any]:
    """Frames that a film's forecast knows, and the last of them with those that came: NaN where the file ends."""
    chosen = sample + len(flow) if sample < 0 else sample
    last, past = past_of(forecaster, flow, chosen, max(frame, forecaster.history - 1) if frame >= 0 else frame)
    truth = np.full((steps + 1, *past.shape[1:]), np.nan, np.float32)
    known = flow.fields.read(chosen, last, min(last + steps + 1, flow.fields.shape[1]))
    truth[: len(known)] = known
    return past, truth


def unseen_samples(run: Path, data: Path, flow: FlowData) -> Sequence[int]:
    """Samples that a forecaster did not learn from."""
    described = run / "config.json"
    settings = _settings(described) if described.exists() else {}
    told, here = settings.get("data"), data.resolve()
    if not told:
        return range(len(flow))
    trained = _named(told, run)  # the same file may be named in several ways
    if trained is None and Path(told).name == here.name:
        trained = here  # moved since
    if trained is None or (trained not in (here, here.parent) and here != trained.parent):
        return range(len(flow))
    held_out = settings["held_out"]
    if "core" in settings:  # which may have learned from more of them
        core = _named(settings["core"], run)
        if core is None:
            raise FileNotFoundError(f"{settings['core']}: expected the core's run, which tells what it learned from")
        held_out = min(held_out, _settings(core / "config.json")["held_out"])
    if here == trained:
        return split(flow, held_out)[1]
    # A file of the folder that was trained on, or a folder with the file that was.
    whole = read_flow(trained, scan=False)
    learned = set(_places(whole)[: split(whole, held_out)[0].stop])
    found = [sample for sample, place in enumerate(_places(flow)) if place not in learned]
    if not found:
        raise ValueError(f"data: expected samples that were not learned from, got {data}, all of which were")
    return found


def _named(told: str, run: Path) -> Path | None:
    """What a run's settings name: from where the command runs, or from a folder above the run."""
    found = (folder / told for folder in (Path(), *run.resolve().parents))
    return next((path.resolve() for path in found if path.exists()), None)


def _settings(file: Path) -> dict[str, Any]:
    """The paths that a training was told, and ``held_out``, the share that it did not learn from; {} without data."""
    with refusing(file, "the settings of a training"):
        settings = read_json(file)
        if not settings.get("data"):
            return {}
        parts = (settings, settings.get("descent", {}), settings.get("tokens", {}))
        found: dict[str, Any] = {name: str(settings[name]) for name in ("data", "core") if settings.get(name)}
        return found | {"held_out": float(next(part["held_out"] for part in parts if "held_out" in part))}


def _places(flow: FlowData) -> list[tuple[Path, int]]:
    """File of each sample, and its number there."""
    return [(Path(source.name).resolve(), place) for source in flow.fields.sources for place in range(source.shape[0])]
