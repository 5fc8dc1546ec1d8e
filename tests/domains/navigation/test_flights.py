"""Flights as files: what was flown comes back, the layout is Minari's, and damaged files are refused by place."""

import json
import shutil

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from domains.navigation.environment import WaypointEnv
from domains.navigation.evaluation import fly
from domains.navigation.flights import read_flights, record_flights, write_minari
from domains.navigation.options import WaypointOptions
from domains.navigation.stable_baselines import WaypointVecEnv

SHORT = WaypointOptions(time_limit=1.5, waypoints=2)
TABLE = SHORT.changed(discrete=True)


def steer(seen):
    """Turn towards the next waypoint and go."""
    bearing = np.arctan2(seen[:, 1], seen[:, 0])
    return np.stack([np.cos(bearing), np.clip(2 * bearing, -1, 1)], 1).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return record_flights(tmp_path_factory.mktemp("flights") / "flights.h5", steer, SHORT, 6, seed=3, noise=0.3)


@pytest.fixture
def path(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "copy.h5")


def test_flights_are_those_of_one_world_stepped_alone(whole):
    data, env = read_flights(whole), WaypointEnv(SHORT)
    assert data.options == SHORT
    for i in range(6):
        rows = np.flatnonzero(data.episode == i)
        observation, _ = env.reset(seed=3 + i)
        for row in rows:
            np.testing.assert_array_equal(data.observations[row], observation)
            observation, reward, terminated, truncated, info = env.step(data.actions[row])
            np.testing.assert_array_equal(data.next_observations[row], observation)
            assert data.rewards[row] == np.float32(reward)
            assert (data.terminations[row], data.truncations[row]) == (terminated, truncated)
        assert terminated or truncated
        assert data.success[i] == info["is_success"]
        assert data.returns()[i] == pytest.approx(data.rewards[rows].sum(), rel=1e-5)


def test_every_second_episode_is_noisy_and_the_others_are_the_pilots(whole):
    data = read_flights(whole)
    np.testing.assert_array_equal(data.noise, [0.0, 0.3, 0.0, 0.3, 0.0, 0.3])
    noisy = data.noise[data.episode] > 0
    apart = np.abs(data.actions - np.clip(steer(data.observations), -1, 1)).max(1)
    assert (apart[~noisy] < 1e-6).all()
    assert (apart[noisy] > 1e-3).mean() > 0.8
    assert np.abs(data.actions).max() <= 1


def test_a_share_is_the_first_episodes_and_does_not_depend_on_how_many_were_flown(whole, tmp_path):
    all_of_it, half = read_flights(whole), read_flights(whole, share=0.5)
    fewer = read_flights(record_flights(tmp_path / "fewer.h5", steer, SHORT, 3, seed=3, noise=0.3))
    n = len(half)
    assert half.n_episodes == fewer.n_episodes == 3
    for name in ("observations", "actions", "rewards", "next_observations", "terminations", "episode"):
        np.testing.assert_array_equal(getattr(half, name), getattr(all_of_it, name)[:n])
        np.testing.assert_array_equal(getattr(half, name), getattr(fewer, name))
    assert read_flights(whole, share=1e-6).n_episodes == 1


def test_a_model_flies_as_in_an_evaluation(tmp_path):
    model = PPO("MlpPolicy", WaypointVecEnv(2, SHORT), n_steps=8, batch_size=16, seed=0, device="cpu")
    data = read_flights(record_flights(tmp_path / "flights.h5", model, SHORT, 5, seed=11))
    flown = fly(model, SHORT, 5, seed=11)
    np.testing.assert_allclose(data.returns(), flown.returned, rtol=1e-4)
    np.testing.assert_array_equal(data.success, flown.success)


