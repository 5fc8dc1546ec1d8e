"""A waypoint world in which the goal is part of the observation, for hindsight experience replay."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from domains.navigation.environment import WaypointEnv
from domains.navigation.options import WaypointOptions

_FARTHEST = 2.0  # half sides of the arena


class WaypointGoalEnv(gymnasium.Env[dict[str, npt.NDArray[np.float32]], Any]):
    """Reach one waypoint, with a sparse reward that can be computed for any other goal.

    The observation is a dictionary: ``observation``, that of `WaypointEnv` without its first 2 d + 1 entries;
    ``achieved_goal``, the position, and ``desired_goal``, the waypoint, both ``(d,)`` in the world's axes and divided
    by the arena's half side. In the arena they are from -1 to 1; the position of a flight that left it is beyond, and
    saturates at -2 and 2, which is farther from every waypoint than the reach radius. By default vectors are in the
    world's axes.

    The reward is 1 within the reach radius and 0 elsewhere, not -1 and 0: where episodes also end at obstacles, minus
    one a step would pay for ending early.

    Args:
        options: What the world is made of; its number of waypoints is 1.
        render_mode: As for `WaypointEnv`.
        **changes: Fields of the options to replace.

    Raises:
        ValueError: If an option is wrong or there is more than one waypoint.

    Example:
        >>> env = WaypointGoalEnv()
        >>> observation, _ = env.reset(seed=0)
        >>> goal = observation["desired_goal"]
        >>> env.compute_reward(np.stack([goal, goal + 1]), np.stack([goal, goal]), {}).tolist()
        [1.0, 0.0]
    """

    def __init__(
        self, options: WaypointOptions | None = None, *, render_mode: str | None = None, **changes: Any
    ) -> None:
        self.options = (options or WaypointOptions(waypoints=1, frame="world")).changed(**changes)
        if self.options.waypoints != 1:
            raise ValueError(f"WaypointGoalEnv: expected options with 1 waypoint; got {self.options.waypoints}")
        self.env = WaypointEnv(self.options, render_mode=render_mode)
        self.metadata, self.render_mode = self.env.metadata, render_mode
        self._skipped = 2 * self.options.dimensions + 1
        low, high = self.env.worlds.low[self._skipped :], self.env.worlds.high[self._skipped :]
        goal = spaces.Box(-_FARTHEST, _FARTHEST, (self.options.dimensions,), np.float32)
        self.observation_space: spaces.Space[Any] = spaces.Dict(
            {"observation": spaces.Box(low, high, dtype=np.float32), "achieved_goal": goal, "desired_goal": goal}
        )
        self.action_space = self.env.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, Any]]:
        """As for `WaypointEnv`."""
        super().reset(seed=seed)
        observation, info = self.env.reset(seed=seed, options=options)
        return self._dictionary(observation), info

    def step(self, action: Any) -> tuple[dict[str, npt.NDArray[np.float32]], float, bool, bool, dict[str, Any]]:
        """As for `WaypointEnv`, with the sparse reward; ``reward_terms`` still tell of the dense one."""
        observation, _, terminated, truncated, info = self.env.step(action)
        seen = self._dictionary(observation)
        reward = float(self.compute_reward(seen["achieved_goal"], seen["desired_goal"], info))
        return seen, reward, terminated, truncated, info

    def compute_reward(self, achieved_goal: npt.ArrayLike, desired_goal: npt.ArrayLike, info: Any) -> Any:
        """1 where goals ``(..., d)`` are within the reach radius of each other, 0 elsewhere, ``(...)`` float32."""
        apart = np.asarray(achieved_goal, np.float64) - np.asarray(desired_goal, np.float64)
        reached = np.sqrt((apart**2).sum(-1)) * self.options.arena / 2 < self.options.reach_radius
        return np.float32(reached) if reached.ndim == 0 else reached.astype(np.float32)

    def _dictionary(self, observation: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        worlds, half = self.env.worlds, self.options.arena / 2
        achieved = np.clip(worlds.position[:, 0] / half, -_FARTHEST, _FARTHEST).astype(np.float32)
        desired = (worlds.course[0, :, 0] / half).astype(np.float32)
        return {"observation": observation[self._skipped :], "achieved_goal": achieved, "desired_goal": desired}

    def render(self) -> Any:
        """As for `WaypointEnv`."""
        return self.env.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self.env.close()
