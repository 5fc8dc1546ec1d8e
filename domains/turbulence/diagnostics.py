"""What a flow has: energy, enstrophy, spectra by shell, and what feeds and eats them.

Everything is per unit of area (or length) and per unit of mass, a mean over the box; sums run over all modes that the
grid has, not only over those that the solver keeps, so that fields from elsewhere are measured whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from domains.turbulence.flows import DecayingTurbulence, KolmogorovFlow, StochasticTurbulence
from domains.turbulence.grid import Grid


def _check_plane(vorticity: Tensor, grid: Grid) -> None:
    """Refuse fields that are not on the grid, or not in a plane."""
    grid.check(vorticity)
    if grid.dimensions != 2:
        raise ValueError(f"grid: expected two dimensions, got the shape {grid.shape}")


def _modes(vorticity: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """``weights |c|^2`` of every mode of a half spectrum and its ``k^2``, both ``(..., n_y, n_x / 2 + 1)`` float64."""
    _check_plane(vorticity, grid)
    n_x = grid.shape[1]
    power = torch.fft.rfft2(vorticity.double(), norm="forward").abs() ** 2
    power[..., 1 : (n_x + 1) // 2] *= 2
    k_x, k_y = _half_plane(grid, power.device)
    return power, k_y[:, None] ** 2 + k_x**2


def _half_plane(grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Wave numbers of `torch.fft.rfft2`, ``k_x`` ``(n_x / 2 + 1,)`` and ``k_y`` ``(n_y,)``, float64."""
    n_y, n_x = grid.shape
    k_x = 2 * math.pi / grid.lengths[1] * torch.arange(n_x // 2 + 1, dtype=torch.float64, device=device)
    k_y = 2 * math.pi / grid.lengths[0] * torch.fft.fftfreq(n_y, 1 / n_y, dtype=torch.float64, device=device)
    return k_x, k_y


def _over(power: Tensor, squared: Tensor) -> Tensor:
    return torch.where(squared > 0, power / squared.clamp(min=1e-300), 0.0)


def energy(vorticity: Tensor, grid: Grid) -> Tensor:
    """Mean kinetic energy ``1/2 <u^2 + v^2>`` without that of the mean flow, ``(...)``, length^2 / time^2.

    Args:
        vorticity: ``(..., n_y, n_x)``.
        grid: of it.

    Example:
        >>> from domains.turbulence.initial_conditions import random_vorticity
        >>> grid = Grid((32, 32))
        >>> round(float(energy(random_vorticity(grid, [0], energy=0.3), grid)), 12)
        0.3
    """
    return 0.5 * _over(*_modes(vorticity, grid)).sum((-2, -1))


def enstrophy(vorticity: Tensor, grid: Grid) -> Tensor:
    """Mean enstrophy ``1/2 <w^2>``, ``(...)``, 1 / time^2."""
    _check_plane(vorticity, grid)
    return 0.5 * (vorticity.double() ** 2).mean((-2, -1))


def palinstrophy(vorticity: Tensor, grid: Grid) -> Tensor:
    """Mean palinstrophy ``1/2 <|grad w|^2>``, ``(...)``, 1 / (length time)^2."""
    power, squared = _modes(vorticity, grid)
    return 0.5 * (power * squared).sum((-2, -1))


def velocity(vorticity: Tensor, grid: Grid) -> Tensor:
    """Velocity ``(..., 2, n_y, n_x)``, u then v, of a vorticity with no mean flow; all modes below half the points.

    Example:
        >>> grid = Grid((16, 16))
        >>> shear = torch.cos(2 * grid.axes()["y"])[:, None].expand(16, 16)
        >>> round(float(velocity(shear, grid)[0].amax()), 6)  # u = - sin(2 y) / 2
        0.5
    """
    n_y, n_x = grid.shape
    squared = _modes(vorticity, grid)[1]
    stream = _over(torch.fft.rfft2(vorticity, norm="forward"), squared)
    k_x, k_y = _half_plane(grid, stream.device)
    both = torch.stack([1j * k_y[:, None] * stream, -1j * k_x * stream], -3)
    # The mode at half the points has no sine, so no derivative.
    if n_y % 2 == 0:
        both[..., 0, n_y // 2, :] = 0
    if n_x % 2 == 0:
        both[..., 1, :, n_x // 2] = 0
    return torch.fft.irfft2(both, s=grid.shape, norm="forward").to(vorticity.dtype)


def curl(u: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Vorticity ``dv/dx - du/dy`` ``(..., n_y, n_x)`` of a periodic velocity, 1 / time.

    Example:
        >>> from domains.turbulence.initial_conditions import taylor_green
        >>> grid = Grid((16, 12), (1.0, 2.0))
        >>> vortices = taylor_green(grid)
        >>> u, v = velocity(vortices, grid)
        >>> bool(torch.allclose(curl(u, v, grid), vortices))
        True
    """
    n_y, n_x = grid.shape
    k_x, k_y = _half_plane(grid, u.device)
    if n_x % 2 == 0:
        k_x[-1] = 0
    if n_y % 2 == 0:
        k_y[n_y // 2] = 0
    modes = 1j * (k_x * torch.fft.rfft2(v) - k_y[:, None] * torch.fft.rfft2(u))
    return torch.fft.irfft2(modes, s=grid.shape).to(u.dtype)


def energy_spectrum(vorticity: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Kinetic energy by shell of wave numbers.

    Shell j holds the modes with ``|k|`` within half a ``dk`` of ``j dk``, dk = 2 pi / the longer side; mode 0 is left
    out. The sum of the spectrum times dk is the energy. Shells beyond half the points along the shorter spacing hold
    the corners of the square only.

    Args:
        vorticity: ``(..., n_y, n_x)``.
        grid: of it.

    Returns:
        Wave numbers ``(S,)``, 1 / length, and ``E(k)`` ``(..., S)``, length^3 / time^2.

    Example:
        >>> grid = Grid((32, 32))
        >>> k, spectrum = energy_spectrum(torch.cos(5 * grid.axes()["x"]).expand(32, 32), grid)
        >>> int(k[spectrum.argmax()])
        5
    """
    power, squared = _modes(vorticity, grid)
    width = 2 * math.pi / max(grid.lengths)
    shell = (squared.sqrt() / width).round().long().flatten()
    count = int(shell.max()) + 1
    spectrum = torch.zeros(*power.shape[:-2], count, dtype=torch.float64, device=power.device)
    spectrum.index_add_(-1, shell, 0.5 * _over(power, squared).flatten(-2) / width)
    return width * torch.arange(1, count, dtype=torch.float64, device=power.device), spectrum[..., 1:]


def power_spectrum(fields: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Variance by wave number of fields in one dimension: ``(S,)`` and ``(..., S)``; its sum times dk is the variance.

    Example:
        >>> grid = Grid((16,))
        >>> round(float(power_spectrum(torch.cos(3 * grid.axes()["x"]), grid)[1].sum()), 12)
        0.5
    """
    grid.check(fields)
    n = grid.shape[0]
    width = 2 * math.pi / grid.lengths[0]
    power = torch.fft.rfft(fields.double(), norm="forward").abs() ** 2
    power[..., 1 : (n + 1) // 2] *= 2
    return width * torch.arange(1, n // 2 + 1, dtype=torch.float64, device=power.device), power[..., 1:] / width


@dataclass(frozen=True)
class Budget:
    """What changes a quantity per unit of time: ``rate = injection - viscous - drag`` (advection only moves it).

    Attributes:
        injection: by the force; its mean where the force is random.
        viscous: loss to viscosity or hyperviscosity.
        drag: loss to drag.
    """

    injection: Tensor
    viscous: Tensor
    drag: Tensor

    @property
    def rate(self) -> Tensor:
        """The sum."""
        return self.injection - self.viscous - self.drag


def budgets(
    flow: KolmogorovFlow | DecayingTurbulence | StochasticTurbulence, vorticity: Tensor, grid: Grid
) -> tuple[Budget, Budget]:
    """The budgets of energy and of enstrophy, each term ``(...)``.

    Args:
        flow: the equation.
        vorticity: ``(..., n_y, n_x)``.
        grid: of it.

    Returns:
        That of the energy, in length^2 / time^3, and that of the enstrophy, in 1 / time^3.

    Example:
        >>> from domains.turbulence.initial_conditions import taylor_green
        >>> grid = Grid((16, 16))
        >>> of_energy, _ = budgets(DecayingTurbulence(viscosity=0.1), taylor_green(grid), grid)
        >>> round(float(of_energy.viscous / energy(taylor_green(grid), grid)), 6)  # 2 nu k^2
        0.4
    """
    power, squared = _modes(vorticity, grid)
    order = 1 if isinstance(flow, KolmogorovFlow) else flow.order
    loss = 2 * flow.viscosity * squared**order
    held = (0.5 * _over(power, squared), 0.5 * power)
    if isinstance(flow, KolmogorovFlow):
        source = grid.fields(flow.source(grid)).to(vorticity.device)
        k = 2 * math.pi * flow.forcing_mode / grid.lengths[0]
        put = (vorticity.double() * source).mean((-2, -1))
        injection = (put / k**2, put)
    else:
        zero = torch.zeros(power.shape[:-2], dtype=torch.float64, device=power.device)
        injection = (zero, zero)
        if isinstance(flow, StochasticTurbulence):
            forcing = flow.forcing(grid)
            both = grid.weights()[forcing.first, forcing.second]
            both[forcing.mirrored] = 2.0
            injection = (zero + flow.energy_rate, zero + float((both * forcing.amplitude**2).sum() / 2))
    of_energy, of_enstrophy = (
        Budget(put, (loss * part).sum((-2, -1)), 2 * flow.drag * part.sum((-2, -1)))
        for put, part in zip(injection, held, strict=True)
    )
    return of_energy, of_enstrophy


def correlation(first: Tensor, second: Tensor, dimensions: int = 2) -> Tensor:
    """Pattern correlation of two fields over their last axes, each less its mean, ``(...)``.

    Example:
        >>> round(float(correlation(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 4.0]]))), 6)
        1.0
    """
    axes = tuple(range(-dimensions, 0))
    a, b = (f.double() - f.double().mean(axes, keepdim=True) for f in (first, second))
    return (a * b).sum(axes) / ((a * a).sum(axes) * (b * b).sum(axes)).sqrt()
