"""Descent on a loss of windows, to a number of steps or of minutes, that goes on where it was cut off.

AdamW, gradients cut to norm 1, a rate that rises over 100 steps and falls as a cosine of the share that is done.
Windows are drawn at random and changed by a random symmetry of the flow each. Time is that of the processor on a CPU,
all its threads together, and that of the wall elsewhere; looks at the held-out samples are not counted.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from tqdm import tqdm

from domains.turbulence.readers import Windows
from domains.turbulence.symmetries import Symmetries
from separable.training import RunFolder

_LOOKS = 10  # looks and checkpoints of a training
_WARM_STEPS = 100


@dataclasses.dataclass(frozen=True)
class DescentConfig:
    """How long and how fast.

    Attributes:
        minutes: of work; only where steps is 0.
        steps: optimiser steps; 0 for as many as the minutes allow.
        batch: windows in a step.
        rate: greatest learning rate.
        symmetries: those of the flow where the file says which it is, otherwise none; every shift; or none.
        held_out: share of the samples never trained on, the last ones.
        seed: of start values, windows, symmetries and noise.
    """

    minutes: float = 10.0
    steps: int = 0
    batch: int = 16
    rate: float = 2e-3
    symmetries: Literal["flow", "shifts", "none"] = "flow"
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or not (self.steps or 0 < self.minutes < math.inf):
            raise ValueError(f"steps, minutes: expected one above 0, got {self.steps} and {self.minutes}")
        if self.batch < 1 or not self.rate > 0:
            raise ValueError(f"batch, rate: expected numbers above 0, got {self.batch} and {self.rate}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out: expected a share, got {self.held_out}")


class Descent:
    """A training and what changes in it from step to step.

    Args:
        network: what is trained.
        loss: of windows ``(B, frames, *grid)``, with gradients; the generator is for what is random in it.
        config: how long and how fast.
        generator: of windows, symmetries and the loss, on the CPU.
        name: of the checkpoint, ``<name>.safetensors``.

    Attributes:
        steps: that are behind.
        seconds: that they took.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, torch.Generator], Tensor],
        config: DescentConfig,
        generator: torch.Generator,
        name: str = "checkpoint",
    ) -> None:
        self.network, self.loss, self.config, self.generator = network, loss, config, generator
        self.file = f"{name}.safetensors"
        self.parameters = list(network.parameters())
        self.optimiser = torch.optim.AdamW(self.parameters, config.rate, weight_decay=1e-4)
        self.steps, self.seconds = 0, 0.0
        self.clock = time.process_time if self.parameters[0].device.type == "cpu" else time.perf_counter

    @property
    def done(self) -> float:
        """Share of the training that is behind."""
        return self.steps / self.config.steps if self.config.steps else self.seconds / (60 * self.config.minutes)

    def run(
        self,
        windows: Callable[[float], Windows],
        symmetries: Symmetries,
        look: Callable[[], dict[str, float]],
        run: RunFolder | None = None,
        progress: bool = True,
    ) -> None:
        """Train to the end, from where the run folder's checkpoint is.

        Args:
            windows: pieces of the training samples, by the share that is done; history and future are put together.
            symmetries: of the flow.
            look: scores of the held-out samples, called ten times.
            run: gets losses, scores and checkpoints.
            progress: whether to show a bar with the time left.

        Raises:
            FloatingPointError: the loss is no longer finite; the last checkpoint is kept.
        """
        if run is not None:
            self.restore(run.path)
        with tqdm(total=1.0, disable=not progress, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
            while self.done < 1:
                target = math.floor(self.done * _LOOKS + 1e-9) + 1
                losses = []
                while self.done * _LOOKS < target - 1e-9:
                    losses.append(self.step(windows(self.done), symmetries))
                    bar.update(min(1.0, self.done) - bar.n)
                scores = look()
                bar.set_postfix_str(", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
                if run is not None:
                    told = {"step": self.steps, "minutes": round(self.seconds / 60, 3), "loss": float(np.mean(losses))}
                    run.log(**told, **scores)
                    self.store(run.path)

    def step(self, windows: Windows, symmetries: Symmetries) -> float:
        """One step of the optimiser; returns the loss before it."""
        started = self.clock()
        for group in self.optimiser.param_groups:
            warm = min(1.0, (self.steps + 1) / _WARM_STEPS)
            group["lr"] = self.config.rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        chosen = torch.randint(len(windows), (self.config.batch,), generator=self.generator).tolist()
        frames = torch.stack([torch.cat(windows[index]) for index in chosen])
        loss = self.loss(symmetries(frames, self.generator), self.generator)
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
        """Write a checkpoint: the network with its buffers, the optimiser, the random numbers, the count."""
        tensors = {f"network.{n}": v.cpu().contiguous() for n, v in self.network.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value.cpu().contiguous() for name, value in state.items()}
        tensors["generator"] = self.generator.get_state()
        tensors["steps"] = torch.tensor(self.steps)
        tensors["seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        temporary = folder / f".{self.file}"
        safetensors.torch.save_file(tensors, temporary)
        temporary.replace(folder / self.file)

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint in a folder, if there is one."""
        if not (folder / self.file).exists():
            return
        tensors = safetensors.torch.load_file(folder / self.file)
        self.network.load_state_dict({n[8:]: v for n, v in tensors.items() if n.startswith("network.")})
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, entry = name.split(".")
                state.setdefault(int(index), {})[entry] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.generator.set_state(tensors["generator"])
        self.steps, self.seconds = int(tensors["steps"]), float(tensors["seconds"])
