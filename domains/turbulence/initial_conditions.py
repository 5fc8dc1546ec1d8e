"""Fields to start from: random ones with a seed, the same at every resolution, and ones with a known solution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from domains.turbulence.grid import Grid

_REACH = 4  # modes beyond four times the peak hold less than 1e-10 of the energy


def greatest_peak(grid: Grid) -> float:
    """The highest mode that the grid holds along every axis, in units of 2 pi over the longer side.

    Example:
        >>> greatest_peak(Grid((32, 128), (1.0, 4.0)))
        40.0
    """
    return min(m * max(grid.lengths) / length for m, length in zip(grid.modes, grid.lengths, strict=True))


def random_vorticity(
    grid: Grid, seeds: Sequence[int | tuple[int, ...]], *, peak: float = 4.0, energy: float = 0.5
) -> Tensor:
    """Gaussian vorticity whose energy spectrum is ``E(k) ~ k^4 exp(-2 (k / k_p)^2)``, the most at k_p.

    A seed gives the same field on every grid over one box that resolves it.

    Args:
        grid: with two dimensions.
        seeds: one for each field, anything that `numpy.random.default_rng` takes.
        peak: mode of the greatest energy, in units of 2 pi over the longer side.
        energy: kinetic energy per mass, length^2 / time^2.

    Returns:
        ``(len(seeds), n_y, n_x)``, float64, 1 / time, mean zero.

    Example:
        >>> one, other = random_vorticity(Grid((32, 32)), [1, 2])
        >>> bool((one == random_vorticity(Grid((32, 32)), [1])[0]).all()), bool((one == other).all())
        (True, False)
    """
    k_x, k_y = grid.wave_numbers()
    peak_number = 2 * math.pi * peak / max(grid.lengths)
    squared = k_x**2 + k_y**2
    # A ring of radius k holds about k modes, so the energy of each is E(k) / k, and its vorticity is k^2 times that.
    size = squared.pow(1.25) * torch.exp(-squared / peak_number**2)
    reach = [math.ceil(_REACH * peak * length / max(grid.lengths)) for length in grid.lengths]
    rows, columns = (min(r, m) for r, m in zip(reach, grid.modes, strict=True))
    made = torch.zeros(len(seeds), *grid.coefficient_shape, dtype=torch.complex128)
    for row, seed in enumerate(seeds):
        # Drawn on a block of modes that does not depend on the resolution, q from -reach to reach.
        drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal((reach[1] + 1, 2 * reach[0] + 1, 2)))
        block = torch.view_as_complex(drawn)[: columns + 1]
        made[row, : columns + 1, : rows + 1] = block[:, reach[0] : reach[0] + rows + 1]
        made[row, : columns + 1, -rows:] = block[:, reach[0] - rows : reach[0]]
    made *= size * grid.kept()
    # On the axis k_x = 0 the two halves are conjugates.
    made[:, 0, -rows:] = made[:, 0, 1 : rows + 1].flip(-1).conj()
    inverse = torch.where(squared > 0, 1 / squared.clamp(min=1e-300), 0.0)
    found = 0.5 * (grid.weights() * inverse * made.abs() ** 2).sum((-2, -1))
    return grid.fields(made * (energy / found).sqrt()[:, None, None])


def taylor_green(grid: Grid, modes: tuple[int, int] = (1, 1), amplitude: float = 1.0) -> Tensor:
    """The Taylor-Green vortices ``w = amplitude cos(k_x x) cos(k_y y)``.

    Advection of it vanishes, so it decays as ``exp(-(nu (k_x^2 + k_y^2) + mu) t)`` without changing shape (Taylor and
    Green 1937): an exact solution of the full equation.

    Args:
        grid: with two dimensions.
        modes: waves along y and along x.
        amplitude: of the vorticity, 1 / time.

    Returns:
        ``(n_y, n_x)``, float64.
    """
    axes = grid.axes()
    k_y, k_x = (2 * math.pi * m / length for m, length in zip(modes, grid.lengths, strict=True))
    return amplitude * torch.cos(k_y * axes["y"])[:, None] * torch.cos(k_x * axes["x"])[None]


def random_waves(
    grid: Grid, seeds: Sequence[int | tuple[int, ...]], *, modes: int = 8, amplitude: float = 1.0
) -> Tensor:
    """Sums of the first waves in one dimension, with Gaussian amplitudes; a seed gives the same at every resolution.

    Args:
        grid: with one dimension.
        seeds: one for each field.
        modes: number of waves.
        amplitude: root mean square of a field, on average over seeds.

    Returns:
        ``(len(seeds), n_x)``, float64, mean zero.

    Example:
        >>> random_waves(Grid((64,), (64.0,)), [0, 1, 2]).shape
        torch.Size([3, 64])
    """
    made = torch.zeros(len(seeds), *grid.coefficient_shape, dtype=torch.complex128)
    for row, seed in enumerate(seeds):
        drawn = torch.from_numpy(np.random.default_rng(seed).standard_normal((modes, 2)))
        made[row, 1 : modes + 1] = torch.view_as_complex(drawn)[: grid.modes[0]]
    return grid.fields(made) * amplitude / math.sqrt(4 * modes)
