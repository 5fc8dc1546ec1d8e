"""What the long verbs of `separable language reversal` would cost, by the verb's name and arguments."""

from __future__ import annotations

from pathlib import Path

from domains.language.reversal.commands import MODEL, questions_of
from domains.language.reversal.evaluate import ranking
from domains.language.reversal.reader import read_facts
from domains.language.reversal.train import ReversalConfig, load
from domains.language.reversal.train import train as train_model
from separable.records import Cost, cost_of_steps, cost_of_training


def train(facts: Path, run: Path, inverses: tuple[tuple[str, str], ...], config: ReversalConfig, device: str) -> Cost:
    """Of a training: some of its steps."""
    told = read_facts(facts, dict(inverses))
    return cost_of_training(
        lambda: train_model(told, config.model, config.training, progress=False, device=device), device=device
    )


def evaluate(run: Path, facts: Path | None, inverses: tuple[tuple[str, str], ...]) -> Cost:
    """Of an evaluation: some of its questions."""
    model, known = load(run / MODEL)
    questions = [fact for part in questions_of(run, facts, {**known, **dict(inverses)}).values() for fact in part]
    return cost_of_steps(
        lambda few: ranking(model, questions[:few]),
        len(questions),
        few=256,
        more=1024,
        parameters=model.n_parameters,
        what="questions",
    )
