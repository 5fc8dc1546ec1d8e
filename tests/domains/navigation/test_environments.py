"""Environments: gymnasium's and stable-baselines3's checks, the vector form, goals and recordings."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from PIL import Image

import domains.navigation
from domains.navigation.environment import WaypointEnv
from domains.navigation.goal_environment import WaypointGoalEnv
from domains.navigation.options import WaypointOptions
from domains.navigation.recording import record
from domains.navigation.vector_environment import WaypointVectorEnv
from tests.domains.films import frames_of

assert domains.navigation  # registers the ids
IDS = ["separable/Waypoints2D-v0", "separable/Waypoints3D-v0"]
RICH = {"obstacles": 3, "gusts": 1.0, "sensor_noise": 0.02}


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib

    matplotlib.use("Agg")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("more", [{}, {"discrete": True}, RICH, {"frame": "world"}])
def test_gymnasium_finds_nothing_wrong(name, more):
    check_env(gymnasium.make(name, **more).unwrapped)


@pytest.mark.parametrize("env", [WaypointEnv, WaypointGoalEnv])
@pytest.mark.parametrize("more", [{"dynamics": "unicycle"}, {"dynamics": "quadrotor", "discrete": True}])
def test_stable_baselines3_finds_nothing_wrong(env, more):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    waypoints = {"waypoints": 1} if env is WaypointGoalEnv else {}
    checker.check_env(env(render_mode="rgb_array", **more, **waypoints))


def test_gymnasium_finds_nothing_wrong_with_goals():
    check_env(WaypointGoalEnv(**RICH), skip_render_check=True)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("more", [{}, RICH])
@pytest.mark.parametrize("mode", [gymnasium.vector.AutoresetMode.NEXT_STEP, gymnasium.vector.AutoresetMode.SAME_STEP])
def test_the_vector_form_equals_gymnasiums_own_of_single_environments(name, more, mode):
    more = {**more, "time_limit": 1.0}
    ours = gymnasium.make_vec(name, num_envs=5, autoreset_mode=mode, **more)
    theirs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(name, **more)] * 5, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] == mode
    a, b = ours.reset(seed=3), theirs.reset(seed=3)
    np.testing.assert_array_equal(a[0], b[0])
    assert data_equivalence(a[1], b[1], exact=True)
    ours.action_space.seed(0)
    ended = 0
    for _ in range(70):
        actions = ours.action_space.sample()
        a, b = ours.step(actions), theirs.step(actions)
        for mine, other in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(mine, other)
        assert a[4].keys() == b[4].keys()
        for key in a[4]:
            if key != "final_obs":
                assert data_equivalence(a[4][key], b[4][key], exact=True), key
        for mine, other in zip(a[4].get("final_obs", []), b[4].get("final_obs", []), strict=True):
            np.testing.assert_array_equal(mine, other)
        ended += int((a[2] | a[3]).sum())
    assert ended >= 10


def test_without_autoreset_a_mask_chooses_who_starts_again():
    envs = WaypointVectorEnv(3, autoreset_mode="DISABLED", time_limit=0.1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((3, 2)))
    envs.reset(seed=0)
    for _ in range(2):
        observations, _, _, truncated, _ = envs.step(np.zeros((3, 2)))
    assert truncated.all()
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.zeros((3, 2)))
    with pytest.raises(ValueError):
        envs.reset(options={"reset_mask": np.array([True])})
    mask = np.array([True, False, True])
    again, _ = envs.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal((again != observations).any(1), mask)


@pytest.mark.parametrize("wrong", [{"autoreset_mode": "never"}, {"render_mode": "human"}, {"waypoint": 2}])
def test_wrong_vector_forms_are_refused(wrong):
    with pytest.raises(ValueError):
        WaypointVectorEnv(2, **wrong)


def test_given_options_are_taken_whole_and_those_of_the_id_otherwise():
    given = WaypointOptions(dynamics="quadrotor", reach_radius=0.3)
    for made in (
        gymnasium.make(IDS[1], options=given).unwrapped,
        gymnasium.make_vec(IDS[1], num_envs=2, options=given),
    ):
        assert made.options == given
    for radius, changes in ((0.75, {}), (0.4, {"reach_radius": 0.4})):
        own = WaypointOptions(dynamics="quadrotor", reach_radius=radius)
        assert gymnasium.make(IDS[1], **changes).unwrapped.options == own
        assert gymnasium.make_vec(IDS[1], num_envs=2, **changes).options == own
    with pytest.raises(ValueError, match="2 dimensions"):
        gymnasium.make(IDS[0], options=given)


def test_seeds_of_numpy_are_seeds():
    envs, twin = WaypointVectorEnv(3), WaypointVectorEnv(3)
    for seed, same in ((np.int64(5), 5), (np.arange(3), [0, 1, 2]), ([np.int32(-7), None, None], [-7, None, None])):
        np.testing.assert_array_equal(envs.reset(seed=seed)[0], twin.reset(seed=same)[0])


@pytest.mark.parametrize("seed", [0.0, "12", [1.5, 2], ["1", 2], [1, 2, 3], [np.nan, None]])
def test_seeds_that_are_no_whole_numbers_are_refused_and_leave_the_worlds_as_they_were(seed):
    envs, twin = WaypointVectorEnv(2, gusts=1.0), WaypointVectorEnv(2, gusts=1.0)
    envs.reset(seed=1)
    twin.reset(seed=1)
    with pytest.raises(ValueError):
        envs.reset(seed=seed)
    np.testing.assert_array_equal(envs.step(np.zeros((2, 2)))[0], twin.step(np.zeros((2, 2)))[0])
    np.testing.assert_array_equal(envs.reset()[0], twin.reset()[0])


def test_worlds_without_a_seed_start_apart_from_each_other():
    envs, twin = WaypointVectorEnv(5), WaypointVectorEnv(5)
    with pytest.raises(ValueError):
        envs.reset(seed=[7, None, 1.5, None, 7])
    for own in (envs, twin):
        own.np_random = np.random.default_rng(0)
    starts = set()
    for _ in range(2):  # the first start, and one after it
        seen = envs.reset(seed=[7, None, None, None, 7])[0]
        np.testing.assert_array_equal(seen, twin.reset(seed=[7, None, None, None, 7])[0])
        np.testing.assert_array_equal(seen[[0, 4]], np.tile(WaypointEnv().reset(seed=7)[0], (2, 1)))
        starts |= {row.tobytes() for row in seen}
    assert len(starts) == 1 + 2 * 3


def test_bad_input_is_told_and_the_environment_goes_on():
    env, twin = WaypointEnv(**RICH), WaypointEnv(**RICH)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2))
    env.reset(seed=1)
    twin.reset(seed=1)
    for action in (np.zeros(3), np.array([np.nan, 0.0]), None, "left"):
        with pytest.raises(ValueError):
            env.step(action)
    got, expected = env.step(np.array([1.0, 0.5])), twin.step(np.array([1.0, 0.5]))
    np.testing.assert_array_equal(got[0], expected[0])
    assert got[1:] == expected[1:]
    with pytest.raises(ValueError):
        WaypointEnv(rewards={"speed": 1.0})
    with pytest.raises(ValueError):
        WaypointEnv(render_mode="ascii")


def test_info_tells_the_terms_of_the_reward_and_how_far_it_came():
    env = gymnasium.make(IDS[0], time_limit=0.5)
    env.reset(seed=0)
    for i in range(10):
        _, reward, terminated, truncated, info = env.step(np.array([0.5, 0.1], np.float32))
        assert sum(info["reward_terms"].values()) == pytest.approx(reward)
        assert info["time"] == pytest.approx(0.05 * (i + 1))
    assert (terminated, truncated, info["is_success"]) == (False, True, False)


def test_the_goal_reward_is_that_of_every_row_and_of_no_other_goal():
    env, random = WaypointGoalEnv(), np.random.default_rng(0)
    achieved, desired = random.uniform(-0.2, 0.2, (2, 50, 2)).astype(np.float32)
    together = env.compute_reward(achieved, desired, [{}] * 50)
    one_by_one = [env.compute_reward(a, b, {}) for a, b in zip(achieved, desired, strict=True)]
    np.testing.assert_array_equal(together, one_by_one)
    near = np.linalg.norm(5.0 * (achieved.astype(float) - desired), axis=1) < 0.5
    np.testing.assert_array_equal(together, near)
    assert 0 < near.sum() < 50
    with pytest.raises(ValueError):
        WaypointGoalEnv(WaypointOptions(waypoints=2))


def test_a_goal_at_the_edge_is_not_reached_by_leaving_the_arena():
    """Flights that pass the corner of a goal's circle which lies outside."""
    env, rewards, passed = WaypointGoalEnv(dynamics="double_integrator", course=((4.9, 0.0),)), set(), 0
    for angle in np.linspace(-1.5, 0.0, 60):
        ahead = np.array([np.cos(angle), np.sin(angle)])
        env.reset(seed=0, options={"position": np.array([5.1, 0.47]) - 3 * ahead})
        ended = False
        while not ended:
            seen, reward, terminated, truncated, info = env.step(ahead)
            ended = terminated or truncated
            assert env.observation_space.contains(seen)
            where = 5.0 * seen["achieved_goal"].astype(float)
            assert (reward == 1) == info["is_success"] == (np.linalg.norm(where - [4.9, 0.0]) < 0.5)
        passed += bool(info["left_arena"] and np.linalg.norm(where.clip(-5, 5) - [4.9, 0.0]) < 0.5 and not reward)
        rewards.add(reward)
    assert passed
    assert rewards == {0.0, 1.0}


