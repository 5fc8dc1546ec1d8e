"""The teacher made used to the corpus before it teaches: some more steps of its own training, at a small rate.

A teacher that was trained on other text tells a student what that text is like; a short training on the student's
corpus before the distillation corrects it.

Source: the published code of Zhang et al., the law of capacity gap (2023, arXiv:2311.07052), at a tenth of the rate of
distillation; Muralidharan et al. (2024, arXiv:2408.11796), who call it teacher correction.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from domains.language.distillation.config import DistillationConfig
from domains.language.evaluate import mean_loss
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import evenly, keep_model
from separable.sequence import LanguageModel
from separable.training import RunFolder, TrainingResult, run_training


def adapt(
    teacher: LanguageModel,
    tokens: Tokens,
    config: DistillationConfig,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> TrainingResult:
    """Train a teacher on in place for `config.adapt_steps` at `config.adapt_rate`; in evaluation mode afterwards.

    Args:
        teacher: of the tokens' vocabulary.
        tokens: of the distillation; the batches come in another order than the student's.
        config: of the distillation.
        run: the folder that gets record, checkpoints and in ``model`` the adapted teacher; cut off, it goes on exactly.
        progress: whether to show a bar.
        device: where to train.

    Raises:
        ValueError: there are no steps to make, or the model does not know all ids; and as of `run_training`.
    """
    if not config.adapt_steps:
        raise ValueError("adapt_steps: expected at least 1, got 0")
    tokens.check_model(teacher.config.vocabulary)
    validation = tokens.part("validation")
    looks = len(validation) > config.context
    windows = evenly(len(validation), config.context, config.validation_windows) if looks else None
    training = dataclasses.replace(
        config.training,
        steps=config.adapt_steps,
        rate=config.adapt_rate,
        warm_up=min(config.training.warm_up, config.adapt_steps // 10),
    )

    def loss(model: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model.loss(*batch)

    def evaluate(model: LanguageModel) -> dict[str, float]:
        return {"validation_loss": mean_loss(model, validation, config.context, windows)}

    result = run_training(
        teacher,
        loss,
        WindowStream(tokens.part("train"), config.context, training.seed + 2),
        training,
        run=run,
        evaluate=evaluate if looks else None,
        unit="tokens",
        units_per_row=config.context,
        device=device,
        progress=progress,
    )
    if run is not None:
        keep_model(run, teacher, tokens, best=bool(looks and result.best_step))
    return result
