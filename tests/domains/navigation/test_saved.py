"""Saved policies: the same numbers come back, and what is not a policy is refused."""

import numpy as np
import pytest

from domains.navigation.saved import BASELINES, baseline_names, load_baseline, load_policy, save_policy
from domains.navigation.stable_baselines import WaypointVecEnv


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
