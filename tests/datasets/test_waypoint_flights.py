"""The sample is what its card says, and its flights are those of the worlds that it names."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from domains.navigation.environment import WaypointEnv
from domains.navigation.flights import read_flights

FOLDER = Path(__file__).parents[2] / "datasets" / "waypoint_flights"


@pytest.fixture(scope="module")
def data():
    return read_flights(FOLDER / "sample.h5")


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(FOLDER / "generate.py"))


def test_the_sample_is_small_whole_and_of_the_stated_worlds(data, made):
    assert (FOLDER / "sample.h5").stat().st_size <= 300_000
    assert data.options == made["OPTIONS"]
    assert data.n_episodes == made["SAMPLE_EPISODES"]
    np.testing.assert_array_equal(data.noise, [0.0, made["NOISE"]] * (data.n_episodes // 2))
    card = (FOLDER / "README.md").read_text()
    assert f"{data.n_episodes} episodes, {len(data):,}\nsteps" in card
    assert f"{made['STEPS']:,} steps" in card


def test_the_worlds_give_the_same_flights_again(data, made):
    for i in (0, 1, data.n_episodes - 1):
        env, rows = WaypointEnv(data.options), np.flatnonzero(data.episode == i)
        observation, _ = env.reset(seed=made["SEED"] + i)
        for row in rows:
            np.testing.assert_allclose(data.observations[row], observation, atol=1e-5)
            observation, reward, terminated, truncated, info = env.step(data.actions[row])
            assert data.rewards[row] == pytest.approx(reward, abs=1e-5)
        assert (data.terminations[rows[-1]], data.truncations[rows[-1]]) == (terminated, truncated)
        assert data.success[i] == info["is_success"]


def test_an_episode_ends_once_and_at_its_end(data):
    ended = data.terminations | data.truncations
    last = np.append(np.diff(data.episode) > 0, True)
    np.testing.assert_array_equal(ended, last)


def test_the_expert_is_one(data):
    assert data.success.mean() >= 0.9


def test_the_code_of_the_card_runs(monkeypatch):
    monkeypatch.chdir(FOLDER.parents[1])
    blocks = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
