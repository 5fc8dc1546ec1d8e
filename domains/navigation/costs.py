"""What the long verbs of `separable navigation` would cost, by the verb's name and arguments."""

from __future__ import annotations

import time
from pathlib import Path

import tyro

from domains.navigation.evaluation import evaluate
from domains.navigation.policies import parameter_count
from domains.navigation.training import TrainConfig, make_model
from domains.navigation.training import train as train_model
from separable.records import Cost, cost_of_steps

_NEVER = 2**62


def train(run: Path, config: tyro.conf.OmitArgPrefixes[TrainConfig]) -> Cost:
    """Of a training: some rollouts or, off policy, some updates, and an evaluation of the policy before it."""
    model = make_model(config.changed(buffer=1))
    started = time.perf_counter()
    evaluate(model, config.options, config.episodes)
    look = time.perf_counter() - started

    def trial(steps: int) -> None:
        train_model(config.changed(steps=steps, evaluate_every=_NEVER, episodes=1), progress=False)

    together = config.worlds * config.horizon
    few, more = together, 3 * together
    if config.algorithm not in ("ppo", "a2c"):
        few, more = config.warmup + 40 * config.worlds, config.warmup + 120 * config.worlds
    looks = -(-config.steps // config.every) + 1
    return cost_of_steps(
        trial, config.steps, few=few, more=more, parameters=parameter_count(model.policy), other=looks * look
    )
