"""Worlds: seeds, observations, rewards, ends of episodes, and what they refuse."""

import numpy as np
import pytest

from domains.navigation.options import REWARDS, WaypointOptions
from domains.navigation.worlds import Worlds

RICH = {"obstacles": 6, "gusts": 1.0, "wind": 0.5, "sensor_noise": 0.02}
KINDS = [
    {"dynamics": dynamics, "frame": frame, **more}
    for dynamics in ("double_integrator", "unicycle", "quadrotor")
    for frame in ("body", "world")
    for more in ({}, RICH)
]


def random_actions(worlds, random):
    return random.uniform(-1.3, 1.3, (worlds.n_worlds, len(worlds.vehicle.commands)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_world_is_the_same_alone_and_in_a_batch(kind):
    options, n = WaypointOptions(**kind, time_limit=1.5), 37
    many, alone = Worlds(options, n), [Worlds(options, 1) for _ in range(n)]
    seen = many.reset(seeds=list(range(100, 100 + n)))
    np.testing.assert_array_equal(seen, np.concatenate([w.reset(seeds=[100 + i]) for i, w in enumerate(alone)]))
    random = np.random.default_rng(1)
    for _ in range(60):
        actions = random_actions(many, random)
        got = many.step(actions)
        each = [w.step(actions[i : i + 1]) for i, w in enumerate(alone)]
        for name in ("observation", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(got, name), np.concatenate([getattr(s, name) for s in each]))
        np.testing.assert_array_equal(got.terms, np.concatenate([s.terms for s in each], 1))
        ended = np.flatnonzero(got.terminated | got.truncated)
        if len(ended):
            again = many.reset(ended)
            np.testing.assert_array_equal(again, np.concatenate([alone[i].reset() for i in ended]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scaled", [True, False])
def test_observations_stay_within_bounds_and_terms_sum_to_the_reward(kind, scaled):
    worlds = Worlds(WaypointOptions(**kind, scaled=scaled, rewards={"progress": 3.0, "time": -0.5}), 32)
    worlds.reset(seeds=list(range(32)))
    random = np.random.default_rng(0)
    for _ in range(300):
        step = worlds.step(random_actions(worlds, random))
        assert ((step.observation >= worlds.low) & (step.observation <= worlds.high)).all()
        np.testing.assert_allclose(step.terms.sum(0), step.reward, rtol=1e-12, atol=1e-14)
        worlds.reset(np.flatnonzero(step.terminated | step.truncated))


def test_seeds_reproduce_episodes_and_later_courses_do_not_depend_on_earlier_flights():
    options = WaypointOptions(**RICH)
    one, other = Worlds(options, 1), Worlds(options, 1)
    np.testing.assert_array_equal(one.reset(seeds=[5]), other.reset(seeds=[5]))
    for _ in range(7):
        one.step(np.ones((1, 2)))
    np.testing.assert_array_equal(one.reset(), other.reset())
    assert not np.array_equal(one.course, Worlds(options, 1).course)
    assert not np.array_equal(one.reset(seeds=[6]), one.reset(seeds=[7]))


def test_starts_are_evenly_spread():
    worlds = Worlds(WaypointOptions(), 4000)
    worlds.reset(seeds=list(range(4000)))
    spread = worlds.position / 8.0 + 0.5
    assert (np.abs(spread.mean(1) - 0.5) < 0.02).all()
    assert (np.abs(spread.var(1) - 1 / 12) < 0.005).all()
    assert abs(np.corrcoef(spread)[0, 1]) < 0.06


def test_gusts_have_the_stated_spread_and_memory():
    options = WaypointOptions(gusts=2.0, gust_time=0.5, wind=3.0)
    worlds = Worlds(options, 4000)
    worlds.reset(seeds=list(range(4000)))
    np.testing.assert_allclose(np.hypot(*worlds.steady), 3.0)
    before = worlds.wind - worlds.steady
    for _ in range(5):
        worlds.step(np.zeros((4000, 2)))
    after = worlds.wind - worlds.steady
    np.testing.assert_allclose(after.std(), 2.0, rtol=0.03)
    np.testing.assert_allclose((before * after).mean() / 4.0, np.exp(-0.5), atol=0.04)


@pytest.mark.parametrize("dynamics", ["unicycle", "quadrotor"])
def test_what_the_body_sees_does_not_change_when_the_world_is_turned(dynamics):
    options = WaypointOptions(dynamics=dynamics, waypoints=3)
    worlds, random = Worlds(options, 1), np.random.default_rng(3)
    d = options.dimensions
    course, start = random.uniform(-3, 3, (3, d)), random.uniform(-1, 1, d)
    actions = random.uniform(-1, 1, (20, len(worlds.vehicle.commands)))
    flights = []
    for angle in (0.0, 0.6, 2.5):
        turn = np.eye(d)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        given = {"waypoints": course @ turn.T, "position": turn @ start, "heading": 0.3 + angle}
        flights.append([worlds.reset(options=given), *(worlds.step(a[None]).observation for a in actions)])
    np.testing.assert_allclose(flights[1], flights[0], atol=1e-6)
    np.testing.assert_allclose(flights[2], flights[0], atol=1e-6)


def test_vectors_to_waypoints_are_in_the_frame_asked_for():
    course = [(3.0, 0.0), (3.0, 2.0)]
    given = {"waypoints": course, "position": (1.0, 0.0), "heading": np.pi / 2}
    body = Worlds(WaypointOptions(waypoints=2, scaled=False), 1).reset(options=given)[0]
    world = Worlds(WaypointOptions(waypoints=2, scaled=False, frame="world"), 1).reset(options=given)[0]
    np.testing.assert_allclose(world[:4], [2, 0, 2, 2], atol=1e-6)
    np.testing.assert_allclose(body[:4], [0, -2, 2, -2], atol=1e-6)  # ahead, left: they lie to the right
    np.testing.assert_allclose(world[-2:], [0, 1], atol=1e-6)


def test_ranges_agree_with_marching_along_each_ray():
    options = WaypointOptions(dynamics="quadrotor", obstacles=8, rays=12, scaled=False, arena=8.0)
    worlds = Worlds(options, 5)
    seen = worlds.reset(seeds=[1, 2, 3, 4, 5])[:, -12:]
    axes = worlds.vehicle.axes(worlds.state)
    travelled = np.arange(0, options.ray_range, 1e-3)
    for w in range(5):
        for j, ray in enumerate(worlds._rays):
            points = worlds.position[:, w, None] + (axes[:, :, w] @ ray)[:, None] * travelled
            gaps = np.linalg.norm(points - worlds.obstacles[:, :, w][:, :, None], axis=1).min(0)
            hits = np.flatnonzero(gaps < options.obstacle_radius)
            expected = travelled[hits[0]] if len(hits) else options.ray_range
            assert abs(seen[w, j] - expected) < 0.02


def test_obstacles_keep_clear_of_the_start_and_the_course_and_end_the_episode_when_hit():
    worlds = Worlds(WaypointOptions(obstacles=5), 64)
    worlds.reset(seeds=list(range(64)))
    kept = np.concatenate([worlds.position[None], worlds.course])
    assert np.linalg.norm(worlds.obstacles[:, None] - kept, axis=2).min() > 0.5 + 2 * 0.5
    worlds.obstacles[0] = worlds.position  # one is put on every vehicle
    step = worlds.step(np.zeros((64, 2)))
    assert step.terminated.all()
    assert not step.truncated.any()
    assert worlds.info()["collided"].all()
    np.testing.assert_allclose(step.terms[[*REWARDS].index("collision")], REWARDS["collision"])


def test_the_time_limit_truncates_and_leaving_terminates():
    worlds = Worlds(WaypointOptions(time_limit=1.0), 1)
    worlds.reset(options={"position": (0.0, 0.0), "waypoints": [(4.0, 4.0)] * 4})
    steps = [worlds.step(np.zeros((1, 2))) for _ in range(20)]
    assert [bool(s.truncated[0]) for s in steps] == [False] * 19 + [True]
    assert not any(s.terminated[0] for s in steps)
    worlds.reset(options={"position": (4.99, 0.0), "heading": 0.0, "waypoints": [(-4.0, 4.0)] * 4})
    for _ in range(3):
        step = worlds.step(np.array([[1.0, 0.0]]))
    assert step.terminated[0]
    assert worlds.left[0]


def test_a_straight_flight_reaches_the_waypoints_in_order_and_progress_telescopes():
    options = WaypointOptions(dynamics="double_integrator", waypoints=2, course=[(1.0, 0.0), (3.0, 0.0)])
    worlds = Worlds(options, 1)
    worlds.reset(options={"position": (-1.0, 0.0)})
    total, reached = np.zeros(len(REWARDS)), []
    for _ in range(200):
        step = worlds.step(np.array([[1.0, 0.0]]))
        total += step.terms[:, 0]
        reached.append(int(worlds.reached[0]))
        if step.terminated[0]:
            break
    assert worlds.success[0]
    assert sorted(reached) == reached
    assert set(reached) == {0, 1, 2}
    terms = dict(zip(REWARDS, total, strict=True))
    assert terms["reached"] == 2 * REWARDS["reached"]
    assert terms["finished"] == REWARDS["finished"]
    assert 3.0 < terms["progress"] < 4.5  # 4 m to go, each waypoint taken within its radius
    assert terms["time"] == pytest.approx(REWARDS["time"] * len(reached) * options.time_step)
    assert terms["effort"] == pytest.approx(REWARDS["effort"] * len(reached) * options.time_step / 2)


def test_discrete_actions_are_rows_of_the_table_of_commands():
    discrete, continuous = (Worlds(WaypointOptions(discrete=d), 9) for d in (True, False))
    for worlds in (discrete, continuous):
        worlds.reset(seeds=list(range(9)))
    left = discrete.step(np.arange(9)).observation
    np.testing.assert_array_equal(left, continuous.step(discrete.commands).observation)


@pytest.mark.parametrize(
    "actions",
    [np.zeros((3, 2)), np.zeros(2), np.zeros((2, 3)), np.array([[0.0, np.nan], [0, 0]]), np.full((2, 2), np.inf), "no"],
)
def test_wrong_actions_are_refused_and_leave_the_worlds_as_they_were(actions):
    worlds, twin = Worlds(WaypointOptions(**RICH), 2), Worlds(WaypointOptions(**RICH), 2)
    worlds.reset(seeds=[1, 2])
    twin.reset(seeds=[1, 2])
    with pytest.raises(ValueError):
        worlds.step(actions)
    np.testing.assert_array_equal(worlds.step(np.ones((2, 2))).observation, twin.step(np.ones((2, 2))).observation)


@pytest.mark.parametrize("actions", [[9, 0], [-1, 0], [0.0, 1.0], [[0], [1]]])
def test_wrong_discrete_actions_are_refused(actions):
    worlds = Worlds(WaypointOptions(discrete=True), 2)
    worlds.reset(seeds=[1, 2])
    with pytest.raises(ValueError):
        worlds.step(np.array(actions))
    worlds.step(np.array([0, 1]))


@pytest.mark.parametrize(
    "options",
    [
        {"waypoint": [(0.0, 0.0)] * 4},
        {"waypoints": [(0.0, 0.0)] * 3},
        {"waypoints": [(0.0, 0.0)] * 3 + [(6.0, 0.0)]},
        {"waypoints": [(0.0, np.nan)] * 4},
        {"position": (0.0, 0.0, 0.0)},
        {"heading": np.inf},
        {"heading": None},
        {"heading": [0.0]},
    ],
)
def test_wrong_starts_are_refused_and_leave_the_worlds_as_they_were(options):
    worlds = Worlds(WaypointOptions(), 1)
    before = worlds.reset(seeds=[1])
    with pytest.raises(ValueError):
        worlds.reset(options=options)
    np.testing.assert_array_equal(worlds.observe(), before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dynamics": "boat"},
        {"frame": "sky"},
        {"waypoints": 0},
        {"waypoints": 2.0},
        {"waypoints": True},
        {"obstacles": -1},
        {"arena": 0.0},
        {"arena": np.nan},
        {"reach_radius": 6.0},
        {"reach_radius": 0.01},
        {"obstacles": 1, "obstacle_radius": 0.01},
        {"wind": -1.0},
        {"sensor_noise": "much"},
        {"time_limit": 0.05},
        {"discrete": 1},
        {"rewards": {"speed": 1.0}},
        {"rewards": {"time": np.nan}},
        {"rewards": ["time"]},
        {"vehicle": {"wings": 2.0}},
        {"vehicle": {"drag": -1.0}},
        {"course": [(0.0, 0.0)]},
        {"course": [(0.0, 0.0)] * 3 + [(5.1, 0.0)]},
        {"course": "home"},
        {"dynamics": "quadrotor", "time_step": 0.2},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError):
        WaypointOptions(**wrong)


@pytest.mark.parametrize("what", ["obstacle", "waypoint"])
@pytest.mark.parametrize(("dynamics", "fastest"), [("double_integrator", 4 * 2**0.5 + 6), ("unicycle", 4.0 + 6)])
def test_the_least_radius_is_not_flown_through(dynamics, fastest, what):
    """Head on at full command before the wind, wherever the steps fall: what is met ends the flights."""
    least = fastest * 0.05 / 2 * 1.001
    given = {"dynamics": dynamics, "waypoints": 1, "obstacles": 1, "arena": 60.0, "wind": 6.0}
    options = WaypointOptions(**given, reach_radius=least, obstacle_radius=least)
    for name in ("reach_radius", "obstacle_radius"):
        with pytest.raises(ValueError, match=name):
            options.changed(**{name: 0.998 * least})
    worlds, ahead = Worlds(options, 64), np.array([[0.5**0.5], [0.5**0.5]])
    there, far = 30.0 * ahead[:, 0], np.array([29.0, -29.0])
    worlds.reset(
        seeds=list(range(64)), options={"waypoints": [there if what == "waypoint" else far], "heading": np.pi / 4}
    )
    worlds.obstacles[:] = (there if what == "obstacle" else far)[None, :, None]
    worlds.state[:2] = np.linspace(-2 * least, 0, 64) * ahead
    worlds.wind[:] = 6 * ahead
    met = np.zeros(64, dtype=bool)
    for _ in range(120):
        worlds.step(np.tile([1.0, 1.0 if dynamics == "double_integrator" else 0.0], (64, 1)))
        met |= worlds.collided if what == "obstacle" else worlds.success
    assert np.linalg.norm(worlds.vehicle.velocity(worlds.state), axis=0).min() > 0.99 * fastest
    assert (worlds.position > there[:, None] + least).all()
    assert met.all()


def test_an_episode_lasts_until_its_time_limit():
    for limit, step, steps in ((1.0, 0.4, 3), (1.5, 0.05, 30), (0.3, 0.1, 3), (20.0, 0.05, 400)):
        worlds = Worlds(WaypointOptions(time_limit=limit, time_step=step, reach_radius=2.0), 1)
        worlds.reset(seeds=[0])
        ended = [bool(worlds.step(np.zeros((1, 2))).truncated[0]) for _ in range(steps)]
        assert ended == [False] * (steps - 1) + [True]
        assert worlds.time[0] > limit - 1e-9


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="waypoint_count"):
        WaypointOptions().changed(waypoint_count=3)


def test_there_is_at_least_one_world():
    with pytest.raises(ValueError):
        Worlds(WaypointOptions(), 0)
