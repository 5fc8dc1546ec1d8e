"""Evaluations agree with episodes flown one by one in the gymnasium environment, and intervals with scipy's."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import binomtest
from stable_baselines3.common.vec_env import VecNormalize

from domains.navigation.environment import WaypointEnv
from domains.navigation.evaluation import Evaluation, evaluate, fly, wilson
from domains.navigation.flight_pictures import film
from domains.navigation.options import WaypointOptions
from domains.navigation.saved import load_baseline, load_policy, save_policy
from domains.navigation.stable_baselines import WaypointVecEnv
from domains.navigation.training import TrainConfig, make_model, train
from domains.navigation.worlds import Worlds


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
    for changes in ({"obstacles": 2}, {"dynamics": "quadrotor"}, {"discrete": True}, {"scaled": False}):
        with pytest.raises(ValueError):
            evaluate(model, config.options.changed(**changes), 2)
    with pytest.raises(ValueError):
        evaluate(model, config.options, 0)


def test_where_all_scales_are_1_shares_are_si_units():
    own = {"arena": 1.0, "reach_radius": 0.2, "vehicle": {"acceleration": 1.0}, "time_limit": 1.0}
    options = WaypointOptions(dynamics="double_integrator", **own)
    si = options.changed(scaled=False)
    models = [make_model(TrainConfig(options=each)) for each in (options, si)]
    first, *others = [evaluate(model, each, 5) for model in models for each in (options, si)]
    assert others == [first] * 3
    with pytest.raises(ValueError):
        evaluate(models[0], si.changed(arena=2.0), 2)


def test_training_chooses_by_other_episodes_than_those_that_are_flown_by_default():
    options, rows = WaypointOptions(time_limit=1.0), []
    worlds = Worlds(options, 3)
    worlds.reset(seeds=[2_000_000, 2_000_001, 2_000_002])
    np.testing.assert_array_equal(fly(Ahead(), options, 3).courses, worlds.course.transpose(2, 0, 1))
    config = TrainConfig(options=options, steps=64, worlds=4, rollout=16, episodes=5)
    train(config, progress=False, each=rows.append)
    untrained = make_model(config)
    assert rows[0]["returned"] == evaluate(untrained, options, 5, seed=1_000_000).returned
    assert rows[0]["returned"] != evaluate(untrained, options, 5).returned


def test_a_model_behind_a_normalisation_flies_on_what_it_saw_in_training(tmp_path):
    model, config = load_baseline("waypoints2d")
    options = config.options.changed(time_limit=1.0)
    env = VecNormalize(WaypointVecEnv(1, options))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 0.1, 2.0
    model.set_env(env)

    class ByHand:
        def predict(self, observation, deterministic=False):
            normalised = (observation - 0.1) / np.sqrt(2.0 + env.epsilon)
            return model.predict(normalised.astype(np.float32), deterministic=deterministic)

    found, expected, raw = (fly(pilot, options, 6, seed=1) for pilot in (model, ByHand(), load_baseline()[0]))
    np.testing.assert_allclose(np.concatenate(found.paths), np.concatenate(expected.paths), atol=1e-5)
    assert not np.allclose(found.returned, raw.returned, atol=0.01)
    for name, pilot in (("found", model), ("expected", ByHand())):
        film(pilot, options, tmp_path / f"{name}.gif", episodes=1, seed=1, every=5)
    assert (tmp_path / "found.gif").read_bytes() == (tmp_path / "expected.gif").read_bytes()
    with pytest.raises(ValueError, match="VecNormalize"):
        save_policy(model, config, tmp_path / "policy")
    env.norm_obs = False
    np.testing.assert_array_equal(fly(model, options, 6, seed=1).returned, raw.returned)
    assert load_policy(save_policy(model, config, tmp_path / "policy"))[1] == config


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
