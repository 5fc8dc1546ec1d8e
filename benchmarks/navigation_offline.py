"""Item 6: learning waypoints from an expert's flights alone, separable policies and perceptrons of equal size.

``python -m benchmarks.navigation_offline`` makes the flights with ``datasets/waypoint_flights/generate.py`` (200
episodes, half of them with noise in the actions), and learns from the first 1 % and 10 % and from all of them, by
behaviour cloning and by implicit Q-learning.  A training is cached in ``runs/benchmarks/navigation_offline``.
"""

import concurrent.futures
import dataclasses
import functools
import json
import os
import runpy
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import TD3

from benchmarks import record
from benchmarks.kept import kept, kept_path
from benchmarks.navigation_learning import SIDES, TUNING_SEEDS, evaluate, interval, iqm
from benchmarks.trial import STUDIES, usual
from domains.navigation.coordinates import Coordinates
from domains.navigation.flights import FlightData, read_flights
from domains.navigation.offline import CloneConfig, ImplicitQConfig, clone, implicit_q_learning, value_network
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import parameter_count
from domains.navigation.stable_baselines import WaypointVecEnv

FOLDER = STUDIES / "navigation_offline"
GENERATE = Path(__file__).parents[1] / "datasets" / "waypoint_flights" / "generate.py"
FLIGHTS = usual(FOLDER / "flights.h5", trial=GENERATE.with_name("sample.h5"))  # to train an expert takes minutes
OPTIONS = WaypointOptions(time_limit=usual(20.0, trial=2.0))
EPISODES, UNSEEN = usual((200, 500), trial=(20, 4))  # recorded; flown to measure success, none of which was recorded
# The target is about 10 % and 100 %; two episodes show what is left where data are scarce.
SHARES, BUDGETS = (0.01, 0.1, 1.0), usual((500, 3000), trial=(500,))
SEEDS = tuple(range(usual(5, trial=1)))
TARGETED = (0.1, 1.0)
RATES = (1e-3, 3e-3, 1e-2)  # tried by every side at every budget on the tuning seeds, with all the data
COMPARED = ("SPAN", "MLP", "MLP with our coordinates")
STEPS = usual({"cloning": 2000, "implicit Q-learning": 1500}, trial={"cloning": 20, "implicit Q-learning": 10})
BATCH, BETA = 256, 1.0


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Args:
        method: One of `STEPS`.
        side: Name in `navigation_learning.SIDES`.
        size: Of the networks.
        share: Of the data.
        rate: Learning rate.
        seed: Of start values and draws.
    """

    method: str
    side: str
    size: int
    share: float
    rate: float
    seed: int

    def path(self) -> Path:
        """Where the result is kept."""
        text = json.dumps([dataclasses.asdict(self), STEPS[self.method], BATCH, BETA, UNSEEN, EPISODES])
        return kept_path(FOLDER, text)

    def result(self) -> dict[str, Any]:
        """The kept result, or the training's."""
        return kept(self.path(), lambda: {**dataclasses.asdict(self), **self._train()})

    def _train(self) -> dict[str, Any]:
        torch.set_num_threads(1)
        flights, model = data(self.share), self.model()
        started = time.process_time()
        if self.method == "cloning":
            clone(model, flights, CloneConfig(STEPS[self.method], BATCH, self.rate, self.seed))
        else:
            config = ImplicitQConfig(STEPS[self.method], BATCH, self.rate, beta=BETA, seed=self.seed)
            implicit_q_learning(model, flights, config)
        seconds = time.process_time() - started
        success, duration = evaluate(model.policy, OPTIONS, UNSEEN)
        return {"success": success, "duration": duration, "seconds": seconds, "parameters": self.parameters()}

    def model(self) -> TD3:
        """The untrained model; cloning takes its actor alone."""
        policy, kwargs = SIDES[self.side](Coordinates.of_waypoints(OPTIONS), self.size)
        envs = WaypointVecEnv(1, OPTIONS)
        return TD3(policy, envs, policy_kwargs=dict(kwargs), seed=self.seed, device="cpu", buffer_size=1)

    def parameters(self) -> int:
        """What is trained: the actor, and with implicit Q-learning two critics and the value network."""
        model = self.model()
        if self.method == "cloning":
            return parameter_count(model.actor)
        return sum(parameter_count(m) for m in (model.actor, model.critic, value_network(model)))


def data_file() -> Path:
    """The flights, recorded if they are not there."""
    if not FLIGHTS.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        runpy.run_path(str(GENERATE))["main"](FLIGHTS, EPISODES)
    return FLIGHTS


@functools.cache
def data(share: float) -> FlightData:
    """The first episodes."""
    return read_flights(data_file(), share, OPTIONS)


@functools.cache
def fitting_size(method: str, side: str, budget: int) -> int:
    """The greatest size with at most so many parameters."""
    size = 1
    while Run(method, side, size + 1, 1.0, RATES[0], 0).parameters() <= budget:
        size += 1
    return size