def test_a_model_of_other_worlds_is_refused(tmp_path):
    model = PPO("MlpPolicy", WaypointVecEnv(2, SHORT), n_steps=8, batch_size=16, seed=0, device="cpu")
    for changes in ({"scaled": False}, {"dynamics": "quadrotor"}, {"discrete": True}):
        with pytest.raises(ValueError):
            record_flights(tmp_path / "flights.h5", model, SHORT.changed(**changes), 1)
    assert not list(tmp_path.iterdir())


def test_a_model_behind_a_normalisation_flies_on_what_it_saw_and_the_worlds_are_recorded(tmp_path):
    env = VecNormalize(WaypointVecEnv(2, SHORT))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 0.1, 0.04
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=16, seed=0, device="cpu")
    data = read_flights(record_flights(tmp_path / "flights.h5", model, SHORT, 3, seed=11))
    np.testing.assert_array_equal(data.observations[0], WaypointEnv(SHORT).reset(seed=11)[0])
    normalised = ((data.observations - 0.1) / np.sqrt(0.04 + env.epsilon)).astype(np.float32)
    np.testing.assert_allclose(data.actions, model.predict(normalised, deterministic=True)[0], atol=1e-6)
    assert np.abs(data.actions - model.predict(data.observations, deterministic=True)[0]).max() > 1e-3


def test_whole_numbers_as_commands_get_noise_too(tmp_path):
    def full(seen):
        return np.ones((len(seen), 2), int)

    data = read_flights(record_flights(tmp_path / "flights.h5", full, SHORT, 2, noise=0.3))
    clean, noisy = (data.actions[data.episode == i] for i in range(2))
    assert (clean == 1).all()
    assert 0.3 < (noisy < 1).mean() < 0.7  # a draw below zero for every second one; above one they are cut


def test_numbers_of_a_table_are_kept_as_such(tmp_path):
    path = record_flights(tmp_path / "flights.h5", lambda seen: np.full(len(seen), 4), TABLE, 4, noise=0.5)
    data = read_flights(path)
    assert data.discrete
    assert data.actions.dtype == np.int64
    share = (data.actions != 4).mean()
    assert 0.1 < share < 0.4  # half of the episodes, half of their steps, 8 of 9 numbers
    assert json.loads(h5py.File(path)["/"].attrs["action_space"]) == {
        "type": "Discrete",
        "dtype": "int64",
        "start": 0,
        "n": 9,
    }


def test_options_made_of_numpy_are_kept_like_any_others(tmp_path):
    drag, course = {"drag": np.float32(0.5)}, np.array([[1.0, 2.0], [3, -1]])
    plain = SHORT.changed(wind=0.25, vehicle={"drag": 0.5}, course=[[1, 2], [3, -1]])
    numbers = {"waypoints": np.int64(2), "wind": np.float32(0.25), "discrete": np.bool_(False)}
    options = SHORT.changed(vehicle=drag, course=course, **numbers)
    course[:], drag["drag"] = 9.0, -1.0  # the options' are their own
    assert options == plain
    assert read_flights(record_flights(tmp_path / "flights.h5", steer, options, 1)).options == plain


def test_the_layout_is_that_of_minari(whole, tmp_path):
    data = write_minari(whole, tmp_path / "separable" / "waypoints" / "flights-v0")
    assert sorted(path.name for path in data.iterdir()) == ["main_data.hdf5", "metadata.json"]
    metadata = json.loads((data / "metadata.json").read_text())
    assert metadata["dataset_id"] == "separable/waypoints/flights-v0"
    assert metadata["data_format"] == "hdf5"
    with h5py.File(data / "main_data.hdf5") as file:
        assert sorted(file) == [f"episode_{i}" for i in range(metadata["total_episodes"])]
        steps = 0
        for i in range(6):
            group = file[f"episode_{i}"]
            n = int(group.attrs["total_steps"])
            assert (group.attrs["id"], group.attrs["seed"]) == (i, 3 + i)
            assert group["observations"].shape == (n + 1, 7)
            assert group["actions"].shape == (n, 2)
            assert group["rewards"].shape == group["terminations"].shape == group["truncations"].shape == (n,)
            steps += n
    assert metadata["total_steps"] == steps
    env = gymnasium.make(EnvSpec.from_json(metadata["env_spec"]))
    assert env.unwrapped.options == SHORT
    space = json.loads(metadata["observation_space"])
    assert space["shape"] == list(env.observation_space.shape)
    np.testing.assert_allclose(space["high"], env.observation_space.high)
    with pytest.raises(FileExistsError):
        write_minari(whole, tmp_path / "separable" / "waypoints" / "flights-v0")


