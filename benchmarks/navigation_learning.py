"""Learning a waypoint task with one policy and one setting: the harness of the navigation benchmarks.

A run is cached by its description in ``runs/benchmarks/navigation``, so that a benchmark that was cut off goes on.
Success is the share of 100 episodes, never trained on, that the deterministic policy flies to the last waypoint.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from pytorch_optimizer import SOAP
from scipy.stats import trim_mean
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from benchmarks.kept import kept, kept_path
from benchmarks.trial import RESULTS, STUDIES, usual
from domains.navigation.coordinates import Coordinates, KnownCoordinates
from domains.navigation.networks import QuadraticFeatures
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import SpanPolicy, parameter_count
from domains.navigation.stable_baselines import WaypointVecEnv

FOLDER = STUDIES / "navigation"
EPISODES, UNSEEN = usual(100, trial=4), 50_000_000  # evaluation's seeds begin here
TUNING_SEEDS, SEEDS = usual((100, 101), trial=(100,)), tuple(range(usual(10, trial=1)))
GOAL = 0.8
ALGORITHMS = {"ppo": PPO, "sac": SAC}
FIXED: dict[str, dict[str, Any]] = {
    "ppo": {
        "n_steps": usual(64, trial=16),
        "batch_size": 128,
        "n_epochs": usual(10, trial=1),
        "gamma": 0.99,
        "gae_lambda": 0.95,
    },
    "sac": {
        "train_freq": 1,
        "gradient_steps": usual(8, trial=1),
        "batch_size": 256,
        "learning_starts": 500,
        "gamma": 0.98,
    },
}
WORLDS = {"ppo": 16, "sac": 8}
RATES = usual((1e-3, 3e-3, 1e-2), trial=(1e-3, 3e-3))
# As many settings for every side, each tried on the tuning seeds at every budget (SAC's in the body frame alone).
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ppo": [{"learning_rate": r} for r in RATES],
    "sac": [{"learning_rate": r, "tau": 0.02} for r in RATES],
}


class KnownExtractor(BaseFeaturesExtractor):
    """Our physically chosen coordinates before stable-baselines3's perceptron, for the ablation."""

    def __init__(self, observation_space: Any, coordinates: Coordinates) -> None:
        known = KnownCoordinates(int(np.prod(observation_space.shape)), coordinates)
        super().__init__(observation_space, known.n_outputs)
        self.known = known

    def forward(self, observations: Tensor) -> Tensor:
        """Coordinates ``(B, D)``."""
        found: Tensor = self.known(observations)
        return found


# What a side is made of, for a size n: name of the policy and its arguments.
Side = Callable[[Coordinates, int], tuple[str, dict[str, Any]]]


# A step that knows curvature: Adam in the eigenbasis of every matrix's Kronecker factors (Vyas et al. 2025, SOAP).
CURVATURE = {"optimizer_class": SOAP, "optimizer_kwargs": {"weight_decay": 0.0}}


def _span(chosen: Coordinates, **network: Any) -> tuple[str, dict[str, Any]]:
    return "SpanPolicy", {"coordinates": chosen, "actor": network}


