"""The Kuramoto-Sivashinsky equation: spatio-temporal chaos in one dimension.

    du/dt + u du/dx + a d2u/dx2 + b d4u/dx4 = 0

Second derivatives feed the long waves, fourth ones damp the short, the product carries energy from one to the other
(Kuramoto and Tsuzuki 1976, https://doi.org/10.1143/PTP.55.356; Sivashinsky 1977). Beyond a length of about 22 it is
chaotic; its leading Lyapunov exponent is near 0.09 at a = b = 1 on long boxes (Edson et al. 2019,
https://doi.org/10.1017/S1446181119000105). The mean of u is conserved; starts have mean zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from domains.turbulence.flows.flow import Flow, Nonlinear, RandomForcing, Seed, check_dimensions, check_numbers
from domains.turbulence.grid import Grid
from domains.turbulence.initial_conditions import random_waves


@dataclass(frozen=True)
class KuramotoSivashinsky(Flow):
    """The Kuramoto-Sivashinsky equation in conservative form.

    Good values: length 64 with 128 points and a step of 0.1; chaos after about 100 units of time.

    Attributes:
        anti_diffusion: a, length^2 / time.
        hyperdiffusion: b, length^4 / time.

    Example:
        >>> KuramotoSivashinsky().linear(Grid((8,)))
        tensor([  0.,   0., -12.], dtype=torch.float64)
    """

    anti_diffusion: float = 1.0
    hyperdiffusion: float = 1.0

    dimensions: ClassVar[int] = 1
    variable: ClassVar[str] = "velocity"
    long_name: ClassVar[str] = "velocity u of the Kuramoto-Sivashinsky equation"

    def __post_init__(self) -> None:
        check_numbers(
            "KuramotoSivashinsky", {"anti_diffusion": self.anti_diffusion}, {"hyperdiffusion": self.hyperdiffusion}
        )

    def linear(self, grid: Grid) -> Tensor:
        """``a k^2 - b k^4``."""
        check_dimensions(self, grid)
        (k,) = grid.wave_numbers()
        return self.anti_diffusion * k**2 - self.hyperdiffusion * k**4

    def nonlinear(self, grid: Grid, dtype: torch.dtype, device: torch.device) -> Nonlinear:
        """``- d(u^2 / 2)/dx``."""
        made = torch.complex64 if dtype == torch.float32 else torch.complex128
        factor = (-0.5j * grid.wave_numbers()[0]).to(device, made)

        def evaluate(coefficients: Tensor) -> Tensor:
            return factor * grid.analyse(grid.fields(coefficients).square_())

        return evaluate

    def forcing(self, grid: Grid) -> RandomForcing | None:
        """None."""
        return None

    def crossing_rate(self, grid: Grid, coefficients: Tensor) -> Tensor:
        """Greatest ``|u| / d_x``, ``(B,)``."""
        return grid.fields(coefficients).abs().amax(1) / grid.spacing[0]

    def random_start(self, grid: Grid, seeds: Sequence[Seed]) -> Tensor:
        """Random long waves."""
        return random_waves(grid, seeds, modes=min(8, *grid.modes), amplitude=1.0)
