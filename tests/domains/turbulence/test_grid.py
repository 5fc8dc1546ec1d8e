"""Transforms against the sums that define them, and the 2/3 rule."""

import math

import numpy as np
import pytest
import torch

from domains.turbulence.grid import Grid, resample

GRIDS = [Grid((12, 18), (2.0, 5.0)), Grid((15, 8)), Grid((9, 7)), Grid((16,), (3.0,)), Grid((21,))]


def wave(grid, modes, phase=0.3):
    axes = list(grid.axes().values())
    parts = [
        2 * math.pi * m / length * x.reshape([-1 if j == i else 1 for j in range(grid.dimensions)])
        for i, (m, length, x) in enumerate(zip(modes, grid.lengths, axes, strict=True))
    ]
    return torch.cos(sum(parts) + phase)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_coefficients_are_the_sums_that_define_them(grid):
    fields = torch.randn(2, *grid.shape, dtype=torch.float64)
    found = grid.coefficients(fields)
    x = grid.axes()["x"].numpy()
    k = [w.numpy().ravel() for w in grid.wave_numbers()]
    for p in range(grid.modes[-1] + 1):
        along_x = (fields.numpy() * np.exp(-1j * k[0][p] * x)).mean(-1)
        if grid.dimensions == 1:
            assert np.allclose(found[:, p], along_x)
            continue
        y = grid.axes()["y"].numpy()
        for q in range(-grid.modes[0], grid.modes[0] + 1):
            assert np.allclose(found[:, p, q], (along_x * np.exp(-1j * k[1][q] * y)).mean(-1))
    assert bool((found == found * grid.kept()).all())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_kept_modes_come_back_and_others_do_not(grid):
    inside = wave(grid, [-m if i == 0 and grid.dimensions == 2 else m for i, m in enumerate(grid.modes)])
    assert torch.allclose(grid.fields(grid.coefficients(inside)), inside)
    outside = wave(grid, [m + 1 for m in grid.modes])
    assert float(grid.coefficients(outside).abs().max()) < 1e-12


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_sums_over_modes_are_means_over_the_box(grid):
    coefficients = grid.coefficients(torch.randn(3, *grid.shape, dtype=torch.float64))
    axes = tuple(range(1, grid.dimensions + 1))
    found = (grid.weights() * coefficients.abs() ** 2).sum(axes)
    assert torch.allclose(found, (grid.fields(coefficients) ** 2).mean(axes))


@pytest.mark.parametrize("n", [12, 13, 14, 15, 16, 64])
def test_a_product_of_two_kept_modes_leaves_no_alias(n):
    """Modes a and b multiply to a + b and a - b; a + b beyond the grid comes back as a + b - n, outside the kept."""
    grid = Grid((n,))
    highest = grid.modes[0]
    assert 3 * highest < n <= 3 * (highest + 1)
    x = grid.axes()["x"]
    for a in range(1, highest + 1):
        for b in range(1, a + 1):
            exact = torch.zeros(grid.coefficient_shape, dtype=torch.complex128)
            exact[a - b] += 0.25 if a != b else 0.5
            if a + b <= highest:
                exact[a + b] += 0.25
            assert torch.allclose(grid.coefficients(torch.cos(a * x) * torch.cos(b * x)), exact, atol=1e-13)
    # One mode more and the rule fails.
    beyond = torch.cos((highest + 1) * x) * torch.cos((highest + 1) * x)
    alias = abs(2 * (highest + 1) - n)
    assert alias > highest or alias == 0 or float(grid.coefficients(beyond)[alias].abs()) > 0.1


def test_other_grids_get_the_trigonometric_interpolant():
    coarse, fine = Grid((12, 10), (1.0, 2.0)), Grid((30, 17), (1.0, 2.0))
    for modes in ((5, 4), (-3, 2), (0, 0), (0, 4), (5, 0)):
        assert torch.allclose(resample(wave(coarse, modes), fine.shape), wave(fine, modes))
        assert torch.allclose(resample(wave(fine, modes), coarse.shape), wave(coarse, modes))
    assert float(resample(wave(fine, (6, 2)), coarse.shape).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((2, 8), ()), ((8, 8, 8), ()), ((8, 8), (1.0,)), ((8,), (0.0,)), ((8,), (math.inf,)), ((8, 8), (1.0, -1.0))],
)
def test_bad_grids(shape, lengths):
    with pytest.raises(ValueError):
        Grid(shape, lengths)


def test_fields_of_another_grid_are_refused():
    with pytest.raises(ValueError):
        Grid((8, 8)).coefficients(torch.zeros(8, 9))
    with pytest.raises(ValueError):
        Grid((8, 8)).coefficients(torch.zeros(8, 8, dtype=torch.int64))