def run_all(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Results of all runs, in parallel processes of one thread each."""
    missing = [run for run in dict.fromkeys(runs) if not run.path().exists()]
    if missing:
        started = time.time()
        with concurrent.futures.ProcessPoolExecutor(int(os.environ.get("PROCESSES", os.cpu_count() or 1))) as pool:
            for i, _ in enumerate(pool.map(Run.result, missing), 1):
                if i % 10 == 0 or i == len(missing):
                    print(f"{i} of {len(missing)} trainings, {time.time() - started:.0f} s", flush=True)
    return [run.result() for run in runs]


def compared(method: str, budget: int) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """Results by side and share, each side with the learning rate that was best for it."""
    sizes = {side: fitting_size(method, side, budget) for side in COMPARED}
    trials = {
        (side, rate): [Run(method, side, sizes[side], 1.0, rate, seed) for seed in TUNING_SEEDS]
        for side in COMPARED
        for rate in RATES
    }
    run_all([run for runs in trials.values() for run in runs])
    chosen = {}
    for side in COMPARED:
        scores = [_score([run.result() for run in trials[side, rate]]) for rate in RATES]
        chosen[side] = RATES[scores.index(max(scores))]
    wanted = {
        side: {share: [Run(method, side, sizes[side], share, chosen[side], seed) for seed in SEEDS] for share in SHARES}
        for side in COMPARED
    }
    run_all([run for by_share in wanted.values() for runs in by_share.values() for run in runs])
    return {
        side: {share: [run.result() for run in runs] for share, runs in by_share.items()}
        for side, by_share in wanted.items()
    }


def _score(results: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Success, and the shorter flight where it is the same."""
    return statistics.mean(r["success"] for r in results), -statistics.mean(r["duration"] for r in results)


def row(method: str, budget: int, side: str, share: float, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A line of the record."""
    success = [result["success"] for result in results]
    low, high = interval(success)
    flown = [result["duration"] for result in results if result["success"]]
    return {
        "method": method,
        "parameters": results[0]["parameters"],
        "share of the data": f"{share:.0%}",
        "policy": side,
        "success (IQM)": f"{iqm(success):.1%}",
        "95 % interval": f"{low:.1%} to {high:.1%}",
        "flight, s": round(statistics.mean(flown), 2) if flown else "-",
        "learning rate": results[0]["rate"],
        "processor s a training": round(statistics.mean(result["seconds"] for result in results), 1),
    }


def of_the_data() -> list[dict[str, Any]]:
    """How well the recorded episodes went themselves."""
    flights = data(1.0)
    assert flights.success is not None
    assert flights.noise is not None
    seconds = np.bincount(flights.episode) * OPTIONS.time_step
    rows = []
    for name, chosen in (("as it is", flights.noise == 0), ("with noise", flights.noise > 0)):
        won = flights.success & chosen
        rows.append(
            {
                "method": "none: the recorded episodes",
                "policy": f"expert {name}",
                "success (IQM)": f"{won.sum() / chosen.sum():.1%}",
                "95 % interval": f"{chosen.sum()} episodes",
                "flight, s": round(float(seconds[won].mean()), 2),
            }
        )
    return rows


def main() -> None:
    """Measure and record."""
    data_file()
    rows, gaps = [], {}
    for method in STEPS:
        for budget in BUDGETS:
            found = compared(method, budget)
            for share in SHARES:
                rows += [row(method, budget, side, share, found[side][share]) for side in COMPARED]
                ours, theirs = (iqm([r["success"] for r in found[side][share]]) for side in ("SPAN", "MLP"))
                name = f"{method}, {budget} parameters, {share:.0%} of the data"
                if share in TARGETED:
                    gaps[name] = theirs - ours
                print(f"{name}: SPAN {ours:.1%}, MLP {theirs:.1%}", flush=True)
    missed = [name for name, gap in gaps.items() if gap > 0]
    found_out = "reached with both methods and sizes"
    if missed:
        found_out = f"not reached, by at most {100 * max(gaps.values()):.1f} points: {'; '.join(missed)}"
    record.write(
        "navigation",
        "6",
        claim="Learning from 10 % or 100 % of an expert's flights alone, separable policies succeed at least as often "
        f"as perceptrons of equal size: {found_out}",
        measured=[line for line in rows if line["policy"] == "SPAN"],
        target="success of SPAN at least the MLP's at both shares of the data, 10 % and 100 % (a published claim on "
        "expert data is 6.7 times)",
        holds=not missed,
        baselines=[line for line in rows if line["policy"] != "SPAN"]
        + [{key: line.get(key, "") for key in rows[0]} for line in of_the_data()],
        command="python -m benchmarks.navigation_offline",
        seeds=SEEDS,
        spread=f"95 % bootstrap intervals over {len(SEEDS)} seeds, {UNSEEN} unseen episodes each; "
        f"{len(RATES)} learning rates tried by every side at every size on seeds {TUNING_SEEDS} with all the data; "
        "parameters: the actor's for cloning, those of actor, two critics and value network for implicit Q-learning",
    )


if __name__ == "__main__":
    main()
