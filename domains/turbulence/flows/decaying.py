"""Decaying two-dimensional turbulence: vortices that merge while viscosity eats the small scales.

    dw/dt + (u, v) . grad w = - (-1)^p nu lap^p w - mu w

p = 1 is viscosity, p > 1 hyperviscosity, which leaves more of the resolved range inviscid. The growth of coherent
vortices out of noise is McWilliams (1984), https://doi.org/10.1017/S0022112084001750. Without viscosity and drag energy
and enstrophy are conserved, and by the time stepping to its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.turbulence.flows.flow import Flow, Nonlinear, RandomForcing, Seed, check_dimensions, check_numbers
from domains.turbulence.flows.vorticity import advection, crossing_rate, squared_wave_number
from domains.turbulence.grid import Grid
from domains.turbulence.initial_conditions import greatest_peak, random_vorticity


@dataclass(frozen=True)
class DecayingTurbulence(Flow):
    """Two-dimensional flow that nothing drives.

    Good values on the box 2 pi: viscosity 1e-3 with 128^2 points, 2e-4 with 256^2 (start of energy 0.5 at mode 6);
    hyperviscosity of order 4 with about 5e-13 at 128^2. Too little for the grid piles enstrophy up at the last modes.

    Attributes:
        viscosity: nu, length^(2 p) / time.
        order: p, 1 for viscosity, more for hyperviscosity.
        drag: mu, 1 / time.
        mean_flow: mean of u and v, length / time; it carries everything along (Galilean invariance).
        start_mode: mode at which the energy of a random start peaks, in waves over the longer side; on a coarser grid
            the last that it holds.
        start_energy: kinetic energy per mass of a random start, length^2 / time^2.

    Example:
        >>> float(DecayingTurbulence(viscosity=0.5).linear(Grid((8, 8)))[1, 0])
        -0.5
    """

    viscosity: float = 1e-3
    order: int = 1
    drag: float = 0.0
    mean_flow: tuple[float, float] = (0.0, 0.0)
    start_mode: int = 6
    start_energy: float = 0.5

    dimensions: ClassVar[int] = 2
    variable: ClassVar[str] = "vorticity"
    long_name: ClassVar[str] = "vorticity of the flow in the plane, dv/dx - du/dy"

    def __post_init__(self) -> None:
        check_numbers(
            "DecayingTurbulence",
            {"viscosity": self.viscosity, "drag": self.drag},
            {"order": self.order, "start_mode": self.start_mode, "start_energy": self.start_energy},
            {f"mean_flow[{place}]": speed for place, speed in enumerate(self.mean_flow)},
        )

    def linear(self, grid: Grid) -> Tensor:
        """``- nu k^(2 p) - mu``."""
        check_dimensions(self, grid)
        return -self.viscosity * squared_wave_number(grid) ** self.order - self.drag

    def nonlinear(self, grid: Grid, dtype: torch.dtype, device: torch.device) -> Nonlinear:
        """Advection."""
        return advection(grid, dtype, device, mean_flow=self.mean_flow)

    def forcing(self, grid: Grid) -> RandomForcing | None:
        """None."""
        return None

    def crossing_rate(self, grid: Grid, coefficients: Tensor) -> Tensor:
        """Greatest ``|u| / d_x + |v| / d_y``, ``(B,)``."""
        return crossing_rate(grid, coefficients, self.mean_flow)

    def random_start(self, grid: Grid, seeds: Sequence[Seed]) -> Tensor:
        """Random vorticity, energy around ``start_mode``, or around the last mode that the grid holds."""
        return random_vorticity(grid, seeds, peak=min(self.start_mode, greatest_peak(grid)), energy=self.start_energy)
