"""Item 4: environments nobody here wrote, separable policies against perceptrons of equal size.

The settings are those of rl-baselines3-zoo, which were tuned for perceptrons; both sides have them as they are.
``highway-env`` has to be installed (extra ``peers``).
"""

import concurrent.futures
import dataclasses
import functools
import json
import math
import os
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import domains.navigation.policies
from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.navigation_learning import draw_curves, falling, interval, iqm, picture, trained_parameters
from benchmarks.trial import STUDIES, usual

FOLDER = STUDIES / "navigation_third_party"
SEEDS, EPISODES = usual((0, 1, 2, 3, 4), trial=(0,)), usual(20, trial=1)  # episodes of an evaluation
assert domains.navigation.policies  # registers the policies


@dataclasses.dataclass(frozen=True)
class Task:
    """A third-party environment and the zoo's settings for it.

    Args:
        algorithm: Of stable-baselines3.
        steps: Length of a training; it ends early when the goal is kept for two evaluations and ``stops`` is set.
        every: Steps between evaluations.
        goal: Score that counts as solved: return, or share of successes.
        worlds: Environments side by side.
        settings: The zoo's.
        rate: Learning rate.
        network: Sizes of the perceptron.
        coordinates: Known coordinates of the observation.
        published: What the zoo or the environment's authors report.
        environment: Arguments of ``gymnasium.make``.
        decays: Whether the learning rate falls to nothing.
        success: Whether the score is the share of successes.
        stops: Whether a training ends when it has kept the goal.
    """

    algorithm: type[Any]
    steps: int
    every: int
    goal: float
    worlds: int
    settings: dict[str, Any]
    rate: float
    published: str
    network: tuple[int, ...] = usual((64, 64), trial=(16, 16))
    coordinates: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    decays: bool = False
    success: bool = False
    stops: bool = False
    policy: dict[str, Any] = dataclasses.field(default_factory=dict)


TASKS: dict[str, Task] = {
    "CartPole-v1": Task(
        PPO,
        *usual((100_000, 4096), trial=(512, 256)),
        475.0,
        8,
        {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20},
        1e-3,
        "500 at 100,000 steps (PPO)",
        decays=True,
    ),
    "Acrobot-v1": Task(
        PPO,
        *usual((163_840, 8192), trial=(1024, 512)),
        -100.0,
        16,
        {"n_steps": usual(256, trial=32), "batch_size": 64, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4},
        3e-4,
        "-73.5 at 1,000,000 steps (PPO)",
    ),
    "Pendulum-v1": Task(
        SAC,
        *usual((10_000, 1000), trial=(160, 80)),
        -200.0,
        1,
        {},
        1e-3,
        "-157 at 20,000 steps (SAC, 256 x 256)",
    ),
    "MountainCarContinuous-v0": Task(
        SAC,
        *usual((50_000, 2000), trial=(64, 32)),
        90.0,
        1,
        {
            "buffer_size": 50_000,
            "batch_size": 512,
            "ent_coef": 0.1,
            "train_freq": 32,
            "gradient_steps": 32,
            "gamma": 0.9999,
            "tau": 0.01,
            "learning_starts": 0,
            "use_sde": True,
        },
        3e-4,
        "94.7 at 50,000 steps (SAC)",
        stops=True,
        policy={"log_std_init": -3.67},
    ),
    "parking-v0": Task(
        SAC,
        *usual((20_000, 2000), trial=(80, 40)),
        0.9,
        1,
        {
            "replay_buffer_class": HerReplayBuffer,
            "replay_buffer_kwargs": {"n_sampled_goal": 4, "goal_selection_strategy": "future"},
            "batch_size": 256,
            "gamma": 0.95,
            "learning_starts": usual(1000, trial=40),
            # A network's size is found by making models, each with its buffer.
            **usual({}, trial={"buffer_size": 1000}),
        },
        1e-3,
        "90 % success at 20,000 steps (TQC, 512 x 512 x 512); return -6.8 at 100,000",
        coordinates={"between": [[[0, 1], [6, 7]]], "vectors": [[2, 3], [8, 9]]},
        # Episodes of 100 decisions, the limit of the environment's earlier versions; today's default is 500.
        environment={"config": {"add_walls": False, "duration": usual(20, trial=4)}},
        success=True,
        stops=True,
    ),
}


def environments(name: str, count: int, seed: int) -> VecEnv:
    """Copies of an environment side by side."""
    if name == "parking-v0":
        import highway_env  # noqa: F401 - registers it
    envs = DummyVecEnv([functools.partial(gymnasium.make, name, **TASKS[name].environment) for _ in range(count)])
    envs.seed(seed)
    return envs


def make_model(name: str, side: str, size: int, seed: int) -> BaseAlgorithm:
    """The untrained model of one side."""
    task = TASKS[name]
    if side == "MLP":
        policy = "MultiInputPolicy" if task.success else "MlpPolicy"
        kwargs: dict[str, Any] = {"net_arch": [size] * len(task.network)}
    else:
        policy, kwargs = "SpanPolicy", {"coordinates": task.coordinates, "actor": {"pairs": size, "singles": size}}
    model: BaseAlgorithm = task.algorithm(
        policy,
        environments(name, task.worlds, 1000 * seed),
        learning_rate=functools.partial(falling, task.rate) if task.decays else task.rate,
        seed=seed,
        device="cpu",
        policy_kwargs={**kwargs, **task.policy},
        **task.settings,
    )
    return model


