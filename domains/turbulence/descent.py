"""Descent on a loss of windows: the library's training loop on windows of a flow, changed by its symmetries.

SOAP or AdamW, gradients cut to norm 1, a rate that rises over 100 steps and falls as a cosine of the share that is
done. Windows are drawn at random and changed by a random symmetry of the flow each. Minutes are those of the processor
on a CPU, all its threads together, and of the wall elsewhere; looks at the held-out samples are not counted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from domains.turbulence.readers import Windows
from domains.turbulence.symmetries import Symmetries
from separable.training import RunFolder, TrainingConfig, TrainingResult, run_training
from separable.training.config import Optimiser

_LOOKS = 10  # of a training
_BETAS = {"adamw": (0.9, 0.999), "soap": (0.9, 0.99)}


@dataclasses.dataclass(frozen=True)
class DescentConfig:
    """How long and how fast.

    Attributes:
        minutes: of work; only where steps is 0.
        steps: optimiser steps; 0 for as many as the minutes allow.
        batch: windows in a step, over all processes.
        accumulation: parts in which each process computes its windows, one after another; more need less memory.
        optimiser: "soap" or "adamw", see `separable.training`.
        rate: greatest learning rate.
        symmetries: those of the flow where the file says which it is, otherwise none; every shift; or none.
        held_out: share of the samples never trained on, the last ones.
        seed: of start values, windows, symmetries and noise.
    """

    minutes: float = 10.0
    steps: int = 0
    batch: int = 16
    accumulation: int = 1
    optimiser: Optimiser = "adamw"
    rate: float = 2e-3
    symmetries: Literal["flow", "shifts", "none"] = "flow"
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or not (self.steps or 0 < self.minutes < math.inf):
            raise ValueError(f"steps, minutes: expected one above 0, got {self.steps} and {self.minutes}")
        if self.optimiser not in _BETAS:
            raise ValueError(f"optimiser: expected soap or adamw, got {self.optimiser!r}")
        if self.batch < 1 or not self.rate > 0:
            raise ValueError(f"batch, rate: expected numbers above 0, got {self.batch} and {self.rate}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: expected a share, got {self.held_out}")


class RandomWindows:
    """Windows drawn at random, each changed by a random symmetry, as a stream of batches ``(B, frames, *grid)``.

    Args:
        windows: to draw from, history and future put together; another sequence may take its place on the way.
        symmetries: of the flow.
        seed: of the draws; the symmetries follow torch's own generator.
    """

    def __init__(self, windows: Windows, symmetries: Symmetries, seed: int) -> None:
        self.windows, self.symmetries, self.seed, self.drawn = windows, symmetries, seed, 0

    def draw(self, size: int) -> np.ndarray[Any, Any]:
        """Places of the next windows."""
        generator = np.random.default_rng([self.seed, self.drawn])
        self.drawn += 1
        return generator.integers(len(self.windows), size=size)

    def load(self, places: np.ndarray[Any, Any]) -> Tensor:
        """The windows at some places."""
        frames = torch.stack([torch.cat(self.windows[place]) for place in places.tolist()])
        return self.symmetries(frames, torch.default_generator)

    def state(self) -> dict[str, Any]:
        """How many batches were drawn."""
        return {"seed": self.seed, "drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a stream with the same seed was."""
        if state["seed"] != self.seed:
            raise ValueError(f"windows: expected a checkpoint of seed {self.seed}, got one of {state['seed']}")
        self.drawn = int(state["drawn"])


def descend(
    network: nn.Module,
    loss: Callable[[Tensor, float], Tensor],
    config: DescentConfig,
    windows: Callable[[float], Windows],
    symmetries: Symmetries,
    look: Callable[[], Mapping[str, float]],
    *,
    run: RunFolder | None = None,
    progress: bool = True,
) -> TrainingResult:
    """Train to the end, from where the run folder's checkpoint is.

    Args:
        network: what is trained, on its device.
        loss: of windows ``(B, frames, *grid)`` and the share that is done, with gradients; what is random in it follows
            torch's own generators.
        config: how long and how fast.
        windows: pieces of the training samples, by the share that is done; history and future are put together.
        symmetries: of the flow.
        look: scores of the held-out samples, called ten times.
        run: gets losses, scores and checkpoints.
        progress: whether to show a bar with the time left.

    Raises:
        FloatingPointError: the loss is no longer finite; the last checkpoint is kept.
        And what `separable.training.run_training` raises.
    """
    stream, done = RandomWindows(windows(0.0), symmetries, config.seed), 0.0

    def begin_step(share: float) -> None:
        nonlocal done
        stream.windows, done = windows(share), share

    length: dict[str, Any] = {"steps": config.steps} if config.steps else {"minutes": config.minutes}
    return run_training(
        network,
        lambda _, frames: loss(frames, done),
        stream,
        TrainingConfig(
            **length,
            clock="processor",
            batch=config.batch,
            accumulation=config.accumulation,
            optimiser=config.optimiser,
            rate=config.rate,
            floor=0.0,
            weight_decay=1e-4,
            betas=_BETAS[config.optimiser],
            evaluations=_LOOKS,
            seed=config.seed,
        ),
        run=run,
        evaluate=lambda _: look(),
        before_step=begin_step,
        unit="windows",
        device=next(network.parameters()).device,
        progress=progress,
    )
