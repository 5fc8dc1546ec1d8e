"""What a policy is made of and what it does: its functions of one coordinate, their weights, its actions and values.

    outputs = sum over parts of  weight * feature + constant
    feature = f(a) f(b), f(c), a known coordinate, or a mode of the published network: a product over all coordinates

`inspection` draws it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from domains.navigation.evaluation import as_trained
from domains.navigation.networks import Features, PublishedFeatures, QuadraticFeatures
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import SpanActorCriticPolicy, SpanDQNPolicy, actor_of
from domains.navigation.worlds import Worlds
from separable.layers import LearnedCoordinates
from separable.layers.khronos import quadratic_kernel

Array = npt.NDArray[np.float64]
_POINTS = 121  # of a curve
_SHORT = {
    "vector to the next waypoint": "next",
    "vector to the following waypoint": "following",
    "share of waypoints that remain": "share that remains",
    "the world's up": "vertical",
    "range to obstacles along the rays": "ray",
    "the body's axes, one after another": "body axes",
}
_NUMBERED = ("range to obstacles along the rays",)  # not along axes, however many there are


@dataclasses.dataclass(frozen=True)
class Curve:
    """A function of one learned coordinate, over the combination of known coordinates that is squashed to it.

    Args:
        name: Of the learned coordinate.
        combination: Weights of known coordinates by name, those that move it most first.
        place: Points ``(G,)`` of the combination, where it was seen.
        values: The function there, ``(G,)``.
        seen: The combination at every observation, ``(N,)``.
    """

    name: str
    combination: tuple[tuple[str, float], ...]
    place: Array
    values: Array
    seen: Array


@dataclasses.dataclass(frozen=True)
class Part:
    """A feature of the actor.

    Args:
        name: What it is.
        curves: The functions whose product it is; none for a known coordinate.
        weights: With which it enters each output, ``(A,)``.
        strength: Standard deviation of its share of each output over the observations, ``(A,)``.
    """

    name: str
    curves: tuple[Curve, ...]
    weights: Array
    strength: Array


def entry_names(options: WaypointOptions) -> list[str]:
    """A short name for each entry of a waypoint world's observation.

    Example:
        >>> entry_names(WaypointOptions())[:5]
        ['next ahead', 'next left', 'following ahead', 'following left', 'share that remains']
    """
    axes = ("ahead", "left", "up") if turned(options) else ("x", "y", "z")
    found = []
    for reading in Worlds(options, 1).readings:
        name = _SHORT.get(reading.name, reading.name)
        if reading.name == "heading (cosine, sine)":
            found += ["cos heading", "sin heading"]
        elif reading.name == "body rates":
            found += ["roll rate", "pitch rate", "yaw rate"]
        elif reading.size == 1:
            found.append(name)
        elif reading.size == options.dimensions and reading.name not in _NUMBERED:
            found += [f"{name} {axis}" for axis in axes[: reading.size]]
        else:
            found += [f"{name} {i + 1}" for i in range(reading.size)]
    return found


def turned(options: WaypointOptions) -> bool:
    """Whether vectors are in axes that turn with the vehicle."""
    return options.frame == "body" and options.dynamics != "double_integrator"


def resting(options: WaypointOptions, vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Observations ``(B, F)`` of a vehicle at rest and level, all clear, whose last waypoint lies at ``(B, d)``, m."""
    vectors = np.atleast_2d(np.asarray(vectors, np.float64))
    world, rows = Worlds(options, 1), []
    d = options.dimensions
    for reading in world.readings:
        value = np.zeros(reading.size)
        if reading.name.startswith("vector to"):
            rows.append(vectors)
            continue
        if reading.name == "share of waypoints that remain":
            value[:] = 1 / options.waypoints
        elif reading.name == "range to obstacles along the rays":
            value[:] = reading.scale
        elif reading.name == "heading (cosine, sine)":
            value[0] = 1
        elif reading.name == "the world's up":
            value[2] = 1
        elif reading.name == "the body's axes, one after another":
            value[:] = np.eye(d).ravel()
        rows.append(np.tile(value, (len(vectors), 1)))
    scale = np.repeat([reading.scale for reading in world.readings], [reading.size for reading in world.readings])
    seen = np.concatenate(rows, 1) / (scale if options.scaled else 1.0)
    return np.clip(seen, world.low, world.high).astype(np.float32)


