"""Learning from flights alone: behaviour cloning, and implicit Q-learning for TD3's networks.

Cloning fits the deterministic action to the recorded one: least squares for commands, cross-entropy for numbers of a
table.  Implicit Q-learning (Kostrikov, Nair and Levine, Offline Reinforcement Learning with Implicit Q-Learning, 2021,
arXiv:2110.06169) never asks for the value of an action that was not flown.  With V(s) a value, Q(s, a) the lesser of
two critics, Q' their slow copies, g the discount and e = 1 after a termination:

    V:     least mean of L(Q'(s, a) - V(s)),  L(u) = |x - (u < 0)| u^2 with the expectile x      eq. (5)
    Q:     least mean of (r + g (1 - e) V(s') - Q(s, a))^2, for each critic                        eq. (6)
    actor: greatest mean of exp(b (Q'(s, a) - V(s))) log p(a | s), weights cut at 100              eq. (7)

and Q' follows Q by a share of 0.005 a step.  Deviations: TD3's actor has one action and no distribution, so that
log p(a | s) is that of a normal distribution of fixed width, minus the squared error; learning rates fall to 0 in a
straight line for all networks, in the paper for the actor alone and as a cosine; the three losses take their steps at
once, in the paper one after the other; rewards are as they are in the file.  Observations are normalised as in the
``VecNormalize`` that a model was made in, if it was.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from domains.navigation.environment import in_other_units
from domains.navigation.evaluation import as_trained
from domains.navigation.flights import FlightData
from domains.navigation.networks import Features
from domains.navigation.policies import SpanTD3Policy
from domains.navigation.worlds import Worlds

Losses = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class CloneConfig:
    """How an actor is cloned.

    Args:
        steps: Of the optimiser (Adam).
        batch: Flown steps in each, drawn with equal chance.
        learning_rate: At the start; it falls to 0 in a straight line.
        seed: Of the draws.

    Raises:
        ValueError: If a field is out of its range.
    """

    steps: int = 2000
    batch: int = 256
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, ("steps", "batch"), ("learning_rate",))


@dataclasses.dataclass(frozen=True)
class ImplicitQConfig:
    """How implicit Q-learning goes.

    Args:
        steps: Of the optimiser (Adam).
        batch: Flown steps in each, drawn with equal chance.
        learning_rate: At the start; it falls to 0 in a straight line.
        expectile: Between 0.5, the mean over the actions that were flown, and 1, the best of them.
        beta: How sharply the actor prefers actions of greater advantage, per unit of reward; 0 is cloning. 1 suits
            the waypoint worlds' rewards; with the paper's 3 small networks learned to dawdle.
        gamma: Discount per step.
        following: Share by which the slow copies follow in a step.
        greatest_weight: At which weights are cut.
        seed: Of the draws and of the value network's start.

    Raises:
        ValueError: If a field is out of its range.

    Example:
        >>> ImplicitQConfig(expectile=1.0)
        Traceback (most recent call last):
        ValueError: ImplicitQConfig: expectile is between 0 and 1; got 1.0
    """

    steps: int = 4000
    batch: int = 256
    learning_rate: float = 3e-3
    expectile: float = 0.7
    beta: float = 1.0
    gamma: float = 0.99
    following: float = 0.005
    greatest_weight: float = 100.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, ("steps", "batch"), ("learning_rate", "greatest_weight"))
        if not 0 < self.expectile < 1:
            raise ValueError(f"ImplicitQConfig: expectile is between 0 and 1; got {self.expectile!r}")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"ImplicitQConfig: beta is a finite number of at least 0; got {self.beta!r}")
        if not 0 <= self.gamma <= 1 or not 0 < self.following <= 1:
            raise ValueError(
                f"ImplicitQConfig: gamma is from 0 to 1, following greater than 0 and at most 1; "
                f"got {self.gamma!r}, {self.following!r}"
            )


def _check(config: CloneConfig | ImplicitQConfig, whole: tuple[str, ...], positive: tuple[str, ...]) -> None:
    name = type(config).__name__
    for field in whole:
        value = getattr(config, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: {field} is a whole number of at least 1; got {value!r}")
    for field in positive:
        if not 0 < getattr(config, field) < math.inf:
            raise ValueError(f"{name}: {field} is a finite number greater than 0; got {getattr(config, field)!r}")


def clone(
    model: BaseAlgorithm, flights: FlightData, config: CloneConfig | None = None, *, progress: bool = False
) -> Losses:
    """Train the actor of a model to do what was done.

    The critic stays as it is, and so does how widely PPO and A2C draw actions; SAC's width shares the actor's features.

    Args:
        model: PPO, A2C, SAC or TD3 with commands, PPO or A2C with the numbers of a table; any policy.
        flights: What was done.
        config: How.
        progress: Whether to show a bar with the time left.

    Returns:
        The loss of each step: mean squared error of the commands, scaled to [-1, 1] where the policy ends in tanh, or
        cross-entropy in nats.

    Raises:
        TypeError: If the model is none of those.
        ValueError: If its spaces are not those of the flights.
        FloatingPointError: If the loss stops being finite; the model is put back as it was.

    Example:
        >>> from domains.navigation.flights import record_flights, read_flights
        >>> from domains.navigation.stable_baselines import WaypointVecEnv
        >>> from domains.navigation.options import WaypointOptions
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "flights.h5"
        >>> _ = record_flights(path, lambda seen: 0.5 * seen[:, :2], WaypointOptions(time_limit=2.0), 10)
        >>> model = PPO("SpanPolicy", WaypointVecEnv(1), n_steps=8, batch_size=8, seed=0, device="cpu")
        >>> losses = clone(model, read_flights(path), CloneConfig(steps=200))
        >>> bool(losses[-20:].mean() < 0.01 * losses[0])
        True
    """
    config = config or CloneConfig()
    if not isinstance(model, PPO | A2C | SAC | TD3):
        raise TypeError(f"clone: expected a model of PPO, A2C, SAC or TD3; got {type(model).__name__}")
    _fits(model, flights)
    policy: Any = model.policy
    loss_of = _cross_entropy if flights.discrete else _squared_error
    data = _Data(model, flights, config.batch, config.seed)
    parameters = _used(loss_of(policy, *data.observed_and_done(next(data.batches()))).mean(), policy)
    optimiser = torch.optim.Adam(parameters, config.learning_rate)

    def step(rows: Tensor) -> tuple[float, ...]:
        loss = loss_of(policy, *data.observed_and_done(rows)).mean()
        _descend(optimiser, loss)
        return (loss.item(),)

    (losses,) = _train(model, data, optimiser, config, step, ("actor",), progress, "clone")
    if isinstance(policy, TD3Policy):
        policy.actor_target.load_state_dict(policy.actor.state_dict())
    return losses


def implicit_q_learning(
    model: BaseAlgorithm,
    flights: FlightData,
    config: ImplicitQConfig | None = None,
    *,
    value: nn.Module | None = None,
    progress: bool = False,
) -> dict[str, Losses]:
    """Train actor and critics of a TD3 model from flights; see the head of this file.

    What comes out is an ordinary model: it predicts, is kept, exported, and can go on learning in worlds, for which
    its own optimisers are as new.

    Args:
        model: TD3 with any policy.
        flights: What was done, with its rewards.
        config: How.
        value: The value network, from `value_network`, if it is to be looked at or to go on; a new one by default.
        progress: Whether to show a bar with the time left.

    Returns:
        The losses of each step, ``"value"``, ``"critic"`` and ``"actor"``.

    Raises:
        TypeError: If the model is not TD3.
        ValueError: If its spaces are not those of the flights.
        FloatingPointError: If a loss stops being finite; the model is put back as it was.

    Example:
        >>> from domains.navigation.flights import record_flights, read_flights
        >>> from domains.navigation.stable_baselines import WaypointVecEnv
        >>> from domains.navigation.options import WaypointOptions
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "flights.h5"
        >>> _ = record_flights(path, lambda seen: 0.5 * seen[:, :2], WaypointOptions(time_limit=2.0), 10, noise=0.3)
        >>> model = TD3("SpanPolicy", WaypointVecEnv(1), seed=0, device="cpu")
        >>> losses = implicit_q_learning(model, read_flights(path), ImplicitQConfig(steps=10))
        >>> losses["critic"].shape
        (10,)
    """
    c = config or ImplicitQConfig()
    if not isinstance(model, TD3):
        raise TypeError(f"implicit_q_learning: expected a model of TD3; got {type(model).__name__}")
    _fits(model, flights)
    policy = model.policy
    if value is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(c.seed)
            value = value_network(model)
    v, data = value, _Data(model, flights, c.batch, c.seed)
    networks = nn.ModuleList([v, policy.critic, policy.actor])
    optimiser = torch.optim.Adam(_trained(networks), c.learning_rate)
    slow, fast = [*policy.critic_target.parameters()], [*policy.critic.parameters()]

    def step(rows: Tensor) -> tuple[float, ...]:
        seen, done = data.observed_and_done(rows)
        with torch.no_grad():
            quality = torch.cat(policy.critic_target(seen, done), 1).min(1).values
            wanted = data.rewards[rows] + c.gamma * data.goes_on[rows] * v(data.following[rows])[:, 0]
        advantage = quality - v(seen)[:, 0]
        weight = torch.exp(c.beta * advantage.detach()).clamp(max=c.greatest_weight)
        value_loss = expectile_loss(advantage, c.expectile).mean()
        critic_loss = torch.stack([(wanted - q[:, 0]).square().mean() for q in policy.critic(seen, done)]).sum()
        actor_loss = (weight * _squared_error(policy, seen, done)).mean()
        # The networks have no parameter in common, so that one step of their sum is a step of each.
        _descend(optimiser, value_loss + critic_loss + actor_loss)
        with torch.no_grad():
            for copied, own in zip(slow, fast, strict=True):
                copied.lerp_(own, c.following)
        return value_loss.item(), critic_loss.item(), actor_loss.item()

    names = ("value", "critic", "actor")
    found = _train(model, data, optimiser, c, step, names, progress, "implicit_q_learning")
    policy.actor_target.load_state_dict(policy.actor.state_dict())
    return dict(zip(names, found, strict=True))


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """|x - (u < 0)| u^2 of differences u and the expectile x; its least mean is at the expectile of a sample.

    Example:
        >>> expectile_loss(torch.tensor([-1.0, 2.0]), 0.75).tolist()
        [0.25, 3.0]
    """
    return torch.where(difference < 0, 1 - expectile, expectile) * difference.square()


def value_network(model: BaseAlgorithm) -> nn.Module:
    """A value of observations ``(B, F)``, ``(B, 1)``, by a new network of the kind and the sizes of TD3's critics.

    Raises:
        TypeError: If the model is not TD3.
    """
    if not isinstance(model, TD3):
        raise TypeError(f"value_network: expected a model of TD3; got {type(model).__name__}")
    policy = model.policy
    extractor = copy.deepcopy(policy.critic.features_extractor)
    n = int(extractor.features_dim)
    if isinstance(policy, SpanTD3Policy):
        features: Features = policy._critic.build(n, policy._coordinates)
        layers: list[nn.Module] = [features, nn.Linear(features.n_outputs, 1)]
    else:
        widths: Any = policy.critic_kwargs["net_arch"]
        layers = create_mlp(n, 1, widths, policy.activation_fn)
    return nn.Sequential(extractor, *layers).to(model.device)


class _Data:
    """Flights as tensors on the model's device, as the policy sees and gives them, before `predict` scales actions."""

    def __init__(self, model: BaseAlgorithm, flights: FlightData, batch: int, seed: int) -> None:
        actions = flights.actions
        if model.policy.squash_output and not flights.discrete:
            actions = model.policy.scale_action(actions)
        self.observations, self.following, self.rewards, self.goes_on, self.actions = (
            torch.as_tensor(np.asarray(values), device=model.device)
            for values in (
                as_trained(model, flights.observations),
                as_trained(model, flights.next_observations),
                flights.rewards,
                1.0 - flights.terminations.astype(np.float32),
                actions,
            )
        )
        self.batch, self.device = batch, model.device
        self.generator = torch.Generator().manual_seed(seed)

    def batches(self) -> Iterator[Tensor]:
        """Rows ``(B,)`` of flown steps, without end."""
        while True:
            yield torch.randint(len(self.rewards), (self.batch,), generator=self.generator).to(self.device)

    def observed_and_done(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Observations and actions of some rows."""
        return self.observations[rows], self.actions[rows]


def _squared_error(policy: Any, observations: Tensor, actions: Tensor) -> Tensor:
    """Mean over the commands, ``(B,)``; for PPO and A2C of what is not yet cut at the bounds."""
    # `_predict` is `predict` without the numpy around it, and has a gradient.
    found: Tensor = policy._predict(observations, deterministic=True)
    return (found - actions).square().mean(1)


def _cross_entropy(policy: Any, observations: Tensor, actions: Tensor) -> Tensor:
    chosen = policy.get_distribution(observations).distribution.logits
    return functional.cross_entropy(chosen, actions, reduction="none")


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _used(loss: Tensor, policy: nn.Module) -> list[nn.Parameter]:
    """The parameters that the loss depends on: the actor's, by whatever names a policy has for them."""
    parameters = _trained(policy)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _train(
    model: BaseAlgorithm,
    data: _Data,
    optimiser: torch.optim.Optimizer,
    config: CloneConfig | ImplicitQConfig,
    step: Callable[[Tensor], tuple[float, ...]],
    names: tuple[str, ...],
    progress: bool,
    what: str,
) -> list[Losses]:
    """Losses ``(steps,)`` by name, after all steps; the model as it was if one of them is not finite."""
    before = copy.deepcopy(model.policy.state_dict())
    found = np.empty((config.steps, len(names)))
    model.policy.set_training_mode(True)
    try:
        with tqdm(total=config.steps, disable=not progress, unit="step") as bar:
            for i, rows in zip(range(config.steps), data.batches(), strict=False):
                for group in optimiser.param_groups:
                    group["lr"] = config.learning_rate * (1 - i / config.steps)
                found[i] = step(rows)
                wrong = [name for name, loss in zip(names, found[i], strict=True) if not math.isfinite(loss)]
                # The last step has no loss after it that would tell.
                if wrong or (i == config.steps - 1 and not _finite(model.policy)):
                    raise FloatingPointError(
                        f"{what}: the loss of the {[*wrong, *names][0]} is not finite in step {i} of {config.steps}; "
                        "the model is as it was before; try a smaller learning_rate"
                    )
                bar.update()
                if i % 50 == 0:
                    bar.set_postfix_str(", ".join(f"{n} {x:.3g}" for n, x in zip(names, found[i], strict=True)))
    except FloatingPointError:
        model.policy.load_state_dict(before)
        raise
    finally:
        model.policy.set_training_mode(False)
    return [*found.T]


def _finite(policy: nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in policy.parameters())


def _fits(model: BaseAlgorithm, flights: FlightData) -> None:
    seen, acted = model.observation_space, model.action_space
    if not isinstance(seen, spaces.Box) or seen.shape != flights.observations.shape[1:]:
        raise ValueError(
            f"model: its observations are {seen}; the flights have rows of {flights.observations.shape[1]} numbers"
        )
    if flights.options is not None and in_other_units(seen, Worlds(flights.options, 1)):
        raise ValueError(f"model: its observations are {seen}; those of the flights are in other units: scaled differs")
    if flights.discrete:
        n = int(flights.actions.max()) + 1
        if not isinstance(acted, spaces.Discrete) or acted.n < n:
            raise ValueError(f"model: its actions are {acted}; the flights have numbers from 0 to {n - 1}")
    elif not isinstance(acted, spaces.Box) or acted.shape != flights.actions.shape[1:]:
        raise ValueError(f"model: its actions are {acted}; the flights have {flights.actions.shape[1]} commands")
