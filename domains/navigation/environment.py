"""One waypoint world as a gymnasium environment: a batch of one of `worlds.Worlds`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from domains.navigation.options import WaypointOptions
from domains.navigation.worlds import Worlds

Observation = npt.NDArray[np.float32]


def observation_space(worlds: Worlds) -> spaces.Box:
    """Of one world: ``(F,)`` float32 with the bounds of `Worlds.readings`."""
    return spaces.Box(worlds.low, worlds.high, dtype=np.float32)


def action_space(worlds: Worlds) -> spaces.Box | spaces.Discrete:
    """Of one world: commands ``(A,)`` in [-1, 1], or the number of a row of `Worlds.commands`."""
    if worlds.commands is not None:
        return spaces.Discrete(len(worlds.commands))
    return spaces.Box(-1.0, 1.0, (len(worlds.vehicle.commands),), np.float32)


def in_other_units(space: spaces.Space[Any], worlds: Worlds) -> bool:
    """Whether a space of observations is of shares where the worlds tell SI units, or the other way round.

    The bounds of shares are the same in every arena. Where every scale is 1 shares and SI units are the same.
    """
    own, shares = (observation_space(w) for w in (worlds, Worlds(worlds.options.changed(scaled=True), 1)))
    return not _alike(space, own) and _alike(space, shares) != worlds.options.scaled


def _alike(space: spaces.Space[Any], other: spaces.Box) -> bool:
    return isinstance(space, spaces.Box) and np.allclose(space.low, other.low) and np.allclose(space.high, other.high)


def first(info: dict[str, Any], world: int = 0) -> dict[str, Any]:
    """The report of one world, as Python numbers, out of that of all."""
    return {k: first(v, world) if isinstance(v, dict) else v[world].item() for k, v in info.items()}


def of_world(world: Mapping[str, Any] | None, options: WaypointOptions | None) -> WaypointOptions:
    """The options that are given, which have to be of as many dimensions as the world of an id, or those of that.

    Raises:
        ValueError: If they have another number of dimensions.
    """
    own = WaypointOptions(**(world or {}))
    if options is not None and world is not None and options.dimensions != own.dimensions:
        raise ValueError(
            f"options: expected a vehicle of {own.dimensions} dimensions, as {own.dynamics}; got {options.dynamics}"
        )
    return own if options is None else options


class WaypointEnv(gymnasium.Env[Observation, Any]):
    """Reach waypoints in order.

    The observation, with lengths L = arena, v = the vehicle's speed, r = ray_range; d = 2 (unicycle, double
    integrator) or 3 (quadrotor); vectors are in the body's axes (``frame="body"``) or the world's. Entries are divided
    by the scale, saturate at the bounds, and with ``scaled=False`` are in SI units, bounds times scale.

    | entries | what | unit | scale | bounds |
    |---|---|---|---|---|
    | d | vector to the next waypoint | m | L | -sqrt(d), sqrt(d) |
    | d | vector to the one after it (the last is repeated) | m | L | -sqrt(d), sqrt(d) |
    | 1 | share of waypoints that remain | 1 | 1 | 0, 1 |
    | 1 or d | speed ahead (unicycle, body) or velocity | m/s | v | -2, 2 |
    | 1 or 3 | rate of turn (unicycle) or body rates (quadrotor) | rad/s | full turn, roll or pitch | -2, 2 |
    | 3 | quadrotor, body: the world's up | 1 | 1 | -1, 1 |
    | 2 or 9 | world: cosine and sine of the heading, or the body's axes | 1 | 1 | -1, 1 |
    | rays | range to obstacles, if there are any | m | r | 0, 1 |

    Actions are commands in [-1, 1] (beyond are cut): unicycle acceleration ahead and rate of turn to the left; double
    integrator acceleration along x and y; quadrotor thrust (0 hovers, -1 none, 1 twice) and roll, pitch, yaw rate.
    ``info`` has ``is_success``, ``waypoints_reached``, ``time`` (s), ``distance`` to the next waypoint (m),
    ``collided``, ``left_arena`` and ``reward_terms``, whose sum is the reward.

    ``reset(seed=..)`` starts the first episode of a seed; without a seed the next one follows, whose course does not
    depend on what was done in those before. ``reset(options=..)`` takes "waypoints", "position" and "heading".

    Args:
        options: What the world is made of.
        world: Fields of the options where none are given: those of the id in gymnasium.
        render_mode: None, "rgb_array" for arrays, or "human" for a matplotlib window (nothing is shown without a
            display).
        **changes: Fields of the options to replace.

    Raises:
        ValueError: If an option or the render mode is wrong.

    Example:
        >>> env = WaypointEnv(waypoints=2)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(np.array([1.0, 0.0]))
        >>> abs(sum(info["reward_terms"].values()) - reward) < 1e-12
        True
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 20}  # noqa: RUF012

    def __init__(
        self,
        options: WaypointOptions | None = None,
        *,
        world: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        **changes: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"WaypointEnv: render_mode is None, rgb_array or human; got {render_mode!r}")
        self.options = of_world(world, options).changed(**changes)
        self.worlds = Worlds(self.options, 1)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": max(1, round(1 / self.options.time_step))}
        self.observation_space: spaces.Space[Any] = observation_space(self.worlds)
        self.action_space = action_space(self.worlds)
        self._seeded, self._ended = False, True
        self._window: Any = None
        self._trail: list[npt.NDArray[np.float64]] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; ValueError if an option is unknown or a point is outside the arena."""
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**63))
        observation = self.worlds.reset(seeds=[seed], options=options)[0]
        self._seeded, self._ended = True, False
        self._trail = [self.worlds.position[:, 0].copy()]
        if self.render_mode == "human":
            self.render()
        return observation, first(self.worlds.info())

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One time step; ValueError for a wrong action, ResetNeeded after the end; the world is as before then."""
        if self._ended:
            raise gymnasium.error.ResetNeeded("WaypointEnv: the episode has ended; call reset() before step()")
        step = self.worlds.step(np.asarray(action)[None])
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        self._ended = terminated or truncated
        if self.render_mode is not None:
            self._trail.append(self.worlds.position[:, 0].copy())
        if self.render_mode == "human":
            self.render()
        info = first(self.worlds.info(step.terms))
        return step.observation[0], float(step.reward[0]), terminated, truncated, info

    def render(self) -> Any:
        """A frame ``(h, w, 3)`` uint8 for "rgb_array"; for "human" it is shown, and None returned."""
        if self.render_mode is None:
            gymnasium.logger.warn('WaypointEnv: nothing to render; ask for it: make(.., render_mode="rgb_array")')
            return None
        from domains.navigation.drawing import draw

        frame = draw(self.worlds, 0, self._trail)
        if self.render_mode == "rgb_array":
            return frame
        self._show(frame)
        return None

    def _show(self, frame: npt.NDArray[np.uint8]) -> None:
        import matplotlib.pyplot as plt

        if self._window is None:
            figure, axes = plt.subplots(num="separable waypoints")
            axes.set_axis_off()
            self._window = (figure, axes.imshow(frame))
        figure, image = self._window
        image.set_data(frame)
        figure.canvas.draw_idle()
        if type(figure.canvas).required_interactive_framework is not None:
            plt.pause(self.options.time_step)

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            import matplotlib.pyplot as plt

            plt.close(self._window[0])
            self._window = None
