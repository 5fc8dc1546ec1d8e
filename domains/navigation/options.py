"""What a waypoint world is made of: a frozen dataclass, checked before anything is computed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from domains.navigation.dynamics import VEHICLES, Dynamics

REWARDS: dict[str, float] = {
    "progress": 1.0,  # per m that the next waypoint came nearer
    "reached": 2.0,  # per waypoint reached
    "finished": 10.0,  # when the last one is reached
    "time": -0.1,  # per s
    "effort": -0.02,  # per s, times the mean square of the command
    "collision": -10.0,  # when an obstacle is hit
    "outside": -10.0,  # when the arena is left
}


@dataclasses.dataclass(frozen=True)
class WaypointOptions:
    """A waypoint world. The arena is a square or a cube centred at the origin, z upwards.

    Args:
        dynamics: How the vehicle moves: "double_integrator" and "unicycle" in the plane, "quadrotor" in space.
        vehicle: Numbers of the vehicle by name, such as drag, that differ from its defaults (see `dynamics`).
        waypoints: Number of waypoints, to be reached in order, 1 to 8.
        course: Positions of the waypoints, m; None draws them anew in every episode.
        arena: Side of the arena, m; leaving it ends the episode.
        reach_radius: Distance at which a waypoint counts as reached, m.
        obstacles: Number of round obstacles, 0 to 32, drawn anew clear of the start and the waypoints; one that finds
            no room is left out.
        obstacle_radius: Their radius, m; touching one ends the episode.
        rays: Number of directions in which the range to obstacles is read; not read where there are none.
        ray_range: Range at which the reading ends, m.
        wind: Speed of the steady wind, m/s; its direction is drawn in every episode.
        gusts: Standard deviation of the gusts in each direction, m/s.
        gust_time: In which gusts forget, s.
        sensor_noise: Standard deviation of the noise on readings as a share of their scale, without unit.
        time_limit: After which an episode is truncated, s.
        time_step: Between two actions, s.
        discrete: Whether actions are numbers of a table of commands instead of commands in [-1, 1].
        frame: The axes of the observation's vectors: those of the body or of the world.
        scaled: Whether readings are divided by their scales; otherwise they are in SI units.
        rewards: Weights of the reward's terms by name that differ from the defaults `REWARDS`.

    Raises:
        ValueError: If a field is out of its range; the field, what was expected and what came are named.

    Example:
        >>> WaypointOptions(waypoints=9)
        Traceback (most recent call last):
        ValueError: WaypointOptions: waypoints is a whole number from 1 to 8; got 9
    """

    dynamics: Literal["double_integrator", "unicycle", "quadrotor"] = "unicycle"
    vehicle: Mapping[str, float] = dataclasses.field(default_factory=dict)
    waypoints: int = 4
    course: Sequence[Sequence[float]] | None = None
    arena: float = 10.0
    reach_radius: float = 0.5
    obstacles: int = 0
    obstacle_radius: float = 0.5
    rays: int = 8
    ray_range: float = 5.0
    wind: float = 0.0
    gusts: float = 0.0
    gust_time: float = 1.0
    sensor_noise: float = 0.0
    time_limit: float = 20.0
    time_step: float = 0.05
    discrete: bool = False
    frame: Literal["body", "world"] = "body"
    scaled: bool = True
    rewards: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._one_of("dynamics", VEHICLES)
        self._one_of("frame", ("body", "world"))
        for name, low, high in (("waypoints", 1, 8), ("obstacles", 0, 32), ("rays", 1, 64)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
                self._wrong(name, f"a whole number from {low} to {high}", value)
        for name in ("discrete", "scaled"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                self._wrong(name, "True or False", getattr(self, name))
        for name in ("arena", "reach_radius", "obstacle_radius", "ray_range", "gust_time", "time_limit", "time_step"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) > 0):
                self._wrong(name, "a finite number greater than 0", getattr(self, name))
        for name in ("wind", "gusts", "sensor_noise"):
            if not (_is_number(getattr(self, name)) and getattr(self, name) >= 0):
                self._wrong(name, "a finite number at least 0", getattr(self, name))
        if self.reach_radius > self.arena / 4:
            self._wrong("reach_radius", f"at most a quarter of the arena, {self.arena / 4:g} m", self.reach_radius)
        if self.time_limit < 2 * self.time_step:
            self._wrong("time_limit", f"at least two time steps, {2 * self.time_step:g} s", self.time_limit)
        _named(f"{type(self).__name__}: rewards", self.rewards, tuple(REWARDS))
        known = tuple(field.name for field in dataclasses.fields(VEHICLES[self.dynamics]))
        _named(f"{type(self).__name__}: vehicle {self.dynamics}", self.vehicle, known)
        following = getattr(self.make_vehicle(), "rate_time", math.inf)
        if self.time_step > following:
            self._wrong("time_step", f"at most the vehicle's rate_time, {following:g} s", self.time_step)
        wind = self.wind + 3 * self.gusts  # stronger ones are rare
        least = self.make_vehicle().top_speed(wind, self.arena) * self.time_step / 2
        for name in ("reach_radius", *(("obstacle_radius",) if self.obstacles else ())):
            if getattr(self, name) < least:
                half = f"at least {least:g} m, half of what the vehicle can fly in a step, which would pass over it"
                self._wrong(name, half, getattr(self, name))
        if self.course is not None:
            object.__setattr__(self, "course", self.checked_course(self.course).tolist())
        # Plain and its own: it can be written as JSON, and does not change with what it was made of.
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))

    def _one_of(self, name: str, known: Mapping[str, Any] | Sequence[str]) -> None:
        if getattr(self, name) not in tuple(known):
            self._wrong(name, "one of " + ", ".join(known), getattr(self, name))

    def _wrong(self, name: str, expected: str, value: object) -> None:
        raise ValueError(f"{type(self).__name__}: {name} is {expected}; got {value!r}")

    @property
    def dimensions(self) -> int:
        """Of space: 2 or 3."""
        return 3 if self.dynamics == "quadrotor" else 2

    @property
    def steps(self) -> int:
        """Number of steps of an episode that runs into the time limit."""
        return math.ceil(self.time_limit / self.time_step - 1e-9)  # 1.5 / 0.05 is above 30 by rounding

    def make_vehicle(self) -> Dynamics:
        """The vehicle."""
        return VEHICLES[self.dynamics](**self.vehicle)

    def weights(self) -> dict[str, float]:
        """The weight of every term of the reward."""
        return {**REWARDS, **self.rewards}

    def checked_course(self, course: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Waypoints ``(waypoints, d)`` in m, or a ValueError that says which of them is wrong."""
        return self.checked_points("course", course, self.waypoints)

    def checked_points(self, name: str, points: npt.ArrayLike, n: int) -> npt.NDArray[np.float64]:
        """Points ``(n, d)`` in m inside the arena, or a ValueError that says which of them is wrong."""
        expected = f"{n} points of {self.dimensions} coordinates"
        try:
            array = np.array(points, np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{type(self).__name__}: {name} is {expected}; got {points!r}") from None
        if array.shape != (n, self.dimensions):
            self._wrong(name, expected, array.shape)
        for i, point in enumerate(array):
            if not (np.abs(point) <= self.arena / 2).all():  # NaN is outside too
                self._wrong(f"{name}[{i}]", f"within {self.arena / 2:g} m of the origin in every direction", [*point])
        return array

    def changed(self, **changes: Any) -> "WaypointOptions":
        """These options with some fields replaced, or a ValueError that names a field that does not exist.

        Example:
            >>> WaypointOptions().changed(waypoints=2).waypoints
            2
        """
        _known(type(self).__name__, changes, tuple(field.name for field in dataclasses.fields(self)))
        return dataclasses.replace(self, **changes)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return tuple(_plain(each) for each in value)
    return value.item() if isinstance(value, np.generic) else value


def _known(what: str, names: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{what}: expected names among {', '.join(known)}; got {name!r}")


def _named(what: str, numbers: Mapping[str, float], known: tuple[str, ...]) -> None:
    if not isinstance(numbers, Mapping):
        raise ValueError(f"{what}: expected numbers by name; got {numbers!r}")
    _known(what, numbers, known)
    for name, value in numbers.items():
        if not _is_number(value):
            raise ValueError(f"{what}: {name} is a finite number; got {value!r}")