SIDES: dict[str, Side] = {
    "SPAN": lambda known, n: _span(known, pairs=n, singles=n),
    "MLP": lambda known, n: ("MlpPolicy", {"net_arch": [n, n]}),
    "MLP with our coordinates": lambda known, n: (
        "MlpPolicy",
        {
            "net_arch": [n, n],
            "features_extractor_class": KnownExtractor,
            "features_extractor_kwargs": {"coordinates": known},
        },
    ),
    "SPAN without coordinates": lambda known, n: _span(Coordinates(), pairs=n, singles=n),
    "SPAN of order 1": lambda known, n: _span(known, pairs=0, singles=n),
    "SPAN without linear term": lambda known, n: _span(known, pairs=n, singles=n, linear=False),
    "SPAN with B-splines": lambda known, n: _span(known, pairs=n, singles=n, atoms="spline"),
    "SPAN with B-splines, refined": lambda known, n: _span(known, pairs=n, singles=n, atoms="spline", intervals=2),
    "SPAN with B-splines, fine": lambda known, n: _span(known, pairs=n, singles=n, atoms="spline", intervals=8),
    "SPAN with a curvature-aware step": lambda known, n: (
        "SpanPolicy",
        {"coordinates": known, "actor": {"pairs": n, "singles": n}, **CURVATURE},
    ),
    "MLP with a curvature-aware step": lambda known, n: ("MlpPolicy", {"net_arch": [n, n], **CURVATURE}),
    "SPAN, small actor": lambda known, n: (
        "SpanPolicy",
        {
            "coordinates": known,
            "actor": {"pairs": max(1, n // 2), "singles": max(1, n // 2)},
            "critic": {"pairs": n + n // 2, "singles": n + n // 2},
        },
    ),
    "published": lambda known, n: _span(Coordinates(), kind="published", coordinates=n, grid_points=6, rank=n),
    "published with our coordinates": lambda known, n: _span(
        known, kind="published", coordinates=n, grid_points=6, rank=n
    ),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Args:
        side: Name in `SIDES`.
        algorithm: ``ppo`` or ``sac``.
        size: Of the network, see `SIDES`.
        options: Fields of `WaypointOptions`, as sorted pairs.
        steps: Environment steps.
        every: Steps between evaluations.
        setting: Of the algorithm, as sorted pairs.
        seed: Of everything.
    """

    side: str
    algorithm: str
    size: int
    options: tuple[tuple[str, Any], ...]
    steps: int
    every: int
    setting: tuple[tuple[str, Any], ...]
    seed: int

    def path(self) -> Path:
        """Where the result is kept."""
        text = json.dumps([dataclasses.asdict(self), FIXED[self.algorithm], WORLDS[self.algorithm]], sort_keys=True)
        return kept_path(FOLDER, text)

    def result(self) -> dict[str, Any]:
        """The kept result, or the training's."""
        return kept(self.path(), lambda: {**dataclasses.asdict(self), **self._train()})

    def _train(self) -> dict[str, Any]:
        torch.set_num_threads(1)
        options = WaypointOptions(**dict(self.options))
        model = self.model(WaypointVecEnv(WORLDS[self.algorithm], options))
        watch = _Watch(options, self.every, self.side.endswith("refined"), self.steps)
        started = time.process_time()
        model.learn(self.steps, callback=watch)
        seconds = time.process_time() - started - watch.seconds
        success, duration = evaluate(model.policy, options, 5 * EPISODES)
        return {
            "curve": [*watch.curve, (self.steps, success, duration)],
            "parameters": trained_parameters(model),
            "seconds": seconds,
        }

    def model(self, envs: WaypointVecEnv) -> BaseAlgorithm:
        """The untrained model; the learning rate falls linearly to nothing."""
        policy, kwargs = SIDES[self.side](Coordinates.of_waypoints(envs.options), self.size)
        setting = dict(self.setting)
        rate = setting.pop("learning_rate")
        envs.seed(1000 * self.seed)
        return ALGORITHMS[self.algorithm](
            policy,
            envs,
            learning_rate=functools.partial(falling, rate),
            seed=self.seed,
            device="cpu",
            policy_kwargs=kwargs,
            **FIXED[self.algorithm],
            **setting,
        )


def falling(rate: float, remaining: float) -> float:
    """A learning rate that falls linearly to nothing with the share of training that remains."""
    return rate * remaining


class _Watch(BaseCallback):
    """Evaluates between rollouts; the time that takes is not the training's. Doubles the splines' knots if asked."""

    def __init__(self, options: WaypointOptions, every: int, refine: bool, steps: int) -> None:
        super().__init__()
        self.options, self.every, self.next, self.seconds = options, every, every, 0.0
        self.curve: list[tuple[int, float, float]] = []
        self.refinements = [steps // 8, steps // 4] if refine else []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.refinements and self.num_timesteps >= self.refinements[0]:
            self.refinements.pop(0)
            policy = self.model.policy
            for module in policy.modules():
                if isinstance(module, QuadraticFeatures):
                    module.refine()
            policy.optimizer = policy.optimizer_class(policy.parameters(), lr=1e-3, **policy.optimizer_kwargs)
        if self.num_timesteps >= self.next:
            self.next += self.every
            started = time.process_time()
            self.curve.append((self.num_timesteps, *evaluate(self.model.policy, self.options, EPISODES)))
            self.seconds += time.process_time() - started


def evaluate(policy: BasePolicy, options: WaypointOptions, episodes: int) -> tuple[float, float]:
    """Share of episodes that end at the last waypoint, and the mean time in s of those that do (0 if none)."""
    envs = WaypointVecEnv(episodes, options)
    envs.seed(UNSEEN)
    observation = envs.reset()
    ended, success = np.zeros(episodes, bool), np.zeros(episodes, bool)
    duration = np.zeros(episodes)
    for _ in range(options.steps):
        action, _ = policy.predict(observation, deterministic=True)  # type: ignore[arg-type]
        observation, _, done, infos = envs.step(action)
        for world in np.flatnonzero(done & ~ended):
            success[world], duration[world] = infos[world]["is_success"], infos[world]["time"]
        ended |= done
        if ended.all():
            break
    return float(success.mean()), float(duration[success].mean()) if success.any() else 0.0


def trained_parameters(model: BaseAlgorithm) -> int:
    """Numbers of actor and critics that are trained; targets are copies."""
    policy = model.policy
    if isinstance(model, SAC):
        return parameter_count(policy.actor) + parameter_count(policy.critic)
    return parameter_count(policy)


@functools.cache
def fitting_size(side: str, algorithm: str, options: tuple[tuple[str, Any], ...], budget: int) -> int:
    """The greatest size with at most ``budget`` parameters."""
    envs = WaypointVecEnv(2, WaypointOptions(**dict(options)))
    setting = tuple(sorted(SETTINGS[algorithm][0].items()))

    # A network that is refined while it learns is measured by what it ends with.
    final = side.replace(", refined", ", fine")

    def parameters(size: int) -> int:
        run = Run(final, algorithm, size, options, 1, 1, setting, 0)
        return trained_parameters(run.model(envs))

    size = 1
    while parameters(2 * size) <= budget:
        size *= 2
    step = size
    while step:
        if parameters(size + step) <= budget:
            size += step
        step //= 2
    return size


def run_all(runs: Sequence[Run], processes: int | None = None) -> list[dict[str, Any]]:
    """Results of all runs, in parallel processes of one thread each."""
    missing = [run for run in dict.fromkeys(runs) if not run.path().exists()]
    processes = processes or int(os.environ.get("PROCESSES", os.cpu_count() or 1))
    if missing:
        started = time.time()
        with concurrent.futures.ProcessPoolExecutor(processes) as pool:
            for i, _ in enumerate(pool.map(Run.result, missing), 1):
                if i % 10 == 0 or i == len(missing):
                    print(f"{i} of {len(missing)} trainings, {time.time() - started:.0f} s", flush=True)
    return [run.result() for run in runs]


def steps_to(result: dict[str, Any], level: float = GOAL) -> float:
    """Environment steps at the first of two evaluations in a row at the level; infinite if there are none."""
    curve = result["curve"]
    for (steps, first, _), (_, second, _) in itertools.pairwise(curve):
        if first >= level and second >= level:
            return float(steps)
    return math.inf


def tuned(
    side: str,
    algorithm: str,
    size: int,
    options: tuple[tuple[str, Any], ...],
    steps: int,
    every: int,
    settings: Sequence[dict[str, Any]] = (),
) -> tuple[tuple[str, Any], ...]:
    """The setting with the least mean steps to the goal on the tuning seeds (a failure counts twice the budget)."""
    settings = [tuple(sorted(setting.items())) for setting in settings or SETTINGS[algorithm]]
    runs = [
        Run(side, algorithm, size, options, steps, every, setting, seed)
        for setting in settings
        for seed in TUNING_SEEDS
    ]
    results = run_all(runs)
    n = len(TUNING_SEEDS)
    scores = [_score(results[n * i : n * (i + 1)], steps) for i in range(len(settings))]
    return settings[scores.index(min(scores))]


def _score(results: list[dict[str, Any]], steps: int) -> tuple[float, float]:
    found = [min(steps_to(result), 2 * steps) for result in results]
    return statistics.mean(found), -statistics.mean(p[1] for result in results for p in result["curve"])


def iqm(values: Sequence[float]) -> float:
    """Interquartile mean: the mean of the middle half."""
    return float(trim_mean(np.asarray(values, float), 0.25))


def interval(values: Sequence[float], others: Sequence[float] | None = None) -> tuple[float, float]:
    """95 % bootstrap interval of the interquartile mean, or of the ratio of two."""
    draw = np.random.default_rng(0)

    def resampled(of: Sequence[float]) -> np.ndarray[Any, Any]:
        array = np.asarray(of, float)
        chosen = array[draw.integers(len(array), size=(4000, len(array)))]
        found: np.ndarray[Any, Any] = trim_mean(chosen, 0.25, axis=1)
        return found

    samples = resampled(values) if others is None else resampled(values) / resampled(others)
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def summary(results: Sequence[dict[str, Any]], steps: int) -> dict[str, Any]:
    """A row of a record: steps to the goal, final success, length of flights, cost."""
    reached = [min(steps_to(result), steps) for result in results]
    final = [result["curve"][-1][1] for result in results]
    low, high = interval(reached)
    return {
        "parameters": results[0]["parameters"],
        "steps to 80 % (IQM)": round(iqm(reached)),
        "95 % interval": f"{low:.0f} to {high:.0f}",
        "seeds that reached it": f"{sum(steps_to(result) < math.inf for result in results)} of {len(results)}",
        "final success (IQM)": round(iqm(final), 4),
        "flight, s": round(statistics.mean(result["curve"][-1][2] for result in results), 2),
        "processor s a training": round(statistics.mean(result["seconds"] for result in results), 1),
        "processor s to 80 %, failures counted": _expected_seconds(results),
    }


def _expected_seconds(results: Sequence[dict[str, Any]]) -> float | str:
    """Expected time until a training has reached the goal when one that fails is followed by another."""
    shares = [min(steps_to(r) / r["curve"][-1][0], 1.0) for r in results]
    successes = sum(steps_to(r) < math.inf for r in results)
    if not successes:
        return "never"
    return round(sum(share * r["seconds"] for share, r in zip(shares, results, strict=True)) / successes, 2)


def draw_curves(
    named: Mapping[str, Mapping[str, Sequence[dict[str, Any]]]], path: Path, title: str, *, share: bool = True
) -> None:
    """Learning curves: a panel for each task, a line for each side, the middle half of the seeds shaded.

    Args:
        named: Results by task and side.
        path: Of the picture.
        title: Above it.
        share: Whether all panels show success from 0 to 100 %; otherwise each has its own score.
    """
    columns = min(3, len(named))
    rows = -(-len(named) // columns)
    width = 4.2 if columns > 1 else 8.4  # the title needs it
    figure = Figure(figsize=(width * columns, 3.0 * rows + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharey=share)).ravel()
    shown = dict.fromkeys(side for sides in named.values() for side in sides)
    palette = matplotlib.colormaps["tab10" if len(shown) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    colours = dict(zip(shown, itertools.cycle(palette), strict=False))
    for axis, (task, sides) in zip(axes, named.items(), strict=False):
        for side, results in sides.items():
            length = min(len(result["curve"]) for result in results)
            curves = np.array([[point[:2] for point in result["curve"][:length]] for result in results])
            steps, success = curves[:, :, 0].mean(0) / 1000, (100 if share else 1) * curves[:, :, 1]
            (line,) = axis.plot(steps, [iqm(column) for column in success.T], label=side, color=colours[side])
            axis.fill_between(
                steps, *np.quantile(success, [0.25, 0.75], axis=0), color=line.get_color(), alpha=0.2, linewidth=0
            )
        if share:
            axis.axhline(100 * GOAL, color="grey", linewidth=0.8, linestyle=":")
        axis.set_title(task, fontsize=9)
        axis.set_xlabel("environment steps, thousands")
        axis.legend(fontsize=7)
    for axis in axes[len(named) :]:
        axis.set_visible(False)
    for row in range(rows):
        axes[row * columns].set_ylabel("success, %" if share else "score")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)


def picture(item: str) -> Path:
    """Where the picture of a record is kept."""
    return RESULTS / f"navigation-{item}.png"


assert SpanPolicy  # registers the name
