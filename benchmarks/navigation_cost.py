"""Item 3: what a training step costs beside the perceptron of equal size, and the expected time to success.

A step is everything: worlds, actions, the buffer, gradients, the optimiser.  The two sides train in turns.
Time to success takes the steps from item 1's trainings, failed ones followed by another, at the cost measured here.
"""

import math
import statistics
import time
from typing import Any

import torch

from benchmarks import record
from benchmarks.navigation_learning import SETTINGS, Run, steps_to
from benchmarks.navigation_waypoints import BODY, LENGTHS, WIDTHS, WORLD, compared, size_in_body_frame
from benchmarks.trial import usual
from domains.navigation.options import WaypointOptions
from domains.navigation.stable_baselines import WaypointVecEnv

STEPS = usual({"ppo": 4096, "sac": 2048}, trial={"ppo": 256, "sac": 64})
REPETITIONS, TARGET = usual(3, trial=1), 1.3


def milliseconds(algorithm: str, sizes: dict[str, int]) -> dict[str, list[float]]:
    """Processor time of one environment step of training, for each side, in turns."""
    options = WaypointOptions(**dict(BODY))
    models = {}
    for side, size in sizes.items():
        setting = tuple(sorted(SETTINGS[algorithm][1].items()))
        run = Run(side, algorithm, size, BODY, 1, 1, setting, 0)
        worlds = {"ppo": 16, "sac": 8}[algorithm]
        models[side] = run.model(WaypointVecEnv(worlds, options)).learn(1024)
    found: dict[str, list[float]] = {side: [] for side in sizes}
    for _ in range(REPETITIONS):
        for side, model in models.items():
            started = time.process_time()
            model.learn(STEPS[algorithm], reset_num_timesteps=False)
            found[side].append(1000 * (time.process_time() - started) / STEPS[algorithm])
    return found


def expected_steps(results: list[dict[str, Any]]) -> float:
    """Environment steps until a training reaches the goal, when one that fails is followed by another."""
    successes = [steps_to(result) for result in results if steps_to(result) < math.inf]
    failures = [result["curve"][-1][0] for result in results if steps_to(result) == math.inf]
    return (sum(successes) + sum(failures)) / len(successes) if successes else math.inf


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    rows, bars = [], {}
    for algorithm in ("ppo", "sac"):
        for width in WIDTHS[algorithm, "body"]:
            sizes = {side: size_in_body_frame(side, algorithm, width) for side in ("SPAN", "MLP")}
            cost = {side: statistics.median(values) for side, values in milliseconds(algorithm, sizes).items()}
            ratio = cost["SPAN"] / cost["MLP"]
            row: dict[str, Any] = {
                "algorithm": algorithm,
                "width of the MLP": width,
                "SPAN, ms a step": round(cost["SPAN"], 4),
                "MLP, ms a step": round(cost["MLP"], 4),
                "ratio": round(ratio, 3),
            }
            name = f"{algorithm.upper()}, as large as an MLP of {width} x {width}"
            bars[f"{name}: cost at most {TARGET}"] = ratio <= TARGET
            for frame, options in (("body", BODY), ("world", WORLD)):
                found = compared(algorithm, options, width, LENGTHS[algorithm, frame])
                seconds = {side: expected_steps(found[side]) * cost[side] / 1000 for side in cost}
                for side, value in seconds.items():
                    row[f"{frame} frame, {side}: s to success"] = round(value, 2) if value < math.inf else "never"
                bars[f"{name}, {frame} frame: time to success lower"] = seconds["SPAN"] < seconds["MLP"]
            rows.append(row)
            print(row, flush=True)
    missed = [name for name, held in bars.items() if not held]
    greatest = max(row["ratio"] for row in rows)
    record.write(
        "navigation",
        "3",
        claim=f"A training step costs at most {greatest:.2f} times the MLP's; "
        + (f"not reached: {'; '.join(missed)}" if missed else "every bar is reached"),
        measured=rows,
        target="cost at most 1.3 times the MLP's; expected time to 80 % success lower, failures counted",
        holds=not missed,
        baselines="in the same rows",
        command="python -m benchmarks.navigation_cost",
        seeds=[0],
        spread=f"medians of {REPETITIONS} repetitions in turns, one thread; steps to success from item 1's seeds",
    )


if __name__ == "__main__":
    main()