@functools.cache
def size_of(name: str, side: str) -> int:
    """The perceptron's width, or the greatest size of ours with no more parameters."""
    width = TASKS[name].network[0]
    if side == "MLP":
        return width
    budget = trained_parameters(make_model(name, "MLP", width, 0))
    size = 1
    while trained_parameters(make_model(name, side, size + 1, 0)) <= budget:
        size += 1
    return size


def score(name: str, model: BaseAlgorithm, episodes: int) -> float:
    """Mean return, or share of successes, of the deterministic policy on episodes of its own."""
    envs = environments(name, min(episodes, 20), 777_000)
    observation = envs.reset()
    n = envs.num_envs
    total, ended, won = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
    while not ended.all():
        action, _ = model.predict(observation, deterministic=True)  # type: ignore[arg-type]
        observation, reward, done, infos = envs.step(action)
        total += np.where(ended, 0.0, reward)
        for i in np.flatnonzero(done & ~ended):
            won[i] = infos[i].get("is_success", False)
        ended |= done
    envs.close()
    return float(won.mean()) if TASKS[name].success else float(total.mean())


class _Watch(BaseCallback):
    """Evaluates, and ends a training that has kept the goal if the task says so."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.next, self.seconds = name, TASKS[name].every, 0.0
        self.curve: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        task = TASKS[self.name]
        if self.num_timesteps >= self.next:
            self.next += task.every
            started = time.process_time()
            self.curve.append((self.num_timesteps, score(self.name, self.model, EPISODES)))
            self.seconds += time.process_time() - started
            if task.stops and len(self.curve) > 1 and min(s for _, s in self.curve[-2:]) >= task.goal:
                return False
        return True


def result(name: str, side: str, seed: int) -> dict[str, Any]:
    """The kept result of one training, or the training's."""
    task = TASKS[name]
    key = [name, side, task.rate, seed, size_of(name, side), task.steps, task.every, str(task.settings), task.stops]
    if task.environment:
        key.append(task.environment)
    return kept(kept_path(FOLDER, json.dumps(key)), lambda: {"key": key, **_train(name, side, seed)})


def _train(name: str, side: str, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    model = make_model(name, side, size_of(name, side), seed)
    watch = _Watch(name)
    started = time.process_time()
    model.learn(TASKS[name].steps, callback=watch)
    seconds = time.process_time() - started - watch.seconds
    return {"curve": watch.curve, "parameters": trained_parameters(model), "seconds": seconds}


def steps_to(found: dict[str, Any], goal: float) -> float:
    """Steps at the first evaluation that reaches the goal."""
    return next((float(steps) for steps, value in found["curve"] if value >= goal), math.inf)


def compared(name: str, pool: concurrent.futures.Executor) -> dict[str, list[dict[str, Any]]]:
    """Both sides with the zoo's settings."""
    runs = [(name, side, seed) for side in ("SPAN", "MLP") for seed in SEEDS]
    results = list(pool.map(result, *zip(*runs, strict=True)))
    return {side: [r for run, r in zip(runs, results, strict=True) if run[1] == side] for side in ("SPAN", "MLP")}


def main() -> None:
    """Measure and record."""
    rows, pictures = [], {}
    processes = int(os.environ.get("PROCESSES", os.cpu_count() or 1))
    better = []
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        for name, task in TASKS.items():
            found = compared(name, pool)
            pictures[name] = found
            for side, results in found.items():
                reached = [min(steps_to(r, task.goal), task.steps) for r in results]
                final = [r["curve"][-1][1] for r in results]
                low, high = interval(reached)
                rows.append(
                    {
                        "environment": name,
                        "algorithm": task.algorithm.__name__ + (" + HER" if task.success else ""),
                        "policy": side,
                        "parameters": results[0]["parameters"],
                        "goal": task.goal,
                        "steps to the goal (IQM)": round(iqm(reached)),
                        "95 % interval": f"{low:.0f} to {high:.0f}",
                        "seeds that reached it": f"{sum(steps_to(r, task.goal) < math.inf for r in results)} of 5",
                        "score at the end (IQM)": round(iqm(final), 3),
                        "processor s a training": round(float(np.mean([r["seconds"] for r in results])), 1),
                        "published": task.published,
                    }
                )
                print(rows[-1], flush=True)
            ours, theirs = (iqm([min(steps_to(r, task.goal), task.steps) for r in found[s]]) for s in ("SPAN", "MLP"))
            if ours <= theirs:
                better.append(name)
    draw_curves(pictures, picture("4"), "Environments of others", share=False)
    record.write(
        "navigation",
        "4",
        claim=f"Environments of others: the goal in no more steps than the MLP of equal size in {len(better)} of "
        f"{len(TASKS)} ({', '.join(better)})",
        measured=[row for row in rows if row["policy"] == "SPAN"],
        target="the same comparison, with published values beside it; no later than the MLP everywhere",
        holds=len(better) == len(TASKS),
        baselines=[row for row in rows if row["policy"] == "MLP"],
        command="python -m benchmarks.navigation_third_party",
        seeds=SEEDS,
        spread="95 % bootstrap intervals over 5 seeds; the zoo's settings, tuned for perceptrons, on both sides; "
        "a training that fails counts its whole length; parking-v0 in episodes of 100 decisions (its default is 500)",
    )


if __name__ == "__main__":
    main()
