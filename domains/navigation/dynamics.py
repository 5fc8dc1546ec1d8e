"""How vehicles move: double integrator, unicycle with drag, quadrotor; all worlds in one pass of numpy.

Arrays hold one row per quantity and one column per world, ``(rows, W)``, so that every row is contiguous. A step of
length h holds command and wind constant. The velocity of each vehicle obeys v' = a - d (v - w), d the drag (1/s), w the
wind (m/s); with a held its solution is exact,

    v <- e v + f (a + d w),    x <- x + f v + g (a + d w),    e = exp(-d h), f = (1 - e) / d, g = (h - f) / d,

with the limits e = 1, f = h, g = h^2 / 2 for d = 0. The double integrator is integrated exactly; the unicycle holds the
direction of a at the middle of the step and is of second order; the quadrotor takes the mean of the directions before
and after, and is of first order by its rate loop.
"""

from __future__ import annotations

import abc
import dataclasses
import math

import numpy as np
import numpy.typing as npt
from typing_extensions import override

Array = npt.NDArray[np.float64]
GRAVITY = 9.81  # m/s^2


@dataclasses.dataclass(frozen=True)
class Reading:
    """A group of entries of the observation.

    Args:
        name: What is read.
        size: Number of entries.
        unit: Of an entry before it is divided by the scale.
        scale: What an entry is divided by, in that unit.
        low: Least value after division; readings saturate.
        high: Greatest value after division.
    """

    name: str
    size: int
    unit: str
    scale: float
    low: float
    high: float


def relaxation(drag: float, time: float) -> tuple[float, float, float]:
    """The e, f, g of the file's formula, for a drag in 1/s and a time in s.

    Example:
        >>> relaxation(0.0, 0.5)
        (1.0, 0.5, 0.125)
    """
    x, e = drag * time, math.exp(-drag * time)
    if x < 1e-3:  # their series, to rounding; the quotients would lose digits
        g = time**2 * (1 / 2 - x / 6 + x**2 / 24 - x**3 / 120 + x**4 / 720)
        return e, time - drag * g, g
    f = -math.expm1(-drag * time) / drag
    return e, f, (time - f) / drag


@dataclasses.dataclass(frozen=True)
class Dynamics(abc.ABC):
    """A vehicle: what its state is, how it moves, and what it can tell of itself.

    Args:
        drag: Drag per mass, 1/s.
    """

    drag: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and (value > 0 or (value == 0 and field.name == "drag"))):
                least = "at least 0" if field.name == "drag" else "greater than 0"
                raise ValueError(f"{type(self).__name__}: {field.name} is a finite number {least}; got {value!r}")

    @property
    @abc.abstractmethod
    def dimensions(self) -> int:
        """Of space: 2 or 3; positions are the first rows of the state."""

    @property
    @abc.abstractmethod
    def commands(self) -> tuple[str, ...]:
        """What each entry of an action commands, from -1 to 1."""

    @property
    @abc.abstractmethod
    def speed(self) -> float:
        """A speed that it reaches, m/s: the scale of velocities."""

    @abc.abstractmethod
    def top_speed(self, wind: float, arena: float) -> float:
        """The greatest speed over ground of flights from rest, m/s, in wind (m/s) and an arena of that side (m)."""

    @abc.abstractmethod
    def at_rest(self, position: Array, heading: Array) -> Array:
        """States ``(S, W)`` at rest and level, at positions ``(d, W)`` in m with headings ``(W,)`` in rad."""

    @abc.abstractmethod
    def step(self, state: Array, command: Array, wind: Array, time: float) -> Array:
        """States ``(S, W)`` a time (s) later, for commands ``(A, W)`` in [-1, 1] and wind ``(d, W)`` in m/s."""

    @abc.abstractmethod
    def velocity(self, state: Array) -> Array:
        """Velocities ``(d, W)`` over ground in the world's axes, m/s."""

    @abc.abstractmethod
    def axes(self, state: Array) -> Array:
        """The body's axes ``(d, d, W)``: entry [i, j] is coordinate i, in the world, of the body's axis j."""

    @abc.abstractmethod
    def readings(self, frame: str) -> tuple[Reading, ...]:
        """What the vehicle tells of itself, in the frame "body" or "world"."""

    @abc.abstractmethod
    def read(self, state: Array, axes: Array, frame: str) -> list[Array]:
        """The values of `readings` in SI units, a list of arrays ``(size, W)``."""


