"""Compressible flow in a periodic box: Euler's equations by finite volumes of second order.

    d/dt [rho, rho u, rho v, E] + d/dx F + d/dy G = 0,      E = p / (gamma - 1) + rho (u^2 + v^2) / 2

on cells ``(n_y, n_x)``: piecewise linear density, velocity and pressure with van Leer's limiter (1974,
https://doi.org/10.1016/0021-9991(74)90019-9), fluxes between cells by HLLC (Toro, Spruce and Speares 1994,
https://doi.org/10.1007/BF01414629) with Einfeldt's wave speeds, Heun's two stages in time. Mass, momentum and energy
are conserved to rounding. Every sample has its own time step, ``courant / max((|u| + c) / d_x, (|v| + c) / d_y)``, so
that it does not depend on the others of its batch.

`random_start` is the start of PDEBench's two-dimensional turbulence (Takamoto et al. 2022, arXiv:2210.07182), which was
solved with a viscosity of 1e-8. That is far below what a scheme of second order on a few hundred cells dissipates by
itself, so it is left out here. At low Mach numbers most of the work goes into sound: the step is M times shorter than
the flow needs, and HLLC dissipates more than the flow would show at Mach 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from domains.turbulence.flows.flow import Seed, check_numbers
from domains.turbulence.grid import Grid

_STEPS = 10**6  # to the next frame; more are those of a sample that blows up


@dataclass(frozen=True)
class CompressibleFlow:
    """A gas in a periodic box, and its start.

    States are ``(B, 4, n_y, n_x)``: density, velocity u and v, pressure.

    Attributes:
        gamma: ratio of the specific heats.
        courant: Courant number of a step; below 0.5 the scheme is stable.
        mach: of a random start: mean speed 1 over the speed of sound.
        waves: whole waves in the box along each axis, up to which a random start has them.

    Example:
        >>> flow, grid = CompressibleFlow(), Grid((16, 16), (1.0, 1.0))
        >>> start = flow.random_start(grid, [0])
        >>> found = flow.solve(grid, start, [0.0, 0.01])
        >>> found.shape, bool(torch.allclose(found[:, 1, 0].mean(), torch.ones(()).double()))
        (torch.Size([1, 2, 4, 16, 16]), True)
    """

    gamma: float = 5 / 3
    courant: float = 0.3
    mach: float = 0.1
    waves: int = 4

    def __post_init__(self) -> None:
        check_numbers("CompressibleFlow", positive={"courant": self.courant, "mach": self.mach, "waves": self.waves})
        if not 1 < self.gamma < math.inf:
            raise ValueError(f"CompressibleFlow.gamma: expected a number above 1, got {self.gamma}")
        if self.courant > 0.5:
            raise ValueError(f"CompressibleFlow.courant: expected at most 0.5, got {self.courant}")

    def random_start(self, grid: Grid, seeds: Sequence[Seed]) -> Tensor:
        """PDEBench's start, float64 ``(B, 4, n_y, n_x)``: density 1, speed 1 in the mean, pressure ``1 / (gamma M^2)``.

        Both components of the velocity are sums over the waves (i, j), i j != 0, of ``|k|^(-1/2) sin(k x + phase)``
        with phases of their own; what diverges is taken out by projection.

        Raises:
            ValueError: the grid does not resolve the waves, or has not two dimensions.
        """
        self.check_grid(grid)
        n_y, n_x = grid.shape
        reach = [n for n in range(-self.waves, self.waves + 1) if n]
        k_y = 2 * math.pi * torch.tensor(reach, dtype=torch.float64) / grid.lengths[0]
        k_x = 2 * math.pi * torch.tensor(reach, dtype=torch.float64) / grid.lengths[1]
        amplitude = (k_y[:, None] ** 2 + k_x**2) ** -0.25
        # Points are cell centres.
        y, x = ((axis + 0.5 * d) for axis, d in zip(grid.axes().values(), grid.spacing, strict=True))
        on_y, on_x = torch.exp(1j * k_y[:, None] * y), torch.exp(1j * k_x[:, None] * x)
        velocity = torch.empty(len(seeds), 2, n_y, n_x, dtype=torch.float64)
        squared = k_y[:, None] ** 2 + k_x**2
        for row, seed in enumerate(seeds):
            phase = torch.from_numpy(np.random.default_rng(seed).uniform(0, 2 * math.pi, (2, len(reach), len(reach))))
            u, v = amplitude * torch.exp(1j * phase)
            # A sine of phase p is the imaginary part; (u, v) less its part along k.
            along = (k_x * u + k_y[:, None] * v) / squared
            for place, c in enumerate((u - k_x * along, v - k_y[:, None] * along)):
                velocity[row, place] = torch.einsum("qp,qy,px->yx", c, on_y, on_x).imag
        speed = velocity.square().sum(1).sqrt().mean((-2, -1))
        velocity /= speed[:, None, None, None]
        state = torch.ones(len(seeds), 4, n_y, n_x, dtype=torch.float64)
        state[:, 1:3] = velocity
        state[:, 3] = 1 / (self.gamma * self.mach**2)
        return state

    def check_grid(self, grid: Grid) -> None:
        """Refuse a grid on which there is no random start.

        Raises:
            ValueError: the grid does not resolve the waves, or has not two dimensions.
        """
        if grid.dimensions != 2 or min(grid.shape) < 2 * self.waves + 1:
            raise ValueError(f"grid: expected {2 * self.waves + 1} points or more along y and x, got {grid.shape}")

    def solve(self, grid: Grid, state: Tensor, times: Sequence[float]) -> Tensor:
        """States ``(B, T, 4, n_y, n_x)`` at increasing times, from one at time 0.

        Args:
            grid: of the cells.
            state: ``(B, 4, n_y, n_x)``, float32 or float64.
            times: 0 or more.

        Raises:
            ValueError: a shape does not fit, or density or pressure is not above 0.
            FloatingPointError: a sample is no longer finite, or its density or pressure no longer above 0.
        """
        if grid.dimensions != 2 or state.ndim != 4 or tuple(state.shape[1:]) != (4, *grid.shape):
            raise ValueError(f"state: expected (B, 4, {', '.join(map(str, grid.shape))}), got {tuple(state.shape)}")
        if not (state[:, 0].amin() > 0 and state[:, 3].amin() > 0):
            raise ValueError("state: expected density and pressure above 0")
        moments = [0.0, *(float(t) for t in times)]
        if any(not a <= b < math.inf for a, b in itertools.pairwise(moments)):
            raise ValueError(f"times: expected increasing numbers of 0 or more, got {moments[1:9]}")
        held = self.conserved(state)
        now = torch.zeros(len(state), dtype=torch.float64)
        found = state.new_empty(len(state), len(times), *state.shape[1:])
        for place, moment in enumerate(moments[1:]):
            while bool((now < moment).any()):
                left = moment - now
                step = torch.minimum(self._step(grid, held, moment, left), left)
                held = self._advance(grid, held, step.to(held)[:, None, None])
                # What is left after the last step is zero, not its rounding.
                now = torch.where(step == left, moment, now + step)
            found[:, place] = self.primitive(held)
            # A step looks at what it starts from; no other looks at what the last one has made.
            whole = torch.isfinite(found[:, place]) & (found[:, place, ::3] > 0).all(1, keepdim=True)
            self._refuse(~whole.flatten(1).all(1).cpu(), moment, grid)
        return found

    def conserved(self, state: Tensor) -> Tensor:
        """Density, momentum and energy ``(B, 4, n_y, n_x)`` of density, velocity and pressure."""
        rho, u, v, p = state.unbind(1)
        return torch.stack([rho, rho * u, rho * v, p / (self.gamma - 1) + 0.5 * rho * (u * u + v * v)], 1)

    def primitive(self, conserved: Tensor) -> Tensor:
        """Density, velocity and pressure of density, momentum and energy."""
        rho, m_x, m_y, energy = conserved.unbind(1)
        u, v = m_x / rho, m_y / rho
        return torch.stack([rho, u, v, (self.gamma - 1) * (energy - 0.5 * (m_x * u + m_y * v))], 1)

    def _step(self, grid: Grid, conserved: Tensor, moment: float, left: Tensor) -> Tensor:
        """The step that the Courant number allows, ``(B,)`` float64; ``left`` is the time to the next frame."""
        rho, u, v, p = self.primitive(conserved).unbind(1)
        sound = (self.gamma * p / rho).sqrt()
        d_y, d_x = grid.spacing
        rate = torch.maximum((u.abs() + sound) / d_x, (v.abs() + sound) / d_y).flatten(1).amax(1)
        steps = rate.double().cpu() * left / self.courant
        self._refuse(~(torch.isfinite(steps) & (steps < _STEPS) & (rho.flatten(1).amin(1) > 0).cpu()), moment, grid)
        return self.courant / rate.double().cpu()

    def _refuse(self, bad: Tensor, moment: float, grid: Grid) -> None:
        """Raise FloatingPointError where samples ``(B,)`` are beyond help."""
        if bool(bad.any()):
            raise FloatingPointError(
                f"sample {int(bad.nonzero()[0, 0])} before time {moment:g}: density or pressure is no longer above "
                f"0, or all but infinite; take a courant below {self.courant:g} or more cells than {grid.shape}"
            )

    def _advance(self, grid: Grid, held: Tensor, step: Tensor) -> Tensor:
        """Heun's two stages."""
        step = step[:, None]
        first = held + step * self._rate(grid, held)
        return 0.5 * (held + first + step * self._rate(grid, first))

    def _rate(self, grid: Grid, held: Tensor) -> Tensor:
        """What flows in, per time."""
        rho, u, v, p = self.primitive(held).unbind(1)
        d_y, d_x = grid.spacing
        mass, m_x, m_y, energy = self._flux((rho, u, v, p), -1)
        rate = torch.stack([_difference(f, -1) for f in (mass, m_x, m_y, energy)], 1) / -d_x
        mass, m_y, m_x, energy = self._flux((rho, v, u, p), -2)
        return rate.sub_(torch.stack([_difference(f, -2) for f in (mass, m_x, m_y, energy)], 1), alpha=1 / d_y)

    def _flux(self, values: tuple[Tensor, Tensor, Tensor, Tensor], axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """HLLC fluxes of mass, momentum across, momentum along and energy through the upper face of every cell.

        Args:
            values: density, velocity across the face, velocity along it, pressure.
            axis: across the face.
        """
        gamma = self.gamma
        halves = [_half_slope(value, axis) for value in values]
        left = [value + half for value, half in zip(values, halves, strict=True)]
        right = [(value - half).roll(-1, axis) for value, half in zip(values, halves, strict=True)]
        r_l, u_l, _, p_l = left
        r_r, u_r, _, p_r = right
        c_l, c_r = (gamma * p_l / r_l).sqrt(), (gamma * p_r / r_r).sqrt()
        # Einfeldt's speeds: of the two states and of their average after Roe.
        w_l, w_r = r_l.sqrt(), r_r.sqrt()
        share = w_l / (w_l + w_r)
        mean = share * u_l + (1 - share) * u_r
        spread = share * c_l**2 + (1 - share) * c_r**2 + 0.5 * share * (1 - share) * (u_r - u_l) ** 2
        c = spread.sqrt()
        s_l, s_r = torch.minimum(u_l - c_l, mean - c), torch.maximum(u_r + c_r, mean + c)
        flow_l, flow_r = r_l * (s_l - u_l), r_r * (s_r - u_r)
        middle = (p_r - p_l + u_l * flow_l - u_r * flow_r) / (flow_l - flow_r)
        onward = middle >= 0
        # The side from which the middle wave comes decides all that follows.
        rho, u, t, p = (torch.where(onward, a, b) for a, b in zip(left, right, strict=True))
        speed, through = torch.where(onward, s_l, s_r), torch.where(onward, flow_l, flow_r)
        energy = p / (gamma - 1) + 0.5 * rho * (u * u + t * t)
        star = through / (speed - middle)
        within = torch.where(onward, s_l < 0, s_r > 0)  # the face lies between the outer waves
        moved = torch.where(within, speed, 0.0)
        mass = rho * u + moved * (star - rho)
        across = rho * u * u + p + moved * (star * middle - rho * u)
        along = rho * u * t + moved * (star - rho) * t
        inner = star * (energy / rho + (middle - u) * (middle + p / through))
        return mass, across, along, (energy + p) * u + moved * (inner - energy)


def _half_slope(values: Tensor, axis: int) -> Tensor:
    """Half of van Leer's limited slope, per cell: the harmonic mean of the two differences where they agree."""
    below = values - values.roll(1, axis)
    above = below.roll(-1, axis)
    product = below * above
    return torch.where(product > 0, product / (below + above), 0.0)


def _difference(flux: Tensor, axis: int) -> Tensor:
    return flux - flux.roll(1, axis)
