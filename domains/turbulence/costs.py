"""What the long verbs of `separable turbulence` would cost, by the verb's name and arguments."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import torch

from domains.turbulence.animation import animate_forecast, pictures_of_film
from domains.turbulence.commands import check_members, check_netcdf, past_and_truth, past_of, unseen_samples
from domains.turbulence.compressible_data import CompressibleDataConfig
from domains.turbulence.data import FlowDataConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.evaluate import EvaluateConfig, Starts, reference_of, scored
from domains.turbulence.forecaster import Forecaster
from domains.turbulence.grid import Grid
from domains.turbulence.held_spread import ROUNDS
from domains.turbulence.learned_forecaster import LearnedForecaster
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.scores import long_run
from domains.turbulence.simulate import frames_of, one_thread
from domains.turbulence.train import TrainConfig
from domains.turbulence.train import train as train_forecaster
from domains.turbulence.train_innovations import InnovationTrainConfig
from domains.turbulence.train_innovations import train_innovations as train_on_core
from domains.turbulence.train_tokens import TokenTrainConfig
from domains.turbulence.train_tokens import train_tokens as train_by_tokens
from separable.records import Cost, cost_of_steps, cost_of_training, peak_memory, trial_seconds

_SHARED = 1.3  # time of two members of head A from one past, of which all but the last blocks are the same
_WORK = "The minutes are of the processor, all its threads together."


def generate(folder: Path, config: FlowDataConfig, processes: int) -> Cost:
    """Of a data set: some steps of the solver for one shard."""
    members = config.members(0)
    start = config.flow.random_start(config.grid, [(config.seed, member, 0) for member in members])
    start = start.to(getattr(torch, config.precision))

    def trial(steps: int) -> None:
        seeds = [(config.seed, member, 1) for member in members]
        for _ in frames_of(config.flow, config.grid, start, [steps * config.step], step=config.step, seeds=seeds):
            pass

    few, more = 4, 24
    with one_thread():
        _, each = trial_seconds(trial, few, more)
    # Every interval between two frames is divided evenly, in whole steps.
    of_frame, of_spin_up = (math.ceil(time / config.step - 1e-6) for time in (config.spacing, config.spin_up))
    steps = of_spin_up + (config.frames - 1) * of_frame
    together = max(1, min(processes, config.shards))  # none is one, as in `generate_data`
    memory = peak_memory()
    frames = config.trajectories * config.frames
    return Cost(
        f"measured: {few} and {more} steps of {len(members)} trajectories here, {1000 * each:.3g} ms a step; "
        f"{steps:,} steps for each of {config.shards} shards, {together} at a time",
        steps * each * max(1.0, config.trajectories / len(members) / together),  # the last shard may be a small one
        memory=None if memory is None else memory * together,
        disk=0.9 * frames * 4 * math.prod(config.stored_grid.shape),
        notes=("Shards that are finished are not made again.",) if folder.exists() else (),
    )


def generate_compressible(path: Path, config: CompressibleDataConfig) -> Cost:
    """Of a file: a short piece of one batch."""
    members = config.members(0)
    grid = Grid(config.size, (1.0, 1.0))
    start = config.flow.random_start(grid, [(config.seed, member) for member in members])
    start = start.to(getattr(torch, config.precision))
    piece = config.spacing / 100

    def trial(pieces: int) -> None:
        config.flow.solve(grid, start, [0.0, pieces * piece])

    with one_thread():
        _, each = trial_seconds(trial, 4, 12)
    pieces = (config.frames - 1) * 100
    stored = math.prod(n // config.coarser for n in config.size)
    return Cost(
        f"measured: 4 and 12 hundredths of a frame of {len(members)} samples here, {1000 * each:.3g} ms each",
        config.parts * pieces * each,
        memory=peak_memory(),
        disk=16.0 * config.samples * config.frames * stored,
        notes=("Strong compression needs shorter steps, and then takes longer.",),
    )


def train(data: Path, run: Path, config: TrainConfig, device: str) -> Cost:
    """Of a training: some of its first steps."""
    flow = read_flow(data)
    told = cost_of_training(lambda: train_forecaster(flow, config, progress=False, device=device), device=device)
    if isinstance(config.model, NoiseForecasterConfig) and config.spread_windows:
        ensembles = f"{ROUNDS} rounds of {config.spread_windows} small ensembles at most"
        told = dataclasses.replace(
            told, notes=(*told.notes, f"Then {ensembles} hold the spread, which are not in the time.")
        )
    changes = [(config.rollout_from, f"looks {config.rollout} ahead")] if config.rollout > 1 else []
    if not isinstance(config.model, DeterministicConfig):
        changes.append((config.alone_until, "has two members instead of one"))
    later = sorted(change for change in changes if 0 < change[0] < 1)
    if not later:
        return told
    edges = [0.0, *(share for share, _ in later), 1.0]
    slower = sum((end - start) * _time_of_step(config, start) for start, end in itertools.pairwise(edges))
    slower /= _time_of_step(config, 0.0)
    text = "; ".join(f"from {share:.0%} on a step {what}" for share, what in later)
    text = f"{text[0].upper()}{text[1:]}: the whole takes about {slower:.1f} times as long as by the first steps"
    if not config.steps:
        return dataclasses.replace(told, notes=(*told.notes, f"{text}, so there are fewer.", _WORK))
    return dataclasses.replace(
        told, seconds=(told.seconds or 0) * slower, notes=(*told.notes, f"{text}, which is in the time.")
    )


def _time_of_step(config: TrainConfig, share: float) -> float:
    """Of a step where a share of the training is done, about, in units of one member's over one step."""
    ahead = config.rollout if share >= config.rollout_from else 1
    if isinstance(config.model, DeterministicConfig) or share < config.alone_until:
        return ahead
    shared = isinstance(config.model, NoiseForecasterConfig) and not config.model.noise_vector
    return (_SHARED if shared else 2) + 2 * (ahead - 1)  # from pasts of their own, members share nothing


