"""The picture of a policy: what is drawn is what the model does, for every algorithm and kind of space."""

import gymnasium
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from domains.navigation.coordinates import Coordinates
from domains.navigation.goal_environment import WaypointGoalEnv
from domains.navigation.inspection import draw_policy
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import SpanPolicy, actor_of
from domains.navigation.policy_parts import actions_of, entry_names, flown, parts_of, resting, values_of
from domains.navigation.stable_baselines import WaypointVecEnv
from domains.navigation.worlds import Worlds

assert SpanPolicy  # registers the name
SMALL = {"pairs": 2, "singles": 1}


def shaken(algorithm, env, network=SMALL, coordinates=None):
    model = algorithm(
        "SpanPolicy", env, device="cpu", seed=0, policy_kwargs={"actor": network, "coordinates": coordinates}
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.policy.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator)
    return model


def of_waypoints(algorithm=PPO, network=SMALL, **more):
    options = WaypointOptions(discrete=algorithm is DQN, **more)
    return shaken(algorithm, WaypointVecEnv(2, options), network, Coordinates.of_waypoints(options))


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def panel(figure, title, number=0):
    return [axes for axes in figure.axes if axes.get_title(loc="left") == title][number]


@pytest.mark.parametrize("dynamics", ["double_integrator", "unicycle", "quadrotor"])
@pytest.mark.parametrize("frame", ["body", "world"])
@pytest.mark.parametrize("scaled", [True, False])
def test_resting_observations_are_those_of_a_world_at_rest(dynamics, frame, scaled):
    options = WaypointOptions(dynamics=dynamics, frame=frame, scaled=scaled, waypoints=1, obstacles=1)
    worlds, d = Worlds(options, 1), options.dimensions
    place = np.array([1.5, -2.0, 0.5])[:d]
    seen = worlds.reset(seeds=[0], options={"position": np.zeros(d), "heading": 0.0, "waypoints": [place]})
    worlds.obstacles[:] = 1e6
    np.testing.assert_allclose(resting(options, place), worlds.observe(), atol=1e-6)
    assert len(entry_names(options)) == len(set(entry_names(options))) == seen.shape[1]


def test_rays_are_numbered_however_many_there_are():
    for dynamics, rays in (("unicycle", 2), ("quadrotor", 3), ("unicycle", 5)):
        names = entry_names(WaypointOptions(dynamics=dynamics, obstacles=2, rays=rays))
        assert [name for name in names if "ray" in name] == [f"ray {i + 1}" for i in range(rays)]


@pytest.mark.parametrize("algorithm", [PPO, A2C, SAC, TD3, DQN])
def test_the_maps_are_the_models_actions_and_values(algorithm, tmp_path):
    model = of_waypoints(algorithm)
    figure = draw_policy(model, tmp_path / "policy.png")
    assert isinstance(figure, Figure)
    assert (tmp_path / "policy.png").stat().st_size > 10_000
    for title in ("acceleration ahead", "rate of turn", "value"):
        assert titles(figure).count(title) == 2
    parts = {"how much each part moves the actions", "pair 1: a \u00d7 b", "pair 2: a \u00d7 b", "single 1"}
    assert parts <= set(titles(figure))
    options, n = WaypointOptions(), 61
    axis = np.linspace(-6, 6, n)
    # Row 50 is 4 m ahead, column 20 is 2 m to the left.
    seen = resting(options, [[axis[50], -axis[20]]])
    assert seen[0, :2] == pytest.approx([0.4, 0.2])
    action = model.predict(seen[0], deterministic=True)[0]
    if algorithm is DQN:
        action = Worlds(options.changed(discrete=True), 1).commands[action]
    for title, expected in zip(("acceleration ahead", "rate of turn"), action, strict=True):
        assert panel(figure, title).images[0].get_array()[50, 20] == pytest.approx(expected, abs=1e-5)
    value = panel(figure, "value").images[0].get_array()
    assert value[50, 20] == pytest.approx(values_of(model, seen)[0], abs=1e-5)
    line = panel(figure, "value", 1).get_lines()[1]
    left = line.get_ydata()[np.argmin(np.abs(line.get_xdata() - 90))]
    assert left == pytest.approx(values_of(model, resting(options, [[0.0, 3.0]]))[0], abs=1e-4)


def test_values_are_those_of_the_critics():
    for algorithm in (PPO, SAC, TD3, DQN):
        model = of_waypoints(algorithm)
        seen = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
        rows, policy = torch.from_numpy(seen), model.policy
        with torch.no_grad():
            if algorithm is PPO:
                expected = policy.value_net(policy.mlp_extractor.critic(rows))[:, 0]
            elif algorithm is DQN:
                expected = policy.q_net.q_net(rows).max(1).values
            else:
                # Commands are in [-1, 1], so that the critic takes them as they are.
                action = torch.from_numpy(model.predict(seen, deterministic=True)[0])
                both = [q(torch.cat([rows, action], 1)) for q in policy.critic.q_networks]
                expected = torch.minimum(*both)[:, 0]
        np.testing.assert_allclose(values_of(model, seen), expected, atol=1e-5)


