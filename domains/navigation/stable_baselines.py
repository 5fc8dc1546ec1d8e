"""Many waypoint worlds in one pass of numpy as a stable-baselines3 ``VecEnv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from domains.navigation.environment import action_space, first, observation_space
from domains.navigation.options import WaypointOptions
from domains.navigation.worlds import Worlds


class WaypointVecEnv(VecEnv):
    """W worlds for the algorithms of stable-baselines3; a world that ended restarts in the same step.

    The info of a world whose episode ended has everything of `WaypointEnv`'s, ``terminal_observation`` and
    ``TimeLimit.truncated``; that of the others is empty unless ``every_step``. Wrap it in ``VecMonitor`` for the
    lengths and returns of episodes: ``VecMonitor(WaypointVecEnv(16), info_keywords=("is_success",))``.

    Args:
        n_worlds: Number of worlds W.
        options: What the worlds are made of.
        render_mode: None or "rgb_array".
        every_step: Whether infos are full in every step.
        **changes: Fields of the options to replace.

    Raises:
        ValueError: If an option is wrong.
    """

    def __init__(
        self,
        n_worlds: int = 1,
        options: WaypointOptions | None = None,
        *,
        render_mode: str | None = None,
        every_step: bool = False,
        **changes: Any,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"WaypointVecEnv: render_mode is None or rgb_array; got {render_mode!r}")
        self.options = (options or WaypointOptions()).changed(**changes)
        self.worlds = Worlds(self.options, n_worlds)
        self.num_envs, self.render_mode, self.every_step = n_worlds, render_mode, every_step
        self._actions: Any = None
        self._seeded = False
        super().__init__(n_worlds, observation_space(self.worlds), action_space(self.worlds))

    def reset(self) -> npt.NDArray[np.float32]:
        """Start episodes in all worlds, with the seeds of ``seed(..)`` and the options of ``set_options(..)``."""
        if not all(other is self._options[0] or _alike(self._options[0], other) for other in self._options):
            raise ValueError(f"WaypointVecEnv: options are the same for all worlds; got {self._options!r}")
        seeds = list(self._seeds)
        if not self._seeded and seeds[0] is None:
            start = int(np.random.default_rng().integers(2**63))
            seeds = [start + i for i in range(self.num_envs)]
        observation = self.worlds.reset(seeds=seeds, options=self._options[0])
        self._seeded = True
        self._reset_seeds()
        self._reset_options()
        info = self.worlds.info()
        self.reset_infos = [first(info, i) for i in range(self.num_envs)]
        return observation

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions ``(W, A)`` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], list[Any]]:
        """Step all worlds; ValueError for wrong actions, RuntimeError before `reset`; all is as before then."""
        if not self._seeded:
            raise RuntimeError("WaypointVecEnv: call reset() before step()")
        observation, reward, terminated, truncated, terms = self.worlds.step(self._actions)
        ended = terminated | truncated
        chosen = np.flatnonzero(ended)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        info = self.worlds.info(terms)
        for world in range(self.num_envs) if self.every_step else chosen.tolist():
            infos[world] = first(info, world)
            infos[world]["TimeLimit.truncated"] = bool(truncated[world])
        if len(chosen):
            for world in chosen.tolist():
                infos[world]["terminal_observation"] = observation[world].copy()
            observation[chosen] = self.worlds.reset(chosen)
            info = self.worlds.info()
            for world in chosen.tolist():
                self.reset_infos[world] = first(info, world)
        return observation, reward.astype(np.float32), ended, infos

    def close(self) -> None:
        """Nothing is open."""

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """A frame of each world."""
        from domains.navigation.drawing import draw

        return [draw(self.worlds, i) for i in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this environment, the same for every world."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not possible for single worlds: they share one set of options."""
        raise AttributeError(f"WaypointVecEnv: worlds share their attributes; {attr_name!r} cannot be set")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Not possible: there is one object for all worlds."""
        raise AttributeError(f"WaypointVecEnv: worlds have no methods of their own; got {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Whether each world is wrapped: none is."""
        return [False for _ in self._get_indices(indices)]


def _alike(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two worlds' options say the same, arrays among them."""
    one, other = one or {}, other or {}
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
