"""The two-dimensional incompressible flow behind a vorticity: velocity, advection, drag and viscosity, in modes.

Stream function psi and vorticity w of a velocity (u, v), mean velocity (U, V)::

    u = U + d psi / dy,      v = V - d psi / dx,      w = dv/dx - du/dy = - lap psi

Advection is evaluated in the form of Basdevant (1983, https://doi.org/10.1016/0021-9991(83)90064-5), which needs two
transforms to the grid and two back instead of five in all:

    - (u, v) . grad w = (d2/dy2 - d2/dx2) (u v) + d2/dxdy (u^2 - v^2)

With the 2/3 rule all forms are the same Galerkin truncation, to rounding: energy and enstrophy are conserved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from domains.turbulence.flows.flow import Nonlinear
from domains.turbulence.grid import Grid


def squared_wave_number(grid: Grid) -> Tensor:
    """``k_x^2 + k_y^2`` of the coefficients, float64 ``(m_x + 1, n_y)``."""
    k_x, k_y = grid.wave_numbers()
    return k_x**2 + k_y**2


def velocity_factors(grid: Grid) -> Tensor:
    """Factors ``(2, m_x + 1, n_y)``, complex128, from a vorticity's coefficients to those of u and v without mean."""
    k_x, k_y = grid.wave_numbers()
    squared = squared_wave_number(grid)
    inverse = torch.where(squared > 0, 1 / squared.clamp(min=1e-300), 0.0)
    return torch.stack([1j * k_y * inverse, -1j * k_x * inverse]) * grid.kept()


def velocity(grid: Grid, coefficients: Tensor, mean_flow: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Velocity u, v of vorticities.

    Args:
        grid: of the vorticities.
        coefficients: ``(B, m_x + 1, n_y)`` of the vorticities, in 1 / time.
        mean_flow: mean of u and v, which the vorticity does not know, length / time.

    Returns:
        ``(2, B, n_y, n_x)``, length / time.
    """
    factors = velocity_factors(grid).to(coefficients.device, coefficients.dtype)
    fields = grid.fields(factors[:, None] * coefficients)
    if any(mean_flow):
        fields += torch.tensor(mean_flow, dtype=fields.dtype, device=fields.device)[:, None, None, None]
    return fields


def advection(
    grid: Grid,
    dtype: torch.dtype,
    device: torch.device,
    *,
    mean_flow: tuple[float, float] = (0.0, 0.0),
    force: Tensor | None = None,
) -> Nonlinear:
    """``- (u, v) . grad w + force`` as a function of the coefficients of w.

    Args:
        grid: of the vorticity.
        dtype: of the fields, float32 or float64.
        device: of the coefficients.
        mean_flow: mean of u and v, length / time.
        force: coefficients ``(m_x + 1, n_y)`` of a steady source of vorticity, 1 / time^2.
    """
    made = torch.complex64 if dtype == torch.float32 else torch.complex128
    k_x, k_y = grid.wave_numbers()
    factors = velocity_factors(grid).to(device, made)[:, None]
    crossed = torch.stack([k_x**2 - k_y**2, -k_x * k_y]) * grid.kept()
    # For the real and the imaginary part each, see time_stepping.py.
    uv_factor, difference_factor = crossed.to(device, dtype)[..., None].expand(*crossed.shape, 2).contiguous()
    steady = None if force is None else torch.view_as_real((force * grid.kept()).to(device, made))
    mean = torch.tensor(mean_flow, dtype=dtype, device=device)[:, None, None, None] if any(mean_flow) else None

    def evaluate(coefficients: Tensor) -> Tensor:
        speed = grid.fields(factors * coefficients)
        if mean is not None:
            speed += mean
        u, v = speed[0], speed[1]
        products = torch.empty_like(speed)
        torch.mul(u, v, out=products[0])
        torch.mul(u, u, out=products[1]).addcmul_(v, v, value=-1)
        modes = torch.view_as_real(grid.analyse(products))
        sum_ = uv_factor * modes[0] if steady is None else torch.addcmul(steady, uv_factor, modes[0])
        return torch.view_as_complex(sum_.addcmul_(difference_factor, modes[1]))

    return evaluate


def crossing_rate(grid: Grid, coefficients: Tensor, mean_flow: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Greatest ``|u| / d_x + |v| / d_y`` of each sample, ``(B,)``, 1 / time."""
    u, v = velocity(grid, coefficients, mean_flow).abs()
    return (u / grid.spacing[1] + v / grid.spacing[0]).flatten(1).amax(1)
