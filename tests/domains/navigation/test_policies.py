"""Policies in stable-baselines3: every algorithm learns, predicts, is kept and comes back; what is refused."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from stable_baselines3.her import HerReplayBuffer

from domains.navigation.coordinates import Coordinates
from domains.navigation.environment import WaypointEnv
from domains.navigation.goal_environment import WaypointGoalEnv
from domains.navigation.networks import PublishedSpan, QuadraticFeatures, QuadraticNetwork
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import SpanPolicy, actor_of, make_coordinates, parameter_count
from domains.navigation.stable_baselines import WaypointVecEnv

OFF = {"learning_starts": 32, "buffer_size": 1000, "batch_size": 32, "train_freq": 8}
SETTINGS = {
    PPO: {"n_steps": 32, "batch_size": 32, "n_epochs": 2},
    A2C: {},
    SAC: OFF,
    TD3: OFF,
    DQN: OFF,
}
ALGORITHMS = pytest.mark.parametrize("algorithm", list(SETTINGS), ids=lambda a: a.__name__)
KINDS = [{"pairs": 3, "singles": 2}, {"pairs": 2, "singles": 2, "atoms": "spline"}, {"kind": "published", "rank": 3}]
SHORT = WaypointOptions(time_limit=1.0)


def made(algorithm, network=KINDS[0], env=None, **more):
    env = env or VecMonitor(WaypointVecEnv(4, SHORT, discrete=algorithm is DQN))
    given = {"coordinates": Coordinates.of_waypoints(SHORT), "actor": network, **more.pop("policy_kwargs", {})}
    settings = {**SETTINGS[algorithm], "device": "cpu", "seed": 0, **more}
    return algorithm("SpanPolicy", env, policy_kwargs=given, **settings)


def observations(model, n=50):
    space = model.observation_space
    if isinstance(space, spaces.Dict):
        space.seed(0)
        samples = [space.sample() for _ in range(n)]
        return {key: np.stack([sample[key] for sample in samples]) for key in space.spaces}
    return np.random.default_rng(0).normal(size=(n, *space.shape)).astype(np.float32)


def actions(model, seen):
    return model.predict(seen, deterministic=True)[0]


@ALGORITHMS
@pytest.mark.parametrize("network", KINDS, ids=["tanh", "spline", "published"])
def test_every_algorithm_learns_and_comes_back_with_the_same_actions(algorithm, network, tmp_path):
    model = made(algorithm, network)
    start = [p.detach().clone() for p in actor_of(model)[0].parameters() if p.requires_grad]
    model.learn(256)
    now = [p for p in actor_of(model)[0].parameters() if p.requires_grad]
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())
    assert any((a != b).any() for a, b in zip(start, now, strict=True))
    seen = observations(model)
    before = actions(model, seen)
    assert before.shape == (50, *model.action_space.shape)
    one = actions(model, seen[0])
    assert model.action_space.contains(int(one) if algorithm is DQN else one)
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=model.get_env(), device="cpu")
    np.testing.assert_array_equal(actions(again, seen), before)
    again.learn(64)
    model.policy.save(str(tmp_path / "policy"))
    policy = SpanPolicy[algorithm].load(str(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(policy.predict(seen, deterministic=True)[0], before)


@ALGORITHMS
def test_the_readout_of_the_actors_features_is_what_the_algorithm_acts_by(algorithm):
    model = made(algorithm)
    seen = observations(model)
    features, readout = actor_of(model)
    with torch.no_grad():
        outputs = readout(features(torch.from_numpy(seen))).numpy()
    squashed = np.clip(outputs, -1, 1) if algorithm in (PPO, A2C) else np.tanh(outputs)
    expected = outputs.argmax(1) if algorithm is DQN else squashed
    np.testing.assert_allclose(actions(model, seen), expected, atol=1e-6)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_evaluation_and_its_callback_take_the_policy(algorithm, tmp_path):
    model = made(algorithm)
    test = VecMonitor(WaypointVecEnv(2, SHORT))
    callback = EvalCallback(test, eval_freq=16, n_eval_episodes=1, best_model_save_path=str(tmp_path), verbose=0)
    model.learn(128, callback=callback)
    assert np.isfinite(callback.best_mean_reward)
    best = algorithm.load(tmp_path / "best_model", device="cpu")
    for env in (test, Monitor(WaypointEnv(SHORT))):
        mean, _ = evaluate_policy(best, env, n_eval_episodes=2)
        assert np.isfinite(mean)


@ALGORITHMS
def test_networks_of_actor_and_critic_have_their_own_sizes(algorithm):
    if algorithm is DQN:
        with pytest.raises(ValueError):
            made(DQN, policy_kwargs={"critic": {"pairs": 9}})
        return
    model = made(algorithm, policy_kwargs={"critic": {"kind": "published", "rank": 5, "coordinates": 4}})
    assert actor_of(model)[0].sizes == QuadraticNetwork(pairs=3, singles=2)
    policy = model.policy
    if algorithm in (PPO, A2C):
        critics = [policy.mlp_extractor.critic]
    else:
        critics = [q[0] for part in (policy.critic, policy.critic_target) for q in part.q_networks]
        assert len(critics) == 4
    assert all(critic.sizes == PublishedSpan(coordinates=4, rank=5) for critic in critics)
    model.learn(128)
    z = 7 + 3 + 3
    assert parameter_count(actor_of(model)[0]) == 8 * (z + 1)


@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_critics_see_the_action_and_all_their_parameters_are_kept(algorithm):
    model = made(algorithm)
    seen, critic = torch.from_numpy(observations(model)), model.policy.critic
    with torch.no_grad():
        low, high = (critic(seen, torch.full((50, 2), value))[0] for value in (-1.0, 1.0))
    assert (low != high).all()
    owned = {id(p) for p in model.policy.critic.optimizer.param_groups[0]["params"]}
    assert owned == {id(p) for q in critic.q_networks for p in q.parameters()}
    assert {name.split(".")[0] for name in critic.state_dict()} == {"qf0", "qf1"}


@ALGORITHMS
def test_an_optimiser_of_ones_own_is_used_and_comes_back(algorithm, tmp_path):
    chosen = {"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.5}}
    model = made(algorithm, policy_kwargs=chosen)
    before = torch.nn.utils.parameters_to_vector(actor_of(model)[0].parameters()).clone()
    model.learn(256)
    assert not torch.equal(torch.nn.utils.parameters_to_vector(actor_of(model)[0].parameters()), before)
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", device="cpu")
    for each in (model, again):
        holder = each.policy.actor if algorithm in (SAC, TD3) else each.policy
        assert isinstance(holder.optimizer, torch.optim.SGD)
        assert holder.optimizer.param_groups[0]["momentum"] == 0.5


def test_hindsight_experience_replay_takes_dictionaries_of_observations(tmp_path):
    env = DummyVecEnv([lambda: WaypointGoalEnv(time_limit=0.5)])
    keys = list(env.observation_space.spaces)
    assert keys == ["achieved_goal", "desired_goal", "observation"]
    network = {"pairs": 3, "singles": 3}
    more = {"coordinates": Coordinates(between=(((0, 1), (2, 3)),))}
    model = made(SAC, network, env, replay_buffer_class=HerReplayBuffer, policy_kwargs=more, train_freq=1)
    model.learn(96)
    seen = observations(model)
    features, _ = actor_of(model)
    row = torch.from_numpy(np.concatenate([seen[key] for key in keys], 1))
    gap = seen["desired_goal"] - seen["achieved_goal"]
    np.testing.assert_allclose(features.known(row)[:, row.shape[1]], np.linalg.norm(gap, axis=1), atol=1e-3)
    before = actions(model, seen)
    model.save(tmp_path / "model")
    again = SAC.load(tmp_path / "model", env=env, device="cpu")
    np.testing.assert_array_equal(actions(again, seen), before)


@pytest.mark.parametrize("algorithm", [PPO, SAC, DQN])
def test_refined_splines_are_kept_and_learn_on(algorithm, tmp_path):
    model = made(algorithm, KINDS[1])
    for part in model.policy.modules():
        if isinstance(part, QuadraticFeatures):
            part.refine()
    for holder in [model.policy.actor, model.policy.critic] if algorithm is SAC else [model.policy]:
        trained = model.policy.q_net if algorithm is DQN else holder
        holder.optimizer = torch.optim.Adam(trained.parameters(), 1e-2)
    model.learn(128)
    model.save(tmp_path / "model")
    again, seen = algorithm.load(tmp_path / "model", env=model.get_env(), device="cpu"), observations(model)
    np.testing.assert_array_equal(actions(again, seen), actions(model, seen))
    curves = actor_of(again)[0].splines.coefficients[0]
    assert curves.shape[1] == 2 * 4 + 2
    before = curves.detach().clone()
    again.learn(256)
    assert not torch.equal(actor_of(again)[0].splines.coefficients[0], before)


@pytest.mark.parametrize(
    ("algorithm", "more"), [(SAC, {}), (PPO, {}), (PPO, {"squash_output": True}), (A2C, {"full_std": False})]
)
def test_exploration_by_state_dependent_noise(algorithm, more, tmp_path):
    model = made(algorithm, use_sde=True, sde_sample_freq=4, policy_kwargs=more)
    model.learn(256)
    seen = observations(model)
    before = actions(model, seen)
    assert np.abs(before).max() <= 1
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(actions(algorithm.load(tmp_path / "model", device="cpu"), seen), before)


@ALGORITHMS
def test_slopes_are_finite_at_a_waypoint(algorithm):
    model = made(algorithm)
    features, readout = actor_of(model)
    x = torch.zeros(2, 7, requires_grad=True)
    readout(features(x)).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in features.parameters())


def test_actions_of_other_spaces_are_chosen_as_well():
    class Switches(gymnasium.Env):
        observation_space = spaces.Box(-1, 1, (2, 3), np.float32)
        action_space = spaces.MultiDiscrete([3, 2])

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), float(action[0]), False, self.np_random.random() < 0.1, {}

    model = made(PPO, env=DummyVecEnv([Switches]), policy_kwargs={"coordinates": {"vectors": [[0, 3]]}})
    model.learn(64)
    assert model.action_space.contains(actions(model, model.observation_space.sample()))


def test_a_saved_policy_loads_in_a_process_that_knows_only_the_policies(tmp_path):
    model = made(PPO, KINDS[1])
    model.save(tmp_path / "model")
    model.policy.save(str(tmp_path / "policy"))
    np.save(tmp_path / "seen.npy", observations(model))
    program = f"""
