"""Separable policies for stable-baselines3: PPO and A2C, SAC, TD3, DQN.

    import domains.navigation.policies                                    # registers the name
    PPO("SpanPolicy", env, policy_kwargs={"coordinates": {"vectors": [[0, 1], [2, 3]]}, "actor": {"pairs": 6}})

They are ordinary policies of that library: saving, loading, ``predict``, callbacks and HER work as with
``"MlpPolicy"``; dictionaries of observations are flattened one after another.  Actor and critic have a network each
(`networks`), in which physically chosen coordinates (`coordinates`) are the first layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from stable_baselines3.sac.policies import Actor, SACPolicy
from stable_baselines3.td3.policies import Actor as DeterministicActor
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from domains.navigation.coordinates import Coordinates
from domains.navigation.networks import Features, Network, make_network

NetworkLike = Network | dict[str, Any] | str | None
_NOT_OURS = ("net_arch", "activation_fn")  # arguments of stable-baselines3's perceptrons


def make_coordinates(coordinates: Coordinates | Mapping[str, Any] | None) -> Coordinates:
    """Coordinates from plain data, such as ``{"vectors": [[0, 1]], "angles": [2]}``.

    Raises:
        ValueError: If a field does not exist.
    """
    if isinstance(coordinates, Coordinates):
        return coordinates
    known = [field.name for field in dataclasses.fields(Coordinates)]
    for name in coordinates or {}:
        if name not in known:
            raise ValueError(f"coordinates: expected {', '.join(known)}; got {name!r}")
    return Coordinates(**{name: _tuples(value) for name, value in (coordinates or {}).items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


class _Networks:
    """What the policies share: sizes of actor and critic, and how observations become one row of numbers.

    It stands before a policy of stable-baselines3 among the bases, and makes it without hidden layers of its own.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        coordinates: Coordinates | Mapping[str, Any] | None = None,
        actor: NetworkLike = None,
        critic: NetworkLike = None,
        **kwargs: Any,
    ) -> None:
        for name in _NOT_OURS:
            if name in kwargs:
                raise ValueError(f"SpanPolicy: {name} belongs to MlpPolicy; use actor=, critic= and coordinates=")
        self._coordinates = make_coordinates(coordinates)
        self._actor = make_network(actor)
        self._critic = self._actor if critic is None else make_network(critic)
        combined = isinstance(observation_space, spaces.Dict)
        kwargs.setdefault("features_extractor_class", CombinedExtractor if combined else FlattenExtractor)
        super().__init__(observation_space, action_space, lr_schedule, net_arch=[], **kwargs)  # type: ignore[call-arg]

    def _features(self, network: Network, extractor: nn.Module) -> Features:
        return network.build(int(extractor.features_dim), self._coordinates)  # type: ignore[arg-type]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """What rebuilds the policy."""
        data = super()._get_constructor_parameters()  # type: ignore[misc]
        own = {"coordinates": self._coordinates, "actor": self._actor, "critic": self._critic}
        return {name: value for name, value in data.items() if name not in _NOT_OURS} | own


class _ContinuousNetworks(_Networks):
    """What SAC and TD3 share: critics of an observation and an action."""

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        """Values by our networks."""
        policy: Any = self
        kwargs = policy._update_features_extractor(policy.critic_kwargs, features_extractor)
        own = {name: value for name, value in kwargs.items() if name not in _NOT_OURS}
        critic: ContinuousCritic = _SpanCritic(self._critic, self._coordinates, **own).to(policy.device)
        return critic


class _ActorCritic(nn.Module):
    """The two networks in the place of stable-baselines3's ``MlpExtractor``."""

    def __init__(self, actor: Features, critic: Features) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self.latent_dim_pi, self.latent_dim_vf = actor.n_outputs, critic.n_outputs

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.actor(features), self.critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        found: Tensor = self.actor(features)
        return found

    def forward_critic(self, features: Tensor) -> Tensor:
        found: Tensor = self.critic(features)
        return found


class SpanActorCriticPolicy(_Networks, ActorCriticPolicy):
    """For PPO and A2C, continuous or discrete actions.

    Args:
        observation_space: Of the environment.
        action_space: Of the environment.
        lr_schedule: Learning rate as a function of the share of training that remains.
        coordinates: Which entries of the observation are vectors and angles.
        actor: Sizes of the actor's network, see `networks`.
        critic: Those of the critic's; the actor's if None.
        **kwargs: Of ``ActorCriticPolicy``, without ``net_arch`` and ``activation_fn``.

    Raises:
        ValueError: If a name or an entry does not exist.

    Example:
        >>> from domains.navigation.stable_baselines import WaypointVecEnv
        >>> model = PPO("SpanPolicy", WaypointVecEnv(4), n_steps=16, policy_kwargs={"actor": {"pairs": 4}})
        >>> model.predict(model.env.reset(), deterministic=True)[0].shape
        (4, 2)
    """

    def _build_mlp_extractor(self) -> None:
        networks = [self._features(network, self.features_extractor) for network in (self._actor, self._critic)]
        self.mlp_extractor = _ActorCritic(*networks).to(self.device)  # type: ignore[assignment]