def in_body(axes: Array, vector: Array) -> Array:
    """Vectors ``(d, W)`` of the world in the axes ``(d, d, W)`` of the body."""
    result = axes[0] * vector[0]
    for i in range(1, len(vector)):
        result += axes[i] * vector[i]
    return result


def _quotient(push: float, drag: float) -> float:
    return push / drag if drag else math.inf


@dataclasses.dataclass(frozen=True)
class DoubleIntegrator(Dynamics):
    """A point that is pushed along the world's axes: state x, y (m), v_x, v_y (m/s).

    It has no attitude: its body's axes are the world's.

    Args:
        drag: Drag per mass, 1/s.
        acceleration: At full command, m/s^2, along each axis.

    Example:
        >>> vehicle = DoubleIntegrator(drag=0.0, acceleration=2.0)
        >>> start = vehicle.at_rest(np.zeros((2, 1)), np.zeros(1))
        >>> vehicle.step(start, np.array([[1.0], [0.0]]), np.zeros((2, 1)), 3.0).ravel().tolist()
        [9.0, 0.0, 6.0, 0.0]
    """

    acceleration: float = 4.0

    @property
    @override
    def dimensions(self) -> int:
        return 2

    @property
    @override
    def commands(self) -> tuple[str, ...]:
        return ("acceleration along x", "acceleration along y")

    @property
    @override
    def speed(self) -> float:
        return self.acceleration / max(self.drag, 0.5)

    @override
    def top_speed(self, wind: float, arena: float) -> float:
        # Both axes at full command; against drag, or without it along the arena's diagonal.
        push = math.sqrt(2) * self.acceleration + self.drag * wind
        return min(_quotient(push, self.drag), math.sqrt(2 * push * math.sqrt(2) * arena))

    @override
    def at_rest(self, position: Array, heading: Array) -> Array:
        return np.concatenate([position, np.zeros_like(position)])

    @override
    def step(self, state: Array, command: Array, wind: Array, time: float) -> Array:
        e, f, g = relaxation(self.drag, time)
        push = self.acceleration * command + self.drag * wind
        new = np.empty_like(state)
        np.add(state[:2], f * state[2:] + g * push, out=new[:2])
        np.add(e * state[2:], f * push, out=new[2:])
        return new

    @override
    def velocity(self, state: Array) -> Array:
        return state[2:]

    @override
    def axes(self, state: Array) -> Array:
        axes = np.zeros((2, 2, state.shape[1]))
        axes[0, 0] = axes[1, 1] = 1.0
        return axes

    @override
    def readings(self, frame: str) -> tuple[Reading, ...]:
        return (Reading("velocity", 2, "m/s", self.speed, -2.0, 2.0),)

    @override
    def read(self, state: Array, axes: Array, frame: str) -> list[Array]:
        return [state[2:]]