def train_core(data: Path, run: Path, config: TrainConfig, device: str) -> Cost:
    """Of a training: some of its first steps."""
    return train(data, run, config, device)


def train_innovations(core: Path, data: Path, run: Path, config: InnovationTrainConfig, device: str) -> Cost:
    """Of a training: the code is set, then some of its steps."""
    trained, flow = load_forecaster(core), read_flow(data)
    if not isinstance(trained, LearnedForecaster):
        raise ValueError(f"core: expected the run of a forecaster without noise, got a {type(trained).__name__}")
    told = cost_of_training(lambda: train_on_core(trained, flow, config, progress=False, device=device), device=device)
    notes = told.notes if config.descent.steps else (*told.notes, _WORK)
    if config.spectrum_steps:
        runs = f"{config.spectrum_steps} steps of {config.spectrum_runs} forecasts"
        notes = (*notes, f"Then {runs} hold the spectrum, which are not in the time.")
    return dataclasses.replace(told, notes=notes)


def train_tokens(data: Path, run: Path, config: TokenTrainConfig, device: str) -> Cost:
    """Of both trainings: some steps of each."""
    flow = read_flow(data)
    coder, tokens = (
        cost_of_training(lambda: train_by_tokens(flow, config, progress=False, device=device), place, device)
        for place in (0, 1)
    )
    return Cost(
        f"coder {coder.basis}; tokens {tokens.basis}",
        (coder.seconds or 0) + (tokens.seconds or 0),
        (coder.parameters or 0) + (tokens.parameters or 0),
        tokens.memory,
        notes=(*(f"Coder: {note}" for note in coder.notes), *(f"Tokens: {note}" for note in tokens.notes)),
    )


def forecast(
    run: Path, data: Path, out: Path, members: int, steps: int, sample: int, frame: int, seed: int, device: str
) -> Cost:
    """Of a forecast: some of its steps."""
    check_netcdf(out)
    forecaster = load_forecaster(run).to(device)
    past = past_of(forecaster, read_flow(data, scan=False), sample, frame)[1]
    told = cost_of_steps(
        lambda few: forecaster.forecast(past, members, few, seed=seed),
        steps,
        parameters=_parameters(forecaster),
        device=device,
    )
    fields = _bytes_of(past, members, steps)
    return _with_memory(dataclasses.replace(told, disk=fields), 0 if device.startswith("cuda") else fields)


