"""How well a policy flies: many episodes at once, the same ones for every policy that is asked with the same seed.

Episode i is the first one of seed ``seed + i``; actions are the policy's best, not drawn.  The interval on the share
that reaches every waypoint is Wilson's (1927, doi:10.1080/01621459.1927.10502953): for k successes in n and z = 1.96,

    (k + z^2 / 2  +-  z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from domains.navigation.dynamics import Array
from domains.navigation.options import WaypointOptions
from domains.navigation.worlds import Flags, Indices, Worlds

UNSEEN = 2_000_000  # seed of the first episode; training chooses by others
AT_ONCE = 1024  # worlds in one pass; more would not be faster
_Z = 1.959963984540054  # the normal distribution's quantile for 95 %


class Pilot(Protocol):
    """What flies: a model of stable-baselines3, or anything else with its ``predict``."""

    def predict(self, observation: Any, /, *, deterministic: bool = False) -> tuple[Any, Any]:
        """Actions ``(W, A)``, or ``(W,)`` if discrete, for observations ``(W, F)``, and a state that is not used."""


@dataclasses.dataclass(frozen=True)
class Flights:
    """Episodes that were flown, E of them.

    Args:
        options: Of the worlds.
        paths: For each episode the positions ``(T, d)`` from its start to its end, m.
        courses: Waypoints ``(E, P, d)``, m.
        obstacles: Centres ``(E, K, d)``, m; those that found no room are far away.
        success: ``(E,)``, whether every waypoint was reached.
        reached: ``(E,)``, how many were.
        time: ``(E,)``, of the end, s.
        collided: ``(E,)``, whether an obstacle ended it.
        left: ``(E,)``, whether the arena's edge did.
        returned: ``(E,)``, sum of the rewards.
    """

    options: WaypointOptions
    paths: list[Array]
    courses: Array
    obstacles: Array
    success: Flags
    reached: Indices
    time: Array
    collided: Flags
    left: Flags
    returned: Array

    def __len__(self) -> int:
        return len(self.success)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What came out of a number of episodes.

    Args:
        episodes: Their number.
        success: Share that reached every waypoint.
        low: Lower end of the 95 % interval on that share.
        high: Its upper end.
        flight_time: Mean time of those episodes, s; None if there is none.
        waypoints: Mean number of waypoints reached, over all.
        collided: Share that ended at an obstacle.
        left: Share that ended outside the arena.
        timed_out: Share that ran into the time limit.
        returned: Mean sum of rewards.
    """

    episodes: int
    success: float
    low: float
    high: float
    flight_time: float | None
    waypoints: float
    collided: float
    left: float
    timed_out: float
    returned: float

    @classmethod
    def of(cls, flights: Flights) -> Evaluation:
        """The summary of episodes."""
        n, won = len(flights), flights.success
        low, high = wilson(int(won.sum()), n)
        return cls(
            episodes=n,
            success=float(won.mean()),
            low=low,
            high=high,
            flight_time=float(flights.time[won].mean()) if won.any() else None,
            waypoints=float(flights.reached.mean()),
            collided=float(flights.collided.mean()),
            left=float((flights.left & ~flights.collided & ~won).mean()),
            timed_out=float((~won & ~flights.collided & ~flights.left).mean()),
            returned=float(flights.returned.mean()),
        )

    def row(self) -> dict[str, str]:
        """The same for people.

        Example:
            >>> Evaluation(500, 0.98, 0.964, 0.989, 6.21, 3.95, 0.0, 0.02, 0.0, 40.0).row()["success"]
            '98.0 % (96.4 to 98.9)'
        """
        return {
            "episodes": str(self.episodes),
            "success": f"{100 * self.success:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})",
            "time": "-" if self.flight_time is None else f"{self.flight_time:.2f} s",
            "waypoints": f"{self.waypoints:.2f}",
            "collided": f"{100 * self.collided:.1f} %",
            "left the arena": f"{100 * self.left:.1f} %",
            "ran out of time": f"{100 * self.timed_out:.1f} %",
            "return": f"{self.returned:.2f}",
        }


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval on a share.

    Raises:
        ValueError: If there are no trials, or more successes than trials.

    Example:
        >>> [round(end, 3) for end in wilson(98, 100)]
        [0.93, 0.994]
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"wilson: expected successes from 0 to n and n of at least 1; got {successes} of {n}")
    middle = successes + _Z**2 / 2
    half = _Z * math.sqrt(successes * (n - successes) / n + _Z**2 / 4)
    # Rounding must not leave an end beyond 0 or 1, or miss them where the share is one of them.
    low = 0.0 if successes == 0 else (middle - half) / (n + _Z**2)
    return low, 1.0 if successes == n else (middle + half) / (n + _Z**2)


