"""Training of forecasters, over one step and later over more.

Ensembles learn from the almost fair CRPS of two members,

    loss = mean over points and leads of  1/2 (|a - w| + |b - w|) - (1 - 0.005) / 2 |a - b|

of the fields and, three times added to it, of each of their four octaves, so that the spread lies at the scales at
which the errors are (FourCastNet 3 adds a spectral score, Bonev et al. 2025, arXiv:2507.12144); and forecasters without
noise from the L2 norm of their error,

    loss = mean over samples and leads of  (mean over points of (a - w)^2)^(1/2)

in units of the standard deviation: a and b are two members from the same past, w what came (`separable.distributions`,
`octaves`). In the last part of the training the members go on from their own steps, with new noise. In the first part
an ensemble has one member without noise, whose CRPS is its absolute error: what comes on the average is learned at half
the cost, and how sure it is afterwards. Everything else is the same for all, so that what they learn in the same
minutes can be compared.

At last head A runs on its own for a few steps, and the loudness of its noise is set so that its members are spread as
wide as they err (`held_spread`).

Windows are drawn at random from the training samples and changed by a random symmetry of the flow each.

The training ends after a number of steps, or after minutes of work: the time of the processor on a CPU, all its threads
together, and that of the wall elsewhere; evaluations are not counted. The rate of learning and the second part follow
the share that is done. With a number of steps an interrupted run ends with the same bits; with minutes it goes on where
its last checkpoint was.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from domains.turbulence.baselines.noisy_forecaster import NoisyConfig
from domains.turbulence.descent import DescentConfig, descend
from domains.turbulence.deterministic_forecaster import DeterministicConfig
from domains.turbulence.forecaster import FlowDescription
from domains.turbulence.frame_statistics import FrameStatistics
from domains.turbulence.held_spread import LEADS, hold_spread
from domains.turbulence.learned_forecaster import LearnedForecaster
from domains.turbulence.members import rounds_of
from domains.turbulence.model import SeparableOperator, products_watched
from domains.turbulence.noise_forecaster import NoiseForecaster, NoiseForecasterConfig
from domains.turbulence.octaves import octaves
from domains.turbulence.readers import FlowData, Windows
from domains.turbulence.symmetries import Symmetries
from domains.turbulence.training_data import HeldOutLooks, split, symmetries_for, training_part
from separable.distributions import crps
from separable.training import RunFolder, is_main_process
from separable.training.config import Optimiser

# Share of the fair score in the almost fair one. With two members the 0.95 of larger ensembles is best where the spread
# is 0.95 of the errors (normal members), 0.99 where it is 0.99; with 1 two members on either side of the truth cost
# nothing.
_FAIR = 0.99
_WATCHED, _TOGETHER = 1024, 16  # windows whose products are noted; of them at once
_LEARNED = 50  # windows that were learned from, for one in a round that holds the spread
AnyConfig = NoiseForecasterConfig | DeterministicConfig | NoisyConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a forecaster is trained.

    Attributes:
        model: its kind and sizes.
        minutes: of work, see the head of `train`; only where steps is 0.
        steps: optimiser steps; 0 for as many as the minutes allow.
        batch: windows in a step, over all processes, with two members each where there is noise.
        accumulation: parts in which each process computes its windows, one after another; more need less memory.
        optimiser: "soap", or "adamw"; see `separable.training`.
        rate: greatest learning rate; it rises over 100 steps and falls as a cosine.
        rollout: steps that the loss looks ahead in the last part of the training; before it is one.
        rollout_from: share of the training after which the last part begins; 1 for never.
        alone_until: share of the training of an ensemble in which one member learns without noise.
        octave_weight: of the score of octaves beside that of points, for ensembles.
        spread_windows: in each round by which the loudness of head A's noise is set, see `held_spread`, after the
            minutes, and fewer after a short training; 0 to leave it as it was learned.
        symmetries: those of the flow where the file says which it is, otherwise none; every shift; or none.
        held_out: share of the samples never trained on, the last ones.
        seed: of start values, windows, symmetries and noise.
    """

    model: AnyConfig = dataclasses.field(default_factory=NoiseForecasterConfig)
    minutes: float = 10.0
    steps: int = 0
    batch: int = 4
    accumulation: int = 1
    optimiser: Optimiser = "soap"
    rate: float = 1.2e-2
    rollout: int = 2
    rollout_from: float = 0.8
    alone_until: float = 0.6
    octave_weight: float = 3.0
    spread_windows: int = 96
    symmetries: Literal["flow", "shifts", "none"] = "flow"
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rollout < 1:
            raise ValueError(f"rollout: expected 1 or more, got {self.rollout}")
        for name in ("rollout_from", "alone_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share, got {getattr(self, name)}")
        if isinstance(self.model, NoiseForecasterConfig) and not self.model.noise_fields + self.model.noise_vector:
            raise ValueError("noise_fields, noise_vector: expected noise in one of them, got 0 and 0")
        if self.spread_windows < 0:
            raise ValueError(f"spread_windows: expected 0 or more, got {self.spread_windows}")
        if not 0 <= self.octave_weight < math.inf:
            raise ValueError(f"octave_weight: expected 0 or more, got {self.octave_weight}")
        self.descent  # noqa: B018 - it refuses what does not fit

    @property
    def descent(self) -> DescentConfig:
        """The part that is the same in every training."""
        names = [field.name for field in dataclasses.fields(DescentConfig)]
        return DescentConfig(**{name: getattr(self, name) for name in names})


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
    training = training_part(data, rows)
    model = config.model.completed(training)
    symmetries = symmetries_for(data, config.symmetries)
    generator = torch.Generator().manual_seed(config.seed)
    statistics = FrameStatistics.of(training, range(len(training)), any(turn.sign < 0 for turn in symmetries.turns))
    forecaster: LearnedForecaster = model.made(description, statistics, generator).to(device)
    windows = [training.windows(config.model.history, leads) for leads in (1, config.rollout)]
    looks = HeldOutLooks(data, held_out, config.model.history, statistics.scale, noise=forecaster.trained_members > 1)
    result = descend(
        forecaster.network,
        lambda frames, share: window_loss(
            forecaster, frames, alone=share < config.alone_until, octave_weight=config.octave_weight
        ),
        config.descent,
        lambda share: windows[share >= config.rollout_from],
        symmetries,
        lambda: looks.scores(forecaster, config.seed),
        run=run,
        progress=progress,
    )
    hold_products(forecaster, windows[0], symmetries, config.seed)
    if isinstance(forecaster, NoiseForecaster) and forecaster.config.noise_fields and config.spread_windows:
        leads = min(LEADS, data.fields.shape[1] - model.history)
        looked_at = training.windows(model.history, leads)
        count = min(config.spread_windows, math.ceil(result.steps * config.batch / _LEARNED))
        hold_spread(forecaster, looked_at, count, config.seed, progress=progress)
    forecaster.to("cpu")
    if run is not None and is_main_process():
        forecaster.save(run.path)
    return forecaster


