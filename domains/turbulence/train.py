"""Training of forecasters, over one step and later over more.

Ensembles learn from the almost fair CRPS of two members,

    loss = mean over points and leads of  1/2 (|a - w| + |b - w|) - (1 - 0.025) / 2 |a - b|

and forecasters without noise from the L2 norm of their error,

    loss = mean over samples and leads of  (mean over points of (a - w)^2)^(1/2)

in units of the standard deviation: a and b are two members from the same past, w what came (`separable.distributions`).
In the second part of the training the members go on from their own steps, with new noise. Everything else is the same
for all, so that what they learn in the same minutes can be compared.

Windows are drawn at random from the training samples and changed by a random symmetry of the flow each.

The training ends after a number of steps, or after minutes of work: the time of the processor on a CPU, all its threads
together, and that of the wall elsewhere; evaluations are not counted. The rate of learning and the second part follow
the share that is done. With a number of steps an interrupted run ends with the same bits; with minutes it goes on where
its last checkpoint was.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from tqdm import tqdm

from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.forecaster import FlowDescription, flow_of
from domains.turbulence.learned_forecaster import LearnedForecaster
from domains.turbulence.noise_forecaster import NoiseForecasterConfig
from domains.turbulence.readers import FlowData, LazyFields, Windows
from domains.turbulence.readers.lazy_fields import ArraySource
from domains.turbulence.symmetries import Symmetries, all_shifts, no_symmetries, symmetries_of
from separable.distributions import crps
from separable.training import RunFolder

_IN_MEMORY = 2**31  # bytes of training frames that are read once; more are read window by window
_LOOKS = 10  # evaluations and checkpoints of a training
_WARM_STEPS = 100
_STARTS, _MEMBERS, _LEADS = 16, 4, 5  # of a look at the held-out samples
_STREAM = 2**32  # keeps the noise of looks apart from that of forecasts
AnyConfig = NoiseForecasterConfig | DeterministicConfig | NoisyConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a forecaster is trained.

    Attributes:
        model: its kind and sizes.
        minutes: of work, see the head of `train`; only where steps is 0.
        steps: optimiser steps; 0 for as many as the minutes allow.
        batch: windows in a step, with two members each where there is noise.
        rate: greatest learning rate of AdamW; it rises over 100 steps and falls as a cosine.
        rollout: steps that the loss looks ahead in the second part of the training; in the first it is one.
        rollout_from: share of the training after which the second part begins; 1 for never.
        symmetries: those of the flow where the file says which it is, otherwise none; every shift; or none.
        held_out: share of the samples never trained on, the last ones.
        seed: of start values, windows, symmetries and noise.
    """

    model: AnyConfig = dataclasses.field(default_factory=NoiseForecasterConfig)
    minutes: float = 10.0
    steps: int = 0
    batch: int = 16
    rate: float = 3e-3
    rollout: int = 2
    rollout_from: float = 0.6
    symmetries: Literal["flow", "shifts", "none"] = "flow"
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or not (self.steps or 0 < self.minutes < math.inf):
            raise ValueError(f"steps, minutes: expected one above 0, got {self.steps} and {self.minutes}")
        if min(self.batch, self.rollout) < 1 or not self.rate > 0:
            raise ValueError(
                f"batch, rollout, rate: expected numbers above 0, got {self.batch}, {self.rollout} and {self.rate}"
            )
        if not 0 <= self.rollout_from <= 1 or not 0 < self.held_out < 1:
            raise ValueError(f"rollout_from, held_out: expected shares, got {self.rollout_from} and {self.held_out}")


def split(data: FlowData, held_out: float) -> tuple[range, range]:
    """Samples to train on and samples to test on.

    Example:
        >>> split([0] * 10, 0.2)
        (range(0, 8), range(8, 10))
    """
    first = len(data) - max(1, round(held_out * len(data)))
    if first < 1:
        raise ValueError(f"data: expected samples to train on beside the held-out ones, got {len(data)}")
    return range(first), range(first, len(data))