import numpy, stable_baselines3, domains.navigation.policies as policies
seen = numpy.load({str(tmp_path / "seen.npy")!r})
model = stable_baselines3.PPO.load({str(tmp_path / "model")!r}, device="cpu")
policy = policies.SpanActorCriticPolicy.load({str(tmp_path / "policy")!r}, device="cpu")
found = [each.predict(seen, deterministic=True)[0] for each in (model, policy)]
numpy.save({str(tmp_path / "found.npy")!r}, found)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    expected = actions(model, observations(model))
    for found in np.load(tmp_path / "found.npy"):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@ALGORITHMS
@pytest.mark.parametrize(
    "wrong",
    [
        {"net_arch": [8]},
        {"activation_fn": torch.nn.ReLU},
        {"coordinates": {"vectors": [[0, 7]]}},
        {"coordinates": {"points": [[0, 1]]}},
        {"actor": {"kind": "cubic"}},
        {"actor": {"widths": 3}},
    ],
)
def test_policies_that_cannot_be_are_refused(algorithm, wrong):
    with pytest.raises(ValueError):
        made(algorithm, policy_kwargs=wrong)


def test_coordinates_come_from_plain_data():
    plain = {"vectors": [[0, 1]], "angles": [2], "between": [[[0, 1], [3, 4]]]}
    assert make_coordinates(plain) == Coordinates(((0, 1),), (2,), (((0, 1), (3, 4)),))
    assert make_coordinates(None) == Coordinates()


def test_other_policies_have_no_actor_of_ours():
    with pytest.raises(TypeError):
        actor_of(PPO("MlpPolicy", WaypointVecEnv(2), device="cpu"))
