"""What the long verbs of `separable navigation` would cost, by the verb's name and arguments."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import tyro

from domains.navigation.commands import WorldChanges, _load
from domains.navigation.evaluation import AT_ONCE, fly
from domains.navigation.evaluation import evaluate as evaluate_model
from domains.navigation.policies import parameter_count
from domains.navigation.random_states import random_states_kept
from domains.navigation.training import TrainConfig, make_model
from domains.navigation.training import train as train_model
from separable.records import Cost, cost_of_steps

_NEVER = 2**62


@random_states_kept()
def train(run: Path, config: tyro.conf.OmitArgPrefixes[TrainConfig]) -> Cost:
    """Of a training: some rollouts or, off policy, some updates, and an evaluation of the policy before it."""
    model = make_model(config.changed(buffer=1))
    started = time.perf_counter()
    evaluate_model(model, config.options, config.episodes)
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


def evaluate(
    model: Path,
    episodes: int,
    seed: int,
    out: Path,
    last: bool,
    changes: tyro.conf.OmitArgPrefixes[WorldChanges],
) -> Cost:
    """Of an evaluation: flights that end after some steps; at most, for most end before the time limit."""
    policy, config = _load(model, last)
    options = changes.of(config.options)
    together = min(episodes, AT_ONCE)
    passes = -(-episodes // AT_ONCE)

    def trial(steps: int) -> None:
        fly(policy, options.changed(time_limit=steps * options.time_step), together, seed)

    told = cost_of_steps(
        trial, passes * options.steps, few=4, more=32, parameters=parameter_count(policy.policy), what="steps of worlds"
    )
    # Positions are kept of all episodes, those of a pass twice while it is joined.
    positions = 8.0 * options.dimensions * (options.steps + 1) * (episodes + together)
    memory = None if told.memory is None else told.memory + positions
    notes = (f"{passes} passes of up to {together} worlds; flights that end before the time limit take less.",)
    return dataclasses.replace(told, memory=memory, notes=notes)
