"""Many waypoint worlds in one pass of numpy as a gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from domains.navigation.dynamics import Array
from domains.navigation.environment import action_space, observation_space, of_world
from domains.navigation.options import WaypointOptions
from domains.navigation.worlds import Flags, Worlds

Observations = npt.NDArray[np.float32]


class WaypointVectorEnv(gymnasium.vector.VectorEnv[Observations, Any, Any]):
    """W worlds of `WaypointEnv`, step for step equal to W of them, with the same ``info`` as ``SyncVectorEnv`` gives.

    A world whose episode ended starts the next one by itself, as ``metadata["autoreset_mode"]`` says:

    - NEXT_STEP (gymnasium's default): the next call of ``step`` ignores its action, resets it and gives reward 0;
    - SAME_STEP: in the same call; what was seen last is in ``info["final_obs"]`` and ``info["final_info"]``;
    - DISABLED: not by itself; ``reset(options={"reset_mask": ..})`` resets the worlds of a mask ``(W,)``.

    Args:
        num_envs: Number of worlds W.
        options: What the worlds are made of.
        world: Fields of the options where none are given: those of the id in gymnasium.
        autoreset_mode: See above; the value of the enumeration or its name.
        render_mode: None or "rgb_array": `render` gives a tuple of a frame for each world, without trails.
        **changes: Fields of the options to replace.

    Raises:
        ValueError: If an option or a mode is wrong.

    Example:
        >>> envs = WaypointVectorEnv(3, waypoints=2)
        >>> observations, infos = envs.reset(seed=0)
        >>> envs.step(np.zeros((3, 2)))[1].shape
        (3,)
    """

    def __init__(
        self,
        num_envs: int = 1,
        options: WaypointOptions | None = None,
        *,
        world: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **changes: Any,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"WaypointVectorEnv: render_mode is None or rgb_array; got {render_mode!r}")
        known = {name: mode for mode in AutoresetMode for name in (mode, mode.name, mode.value)}
        if autoreset_mode not in known:
            expected = ", ".join(mode.name for mode in AutoresetMode)
            raise ValueError(f"WaypointVectorEnv: autoreset_mode is one of {expected}; got {autoreset_mode!r}")
        self.options = of_world(world, options).changed(**changes)
        self.worlds = Worlds(self.options, num_envs)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = known[autoreset_mode]
        fps = max(1, round(1 / self.options.time_step))
        self.metadata = {"autoreset_mode": self.autoreset_mode, "render_modes": ["rgb_array"], "render_fps": fps}
        self.single_observation_space = observation_space(self.worlds)
        self.single_action_space = action_space(self.worlds)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seeded = False
        self._ended: Flags = np.ones(num_envs, bool)  # until the first reset
        self._seen = np.zeros(self.observation_space.shape or (), np.float32)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Start episodes in all worlds, or in those of ``options["reset_mask"]``.

        Args:
            seed: World i gets ``seed + i``, or the i-th of a list; None goes on to the next episode, or starts
                worlds that have no seed yet with one that is drawn.
            options: "reset_mask" ``(W,)``, and those of `Worlds.reset`, the same for all worlds.

        Raises:
            ValueError: If a seed, the mask or an option is wrong; the worlds are as before then.
        """
        rest = dict(options or {})
        mask = np.asarray(rest.pop("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            expected = f"an array of {self.num_envs} booleans, one of them true"
            raise ValueError(f"reset: reset_mask is {expected}; got {mask.dtype} of shape {mask.shape}")
        if not self._seeded and not mask.all():
            raise ValueError("reset: the first reset is of all worlds; got a reset_mask")
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seeds = [seed + i for i in range(self.num_envs)]
        else:
            seeds = [*seed] if np.iterable(seed) else [seed]
        if len(seeds) != self.num_envs:
            raise ValueError(f"reset: expected {self.num_envs} seeds; got {len(seeds)}")
        if not self._seeded and any(given is None for given in seeds):
            start = int(self.np_random.integers(2**63))
            seeds = [start + i if given is None else given for i, given in enumerate(seeds)]
        chosen = np.flatnonzero(mask)
        self._seen = self._seen.copy()
        self._seen[chosen] = self.worlds.reset(chosen, [seeds[i] for i in chosen], rest)
        self._ended = self._ended & ~mask
        self._seeded = True
        return self._seen.copy(), _masked(self.worlds.info(), mask)

    def step(self, actions: Any) -> tuple[Observations, Array, Flags, Flags, dict[str, Any]]:
        """One step of every world; ValueError for wrong actions, ResetNeeded before `reset`; all is as before then."""
        if not self._seeded or (self.autoreset_mode == AutoresetMode.DISABLED and self._ended.any()):
            raise gymnasium.error.ResetNeeded("WaypointVectorEnv: worlds have ended; call reset() before step()")
        observation, reward, terminated, truncated, terms = self.worlds.step(actions)
        all_worlds = np.ones(self.num_envs, bool)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and self._ended.any():
            chosen = np.flatnonzero(self._ended)
            observation[chosen] = self.worlds.reset(chosen)
            reward[chosen] = 0.0
            terminated[chosen] = truncated[chosen] = False
            terms[:, chosen] = 0.0
        self._ended = terminated | truncated
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            chosen, ended = np.flatnonzero(self._ended), self._ended
            last = np.full(self.num_envs, None, object)
            for world in chosen:
                last[world] = observation[world].copy()
            report = _masked(self.worlds.info(np.where(ended, terms, 0.0)), ended, others_zero=True)
            final = {"final_obs": last, "_final_obs": ended.copy(), "final_info": report, "_final_info": ended.copy()}
            observation[chosen] = self.worlds.reset(chosen)
            terms[:, chosen] = 0.0
        self._seen = observation
        return observation.copy(), reward, terminated, truncated, final | _masked(self.worlds.info(terms), all_worlds)

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """A frame ``(h, w, 3)`` uint8 for each world, or None without a render mode."""
        if self.render_mode is None:
            return None
        from domains.navigation.drawing import draw

        return tuple(draw(self.worlds, world) for world in range(self.num_envs))


def _masked(info: dict[str, Any], mask: Flags, others_zero: bool = False) -> dict[str, Any]:
    """Reports with the key ``_name`` beside each name, which says of which worlds it tells."""
    result: dict[str, Any] = {}
    for name, value in info.items():
        if isinstance(value, dict):
            result[name] = _masked(value, mask, others_zero)
        else:
            result[name] = value * mask if others_zero else value
        result[f"_{name}"] = mask.copy()
    return result
