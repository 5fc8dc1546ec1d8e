"""A model trained on answers alone: questions are read and cost nothing, each answer's tokens and its end do.

For conversations with the assistant's tokens A, the loss is ``- mean over A of log p(token | what came before)``, the
mean over all such tokens of a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.language.instruction.chat import Array, Conversation, Message, asked, encode, padded
from domains.language.instruction.tasks import Instruction
from domains.language.tokenisers import Tokeniser
from domains.language.train import MODEL
from separable.sequence import LanguageModel
from separable.training import (
    RunFolder,
    ShuffledRows,
    TrainingConfig,
    TrainingResult,
    is_main_process,
    load_weights,
    run_training,
)


@dataclasses.dataclass(frozen=True)
class InstructionConfig:
    """A training on answers; the published one has 3 epochs at a rate of 2e-5, for 3 billion parameters.

    Attributes:
        context: most tokens of a conversation.
        measured: held-out conversations of an evaluation; 0 for all.
        training: length, batches, rates and habits; a row is a conversation.
    """

    context: int = 256
    measured: int = 256
    training: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(minutes=5.0, batch=32, rate=5e-4)
    )

    def __post_init__(self) -> None:
        if self.context < 2 or self.measured < 0:
            raise ValueError(f"context, measured: expected at least 2 and 0, got {self.context} and {self.measured}")


def tune(
    model: LanguageModel,
    tokeniser: Tokeniser,
    conversations: Sequence[Conversation],
    held_out: Sequence[Conversation] = (),
    config: InstructionConfig | None = None,
    *,
    run: RunFolder | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> TrainingResult:
    """Train a model in place; with a run and held-out conversations the weights best on these are kept, else the last.

    Args:
        model: that has read text; in evaluation mode afterwards.
        tokeniser: that it was trained with.
        conversations: to learn from.
        held_out: to measure on.
        config: of the training.
        run: the folder that gets record, checkpoints, report and in ``model`` the model with its tokeniser; a training
            that was cut off goes on exactly.
        progress: whether to show a bar.
        device: where to train.

    Raises:
        ValueError: there are no conversations, one is too long or its assistant says nothing, or the model does not
            know all ids; and all that `separable.training.run_training` raises.
    """
    config = config or InstructionConfig()
    if model.config.vocabulary < tokeniser.vocabulary:
        raise ValueError(
            f"vocabulary: expected a model of at least {tokeniser.vocabulary} tokens, got {model.config.vocabulary}"
        )
    learnt = _encoded(tokeniser, conversations, config.context)
    measured = _encoded(tokeniser, held_out[: config.measured or None], config.context) if held_out else []
    end = tokeniser.end

    said = np.array([int((padded([each], end)[1] >= 0).sum()) for each in learnt])

    def load(rows: Array) -> tuple[Tensor, Tensor, Tensor]:
        # Parts of a step count alike in its mean, but tokens have to.
        share = said[rows].mean() / said[stream.step].mean()
        return *padded([learnt[int(row)] for row in rows], end), torch.tensor(share, dtype=torch.float32)

    def loss(model: LanguageModel, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        tokens, targets, share = batch
        return share * model.loss(tokens, targets)

    def evaluate(model: LanguageModel) -> dict[str, float]:
        return {"held_out_loss": answer_loss(model, measured, end)}

    stream = ShuffledRows(len(learnt), load, config.training.seed)
    result = run_training(
        model,
        loss,
        stream,
        config.training,
        run=run,
        evaluate=evaluate if measured else None,
        unit="conversations",
        device=device,
        progress=progress,
    )
    if run is not None:
        if measured and result.best_step:
            load_weights(run.path / "best.safetensors", model)
        if is_main_process():
            model.save(run.path / MODEL)
            tokeniser.save(run.path / MODEL)
    return result


def answer_loss(model: LanguageModel, encoded: Sequence[tuple[Array, Array]], end: int, together: int = 32) -> float:
    """Nats a token of the assistant, over all conversations as of `encode`."""
    device, total, count = next(model.parameters()).device, 0.0, 0
    with torch.no_grad():
        for start in range(0, len(encoded), together):
            tokens, targets = padded(encoded[start : start + together], end)
            said = int((targets >= 0).sum())
            total += said * float(model.loss(tokens.to(device), targets.to(device)))
            count += said
    return total / count


def reply(
    model: LanguageModel,
    tokeniser: Tokeniser,
    conversation: Sequence[Message],
    *,
    steps: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
) -> str:
    """What the model answers to a conversation that ends with a question.

    Args:
        model: that was trained by `tune`.
        tokeniser: of the model.
        conversation: up to the question.
        steps: most tokens of the answer.
        temperature: 0 takes the most probable token.
        seed: of the draws.
    """
    device = next(model.parameters()).device
    ids = torch.from_numpy(asked(tokeniser, conversation))[None].to(device)
    generator = torch.Generator(device).manual_seed(seed)
    drawn = model.generate(ids, steps, temperature=temperature, stop=[tokeniser.end], generator=generator)
    return tokeniser.decode(int(token) for token in drawn if int(token) < tokeniser.vocabulary)


def accuracy(model: LanguageModel, tokeniser: Tokeniser, asked: Sequence[Instruction]) -> dict[str, float]:
    """Share of right answers, word for word: of each task, and of all under ``all``; each in the order of the tasks."""
    right: dict[str, list[bool]] = {"all": []}
    for each in asked:
        # As many tokens as the longest answer may have, and its end.
        said = reply(model, tokeniser, each.conversation[:1], steps=len(each.answer.encode()) + 1)
        for task in ("all", each.task):
            right.setdefault(task, []).append(said == each.answer)
    return {task: float(np.mean(marks)) for task, marks in right.items()}


def _encoded(tokeniser: Tokeniser, conversations: Sequence[Conversation], context: int) -> list[tuple[Array, Array]]:
    if not conversations:
        raise ValueError("conversations: expected at least one, got none")
    found = []
    for conversation in conversations:
        ids, said = encode(tokeniser, conversation)
        if len(ids) > context + 1:
            raise ValueError(f"{_named(conversation)}: expected at most {context + 1} tokens, got {len(ids)}")
        if not said.any():
            raise ValueError(f"{_named(conversation)}: expected something that the assistant says, got nothing")
        found.append((ids, said))
    return found


def _named(conversation: Conversation) -> str:
    """By its words, as its place among those that are learnt is not that in a file."""
    return f"the conversation that begins {conversation[0].text[:40]!r}" if conversation else "a conversation"