def test_stable_baselines3_trains_on_the_vector_form_and_sees_what_single_environments_give():
    ppo = pytest.importorskip("stable_baselines3").PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    from domains.navigation.stable_baselines import WaypointVecEnv

    more = {**RICH, "time_limit": 1.0}
    ours = WaypointVecEnv(4, every_step=True, **more)
    theirs = DummyVecEnv([lambda: WaypointEnv(**more)] * 4)
    for envs in (ours, theirs):
        envs.seed(11)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    random = np.random.default_rng(0)
    for _ in range(50):
        actions = random.uniform(-1, 1, (4, 2)).astype(np.float32)
        a, b = ours.step(actions), theirs.step(actions)
        for mine, other in zip(a[:3], b[:3], strict=True):
            np.testing.assert_array_equal(mine, other)
        assert data_equivalence(a[3], b[3], exact=True)
    with pytest.raises(ValueError):
        ours.step(np.full((4, 2), np.nan))
    with pytest.raises(AttributeError):
        ours.set_attr("options", None)
    assert ours.env_is_wrapped(VecMonitor) == [False] * 4
    model = ppo("MlpPolicy", VecMonitor(WaypointVecEnv(8, **more)), n_steps=32, batch_size=64, device="cpu")
    model.learn(512)
    assert len(model.ep_info_buffer) > 0


