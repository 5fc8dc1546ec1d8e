"""Learning to fly from a data set alone: clone an expert's flights, then weigh them by what they earned.

Usage: python 42_offline.py [flights.h5] [steps of each]

The data are 20 flights of an expert, half of them with noise in the actions (`datasets/waypoint_flights`).  No world is
stepped while the two policies learn; the flights in the end are through courses that the expert never flew.
"""

import sys
import time
from pathlib import Path

import torch
from stable_baselines3 import TD3

from domains.navigation.coordinates import Coordinates
from domains.navigation.evaluation import evaluate
from domains.navigation.flights import read_flights, record_flights
from domains.navigation.offline import CloneConfig, ImplicitQConfig, clone, implicit_q_learning
from domains.navigation.policies import parameter_count
from domains.navigation.stable_baselines import WaypointVecEnv

SAMPLE = Path(__file__).parents[1] / "datasets" / "waypoint_flights" / "sample.h5"


def main(path: str | Path = SAMPLE, steps: str = "1500") -> None:
    """Read, learn twice, fly."""
    torch.set_num_threads(1)
    flights = read_flights(path)
    options = flights.options
    print(
        f"{Path(path).name}: {flights.n_episodes} flights, {len(flights)} steps, {flights.success.mean():.0%} succeed"
    )

    sizes = {"coordinates": Coordinates.of_waypoints(options), "actor": {"pairs": 10, "singles": 10}}
    learners = {
        "cloned": lambda model: clone(model, flights, CloneConfig(steps=int(steps))),
        "weighed by advantage": lambda model: implicit_q_learning(model, flights, ImplicitQConfig(steps=int(steps))),
    }
    for name, learn in learners.items():
        model = TD3("SpanPolicy", WaypointVecEnv(1, options), policy_kwargs=dict(sizes), seed=0, device="cpu")
        started = time.perf_counter()
        learn(model)
        seconds, found = time.perf_counter() - started, evaluate(model, options, episodes=200).row()
        print(
            f"{name}: {parameter_count(model.actor)} parameters, {seconds:.0f} s, {found['success']} in {found['time']}"
        )
        model.save(f"{name.split()[0]}.zip")  # an ordinary model, which can go on learning in worlds

    again = record_flights("again.h5", model, options, episodes=10, noise=0.1)
    print(
        f"{again}: flights of the last one, in the same layout; {read_flights(again).returns().mean():.1f} earned each"
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