def train(
    data: FlowData,
    config: TrainConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> LearnedForecaster:
    """Train a forecaster on all but the held-out samples.

    Args:
        data: what was read, on a periodic box, with as many frames more than the history as the loss looks ahead.
        config: of the training.
        run: the folder that gets losses, held-out scores, checkpoints and the forecaster; a run that was cut off goes
            on from its last checkpoint.
        progress: whether to show a bar with the time left.
        device: where to train.

    Returns:
        The forecaster, on the CPU.

    Raises:
        ValueError: the data do not fit: a box that does not repeat, too few samples or frames, one value everywhere.
        FloatingPointError: the loss is no longer finite; the last checkpoint is kept.
    """
    config = config or TrainConfig()
    description = FlowDescription.of(data)
    rows, held_out = split(data, config.held_out)
    least = config.model.history + config.rollout
    if data.fields.shape[1] < least:
        raise ValueError(f"data: expected at least {least} frames, got {data.fields.shape[1]}")
    model = config.model.completed(data)
    training, chosen = _kept(data, rows)
    symmetries = _symmetries(data, config.symmetries)
    generator = torch.Generator().manual_seed(config.seed)
    centre, scale, increment = _scales(training, chosen, any(turn.sign < 0 for turn in symmetries.turns))
    forecaster: LearnedForecaster = model.made(description, centre, scale, increment, generator).to(device)
    state = _Training(forecaster, config, generator)
    if run is not None:
        state.restore(run.path)
    windows = [training.windows(config.model.history, leads, samples=chosen) for leads in (1, config.rollout)]
    looks = _Looks(data, held_out, config.model.history)
    with tqdm(total=1.0, disable=not progress, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
        while state.done < 1:
            target = math.floor(state.done * _LOOKS + 1e-9) + 1
            losses = []
            while state.done * _LOOKS < target - 1e-9:
                part = windows[state.done >= config.rollout_from]
                losses.append(state.step(part, symmetries))
                bar.update(min(1.0, state.done) - bar.n)
            scores = looks.scores(forecaster, config.seed)
            bar.set_postfix_str(f"CRPS {scores['crps_1']:.3f}")
            if run is not None:
                told = {"step": state.steps, "minutes": round(state.seconds / 60, 3), "loss": float(np.mean(losses))}
                run.log(**told, **scores)
                state.store(run.path)
    forecaster.to("cpu")
    if run is not None:
        forecaster.save(run.path)
    return forecaster


class _Training:
    """What changes from step to step, and is kept in checkpoints."""

    def __init__(self, forecaster: LearnedForecaster, config: TrainConfig, generator: torch.Generator) -> None:
        self.forecaster, self.config, self.generator = forecaster, config, generator
        self.parameters = list(forecaster.network.parameters())
        self.optimiser = torch.optim.AdamW(self.parameters, config.rate, weight_decay=1e-4)
        self.steps, self.seconds = 0, 0.0
        self.clock = time.process_time if forecaster.device.type == "cpu" else time.perf_counter

    @property
    def done(self) -> float:
        """Share of the training that is behind."""
        return self.steps / self.config.steps if self.config.steps else self.seconds / (60 * self.config.minutes)

    def step(self, windows: Windows, symmetries: Symmetries) -> float:
        """One step of the optimiser; returns the loss before it."""
        started = self.clock()
        for group in self.optimiser.param_groups:
            warm = min(1.0, (self.steps + 1) / _WARM_STEPS)
            group["lr"] = self.config.rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        chosen = torch.randint(len(windows), (self.config.batch,), generator=self.generator).tolist()
        frames = torch.stack([torch.cat(windows[index]) for index in chosen])
        loss = window_loss(self.forecaster, symmetries(frames, self.generator), self.generator)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"loss: expected a number at step {self.steps}, got {value}; try a smaller rate")
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.steps += 1
        self.seconds += self.clock() - started
        return value

    def store(self, folder: Path) -> None:
        """Write a checkpoint."""
        network = self.forecaster.network.state_dict()
        tensors = {f"network.{name}": value.cpu().contiguous() for name, value in network.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value.cpu().contiguous() for name, value in state.items()}
        tensors["generator"] = self.generator.get_state()
        tensors["steps"] = torch.tensor(self.steps)
        tensors["seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        temporary = folder / ".checkpoint.safetensors"
        safetensors.torch.save_file(tensors, temporary)
        temporary.replace(folder / "checkpoint.safetensors")

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint in a folder, if there is one."""
        path = folder / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors = safetensors.torch.load_file(path)
        network = {name.removeprefix("network."): value for name, value in tensors.items() if name[:8] == "network."}
        self.forecaster.network.load_state_dict(network)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, entry = name.split(".")
                state.setdefault(int(index), {})[entry] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.generator.set_state(tensors["generator"])
        self.steps, self.seconds = int(tensors["steps"]), float(tensors["seconds"])


def window_loss(forecaster: LearnedForecaster, frames: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of the head of this file, in units of the standard deviation.

    Args:
        forecaster: with gradients.
        frames: windows ``(B, H + leads, *grid)``, in the flow's units; members go on from their own steps.
        generator: of the noise, on the CPU.
    """
    history, grid, members = forecaster.history, tuple(frames.shape[2:]), forecaster.trained_members
    past = forecaster.standardised(frames[:, :history]).repeat(members, *[1] * (1 + len(grid)))
    truth = (frames[:, history:].to(forecaster.device) - forecaster.centre) / forecaster.scale
    losses = []
    for observed in truth.unbind(1):
        noise = torch.randn(len(past), forecaster.noise_numbers, generator=generator).to(forecaster.device)
        following = forecaster.step(past, noise)
        found = forecaster.on_points(following, grid).reshape(members, -1, *grid)
        if members == 1:
            losses.append((found[0] - observed).square().flatten(1).mean(1).sqrt().mean())
        else:
            losses.append(crps(found, observed, estimator="almost fair").mean())
        past = torch.cat([past[:, 1:], following[:, None]], 1)
    return torch.stack(losses).mean()


class _Looks:
    """Scores of small ensembles on starts from the held-out samples, the same at every look.

    One member, of a forecaster without noise, is scored by its absolute error.
    """

    def __init__(self, data: FlowData, held_out: range, history: int) -> None:
        self.leads = min(_LEADS, data.fields.shape[1] - history)
        windows = data.windows(history, self.leads, samples=held_out)
        places = np.unique(np.linspace(0, len(windows) - 1, _STARTS).round().astype(int)).tolist()
        past, future = zip(*(windows[place] for place in places), strict=True)
        self.past, self.future = torch.stack(past), torch.stack(future)

    def scores(self, forecaster: LearnedForecaster, seed: int) -> dict[str, float]:
        """Fair CRPS at the first and the last lead, in units of the standard deviation."""
        members = _MEMBERS if forecaster.trained_members > 1 else 1
        leads = forecaster.rollout(self.past, members, seed=_STREAM + seed)
        found = {}
        for lead in range(1, self.leads + 1):
            found_members = next(leads)
            if lead in (1, self.leads):
                kind: Literal["fair", "ensemble"] = "fair" if members > 1 else "ensemble"
                score = crps(found_members, self.future[:, lead - 1], estimator=kind, member_axis=1).mean()
                found[f"crps_{lead}"] = float(score) / forecaster.scale
        return found


def _kept(data: FlowData, samples: range) -> tuple[FlowData, range]:
    """Some samples, in memory where they are not too large: data, and which of its samples they are."""
    if 4 * math.prod(data.fields.shape[1:]) * len(samples) > _IN_MEMORY:
        return data, samples
    source = ArraySource(data.fields.sources[0].name, data.load(samples).numpy())
    return dataclasses.replace(data, fields=LazyFields([source])), range(len(samples))


def _scales(data: FlowData, samples: range, mirrored: bool) -> tuple[float, float, float]:
    """Mean and standard deviation of the frames, and that of the increments in units of it.

    Where a mirror changes the sign of the field its mean is zero, whatever the samples say.
    """
    sums = np.zeros(3)
    for sample in samples:
        frames = data.fields[sample].astype(np.float64)
        sums += frames.mean(), (frames**2).mean(), (np.diff(frames, axis=0) ** 2).mean()
    mean, square, change = (sums / len(samples)).tolist()
    centre = 0.0 if mirrored else mean
    variance = square - centre**2
    if not (variance > 0 and change > 0):
        raise ValueError(f"data: expected a field that changes, got variance {variance:g} and changes {change:g}")
    return centre, math.sqrt(variance), math.sqrt(change / variance)


def _symmetries(data: FlowData, wanted: str) -> Symmetries:
    grid, flow = data.grid, flow_of(data)
    if wanted == "shifts":
        return all_shifts(grid.shape)
    return no_symmetries(grid.shape) if wanted == "none" or flow is None else symmetries_of(flow, grid)