@dataclasses.dataclass(frozen=True)
class Unicycle(Dynamics):
    """A vehicle that goes where it points: state x, y (m), heading (rad), speed (m/s), rate of turn (rad/s).

    v' = a u_1 - d (v - w . n), n the heading's direction; the rate of turn r follows its command,
    r' = (r_max u_2 - r) / t, exactly; the position moves along the heading of the middle of the step.

    Args:
        drag: Drag per mass, 1/s; the speed in still air ends at acceleration / drag.
        acceleration: At full command, m/s^2.
        turn_rate: At full command, rad/s.
        turn_time: In which the rate of turn follows its command, s.
    """

    acceleration: float = 4.0
    turn_rate: float = 3.0
    turn_time: float = 0.1

    @property
    @override
    def dimensions(self) -> int:
        return 2

    @property
    @override
    def commands(self) -> tuple[str, ...]:
        return ("acceleration ahead", "rate of turn to the left")

    @property
    @override
    def speed(self) -> float:
        return self.acceleration / max(self.drag, 0.5)

    @override
    def top_speed(self, wind: float, arena: float) -> float:
        # Without drag it gains speed in circles up to the largest that fits, and then along the diagonal. There is no
        # proof that this is the most; a search over flights came to 0.99 of it.
        push = self.acceleration + self.drag * wind
        circling, straight = self.turn_rate * arena / 2, math.sqrt(2 * push * math.sqrt(2) * arena)
        return min(_quotient(push, self.drag), math.hypot(circling, straight))

    @override
    def at_rest(self, position: Array, heading: Array) -> Array:
        return np.concatenate([position, heading[None], np.zeros_like(position)])

    @override
    def step(self, state: Array, command: Array, wind: Array, time: float) -> Array:
        e, f, g = relaxation(self.drag, time)
        decay, kept, given = relaxation(1 / self.turn_time, time)
        heading, speed, rate = state[2], state[3], state[4]
        wanted = (self.turn_rate / self.turn_time) * command[1]
        _, kept_half, given_half = relaxation(1 / self.turn_time, time / 2)
        middle = heading + kept_half * rate + given_half * wanted
        c, s = np.cos(middle), np.sin(middle)
        push = self.acceleration * command[0] + self.drag * (wind[0] * c + wind[1] * s)
        way = f * speed + g * push
        new = np.empty_like(state)
        new[0] = state[0] + way * c
        new[1] = state[1] + way * s
        new[2] = heading + kept * rate + given * wanted
        new[3] = e * speed + f * push
        new[4] = decay * rate + kept * wanted
        return new

    @override
    def velocity(self, state: Array) -> Array:
        return state[3] * np.stack([np.cos(state[2]), np.sin(state[2])])

    @override
    def axes(self, state: Array) -> Array:
        axes = np.empty((2, 2, state.shape[1]))
        axes[0, 0] = axes[1, 1] = np.cos(state[2])
        axes[1, 0] = np.sin(state[2])
        axes[0, 1] = -axes[1, 0]
        return axes

    @override
    def readings(self, frame: str) -> tuple[Reading, ...]:
        turn = Reading("rate of turn", 1, "rad/s", self.turn_rate, -2.0, 2.0)
        if frame == "body":
            return (Reading("speed ahead", 1, "m/s", self.speed, -2.0, 2.0), turn)
        velocity = Reading("velocity", 2, "m/s", self.speed, -2.0, 2.0)
        return (velocity, turn, Reading("heading (cosine, sine)", 2, "1", 1.0, -1.0, 1.0))

    @override
    def read(self, state: Array, axes: Array, frame: str) -> list[Array]:
        if frame == "body":
            return [state[3:5]]
        return [state[3] * axes[:, 0], state[4:5], axes[:, 0]]