def evaluate(run: Path, data: Path, out: Path | None, config: EvaluateConfig, device: str) -> Cost:
    """Of an evaluation: some leads of all forecasts, some steps of the long run, some pictures of the film."""
    forecaster, flow = load_forecaster(run).to(device), read_flow(data, scan=False)
    samples = unseen_samples(run, data, flow)
    ensemble = getattr(forecaster, "trained_members", 2) > 1
    starts, reference = Starts.of(forecaster, flow, samples, config), reference_of(flow)
    leads = starts.future.shape[1]
    scores = cost_of_steps(
        lambda few: scored(forecaster, flow, starts.cut(few), reference, config, ensemble=ensemble),
        leads,
        what="leads",
        device=device,
    )
    parts = {"scores": scores}
    if config.steps:
        parts["long run"] = cost_of_steps(
            lambda few: long_run(forecaster, starts.one_each, reference, few, seed=config.seed),
            config.steps,
            device=device,
        )
    past, truth = past_and_truth(forecaster, flow, samples[0], 0, leads)
    shown = max(config.members if ensemble else 1, 2)
    film = parts["film"] = _of_film(forecaster, past, truth, shown, leads, config.seed, ".gif", device)
    return Cost(
        "; ".join(f"{name} {part.basis}" for name, part in parts.items()),
        sum(part.seconds or 0 for part in parts.values()),
        _parameters(forecaster),
        film.memory,  # by then the process has held what the others need
        film.disk,
        (f"{len(starts.past)} starts from {len(samples)} samples; the other pictures take some seconds more.",),
    )


def animate(
    run: Path, data: Path, out: Path, members: int, steps: int, sample: int, frame: int, seed: int, device: str
) -> Cost:
    """Of a film: the forecast and the pictures of its first steps."""
    check_members(members, out)
    forecaster = load_forecaster(run).to(device)
    past, truth = past_and_truth(forecaster, read_flow(data, scan=False), sample, frame, steps)
    return _of_film(forecaster, past, truth, members, steps, seed, out.suffix, device)


def _of_film(
    forecaster: Forecaster, past: Any, truth: Any, members: int, steps: int, seed: int, suffix: str, device: str
) -> Cost:
    """Of a forecast and its film, by those of some steps, which lie in a folder that is removed."""
    description = forecaster.description
    tried: dict[int, tuple[int, Any]] = {}

    def trial(few: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = forecaster.forecast(past, members, few, seed=seed)[description.variable].values
            film = animate_forecast(truth[: few + 1], made, description, Path(folder) / f"film{suffix}")
            tried[few] = film.stat().st_size, made[:, :1].copy()

    told = cost_of_steps(trial, steps, parameters=_parameters(forecaster), device=device)
    most = max(tried)
    size, first = tried[most]
    picture = pictures_of_film(truth[:2], first, description)[0].nbytes
    # Every picture is held in red, green and blue and, for a GIF, once more in the colours of a palette.
    held = _bytes_of(past, members, steps) + (steps + 1) * picture * 4 / 3
    return _with_memory(
        dataclasses.replace(told, disk=size * (steps + 1) / (most + 1)),
        0 if device.startswith("cuda") else held,
    )


def _bytes_of(past: Any, members: int, steps: int) -> float:
    """Of the fields of a forecast, float32."""
    return 4.0 * members * steps * math.prod(past.shape[1:])


def _with_memory(told: Cost, held: float) -> Cost:
    """The cost with so many bytes more than its trials held."""
    return told if told.memory is None else dataclasses.replace(told, memory=told.memory + held)


def _parameters(forecaster: Forecaster) -> int | None:
    found: int | None = getattr(forecaster, "n_parameters", None)
    return found
