"""How a module is trained by gradient: the settings of `run_training`, whatever the module and its data."""

import dataclasses
import math
import numbers
from typing import Literal

Decay = Literal["cosine", "linear", "constant"]
Optimiser = Literal["adamw", "soap"]
Precision = Literal["auto", "float32", "bfloat16"]

_COUNTS = ("steps", "batch", "accumulation", "evaluate_every", "evaluations", "checkpoint_every", "log_every", "seed")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Length, batches, rates and habits of a training.

    Attributes:
        steps: optimiser steps; 0 for as many as the minutes allow.
        minutes: of training, evaluations and checkpoints not counted; only where steps is 0.
        clock: what minutes are of: the "wall", or on a CPU the "processor", all threads of a process together, which
            other work on the machine does not shorten.
        batch: rows in a step, over all processes.
        accumulation: parts in which each process computes its rows, one after another; more need less memory.
        optimiser: "adamw", or "soap", which does Adam's steps in the basis of each matrix's curvature (`SOAP`).
        rate: its greatest learning rate.
        warm_up: steps over which the rate rises from zero.
        decay: how the rate falls from there.
        decay_from: share of the training after which it falls.
        floor: share of the rate that is left at the end.
        weight_decay: on parameters with two or more axes.
        betas: of the means of the gradient and of its square; with "soap" the second is that of the bases as well.
        clip: greatest norm of the gradient; larger ones are scaled to it; 0 for no limit.
        precision: in which products are computed; "auto" times both before the first step.
        evaluate_every: steps between evaluations, each followed by a checkpoint.
        evaluations: in all, evenly over the training whatever its number of steps; 0 for one every so many steps.
        checkpoint_every: steps between further checkpoints; 0 for none.
        log_every: steps between lines in the record.
        distribution: what several processes share: the gradients ("ddp") or parameters and optimiser as well ("fsdp").
        seed: of random numbers drawn in a step; each step and part has its own.
    """

    steps: int = 0
    minutes: float = 0.0
    clock: Literal["wall", "processor"] = "wall"
    batch: int = 32
    accumulation: int = 1
    optimiser: Optimiser = "adamw"
    rate: float = 1e-3
    warm_up: int = 100
    decay: Decay = "cosine"
    decay_from: float = 0.0
    floor: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    precision: Precision = "float32"
    evaluate_every: int = 200
    evaluations: int = 0
    checkpoint_every: int = 0
    log_every: int = 10
    distribution: Literal["ddp", "fsdp"] = "ddp"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral):
                raise ValueError(f"{name}: expected a whole number, got {value!r}")
        if self.steps < 0 or not (self.steps or 0 < self.minutes < math.inf):
            raise ValueError(f"steps, minutes: expected one above 0, got {self.steps} and {self.minutes}")
        for name in ("batch", "accumulation", "evaluate_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("warm_up", "evaluations", "weight_decay", "clip", "checkpoint_every", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a number of at least 0, got {getattr(self, name)}")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"rate: expected a number above 0, got {self.rate}")
        for name in ("floor", "decay_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected two numbers from 0 to below 1, got {self.betas}")
        if self.clock not in ("wall", "processor"):
            raise ValueError(f"clock: expected wall or processor, got {self.clock!r}")
        if self.optimiser not in ("adamw", "soap"):
            raise ValueError(f"optimiser: expected adamw or soap, got {self.optimiser!r}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise ValueError(f"decay: expected cosine, linear or constant, got {self.decay!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision: expected auto, float32 or bfloat16, got {self.precision!r}")
        if self.distribution not in ("ddp", "fsdp"):
            raise ValueError(f"distribution: expected ddp or fsdp, got {self.distribution!r}")
        if self.optimiser == "soap" and self.distribution == "fsdp":
            raise ValueError(
                "distribution: expected ddp with the optimiser soap, got fsdp, which has no whole parameters"
            )