def as_trained(model: Any, observations: Any) -> Any:
    """What a model expects for raw observations: in training it saw them through its ``VecNormalize``, if it has one.

    Args:
        model: What flies.
        observations: Of the worlds, in the form that the model takes.

    Example:
        >>> as_trained(lambda seen: seen[:2], np.ones(7))
        array([1., 1., 1., 1., 1., 1., 1.])
    """
    found = getattr(model, "get_vec_normalize_env", None)
    wrapper = found() if found else None
    return observations if wrapper is None else wrapper.normalize_obs(observations)


def fly(model: Pilot, options: WaypointOptions, episodes: int = 100, seed: int = UNSEEN) -> Flights:
    """Fly episodes and keep their paths.

    Args:
        model: What flies; one that was trained in ``VecNormalize`` gets its observations normalised as there.
        options: Of the worlds.
        episodes: Number of episodes.
        seed: Of the first; the others follow. Those of the default are none by which a training chose its policy.

    Raises:
        ValueError: If there are no episodes, or the model does not fit the worlds' observations or actions.
    """
    if episodes < 1:
        raise ValueError(f"fly: episodes is at least 1; got {episodes!r}")
    parts = []
    for start in range(0, episodes, AT_ONCE):
        parts.append(_fly(model, options, min(AT_ONCE, episodes - start), seed + start))
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Flights)
        if field.name not in ("options", "paths")
    }
    return Flights(options=options, paths=[path for part in parts for path in part.paths], **joined)


def evaluate(model: Pilot, options: WaypointOptions, episodes: int = 100, seed: int = UNSEEN) -> Evaluation:
    """Success, time and what ended the episodes; arguments and errors are those of `fly`.

    Example:
        >>> from domains.navigation.saved import load_baseline
        >>> model, config = load_baseline("waypoints2d")
        >>> evaluate(model, config.options, episodes=50).success > 0.9
        True
    """
    return Evaluation.of(fly(model, options, episodes, seed))


def _fly(model: Pilot, options: WaypointOptions, episodes: int, seed: int) -> Flights:
    worlds = Worlds(options, episodes)
    check_fits(model, worlds)
    seen = worlds.reset(seeds=[seed + i for i in range(episodes)])
    courses, obstacles = worlds.course.transpose(2, 0, 1).copy(), worlds.obstacles.transpose(2, 0, 1).copy()
    positions, ended = [worlds.position.copy()], np.zeros(episodes, bool)
    steps, returned = np.zeros(episodes, np.int64), np.zeros(episodes)
    success, collided, left = (np.zeros(episodes, bool) for _ in range(3))
    reached = np.zeros(episodes, np.int64)
    while not ended.all():
        step = worlds.step(model.predict(as_trained(model, seen), deterministic=True)[0])
        seen = step.observation
        positions.append(worlds.position.copy())
        returned += np.where(ended, 0.0, step.reward)
        now = (step.terminated | step.truncated) & ~ended
        # Worlds go on after their end, so what counts is what they report in that step.
        success[now], collided[now], left[now] = worlds.success[now], worlds.collided[now], worlds.left[now]
        reached[now], steps[now] = worlds.reached[now], worlds.steps[now]
        ended |= now
    track: npt.NDArray[np.float64] = np.stack(positions)  # (T, d, W)
    return Flights(
        options=options,
        paths=[track[: n + 1, :, i] for i, n in enumerate(steps.tolist())],
        courses=courses,
        obstacles=obstacles,
        success=success,
        reached=reached,
        time=steps * np.float64(options.time_step),
        collided=collided,
        left=left,
        returned=returned,
    )


def check_fits(model: Any, worlds: Worlds) -> None:
    """Refuse a model that tells its spaces before it flies in worlds of others.

    Raises:
        ValueError: If its observations or actions are others, or its observations are in other units.
    """
    from domains.navigation.environment import action_space, in_other_units, observation_space

    for name, wanted in (("observation_space", observation_space(worlds)), ("action_space", action_space(worlds))):
        space = getattr(model, name, None)
        if space is not None and _kind(space) != _kind(wanted):
            raise ValueError(
                f"model: its {name.replace('_', ' ')} is {_kind(space)}, that of these worlds is {_kind(wanted)}; "
                "dynamics, frame, obstacles, rays and discrete have to be those it was trained with"
            )
    seen = getattr(model, "observation_space", None)
    if seen is not None and in_other_units(seen, worlds):
        raise ValueError(
            "model: its observations are in other units than those of these worlds; scaled has to be the same"
        )


def _kind(space: Any) -> str:
    return f"{type(space).__name__} {getattr(space, 'n', space.shape)}"