def hold_products(forecaster: LearnedForecaster, windows: Windows, symmetries: Symmetries, seed: int) -> None:
    """Hold the products of the forecaster's operators to their range on training windows, see `model`."""
    if not any(isinstance(part, SeparableOperator) for part in forecaster.network.modules()):
        return
    places = np.unique(np.linspace(0, len(windows) - 1, _WATCHED).round().astype(int)).tolist()
    generator = torch.Generator().manual_seed(seed)
    with products_watched(forecaster.network), torch.no_grad():
        for begin in range(0, len(places), _TOGETHER):
            past = torch.stack([windows[place][0] for place in places[begin : begin + _TOGETHER]])
            noise = torch.randn(len(past), forecaster.noise_numbers, generator=generator).to(forecaster.device)
            forecaster.step(forecaster.standardised(symmetries(past, generator)), noise)


def window_loss(
    forecaster: LearnedForecaster,
    frames: Tensor,
    generator: torch.Generator | None = None,
    *,
    alone: bool = False,
    octave_weight: float = 3.0,
) -> Tensor:
    """The loss of the head of this file, in units of the standard deviation.

    Args:
        forecaster: with gradients.
        frames: windows ``(B, H + leads, *grid)``, in the flow's units; members go on from their own steps.
        generator: of the noise, on the CPU; by default torch's own.
        alone: whether an ensemble has one member only, without noise.
        octave_weight: of the score of octaves, which one member alone does not have.
    """
    history, grid = forecaster.history, tuple(frames.shape[2:])
    ensemble = forecaster.trained_members > 1
    members = 1 if alone else forecaster.trained_members
    past = forecaster.standardised(frames[:, :history])
    count = members * len(past)
    truth = (frames[:, history:].to(forecaster.device) - forecaster.centre) / forecaster.scale
    losses = []
    for observed in truth.unbind(1):
        noise = torch.randn(count, forecaster.noise_numbers, generator=generator).to(forecaster.device)
        if alone:
            noise = torch.zeros_like(noise)
        following = forecaster.step(past, noise)
        found = forecaster.on_points(following, grid).reshape(members, -1, *grid)
        if not ensemble:
            losses.append((found[0] - observed).square().flatten(1).mean(1).sqrt().mean())
        elif alone:
            losses.append((found[0] - observed).abs().mean())
        else:
            losses.append(crps(found, observed, estimator="almost fair", alpha=_FAIR).mean())
            if octave_weight:
                parts = (octaves(fields, len(grid)) for fields in (found, observed))
                scored = crps(*parts, estimator="almost fair", alpha=_FAIR)
                of_parts = scored.mean((0, *range(2, 2 + len(grid)))).sum()
                losses[-1] = losses[-1] + octave_weight * of_parts
        past = torch.cat([rounds_of(past, count)[:, 1:], following[:, None]], 1)
    return torch.stack(losses).mean()
