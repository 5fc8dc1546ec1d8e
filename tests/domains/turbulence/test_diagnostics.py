"""Measures against the fields they are means of."""

import math

import pytest
import torch

from domains.turbulence.diagnostics import (
    correlation,
    curl,
    energy,
    energy_spectrum,
    enstrophy,
    palinstrophy,
    power_spectrum,
    velocity,
)
from domains.turbulence.grid import Grid
from domains.turbulence.initial_conditions import random_vorticity

GRIDS = [Grid((32, 48), (2 * math.pi, 3 * math.pi)), Grid((33, 25)), Grid((24, 24), (1.0, 1.0))]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_energy_is_that_of_the_velocity_and_the_spectrum_sums_to_it(grid):
    fields = random_vorticity(grid, [0, 1], peak=3.0, energy=0.7)
    assert torch.allclose(energy(fields, grid), torch.tensor(0.7, dtype=torch.float64))
    u = velocity(fields, grid)
    assert torch.allclose(0.5 * (u**2).sum(1).mean((1, 2)), energy(fields, grid))
    assert torch.allclose(curl(u[:, 0], u[:, 1], grid), fields, atol=1e-9)
    k, spectrum = energy_spectrum(fields, grid)
    width = float(k[1] - k[0])
    assert torch.allclose(spectrum.sum(-1) * width, energy(fields, grid))
    assert width == pytest.approx(2 * math.pi / max(grid.lengths))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_enstrophy_and_palinstrophy_are_means_of_squares(grid):
    fields = random_vorticity(grid, [2], peak=2.0)
    gradient = velocity(fields, grid)  # of a stream function; that of the vorticity is the same of its own negative
    assert torch.allclose(enstrophy(fields, grid), 0.5 * (fields**2).mean((1, 2)))
    u, v = velocity(-laplacian(fields, grid), grid)[0]
    assert float(palinstrophy(fields, grid)) == pytest.approx(float(0.5 * (u**2 + v**2).mean()))
    assert gradient.shape == (1, 2, *grid.shape)


def laplacian(fields, grid):
    k_x, k_y = grid.wave_numbers()
    return grid.fields(-(k_x**2 + k_y**2) * grid.coefficients(fields))


@pytest.mark.parametrize("n", [16, 17])
def test_the_power_spectrum_sums_to_the_variance(n):
    grid = Grid((n,), (3.0,))
    fields = torch.randn(4, n, dtype=torch.float64)
    k, power = power_spectrum(fields, grid)
    assert torch.allclose(power.sum(-1) * float(k[0]), fields.var(-1, correction=0))


def test_correlation_is_one_of_itself_and_minus_one_of_its_negative():
    fields = random_vorticity(GRIDS[0], [0, 1])
    assert torch.allclose(correlation(fields, 3 * fields + 2), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(correlation(fields, -fields), -torch.ones(2, dtype=torch.float64))


def test_a_seed_gives_the_same_vorticity_at_every_resolution():
    coarse, fine = Grid((48, 48)), Grid((96, 96))
    difference = random_vorticity(fine, [7], peak=2.0)[:, ::2, ::2] - random_vorticity(coarse, [7], peak=2.0)
    assert float(difference.abs().max()) < 1e-9


def test_one_dimension_is_refused_where_two_are_needed():
    for measure in (energy, enstrophy, palinstrophy):
        with pytest.raises(ValueError, match="dimensions"):
            measure(torch.zeros(3, 8), Grid((8,)))