def remove(file):
    del file["episode_1/rewards"]


def not_a_number(file):
    file["episode_2/observations"][4, 1] = np.nan


def shorter(file):
    actions = file["episode_1/actions"][:-1]
    del file["episode_1/actions"]
    file["episode_1/actions"] = actions


def flat(file):
    seen = file["episode_0/observations"][:].ravel()
    del file["episode_0/observations"]
    file["episode_0/observations"] = seen


def text(file):
    n = len(file["episode_0/rewards"])
    del file["episode_0/rewards"]
    file["episode_0/rewards"] = ["much"] * n


def too_few(file):
    del file["episode_5"]


def other_worlds(file):
    file.attrs["options"] = json.dumps({"dynamics": "quadrotor"})


def no_options(file):
    file.attrs["options"] = json.dumps({"gravity": 1})


def too_strong(file):
    file["episode_3/actions"][0] = 7.0


def neither_commands_nor_numbers(file):
    thrust = file["episode_0/actions"][:, 0]
    del file["episode_0/actions"], file.attrs["options"]
    file["episode_0/actions"] = thrust


def uncounted(file):
    del file.attrs["total_episodes"]


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (remove, "episode_1/rewards"),
        (not_a_number, "episode_2/observations"),
        (shorter, "episode_1/actions"),
        (flat, "episode_0"),
        (text, "episode_0/rewards"),
        (too_few, "episode_5"),
        (other_worlds, "episode_0/observations"),
        (no_options, "options"),
        (too_strong, "episode_3/actions"),
        (uncounted, "total_episodes"),
        (neither_commands_nor_numbers, "episode_0/actions"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(path, damage, place):
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(ValueError) as caught:
        read_flights(path)
    assert "copy.h5" in str(caught.value)
    assert place in str(caught.value)


def test_a_cut_file_another_file_and_none_are_refused(path, tmp_path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError):
        read_flights(path)
    path.write_text("not HDF5")
    with pytest.raises(ValueError):
        read_flights(path)
    with pytest.raises(FileNotFoundError):
        read_flights(tmp_path / "none.h5")


def test_options_that_the_flights_do_not_fit_are_refused(whole):
    with pytest.raises(ValueError):
        read_flights(whole, options=SHORT.changed(frame="world"))
    with pytest.raises(ValueError):
        read_flights(whole, options=TABLE)
    with pytest.raises(ValueError, match="scaled"):
        read_flights(whole, options=SHORT.changed(scaled=False))
    assert read_flights(whole, options=SHORT.changed(time_limit=3.0)).options.time_limit == 3.0
    with pytest.raises(ValueError):
        read_flights(whole, share=0.0)


def test_a_file_of_other_environments_is_read_without_options(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["options"]
        for group in file.values():
            del group["infos"]
    data = read_flights(path)
    assert data.options is data.success is None
    assert data.observations.shape[1] == 7


def test_a_recording_that_fails_leaves_the_older_file(path, tmp_path):
    content = path.read_bytes()
    flown = []

    def fails(seen):
        flown.append(seen)
        return steer(seen) if len(flown) < 5 else np.full((len(seen), 2), np.nan)

    with pytest.raises(ValueError):
        record_flights(path, fails, SHORT, 4)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["copy.h5"]


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"episodes": 2, "noise": -1.0}, {"episodes": 2, "noisy": 1.5}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError):
        record_flights(tmp_path / "flights.h5", steer, SHORT, **wrong)
    assert not list(tmp_path.iterdir())
