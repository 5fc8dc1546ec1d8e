"""Environment: steps per second of 256 waypoint worlds on one core, beside gymnasium's SyncVectorEnv of single ones."""

import os
import statistics
import time
from typing import Any

import gymnasium
import numpy as np

import domains.navigation
from benchmarks import record
from benchmarks.trial import usual

WORLDS, STEPS, SINGLE_STEPS, REPETITIONS = usual((256, 1000, 30, 7), trial=(8, 50, 10, 1))
TARGET = 500_000
RICH = {"obstacles": 5, "wind": 1.0, "gusts": 0.5, "sensor_noise": 0.01}
assert domains.navigation  # registers the ids


def steps_per_second(envs: gymnasium.vector.VectorEnv[Any, Any, Any], steps: int) -> float:
    """Steps of all worlds in a second, restarts and infos included, actions drawn before."""
    shape = (50, *envs.action_space.shape)
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    start = time.perf_counter()
    for i in range(steps):
        envs.step(actions[i % 50])
    return envs.num_envs * steps / (time.perf_counter() - start)


def compare(name: str, more: dict[str, Any]) -> dict[str, Any]:
    """Both forms in turns, episodes spread over their length before."""
    ours = gymnasium.make_vec(name, num_envs=WORLDS, **more)
    theirs = gymnasium.make_vec(name, num_envs=WORLDS, vectorization_mode="sync", **more)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    steps_per_second(ours, STEPS)
    fast, slow = [], []
    for _ in range(REPETITIONS):
        fast.append(steps_per_second(ours, STEPS))
        slow.append(steps_per_second(theirs, SINGLE_STEPS))
    row = {
        "environment": name.removeprefix("separable/") + (" with " + ", ".join(more) if more else ""),
        "steps per second": round(statistics.median(fast)),
        "SyncVectorEnv, steps per second": round(statistics.median(slow)),
        "times faster": statistics.median(fast) / statistics.median(slow),
        "ms for a step of all": WORLDS / statistics.median(fast) * 1e3,
        "spread": (max(fast) - min(fast)) / statistics.median(fast),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure and record."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    names = ("separable/Waypoints2D-v0", "separable/Waypoints3D-v0")
    rows = [compare(name, more) for name in names for more in ({}, RICH)]
    spread = max(row.pop("spread") for row in rows)
    plain = [row["steps per second"] for row in rows[::2]]
    record.write(
        "navigation",
        "environment",
        claim=f"{WORLDS} worlds on one core make {plain[0]:,} steps a second in the plane and {plain[1]:,} in space, "
        f"at least {min(row['times faster'] for row in rows):.0f} times as many as single environments in a loop",
        measured=rows,
        target=f"at least {TARGET:,} steps a second at {WORLDS} worlds on one core, for both registered environments",
        holds=min(plain) >= TARGET,
        baselines="the column 'SyncVectorEnv': gymnasium's own vector form of the same single environment, whose "
        "results are equal step for step (tests)",
        command="python -m benchmarks.navigation_environment",
        seeds=[0],
        spread=f"medians of {REPETITIONS} repetitions in turns, of {STEPS} and {SINGLE_STEPS} steps of all worlds; the "
        f"speeds of a row span at most {spread:.0%} of its median",
    )


if __name__ == "__main__":
    main()