def flown(model: BaseAlgorithm, options: WaypointOptions, seed: int = 0) -> npt.NDArray[np.float32]:
    """Observations ``(N, F)`` of 32 flights of a model, 200 steps each."""
    worlds = Worlds(options, 32)
    seen = [worlds.reset(seeds=[seed + i for i in range(32)])]
    for _ in range(199):
        step = worlds.step(model.predict(_normalised(model, seen[-1]), deterministic=True)[0])
        seen.append(step.observation)
        if (ended := np.flatnonzero(step.terminated | step.truncated)).size:
            seen[-1][ended] = worlds.reset(ended)
    return np.concatenate(seen)


def sampled(space: spaces.Space[Any], n: int = 2000, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows ``(n, F)`` drawn evenly from a space; from a standard normal where it has no bounds."""
    low, high = bounds(space)
    random = np.random.default_rng(seed)
    even = random.uniform(np.nan_to_num(low, neginf=0.0), np.nan_to_num(high, posinf=1.0), (n, len(low)))
    whole = np.isfinite(low) & np.isfinite(high)
    return np.where(whole, even, random.standard_normal((n, len(low)))).astype(np.float32)


def bounds(space: spaces.Space[Any]) -> tuple[Array, Array]:
    """Least and greatest entries ``(F,)`` of observations as one row.

    Raises:
        ValueError: If observations are not numbers in boxes.
    """
    parts = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    for part in parts:
        if not isinstance(part, spaces.Box):
            raise ValueError(f"inspection: expected observations that are a Box or a dictionary of some; got {part}")
    low, high = ([np.ravel(getattr(part, end)) for part in parts] for end in ("low", "high"))
    return np.concatenate(low).astype(np.float64), np.concatenate(high).astype(np.float64)


def _given(model: BaseAlgorithm, rows: npt.NDArray[np.float32]) -> Any:
    """Rows in the form that the model takes."""
    space = model.observation_space
    if not isinstance(space, spaces.Dict):
        return rows.reshape(-1, *cast("tuple[int, ...]", space.shape))
    found, start = {}, 0
    for key, part in space.spaces.items():
        shape = cast("tuple[int, ...]", part.shape)
        stop = start + int(np.prod(shape))
        found[key], start = rows[:, start:stop].reshape(-1, *shape), stop
    return found


def _normalised(model: BaseAlgorithm, rows: npt.NDArray[np.float32]) -> Any:
    return as_trained(model, _given(model, rows))


def _row(model: BaseAlgorithm, rows: npt.NDArray[np.float32]) -> Tensor:
    """What the network sees of raw observations."""
    given = _normalised(model, rows)
    parts = list(given.values()) if isinstance(given, dict) else [given]
    return torch.from_numpy(np.concatenate([np.reshape(p, (len(rows), -1)) for p in parts], 1).astype(np.float32))


def actions_of(model: BaseAlgorithm, rows: npt.NDArray[np.float32], options: WaypointOptions | None = None) -> Array:
    """Deterministic actions ``(B, A)`` at observations ``(B, F)``; a waypoint world's numbers become commands."""
    found = model.predict(_normalised(model, rows), deterministic=True)[0]
    table = None if options is None else Worlds(options, 1).commands
    return np.asarray(found if table is None else table[found], np.float64).reshape(len(rows), -1)


def values_of(model: BaseAlgorithm, rows: npt.NDArray[np.float32]) -> Array:
    """Values ``(B,)`` at observations ``(B, F)``: V, or the least Q at the deterministic action."""
    policy: Any = model.policy
    policy.set_training_mode(False)
    with torch.no_grad():
        seen = policy.obs_to_tensor(_normalised(model, rows))[0]
        if isinstance(policy, SpanActorCriticPolicy):
            found = policy.predict_values(seen)[:, 0]
        elif isinstance(policy, SpanDQNPolicy):
            found = policy.q_net(seen).amax(1)
        else:
            found = torch.cat(policy.critic(seen, policy._predict(seen, deterministic=True)), 1).amin(1)
    return found.cpu().double().numpy()


def parts_of(model: BaseAlgorithm, names: Sequence[str], rows: npt.NDArray[np.float32]) -> list[Part]:
    """The actor's features with their weights and how strongly they act over observations ``(N, F)``.

    Raises:
        TypeError: If the model's policy is not one of ours.
    """
    features, readout = copy.deepcopy(actor_of(model))
    features, readout = features.cpu().double(), readout.cpu().double()
    with torch.no_grad():
        row = _row(model, rows).double()
        values, z = features(row).numpy(), features.known(row)
        weights = readout.weight.numpy()
        curves = _curves(features, features.known.chosen.names(names), z)
    strength = values.std(0)[:, None] * np.abs(weights.T)
    labels = _labels(features, names)
    return [
        Part(label, own, weights[:, i], strength[i]) for i, (label, own) in enumerate(zip(labels, curves, strict=True))
    ]


def _labels(features: Features, names: Sequence[str]) -> list[str]:
    if isinstance(features, PublishedFeatures):
        return [f"mode {r + 1}" for r in range(features.n_outputs)]
    assert isinstance(features, QuadraticFeatures)
    sizes, known = features.sizes, features.known.chosen.names(names)
    found = [f"pair {k + 1}" for k in range(sizes.pairs)] + [f"single {k + 1}" for k in range(sizes.singles)]
    return found + (known if sizes.linear or features.learned is None else [])


def _curves(features: Features, known: Sequence[str], z: Tensor) -> list[tuple[Curve, ...]]:
    """For every feature the functions whose product it is."""
    learned = cast("LearnedCoordinates | None", features.learned)
    none: list[tuple[Curve, ...]] = [()] * features.n_outputs
    if learned is None:
        return none
    seen = nn.functional.linear(z, learned.weight, learned.bias)
    place = _places(seen)
    spread = z.std(0)

    def combination(j: int) -> tuple[tuple[str, float], ...]:
        order = (learned.weight[j].abs() * spread).argsort(descending=True)
        return tuple((known[i], float(learned.weight[j, i])) for i in order.tolist())

    def curve(name: str, j: int, values: Tensor) -> Curve:
        return Curve(name, combination(j), place[:, j].numpy(), values.numpy(), seen[:, j].numpy())

    if isinstance(features, PublishedFeatures):
        khronos, u = features.khronos, torch.sigmoid(place)
        far = (u[..., None] - khronos.centres).abs() * khronos.scale[:, None]
        factors = torch.einsum("ndg,dgr->ndr", quadratic_kernel(far), khronos.weights)
        n, modes = factors.shape[1:]
        return [tuple(curve(f"u{j + 1}", j, factors[:, j, r]) for j in range(n)) for r in range(modes)]
    assert isinstance(features, QuadraticFeatures)
    u = features.carried(torch.tanh(place))
    m, k = features.sizes.pairs, features.sizes.singles
    pairs = [(curve("a", j, u[:, j]), curve("b", m + j, u[:, m + j])) for j in range(m)]
    singles = [(curve("c", j, u[:, j]),) for j in range(2 * m, 2 * m + k)]
    return [*pairs, *singles, *none[m + k :]]


def _places(seen: Tensor) -> Tensor:
    """Points ``(G, D)`` over the range of combinations ``(N, D)``, without the last per cent of it at either end."""
    low, high = torch.quantile(seen[:: max(1, len(seen) // 5000)], seen.new_tensor([0.01, 0.99]), 0)
    high = torch.maximum(high, low + 1e-3)
    return low + (high - low) * torch.linspace(0, 1, _POINTS, dtype=seen.dtype)[:, None]
