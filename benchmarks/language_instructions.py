"""Instructions: what it brings to learn from the answers' tokens alone, at equal minutes of the processor.

A transformer of bytes that has read nothing is trained on the conversations of `instruction.tasks`, by `tune` or on all
of their tokens, and asked those that were held out; right is what agrees word for word. Beside it stands the answer
that is most frequent in a task.

    MINUTES=3 OMP_NUM_THREADS=1 python -m benchmarks.language_instructions
"""

from __future__ import annotations

import collections
import os
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.trial import usual
from domains.language.instruction.chat import encode, padded
from domains.language.instruction.tasks import Instruction, instructions
from domains.language.instruction.train import InstructionConfig, accuracy, tune
from domains.language.tokenisers import ByteTokeniser
from separable.sequence import LanguageModel, LanguageModelConfig, TransformerConfig
from separable.training import ShuffledRows, TrainingConfig, run_training

MINUTES = usual(os.environ.get("MINUTES", "3"), trial="0.005")
SEEDS, DRAWN, ASKED = usual((range(3), 60_000, 500), trial=(range(1), 1000, 60))
TRANSFORMER = usual(TransformerConfig(width=128, layers=4, heads=4), trial=TransformerConfig(width=32, layers=1))
ANSWERS, EVERYTHING, FREQUENT = "the answers' tokens alone", "all tokens", "the most frequent answer of the task"


def trained_on_everything(model: LanguageModel, learnt: Sequence[Instruction], training: TrainingConfig) -> None:
    """As `tune` trains, with questions among the targets."""
    tokeniser = ByteTokeniser()
    encoded = [encode(tokeniser, each.conversation)[0] for each in learnt]

    def load(rows: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        whole = [(encoded[int(row)], np.ones(len(encoded[int(row)]), bool)) for row in rows]
        return padded(whole, tokeniser.end)

    def loss(model: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
        return model.loss(*batch)

    run_training(model, loss, ShuffledRows(len(encoded), load, training.seed), training, progress=False)


def answered(arm: str, learnt: Sequence[Instruction], asked: Sequence[Instruction], seed: int) -> Any:
    """Share of right answers by task, of one training."""
    torch.manual_seed(seed)
    model = LanguageModel(LanguageModelConfig(ByteTokeniser().vocabulary, TRANSFORMER))
    training = TrainingConfig(minutes=float(MINUTES), clock="processor", batch=32, rate=3e-3, warm_up=100, seed=seed)
    if arm == ANSWERS:
        conversations = [each.conversation for each in learnt]
        tune(model, ByteTokeniser(), conversations, config=InstructionConfig(training=training), progress=False)
    else:
        trained_on_everything(model, learnt, training)
    return accuracy(model, ByteTokeniser(), asked)


def most_frequent(learnt: Sequence[Instruction], asked: Sequence[Instruction]) -> dict[str, float]:
    """Share of questions whose answer is the most frequent one of their task."""
    answers = collections.defaultdict[str, collections.Counter[str]](collections.Counter)
    for each in learnt:
        answers[each.task][each.answer] += 1
    right: dict[str, list[bool]] = {"all": []}
    for each in asked:
        for task in ("all", each.task):
            right.setdefault(task, []).append(answers[each.task].most_common(1)[0][0] == each.answer)
    return {task: float(np.mean(marks)) for task, marks in right.items()}


def main() -> None:
    """Train, ask and write the record."""
    drawn = list(instructions(DRAWN))
    learnt = [each for each in drawn if not each.held_out]
    asked = list(dict.fromkeys(each for each in drawn if each.held_out))[:ASKED]
    rows = {arm: [answered(arm, learnt, asked, seed) for seed in SEEDS] for arm in (ANSWERS, EVERYTHING)}
    told = [{"learnt from": arm, **_mean(shares)} for arm, shares in rows.items()]
    told.append({"learnt from": FREQUENT, **_mean([most_frequent(learnt, asked)])})
    for row in told:
        print(row)
    gains = [ours["all"] - theirs["all"] for ours, theirs in zip(rows[ANSWERS], rows[EVERYTHING], strict=True)]
    record.write(
        "language",
        "instructions",
        claim=f"Trained on the answers' tokens alone a model answers more of {len(asked)} held-out instructions word "
        f"for word than one trained on all tokens of the conversations for the same {MINUTES} minutes of a processor",
        measured=told[:1],
        target="a greater share of right answers with each seed; " + ", ".join(f"{gain:+.3f}" for gain in gains),
        holds=min(gains) > 0,
        baselines=told[1:],
        command=f"MINUTES={MINUTES} OMP_NUM_THREADS=1 python -m benchmarks.language_instructions",
        seeds=list(SEEDS),
        spread="the columns least and greatest: over seeds, of all questions; tasks as means over seeds",
    )


def _mean(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    found = {task: statistics.mean(share[task] for share in shares) for task in shares[0]}
    every = [share["all"] for share in shares]
    return {"all": found.pop("all"), "least": min(every), "greatest": max(every), **found}


if __name__ == "__main__":
    main()
