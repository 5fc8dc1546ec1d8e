"""What the long verbs of `separable turbulence` would cost, by the verb's name and arguments."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import torch

from domains.turbulence.compressible_data import CompressibleDataConfig
from domains.turbulence.data import FlowDataConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.grid import Grid
from domains.turbulence.held_spread import ROUNDS
from domains.turbulence.learned_forecaster import LearnedForecaster
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import read_flow
from domains.turbulence.saved import load_forecaster
from domains.turbulence.simulate import frames_of, one_thread
from domains.turbulence.train import TrainConfig
from domains.turbulence.train import train as train_forecaster
from domains.turbulence.train_innovations import InnovationTrainConfig
from domains.turbulence.train_innovations import train_innovations as train_on_core
from domains.turbulence.train_tokens import TokenTrainConfig
from domains.turbulence.train_tokens import train_tokens as train_by_tokens
from separable.records import Cost, cost_of_training, peak_memory, trial_seconds

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
        steps * each * config.shards / together,
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
