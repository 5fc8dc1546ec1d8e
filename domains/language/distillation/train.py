"""Training of a student by its teacher: the windows, the loop and the measures of any language model, another loss."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from domains.language.distillation.importance import Units, importances
from domains.language.distillation.losses import DIVERGENCES, distillation_loss
from domains.language.evaluate import mean_loss
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import evenly, keep_model
from separable.sequence import LanguageModel
from separable.training import RunFolder, TrainingConfig, TrainingResult, run_training


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """What a student is told, and its training; the published rate is 3e-4.

    Attributes:
        divergence: forward_kl, reverse_kl, jensen_shannon or skewed_kl.
        share: of the divergence; the rest is cross-entropy.
        temperature: by which logits are divided in the divergence.
        context: tokens of a window.
        validation_windows: windows of an evaluation, evenly over the validation part; 0 for all.
        calibration: batches from which importances are found.
        training: length, batches, rates and habits; a row is a window.
    """

    divergence: str = "forward_kl"
    share: float = 0.5
    temperature: float = 1.0
    context: int = 256
    validation_windows: int = 64
    calibration: int = 16
    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(minutes=10.0, batch=16, rate=3e-4)
    )

    def __post_init__(self) -> None:
        kinds = [name for name in DIVERGENCES if name != "taid"]  # whose target moves with the steps that are done
        if self.divergence not in kinds:
            raise ValueError(f"divergence: expected one of {', '.join(kinds)}; got {self.divergence!r}")
        if not 0 <= self.share <= 1 or not self.temperature > 0:
            raise ValueError(
                f"share, temperature: expected one in [0, 1] and one above 0, got {self.share}, {self.temperature}"
            )
        if min(self.context, self.calibration) < 1 or self.validation_windows < 0:
            raise ValueError(
                "context, calibration, validation_windows: expected at least 1, 1 and 0, "
                f"got {self.context}, {self.calibration}, {self.validation_windows}"
            )


def calibrated(teacher: LanguageModel, tokens: Tokens, config: DistillationConfig) -> Units:
    """Importances of a teacher's units, from some batches of the training part."""
    stream = WindowStream(tokens.part("train"), config.context, config.training.seed + 1)
    device = next(teacher.parameters()).device
    drawn = (stream.load(stream.draw(config.training.batch)) for _ in range(config.calibration))
    return importances(teacher, ((inputs.to(device), targets.to(device)) for inputs, targets in drawn))


def distil(
    student: LanguageModel,
    teacher: LanguageModel,
    tokens: Tokens,
    config: DistillationConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> TrainingResult:
    """Train a student in place; with a validation part the best weights are kept, else the last.

    Args:
        student: pruned from the teacher or not, over the same vocabulary; in evaluation mode afterwards.
        teacher: moved to the device, in evaluation mode afterwards.
        tokens: what both read.
        config: of loss and training.
        run: the folder that gets record, checkpoints, report and in ``model`` the finished student with its tokeniser;
            a training that was cut off goes on exactly.
        progress: whether to show a bar with tokens a second and the time left.
        device: where to train.

    Raises:
        ValueError: a model does not know all ids, a window is longer than the training part; and all that
            `separable.training.run_training` raises.
    """
    config = config or DistillationConfig()
    for model in (student, teacher):
        tokens.check_model(model.config.vocabulary)
    teacher.to(device).eval()
    divergence = DIVERGENCES[config.divergence]()
    validation = tokens.part("validation")
    looks = len(validation) > config.context
    windows = evenly(len(validation), config.context, config.validation_windows) if looks else None

    def loss(model: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
        return distillation_loss(
            model, teacher, *batch, divergence=divergence, share=config.share, temperature=config.temperature
        )

    def evaluate(model: LanguageModel) -> dict[str, float]:
        return {"validation_loss": mean_loss(model, validation, config.context, windows)}

    result = run_training(
        student,
        loss,
        WindowStream(tokens.part("train"), config.context, config.training.seed),
        config.training,
        run=run,
        evaluate=evaluate if looks else None,
        unit="tokens",
        units_per_row=config.context,
        device=device,
        progress=progress,
    )
    if run is not None:
        keep_model(run, student, tokens, best=bool(looks and result.best_step))
    return result