class _SpanCritic(ContinuousCritic):
    """Two or more values of an observation and an action; the action's entries come last."""

    def __init__(self, network: Network, coordinates: Coordinates, **kwargs: Any) -> None:
        super().__init__(net_arch=[], **kwargs)
        n = int(kwargs["features_dim"]) + get_action_dim(kwargs["action_space"])
        for i in range(self.n_critics):
            features = network.build(n, coordinates)
            self.q_networks[i] = nn.Sequential(features, nn.Linear(features.n_outputs, 1))
            setattr(self, f"qf{i}", self.q_networks[i])

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Values ``(B, 1)`` of every critic. They share the known coordinates, which are the observation's alone."""
        z = self._coordinates_of(obs, actions)
        return tuple(self._value(i, z) for i in range(self.n_critics))

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The first critic's values ``(B, 1)``."""
        return self._value(0, self._coordinates_of(obs, actions))

    def _coordinates_of(self, obs: Tensor, actions: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.share_features_extractor):
            x = self.extract_features(obs, self.features_extractor)
        return torch.cat([x, actions, *self._network(0)[0].known.appended(x)], 1)

    def _value(self, i: int, z: Tensor) -> Tensor:
        features, readout = self._network(i)
        value: Tensor = readout(features.of_coordinates(z))
        return value

    def _network(self, i: int) -> tuple[Features, nn.Module]:
        features, readout = cast("nn.Sequential", self.q_networks[i])
        return cast("Features", features), readout


class SpanSACPolicy(_ContinuousNetworks, SACPolicy):
    """For SAC; arguments as in `SpanActorCriticPolicy`, and those of ``SACPolicy``."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """stable-baselines3's actor with our features before its linear outputs."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        features = self._features(self._actor, kwargs["features_extractor"])
        # One hidden layer of this width is built, and then replaced: the outputs' sizes come from it.
        actor = Actor(**{**kwargs, "net_arch": [features.n_outputs]})
        actor.latent_pi = nn.Sequential(features)
        return actor.to(self.device)


class SpanTD3Policy(_ContinuousNetworks, TD3Policy):
    """For TD3; arguments as in `SpanActorCriticPolicy`, and those of ``TD3Policy``."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> DeterministicActor:
        """stable-baselines3's actor with our network."""
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        actor = DeterministicActor(**kwargs)
        features = self._features(self._actor, kwargs["features_extractor"])
        outputs = nn.Linear(features.n_outputs, get_action_dim(self.action_space))
        actor.mu = nn.Sequential(features, outputs, nn.Tanh())
        return actor.to(self.device)


class SpanDQNPolicy(_Networks, DQNPolicy):
    """For DQN; ``actor`` sizes the network of action values. Other arguments as in ``DQNPolicy``."""

    def __init__(self, *spaces_and_rate: Any, critic: NetworkLike = None, **kwargs: Any) -> None:
        if critic is not None:
            raise ValueError("SpanPolicy: DQN has one network, which actor= sizes; got critic= as well")
        super().__init__(*spaces_and_rate, **kwargs)

    def make_q_net(self) -> QNetwork:
        """Values of every action by our network."""
        kwargs = self._update_features_extractor(self.net_args, features_extractor=None)
        network = QNetwork(**kwargs)
        features = self._features(self._actor, kwargs["features_extractor"])
        network.q_net = nn.Sequential(features, nn.Linear(features.n_outputs, int(self.action_space.n)))  # type: ignore[attr-defined]
        return network.to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {name: value for name, value in super()._get_constructor_parameters().items() if name != "critic"}


SpanPolicy: dict[type[BaseAlgorithm], type[Any]] = {
    PPO: SpanActorCriticPolicy,
    A2C: SpanActorCriticPolicy,
    SAC: SpanSACPolicy,
    TD3: SpanTD3Policy,
    DQN: SpanDQNPolicy,
}
for _algorithm, _policy in SpanPolicy.items():
    _algorithm.policy_aliases["SpanPolicy"] = _policy


def parameter_count(module: nn.Module) -> int:
    """Number of numbers that are trained.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def actor_of(model: BaseAlgorithm) -> tuple[Features, nn.Linear]:
    """The network of a trained model that chooses actions, and its linear readout.

    Raises:
        TypeError: If the model's policy is not one of ours.
    """
    policy = model.policy
    if isinstance(policy, SpanActorCriticPolicy):
        parts = policy.mlp_extractor.actor, policy.action_net
    elif isinstance(policy, SpanSACPolicy):
        parts = policy.actor.latent_pi[0], policy.actor.mu
    elif isinstance(policy, SpanTD3Policy):
        parts = policy.actor.mu[0], policy.actor.mu[1]
    elif isinstance(policy, SpanDQNPolicy):
        parts = policy.q_net.q_net[0], policy.q_net.q_net[1]
    else:
        raise TypeError(f"model: expected one with a SpanPolicy, got {type(policy).__name__}")
    features, readout = cast("tuple[Features, nn.Module]", parts)
    if not isinstance(readout, nn.Linear):
        readout = next(m for m in readout.modules() if isinstance(m, nn.Linear))  # gSDE clips the mean
    return features, readout
