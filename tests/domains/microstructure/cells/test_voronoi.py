"""Voronoi cells against the nearest seed, and walls against the distance to points of other grains, by brute force."""

import itertools

import numpy as np
import pytest

from domains.microstructure.cells import voronoi_foam, voronoi_grains
from domains.microstructure.cells.voronoi import wall_distance
from domains.microstructure.connectivity import components, is_connected, largest_component


def images(size, seeds, turns=2):
    """All seeds and their images: positions, and which seed each belongs to."""
    shifts = np.array(list(itertools.product(range(-turns, turns + 1), repeat=len(size)))) * size
    return (seeds + shifts[:, None]).reshape(-1, len(size))


def bisectors(size, seeds):
    """Sorted distances of every voxel to the bisectors of its nearest image with all other images: the definition."""
    grid = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in size], indexing="ij"), -1).reshape(-1, len(size))
    points = images(size, seeds)
    found = []
    for x in grid:
        order = np.argsort(((points - x) ** 2).sum(1))
        own, others = points[order[0]], points[order[1:]]
        length = np.linalg.norm(others - own, axis=1)
        found.append(np.sort((((own + others) / 2 - x) * (others - own)).sum(1) / length)[:2])
    return np.array(found).reshape(*size, 2)


@pytest.mark.parametrize(("size", "m"), [((12, 9), 5), ((12, 9), 1), ((20, 6), 3), ((5, 6, 7), 4), ((6, 6, 6), 2)])
def test_wall_distance_is_that_to_the_nearest_bisectors(size, m):
    seeds = np.random.default_rng(m).random((m, len(size))) * size
    expected = bisectors(size, seeds)
    np.testing.assert_allclose(wall_distance(size, seeds), expected[..., 0], atol=1e-9)
    np.testing.assert_allclose(wall_distance(size, seeds, order=2), expected[..., 1], atol=1e-9)


@pytest.mark.parametrize("size", [(24, 18), (10, 12, 9)])
def test_grains_are_whole(size):
    cell = voronoi_grains(size, 0.4, 3, grains=12).numpy()
    seeds = np.random.default_rng(3).random((12, len(size))) * size
    grid = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in size], indexing="ij"), -1)
    apart = ((grid[..., None, :] - images(size, seeds, 1)) ** 2).sum(-1)
    owner = apart.argmin(-1) % 12
    for grain in range(12):
        assert len(np.unique(cell[owner == grain])) <= 1


def test_relaxed_grains_are_more_alike():
    """Grains of a closed foam with thin walls are its pores; relaxation narrows their sizes."""

    def scatter(relaxations):
        foam = voronoi_foam((96, 96), 0.25, 4, grains=16, relaxations=relaxations)
        labels, _ = components(foam, 0)
        sizes = labels.flatten().bincount()[1:].double()
        return (sizes.std() / sizes.mean()).item()

    assert scatter(8) < 0.6 * scatter(0)


def test_foams_hang_together():
    closed = voronoi_foam((32, 32, 32), 0.4, 1, grains=8)
    assert is_connected(closed, 1)
    assert components(closed, 0)[1] == 8
    opened = voronoi_foam((32, 32, 32), 0.2, 1, grains=8, relaxations=6, open_cell=True)
    assert largest_component(opened).sum() > 0.995 * opened.sum()
    assert is_connected(opened, 0)


def test_refuses_impossible_foams():
    with pytest.raises(ValueError):
        voronoi_foam((32, 32), 0.2, open_cell=True)
    for grains in (1, 10**6):
        with pytest.raises(ValueError):
            voronoi_grains((32, 32), 0.2, grains=grains)
    with pytest.raises(ValueError):
        voronoi_grains((32, 32), 0.2, relaxations=-1)
