"""The shipped policy flies episodes that it has not seen; two small trainings, ours and a perceptron of equal size."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from domains.navigation.evaluation import Evaluation, evaluate
from domains.navigation.flight_pictures import film
from domains.navigation.learning_curves import draw_learning_curves
from domains.navigation.policies import parameter_count
from domains.navigation.saved import load_baseline
from domains.navigation.training import TrainConfig, train

UNSEEN = 3_000_000  # seed of the first episode


def flights(path: Path, episodes: int = 20, shown: int = 4) -> dict[str, dict[str, str]]:
    """Fly the shipped policies.

    Args:
        path: The .gif file that gets the first episodes in the plane.
        episodes: How many are flown.
        shown: How many of them the moving picture has.

    Returns:
        What came out, by name of the world.
    """
    found = {}
    for name, world in (("waypoints2d", "a unicycle in the plane"), ("waypoints3d", "a quadrotor in wind and gusts")):
        model, config = load_baseline(name)
        if name == "waypoints2d":
            film(model, config.options, path, episodes=shown, seed=UNSEEN)
        parameters = str(parameter_count(model.policy))
        found[world] = {"parameters": parameters, **evaluate(model, config.options, episodes, UNSEEN).row()}
    return found


def trainings(steps: int = 24_000) -> tuple[dict[str, Evaluation], dict[str, float], Any]:
    """Train our policy and a perceptron with as many parameters with the same settings and seed.

    Args:
        steps: Of each.

    Returns:
        An evaluation of each on 200 unseen episodes, by name; numbers by name; and a matplotlib Figure of success over
        steps.
    """
    ours = TrainConfig(steps=steps, evaluate_every=max(1, steps // 12))
    found, curves, numbers = {}, {}, {}
    for name, config in (("SpanPolicy", ours), ("MlpPolicy", ours.mlp_of_equal_size())):
        rows: list[dict[str, Any]] = []
        started = time.perf_counter()
        model = train(config, progress=False, each=rows.append)
        numbers[f"seconds of {name}"] = time.perf_counter() - started
        numbers[f"parameters of {name}"] = float(parameter_count(model.policy))
        found[name] = evaluate(model, config.options, 200, UNSEEN)
        curves[f"{name}, {parameter_count(model.policy)} parameters"] = rows
    return found, numbers, draw_learning_curves(curves)
