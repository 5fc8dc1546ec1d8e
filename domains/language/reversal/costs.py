"""What the long verbs of `separable language reversal` would cost, by the verb's name and arguments."""

from __future__ import annotations

from pathlib import Path

from domains.language.reversal.reader import read_facts
from domains.language.reversal.train import ReversalConfig
from domains.language.reversal.train import train as train_model
from separable.records import Cost, cost_of_training


def train(facts: Path, run: Path, inverses: tuple[tuple[str, str], ...], config: ReversalConfig, device: str) -> Cost:
    """Of a training: some of its steps."""
    told = read_facts(facts, dict(inverses))
    return cost_of_training(
        lambda: train_model(told, config.model, config.training, progress=False, device=device), device=device
    )