@pytest.mark.parametrize("network", [SMALL, {**SMALL, "atoms": "spline"}, {"kind": "published", "rank": 3}])
def test_parts_sum_to_the_outputs_and_curves_are_their_factors(network):
    model = of_waypoints(SAC, network)
    rows = np.random.default_rng(0).normal(size=(400, 7)).astype(np.float32)
    parts = parts_of(model, entry_names(WaypointOptions()), rows)
    features, readout = actor_of(model)
    with torch.no_grad():
        values = features(torch.from_numpy(rows))
        outputs = readout(values).numpy()
    total = readout.bias.detach().numpy() + values.numpy() @ np.stack([part.weights for part in parts])
    np.testing.assert_allclose(total, outputs, atol=1e-4)
    for i, part in enumerate(parts):
        share = values[:, i, None].numpy() * part.weights
        np.testing.assert_allclose(part.strength, share.std(0), rtol=1e-3, atol=1e-6)
        if not part.curves:
            continue
        # Where the curves were drawn, their product at the rows' places is the feature.
        low, high = (np.array([curve.place[end] for curve in part.curves]) for end in (0, -1))
        seen = np.stack([curve.seen for curve in part.curves], 1)
        within = ((seen >= low) & (seen <= high)).all(1)
        assert within.mean() > 0.7
        product = np.prod([np.interp(c.seen, c.place, c.values) for c in part.curves], 0)
        np.testing.assert_allclose(product[within], values[:, i].numpy()[within], atol=0.02)


def test_combinations_name_the_known_coordinates_that_move_them_most():
    model = of_waypoints(network={"pairs": 0, "singles": 1})
    features, _ = actor_of(model)
    names = entry_names(WaypointOptions())
    with torch.no_grad():
        features.learned.weight.zero_()
        features.learned.weight[0, names.index("rate of turn")] = -2.0
        features.learned.weight[0, 8] = 0.5
    rows = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    combination = parts_of(model, names, rows)[0].curves[0].combination
    assert combination[:2] == (("rate of turn", -2.0), ("direction of next ahead", 0.5))


def test_other_spaces_are_drawn_along_their_entries():
    model = shaken(SAC, gymnasium.make("Pendulum-v1"))
    figure = draw_policy(model, names=["cosine", "sine", "rate"])
    middle = panel(figure, "sine").get_lines()[0]
    place, drawn = middle.get_xdata(), middle.get_ydata()
    assert place[0] == pytest.approx(-1, abs=0.01)
    expected = model.predict(np.array([[0.0, p, 0.0] for p in place], np.float32), deterministic=True)[0]
    np.testing.assert_allclose(drawn, expected[:, 0], atol=0.02)
    assert {"cosine", "sine", "rate"} <= set(titles(figure))


def test_goals_unbounded_spaces_and_normalised_observations_are_drawn():
    goal = shaken(TD3, DummyVecEnv([WaypointGoalEnv]), coordinates=Coordinates(between=(((0, 1), (2, 3)),)))
    assert {"achieved_goal 1", "observation 5"} <= set(titles(draw_policy(goal)))
    cart = shaken(DQN, gymnasium.make("CartPole-v1"), {"kind": "published", "rank": 3})
    assert {"coordinates", "mode 3", "entry 4"} <= set(titles(draw_policy(cart)))
    env = VecNormalize(VecMonitor(WaypointVecEnv(2)))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 0.2, 4.0
    model = shaken(PPO, env)
    raw = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    by_hand = model.predict(((raw - 0.2) / np.sqrt(4.0 + env.epsilon)).astype(np.float32), deterministic=True)[0]
    np.testing.assert_allclose(actions_of(model, raw), by_hand, atol=1e-5)
    draw_policy(model)


def test_a_linear_policy_has_strengths_and_no_functions():
    figure = draw_policy(of_waypoints(network={"pairs": 0, "singles": 0}, dynamics="quadrotor"))
    assert {"thrust", "yaw rate", "value"} <= set(titles(figure))
    assert not any(title.startswith(("pair", "single")) for title in titles(figure))


def test_flights_are_those_of_the_model():
    model, options = of_waypoints(), WaypointOptions()
    seen = flown(model, options)
    assert seen.shape == (200 * 32, 7)
    worlds = Worlds(options, 32)
    first = worlds.reset(seeds=list(range(32)))
    second = worlds.step(model.predict(first, deterministic=True)[0]).observation
    np.testing.assert_array_equal(seen[:64], np.concatenate([first, second]))


def test_what_does_not_fit_is_refused():
    model = of_waypoints()
    for wrong in (
        {"options": WaypointOptions(dynamics="quadrotor")},
        {"observations": np.zeros((5, 6))},
        {"observations": np.full((5, 7), np.nan)},
        {"names": ["x"]},
    ):
        with pytest.raises(ValueError):
            draw_policy(model, **wrong)
    with pytest.raises(TypeError):
        draw_policy(PPO("MlpPolicy", WaypointVecEnv(2), device="cpu"))
