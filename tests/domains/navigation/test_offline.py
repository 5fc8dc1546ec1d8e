"""Learning from flights: known answers by other means, every kind of model, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import expectile
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import VecNormalize

from domains.navigation.coordinates import Coordinates
from domains.navigation.evaluation import evaluate
from domains.navigation.export import export_numpy
from domains.navigation.flights import FlightData
from domains.navigation.numpy_policy import NumpyPolicy
from domains.navigation.offline import (
    CloneConfig,
    ImplicitQConfig,
    clone,
    expectile_loss,
    implicit_q_learning,
    value_network,
)
from domains.navigation.options import WaypointOptions
from domains.navigation.stable_baselines import WaypointVecEnv

SHORT = WaypointOptions(time_limit=1.0)
SIZES = {
    "SpanPolicy": {"coordinates": Coordinates.of_waypoints(SHORT), "actor": {"pairs": 3, "singles": 3}},
    "MlpPolicy": {"net_arch": [8, 8]},
}
POLICIES = pytest.mark.parametrize("policy", list(SIZES))
WIDE = {"SpanPolicy": {}, "MlpPolicy": {"net_arch": [16, 16], "activation_fn": torch.nn.Tanh}}
FEW = ImplicitQConfig(steps=20)
TINY = ImplicitQConfig(steps=300, batch=64, learning_rate=0.02, following=0.05)


def flights(observations, actions, rewards, following=None, ended=True):
    """Flights of one step each."""
    n = len(rewards)
    ended = np.broadcast_to(ended, n).copy()
    return FlightData(
        observations.astype(np.float32),
        actions if actions.dtype.kind == "i" else actions.astype(np.float32),
        np.asarray(rewards, np.float32),
        (observations if following is None else following).astype(np.float32),
        ended,
        ~ended,
        np.arange(n),
        None,
        None,
        None,
    )


def made(algorithm, policy="SpanPolicy", **kwargs):
    kind = {"buffer_size": 500, "learning_starts": 8, "batch_size": 8}
    if algorithm in (PPO, A2C):
        kind = {"n_steps": 8, **({"batch_size": 16} if algorithm is PPO else {})}
    envs = WaypointVecEnv(2, SHORT, discrete=kwargs.pop("discrete", False))
    # stable-baselines3 writes into the dictionary.
    return algorithm(policy, envs, policy_kwargs=kwargs or dict(SIZES[policy]), seed=0, device="cpu", **kind)


def seen(n=600, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 7)).astype(np.float32)


def predicted(model, observations):
    return model.predict(observations, deterministic=True)[0]


@pytest.fixture(scope="module")
def some():
    observations = seen()
    return flights(observations, np.clip(observations[:, :2] * 0.5 + 0.2, -1, 1), observations[:, 0])


def test_a_linear_expert_is_recovered_as_by_least_squares():
    observations, draw = seen(), np.random.default_rng(1)
    matrix, noise = draw.uniform(-0.1, 0.1, (7, 2)), 0.05 * draw.normal(size=(600, 2))
    actions = observations @ matrix + 0.1 + noise
    model = made(PPO, actor={"pairs": 0, "singles": 0, "linear": True})
    clone(model, flights(observations, actions, np.zeros(600)), CloneConfig(steps=600, batch=600, learning_rate=0.03))
    design = np.concatenate([observations, np.ones((600, 1))], 1)
    known = np.linalg.lstsq(design, actions, rcond=None)[0]
    fresh = np.concatenate([seen(seed=2), np.ones((600, 1))], 1)
    np.testing.assert_allclose(predicted(model, fresh[:, :7].astype(np.float32)), fresh @ known, atol=0.01)


@POLICIES
@pytest.mark.parametrize("algorithm", [PPO, A2C, SAC, TD3], ids=lambda a: a.__name__)
def test_every_actor_is_cloned_and_nothing_else_changes(algorithm, policy, some):
    model = made(algorithm, policy)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    losses = clone(model, some, CloneConfig(steps=400, learning_rate=0.01))
    assert losses.shape == (400,)
    error = np.square(predicted(model, some.observations) - some.actions).mean()
    assert error < 0.003
    assert error == pytest.approx(losses[-20:].mean(), rel=0.5)
    changed = {n for n, value in model.policy.state_dict().items() if (value != before[n]).any()}
    assert changed
    assert not any("critic" in n or "value" in n or "log_std" in n for n in changed)
    model.learn(16)


def test_numbers_of_a_table_are_cloned():
    observations = seen()
    actions = np.where(observations[:, 0] > 0, 7, 2)
    for policy in SIZES:
        model = made(A2C, policy, discrete=True)
        clone(model, flights(observations, actions, np.zeros(600)), CloneConfig(steps=300, learning_rate=0.02))
        clear = np.abs(observations[:, 0]) > 0.1
        assert (predicted(model, observations)[clear] == actions[clear]).mean() > 0.97


def test_the_expectile_is_the_one_of_statistics():
    sample = np.random.default_rng(0).exponential(size=500)
    for share in (0.5, 0.7, 0.95):
        point = torch.zeros((), dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([point], max_iter=100, line_search_fn="strong_wolfe")

        def closure(share=share, point=point, optimiser=optimiser):
            optimiser.zero_grad()
            loss = expectile_loss(torch.as_tensor(sample) - point, share).mean()
            loss.backward()
            return loss

        optimiser.step(closure)
        assert point.item() == pytest.approx(expectile(sample, alpha=share), abs=1e-6)


@POLICIES
def test_the_value_is_the_expectile_of_the_actions_that_were_flown(policy):
    """One state, two actions: values 1 (in 30 % of the data) and 0."""
    good = np.random.default_rng(0).permutation(np.arange(500) < 150)
    actions = np.stack([np.where(good, 0.5, -0.5), np.zeros(500)], 1)
    data = flights(np.full((500, 7), 0.3), actions, good)
    model, config = made(TD3, policy, **WIDE[policy]), dataclasses.replace(TINY, expectile=0.8, beta=20.0)
    value = value_network(model)
    losses = implicit_q_learning(model, data, config, value=value)
    assert all(loss.shape == (300,) for loss in losses.values())
    one = torch.full((1, 7), 0.3)
    assert value(one).item() == pytest.approx(expectile(good.astype(float), alpha=0.8), abs=0.06)
    for action, wanted in ((0.5, 1.0), (-0.5, 0.0)):
        for q in model.critic(one, torch.tensor([[action, 0.0]])):
            assert q.item() == pytest.approx(wanted, abs=0.06)
    # Cloning would give the mean, -0.2.
    assert predicted(model, one.numpy())[0, 0] > 0.4


@POLICIES
def test_a_cost_now_is_paid_for_more_later(policy):
    """From the first state, action +0.5 costs 0.2 and leads to one where 1 is earned; -0.5 ends with nothing."""
    draw, first, second = np.random.default_rng(0), np.full(7, -0.3), np.full(7, 0.5)
    goes = draw.random(400) < 0.4
    start = np.arange(400) < 250
    actions = np.stack([np.where(goes, 0.5, -0.5), np.zeros(400)], 1)
    data = flights(
        np.where(start[:, None], first, second),
        actions,
        np.where(start, np.where(goes, -0.2, 0.0), 1.0),
        np.broadcast_to(second, (400, 7)),
        ~start | ~goes,
    )
    model = made(TD3, policy, **WIDE[policy])
    implicit_q_learning(model, data, dataclasses.replace(TINY, gamma=0.9, beta=10.0))
    assert predicted(model, first[None].astype(np.float32))[0, 0] > 0.3
    quality = model.critic(torch.full((1, 7), -0.3), torch.tensor([[0.5, 0.0]]))[0]
    assert quality.item() == pytest.approx(-0.2 + 0.9, abs=0.1)


@pytest.mark.parametrize(("ended", "value"), [(True, 1.0), (False, 2.0)])
def test_a_return_is_expected_beyond_a_truncation_and_not_beyond_a_termination(ended, value):
    data = flights(np.zeros((100, 7)), np.zeros((100, 2)), np.ones(100), ended=ended)
    model = made(TD3)
    implicit_q_learning(model, data, dataclasses.replace(TINY, gamma=0.5))
    assert model.critic(torch.zeros(1, 7), torch.zeros(1, 2))[0].item() == pytest.approx(value, abs=0.05)


@POLICIES
def test_what_was_learned_offline_is_an_ordinary_model(policy, some, tmp_path):
    model = made(TD3, policy)
    implicit_q_learning(model, some, FEW)
    for own, copied in zip(model.actor.parameters(), model.actor_target.parameters(), strict=True):
        assert torch.equal(own, copied)
    before = predicted(model, some.observations)
    model.save(tmp_path / "model")
    again = TD3.load(tmp_path / "model", env=model.get_env(), device="cpu")
    np.testing.assert_array_equal(predicted(again, some.observations), before)
    assert evaluate(again, SHORT, 3).episodes == 3
    if policy == "SpanPolicy":
        export_numpy(again, tmp_path / "policy.npz")
        flown = NumpyPolicy.load(tmp_path / "policy.npz")(some.observations)
        np.testing.assert_allclose(flown, before, atol=1e-5)
    again.learn(40)
    assert (predicted(again, some.observations) != before).any()


@pytest.mark.parametrize(("algorithm", "learn"), [(PPO, clone), (TD3, implicit_q_learning)])
def test_a_model_behind_a_normalisation_learns_from_what_it_sees(algorithm, learn, some):
    config = CloneConfig(steps=5) if learn is clone else ImplicitQConfig(steps=5)
    plain, behind = made(algorithm), made(algorithm)
    env = VecNormalize(WaypointVecEnv(2, SHORT))
    env.obs_rms.mean[:], env.obs_rms.var[:] = 0.1, 0.25
    behind.set_env(env)
    by_hand = {
        name: ((getattr(some, name) - 0.1) / np.sqrt(0.25 + env.epsilon)).astype(np.float32)
        for name in ("observations", "next_observations")
    }
    found, expected = learn(behind, some, config), learn(plain, dataclasses.replace(some, **by_hand), config)
    for name in ("actor",) if learn is clone else ("value", "critic", "actor"):
        np.testing.assert_allclose(*(x if learn is clone else x[name] for x in (found, expected)), rtol=1e-4)
    np.testing.assert_allclose(*(predicted(m, by_hand["observations"]) for m in (behind, plain)), atol=1e-4)


@POLICIES
def test_a_seed_gives_the_same_model_again(policy, some):
    first, second = made(TD3, policy), made(TD3, policy)
    torch.manual_seed(5)
    implicit_q_learning(first, some, FEW)
    torch.manual_seed(6)
    implicit_q_learning(second, some, FEW)
    np.testing.assert_array_equal(predicted(first, some.observations), predicted(second, some.observations))


def test_a_loss_that_is_not_finite_ends_with_an_error_and_the_model_of_before(some):
    broken = dataclasses.replace(some, rewards=np.full(600, np.inf, np.float32))
    model = made(TD3)
    before = predicted(model, some.observations)
    with pytest.raises(FloatingPointError):
        implicit_q_learning(model, broken, FEW)
    with pytest.raises(FloatingPointError):
        clone(model, dataclasses.replace(some, actions=np.full((600, 2), np.nan, np.float32)))
    np.testing.assert_array_equal(predicted(model, some.observations), before)
    assert not model.policy.training


def test_models_that_do_not_fit_are_refused(some):
    with pytest.raises(TypeError):
        clone(made(DQN, "MlpPolicy", discrete=True), some)
    with pytest.raises(TypeError):
        implicit_q_learning(made(SAC), some)
    with pytest.raises(TypeError):
        value_network(made(PPO))
    with pytest.raises(ValueError):
        clone(made(PPO, discrete=True), some)
    with pytest.raises(ValueError):
        clone(made(PPO), dataclasses.replace(some, observations=some.observations[:, :5]))
    with pytest.raises(ValueError):
        clone(made(PPO), dataclasses.replace(some, actions=np.zeros(600, np.int64)))
    with pytest.raises(ValueError, match="other units"):
        clone(made(PPO), dataclasses.replace(some, options=SHORT.changed(scaled=False)))


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (CloneConfig, {"steps": 0}),
        (CloneConfig, {"learning_rate": 0.0}),
        (ImplicitQConfig, {"batch": 1.5}),
        (ImplicitQConfig, {"expectile": 1.0}),
        (ImplicitQConfig, {"beta": -1.0}),
        (ImplicitQConfig, {"gamma": 1.1}),
        (ImplicitQConfig, {"following": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(config, wrong):
    with pytest.raises(ValueError):
        config(**wrong)
