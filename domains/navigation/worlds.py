"""The waypoint worlds themselves: W of them in one pass of numpy, one by one the same as in a batch.

An observation is, group by group: the vectors to the next two waypoints (m; the last one is repeated), the share of
waypoints that remain, what the vehicle reads of itself, and the range to the nearest obstacle along each ray (m).
`Worlds.readings` lists the groups with units, scales and bounds; entries saturate at their bounds.

The reward of a step is the sum of the terms named in `options.REWARDS`, each a weight times an amount: metres that the
next waypoint came nearer, waypoints reached, seconds, ..  An episode *terminates* with the last waypoint, at an
obstacle or outside the arena; it is *truncated* at the time limit, where a return is still to be expected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from domains.navigation.counted_random import CountedRandom
from domains.navigation.dynamics import Array, Reading, in_body
from domains.navigation.options import REWARDS, WaypointOptions

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
_ALL = slice(None)
_CANDIDATES = 8  # places tried for a waypoint or an obstacle
_NOWHERE = 1e6  # m; where obstacles are that found no room


class Step(NamedTuple):
    """What a step of all worlds gave.

    Args:
        observation: ``(W, F)`` float32.
        reward: ``(W,)`` float64, the sum of ``terms``.
        terminated: ``(W,)``, whether the task ended.
        truncated: ``(W,)``, whether the time limit cut a task that had not ended.
        terms: ``(T, W)`` float64, weighted, in the order of `options.REWARDS`.
    """

    observation: npt.NDArray[np.float32]
    reward: Array
    terminated: Flags
    truncated: Flags
    terms: Array


def _length(vector: Array) -> Array:
    """Euclidean norm over the first axis; the same sum for one world as for many."""
    total = vector[0] * vector[0]
    for row in vector[1:]:
        total += row * row
    return np.sqrt(total)


def ray_directions(n: int, dimensions: int) -> Array:
    """Unit vectors ``(n, dimensions)``: evenly round a circle from ahead to the left, or a Fibonacci spiral on a ball.

    Example:
        >>> ray_directions(4, 2).round(12).tolist()
        [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-0.0, -1.0]]
    """
    i = np.arange(n)
    if dimensions == 2:
        return np.stack([np.cos(2 * np.pi * i / n), np.sin(2 * np.pi * i / n)], 1)
    height = 1 - (2 * i + 1) / n
    turn = np.pi * (3 - np.sqrt(5)) * i
    return np.stack([np.sqrt(1 - height**2) * np.cos(turn), np.sqrt(1 - height**2) * np.sin(turn), height], 1)


class Worlds:
    """W waypoint worlds; nothing restarts by itself.

    State is kept with the world as the last axis: ``state (S, W)``, ``course (P, d, W)``, ``obstacles (K, d, W)``.

    Args:
        options: What the worlds are made of.
        n_worlds: Their number W.

    Raises:
        ValueError: If W is less than 1.

    Example:
        >>> worlds = Worlds(WaypointOptions(), 3)
        >>> worlds.reset(seeds=[1, 2, 3]).shape
        (3, 7)
        >>> worlds.step(np.zeros((3, 2))).reward.shape
        (3,)
    """

    def __init__(self, options: WaypointOptions, n_worlds: int) -> None:
        if n_worlds < 1:
            raise ValueError(f"Worlds: n_worlds is at least 1; got {n_worlds!r}")
        self.options, self.n_worlds = options, n_worlds
        self.vehicle = options.make_vehicle()
        self.random = CountedRandom(n_worlds)
        self._count = d, n, k = options.dimensions, options.waypoints, options.obstacles
        self.readings = self._readings()
        sizes = [reading.size for reading in self.readings]
        scale = np.repeat([reading.scale for reading in self.readings], sizes)
        self._scale = scale[:, None]
        self._noise = options.sensor_noise * self._scale
        self._noise[2 * d] = 0.0  # the share that remains is known
        given = np.ones_like(scale) if options.scaled else scale
        self.low = (given * np.repeat([reading.low for reading in self.readings], sizes)).astype(np.float32)
        self.high = (given * np.repeat([reading.high for reading in self.readings], sizes)).astype(np.float32)
        self.commands = self._commands() if options.discrete else None
        self._rays = ray_directions(options.rays, d)
        self._weights = np.array([*options.weights().values()])[:, None]
        self._forget = float(np.exp(-options.time_step / options.gust_time))
        self._fresh = options.gusts * float(np.sqrt(1 - self._forget**2))
        self._given = None if options.course is None else options.checked_course(options.course)

        self.state = self.vehicle.at_rest(np.zeros((d, n_worlds)), np.zeros(n_worlds))
        self.course = np.zeros((n, d, n_worlds))
        self.obstacles = np.full((k, d, n_worlds), _NOWHERE)
        self.wind, self.steady = np.zeros((d, n_worlds)), np.zeros((d, n_worlds))
        self.target, self.following = np.zeros((d, n_worlds)), np.zeros((d, n_worlds))
        self.distance = np.zeros(n_worlds)
        self.reached = np.zeros(n_worlds, np.int64)
        self.steps = np.zeros(n_worlds, np.int64)
        self.collided, self.left = np.zeros(n_worlds, bool), np.zeros(n_worlds, bool)

    def _readings(self) -> tuple[Reading, ...]:
        d, far = self.options.dimensions, float(np.sqrt(self.options.dimensions))
        to = [Reading(f"vector to the {which} waypoint", d, "m", self.options.arena, -far, far) for which in _WHICH]
        remain = Reading("share of waypoints that remain", 1, "1", 1.0, 0.0, 1.0)
        ranges = Reading("range to obstacles along the rays", self.options.rays, "m", self.options.ray_range, 0.0, 1.0)
        own = self.vehicle.readings(self.options.frame)
        return (*to, remain, *own, *((ranges,) if self.options.obstacles else ()))

    def _commands(self) -> Array:
        n = len(self.vehicle.commands)
        if n == 2:
            return np.array([(a, b) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)], np.float64)
        one: Array = np.eye(n)
        return np.concatenate([np.zeros((1, n)), one, -one])

    @property
    def position(self) -> Array:
        """``(d, W)``, m."""
        return self.state[: self.options.dimensions]

    @property
    def success(self) -> Flags:
        """``(W,)``, whether all waypoints were reached."""
        return self.reached == self.options.waypoints

    @property
    def time(self) -> Array:
        """``(W,)`` since the start of the episode, s."""
        return self.steps * np.float64(self.options.time_step)

    def reset(
        self,
        worlds: npt.ArrayLike | None = None,
        seeds: Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Start new episodes in some worlds.

        Args:
            worlds: Indices ``(R,)``; all by default.
            seeds: A seed for each of them; without (None), a world goes on to the next episode of its seed.
            options: "waypoints" ``(P, d)``, "position" ``(d,)`` and "heading" (rad) that these episodes start with.

        Returns:
            Observations ``(R, F)`` float32.

        Raises:
            ValueError: If a seed is no whole number, or an option is unknown, no number or out of the arena; the
                worlds are as before then.
        """
        chosen = np.arange(self.n_worlds) if worlds is None else np.asarray(worlds, np.int64)
        course, position, heading = self._start(options or {})
        if seeds is None:
            self.random.next_episode(chosen)
        else:
            if len(seeds) != len(chosen):
                raise ValueError(f"reset: expected a seed for each of {len(chosen)} worlds; got {len(seeds)}")
            if wrong := [seed for seed in seeds if not isinstance(seed, int | np.integer | None)]:
                raise ValueError(f"reset: seeds are whole numbers or None; got {wrong[0]!r}")
            self.random.next_episode(chosen[[seed is None for seed in seeds]])
            known = [(world, seed) for world, seed in zip(chosen.tolist(), seeds, strict=True) if seed is not None]
            self.random.seed(np.array([world for world, _ in known], np.int64), [seed for _, seed in known])
        (d, n, k), many, o = self._count, len(chosen), self.options
        u = self.random.uniform(d + 3 + _CANDIDATES * d * (n + k), chosen)
        places = o.arena * 0.8 * (u[d + 3 :].reshape(n + k, _CANDIDATES, d, many) - 0.5)
        start = o.arena * 0.8 * (u[:d] - 0.5) if position is None else np.tile(position[:, None], many)
        turn = 2 * np.pi * (u[d] - 0.5) if heading is None else np.full(many, heading)
        state = self.vehicle.at_rest(start, turn)
        if course is None:
            points, last = np.empty((n, d, many)), start
            for i in range(n):
                points[i] = last = _first_apart(places[i], last, 3 * o.reach_radius)
        else:
            points = np.repeat(course[:, :, None], many, 2)
        self.state[:, chosen], self.course[:, :, chosen] = state, points
        if k:
            self.obstacles[:, :, chosen] = self._room(places[n:], np.concatenate([start[None], points]))
        if o.wind or o.gusts:
            steady = _direction(u[d + 1], u[d + 2], d) * o.wind
            self.steady[:, chosen] = steady
            self.wind[:, chosen] = steady + o.gusts * self.random.normal(d, chosen)
        self.target[:, chosen], self.following[:, chosen] = points[0], points[min(1, n - 1)]
        self.distance[chosen] = _length(points[0] - start)
        self.reached[chosen] = 0
        self.steps[chosen] = 0
        self.collided[chosen] = False
        self.left[chosen] = False
        return self.observe(_ALL if worlds is None else chosen)

    def info(self, terms: Array | None = None) -> dict[str, Any]:
        """What is reported beside the observation: arrays ``(W,)`` by name; without ``terms`` those are zero."""
        if terms is None:
            terms = np.zeros((len(REWARDS), self.n_worlds))
        return {
            "is_success": self.success,
            "waypoints_reached": self.reached.copy(),
            "time": self.time,
            "distance": self.distance.copy(),
            "collided": self.collided.copy(),
            "left_arena": self.left.copy(),
            "reward_terms": dict(zip(REWARDS, terms, strict=True)),
        }

    def _start(self, options: Mapping[str, Any]) -> tuple[Array | None, Array | None, float | None]:
        for name in options:
            if name not in ("waypoints", "position", "heading"):
                raise ValueError(f"reset: options are waypoints, position and heading; got {name!r}")
        course, position, heading = self._given, None, None
        if "waypoints" in options:
            course = self.options.checked_points("waypoints", options["waypoints"], self.options.waypoints)
        if "position" in options:
            position = self.options.checked_points("position", [options["position"]], 1)[0]
        if "heading" in options:
            heading = options["heading"]
            if not isinstance(heading, int | float | np.integer | np.floating) or not np.isfinite(heading):
                raise ValueError(f"reset: heading is a finite number of rad; got {heading!r}")
        return course, position, heading

    def _room(self, places: Array, kept: Array) -> Array:
        """Of places ``(K, C, d, R)`` the first of each K that is clear of the kept points ``(M, d, R)``."""
        apart = places[:, :, None] - kept
        clear = np.sqrt(np.einsum("kcmdr,kcmdr->kcmr", apart, apart)).min(2)
        clear = clear > self.options.obstacle_radius + 2 * self.options.reach_radius
        first = clear.argmax(1)
        found = np.take_along_axis(places, first[:, None, None], 1)[:, 0]
        return np.where(clear.any(1)[:, None], found, _NOWHERE)

    def checked(self, actions: npt.ArrayLike) -> Array:
        """Commands ``(A, W)`` in [-1, 1] of actions, ``(W, A)`` or, if discrete, ``(W,)``; beyond 1 they are cut.

        Raises:
            ValueError: If the shape is wrong, an entry is not finite, or a number is not in the table.
        """
        given = np.asarray(actions)
        if self.commands is not None:
            if given.shape != (self.n_worlds,) or given.dtype.kind not in "iu":
                expected = f"whole numbers of shape ({self.n_worlds},)"
                raise ValueError(f"step: expected {expected}; got {given.dtype} of shape {given.shape}")
            if not ((given >= 0) & (given < len(self.commands))).all():
                raise ValueError(f"step: actions are from 0 to {len(self.commands) - 1}; got {given.tolist()}")
            return np.ascontiguousarray(self.commands[given].T)
        shape = (self.n_worlds, len(self.vehicle.commands))
        if given.shape != shape or given.dtype.kind not in "iuf":
            raise ValueError(f"step: expected numbers of shape {shape}; got {given.dtype} of shape {given.shape}")
        if not np.isfinite(given).all():
            world, entry = np.argwhere(~np.isfinite(given))[0]
            raise ValueError(f"step: actions are finite; got {given[world, entry]} for world {world}, entry {entry}")
        command = np.array(given.T, np.float64, order="C")
        return np.minimum(np.maximum(command, -1.0, out=command), 1.0, out=command)

    def step(self, actions: npt.ArrayLike) -> Step:
        """One step of every world, also of those whose episode has ended.

        Args:
            actions: ``(W, A)`` in [-1, 1], or ``(W,)`` whole numbers if discrete.

        Raises:
            ValueError: If the actions are not such; the worlds are as before then.
        """
        command, o = self.checked(actions), self.options
        if o.gusts:
            fresh = self._fresh * self.random.normal(o.dimensions)
            self.wind = self.steady + self._forget * (self.wind - self.steady) + fresh
        self.state = self.vehicle.step(self.state, command, self.wind, o.time_step)
        self.steps += 1
        position = self.position
        distance = _length(self.target - position)
        terms = np.zeros((len(self._weights), self.n_worlds))
        np.subtract(self.distance, distance, out=terms[0])
        terms[3] = o.time_step
        effort = command[0] * command[0]
        for row in command[1:]:
            effort += row * row
        np.multiply(effort, o.time_step / len(command), out=terms[4])
        self.distance = distance
        arrived = (distance < o.reach_radius) & (self.reached < o.waypoints)
        if arrived.any():
            terms[1] = arrived
            self._next(np.flatnonzero(arrived))
            terms[2] = arrived & self.success
        if o.obstacles:
            gap = self.obstacles - position
            near = gap[:, 0] * gap[:, 0]
            for i in range(1, o.dimensions):
                near += gap[:, i] * gap[:, i]
            self.collided = near.min(0) < o.obstacle_radius**2
            terms[5] = self.collided
        self.left = np.abs(position).max(0) > o.arena / 2
        terms[6] = self.left
        terminated = self.success | self.collided | self.left
        truncated = (self.steps >= o.steps) & ~terminated
        terms *= self._weights
        reward = terms[0].copy()
        for row in terms[1:]:
            reward += row
        return Step(self.observe(), reward, terminated, truncated, terms)

    def _next(self, worlds: Indices) -> None:
        self.reached[worlds] += 1
        last = self.options.waypoints - 1
        new = np.minimum(self.reached[worlds], last)
        self.target[:, worlds] = self.course[new, :, worlds].T
        self.following[:, worlds] = self.course[np.minimum(new + 1, last), :, worlds].T
        self.distance[worlds] = _length(self.target[:, worlds] - self.position[:, worlds])

    def observe(self, worlds: Indices | slice = _ALL) -> npt.NDArray[np.float32]:
        """Observations ``(R, F)`` float32 of some worlds, all by default; noise is drawn anew."""
        o, d, state = self.options, self.options.dimensions, self.state[:, worlds]
        position, axes = state[:d], self.vehicle.axes(state)
        to, beyond = self.target[:, worlds] - position, self.following[:, worlds] - position
        turned = o.frame == "body"
        if turned:
            to, beyond = in_body(axes, to), in_body(axes, beyond)
        seen = np.empty((len(self._scale), state.shape[1]))
        seen[:d], seen[d : 2 * d] = to, beyond
        np.subtract(1.0, self.reached[worlds] / o.waypoints, out=seen[2 * d])
        row = 2 * d + 1
        for values in self.vehicle.read(state, axes, o.frame):
            seen[row : row + len(values)] = values
            row += len(values)
        if o.obstacles:
            seen[row:] = self._ranges(self.obstacles[:, :, worlds] - position, axes if turned else None)
        if o.sensor_noise:
            seen += self._noise * self.random.normal(len(seen), worlds)
        if o.scaled:
            seen /= self._scale
        result = np.array(seen.T, np.float32, order="C")
        return np.minimum(np.maximum(result, self.low, out=result), self.high, out=result)

    def _ranges(self, apart: Array, axes: Array | None) -> Array:
        """Ranges ``(J, R)`` along the rays to obstacles ``(K, d, R)`` away, m, at most the sensor's range."""
        d, radius, far = apart.shape[1], self.options.obstacle_radius, self.options.ray_range
        parts = [apart[:, i] for i in range(d)]
        if axes is not None:
            parts = [sum((axes[i, j] * parts[i] for i in range(1, d)), axes[0, j] * parts[0]) for j in range(d)]
        outside = parts[0] * parts[0] - radius**2
        for part in parts[1:]:
            outside += part * part
        np.maximum(outside, 1e-12, out=outside)
        per_outside, most = 1.0 / outside, np.full((len(self._rays), apart.shape[2]), 1.0 / far)
        with np.errstate(
            invalid="ignore"
        ):  # a ray that misses has the root of a negative number: NaN, which fmax drops
            for j, ray in enumerate(self._rays):
                along = ray[0] * parts[0]
                for i in range(1, d):
                    along += ray[i] * parts[i]
                root = along * along
                root -= outside
                np.sqrt(root, out=root)
                root += along
                root *= per_outside  # one over the range, below zero for what is behind
                np.fmax(most[j], np.fmax.reduce(root), out=most[j])
        return 1.0 / most


_WHICH = ("next", "following")


def _first_apart(places: Array, last: Array, least: float) -> Array:
    """Of places ``(C, d, R)`` the first that is at least so far from the last point ``(d, R)``, else the farthest."""
    away = _length((places - last).swapaxes(0, 1))
    order = np.where(away >= least, 1e9 - np.arange(len(places))[:, None], away)
    return np.take_along_axis(places, order.argmax(0)[None, None], 0)[0]


def _direction(u: Array, v: Array, dimensions: int) -> Array:
    """Directions ``(d, R)``, evenly distributed, from two uniform numbers each."""
    angle = 2 * np.pi * u
    if dimensions == 2:
        return np.stack([np.cos(angle), np.sin(angle)])
    height = 2 * v - 1
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height])
