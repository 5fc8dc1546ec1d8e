"""Training of a student by its teacher: the windows, the loop and the measures of any language model, another loss."""

from __future__ import annotations

import torch
from torch import Tensor

from domains.language.distillation.config import DistillationConfig
from domains.language.distillation.importance import Units, importances
from domains.language.distillation.lesson import Lesson
from domains.language.distillation.logits_cache import LogitsCache
from domains.language.evaluate import mean_loss
from domains.language.tokens import Tokens, WindowStream
from domains.language.train import evenly, keep_model
from separable.sequence import LanguageModel
from separable.training import BatchStream, RunFolder, ShuffledRows, TrainingResult, load_weights, run_training


def calibrated(teacher: LanguageModel, tokens: Tokens, config: DistillationConfig) -> Units:
    """Importances of a teacher's units, from some batches of the training part."""
    stream = WindowStream(tokens.part("train"), config.context, config.training.seed + 1)
    device = next(teacher.parameters()).device
    drawn = (stream.load(stream.draw(config.training.batch)) for _ in range(config.calibration))
    return importances(teacher, ((inputs.to(device), targets.to(device)) for inputs, targets in drawn))


def distil(
    student: LanguageModel,
    teacher: LanguageModel | LogitsCache,
    tokens: Tokens,
    config: DistillationConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> TrainingResult:
    """Train a student in place; with a run and a validation part the best weights are kept, else the last.

    Args:
        student: pruned from the teacher or not, over the same vocabulary; in evaluation mode afterwards.
        teacher: a model, moved to the device and in evaluation mode afterwards; or what was kept of one, whose windows
            are then those of the training.
        tokens: what both read.
        config: of loss and training.
        run: the folder that gets record, checkpoints, report and in ``model`` the finished student with its tokeniser;
            a training that was cut off goes on exactly.
        progress: whether to show a bar with tokens a second and the time left.
        device: where to train.

    Raises:
        ValueError: a model does not know all ids, a window is longer than the training part, or the config asks for
            what the kept logits cannot give; and all that `separable.training.run_training` raises.
    """
    config = config or DistillationConfig()
    tokens.check_model(student.config.vocabulary)
    stream: BatchStream
    if isinstance(teacher, LogitsCache):
        _check_cache(teacher, student, config)
        model = None
        stream = ShuffledRows(teacher.windows, teacher.load, config.training.seed)
    else:
        tokens.check_model(teacher.config.vocabulary)
        model = teacher.to(device).eval()
        stream = WindowStream(tokens.part("train"), config.context, config.training.seed)
    validation = tokens.part("validation")
    looks = len(validation) > config.context
    windows = evenly(len(validation), config.context, config.validation_windows) if looks else None
    training = config.training
    lesson = Lesson(
        student,
        model,
        divergence=config.divergence,
        share=config.share,
        temperature=config.temperature,
        hidden=config.hidden,
        generator=torch.Generator().manual_seed(training.seed),
    )

    done = 0.0

    def begin_step(share: float) -> None:
        nonlocal done
        done = share

    def loss(lesson: Lesson, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        return lesson(batch, model, done)

    def evaluate(lesson: Lesson) -> dict[str, float]:
        return {"validation_loss": mean_loss(lesson.student, validation, config.context, windows)}

    result = run_training(
        lesson,
        loss,
        stream,
        training,
        run=run,
        evaluate=evaluate if looks else None,
        before_step=begin_step,
        unit="tokens",
        units_per_row=config.context,
        device=device,
        progress=progress,
    )
    if run is not None:
        if looks and result.best_step:
            load_weights(run.path / "best.safetensors", lesson)
        keep_model(run, student, tokens, best=False)
    return result


def _check_cache(cache: LogitsCache, student: LanguageModel, config: DistillationConfig) -> None:
    if cache.vocabulary != student.config.vocabulary:
        raise ValueError(
            f"distil: expected logits of the student's {student.config.vocabulary} tokens, got {cache.vocabulary}"
        )
    if config.context != cache.config.context:
        raise ValueError(f"context: expected {cache.config.context}, that of the kept logits, got {config.context}")
    if config.temperature != 1:
        raise ValueError(f"temperature: expected 1, that of the kept logits, got {config.temperature}")
    if cache.config.kind == "sampled" and config.divergence != "forward_kl":
        raise ValueError(f"divergence: expected forward_kl, all that draws are good for, got {config.divergence!r}")
