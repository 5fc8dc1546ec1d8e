"""What a student is told, and its training."""

from __future__ import annotations

import dataclasses

from domains.language.distillation.losses import DIVERGENCES
from separable.training import TrainingConfig


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """What a student is told, and its training; the published rate is 3e-4, its teacher's adaptation a tenth of it.

    Attributes:
        divergence: forward_kl, reverse_kl, jensen_shannon, skewed_kl or taid, whose target moves with the steps.
        share: of the divergence; the rest is cross-entropy.
        temperature: by which logits are divided in the divergence.
        hidden: weight of matched hidden states, by learned projections; 0 for none.
        context: tokens of a window.
        validation_windows: windows of an evaluation, evenly over the validation part; 0 for all.
        calibration: batches from which importances are found.
        adapt_steps: steps in which the teacher is trained on the same text first; 0 for none.
        adapt_rate: greatest learning rate of these.
        training: length, batches, rates and habits; a row is a window.
    """

    divergence: str = "forward_kl"
    share: float = 0.5
    temperature: float = 1.0
    hidden: float = 0.0
    context: int = 256
    validation_windows: int = 64
    calibration: int = 16
    adapt_steps: int = 0
    adapt_rate: float = 3e-5
    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(minutes=10.0, batch=16, rate=3e-4)
    )

    def __post_init__(self) -> None:
        if self.divergence not in DIVERGENCES:
            raise ValueError(f"divergence: expected one of {', '.join(DIVERGENCES)}; got {self.divergence!r}")
        if self.divergence == "taid" and not self.training.steps:
            raise ValueError("steps: expected a number of them, as the target of taid moves with the steps, got 0")
        if not 0 <= self.share <= 1 or not self.temperature > 0:
            raise ValueError(
                f"share, temperature: expected one in [0, 1] and one above 0, got {self.share}, {self.temperature}"
            )
        if not self.hidden >= 0 or not self.adapt_rate > 0 or self.adapt_steps < 0:
            raise ValueError(
                "hidden, adapt_steps, adapt_rate: expected at least 0, at least 0 and above 0, "
                f"got {self.hidden}, {self.adapt_steps}, {self.adapt_rate}"
            )
        if min(self.context, self.calibration) < 1 or self.validation_windows < 0:
            raise ValueError(
                "context, calibration, validation_windows: expected at least 1, 1 and 0, "
                f"got {self.context}, {self.calibration}, {self.validation_windows}"
            )
