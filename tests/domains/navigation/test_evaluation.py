"""Evaluations agree with episodes flown one by one in the gymnasium environment, and intervals with scipy's."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import binomtest

from domains.navigation.environment import WaypointEnv
from domains.navigation.evaluation import Evaluation, evaluate, fly, wilson
from domains.navigation.options import WaypointOptions
from domains.navigation.saved import load_baseline


class Ahead:
    """Full acceleration, and a turn towards the next waypoint: sometimes there, sometimes out of the arena."""

    def predict(self, observation, deterministic=False):
        bearing = np.arctan2(observation[..., 1], observation[..., 0])
        return np.stack([np.full_like(bearing, 0.4), np.clip(2 * bearing, -1, 1)], -1), None


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (3, 20), (499, 500)])
def test_the_interval_is_wilsons(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("k", "n"), [(1, 0), (3, 2), (-1, 2)])
def test_shares_that_are_none_are_refused(k, n):
    with pytest.raises(ValueError):
        wilson(k, n)


@pytest.mark.parametrize(
    "options", [WaypointOptions(waypoints=2, time_limit=5.0, wind=1.0), WaypointOptions(obstacles=8)]
)
def test_an_evaluation_is_that_of_episodes_flown_one_by_one(options):
    flights = fly(Ahead(), options, episodes=12, seed=5)
    env, rows = WaypointEnv(options), []
    for i in range(12):
        observation, info = env.reset(seed=5 + i)
        total, ended, path = 0.0, False, [env.worlds.position[:, 0].copy()]
        while not ended:
            observation, reward, terminated, truncated, info = env.step(Ahead().predict(observation)[0])
            total, ended = total + reward, terminated or truncated
            path.append(env.worlds.position[:, 0].copy())
        rows.append((info["is_success"], info["time"], info["waypoints_reached"], info["collided"], total))
        np.testing.assert_allclose(flights.paths[i], path, atol=1e-9)
        np.testing.assert_array_equal(flights.courses[i], env.worlds.course[:, :, 0])
    success, time, reached, collided, total = (np.array(column) for column in zip(*rows, strict=True))
    found = Evaluation.of(flights)
    assert found.success == success.mean()
    assert found.flight_time == (pytest.approx(time[success].mean()) if success.any() else None)
    assert found.waypoints == reached.mean()
    assert found.collided == collided.mean()
    assert found.returned == pytest.approx(total.mean())
    assert found.success + found.collided + found.left + found.timed_out == pytest.approx(1.0)
    assert len({*success.tolist()}) == 2 or options.obstacles  # both ends were seen


def test_many_episodes_are_those_of_parts():
    options = WaypointOptions(time_limit=1.0)
    together = fly(Ahead(), options, episodes=1030, seed=0)
    alone = fly(Ahead(), options, episodes=6, seed=1024)
    np.testing.assert_array_equal(together.returned[1024:], alone.returned)
    assert len(together.paths) == 1030


def test_a_model_of_other_worlds_is_refused():
    model, config = load_baseline("waypoints2d")
    for changes in ({"obstacles": 2}, {"dynamics": "quadrotor"}, {"discrete": True}):
        with pytest.raises(ValueError):
            evaluate(model, config.options.changed(**changes), 2)
    with pytest.raises(ValueError):
        evaluate(model, config.options, 0)


@pytest.mark.parametrize("name", ["waypoints2d", "waypoints3d"])
def test_the_shipped_policies_fly_as_their_cards_say(name):
    import json

    from domains.navigation.saved import BASELINES

    model, config = load_baseline(name)
    told = json.loads((BASELINES / name / "evaluation.json").read_text())
    assert told["options"] == dataclasses.asdict(config.options)
    assert told["episodes"] == 1000
    assert told["low"] > 0.98
    found = evaluate(model, config.options, 200, told["seed"])
    assert found.success >= 0.98
    assert found.flight_time == pytest.approx(told["flight_time"], abs=0.5)
    card = (BASELINES / name / "README.md").read_text()
    assert f"{100 * told['success']:.1f} % ({100 * told['low']:.1f} to {100 * told['high']:.1f})" in card
    assert f"{told['flight_time']:.2f} s" in card
