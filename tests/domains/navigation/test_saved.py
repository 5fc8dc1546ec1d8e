"""Saved policies: the same numbers come back, and what is not a policy is refused."""

import random

import numpy as np
import pytest
import torch

from domains.navigation.saved import BASELINES, baseline_names, load_baseline, load_policy, save_policy
from domains.navigation.stable_baselines import WaypointVecEnv
from domains.navigation.training import TrainConfig, make_model


@pytest.mark.parametrize("name", ["waypoints2d", "waypoints3d"])
def test_a_policy_comes_back_as_it_was(name, tmp_path):
    model, config = load_baseline(name)
    path = save_policy(model, config, tmp_path / "copy")
    again, settings = load_policy(path)
    assert settings == config
    observation = WaypointVecEnv(7, config.options).reset()
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True)[0] for m in (model, again)))
    with pytest.raises(FileExistsError):
        save_policy(model, config, path)


def test_loading_leaves_the_global_random_numbers_alone():
    def drawn(between):
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        between()
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    expected = drawn(lambda: None)
    assert drawn(load_baseline) == expected
    assert drawn(TrainConfig().mlp_of_equal_size) == expected


def test_a_policy_trained_on_rollouts_of_one_step_comes_back_and_learns_on(tmp_path):
    config = TrainConfig(rollout=1, worlds=4)
    model = make_model(config, WaypointVecEnv(4))
    again, settings = load_policy(save_policy(model, config, tmp_path / "policy"))
    assert settings == config
    observation = WaypointVecEnv(7).reset()
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True)[0] for m in (model, again)))
    assert again.learn(8).num_timesteps == 8
    assert config.mlp_of_equal_size().hidden == TrainConfig().mlp_of_equal_size().hidden


def test_a_policy_of_refined_splines_comes_back(tmp_path):
    config = TrainConfig(atoms="spline", pairs=2, singles=2)
    model = make_model(config)
    for features in (model.policy.mlp_extractor.actor, model.policy.mlp_extractor.critic):
        features.refine()
        torch.nn.init.normal_(features.splines.coefficients[0])
    again, _ = load_policy(save_policy(model, config, tmp_path / "policy"))
    observation = WaypointVecEnv(7).reset()
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True)[0] for m in (model, again)))


def test_a_shipped_policy_learns_on(tmp_path):
    model, config = load_baseline("waypoints2d")
    model.set_env(WaypointVecEnv(1, config.options))
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(config.horizon)
    assert any(bool((value != before[name]).any()) for name, value in model.policy.state_dict().items())


def test_shipped_policies_are_small_and_have_cards():
    assert baseline_names() == ("waypoints2d", "waypoints3d")
    for name in baseline_names():
        assert sum(file.stat().st_size for file in (BASELINES / name).iterdir()) < 10_000
        assert (BASELINES / name / "README.md").exists()


def test_what_is_no_policy_is_refused(tmp_path):
    with pytest.raises(ValueError):
        load_baseline("waypoints9d")
    with pytest.raises(FileNotFoundError):
        load_policy(tmp_path)
    with pytest.raises(ValueError):
        load_policy(tmp_path / "model.zip")
    model, config = load_baseline("waypoints2d")
    path = save_policy(model, config, tmp_path / "policy")
    (path / "policy.safetensors").write_bytes((BASELINES / "waypoints3d" / "policy.safetensors").read_bytes())
    with pytest.raises(ValueError):
        load_policy(path)
    (path / "policy.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError):
        load_policy(path)