@dataclasses.dataclass(frozen=True)
class Quadrotor(Dynamics):
    """A rigid body with thrust along its third axis and a rate loop: the usual command of a racing drone.

    State (13 rows): position (m), velocity (m/s), unit quaternion (w, x, y, z; body to world), body rates (rad/s).
    With q^ the body's third axis in the world, J the inertia (ratios alone matter) and o the rates,

        v' = g (1 + u_0) q^ - g e_3 - d (v - w),    J o' = M - o x J o,    M = J (o_max u_{1..3} - o) / t,

    so that command 0 hovers and -1 is free fall. Semi-implicit: first o, then q <- q exp(o h / 2) (of unit length to
    rounding, and normalised), then v and x with the mean of q^ before and after.

    Args:
        drag: Drag per mass, 1/s.
        tilt_rate: Roll and pitch rate at full command, rad/s.
        yaw_rate: Yaw rate at full command, rad/s.
        rate_time: In which the rate loop follows its command, s; at least the time step.
        inertia_ratio: Inertia about the third axis over that about the other two.
    """

    drag: float = 0.3
    tilt_rate: float = 4.0
    yaw_rate: float = 2.0
    rate_time: float = 0.1
    inertia_ratio: float = 1.8

    @property
    @override
    def dimensions(self) -> int:
        return 3

    @property
    @override
    def commands(self) -> tuple[str, ...]:
        return ("thrust above hovering", "roll rate", "pitch rate", "yaw rate")

    @property
    @override
    def speed(self) -> float:
        return 6.0

    @override
    def top_speed(self, wind: float, arena: float) -> float:
        """That of usual flights, no bound: tilted at full thrust or in a dive it gets several times as fast."""
        return self.speed + wind

    @override
    def at_rest(self, position: Array, heading: Array) -> Array:
        state = np.zeros((13, position.shape[1]))
        state[:3] = position
        state[6], state[9] = np.cos(heading / 2), np.sin(heading / 2)
        return state

    @override
    def step(self, state: Array, command: Array, wind: Array, time: float) -> Array:
        e, f, g = relaxation(self.drag, time)
        new = np.empty_like(state)
        rates = state[10:]
        limit = np.array([self.tilt_rate, self.tilt_rate, self.yaw_rate])[:, None]
        turned = rates + (time / self.rate_time) * (limit * command[1:] - rates)
        gyroscopic = time * (self.inertia_ratio - 1) * rates[2]  # of J^-1 (o x J o); its third entry is zero
        turned[0] -= gyroscopic * rates[1]
        turned[1] += gyroscopic * rates[0]
        new[10:] = turned
        half = 0.5 * time * turned
        angle2 = half[0] * half[0] + half[1] * half[1] + half[2] * half[2]
        angle = np.sqrt(angle2)
        c = np.cos(angle)
        x, y, z = half * (np.sin(angle) / np.maximum(angle, 1e-12))
        q0, q1, q2, q3 = state[6:10]
        q = np.empty_like(state[6:10])
        q[0] = q0 * c - q1 * x - q2 * y - q3 * z
        q[1] = q0 * x + q1 * c + q2 * z - q3 * y
        q[2] = q0 * y - q1 * z + q2 * c + q3 * x
        q[3] = q0 * z + q1 * y - q2 * x + q3 * c
        q /= np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
        new[6:10] = q
        push = 0.5 * GRAVITY * (1 + command[0]) * (self._up(state[6:10]) + self._up(q))
        push[2] -= GRAVITY
        push += self.drag * wind
        np.add(state[:3], f * state[3:6] + g * push, out=new[:3])
        np.add(e * state[3:6], f * push, out=new[3:6])
        return new

    @staticmethod
    def _up(q: Array) -> Array:
        """The body's third axis in the world ``(3, W)``."""
        w, x, y, z = q
        up = np.empty((3, q.shape[1]))
        up[0] = 2 * (x * z + w * y)
        up[1] = 2 * (y * z - w * x)
        up[2] = 1 - 2 * (x * x + y * y)
        return up

    @override
    def velocity(self, state: Array) -> Array:
        return state[3:6]

    @override
    def axes(self, state: Array) -> Array:
        w, x, y, z = state[6:10]
        axes = np.empty((3, 3, state.shape[1]))
        axes[0, 0] = 1 - 2 * (y * y + z * z)
        axes[1, 0] = 2 * (x * y + w * z)
        axes[2, 0] = 2 * (x * z - w * y)
        axes[0, 1] = 2 * (x * y - w * z)
        axes[1, 1] = 1 - 2 * (x * x + z * z)
        axes[2, 1] = 2 * (y * z + w * x)
        axes[:, 2] = self._up(state[6:10])
        return axes

    @override
    def readings(self, frame: str) -> tuple[Reading, ...]:
        velocity = Reading("velocity", 3, "m/s", self.speed, -2.0, 2.0)
        rates = Reading("body rates", 3, "rad/s", self.tilt_rate, -2.0, 2.0)
        if frame == "body":
            return (velocity, rates, Reading("the world's up", 3, "1", 1.0, -1.0, 1.0))
        return (velocity, rates, Reading("the body's axes, one after another", 9, "1", 1.0, -1.0, 1.0))

    @override
    def read(self, state: Array, axes: Array, frame: str) -> list[Array]:
        if frame == "body":
            return [in_body(axes, state[3:6]), state[10:], axes[2]]
        return [state[3:6], state[10:], axes.swapaxes(0, 1).reshape(9, -1)]


VEHICLES: dict[str, type[Dynamics]] = {
    "double_integrator": DoubleIntegrator,
    "unicycle": Unicycle,
    "quadrotor": Quadrotor,
}
