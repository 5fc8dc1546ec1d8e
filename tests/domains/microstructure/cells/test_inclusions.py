"""Random balls against brute-force distances and the volume that theory gives."""

import itertools
import math

import numpy as np
import pytest

from domains.microstructure.cells import hard_spheres, overlapping_spheres
from domains.microstructure.cells.grid import nearest
from domains.microstructure.cells.inclusions import SATURATION, sequential_centres
from domains.microstructure.connectivity import components


def distances(size, centres):
    """Distance of every voxel centre to every point over all 3^d images: the definition."""
    grid = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in size], indexing="ij"), -1)
    images = np.array(list(itertools.product((-1, 0, 1), repeat=len(size)))) * size
    apart = grid[..., None, None, :] - (centres[:, None] + images)
    return np.sqrt((apart**2).sum(-1)).min(-1)


@pytest.mark.parametrize("size", [(13, 8), (7, 8, 9)])
@pytest.mark.parametrize("reach", [1.3, 2.6, math.inf])
def test_nearest_is_the_nearest_of_all_images(size, reach):
    generator = np.random.default_rng(0)
    centres, radii = generator.random((9, len(size))) * size, generator.random(9) * 2
    expected = distances(size, centres) - radii
    found, label = nearest(size, centres, radii, reach)
    best = expected.min(-1)
    np.testing.assert_allclose(found, np.where(best <= reach, best, np.inf), atol=1e-12)
    assert (label == np.where(best <= reach, expected.argmin(-1), -1)).all()


@pytest.mark.parametrize(("size", "radius"), [((128, 128), 5.0), ((48, 48, 48), 5.0)])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_overlapping_balls_cover_one_minus_exp(size, radius, share):
    """Balls placed by hand at the Poisson density cover the share that the generator plans for."""
    d = len(size)
    volume = math.pi * radius**2 if d == 2 else 4 / 3 * math.pi * radius**3
    count = round(-math.log(1 - share) * math.prod(size) / volume)
    covered = []
    for seed in range(8):
        centres = np.random.default_rng(seed).random((count, d)) * size
        covered.append((nearest(size, centres, np.full(count, radius), 0.0)[0] <= 0).mean())
    error = np.std(covered) / len(covered) ** 0.5
    assert abs(np.mean(covered) - (1 - math.exp(-count * volume / math.prod(size)))) < 4 * error + 0.002


def test_overlapping_balls_have_the_radius_asked_for():
    """The cell is the union of balls at the seed's centres; their common radius is close to the wanted one."""
    size, share, radius = (64, 64), 0.4, 4.0
    shifts = []
    for seed in range(5):
        cell = overlapping_spheres(size, share, seed, radius=radius).numpy()
        count = round(-math.log(1 - share) * 64 * 64 / (math.pi * radius**2))
        field = distances(size, np.random.default_rng(seed).random((count, 2)) * size).min(-1)
        assert field[cell == 1].max() <= field[cell == 0].min()
        shifts.append(field[cell == 1].max() - radius)
    assert abs(np.mean(shifts)) < 0.25
    assert np.abs(shifts).max() < 1.0


def test_spread_keeps_the_mean_radius_and_the_share():
    cell = overlapping_spheres((64, 64), 0.4, 1, radius=4.0, spread=0.5)
    assert abs(cell.mean().item() - 0.4) < 1e-3
    assert not cell.equal(overlapping_spheres((64, 64), 0.4, 1, radius=4.0))


@pytest.mark.parametrize(
    ("size", "count", "distance"), [((64, 64), 40, 8.0), ((24, 24, 24), 40, 6.0), ((40, 12), 5, 7.0)]
)
def test_sequential_points_keep_their_distance_round_the_period(size, count, distance):
    centres = sequential_centres(size, count, distance, np.random.default_rng(1))
    assert ((centres >= 0) & (centres < size)).all()
    for i, j in itertools.combinations(range(count), 2):
        apart = np.abs(centres[i] - centres[j])
        assert np.linalg.norm(np.minimum(apart, np.array(size) - apart)) >= distance


def test_sequential_points_are_distributed_as_by_plain_rejection():
    """Mean nearest-neighbour distance of many packings against the obvious algorithm."""
    size, count, distance = (12, 12), 5, 3.8

    def spacing(centres):
        apart = np.abs(centres[:, None] - centres)
        apart = np.sqrt((np.minimum(apart, 12 - apart) ** 2).sum(-1)) + 99 * np.eye(count)
        return apart.min(1).mean()

    def plain(generator):
        kept = []
        for _ in range(2000):
            if len(kept) == count:
                return np.array(kept)
            point = generator.random(2) * size
            apart = np.abs(np.array(kept).reshape(-1, 2) - point)
            if (np.sqrt((np.minimum(apart, 12 - apart) ** 2).sum(-1)) >= distance).all():
                kept.append(point)
        return plain(generator)  # no room left: start again

    generator = np.random.default_rng(0)
    ours = [spacing(sequential_centres(size, count, distance, generator)) for _ in range(400)]
    theirs = [spacing(plain(generator)) for _ in range(400)]
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * math.hypot(np.std(ours), np.std(theirs)) / 20


@pytest.mark.parametrize(("size", "share", "radius"), [((64, 64), 0.35, 5.0), ((32, 32, 32), 0.12, 5.0)])
def test_hard_balls_are_as_many_components(size, share, radius):
    volume = math.pi * radius**2 if len(size) == 2 else 4 / 3 * math.pi * radius**3
    cell = hard_spheres(size, share, 3, radius=radius, gap=1.5)
    assert components(cell)[1] == round(share * math.prod(size) / volume)


def test_one_ball_is_a_simple_lattice_of_balls():
    cell = hard_spheres((16, 16, 16), 0.3, radius=7.0)
    assert components(cell)[1] == 1
    assert abs(cell.mean().item() - 0.3) < 1e-3


def test_refuses_what_cannot_be_packed():
    with pytest.raises(ValueError):
        hard_spheres((64, 64), 0.56, radius=4.0, gap=0.0)
    with pytest.raises(ValueError):
        hard_spheres((32, 32, 32), SATURATION[3], radius=4.0)
    with pytest.raises(ValueError):
        sequential_centres((16, 16), 60, 4.0, np.random.default_rng(0))
    with pytest.raises(ValueError):
        sequential_centres((16, 16), 2, 17.0, np.random.default_rng(0))
    for options in ({"radius": 0.5}, {"radius": 30.0}, {"gap": -1.0}, {"radius": float("nan")}):
        with pytest.raises(ValueError):
            hard_spheres((32, 32), 0.2, **options)
    with pytest.raises(ValueError):
        hard_spheres((16, 16), 0.76, radius=8.0)
    for options in ({"radius": 0.5}, {"radius": 9.0}, {"spread": -0.1}):
        with pytest.raises(ValueError):
            overlapping_spheres((32, 32), 0.2, **options)
