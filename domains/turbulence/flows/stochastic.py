"""Two-dimensional turbulence stirred at random: white noise in time on a ring of wave numbers.

    dw/dt + (u, v) . grad w = - (-1)^p nu lap^p w - mu w + xi,      xi white in time, on |k| within b / 2 of k_f

Every mode of the ring gets the same share of the stated energy: with M modes in the ring (all of them, not half) and
``dc = s dW``, ``E |dW|^2 = dt``, Ito's formula for ``E = 1/2 sum |c|^2 / k^2`` gives ``dE/dt = sum s^2 / (2 k^2)``, so

    s^2 = 2 epsilon k^2 / M

injects energy epsilon and enstrophy ``epsilon mean(k^2)`` per time whatever the flow does, and independently of the
step (Lilly 1969, https://doi.org/10.1063/1.1692444; Boffetta and Ecke 2012). The solver adds to each step h the exact
integral of the noise under the linear part, of variance ``s^2 (exp(2 L h) - 1) / (2 L)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.turbulence.flows.flow import Flow, Nonlinear, RandomForcing, Seed, check_dimensions, check_numbers
from domains.turbulence.flows.vorticity import advection, crossing_rate, squared_wave_number
from domains.turbulence.grid import Grid


@dataclass(frozen=True)
class StochasticTurbulence(Flow):
    """Two-dimensional turbulence stirred at random on a ring of wave numbers.

    Good values on the box 2 pi: the defaults with 64^2 points and a step of 0.02; energy settles after
    a few times ``1 / drag`` at 0.29, below ``energy_rate / (2 drag)`` by what viscosity takes.

    Attributes:
        viscosity: nu, length^(2 p) / time.
        drag: mu, 1 / time.
        order: p, 1 for viscosity, more for hyperviscosity.
        forcing_wave_number: k_f, the middle of the ring, 1 / length.
        forcing_bandwidth: b, the width of the ring, 1 / length.
        energy_rate: epsilon, kinetic energy put in per mass and time, length^2 / time^3.

    Example:
        >>> forcing = StochasticTurbulence().forcing(Grid((32, 32)))
        >>> len(forcing.amplitude)  # of 32 modes, half are independent
        16
    """

    viscosity: float = 5e-3
    drag: float = 0.1
    order: int = 1
    forcing_wave_number: float = 4.0
    forcing_bandwidth: float = 1.0
    energy_rate: float = 0.1

    dimensions: ClassVar[int] = 2
    variable: ClassVar[str] = "vorticity"
    long_name: ClassVar[str] = "vorticity of the flow in the plane, dv/dx - du/dy"

    def __post_init__(self) -> None:
        check_numbers(
            "StochasticTurbulence",
            {"viscosity": self.viscosity, "drag": self.drag, "energy_rate": self.energy_rate},
            {
                "order": self.order,
                "forcing_wave_number": self.forcing_wave_number,
                "forcing_bandwidth": self.forcing_bandwidth,
            },
        )

    def linear(self, grid: Grid) -> Tensor:
        """``- nu k^(2 p) - mu``."""
        check_dimensions(self, grid)
        return -self.viscosity * squared_wave_number(grid) ** self.order - self.drag

    def nonlinear(self, grid: Grid, dtype: torch.dtype, device: torch.device) -> Nonlinear:
        """Advection."""
        return advection(grid, dtype, device)

    def forcing(self, grid: Grid) -> RandomForcing:
        """The modes of the ring and their amplitudes.

        Raises:
            ValueError: the ring is empty, or reaches beyond the grid's kept modes.
        """
        check_dimensions(self, grid)
        squared = squared_wave_number(grid)
        ring = (squared.sqrt() - self.forcing_wave_number).abs() <= self.forcing_bandwidth / 2
        ring &= grid.kept() & (squared > 0)
        highest = min(2 * math.pi * m / length for m, length in zip(grid.modes, grid.lengths, strict=True))
        outer = self.forcing_wave_number + self.forcing_bandwidth / 2
        if outer > highest:
            raise ValueError(
                f"StochasticTurbulence: expected a ring within |k| = {highest:g} of the grid, got {outer:g}"
            )
        count = int(grid.weights()[ring].sum())
        if count == 0:
            raise ValueError(
                f"StochasticTurbulence: no mode of the grid lies within {self.forcing_bandwidth / 2:g} of "
                f"|k| = {self.forcing_wave_number:g}; widen forcing_bandwidth"
            )
        # Of the axis k_x = 0 one half is independent, the other its conjugate.
        independent = ring.clone()
        independent[0, grid.modes[0] + 1 :] = False
        first, second = independent.nonzero(as_tuple=True)
        amplitude = (2 * self.energy_rate * squared[first, second] / count).sqrt()
        return RandomForcing(first, second, amplitude, (first == 0).nonzero()[:, 0])

    def crossing_rate(self, grid: Grid, coefficients: Tensor) -> Tensor:
        """Greatest ``|u| / d_x + |v| / d_y``, ``(B,)``."""
        return crossing_rate(grid, coefficients)

    def random_start(self, grid: Grid, seeds: Sequence[Seed]) -> Tensor:
        """Rest."""
        return torch.zeros(len(seeds), *grid.shape, dtype=torch.float64)