def test_options_of_each_world_that_hold_arrays_have_to_be_the_same():
    pytest.importorskip("stable_baselines3")
    from domains.navigation.stable_baselines import WaypointVecEnv

    envs = WaypointVecEnv(3, waypoints=1)
    given = {"position": np.array([1.0, 2.0]), "waypoints": np.array([[3.0, 4.0]]), "heading": 0.5}
    envs.set_options([dict(given) for _ in range(3)])
    envs.reset()
    np.testing.assert_array_equal(envs.worlds.position, np.full((3, 2), given["position"]).T)
    for other in ({**given, "position": np.array([1.0, 2.5])}, {"heading": 0.5}, {}):
        envs.set_options([given, given, other])
        with pytest.raises(ValueError, match="the same for all worlds"):
            envs.reset()


@pytest.mark.parametrize("dynamics", ["double_integrator", "unicycle", "quadrotor"])
def test_pictures_show_what_moved(dynamics):
    env = WaypointEnv(dynamics=dynamics, render_mode="rgb_array", **RICH)
    env.reset(seed=0)
    first = env.render()
    assert first.dtype == np.uint8
    assert first.shape == (320, 640 if dynamics == "quadrotor" else 320, 3)
    for _ in range(10):
        env.step(np.ones(env.action_space.shape))
    assert (env.render() != first).any()
    frames = WaypointVectorEnv(2, dynamics=dynamics, render_mode="rgb_array").render()
    assert len(frames) == 2


def test_a_window_opens_and_closes_without_a_display():
    env = WaypointEnv(render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros(2))
    assert env.render() is None
    env.close()
    env.close()


def test_an_episode_becomes_a_gif(tmp_path):
    env = gymnasium.make(IDS[0], render_mode="rgb_array", time_limit=1.0)
    info = record(env, None, tmp_path / "flight.gif", seed=0)
    assert info["time"] <= 1.0
    with Image.open(tmp_path / "flight.gif") as picture:
        assert picture.n_frames > 3
        assert picture.size == (320, 320)
    assert [path.name for path in tmp_path.iterdir()] == ["flight.gif"]


def test_an_episode_becomes_an_mp4(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    env = gymnasium.make(IDS[0], render_mode="rgb_array", time_limit=1.0)
    info = record(env, None, tmp_path / "flight.mp4", seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["flight.mp4"]
    frames = frames_of(tmp_path / "flight.mp4")
    env.reset(seed=0)
    start = env.render().astype(float)
    assert len(frames) == 1 + round(info["time"] / (2 * 0.05))
    assert frames[0].shape == start.shape
    assert np.abs(frames[0] - start).mean() < 3  # of 255: the compression loses something
    assert np.abs(frames[-1] - frames[0]).max() > 100


def test_recordings_that_cannot_be_are_refused(tmp_path, monkeypatch):
    env = WaypointEnv(render_mode="rgb_array")
    for wrong in ({"path": "flight.avi"}, {"path": "flight.gif", "every": 0}):
        with pytest.raises(ValueError):
            record(env, None, **wrong)
    with pytest.raises(ValueError):
        record(WaypointEnv(), None, tmp_path / "flight.gif")
    monkeypatch.setitem(sys.modules, "imageio", None)
    with pytest.raises(ModuleNotFoundError):
        record(env, None, tmp_path / "flight.mp4")
