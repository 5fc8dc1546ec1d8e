"""Beam lattices against distances to every strut in every image, and volumes of crossing cylinders."""

import itertools
import math

import numpy as np
import pytest

from domains.microstructure.cells import lattice
from domains.microstructure.cells.lattice import LATTICES, strut_distance
from domains.microstructure.connectivity import is_connected, percolates

STRUTS_IN_A_UNIT_CELL = {  # each counted once, in units of one unit cell's period; and their length for edge 1
    "square": (2, 1.0),
    "cross": (4, math.sqrt(0.5)),
    "simple_cubic": (3, 1.0),
    "bcc": (8, math.sqrt(0.75)),
    "fcc": (12, math.sqrt(0.5)),
    "octet": (24, math.sqrt(0.5)),
    "kelvin": (24, math.sqrt(0.125)),
}


def slow_distance(size, struts, repeats):
    """Every voxel, every strut, every image."""
    edges = np.array([n / r for n, r in zip(size, repeats, strict=True)])
    best = np.full(size, np.inf)
    turns = list(itertools.product((-1, 0, 1), repeat=len(size)))
    for index in np.ndindex(*size):
        x = (np.array(index) + 0.5) % edges
        for a, b in struts:
            for turn in turns:
                start, end = (np.array(a) + turn) * edges, (np.array(b) + turn) * edges
                share = np.clip((x - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
                best[index] = min(best[index], np.linalg.norm(x - start - share * (end - start)))
    return best


@pytest.mark.parametrize("name", LATTICES)
def test_distance_is_that_to_the_nearest_image_of_a_strut(name):
    d = len(LATTICES[name][0][0])
    size, repeats = ((16, 18), (1, 2)) if d == 2 else ((4, 3, 3), (1, 1, 1))
    expected = slow_distance(size, LATTICES[name], repeats)
    np.testing.assert_allclose(strut_distance(size, LATTICES[name], repeats), expected, atol=1e-9)


@pytest.mark.parametrize("name", STRUTS_IN_A_UNIT_CELL)
def test_every_strut_is_there_once(name):
    """Modulo the period, and no strut lies on another."""
    count, length = STRUTS_IN_A_UNIT_CELL[name]
    middles = set()
    for a, b in LATTICES[name]:
        assert abs(math.dist(a, b) - length) < 1e-12
        middles.add(tuple(round((p + q) / 2 % 1.0 % 1.0, 9) for p, q in zip(a, b, strict=True)))
    assert len(middles) == count


@pytest.mark.parametrize(("name", "size"), [("triangular", (56, 97)), ("honeycomb", (56, 97))])
def test_regular_plane_lattices_have_equal_struts(name, size):
    lengths = {
        round(math.dist([p * n for p, n in zip(a, size, strict=True)], [p * n for p, n in zip(b, size, strict=True)]))
        for a, b in LATTICES[name]
    }
    assert lengths <= ({56} if name == "triangular" else {32, 16})


def test_simple_cubic_has_the_volume_of_three_crossing_cylinders():
    """3 pi r^2 - 8 sqrt(2) r^3 for edge 1 (the tricylinder of Steinmetz)."""
    n, r = 64, 9.3
    expected = 3 * math.pi * (r / n) ** 2 - 8 * math.sqrt(2) * (r / n) ** 3
    assert abs(lattice((n, n, n), struts="simple_cubic", radius=r).mean().item() - expected) < 0.02 * expected


def test_thin_struts_have_the_volume_of_their_length():
    n, r = 96, 2.5
    for name in ("bcc", "kelvin"):
        count, length = STRUTS_IN_A_UNIT_CELL[name]
        expected = count * length * math.pi * (r / n) ** 2
        found = lattice((n, n, n), struts=name, radius=r).mean().item()
        assert 0.85 * expected < found < 1.05 * expected  # struts overlap at the nodes


@pytest.mark.parametrize("name", LATTICES)
def test_lattices_hang_together_along_every_axis(name):
    d = len(LATTICES[name][0][0])
    cell = lattice((32,) * d, struts=name, radius=2.0)
    assert is_connected(cell)
    assert all(percolates(cell, axis) for axis in range(d))
    for axis in range(d):
        assert cell.equal(cell.flip(axis))


def test_refuses_radii_that_fill_the_cell_or_nothing():
    for options in ({}, {"radius": 2.0, "volume_fraction": 0.2}, {"radius": -1.0}, {"radius": 40.0}, {"radius": 0.1}):
        with pytest.raises(ValueError):
            lattice((32, 32), struts="square", **options)
    with pytest.raises(ValueError):
        lattice((32, 32), 0.3, struts="octet")
    with pytest.raises(ValueError):
        lattice((32, 32), 0.3, struts="squares")
    with pytest.raises(ValueError):
        lattice((32, 32), 0.3, struts="square", repeats=5)
