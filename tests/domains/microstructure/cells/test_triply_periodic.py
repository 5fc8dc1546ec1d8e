"""Triply periodic surfaces: their symmetries, their published volume fractions and their connectivity."""

import math

import numpy as np
import pytest
from scipy import integrate

from domains.microstructure.cells import triply_periodic
from domains.microstructure.cells.triply_periodic import SURFACES
from domains.microstructure.connectivity import is_connected, percolates

ODD = ["gyroid", "schwarz_p", "diamond", "neovius"]
# Fourier series of the surfaces, one term a line: amplitude and the function, written out.
WRITTEN_OUT = {
    "gyroid": lambda x, y, z: math.sin(x) * math.cos(y) + math.sin(y) * math.cos(z) + math.sin(z) * math.cos(x),
    "schwarz_p": lambda x, y, z: math.cos(x) + math.cos(y) + math.cos(z),
    # cos(x - y) and such: the other common form, cos x cos y cos z - sin x sin y sin z, a shift by an eighth away
    "diamond": lambda x, y, z: math.sqrt(2)
    * (
        math.cos(x - math.pi / 4) * math.cos(y - math.pi / 4) * math.cos(z - math.pi / 4)
        + math.sin(x - math.pi / 4) * math.sin(y - math.pi / 4) * math.sin(z - math.pi / 4)
    ),
    "i_wp": lambda x, y, z: (
        math.cos(x + y) + math.cos(x - y) + math.cos(y + z) + math.cos(y - z) + math.cos(z + x) + math.cos(z - x)
        - math.cos(2 * x) - math.cos(2 * y) - math.cos(2 * z)
    ),
    "neovius": lambda x, y, z: 3 * (math.cos(x) + math.cos(y) + math.cos(z)) + sum(
        math.cos(x + a * y + b * z) for a in (-1, 1) for b in (-1, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SURFACES)
def test_formulas_equal_another_way_of_writing_them(name):
    for x, y, z in np.random.default_rng(0).random((50, 3)) * 2 * np.pi:
        found = SURFACES[name](np.array(x), np.array(y), np.array(z))
        assert abs(found - WRITTEN_OUT[name](x, y, z)) < 1e-12


@pytest.mark.parametrize("name", ODD)
def test_half_the_volume_lies_on_each_side(name):
    x = (np.arange(48) + 0.5) * 2 * np.pi / 48
    field = SURFACES[name](x[:, None, None], x[None, :, None], x[None, None, :])
    assert abs((field < -1e-12).mean() - (field > 1e-12).mean()) < 1e-12


def test_a_schwarz_p_side_has_the_volume_of_its_integral():
    """P(cos X + cos Y < t) from one integral over the plane section, against the level that the cell's share has."""
    cell = triply_periodic((40, 40, 40), 0.3, surface="schwarz_p").numpy()
    x = (np.arange(40) + 0.5) * 2 * np.pi / 40
    field = np.cos(x)[:, None, None] + np.cos(x)[:, None] + np.cos(x)
    level = 0.5 * (field[cell == 1].max() + field[cell == 0].min())

    def below(t):  # share of Z with cos Z < t
        return 1 - math.acos(min(max(t, -1.0), 1.0)) / math.pi

    volume, _ = integrate.dblquad(
        lambda y, x: below(level - math.cos(x) - math.cos(y)) / math.pi**2, 0, math.pi, 0, math.pi, epsabs=1e-4
    )
    assert abs(volume - cell.mean()) < 3e-3


@pytest.mark.parametrize("name", SURFACES)
@pytest.mark.parametrize("sheet", [False, True])
def test_cells_keep_the_threefold_axis(name, sheet):
    cell = triply_periodic((24, 24, 24), 0.35, surface=name, sheet=sheet)
    assert cell.equal(cell.permute(1, 2, 0))
    assert cell.equal(cell.permute(2, 0, 1))


@pytest.mark.parametrize("name", ["schwarz_p", "i_wp", "neovius"])
def test_cubic_surfaces_keep_mirrors(name):
    cell = triply_periodic((20, 20, 20), 0.4, surface=name)
    assert cell.equal(cell.flip(0))
    assert cell.equal(cell.permute(1, 0, 2))


def test_the_two_sides_of_the_gyroid_are_mirror_images():
    """f(-x) = -f(x): inversion takes one side to the other, and the structure is chiral."""
    cell = triply_periodic((24, 24, 24), 0.5, surface="gyroid")
    assert (1 - cell).equal(cell.flip(0, 1, 2))
    assert not cell.equal(cell.flip(0))


@pytest.mark.parametrize("name", ODD)
def test_networks_and_sheets_are_bicontinuous(name):
    for sheet in (False, True):
        cell = triply_periodic((32, 32, 32), 0.2 if sheet else 0.5, surface=name, sheet=sheet)
        assert is_connected(cell, 1)
        assert all(percolates(cell, axis, 1) for axis in range(3))
        assert is_connected(cell, 0) != sheet  # a sheet parts space in two
        assert all(percolates(cell, axis, 0) for axis in range(3))


def test_refuses_unit_cells_that_are_too_small():
    with pytest.raises(ValueError):
        triply_periodic((24, 24, 24), 0.5, surface="gyroyd")
    for repeats in (4, 0, 1.5, float("nan"), float("inf"), (1, 2)):
        with pytest.raises(ValueError, match="gyroid: "):
            triply_periodic((24, 24, 24), 0.5, surface="gyroid", repeats=repeats)
