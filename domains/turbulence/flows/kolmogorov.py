"""Kolmogorov flow: two-dimensional turbulence driven by a sinusoidal shear and held by a linear drag.

    dw/dt + (u, v) . grad w = nu lap w - mu w - A k cos(k y),      k = 2 pi m / l_y

the vorticity form of a force ``A sin(k y)`` along x. Posed by Kolmogorov in 1959 (Arnold and Meshalkin 1960); the
laminar flow ``u = A sin(k y) / (nu k^2 + mu)`` is unstable above a small Reynolds number (Meshalkin and Sinai 1961,
https://doi.org/10.1016/0021-8928(62)90149-1), and the drag stands for friction with a bottom, which keeps the inverse
cascade from piling up in the box (Boffetta and Ecke 2012, https://doi.org/10.1146/annurev-fluid-120710-101240).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.turbulence.flows.flow import (
    Flow,
    Nonlinear,
    RandomForcing,
    Seed,
    Waves,
    check_dimensions,
    check_numbers,
)
from domains.turbulence.flows.vorticity import advection, crossing_rate, squared_wave_number
from domains.turbulence.grid import Grid
from domains.turbulence.initial_conditions import greatest_peak, random_vorticity


@dataclass(frozen=True)
class KolmogorovFlow(Flow):
    """Kolmogorov flow with linear drag.

    Good values on the box 2 pi: the defaults are mildly turbulent and need 64^2 points and a step of 0.0125; viscosity
    1e-3 needs about 256^2 points and a step of 0.003. With this drag the flow is steady up to
    A / (nu^2 k^3) of about 6, viscosity 0.05.

    Attributes:
        viscosity: nu, length^2 / time.
        drag: mu, 1 / time.
        forcing_mode: m, whole waves of the force along y.
        forcing_amplitude: A, force per mass, length / time^2.

    Example:
        >>> KolmogorovFlow(viscosity=0.02).forcing_mode
        4
    """

    viscosity: float = 0.01
    drag: float = 0.1
    forcing_mode: int = 4
    forcing_amplitude: float = 1.0

    dimensions: ClassVar[int] = 2
    variable: ClassVar[str] = "vorticity"
    long_name: ClassVar[str] = "vorticity of the flow in the plane, dv/dx - du/dy"

    def __post_init__(self) -> None:
        check_numbers(
            "KolmogorovFlow",
            {"viscosity": self.viscosity, "drag": self.drag},
            finite={"forcing_amplitude": self.forcing_amplitude},
        )
        if self.forcing_mode < 1:
            raise ValueError(f"KolmogorovFlow.forcing_mode: expected 1 or more, got {self.forcing_mode}")

    @property
    def force_waves(self) -> Waves:
        """That of the force."""
        return ((self.forcing_mode, 0),)

    def linear(self, grid: Grid) -> Tensor:
        """``- nu k^2 - mu``."""
        check_dimensions(self, grid)
        return -self.viscosity * squared_wave_number(grid) - self.drag

    def source(self, grid: Grid) -> Tensor:
        """Coefficients ``(m_x + 1, n_y)``, complex128, of the source of vorticity ``- A k cos(k y)``.

        Raises:
            ValueError: the grid does not resolve the force, or has not two dimensions.
        """
        check_dimensions(self, grid)
        if self.forcing_mode > grid.modes[0]:
            raise ValueError(
                f"KolmogorovFlow.forcing_mode: expected at most {grid.modes[0]}, a third of the {grid.shape[0]} points "
                f"along y, got {self.forcing_mode}"
            )
        wave_number = float(grid.wave_numbers()[1][0, self.forcing_mode])
        source = torch.zeros(grid.coefficient_shape, dtype=torch.complex128)
        source[0, self.forcing_mode] = source[0, -self.forcing_mode] = -self.forcing_amplitude * wave_number / 2
        return source

    def nonlinear(self, grid: Grid, dtype: torch.dtype, device: torch.device) -> Nonlinear:
        """Advection and force."""
        return advection(grid, dtype, device, force=self.source(grid))

    def forcing(self, grid: Grid) -> RandomForcing | None:
        """None: the force is steady."""
        return None

    def crossing_rate(self, grid: Grid, coefficients: Tensor) -> Tensor:
        """Greatest ``|u| / d_x + |v| / d_y``, ``(B,)``."""
        return crossing_rate(grid, coefficients)

    def random_start(self, grid: Grid, seeds: Sequence[Seed]) -> Tensor:
        """Random vorticity around the force's scale; the flow forgets it in some ten units of time."""
        peak = self.forcing_mode * max(grid.lengths) / grid.lengths[0]  # which is along y
        return random_vorticity(grid, seeds, peak=min(peak, greatest_peak(grid)), energy=0.5)
